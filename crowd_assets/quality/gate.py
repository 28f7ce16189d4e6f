"""The gate of a round: which rows go into quarantine and why, and what every expectation found.

Polars finds the rows that fail, in chunks; Great Expectations validates and reports what it found, and its counts must
be the same.

Belongs here: which rows go. Does not belong here: the verdict on a round (see ``verdict``), what is expected (see ``conditions``,
``drift``), findings about texts and people (see ``detectors``).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality import conditions, drift
from crowd_assets.quality.conditions import ALONE, CONDITIONS, CRITICAL, WARNING
from crowd_assets.quality.detectors import Detection, masked
from crowd_assets.quality.detectors.base import CONTRIBUTORS, RINGS, authored
from crowd_assets.quality.history import Earlier, Known, first_reports, known
from crowd_assets.quality.objections import BY_SETTINGS, Objection, expected, objections_of
from crowd_assets.quality.suites import LISTED, expectations, figure_expectations, reported
from resources.feedback import events as feedback
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource

Events = Callable[[], Iterator[pl.DataFrame]]
Detect = Callable[[pl.DataFrame, pl.DataFrame | None, CrowdSettings], Sequence[Detection]]
Embed = Callable[[Sequence[str]], NDArray[np.float64]]

ENOUGH_FOR_SHARES = (20, 3)  # events and contributors of a kind from which a contributor's share says something
FINDINGS = {
    "suite": pl.String(),
    "expectation": pl.String(),
    "severity": pl.String(),
    "rows": pl.Int64(),
    "failing": pl.Int64(),
    "figure": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
}


class ReportMismatchError(RuntimeError):
    """Great Expectations counted other failing rows than the gate found: the report would not be of this round."""


@dataclass(frozen=True)
class Finding:
    """What one expectation found.

    Attributes:
        suite: A kind of feedback, or ``round``.
        name: The expectation's name; ``<suite>_<name>`` is that of its check.
        words: What was expected.
        severity: ``critical`` or ``warning``.
        rows: Rows that it looked at; 1 for a figure of the round.
        failing: How many of them did not meet it.
        figure: A figure of the round; None for an expectation of rows, or where there was nothing to compare with.
        low, high: Where the figure was expected.
        listed: The first events that did not meet it, each with the value that is to blame.
    """

    suite: str
    name: str
    words: str
    severity: str
    rows: int
    failing: int
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    listed: tuple[str, ...] = ()

    @property
    def check(self) -> str:
        return f"{self.suite}_{self.name}"

    @property
    def success(self) -> bool:
        return self.failing == 0


@dataclass(frozen=True)
class GateResult:
    """What the gate made of a round.

    Attributes:
        rejected: Rows in quarantine (``resources.feedback.events.REJECTION_SCHEMA``).
        findings: What each expectation found, in the order of :func:`all_expectations`.
        kinds: By ``kind``: ``events``, ``contributors``, ``valid`` and ``valid_contributors``.
        vectors: Of a sample of the demonstrations, in Φ, shape (n, d); None where no embedder was given.
        contributors: A row a contributor and detector that has a figure for them: ``detector`` and
            ``detectors.base.CONTRIBUTORS``.
        rings: Contributors who act as one, as far as a detector can tell: ``detectors.base.RINGS``.
        texts: Rows of the table ``flagged_texts``: what was found in the texts of those whom a detector flags for their texts.
    """

    rejected: pl.DataFrame
    findings: list[Finding]
    kinds: pl.DataFrame
    vectors: NDArray[np.float64] | None
    contributors: pl.DataFrame
    rings: pl.DataFrame
    texts: pl.DataFrame
    _events: Events
    _failing: pl.DataFrame

    @property
    def events(self) -> int:
        """How many events the round has."""
        return int(self.kinds["events"].sum())

    @property
    def accepted(self) -> int:
        """How many of them are valid."""
        return self.events - self.rejected.height

    @property
    def rejected_share(self) -> float:
        """Share of the round's events that were rejected, 0 for a round without events."""
        return self.rejected.height / self.events if self.events else 0.0

    @property
    def valid_demonstrations(self) -> tuple[int, int]:
        """How many valid demonstrations there are, and of how many contributors."""
        row = self.kinds.filter(pl.col("kind") == "demonstration")
        return row["valid"].item(), row["valid_contributors"].item()

    def valid(self) -> Iterator[pl.DataFrame]:
        """The events that meet every critical expectation, as the round may use them, in order of ``seq``, chunk by
        chunk."""
        for chunk in self._events():
            yield chunk.join(self._failing, on="seq", how="anti", maintain_order="left").select(_NO_EVENTS.columns)

    def findings_frame(self) -> pl.DataFrame:
        """The findings as rows of the table ``quality_findings``."""
        return pl.DataFrame(
            [
                {name: getattr(finding, "name" if name == "expectation" else name) for name in FINDINGS}
                for finding in self.findings
            ],
            schema=FINDINGS,
        )


