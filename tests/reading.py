"""A feedback file, read as a whole.

Belongs here: what tests read more shortly than the product does. Does not belong here: reading (see ``resources.feedback.event_files``).
"""

from upath import UPath

from resources.feedback.event_files import ParsedFile, read_parts
from resources.feedback.events import NAMES_AS_THEY_ARE, Limits
from resources.feedback.pseudonyms import Pseudonyms


def read_file(path: UPath, limits: Limits, pseudonyms: Pseudonyms = NAMES_AS_THEY_ARE) -> ParsedFile:
    """Events and rejections of all lines."""
    *parts, whole = read_parts(path, limits, pseudonyms)
    for part in reversed(parts):
        whole.events[:0] = part.events
        whole.rejections[:0] = part.rejections
    return whole
