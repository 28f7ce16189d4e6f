"""The gate of a round: suites run, failing rows put into quarantine, and a verdict that later runs obey too.

Belongs here: which rows go, when a round is blocked or skipped. Does not belong here: the expectations.
"""

from dataclasses import dataclass

import polars as pl

from crowd_assets.quality.suites import prepared, suites
from resources import feedback
from resources.data_quality import DataQualityResource, Finding
from resources.rounds import Round, RoundBook
from resources.warehouse import WarehouseResource


class GateClosedError(RuntimeError):
    """A stage was started for a round whose feedback did not pass the gate."""


@dataclass(frozen=True)
class GateResult:
    """Valid events, quarantined rows (``resources.feedback.REJECTION_SCHEMA``) and what each expectation found."""

    valid: pl.DataFrame
    rejected: pl.DataFrame
    findings: list[Finding]

    @property
    def rejected_share(self) -> float:
        """Share of the round's events that were rejected, 0 for a round without events."""
        events = self.valid.height + self.rejected.height
        return self.rejected.height / events if events else 0.0


def check_feedback(round_: Round, events: pl.DataFrame, data_quality: DataQualityResource) -> GateResult:
    """Run the suite of each kind on its events; a row that fails a critical expectation goes into quarantine.

    Args:
        events: Events of the round (``resources.feedback.EVENT_SCHEMA`` and ``seq``).
    """
    frames = {
        kind: prepared(kind, of_kind)
        for kind in feedback.KINDS
        if not (of_kind := events.filter(pl.col("kind") == kind)).is_empty()
    }
    findings = data_quality.run_suites(frames, suites(round_.claimed_at), round_.round_id)
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.severity == "critical":
            for event_id in finding.failing_ids:
                reasons.setdefault(event_id, []).append(f"not met: {finding.expectation}")
    failing = pl.col("event_id").is_in(list(reasons))
    rows = [
        feedback.rejection(
            stage="gate",
            source=event["source"],
            line=event["line"],
            reason="; ".join(reasons[event["event_id"]]),
            excerpt=next((event[name] for name in ("response", "response_a", "comparison_id") if event[name]), ""),
            round_no=round_.round_no,
            kind=event["kind"],
            contributor_id=event["contributor_id"],
            event_id=event["event_id"],
        )
        for event in events.filter(failing).iter_rows(named=True)
    ]
    rejected = pl.DataFrame(rows, schema=feedback.REJECTION_SCHEMA)
    return GateResult(events.filter(~failing), rejected, findings)


def too_few(valid: pl.DataFrame, groups: int, min_demonstrations: int) -> str | None:
    """Why the valid feedback does not carry a round, in words; None when it does."""
    demonstrations = valid.filter(pl.col("kind") == "demonstration")
    contributors = demonstrations["contributor_id"].n_unique()
    if demonstrations.height < min_demonstrations:
        return f"{demonstrations.height} valid demonstrations; CROWD_MIN_DEMONSTRATIONS asks for {min_demonstrations}"
    if contributors < groups:
        return f"{contributors} contributors with a valid demonstration; CROWD_GROUPS asks for {groups} groups"
    return None


def passed_round(warehouse: WarehouseResource, round_id: str) -> Round:
    """The round of a partition key, if its feedback passed the gate: also in a run that the gate was not part of.

    Raises:
        GateClosedError: it did not pass, or was not checked yet.
    """
    round_ = RoundBook(warehouse).get(round_id)
    verdict = warehouse.read_round("quality_verdicts", round_.round_no)
    if verdict.is_empty():
        raise GateClosedError(f"{round_id} has not been through the gate: materialise validated_feedback first.")
    if not verdict["passed"].item():
        raise GateClosedError(f"{round_id} did not pass the gate: {verdict['reason'].item()}.")
    return round_