FLAGGED_TEXTS = pl.Schema(dict.fromkeys(("contributor_id", "detector", "event_id", "why"), pl.String()))


def all_expectations() -> list[tuple[str, str, str, str]]:
    """Every expectation that a round is checked by: suite, name, words and severity."""
    rows = []
    for kind in feedback.KINDS:
        rows += [(kind, each.name, each.words, each.severity) for each in CONDITIONS[kind]]
        rows += [(kind, name, words, BY_SETTINGS) for name, words in expected(kind)]
    return [*rows, *((drift.ROUND, name, words, WARNING) for name, words in drift.WORDS.items())]


def check_feedback(
    round_: Round,
    events: Events,
    data_quality: DataQualityResource,
    settings: CrowdSettings,
    earlier: Earlier | None = None,
    detect: Detect | None = None,
    released: Mapping[str, Set[str]] | None = None,
    embed: Embed | None = None,
    lots: Mapping[str, str] | None = None,
) -> GateResult:
    """Hold a round's events against every expectation; a row that fails a critical one goes into quarantine.

    Args:
        events: Gives the round's events (``resources.feedback.events.EVENT_SCHEMA`` and ``seq``) in order of ``seq``, chunk by
            chunk, every time it is called. Personal data in them is masked by settings for all but the detectors.
        earlier: What the settled rounds before it hold; nothing for the first.
        detect: ``detectors.detect``: it is given all events that meet the critical conditions at once, and those of the
            last rounds, so they must fit into memory.
        released: By ``event_id``, the rules that a released event need not meet again
            (``resources.rounds.releases.ReleaseBook.released``).
        embed: Φ, texts to vectors (n, d).
        lots: Prompts by lot that may be bid for (``round.lots.open_lots``); None: those of CROWD_LOTS, without it any.

    Raises:
        ReportMismatchError: Great Expectations counted otherwise.
    """
    earlier = earlier or Earlier()
    begun = max(round_.claimed_at, earlier.latest or round_.claimed_at)
    if lots is None and settings.lots_source == "listed":
        lots = dict.fromkeys(settings.known_lots(), "")

    def usable() -> Iterator[pl.DataFrame]:
        return (masked(chunk, settings) for chunk in events())

    found: dict[str, list[pl.DataFrame]] = {
        kind: [conditions.facts(kind, _NO_EVENTS, begun, lots)] for kind in feedback.KINDS
    }
    samples = [pl.DataFrame(schema=drift.SAMPLED)]
    for chunk in usable():
        for (kind,), of_kind in chunk.group_by("kind", maintain_order=True):
            found[str(kind)].append(conditions.facts(str(kind), of_kind, begun, lots))
        samples.append(drift.described(drift.sample(chunk)))
    facts = {kind: pl.concat(frames) for kind, frames in found.items()}
    history = known(earlier, facts, begun)
    forgiven = _forgiven(released or {})
    met = _judged(facts, history, forgiven, ())
    failing = pl.concat([_reasons(kind, of_kind, ()) for kind, of_kind in met.items()])
    contributors = [pl.DataFrame(schema={"detector": pl.String(), **CONTRIBUTORS})]
    rings = [pl.DataFrame(schema=RINGS)]
    texts = [pl.DataFrame(schema=FLAGGED_TEXTS)]
    objected: list[Objection] = []
    if detect:
        sent = [chunk.join(failing, on="seq", how="anti").select(_NO_EVENTS.columns) for chunk in events()]
        recent = earlier.recent()
        everything = pl.concat([_NO_EVENTS, *sent])
        detections = detect(everything, pl.concat(recent) if recent else None, settings)
        contributors += [each.contributors.select(pl.lit(each.detector).alias("detector"), "*") for each in detections]
        rings += [each.rings for each in detections]
        texts += [_texts_of(each, everything) for each in detections]
        objected = objections_of(detections, settings)
        met = _judged(facts, history, forgiven, objected)
        failing = pl.concat([_reasons(kind, of_kind, objected) for kind, of_kind in met.items()])
    wanted = {kind: _first_failing(of_kind) for kind, of_kind in met.items()}
    rejected, listed = _collected(round_, usable, failing, wanted)
    kinds = _kinds(facts, failing)
    valid = pl.concat(samples).join(failing, on="seq", how="anti", maintain_order="left")
    looked_at = drift.thin(valid.filter(pl.col("response").is_not_null()), drift.VECTORS)["response"]
    vectors = embed(looked_at.to_list()) if embed else None
    figures = _figures(round_, facts, valid, vectors, kinds, history, settings)
    findings = [
        *(
            Finding(
                kind,
                name,
                words,
                severity,
                of_kind.height,
                int((~of_kind[name]).sum()),
                listed=tuple(listed[kind][name]["shown"]),
            )
            for kind, of_kind in met.items()
            for name, words, severity in _expected(kind, objected)
        ),
        *(
            Finding(
                drift.ROUND, each.name, each.words, WARNING, 1, int(not each.success), each.value, each.low, each.high
            )
            for each in figures
        ),
    ]
    _report(round_, met, listed, figures, findings, objected, settings, data_quality)
    return GateResult(
        rejected, findings, kinds, vectors, pl.concat(contributors), pl.concat(rings), pl.concat(texts), usable, failing
    )


