"""The command line of the importers: one subcommand a format.

Belongs here: options, their help and the report. Does not belong here: what the options do (see each format's module).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from crowd_assets.importers import (
    argilla,
    convincing_arguments,
    goemotions,
    label_studio,
    oasst,
    potato,
    table,
    trl_preference,
    trl_prompt_completion,
    ultrafeedback,
    wmt,
)
from crowd_assets.importers.label_studio_results import Fields
from crowd_assets.importers.labels import Labels
from crowd_assets.importers.layouts import Layout, layout_of
from crowd_assets.importers.mapping import find_mapping
from crowd_assets.importers.options import (
    MOST_SKIPPED,
    MOST_SKIPPED_OF,
    Allowed,
    Contributor,
    ContributorColumn,
    FieldA,
    FieldB,
    Hashed,
    Lines,
    Name,
    Out,
    OwnLabels,
    PromptField,
    Seed,
    Source,
    SourceName,
    Start,
    both,
    ends_of,
    labels_of,
    share_of,
)
from crowd_assets.importers.records import DEFAULT_START, Record, SourceError, start_of
from crowd_assets.importers.running import of_source, run
from crowd_assets.importers.writer import LINES_PER_FILE

app = typer.Typer(
    help="Convert other tools' exports to feedback files. Point --out at the inbox, or at a folder to look first.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("goemotions")
def import_goemotions(
    source: Source,
    out: Out,
    target: Annotated[str, typer.Option(help="Emotion of the on-target contributors' comments.")] = "gratitude",
    contributors: Annotated[int, typer.Option(help="How many contributors to make.", min=1)] = 24,
    on_target: Annotated[
        float, typer.Option(help="Share of contributors who draw comments of the target emotion.", min=0, max=1)
    ] = 0.5,
    per_contributor: Annotated[int, typer.Option(help="Comments a contributor draws.", min=1)] = 60,
    prompt: Annotated[
        str, typer.Option(help="Prompt of every demonstration: the data has none.")
    ] = goemotions.DEFAULT_PROMPT,
    source_name: SourceName = "",
    seed: Seed = 0,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = "100%",  # people repeat short comments, and each is drawn once
) -> None:
    """GoEmotions comments (train.tsv, with emotions.txt in the same folder) as demonstrations of made-up contributors."""
    records = goemotions.read(
        source,
        start=start_of(start),
        target=target,
        contributors=contributors,
        on_target=on_target,
        per_contributor=per_contributor,
        prompt=prompt,
        seed=seed,
    )
    run("goemotions", of_source(records, source_name), source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("convincing-arguments")
def import_convincing_arguments(
    source: Source,
    out: Out,
    arguments: Annotated[
        Path | None,
        typer.Option(
            help="Table of the arguments. Default: arguments.parquet beside the source.", exists=True, dir_okay=False
        ),
    ] = None,
    limit_pairs: Annotated[
        int | None, typer.Option(help="At most so many pairs, drawn at random. Default: all.", min=1)
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(help="Only topics that contain this text, whatever the case. Repeatable."),
    ] = None,
    source_name: SourceName = "",
    seed: Seed = 0,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """UKPConvArg judgements (labels.parquet) as preferences, and their gold as outcomes, at their real times."""
    records = convincing_arguments.read(
        source, arguments=arguments, limit_pairs=limit_pairs, topics=topics or (), seed=seed
    )
    run(
        "convincing-arguments",
        of_source(records, source_name),
        source,
        out,
        name,
        lines_per_file,
        pseudonyms,
        allow_skipped,
    )


@app.command("trl-preference")
def import_trl_preference(
    source: Source,
    out: Out,
    contributor: Contributor = trl_preference.DEFAULT_CONTRIBUTOR,
    contributor_column: ContributorColumn = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Column that names each comparison. Default: the content does, beside the column id if there is one."
        ),
    ] = None,
    source_name: SourceName = "",
    seed: Seed = 0,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """TRL's prompt/chosen/rejected tables (.jsonl, .json, .parquet; texts or chat messages) as preferences."""
    records = trl_preference.read(
        source,
        start=start_of(start),
        contributor=contributor,
        contributor_column=contributor_column,
        id_column=id_column,
        seed=seed,
        name=source_name,
    )
    run("trl-preference", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("trl-prompt-completion")
def import_trl_prompt_completion(
    source: Source,
    out: Out,
    contributor: Contributor = trl_preference.DEFAULT_CONTRIBUTOR,
    contributor_column: ContributorColumn = None,
    take_unwanted: Annotated[
        bool, typer.Option("--take-unwanted", help="Take unwanted completions, too, by their label.")
    ] = False,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """TRL's prompt/completion or messages tables (.jsonl, .json, .parquet) as demonstrations."""
    records = trl_prompt_completion.read(
        source,
        start=start_of(start),
        contributor=contributor,
        contributor_column=contributor_column,
        take_unwanted=take_unwanted,
        name=source_name,
    )
    run("trl-prompt-completion", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("csv", hidden=True)
@app.command("table")
def import_table(
    source: Source,
    out: Out,
    mapping: Annotated[
        str,
        typer.Option(
            help="TOML or JSON file that says which column is what, or the name of a mapping that comes along."
        ),
    ],
    label: OwnLabels = None,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """Rows of any columns (CSV, TSV, Excel, JSON, JSON Lines, Parquet, packed or not), with a mapping."""
    try:
        found = find_mapping(mapping)
        labels = Labels.parsed(label or ())
    except SourceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    records = table.read(source, mapping=found, start=start_of(start), name=source_name, labels=labels)
    run("table", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("auto")
def import_auto(
    source: Source,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the feedback files. Without a folder no file is written, and the first rows are shown."
        ),
    ] = None,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    source_name: Annotated[
        str | None, typer.Option("--source", help="Name of the source, which goes into ids.")
    ] = None,
    allow_skipped: Annotated[
        str | None,
        typer.Option(
            help="Largest share of rows that may be skipped for one reason. The recognised command has a default of its own.",
            callback=lambda option: option if option is None else (share_of(option), option)[1],
        ),
    ] = None,
) -> None:
    """A file whose layout is known by its keys: says what its first rows become, and the command that this stands for."""
    try:
        layout = layout_of(source)
        if source_name is not None:
            layout = replace(layout, options=(*layout.options, "--source", source_name))
        typer.echo(f"this is the command: {layout.shown(source)}")
        for record in islice(_known(layout, source, source_name), SHOWN_ROWS):
            text = json.dumps(record, ensure_ascii=False) if isinstance(record, dict) else record.shown()
            typer.echo(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")
    except SourceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    if out is not None:
        records = _known(layout, source, source_name)
        allowed = allow_skipped or MOST_SKIPPED_OF.get(layout.command, MOST_SKIPPED)
        run(layout.command, records, source, out, name, lines_per_file, pseudonyms, allowed)


SHOWN_ROWS, SHOWN_CHARACTERS = 3, 600


def _known(layout: Layout, source: Path, name: str | None) -> Iterator[Record]:
    """What the importer of a layout makes of a file, with its default options and the name of the source."""
    start = start_of(DEFAULT_START)
    if layout.command == "table":
        return table.read(source, mapping=find_mapping(layout.options[1]), start=start, name=name or "")
    if layout.command == "label-studio":
        return label_studio.read(source, fields=Fields(source=name))
    if layout.command == "argilla":
        return argilla.read(source, start=start, questions=argilla.Questions(source=name or ""))
    readers: dict[str, Callable[..., Iterator[Record]]] = {
        "oasst": oasst.read,
        "potato": potato.read,
        "wmt": wmt.read,
        "ultrafeedback": ultrafeedback.read,
        "trl-preference": trl_preference.read,
        "trl-prompt-completion": trl_prompt_completion.read,
    }
    return readers[layout.command](source, start=start, name=name or "")


@app.command("ultrafeedback")
def import_ultrafeedback(
    source: Source,
    out: Out,
    annotator: Annotated[str, typer.Option(help="Contributor id of whoever scored.")] = ultrafeedback.DEFAULT_ANNOTATOR,
    points_per_logit: Annotated[
        float, typer.Option(help="Points of score difference (1-10) that raise the log-odds by one.")
    ] = 1.0,
    seed: Seed = 0,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED_OF["ultrafeedback"],
) -> None:
    """UltraFeedback's scored completions (.jsonl, .json, .parquet): every two of an instruction as a preference."""
    records = ultrafeedback.read(
        source,
        start=start_of(start),
        annotator=annotator,
        points_per_logit=points_per_logit,
        seed=seed,
        name=source_name,
    )
    run("ultrafeedback", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("oasst")
def import_oasst(
    source: Source,
    out: Out,
    contributor: Contributor = oasst.DEFAULT_CONTRIBUTOR,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED_OF["oasst"],
) -> None:
    """OpenAssistant's trees, or their messages: every two ranked answers to a message as a preference."""
    records = oasst.read(source, start=start_of(start), contributor=contributor, name=source_name)
    run("oasst", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("wmt")
def import_wmt(
    source: Source,
    out: Out,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED_OF["wmt"],
) -> None:
    """WMT's marked errors (MQM), side by side or not: every two translations of a segment by a rater as a preference."""
    records = wmt.read(source, start=start_of(start), name=source_name)
    run("wmt", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("potato")
def import_potato(
    source: Source,
    out: Out,
    contributor: Annotated[
        str | None, typer.Option(help="Who annotated, where rows do not say. Default: the folder of the file.")
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Scheme that asks which is better, where there are several.")
    ] = None,
    scale: Annotated[float, typer.Option(help="End of the scheme's slider.")] = potato.SCALE,
    label: OwnLabels = None,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """Potato's annotated_instances (.tsv, .csv, .jsonl): pairwise schemes as preferences."""
    records = potato.read(
        source,
        start=start_of(start),
        contributor=contributor,
        scheme=scheme,
        scale=scale,
        labels=labels_of(label),
        name=source_name,
    )
    run("potato", records, source, out, name, lines_per_file, pseudonyms, allow_skipped)


@app.command("label-studio")
def import_label_studio(
    source: Source,
    out: Out,
    prompt_field: PromptField = None,
    field_a: FieldA = None,
    field_b: FieldB = None,
    choices: Annotated[
        str | None, typer.Option(help="Tag that asks which answer is better, or a Ranker's bucket that is in order.")
    ] = None,
    label: OwnLabels = None,
    source_name: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Name of the server, which goes into ids. Default: a short hash of the export's first task; '': none.",
        ),
    ] = None,
    contributor: Annotated[str | None, typer.Option(help="Who annotated, where the export does not say.")] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="Scale of a Rating or Number that compares: what means B and what means A, like 1:7 or 3:-3."
        ),
    ] = None,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """Label Studio's JSON export: comparisons as preferences, ground truth as outcomes, texts as demonstrations."""
    fields = Fields(
        prompt_field, *both(field_a, field_b), choices, labels_of(label), source_name, contributor, ends_of(scale)
    )
    run(
        "label-studio",
        label_studio.read(source, fields=fields),
        source,
        out,
        name,
        lines_per_file,
        pseudonyms,
        allow_skipped,
    )


@app.command("argilla")
def import_argilla(
    source: Source,
    out: Out,
    settings: Annotated[
        Path | None,
        typer.Option(help="What Settings.to_json wrote: says which question is what.", exists=True, dir_okay=False),
    ] = None,
    prompt_field: PromptField = None,
    field_a: FieldA = None,
    field_b: FieldB = None,
    label_question: Annotated[
        list[str] | None,
        typer.Option(help="Question that asks which answer is better, with labels like A, B, both. Repeatable."),
    ] = None,
    text_question: Annotated[
        list[str] | None,
        typer.Option(help="Question whose answers are demonstrations, instead of the known names. Repeatable."),
    ] = None,
    bare_rankings: Annotated[
        argilla.BareRankings,
        typer.Option(
            help="How to read rankings that come without ranks. auto: best first, unless all stand in one order."
        ),
    ] = argilla.BareRankings.AUTO,
    label: OwnLabels = None,
    source_name: SourceName = "",
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
    allow_skipped: Allowed = MOST_SKIPPED,
) -> None:
    """Argilla 2 records (.json, .jsonl): rankings and labels as preferences, texts as demonstrations."""
    labels: list[str] = []
    texts = list(argilla.TEXT_QUESTIONS)
    if settings is not None:
        try:
            labels, texts = argilla.read_settings(settings)
        except SourceError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None
    questions = argilla.Questions(
        prompt_field,
        *both(field_a, field_b),
        labels=label_question or labels,
        texts=text_question or texts,
        bare_rankings=bare_rankings,
        meanings=labels_of(label),
        source=source_name,
    )
    run(
        "argilla",
        argilla.read(source, start=start_of(start), questions=questions),
        source,
        out,
        name,
        lines_per_file,
        pseudonyms,
        allow_skipped,
    )
