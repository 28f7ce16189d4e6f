"""The command line of the exporters: one subcommand a tool.

Belongs here: options, their help and writing the files. Does not belong here: what is in them (see each module).
"""

import io
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import polars as pl
import typer
from upath import UPath

from crowd_assets.exporters import argilla, label_studio, tables, trl
from crowd_assets.exporters.outbox import read_comparisons
from crowd_assets.importers.records import SourceError
from resources.files.storage import write_bytes_atomically

if TYPE_CHECKING:
    from resources.build import Resources

app = typer.Typer(
    help="Write comparison tasks, and what a round learnt from, as files that other tools load.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Source = Annotated[
    Path,
    typer.Argument(
        help="A file of comparison tasks, or the folder of all: comparison_tasks in the outbox.", exists=True
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the files; made if missing.", file_okay=False)]


class Suffix(StrEnum):
    """What a table is written as."""

    JSONL = "jsonl"
    PARQUET = "parquet"


@app.command("label-studio")
def export_label_studio(source: Source, out: Out) -> None:
    """A labelling configuration and tasks: make a project with the configuration, and import the tasks."""
    comparisons = _read(source)
    _write(out / "label_studio_config.xml", label_studio.configuration(comparisons))
    _write(out / "label_studio_tasks.json", _json(label_studio.tasks(comparisons)))


@app.command("argilla")
def export_argilla(
    source: Source,
    out: Out,
    judgements: Annotated[int, typer.Option(help="Judgements that a comparison should get.", min=1)] = 3,
) -> None:
    """Settings and records of an Argilla 2 dataset."""
    comparisons = _read(source)
    _write(out / "argilla_settings.json", _json(argilla.settings(judgements, comparisons)))
    _write(out / "argilla_records.json", _json(argilla.records(comparisons)))


@app.command("csv")
def export_csv(source: Source, out: Out) -> None:
    """A table to fill in, and the mapping file by which the csv importer reads the table back."""
    comparisons = _read(source)
    _write(out / "comparison_tasks.csv", "\ufeff" + tables.table(comparisons))
    _write(out / "comparison_tasks.toml", tables.mapping(comparisons))


@app.command("trl")
def export_trl(
    out: Out,
    round_name: Annotated[
        str, typer.Option("--round", help="The round, like r000003; empty: the last settled one.")
    ] = "",
    suffix: Annotated[Suffix, typer.Option("--format", help="What the tables are written as.")] = Suffix.JSONL,
    conversational: Annotated[bool, typer.Option("--conversational", help="Chat messages instead of texts.")] = False,
) -> None:
    """A round's preferences and demonstrations as TRL's preference and prompt/completion data sets."""
    from resources.build import build_resources
    from resources.rounds.book import RoundBook
    from resources.settings.resource import CrowdSettings

    settings = CrowdSettings.from_environment()
    resources = build_resources(settings)
    settled = [round_.round_id for round_ in RoundBook(resources.warehouse).settled()]
    if not settled or (round_name and round_name not in settled):
        _fail(f"--round {round_name!r}: no such settled round; there are {', '.join(settled) or 'none'}")
    name = round_name or settled[-1]
    frames = resources.frames
    validated = frames.read("validated_feedback", name)
    judged = trl.shares(frames.read("aggregated_preferences", name), validated)
    preferences = trl.preferences(judged, conversational=conversational)
    demonstrations = trl.demonstrations(validated, conversational=conversational)
    for kind, rows in (("preferences", preferences), ("demonstrations", demonstrations)):
        _write(out / f"{name}-{kind}.{suffix}", _table(rows, suffix))


@app.command("send")
def send() -> None:
    """Send the outbox's comparison tasks and assignments to the Label Studio of CROWD_LABEL_STUDIO_URL, as its sensor does."""
    resources = _resources()
    from crowd_assets.exporters.exchange import send_assignments, send_tasks

    filled = send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    typer.echo(
        f"project {filled.project}: {filled.sent} tasks sent, {filled.present} there before, {filled.withdrawn} deleted"
    )
    assigned = send_assignments(resources.label_studio, resources.outbox, resources.inbox)
    typer.echo(f"assignments: {assigned.sent} sent to {assigned.people} people, {assigned.withdrawn} taken back")


@app.command("pull")
def pull() -> None:
    """Pull all judgements of that project that were not ingested yet into the inbox, as the sensor does."""
    resources = _resources()
    from crowd_assets.exporters.exchange import pull_judgements

    pulled = pull_judgements(resources.label_studio, resources.inbox, None)
    for reason, number in pulled.skipped.items():
        typer.echo(f"skipped {number} × {reason}")
    typer.echo(f"{pulled.events} judgements put into the inbox")


def _resources() -> "Resources":
    from resources.build import build_resources
    from resources.settings.resource import CrowdSettings

    return build_resources(CrowdSettings.from_environment())


def _read(source: Path) -> list[dict[str, Any]]:
    try:
        return read_comparisons(source)
    except SourceError as error:
        _fail(str(error))


def _fail(problem: str) -> NoReturn:
    typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(2)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _table(rows: pl.DataFrame, suffix: Suffix) -> bytes:
    buffer = io.BytesIO()
    if suffix is Suffix.PARQUET:
        rows.write_parquet(buffer)
    else:
        rows.write_ndjson(buffer)
    return buffer.getvalue()


def _write(path: Path, content: str | bytes) -> None:
    write_bytes_atomically(UPath(path), content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    typer.echo(f"wrote {path}")
