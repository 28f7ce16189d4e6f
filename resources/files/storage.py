"""Whole files or none: how bytes get to a local folder or to object storage, and what lies there.

Belongs here: atomic writes through universal-pathlib and of local folders, listings, copies. Does not belong here: what the bytes
mean, how S3 is spoken to (see ``object_store``).
"""

import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
from upath import UPath

from resources.common.errors import OperatorError

UNFINISHED = ".tmp"
"""How the names of files and folders end that a writer has begun; killed, it leaves them behind."""
PIECE = 1 << 20  # bytes copied at once
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NO_WAY_IN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
S3 = ("s3", "s3a")
WITHOUT_FOLDERS = (*S3, "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Protocols of stores in which a folder is a part of names."""
READ_TOGETHER = 16  # files of a store: each is a question and an answer, and waiting for one at a time takes most of it


class UnwritableError(OperatorError, OSError):
    """A file cannot be written: the disk is full, or its folder is read-only or no folder. What was there is as it was."""


class StoreUnavailableError(OperatorError, RuntimeError):
    """The object store did not answer in time, or lets nobody in. No OSError: what cannot be asked for is neither missing nor damaged."""


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing has it: its ``name`` below the folder that was listed, with slashes, its size in bytes, and when it was
    last written."""

    path: UPath
    name: str
    size: int
    modified: datetime


def use_object_stores(retry_s: float) -> None:
    """Have every path of this process that begins with ``s3://`` behave as :class:`resources.files.object_store.ObjectStore` does."""
    for protocol in S3:
        fsspec.config.conf[protocol] = fsspec.config.conf.get(protocol, {}) | {"retry_s": retry_s}
        fsspec.register_implementation(protocol, "resources.files.object_store.ObjectStore", clobber=True)


def patience_with_stores() -> float:
    """For how long this process tries each call of an S3 store again, in seconds, as :func:`use_object_stores` was told; 0 before."""
    return float(fsspec.config.conf.get(S3[0], {}).get("retry_s", 0.0))


def is_local(path: UPath) -> bool:
    """True where ``path`` is on a file system that can rename."""
    return path.protocol in ("", "file", "local")


def files_below(folder: UPath) -> list[StoredFile]:
    """Every file below ``folder``, at any depth and by path; none where there is no such folder. Links are not followed, and what
    is no file is left out."""
    if is_local(folder):
        return list(_walked(str(folder), ""))
    try:
        entries = folder.fs.find(folder.path, detail=True)
    except FileNotFoundError:
        return []
    below = f"{folder.path.rstrip('/')}/"
    return [
        StoredFile(folder / name.removeprefix(below), name.removeprefix(below), int(about["size"]), _instant(about))
        for name, about in sorted(entries.items())
        if about["type"] == "file" and name.startswith(below) and not name.endswith("/")
    ]


def _walked(folder: str, below: str) -> Iterator[StoredFile]:
    try:
        entries = sorted(
            os.scandir(folder), key=lambda entry: f"{entry.name}{'/' * entry.is_dir(follow_symlinks=False)}"
        )
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(entry.path, f"{below}{entry.name}/")
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # gone since
        if stat.S_ISREG(status.st_mode):
            modified = datetime.fromtimestamp(status.st_mtime, UTC)
            yield StoredFile(UPath(entry.path), f"{below}{entry.name}", status.st_size, modified)


def _instant(about: dict[str, Any]) -> datetime:
    """When a file of a store was written: stores have names of their own for it."""
    modified = next(
        (about[name] for name in ("LastModified", "last_modified", "mtime", "created") if name in about), 0.0
    )
    return modified.astimezone(UTC) if isinstance(modified, datetime) else datetime.fromtimestamp(float(modified), UTC)


def state_of(path: UPath) -> tuple[Any, ...]:
    """What tells a file from another of its name, and from itself with other content.

    Raises:
        FileNotFoundError: it is not there.
    """
    return state_of_status(os.lstat(str(path))) if is_local(path) else _state_of_info(path.fs.info(path.path))


def state_of_status(status: os.stat_result) -> tuple[Any, ...]:
    """:func:`state_of` for a local file that is open."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _state_of_info(about: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(about.get(name, "")) for name in ("size", "ETag", "etag", "LastModified", "created"))


def read_all(paths: Iterable[UPath]) -> Iterator[bytes]:
    """The bytes of each file, in order; files of one store are asked for ``READ_TOGETHER`` at a time.

    Raises:
        FileNotFoundError: one is missing.
    """
    remaining = iter(paths)
    while some := list(islice(remaining, READ_TOGETHER)):
        if is_local(some[0]) or len(some) == 1:
            yield from (path.read_bytes() for path in some)
        else:
            contents = some[0].fs.cat([path.path for path in some])
            yield from (contents[path.path] for path in some)


def move(path: UPath, target: UPath, state: tuple[Any, ...]) -> bool:
    """Move a file that still is as ``state`` says; False where it is not, and it stays.

    Locally that is a rename. Elsewhere it is a copy and a removal: killed between the two, both are there.

    Raises:
        FileNotFoundError: it is not there.
    """
    if is_local(path) and is_local(target):
        if state_of(path) != state:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        return True
    _copy(path, target)
    if state_of(path) != state:  # asked after it was copied: else it was this content all the time
        target.unlink(missing_ok=True)
        return False
    return remove_if(path, state)


def _copy(path: UPath, target: UPath) -> None:
    if path.protocol in S3 and target.protocol in S3:
        path.fs.cp_file(path.path, target.path)  # the store does it by itself
        return
    with path.open("rb") as old, written_atomically(target) as temporary, open(temporary, "wb") as new:
        shutil.copyfileobj(old, new, PIECE)


def remove_if(path: UPath, state: tuple[Any, ...]) -> bool:
    """Remove a file that still is as ``state`` says; False where it is not, and it stays. S3 compares and removes in one step.

    Raises:
        FileNotFoundError: it is not there.
    """
    if path.protocol not in S3:
        if state_of(path) != state:
            return False
        path.unlink()
        return True
    about = path.fs.info(path.path)
    if _state_of_info(about) != state:
        return False
    bucket, key, _ = path.fs.split_path(path.path)
    try:
        path.fs.call_s3("delete_object", Bucket=bucket, Key=key, IfMatch=about["ETag"])
    except OSError:
        if state_of(path) != state:
            return False
        raise
    return True


def remove(path: UPath) -> int:
    """Remove a file, or a folder with all that is in it; 1 where there was one."""
    if not path.exists():
        return 0
    if not is_local(path):
        path.fs.rm(path.path, recursive=True)
    elif path.is_dir():
        shutil.rmtree(str(path), ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return 1


def write_bytes_atomically(path: UPath, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old content or the new, never a part.

    Locally by temporary file, fsync and rename; on object storage a single put is atomic by itself.

    Raises:
        UnwritableError: there is no room, or no way into the folder.
    """
    if is_local(path):
        with written_atomically(path) as temporary, open(temporary, "wb") as file:
            file.write(data)
        return
    with _said_what_to_do(path):
        _make_parent(path)
        path.fs.pipe_file(path.path, data)


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
        with _said_what_to_do(path):
            _make_parent(path)
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


def _make_parent(path: UPath) -> None:
    if path.protocol not in WITHOUT_FOLDERS:
        path.parent.mkdir(parents=True, exist_ok=True)


@contextmanager
def _said_what_to_do(path: UPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as problem:
        if path.protocol not in WITHOUT_FOLDERS:
            raise
        raise UnwritableError(
            f"{path} cannot be written ({problem}): make its bucket, or correct the URI."
        ) from problem
    except OSError as problem:
        if problem.errno not in NO_ROOM | NO_WAY_IN:
            raise
        why = os.strerror(problem.errno or 0)
        way_out = "make room on the disk" if problem.errno in NO_ROOM else "make its folder one that can be written to"
        raise UnwritableError(
            f"{path} cannot be written ({why}): {way_out}, and run the command again. The old file is unchanged."
        ) from problem


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
