"""Running an import: its files are written, and what became of it is said.

Belongs here: progress, pseudonyms, the exit status. Does not belong here: files (see ``writer``), options (see ``options``).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from crowd_assets.importers.options import share_of
from crowd_assets.importers.records import Record, SourceError, named, sourced
from crowd_assets.importers.writer import write_feedback
from resources.feedback.pseudonyms import KEY_VARIABLE, PseudonymKeyError, Pseudonyms

PROGRESS_ROWS = 50_000


def run(
    format_name: str,
    records: Iterable[Record],
    source: Path,
    out: Path,
    name: str | None,
    lines: int,
    pseudonyms: bool,
    allow_skipped: str = "100%",
) -> None:
    """Write what an importer yields, and say what became of it. Exits with 1 where nothing did, or one reason cost more than
    ``allow_skipped``, 2 on a bad source."""
    name = name or re.sub(r"[^\w.-]+", "-", f"{format_name}-{source.stem}")
    try:
        report = write_feedback(
            shown_progress(by_pseudonym(records) if pseudonyms else records, source), out, name, lines
        )
    except (SourceError, PseudonymKeyError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for line in report.lines():
        typer.echo(line)
    if (largest := report.too_many(share_of(allow_skipped))) is not None:
        typer.echo(
            f"error: {largest}; mend the source or say what is meant, and import again under another --name, or raise "
            "--allow-skipped",
            err=True,
        )
        raise typer.Exit(1)
    if not report.events:
        if not report.skipped:
            typer.echo(f"error: {source}: no rows, though the columns have names", err=True)
        raise typer.Exit(1)


def shown_progress(records: Iterable[Record], source: Path) -> Iterator[Record]:
    """The same records; on the way a line to the error stream every so many of them, as far as the terminal is one."""
    for number, record in enumerate(records, start=1):
        if number % PROGRESS_ROWS == 0:
            typer.echo(f"{source.name}: {number:,} events and skipped rows", err=True)
        yield record


def of_source(records: Iterable[Record], name: str) -> Iterator[Record]:
    """The same records with people and comparisons named by their source, too."""
    for record in records:
        if name and isinstance(record, dict):
            ids = {
                key: named(sourced(record[key], name)) for key in ("contributor_id", "comparison_id") if key in record
            }
            yield record | ids
        else:
            yield record


def by_pseudonym(records: Iterable[Record]) -> Iterator[Record]:
    """The same records with contributors by pseudonym."""
    pseudonyms = Pseudonyms.from_environment()
    if not pseudonyms.keyed:
        raise PseudonymKeyError(f"--pseudonyms: {KEY_VARIABLE} is not set")
    for record in records:
        if isinstance(record, dict) and "contributor_id" in record:
            yield record | {"contributor_id": pseudonyms.of(record["contributor_id"])}
        else:
            yield record
