"""Mapping files: which column of a row is which field, and what its cells mean.

Belongs here: reading and checking them. Does not belong here: rows (see ``rows`` and ``table``).
"""

import codecs
import fnmatch
import json
import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crowd_assets.importers.records import SourceError, excerpt
from resources.feedback.events import FIELDS, KINDS, OPTIONAL, TEXTS

Columns = str | tuple[str, ...]
Axes = tuple[Columns, ...]
CORRECTION = "correction"
"""Kind of a mapping whose rows say how somebody corrected an answer: a demonstration, and a preference for it."""
ANY_OF = ".*"
"""End of a column's name that stands for any: of the columns, or the keys, that begin so the rest of the name of the one ticked."""
COMPARED = ("ranks", "ratings", "best")
KEYS = {
    "kind", "columns", "values", "defaults", "payload", "delimiter", "encoding", "apostrophe", "scale", "explode", "where",
    "time_format", "time_zone", "quote", "escape", "responses", "points_per_logit", "fields", "about", "same", "group", "turn",
    "weights", "header_rows", "questions", "differ", "conversations", "headed", *COMPARED,
}  # fmt: skip
MADE = ("comparison_id", "probability_a", "response_a", "response_b")
"""Fields of a preference that a list of responses makes."""


@dataclass(frozen=True)
class Mapping:
    """What a mapping file says.

    Attributes:
        kind: of every row.
        columns: the column of each field, a path into a cell that holds objects (``data.q``, ``answers[0].x``), or several
            columns: texts are joined by an empty line, of other fields the first that is not empty counts.
        values: for a field, what its cells mean; or, for a field of several columns, what each column means that is ticked.
        defaults: for a field, what stands in where there is no column or an empty cell.
        payload: columns that are kept under their own names.
        delimiter: between cells; None: by the header.
        encoding: of the file; a byte-order mark goes before it.
        apostrophe: whether the first apostrophe of a cell is not part of it.
        scale: for a number, the two ends of its scale: what means 0 and what means 1.
        explode: columns that hold one person's answer each: a row becomes one event for each that is not empty.
        where: columns whose cells must be one of some values; or, after ``!=``, must not.
        time_format: as ``strptime`` takes it; ``epoch`` or ``epoch_ms``. None: ISO 8601, seconds since 1970, or MTurk's own.
        time_zone: of times that have none.
        quote, escape: around cells, and before a quote in one; ``quote`` empty: none. None: quotes double, none with tabs.
        responses: columns of several answers, or the one column that holds a list of them.
        ranks, ratings, best: of each of them, the same way (``best``: one column with a number from 1, or the answer); what a
            ranking, a rating or a best-of-K says becomes pairs.
        points_per_logit: rating points that raise the log odds by one; None: one point, with a scale a quarter of it.
        weights: for ``probability_a`` or ``ratings`` of several columns, which are axes of one judgement, what each counts.
        group: columns in which rows that follow each other are alike that hold one person's answers to one question; each row is one
            of the ``responses``.
        turn: column with the number of the exchange that is judged: conversations are cut after it.
        header_rows: rows at the beginning of a table that name its columns; the first counts.
        questions: for a row that answers several questions, the column of each and what is asked in it.
        original: what a correction corrects.
        headed: of questions whose text stands in the second row that names the columns: their ``columns`` as a pattern, and the marks before
            answer A (``response_a``) and answer B (``response_b``) in the text.
        conversations: the columns of two conversations, or for each the two columns with what the user and what the assistant said in turn:
            what both begin with is asked, and what each goes on with is an answer.
        same: columns or paths that must hold the same, as what two conversations begin with.
        differ: columns or paths that must not all hold the same, as the scores of two answers.
        about: columns by which `import auto` knows the layout.
        names: names of the columns of a table that has no header.
        path: of the file that the mapping was read from.
    """

    kind: str
    columns: dict[str, Columns]
    values: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    payload: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str = "utf-8"
    apostrophe: bool = False
    scale: dict[str, tuple[float, float]] = field(default_factory=dict)
    explode: tuple[str, ...] = ()
    where: dict[str, Any] = field(default_factory=dict)
    time_format: str | None = None
    time_zone: str | None = None
    quote: str | None = None
    escape: str | None = None
    responses: Columns = ()
    ranks: Columns = ()
    ratings: Columns | Axes = ()
    best: Columns = ()
    points_per_logit: float | None = None
    weights: dict[str, tuple[float, ...]] = field(default_factory=dict)
    group: tuple[str, ...] = ()
    turn: str | None = None
    header_rows: int = 1
    questions: tuple[dict[str, Any], ...] = ()
    original: Columns = ()
    same: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    conversations: tuple[Columns, ...] = ()
    headed: dict[str, str] = field(default_factory=dict)
    path: str = ""

    @cached_property
    def given(self) -> frozenset[str]:
        """The fields that have a column or a default."""
        return frozenset((*self.columns, *self.defaults))

    @cached_property
    def spelt(self) -> frozenset[str]:
        """The cells that the mapping gives a meaning to."""
        meant = [cell for each in self.values.values() if isinstance(each, dict) for cell in each]
        asked = [str(each) for taken in self.where.values() for each in (taken if isinstance(taken, list) else [taken])]
        return frozenset((*meant, *(each.removeprefix("!=").strip() for each in asked)))

    @property
    def copied(self) -> str:
        """What to do where a mapping that comes with the project does not fit, as words at the end of an error."""
        return f"; name your columns in a copy of {self.path} and say --mapping COPY" if self.about else ""

    def needed(self, there: Sequence[str] = ()) -> set[str]:
        """Those of ``used`` without which a table cannot be read: not what ``where`` takes empty, nor all of several columns of which
        the first that is not empty counts; and for a mapping that comes with the project neither a payload nor what has a default.

        Args:
            there: columns of the table.
        """
        spared = {column for column, taken in self.where.items() if _takes_empty(taken)}
        for name, columns in self.columns.items():
            several = each_of(columns)
            joined = (
                isinstance(self.values.get(name), list) or name in self.weights or (name in TEXTS and not self.about)
            )
            if (len(several) > 1 and not joined and any(root_of(column, there) in there for column in several)) or (
                self.about and name in self.defaults
            ):
                spared |= set(several)
        if self.about:
            spared |= set(self.payload)
        return self.used() - spared

    def used(self) -> set[str]:
        """The columns that the mapping speaks of, each by the first part of its path."""
        of_fields = [column for value in self.columns.values() for column in each_of(value)]
        others = [
            column
            for value in (
                self.responses,
                self.ranks,
                self.best,
                self.original,
                *self.conversations,
                *axes_of(self.ratings),
            )
            for column in each_of(value)
        ]
        asked = [each["column"] for each in self.questions]
        turn = () if self.turn is None else (self.turn,)
        return {*of_fields, *others, *self.payload, *self.explode, *self.where, *self.group, *asked, *turn}

    def of_question(self, asked: dict[str, Any]) -> "Mapping":
        """The mapping of what a row says of one question: its texts as they are, the answer in its column."""
        texts = {name: value for name, value in asked.items() if name != "column"}
        answer = {"preference": "probability_a", "demonstration": "response"}.get(self.kind, "")
        columns = {name: column for name, column in self.columns.items() if name not in texts}
        return replace(self, columns=columns | {answer: asked["column"]}, defaults=self.defaults | texts, questions=())

    def asked_in(self, header: dict[str, Any]) -> "Mapping":
        """The mapping with the questions whose texts a second row of the header holds.

        Raises:
            SourceError: no text of the columns that ``headed`` names has both marks.
        """
        found = []
        first, second = (re.compile(rf"(?<!\S){re.escape(self.headed[name])}") for name in ("response_a", "response_b"))
        for column, text in header.items():
            if not fnmatch.fnmatchcase(column, self.headed["columns"]) or not isinstance(text, str):
                continue
            of_a, of_b = list(first.finditer(text)), list(second.finditer(text))
            if len(of_a) > 1 or len(of_b) > 1:
                raise SourceError(
                    f"the question of {column!r} has its marks several times: say it in [[questions]] of a mapping{self.copied}"
                )
            if of_a and of_b and of_a[0].end() <= of_b[0].start():
                parts = (
                    text[: of_a[0].start()],
                    text[of_a[0].end() : of_b[0].start()],
                    text[of_b[0].end() :].removesuffix(SELECTED),
                )
                said = dict(zip(("prompt", "response_a", "response_b"), map(str.strip, parts), strict=True))
                if all(said.values()):
                    found.append({"column": column, **said})
        if not found:
            marks = f"{self.headed['response_a']!r} and then {self.headed['response_b']!r}"
            raise SourceError(
                f"no column like {self.headed['columns']!r} has a question with {marks} in the second row of the header{self.copied}"
            )
        return replace(self, questions=tuple(found))


