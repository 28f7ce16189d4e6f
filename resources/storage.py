"""Whole files or none: how bytes get to a local folder or to object storage.

Belongs here: atomic writes through universal-pathlib, and of local folders. Does not belong here: what the bytes mean.
"""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from resources.errors import OperatorError

UNFINISHED = ".tmp"
"""How the names of files and folders end that a writer has begun; killed, it leaves them behind."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_WAY_IN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class UnwritableError(OperatorError, OSError):
    """A file cannot be written: the disk is full, or its folder is read-only or no folder. What was there is as it was."""


def is_local(path: UPath) -> bool:
    """True where ``path`` is on a file system that can rename."""
    return path.protocol in ("", "file", "local")


def write_bytes_atomically(path: UPath, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part.

    Locally by temporary file, fsync and rename; on object storage a single put is atomic by itself.

    Raises:
        UnwritableError: there is no room, or no way into the folder.
    """
    if not is_local(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


@contextmanager
def written_atomically(path: UPath) -> Iterator[str]:
    """The name of a local file to fill, which then takes the place of ``path``, whole or not at all.

    For content too large to be held in memory; on object storage it is put from there.

    Raises:
        UnwritableError: there is no room, or no way into the folder.
    """
    if is_local(path):
        temporary = f"{path!s}.{uuid.uuid4().hex}{UNFINISHED}"
    else:
        temporary = os.path.join(tempfile.gettempdir(), f"{uuid.uuid4().hex}{UNFINISHED}")
    try:
        if is_local(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if is_local(path):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, str(path))
        else:
            path.fs.put_file(temporary, path.path)
    except OSError as problem:
        if problem.errno not in NO_ROOM | NO_WAY_IN:
            raise
        way_out = "make room on the disk" if problem.errno in NO_ROOM else "make its folder one that can be written to"
        raise UnwritableError(
            f"{path} cannot be written ({os.strerror(problem.errno)}): {way_out}, and run it again. What was there is as it was."
        ) from problem
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
    unfinished, replaced = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{UNFINISHED}") for _ in range(2))
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