def _texts_of(detection: Detection, events: pl.DataFrame) -> pl.DataFrame:
    """What a detector found in the texts of those whom it flags, a row a text."""
    found = detection.events.select("event_id", why="detail")
    writers = detection.contributors.filter("flagged").select("contributor_id")
    return (
        authored(events)
        .select("contributor_id", pl.lit(detection.detector).alias("detector"), "event_id")
        .join(writers, on="contributor_id", how="semi", maintain_order="left")
        .join(found, on="event_id", maintain_order="left")
        .select(FLAGGED_TEXTS.names())
    )


def _expected(kind: str, objections: Sequence[Objection]) -> list[tuple[str, str, str]]:
    own = [(each.name, each.words, each.severity) for each in CONDITIONS[kind]]
    return own + [(each.name, each.words, each.severity) for each in objections if each.suite == kind]


def _forgiven(released: Mapping[str, Set[str]]) -> dict[str, pl.Series]:
    """By rule, the events that were released from it."""
    events: dict[str, list[str]] = defaultdict(list)
    for event_id, rules in released.items():
        for rule in rules:
            events[rule].append(event_id)
    return {rule: _keys_of(of_rule) for rule, of_rule in events.items()}


def _judged(
    facts: Mapping[str, pl.DataFrame],
    history: Known,
    forgiven: Mapping[str, pl.Series],
    objections: Sequence[Objection],
) -> dict[str, pl.DataFrame]:
    """By kind, a row an event and a column an expectation: whether the event meets it, or need not."""

    def pardoned(found: pl.DataFrame, rules: Mapping[str, str]) -> pl.DataFrame:
        return found.with_columns(
            pl.col(name) | pl.col("event").is_in(forgiven[rule].implode())
            for name, rule in rules.items()
            if rule in forgiven
        )

    met: dict[str, pl.DataFrame] = {}
    reports = first_reports(history.keys["preference"])
    for kind in feedback.KINDS:  # preferences come before outcomes: an outcome may name what a valid one introduced
        rules = {each.name: _missed(each.words) for each in CONDITIONS[kind]}
        alone = pardoned(facts[kind], {each.name: rules[each.name] for each in ALONE[kind]})
        found = conditions.judged(kind, alone, history.keys[kind], history.published, reports)
        for each in objections:
            if each.suite == kind:
                detected = pl.col("event").is_in(_keys_of(each.reasons).implode())
                found = found.with_columns((~detected).alias(each.name))
                rules[each.name] = each.name
        found = pardoned(found, rules)
        met[kind] = found
        if kind == "preference":
            valid = facts[kind].join(found.filter(_valid(kind, objections)), on="seq", how="semi")
            reports = first_reports(pl.concat([each.select(*conditions.FACTS) for each in (history.keys[kind], valid)]))
    return met


