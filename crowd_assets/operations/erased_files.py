"""What a file is without somebody's texts: tables, lines as they arrived, tasks, lots and pages.

Belongs here: how each kind of file writes a text, and its bytes without the text. Does not belong here: whose texts, which files, the
record (see ``erasure``).
"""

import html
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import escape

from resources.feedback.events import ERASED, FIELDS, OPTIONAL, TEXTS
from resources.feedback.parquet_rows import UnreadableParquetError, json_lines
from resources.rounds.records import TEXT_COLUMNS

WRITTEN = ("demonstration", "bid")
"""Kinds whose texts are their contributor's own; the texts of a preference are those it was asked about."""

SHORTEST_IN_PAGES = 8
"""Characters; a shorter text is not looked for inside pages, where it would be found in other words."""

KNOWN_FIELDS = {
    "kind",
    "event_id",
    "submitted_at",
    *(name for fields in (FIELDS, OPTIONAL) for names in fields.values() for name in names),
}
IDS = KNOWN_FIELDS - {*TEXTS, "messages"}
"""What is never a text, even where somebody wrote the same: a name, a kind or a price."""

CODE = re.compile(rb"(<script>.*?</script>)", re.DOTALL)
"""Scripts of our own pages, where no text writes one: they quote nobody, and would not run with another word in them."""

Rewrite = Callable[[bytes], tuple[bytes, int]]
"""What a file is without the texts, and in how many places something went."""


