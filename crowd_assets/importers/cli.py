"""The command line of the importers: one subcommand a format.

Belongs here: options, their help and the report. Does not belong here: what the options do (see each format's module).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from crowd_assets.importers import (
    argilla,
    convincing_arguments,
    goemotions,
    label_studio,
    table,
    trl_preference,
    trl_prompt_completion,
    ultrafeedback,
)
from crowd_assets.importers.records import DEFAULT_START, Record, SourceError, start_of
from crowd_assets.importers.writer import LINES_PER_FILE, write_feedback
from resources.feedback.pseudonyms import KEY_VARIABLE, PseudonymKeyError, Pseudonyms

app = typer.Typer(
    help="Convert other tools' exports to feedback files. Point --out at the inbox, or at a folder to look first.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def start_time(option: str) -> str:
    """The option as given, once it is known to be a time with a zone."""
    try:
        start_of(option)
    except SourceError as error:
        raise typer.BadParameter(str(error)) from None
    return option


Source = Annotated[Path, typer.Argument(help="The export to read.", exists=True, dir_okay=False, readable=True)]
Out = Annotated[Path, typer.Option(help="Folder for the feedback files; made if it does not exist.", file_okay=False)]
Name = Annotated[
    str | None, typer.Option(help="Beginning of the files' names. Default: the format and the source's name.")
]
Lines = Annotated[int, typer.Option(help="Most events in one file.", min=1)]
Start = Annotated[
    str,
    typer.Option(
        help="Time of the first event (ISO 8601 with zone), for sources without times; then one second an event.",
        callback=start_time,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn at random.", min=0)]
PromptField = Annotated[str | None, typer.Option(help="Field with the prompt. Default: the first known name.")]
FieldA = Annotated[str | None, typer.Option(help="Field with answer A, the left one. Give --field-b too.")]
FieldB = Annotated[str | None, typer.Option(help="Field with answer B, the right one. Give --field-a too.")]


Hashed = Annotated[
    bool,
    typer.Option(
        "--pseudonyms",
        help=f"Write contributors by pseudonym, by the key in {KEY_VARIABLE}. The inbox does it in any case.",
    ),
]
Contributor = Annotated[str, typer.Option(help="Contributor id of every row.")]
ContributorColumn = Annotated[
    str | None, typer.Option(help="Column with the contributor id, instead of --contributor.")
]


def run(
    format_name: str,
    records: Iterable[Record],
    source: Path,
    out: Path,
    name: str | None,
    lines: int,
    pseudonyms: bool,
) -> None:
    """Write what an importer yields, and say what became of it. Exits with 1 where nothing did, 2 on a bad source."""
    name = name or re.sub(r"[^\w.-]+", "-", f"{format_name}-{source.stem}")
    try:
        report = write_feedback(by_pseudonym(records) if pseudonyms else records, out, name, lines)
    except (SourceError, PseudonymKeyError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    for line in report.lines():
        typer.echo(line)
    if not report.events:
        raise typer.Exit(1)


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


def both(field_a: str | None, field_b: str | None) -> tuple[str | None, str | None]:
    if (field_a is None) != (field_b is None):
        raise typer.BadParameter("--field-a and --field-b belong together: give both or neither")
    return field_a, field_b


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
    seed: Seed = 0,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """GoEmotions comments (train.tsv, with emotions.txt beside it) as demonstrations of made-up contributors."""
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
    run("goemotions", records, source, out, name, lines_per_file, pseudonyms)


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
    seed: Seed = 0,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """UKPConvArg judgements (labels.parquet) as preferences, and their gold as outcomes, at their real times."""
    records = convincing_arguments.read(
        source, arguments=arguments, limit_pairs=limit_pairs, topics=topics or (), seed=seed
    )
    run("convincing-arguments", records, source, out, name, lines_per_file, pseudonyms)


@app.command("trl-preference")
def import_trl_preference(
    source: Source,
    out: Out,
    contributor: Contributor = trl_preference.DEFAULT_CONTRIBUTOR,
    contributor_column: ContributorColumn = None,
    id_column: Annotated[
        str, typer.Option(help="Column that identifies a comparison; where it is missing, the content does.")
    ] = "id",
    seed: Seed = 0,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """TRL's prompt/chosen/rejected tables (.jsonl, .json, .parquet; texts or chat messages) as preferences."""
    records = trl_preference.read(
        source,
        start=start_of(start),
        contributor=contributor,
        contributor_column=contributor_column,
        id_column=id_column,
        seed=seed,
    )
    run("trl-preference", records, source, out, name, lines_per_file, pseudonyms)


@app.command("trl-prompt-completion")
def import_trl_prompt_completion(
    source: Source,
    out: Out,
    contributor: Contributor = trl_preference.DEFAULT_CONTRIBUTOR,
    contributor_column: ContributorColumn = None,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """TRL's prompt/completion or messages tables (.jsonl, .json, .parquet) as demonstrations."""
    records = trl_prompt_completion.read(
        source, start=start_of(start), contributor=contributor, contributor_column=contributor_column
    )
    run("trl-prompt-completion", records, source, out, name, lines_per_file, pseudonyms)


@app.command("csv")
def import_csv(
    source: Source,
    out: Out,
    mapping: Annotated[
        Path, typer.Option(help="TOML or JSON file that says which column is what.", exists=True, dir_okay=False)
    ],
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """A table of any columns (CSV, TSV and the like), with a mapping file."""
    try:
        found = table.read_mapping(mapping)
    except SourceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    run("csv", table.read(source, mapping=found, start=start_of(start)), source, out, name, lines_per_file, pseudonyms)


@app.command("ultrafeedback")
def import_ultrafeedback(
    source: Source,
    out: Out,
    annotator: Annotated[str, typer.Option(help="Contributor id of whoever scored.")] = ultrafeedback.DEFAULT_ANNOTATOR,
    points_per_logit: Annotated[
        float, typer.Option(help="Points of score difference (1-10) that raise the log-odds by one.")
    ] = 1.0,
    seed: Seed = 0,
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """UltraFeedback's scored completions (.jsonl, .json, .parquet): every two of an instruction as a preference."""
    records = ultrafeedback.read(
        source, start=start_of(start), annotator=annotator, points_per_logit=points_per_logit, seed=seed
    )
    run("ultrafeedback", records, source, out, name, lines_per_file, pseudonyms)


@app.command("label-studio")
def import_label_studio(
    source: Source,
    out: Out,
    prompt_field: PromptField = None,
    field_a: FieldA = None,
    field_b: FieldB = None,
    choices: Annotated[
        str | None, typer.Option(help="Choices tag that asks which answer is better, with labels like A, B, both.")
    ] = None,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
) -> None:
    """Label Studio's JSON export: comparisons as preferences, ground truth as outcomes, texts as demonstrations."""
    fields = label_studio.Fields(prompt_field, *both(field_a, field_b), choices)
    run("label-studio", label_studio.read(source, fields=fields), source, out, name, lines_per_file, pseudonyms)


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
    start: Start = DEFAULT_START,
    name: Name = None,
    lines_per_file: Lines = LINES_PER_FILE,
    pseudonyms: Hashed = False,
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
    )
    run(
        "argilla",
        argilla.read(source, start=start_of(start), questions=questions),
        source,
        out,
        name,
        lines_per_file,
        pseudonyms,
    )
