"""A process that puts files into an inbox, as one collector of many does: ``benchmarks.scale ingestion`` starts some.

    python -m benchmarks.collector <inbox> <folder>    # says that it is ready, and waits for a line

Belongs here: what a collector does, without anything else to import. Does not belong here: what it costs (see ``scale``).
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from upath import UPath

from resources.feedback.arrivals import append
from resources.files.storage import use_object_stores


def main(inbox: str, folder: str) -> None:
    """Append the files of a folder."""
    use_object_stores(60)
    files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    print("ready", flush=True)
    sys.stdin.readline()
    for data in files:
        append(UPath(inbox), Path(folder).name, data, ".jsonl", datetime.now(UTC))


if __name__ == "__main__":
    main(*sys.argv[1:])
