"""Coverage-guided fuzzing of one line of feedback (atheris): ``make fuzz`` runs it after the tests that draw examples.

Whatever the bytes, they are one event or one rejection. A crash prints the input and leaves it in a file.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["resources.feedback.events", "resources.feedback.pseudonyms", "json"]):
    from upath import UPath

    from resources.feedback.events import Limits
    from tests.reading import read_file

LIMITS = Limits(line_bytes=4_096, text_characters=256)
FILE = UPath(tempfile.mkdtemp(), "f.jsonl")
EXAMPLE = (
    b'{"kind":"bid","contributor_id":"c","lot_id":"l","prompt":"p","response":"r","asked_price":"0.25",'
    b'"claimed_quality":1,"submitted_at":"2026-01-02T03:04:05Z","extra":[1,{"a":null}]}'
)


def one_line(data: bytes) -> None:
    line = data.replace(b"\n", b" ")
    Path(FILE).write_bytes(line)
    found = read_file(FILE, LIMITS)
    assert len(found.events) + len(found.rejections) == 1, line
    assert all(row["reason"].encode() and row["excerpt"].encode() is not None for row in found.rejections), line


if __name__ == "__main__":
    corpus = Path(tempfile.mkdtemp())
    (corpus / "bid").write_bytes(EXAMPLE)
    atheris.Setup([*sys.argv, str(corpus), "-max_len=4096", "-timeout=30"], one_line)
    atheris.Fuzz()
