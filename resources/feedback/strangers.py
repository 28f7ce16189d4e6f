"""Files that lie in an inbox and will never be read, each with the reason and the way out.

Belongs here: naming them. Does not belong here: files that wait (see ``arrivals``).
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

READ = (".jsonl", ".parquet")
"""As ``events.SUFFIXES``: whoever looks at an inbox alone imports nothing that takes long."""
BEING_WRITTEN = (".tmp", ".part", ".crdownload")
IMPORTABLE = (".csv", ".tsv", ".json", ".ndjson", ".xlsx", ".gz", ".zst", ".txt")
REPORT = ".skipped.txt"
"""What importers write beside their files."""
MOST = 1_000
OF_TIME = re.compile(r"(\d{2,4}/){0,4}")
"""Folders of an inbox that are looked into: year, month, day, hour."""


@dataclass(frozen=True)
class Stranger:
    """A file that no ingestion takes, by its name below the inbox, and why."""

    name: str
    reason: str


def never_read(inbox: Any) -> list[Stranger]:
    """Files of an inbox that are never read, by name, at most ``MOST``: of another kind, links, pipes, folders that are no time's.
    Hidden files and those that are still written are left alone.

    Args:
        inbox: A folder or a URI, as text or as a path.
    """
    if "://" not in str(inbox):
        return list(_walked(str(inbox), "", MOST))
    from upath import UPath

    from resources.files.storage import files_below

    return [
        Stranger(each.name, _of_suffix(each.name))
        for each in files_below(UPath(inbox))
        if not _is_quiet(each.path.name) and each.path.suffix not in READ
    ][:MOST]


def waits(name: str) -> bool:
    """Whether a file of this name below an inbox waits to be taken in, as long as it is a file and no link or pipe."""
    folder, _, own = name.rpartition("/")
    of_time = OF_TIME.fullmatch(f"{folder}/" if folder else "")
    return own.endswith(READ) and not own.startswith(".") and of_time is not None


def waiting(folder: str, below: str = "") -> Iterator[str]:
    """Names of the files that wait in a local inbox."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=False) and OF_TIME.fullmatch(f"{name}/"):
            yield from waiting(entry.path, f"{name}/")
        elif entry.is_file(follow_symlinks=False) and waits(name):
            yield name


def _walked(folder: str, below: str, most: int) -> Iterator[Stranger]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    count = 0
    for entry in entries:
        if count >= most:
            return
        if _is_quiet(entry.name):
            continue
        name = f"{below}{_shown(entry.name)}"
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            if OF_TIME.fullmatch(f"{below}{entry.name}/"):
                for each in _walked(entry.path, f"{name}/", most - count):
                    count += 1
                    yield each
            else:
                count += 1
                yield Stranger(f"{name}/", "a folder whose name is no time: put the folder's files into the inbox")
        elif stat.S_ISLNK(mode):
            count += 1
            yield Stranger(name, "a link: copy the file that the link points to")
        elif not stat.S_ISREG(mode):
            count += 1
            yield Stranger(name, "a pipe or a device, no file")
        elif not entry.name.endswith(READ):
            count += 1
            yield Stranger(name, _of_suffix(entry.name))


def _is_quiet(name: str) -> bool:
    return name.startswith(".") or name.endswith((*BEING_WRITTEN, REPORT))


def _of_suffix(name: str) -> str:
    lower = name.lower()
    if lower.endswith(READ):
        return f"its name ends otherwise than {' or '.join(READ)}: rename the file in small letters"
    if lower.endswith(IMPORTABLE):
        return "no feedback file: crowd-rounds import auto FILE --out INBOX says which tool wrote the file, and takes the file"
    return f"only files that end in {' or '.join(READ)} are read"


def _shown(name: str) -> str:
    """A name as it can be printed and stored."""
    return "".join(character if character.isprintable() else "\ufffd" for character in name)