def _valid(kind: str, objections: Sequence[Objection]) -> pl.Expr:
    return pl.all_horizontal(name for name, _, severity in _expected(kind, objections) if severity == CRITICAL)


def _reasons(kind: str, met: pl.DataFrame, objections: Sequence[Objection]) -> pl.DataFrame:
    """``seq`` and ``reason`` of the rows that fail a critical expectation."""
    by_event = {each.name: each.reasons for each in objections if each.suite == kind}
    missed = [
        pl.when(~pl.col(name)).then(
            pl.format("{}: {}", pl.lit(name), _by_event(by_event[name])) if name in by_event else pl.lit(_missed(words))
        )
        for name, words, severity in _expected(kind, objections)
        if severity == CRITICAL
    ]
    return met.filter(~_valid(kind, objections)).select(
        "seq", reason=pl.concat_str(missed, separator="; ", ignore_nulls=True)
    )


def _missed(words: str) -> str:
    """Why a row is in quarantine that does not meet a condition: also the rule that it can be released from."""
    return f"not met: {words}"


def _by_event(reasons: Mapping[str, str]) -> pl.Expr:
    """An event's own reason."""
    values = pl.Series(list(reasons.values()), dtype=pl.String)
    return pl.col("event").replace_strict(_keys_of(reasons), values, default=None, return_dtype=pl.String)


def _keys_of(event_ids: Iterable[str]) -> pl.Series:
    """Events as the facts name them."""
    events = pl.DataFrame({"event_id": list(event_ids)}, schema={"event_id": pl.String})
    return events.select(key=conditions.hashed("event_id"))["key"]


