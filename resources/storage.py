"""Whole files or none: how bytes get to a local folder or to object storage.

Belongs here: atomic writes through universal-pathlib, and of local folders. Does not belong here: what the bytes mean.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def whole_folder(folder: Path, check_free: Callable[[], None]) -> Iterator[Path]:
    """A temporary neighbour of a local ``folder``, which takes its name when the block ends well and vanishes when it does not.

    Args:
        check_free: Raises where ``folder`` may not be replaced; asked before the block and after it.
    """
    check_free()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, replaced = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp") for _ in range(2))
    unfinished.mkdir()
    try:
        yield unfinished
        check_free()
        if folder.exists():
            folder.rename(replaced)
        try:
            unfinished.rename(folder)
        except BaseException:
            if replaced.exists():
                replaced.rename(folder)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def is_free(folder: Path) -> bool:
    """Whether nothing lies at ``folder``, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def write_text_atomically(path: UPath, text: str) -> None:
    """:func:`write_bytes_atomically` for UTF-8 text."""
    write_bytes_atomically(path, text.encode("utf-8", errors="replace"))
