"""Which figures of the documentation are older than the code that they measure.

Reads every section and table row of the documentation that names a command beside figures, and compares the commit that last changed a line
with figures with the commits that changed what the command measures since: the benchmark itself and what it imports of the project, for
``make round`` the stages of a round, for ``make reproduce`` the experiments. Prints a line for each, oldest first, and one JSON line:
``figures`` lines with figures and a command, ``stale`` how many are older, ``stale_share``, ``places`` with file, line, command, and commits
since. ``--quick`` reads one page.

An old figure need not be wrong: the commits may not touch what was measured. A figure without a command is not listed here.

Belongs here: ages of figures. Does not belong here: the figures.
"""

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from benchmarks import finish, options, say

PROJECT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/figures.md",
    "docs/benchmarks.md",
    "docs/attacks.md",
    "docs/training.md",
    "docs/quality.md",
    "docs/reproduction.md",
)
COMMAND = re.compile(r"(?:python -m (benchmarks\.\w+)|(make (?:round|reproduce)))")
FIGURE = re.compile(r"(?<![\w.#/-])[−+-]?\d[\d,]*(?:\.\d+)?(?:\s?(?:%|s|ms|min|GiB|MiB|×))?")
PARTS = {
    "make round": (
        "crowd_assets/assets",
        "crowd_assets/round",
        "crowd_assets/mechanisms",
        "crowd_assets/simulation/crowd.py",
        "resources/training",
    ),
    "make reproduce": ("crowd_assets/experiments", "crowd_assets/mechanisms", "crowd_assets/simulation"),
}


@dataclass(frozen=True)
class Place:
    """A line with figures: its ``file``, ``line`` and ``command``, the ``commit`` that wrote the line, and ``since``: how many commits
    changed the measured code after that."""

    file: str
    line: int
    command: str
    commit: str
    since: int


def git(*arguments: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def with_commands(text: str) -> Iterator[tuple[int, str]]:
    """Lines with figures, from 1, and the command that they come from: the one of the line, or the last of the section before."""
    current, fenced = "", False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            current = ""
        found = COMMAND.search(line)
        here = (found[1] or found[2]) if found else ""
        if here and not line.startswith("|"):
            current = here
        table_row = line.startswith("|") and not set(line) <= set("|-: ")
        if (here or current) and table_row and FIGURE.search(COMMAND.sub("", line)):
            yield number, here or current


@cache
def measured(command: str) -> tuple[str, ...]:
    """Files and folders that a command measures."""
    if command in PARTS:
        return PARTS[command]
    path = Path(*command.split(".")).with_suffix(".py")
    if not (PROJECT / path).exists():
        return ()
    found = {str(path)}
    for node in ast.walk(ast.parse((PROJECT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("crowd_assets", "resources"):
            below = Path(*str(node.module).split("."))
            found |= {str(below / f"{each.name}.py") for each in node.names} | {f"{below}.py"}
    return tuple(sorted(each for each in found if (PROJECT / each).exists()))


@cache
def changes_since(commit: str, command: str) -> int:
    """Commits after ``commit`` that changed what the command measures."""
    paths = measured(command)
    return len(git("log", "--format=%h", f"{commit}..HEAD", "--", *paths).split()) if paths else 0


def places(pages: Sequence[str]) -> list[Place]:
    """Every line with figures and a command, the one with most changes since first."""
    found = []
    for page in pages:
        wrote = git("blame", "--abbrev=12", "-s", page).splitlines()
        for number, command in with_commands((PROJECT / page).read_text(encoding="utf-8")):
            commit = wrote[number - 1].split()[0].lstrip("^")
            uncommitted = not commit.strip("0")
            found.append(Place(page, number, command, commit, 0 if uncommitted else changes_since(commit, command)))
    return sorted(found, key=lambda each: -each.since)


def main(argv: list[str] | None = None) -> None:
    """Print the list and its JSON line."""
    given = options(__doc__, argv)
    found = places(PAGES[1:2] if given.quick else PAGES)
    for each in found:
        if each.since:
            say(f"{each.file}:{each.line}: {each.command}, {each.since} commits since {each.commit}")
    stale = [each for each in found if each.since]
    finish(
        {
            "figures": len(found),
            "stale": len(stale),
            "stale_share": round(len(stale) / max(len(found), 1), 3),
            "places": [asdict(each) for each in stale],
        },
        {"pages": len(PAGES), "commit": git("rev-parse", "--short=12", "HEAD").strip()},
    )


if __name__ == "__main__":
    main()
