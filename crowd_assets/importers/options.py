"""The options that importers share: their help, and what is typed as a value.

Belongs here: both. Does not belong here: options of one format (see ``cli``).
"""

import re
from pathlib import Path
from typing import Annotated

import typer

from crowd_assets.importers.labels import Labels
from crowd_assets.importers.records import SourceError, start_of
from resources.feedback.pseudonyms import KEY_VARIABLE


def start_time(option: str) -> str:
    """The option as given, once it is known to be a time with a zone."""
    try:
        start_of(option)
    except SourceError as error:
        raise typer.BadParameter(str(error)) from None
    return option


Source = Annotated[Path, typer.Argument(help="The export to read.", exists=True, dir_okay=False, readable=True)]
Out = Annotated[Path, typer.Option(help="Folder for the feedback files; made if missing.", file_okay=False)]
Name = Annotated[
    str | None, typer.Option(help="Beginning of the files' names. Default: the format and the source's name.")
]
Lines = Annotated[int, typer.Option(help="Most events in one file.", min=1)]
Start = Annotated[
    str,
    typer.Option(
        help="Time of the first event (ISO 8601 with zone), for sources without times; each further event is one second later.",
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
        help=f"Write contributors by pseudonym, by the key in {KEY_VARIABLE}. The inbox writes pseudonyms in any case.",
    ),
]
Allowed = Annotated[
    str,
    typer.Option(
        help="Largest share of rows that may be skipped for one reason, like 5%; a larger share makes the exit status 1.",
        callback=lambda option: (share_of(option), option)[1],
    ),
]
SourceName = Annotated[
    str,
    typer.Option("--source", help="Name of the source, which goes into ids, so that those of two sources stay apart."),
]
OwnLabels = Annotated[
    list[str] | None,
    typer.Option("--label", help="What a label means: LABEL=A, =B, =tie, =both-bad or a probability of A. Repeatable."),
]
MOST_SKIPPED = "5%"
MOST_SKIPPED_OF = dict.fromkeys(("ultrafeedback", "oasst", "wmt"), "100%")
"""Commands whose files have many rows that say nothing: equal scores, trees without a ranking, translations alike."""
Contributor = Annotated[str, typer.Option(help="Contributor id of every row.")]
ContributorColumn = Annotated[
    str | None, typer.Option(help="Column with the contributor id, instead of --contributor.")
]


def share_of(option: str) -> float:
    """A share like 5% or 0.05, in [0, 1].

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        share = float(option.strip().removesuffix("%")) / (100 if option.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"--allow-skipped {option!r}: write a share like 5%")
    return share


def both(field_a: str | None, field_b: str | None) -> tuple[str | None, str | None]:
    if (field_a is None) != (field_b is None):
        raise typer.BadParameter("--field-a and --field-b belong together: give both or neither")
    return field_a, field_b


def ends_of(option: str | None) -> tuple[float, float] | None:
    if option is None:
        return None
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?):(-?\d+(?:\.\d+)?)", option.strip())
    if found is None or float(found[1]) == float(found[2]):
        raise typer.BadParameter(
            f"--scale {option!r}: write two different numbers, what means B and what means A, like 1:7"
        )
    return float(found[1]), float(found[2])


def labels_of(options: list[str] | None) -> Labels:
    try:
        return Labels.parsed(options or ())
    except SourceError as error:
        raise typer.BadParameter(str(error)) from None