@dataclass(frozen=True)
class Without:
    """What files are without ``texts``. Each method takes a file's bytes, and returns the bytes without the texts and in how many places
    something went.

    Attributes:
        names: The contributor's, as the home knows them.
        texts: What the contributor wrote and nobody else did.
        withdrawn: Ids of comparisons and assignments that hold a text of the contributor.
        parquet_bytes: Most bytes of a Parquet file once it is unpacked.
    """

    names: Sequence[str]
    texts: frozenset[str]
    withdrawn: frozenset[str]
    parquet_bytes: int

    def frame(self, data: bytes) -> tuple[bytes, int]:
        """A Parquet file without the texts. Of the contributor's events, what was sent along goes, too."""
        frame = pl.read_parquet(io.BytesIO(data))
        known = [name for name in frame.columns if name in TEXTS]
        of_events = {"kind", "contributor_id"} <= set(frame.columns)
        own = pl.col("contributor_id").is_in(self.names).fill_null(False) if of_events else pl.lit(False)
        wrote = own & pl.col("kind").is_in(WRITTEN) if of_events else pl.lit(False)
        as_it_arrived = of_events and "payload" not in frame.columns
        erased = frame.with_columns(
            pl.when(pl.col(name).is_in(list(self.texts)) | (wrote & pl.lit(name in known) & pl.col(name).is_not_null()))
            .then(pl.lit(ERASED))
            .otherwise(pl.col(name))
            .alias(name)
            for name, dtype in frame.schema.items()
            if dtype == pl.String and (name in TEXT_COLUMNS or (as_it_arrived and name not in KNOWN_FIELDS))
        )
        if "messages" in frame.columns and frame.schema["messages"] == pl.String:
            said = pl.col("messages").map_elements(self._conversation, return_dtype=pl.String)
            erased = erased.with_columns(
                messages=pl.when(wrote & pl.col("messages").is_not_null()).then(pl.lit(ERASED)).otherwise(said)
            )
        if of_events and not as_it_arrived:
            erased = erased.with_columns(payload=pl.when(own).then(pl.lit("")).otherwise("payload"))
        elif as_it_arrived:  # what is no field of feedback is the payload
            unknown = [name for name in frame.columns if name not in KNOWN_FIELDS]
            erased = erased.with_columns(pl.when(~own).then(pl.col(name)).alias(name) for name in unknown)
        places = sum(int(frame[name].ne_missing(erased[name]).sum()) for name in frame.columns)
        buffer = io.BytesIO()
        erased.write_parquet(buffer, compression="zstd")
        return buffer.getvalue(), places

    def _conversation(self, text: str) -> str:
        """A conversation of somebody else without the texts, where one is a message of it."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return text
        changed = self._messages(said)
        return text if changed == said else json.dumps(changed, ensure_ascii=False, separators=(",", ":"))

    def _messages(self, said: Any) -> Any:
        if not isinstance(said, list):
            return said
        return [
            {name: ERASED if isinstance(value, str) and value in self.texts else value for name, value in each.items()}
            if isinstance(each, dict)
            else each
            for each in said
        ]

    def arrived_frame(self, data: bytes) -> tuple[bytes, int]:
        """A Parquet file as it arrived. One that cannot be read goes as a whole: nobody can say whose texts it holds."""
        gone = ERASED.encode()
        if data == gone:
            return data, 0
        try:
            with tempfile.TemporaryFile() as file:
                file.write(data)
                file.flush()
                with json_lines(file, self.parquet_bytes):
                    return self.frame(data)
        except (UnreadableParquetError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return gone, 1

    def lines(self, data: bytes) -> tuple[bytes, int]:
        """A file as it arrived, without the texts; a broken line that names the contributor goes as a whole."""
        lines = data.split(b"\n")
        places = 0
        for index, line in enumerate(lines):
            erased: Any = None
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                erased = ERASED if self.names_them(line.decode("utf-8", errors="replace")) else None
            else:
                if isinstance(record, dict) and (without := self._record(record)) != record:
                    erased = without
            if erased is not None:
                lines[index] = json.dumps(erased).encode()
                places += 1
        return b"\n".join(lines), places

    def _record(self, record: dict[str, Any]) -> dict[str, Any]:
        own = record.get("contributor_id") in self.names
        wrote = own and record.get("kind") != "preference"
        return {
            name: self._messages(value)
            if name == "messages" and not wrote
            else ERASED
            if (wrote and name in (*TEXTS, "messages"))
            or (name not in IDS and isinstance(value, str) and value in self.texts)
            else value
            for name, value in record.items()
            if not own or name in KNOWN_FIELDS
        }

    def tasks(self, data: bytes) -> tuple[bytes, int]:
        """The tasks of a round without those that hold a text of the contributor."""
        lines = [line for line in data.decode("utf-8").split("\n") if line]
        tasks = [json.loads(line) for line in lines]
        kept = [
            f"{line}\n"
            for line, task in zip(lines, tasks, strict=True)
            if task["comparison_id"] not in self.withdrawn and self.texts.isdisjoint(_texts_of(task))
        ]
        return "".join(kept).encode(), len(tasks) - len(kept)

    def lots(self, data: bytes) -> tuple[bytes, int]:
        """The lots of a round without those whose prompt is a text of the contributor."""
        lines = [line for line in data.decode("utf-8").split("\n") if line]
        kept = [f"{line}\n" for line in lines if json.loads(line)["prompt"] not in self.texts]
        return "".join(kept).encode(), len(lines) - len(kept)

    def page(self, data: bytes) -> tuple[bytes, int]:
        """A page or JSON document without the texts, however it writes them."""
        places = 0
        for text in self.texts:
            if len(text) < SHORTEST_IN_PAGES:
                continue
            in_json = json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
            in_html = html.escape(text), html.escape(text, quote=False), str(escape(text))
            for form in {text, *in_html, *in_json}:
                written = form.encode("utf-8", "replace")
                if count := data.count(written):
                    data, places = data.replace(written, ERASED.encode()), places + count
        return data, places

    def report(self, data: bytes) -> tuple[bytes, int]:
        """A page of ours without the texts; its scripts stay as they are."""
        parts = CODE.split(data)
        erased = [(part, 0) if CODE.fullmatch(part) else self.page(part) for part in parts]
        return b"".join(part for part, _ in erased), sum(places for _, places in erased)

    def names_them(self, text: str) -> bool:
        """Whether a line that is no event names the contributor, or a comparison that is withdrawn."""
        pattern = rf"""contributor_id["']?\s*[:=]?\s*["']({"|".join(map(re.escape, self.names))})["']"""
        return re.search(pattern, text) is not None or any(name in text for name in self.withdrawn)


def _texts_of(task: dict[str, Any]) -> Iterator[str]:
    """Everything that somebody may have written of a published comparison."""
    for value in (*task.values(), *(each.get("content") for each in task.get("messages") or ())):
        if isinstance(value, str):
            yield value
