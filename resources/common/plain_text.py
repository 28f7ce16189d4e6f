"""What strangers wrote, as one line that shows in the order in which it is stored.

Belongs here: what every display needs, whatever it is made of. Does not belong here: escaping for Markdown or HTML (see
``crowd_assets.report.display`` and ``model_store``), what may be stored (see ``feedback``).
"""

import re

UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
ADDRESS = re.compile(r"(?i)(https?:|ftp:|www)(?=[/.])")
GAP = "\u200b"  # zero width


def one_line(text: str) -> str:
    """``text`` with every line end and tab as a space, and what moves a cursor, turns the direction of writing or is half a
    character as U+FFFD."""
    return UNSEEN.sub(lambda found: " " if found[0] in "\t\n\r\x85\u2028\u2029" else "\ufffd", text)


def without_links(text: str) -> str:
    """``text`` that Markdown does not make addresses of the web of: they do not open where a person only clicks on a row."""
    return ADDRESS.sub(rf"\1{GAP}", text)