def _first_failing(met: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """By expectation, ``row`` and ``seq`` of the first rows that do not meet it."""
    numbered = met.with_row_index("row")
    return {
        name: numbered.filter(~pl.col(name)).head(LISTED).select("row", "seq")
        for name in met.columns
        if name not in ("seq", "event")
    }


def _collected(
    round_: Round, events: Events, failing: pl.DataFrame, wanted: Mapping[str, Mapping[str, pl.DataFrame]]
) -> tuple[pl.DataFrame, dict[str, dict[str, pl.DataFrame]]]:
    """Rows of the quarantine; and for each kind and expectation the rows that reports list, with what they show."""
    shown = {kind: {each.name: each.shown for each in CONDITIONS[kind]} for kind in wanted}
    needed = pl.concat([rows.select("seq") for of_kind in wanted.values() for rows in of_kind.values()]).unique()
    rejections = [pl.DataFrame(schema=feedback.REJECTION_SCHEMA)]
    columns = sorted({column for of_kind in shown.values() for column in of_kind.values()} | {"seq", "event_id"})
    rows = [_NO_EVENTS.select(columns)]
    for chunk in events():
        rows.append(chunk.join(needed, on="seq", how="semi").select(columns))
        rejections.append(_quarantined(round_, chunk.join(failing, on="seq", maintain_order="left")))
    rejected = pl.concat(rows)
    listed: dict[str, dict[str, pl.DataFrame]] = {}
    for kind, of_kind in wanted.items():
        listed[kind] = {}
        for name, places in of_kind.items():
            column = shown[kind].get(name, "contributor_id")
            value = pl.concat_str("event_id", pl.lit(" "), pl.col(column).cast(pl.String).fill_null("none"))
            listed[kind][name] = places.join(rejected, on="seq", maintain_order="left").select(
                "row", shown=value.fill_null("no id")
            )
    return pl.concat(rejections), listed


def _quarantined(round_: Round, rows: pl.DataFrame) -> pl.DataFrame:
    """Failing events as rows of the quarantine."""
    kept = rows.select(
        "source",
        "line",
        "reason",
        "kind",
        "contributor_id",
        "event_id",
        excerpt=feedback.shown_of_event(),
    )
    return pl.DataFrame(
        [feedback.rejection(stage="gate", round_no=round_.round_no, **row) for row in kept.iter_rows(named=True)],
        schema=feedback.REJECTION_SCHEMA,
    )


def _kinds(facts: Mapping[str, pl.DataFrame], failing: pl.DataFrame) -> pl.DataFrame:
    """What came of each kind, and how much of it is valid."""
    rows = []
    for kind, of_kind in facts.items():
        valid = of_kind.join(failing, on="seq", how="anti")
        people = kind in drift.CONTRIBUTED
        rows.append(
            {
                "kind": kind,
                "events": of_kind.height,
                "contributors": of_kind["contributor"].n_unique() if people else 0,
                "valid": valid.height,
                "valid_contributors": valid["contributor"].n_unique() if people else 0,
            }
        )
    return pl.DataFrame(rows)


def _figures(
    round_: Round,
    facts: Mapping[str, pl.DataFrame],
    valid: pl.DataFrame,
    vectors: NDArray[np.float64] | None,
    kinds: pl.DataFrame,
    history: Known,
    settings: CrowdSettings,
) -> list[drift.Figure]:
    largest = {}
    for kind in drift.CONTRIBUTED:
        counts = facts[kind]["contributor"].value_counts()["count"].to_numpy()
        events, people = ENOUGH_FOR_SHARES
        if counts.sum() >= events and counts.size >= people:
            largest[kind] = float(counts.max() / counts.sum())
    newest: datetime | None = pl.concat(
        [each.filter("not_in_future", "not_long_ago")["submitted_at"] for each in facts.values()]
    ).max()  # type: ignore[assignment]
    now = pl.concat([drift.thin(valid.filter(pl.col("kind") == kind), drift.SAMPLE) for kind in feedback.KINDS])
    return drift.figures(
        now,
        history.sample,
        history.volumes,
        dict(kinds.select("kind", "valid").iter_rows()),
        largest,
        newest,
        history.begun,
        None if vectors is None or history.vectors is None else (vectors, history.vectors),
        drift_distance=settings.drift_distance,
        max_contributor_share=settings.max_contributor_share,
        max_feedback_age_days=settings.max_feedback_age_days,
    )


def _report(
    round_: Round,
    met: Mapping[str, pl.DataFrame],
    listed: Mapping[str, Mapping[str, pl.DataFrame]],
    figures: Sequence[drift.Figure],
    findings: Sequence[Finding],
    objections: Sequence[Objection],
    settings: CrowdSettings,
    data_quality: DataQualityResource,
) -> None:
    """Let Great Expectations validate and report what was found, and see that it counts the same.

    Raises:
        ReportMismatchError: it does not.
    """
    kinds = [kind for kind, of_kind in met.items() if of_kind.height]
    frames = {kind: reported(met[kind].drop("seq", "event"), listed[kind]) for kind in kinds}
    suites = {kind: expectations(_expected(kind, objections), settings.max_rejected_share) for kind in kinds}
    shown = [each for each in figures if each.value is not None]
    if shown:
        frames[drift.ROUND] = pl.DataFrame({each.name: [each.value] for each in shown})
        suites[drift.ROUND] = figure_expectations(shown)
    counted = data_quality.run_suites(frames, suites, round_.round_id)
    for each in findings:
        there = counted.get((each.suite, each.name), 0)
        if there != each.failing:
            raise ReportMismatchError(
                f"{round_.round_id}: {each.failing} rows do not meet {each.check}, Great Expectations counts {there}."
            )


_NO_EVENTS = pl.DataFrame(schema={"seq": pl.Int64(), **feedback.EVENT_SCHEMA})