def root_of(column: str, there: Collection[str]) -> str:
    """The column that a path begins with: the longest of those that are there, as the name of a column may have dots in it."""
    if column.endswith(ANY_OF):
        beginning = column.removesuffix("*")
        return next(
            (name for name in there if str(name).startswith(beginning)), root_of(column.removesuffix(ANY_OF), there)
        )
    ends = [found.start() for found in re.finditer(r"[.\[]", column)]
    return next((column[:end] for end in reversed(ends) if column[:end] in there), column)


def _takes_empty(taken: Any) -> bool:
    """Whether a condition of ``where`` holds of an empty cell."""
    values = [str(each) for each in (taken if isinstance(taken, list) else [taken])]
    refused = [each.removeprefix("!=").strip() for each in values if each.startswith("!=")]
    return "" not in refused and (len(refused) == len(values) or "" in values)


SELECTED = " - Selected Choice"
"""What Qualtrics writes after the text of a question that has a choice with a text of its own."""
READY = Path(__file__).parent / "mappings"


def ready_mappings() -> dict[str, Mapping]:
    """The mappings that come with the project, by name."""
    return {path.stem: read_mapping(path) for path in sorted(READY.glob("*.toml"))}


def find_mapping(name: str) -> Mapping:
    """The mapping of a file, or one that comes with the project.

    Raises:
        SourceError: there is neither; the message lists those that come with the project.
    """
    path = Path(name)
    if path.is_file():
        return read_mapping(path)
    ready = READY / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9_]+", name) and ready.is_file():
        return read_mapping(ready)
    known = ", ".join(each.stem for each in sorted(READY.glob("*.toml")))
    raise SourceError(f"--mapping {name}: no such file; mappings that come with the project: {known}")


