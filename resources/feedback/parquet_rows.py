"""Parquet files that strangers wrote, as JSON Lines: read by a process of its own, with a limit to its memory and output.

A few bytes of Parquet can stand for gigabytes, and a broken file can take the reader's process with it. That process is
this file, run as a script: it imports nothing of ours, and can give nothing back but lines.

Belongs here: both sides of that process. Does not belong here: what a row must be (see ``feedback``), files that we wrote
ourselves (see ``frames``).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import IO, Any

READER_BYTES = 1 << 30  # address space of a reader that has read nothing yet, generously
READER_SECONDS = 600  # of CPU time
BATCH_ROWS = 1_000
LEAST_ROW_BYTES = 1024  # what a row counts at least: millions of empty ones fit into a few bytes
REFUSED = 3  # exit code of a reader that says why
UNREADABLE = b"!"
"""What a line begins with that says why its row cannot be read; no JSON does."""


class UnreadableParquetError(ValueError):
    """The file is no Parquet file, or holds too much; the message is the reason."""


@contextmanager
def json_lines(source: IO[bytes], largest_bytes: int) -> Iterator[IO[bytes]]:
    """The rows of a Parquet file in a temporary file, one JSON object a line, or ``UNREADABLE`` and why the row has none.

    Times are ISO 8601, decimals text; a null is left out; binary values become objects, as nothing takes them for text.

    Args:
        source: A file of the operating system, at any position.
        largest_bytes: Of the lines together, where each counts as ``LEAST_ROW_BYTES`` at least.

    Raises:
        UnreadableParquetError: it cannot be read, or has more than that.
    """
    with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as said:
        source.seek(0)
        reader = subprocess.run(
            [sys.executable, "-I", __file__, str(largest_bytes)], stdin=source, stdout=lines, stderr=said, check=False
        )
        if reader.returncode:
            said.seek(0)
            reason = said.read(200).decode("utf-8", "replace") if reader.returncode == REFUSED else ""
            raise UnreadableParquetError(reason or f"not a Parquet file: its reader ended with {reader.returncode}")
        lines.seek(0)
        yield lines


def main(largest_bytes: int) -> None:
    """Write the rows of the Parquet file at standard input to standard output."""
    import resource

    # A reader that is killed, of no memory or time, is a broken file to whoever asked; macOS has no limit of memory.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (READER_BYTES + largest_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (READER_SECONDS,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # others reserve more addresses than they use
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        import pyarrow.parquet

        written = 0
        with pyarrow.parquet.ParquetFile(sys.stdin.buffer) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                for line in _lines(batch):
                    written += max(len(line), LEAST_ROW_BYTES)
                    if written > largest_bytes:
                        _refuse(f"the file holds more than {largest_bytes} bytes once it is decompressed")
                    sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except MemoryError:
        _refuse(f"the file takes more than {READER_BYTES + largest_bytes} bytes of memory to be read")
    except Exception as problem:  # of whatever kind: it is the file that is broken
        _refuse(f"not a Parquet file: {' '.join(str(problem).split())}")
    os._exit(0)  # a thread of the reader that still has hold of standard input would abort an orderly end


def _lines(batch: Any) -> Iterator[bytes]:
    try:
        rows = batch.to_pylist()
    except Exception:  # one row's value is nothing that Python has: the others still count
        rows = (batch.slice(index, 1) for index in range(batch.num_rows))
    for row in rows:
        try:
            record = row if isinstance(row, dict) else row.to_pylist()[0]
            record = {name: value for name, value in record.items() if value is not None}
            line = json.dumps(record, ensure_ascii=False, default=_plain)
        except MemoryError:
            raise
        except Exception as problem:
            line = f"{UNREADABLE.decode()}the row cannot be read: {' '.join(str(problem).split())[:200]}"
        yield line.encode("utf-8", "replace") + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return {type(value).__name__: len(value) if isinstance(value, bytes) else str(value)}


def _refuse(reason: str) -> None:
    sys.stderr.write(reason)
    sys.stderr.flush()
    os._exit(REFUSED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
