"""Whole files or none: how bytes get to a local folder or to object storage.

Belongs here: atomic writes through universal-pathlib. Does not belong here: what the bytes mean.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from upath import UPath


def is_local(path: UPath) -> bool:
    """True where ``path`` is on a file system that can rename."""
    return path.protocol in ("", "file", "local")


def write_bytes_atomically(path: UPath, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part.

    Locally by temporary file, fsync and rename; on object storage a single put is atomic by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes(data)
        return
    temporary = f"{path!s}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, str(path))
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@contextmanager
def written_atomically(path: UPath) -> Iterator[str]:
    """The name of a local file to fill, which then takes the place of ``path``, whole or not at all.

    For content too large to be held in memory; on object storage it is put from there.
    """
    if is_local(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = f"{path!s}.{uuid.uuid4().hex}.tmp"
    else:
        temporary = os.path.join(tempfile.gettempdir(), f"{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        if is_local(path):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, str(path))
        else:
            path.fs.put_file(temporary, path.path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def write_text_atomically(path: UPath, text: str) -> None:
    """:func:`write_bytes_atomically` for UTF-8 text."""
    write_bytes_atomically(path, text.encode("utf-8", errors="replace"))