def axes_of(ratings: Columns | Axes) -> Axes:
    """The columns of each response's rating: one, or several axes."""
    return (ratings,) if isinstance(ratings, str) else tuple(ratings)


def each_of(columns: Columns) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def read_mapping(path: Path) -> Mapping:
    """The mapping of a ``.toml`` or ``.json`` file.

    Raises:
        SourceError: it is none, or does not say what the fields of its kind are; the message says what to write.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not a TOML or JSON file ({excerpt(str(error))})") from None
    return mapping_of(found, str(path))


def mapping_of(found: Any, path: str) -> Mapping:
    """The mapping that a decoded file holds; ``path`` is what errors name.

    Raises:
        SourceError: as :func:`read_mapping`.
    """
    if not isinstance(found, dict) or found.get("kind") not in (*KINDS, CORRECTION):
        raise SourceError(f"{path}: kind must be one of {', '.join((*KINDS, CORRECTION))}")
    if unknown := sorted(set(found) - KEYS):
        raise SourceError(f"{path}: unknown {', '.join(unknown)}; there are {', '.join(sorted(KEYS))}")
    original: Columns = ()
    if found["kind"] == CORRECTION:
        found, original = _of_correction(found, path)
    kind = found["kind"]
    fields = {*FIELDS[kind], *OPTIONAL[kind], "submitted_at", "event_id", "system"}
    for table in ("columns", "values", "defaults", "scale"):
        part = found.get(table, {})
        if not isinstance(part, dict) or (
            table == "values" and not all(isinstance(each, dict | list) for each in part.values())
        ):
            raise SourceError(f"{path}: {table} must be a table")
        if wrong := sorted(set(part) - fields - ({"ratings"} if table == "scale" else set())):
            raise SourceError(f"{path}: {table} has {', '.join(wrong)}; a {kind} has {', '.join(sorted(fields))}")
    columns = {name: _columns(value, path) for name, value in found.get("columns", {}).items()}
    compared: dict[str, Any] = {
        name: _columns(found[name], path) for name in ("responses", *COMPARED[:1], COMPARED[2]) if name in found
    }
    if "ratings" in found:
        compared["ratings"] = _axes(found["ratings"], path)
    questions = _questions(found, kind, fields, path)
    if compared and (kind != "preference" or "responses" not in compared or len(compared) != 2):
        raise SourceError(f"{path}: responses go with one of {', '.join(COMPARED)}, and make preferences")
    explode = _names(found.get("explode", []), path, "explode")
    optional = {"comparison_id"} if kind == "preference" else set()
    if "messages" in columns:
        optional.add("prompt")
    if compared:
        optional |= set(MADE)
    if questions:
        optional |= {name for name in FIELDS[kind] if all(name in each for each in questions)}
        optional |= {"probability_a", "response"} & set(FIELDS[kind])
    conversations = _conversations(found.get("conversations", []), kind, path)
    if conversations:
        optional |= {"prompt", "response_a", "response_b"}
    headed = _headed(found.get("headed", {}), kind, path)
    if headed:
        optional |= {"prompt", "response_a", "response_b", "probability_a"}
    if explode:
        optional |= {"contributor_id", {"preference": "probability_a", "demonstration": "response"}.get(kind, "")}
    missing = [name for name in FIELDS[kind] if name not in {*columns, *found.get("defaults", {}), *optional}]
    if missing:
        raise SourceError(f"{path}: say the column, or a default, of {', '.join(missing)}")
    where = found.get("where", {})
    if not isinstance(where, dict):
        raise SourceError(f"{path}: where must be a table of columns and the values that are taken")
    return Mapping(
        kind=kind,
        columns=columns,
        values={name: _values(each) for name, each in found.get("values", {}).items()},
        defaults=found.get("defaults", {}),
        payload=_names(found.get("payload", []), path, "payload"),
        delimiter=_character(found, "delimiter", path),
        encoding=_encoding(found.get("encoding", "utf-8"), path),
        apostrophe=found.get("apostrophe", False) is True,
        scale={name: _scale(each, path, name) for name, each in found.get("scale", {}).items()},
        explode=explode,
        where=where,
        time_format=_text(found, "time_format", path),
        time_zone=_zone(found.get("time_zone"), path),
        quote="" if found.get("quote") in ("", "none", False) else _character(found, "quote", path),
        escape=_character(found, "escape", path),
        points_per_logit=None if "points_per_logit" not in found else _positive(found["points_per_logit"], path),
        weights={name: _weights_of(each, path, name) for name, each in found.get("weights", {}).items()},
        group=_names(found.get("group", []), path, "group"),
        turn=_text(found, "turn", path),
        header_rows=_header_rows(found.get("header_rows", 1), path),
        questions=questions,
        original=original,
        names=_names(found.get("fields", []), path, "fields"),
        same=_names(found.get("same", []), path, "same"),
        about=_names(found.get("about", []), path, "about"),
        differ=_names(found.get("differ", []), path, "differ"),
        conversations=conversations,
        headed=headed,
        path=path,
        **compared,
    )


def _columns(value: Any, path: str) -> Columns:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise SourceError(f"{path}: columns must be names, or lists of names")


def _axes(value: Any, path: str) -> Columns | Axes:
    if isinstance(value, list) and value and all(isinstance(each, list) for each in value):
        return tuple(_columns(each, path) for each in value)
    return _columns(value, path)


def _of_correction(found: dict[str, Any], path: str) -> tuple[dict[str, Any], Columns]:
    """The mapping of the demonstrations that corrections are, and the columns of what was corrected."""
    columns = found.get("columns")
    if not isinstance(columns, dict) or not {"response", CORRECTION} <= set(columns):
        raise SourceError(f"{path}: a correction has the columns response, which is what was corrected, and correction")
    others = {name: column for name, column in columns.items() if name != CORRECTION}
    as_demonstration = found | {"kind": "demonstration", "columns": others | {"response": columns[CORRECTION]}}
    return as_demonstration, _columns(columns["response"], path)


def _questions(found: dict[str, Any], kind: str, fields: set[str], path: str) -> tuple[dict[str, Any], ...]:
    listed = found.get("questions", [])
    right = isinstance(listed, list) and all(
        isinstance(each, dict) and isinstance(each.get("column"), str) for each in listed
    )
    if not right or (listed and kind not in ("preference", "demonstration")):
        raise SourceError(
            f"{path}: questions must be tables, each with the column of its answers, of preferences or demonstrations"
        )
    if wrong := sorted({name for each in listed for name in each} - fields - {"column"}):
        raise SourceError(f"{path}: questions have {', '.join(wrong)}; a {kind} has {', '.join(sorted(fields))}")
    return tuple(listed)


def _conversations(value: Any, kind: str, path: str) -> tuple[Columns, ...]:
    if value == []:
        return ()
    if not isinstance(value, list) or len(value) != 2 or kind != "preference":
        raise SourceError(
            f"{path}: conversations must be two columns of a preference, or for each what the user and the assistant said"
        )
    found = tuple(_columns(each, path) for each in value)
    if any(isinstance(each, tuple) and len(each) != 2 for each in found):
        raise SourceError(
            f"{path}: conversations in columns of their turns need two each: the user's and the assistant's"
        )
    return found


def _headed(value: Any, kind: str, path: str) -> dict[str, str]:
    keys = {"columns", "response_a", "response_b"}
    if value == {}:
        return {}
    right = (
        isinstance(value, dict)
        and set(value) == keys
        and all(isinstance(each, str) and each for each in value.values())
    )
    if not right or kind != "preference":
        raise SourceError(f"{path}: headed must be texts, {', '.join(sorted(keys))}, of a preference")
    return dict(value)


def _weights_of(value: Any, path: str, name: str) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else [None]
    if (
        name not in ("probability_a", "ratings")
        or not all(isinstance(each, int | float) and not isinstance(each, bool) and each >= 0 for each in numbers)
        or not sum(numbers) > 0
    ):
        raise SourceError(f"{path}: weights must be lists of numbers from 0 on, of probability_a or ratings")
    return tuple(map(float, numbers))


def _header_rows(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 20:
        raise SourceError(f"{path}: header_rows must be a number from 1 to 20")
    return value


def _names(value: Any, path: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise SourceError(f"{path}: {key} must be a list of column names")
    return tuple(value)


def _values(each: Any) -> Any:
    return {str(cell): meaning for cell, meaning in each.items()} if isinstance(each, dict) else each


def _character(found: dict[str, Any], key: str, path: str) -> str | None:
    value = found.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) != 1 or value in "\r\n" or (key == "delimiter" and value == '"'):
        raise SourceError(f"{path}: {key} must be one character, and no quote or line end")
    return value


def _text(found: dict[str, Any], key: str, path: str) -> str | None:
    value = found.get(key)
    if value is not None and not isinstance(value, str):
        raise SourceError(f"{path}: {key} must be text")
    return value


def _encoding(value: Any, path: str) -> str:
    try:
        codecs.lookup(value)
    except (LookupError, TypeError):
        raise SourceError(f"{path}: unknown encoding {value!r}; try utf-8, cp1252 or utf-16") from None
    return str(value)


def _zone(value: Any, path: str) -> str | None:
    if value is not None:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise SourceError(f"{path}: unknown time_zone {value!r}; write one like Europe/Berlin or UTC") from None
    return value


def _scale(value: Any, path: str, name: str) -> tuple[float, float]:
    if (
        not isinstance(value, Sequence)
        or len(value) != 2
        or not all(isinstance(each, int | float) and not isinstance(each, bool) for each in value)
        or value[0] == value[1]
    ):
        raise SourceError(f"{path}: scale of {name} must be two different numbers, what means 0 and what means 1")
    return float(value[0]), float(value[1])


def _positive(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise SourceError(f"{path}: points_per_logit must be a positive number")
    return float(value)
