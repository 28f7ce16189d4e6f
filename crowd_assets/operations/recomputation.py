"""What the tables and frames of a settled round should hold, computed again from the round's inputs.

Training and generation are not repeated: models, the distances on selection samples, accuracies, in-run values and values of pairs are inputs.

Belongs here: which function of a round computes a table again, and from what. Does not belong here: what a round computes (see
``crowd_assets.round``), records and hashes (see ``audit_round``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from crowd_assets.mechanisms.payouts import rank_of
from crowd_assets.mechanisms.target import mean_distance
from crowd_assets.operations.differences import Difference, first_difference
from crowd_assets.report import agreement
from crowd_assets.round import (
    asked,
    assignment,
    contributions,
    generated,
    judgement_values,
    judging,
    labelers,
    points,
    procurement,
    selection,
    settlement,
    standing,
    target,
)
from crowd_assets.round.groups import groups_of, learnt_from, members_of_candidates
from crowd_assets.round.points import EpochSoFar
from crowd_assets.round.promotion import BLOCKED
from crowd_assets.round.tournament import EMBEDDED_CONTRIBUTORS
from resources.feedback.events import ERASED, EVENT_SCHEMA, completed, is_erased
from resources.feedback.inbox import InboxResource
from resources.files.frames import FramesResource, read_parquet
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.rounds.corrections import CorrectionBook
from resources.rounds.records import TEXT_COLUMNS
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import COMPLETED
from resources.warehouse.schema import ROUND_TABLES

FIGURES = [name for name in EVENT_SCHEMA if name not in TEXT_COLUMNS]
FRESH = ("fresh_distance", "fresh_standard_error")

Recompute = Callable[["Recomputation", pl.DataFrame], pl.DataFrame]


@dataclass
class Recomputation:
    """What the tables and frames of one round should hold, by the mechanisms, given what they hold: what cannot be computed again is taken
    as it is.

    Attributes:
        settings: that the round was settled with.
        aim: the round's target.
        recorded: tables that the round's record names.
        erased: what was erased on request and is therefore not compared, in words, in the order found; methods add to it.
        posted: entries of the ledger, once they were computed.
    """

    round_: Round
    settings: CrowdSettings
    warehouse: WarehouseResource
    frames: FramesResource
    inbox: InboxResource
    embedder: EmbedderResource
    aim: target.Target
    recorded: frozenset[str]
    erased: dict[str, None]
    posted: pl.DataFrame = field(default_factory=pl.DataFrame)

    def difference(self, name: str) -> Difference | None:
        """How a table or frame differs from what it should hold; None where it does not, or where nothing computes it again."""
        key, again = CHECKS[name]
        if again is None:
            return None
        is_frame = name not in ROUND_TABLES and name != "ledger"
        if is_frame:
            stored = self.frames.read(name, self.round_.round_id)
        else:
            stored = self.warehouse.read_round(name, self.round_.round_no)
        expected = again(self, stored)
        return first_difference(f"frame {name}" if is_frame else name, key, stored, expected)

    def _validated_feedback(self, stored: pl.DataFrame) -> pl.DataFrame:
        """The round's events but for those in quarantine, and those that were erased before it began."""
        round_ = self.round_
        paths = self.inbox.segment_paths(round_.from_seq, round_.to_seq).values()
        events = pl.concat([completed(read_parquet(path)) for path in paths])
        events = asked.with_asked(events, round_.round_no, self.settings, self.warehouse, [])
        rejected = self.warehouse.query(
            "SELECT event_id FROM rejected_feedback WHERE round_no = $n AND stage = 'gate'", {"n": round_.round_no}
        )
        erased = is_erased() & ~pl.col("seq").is_in(stored["seq"].implode())
        return (
            events.filter(pl.col("seq").is_between(round_.from_seq, round_.to_seq), ~erased)
            .join(rejected, on="event_id", how="anti")
            .select("seq", *(name for name in FIGURES if name in stored.columns))
        )

    def _labeler_weights(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.weights_after(self.round_, self.settings, self.warehouse, self.frames)[0]

    def _labeler_states(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.states_after(labelers.weights_after(self.round_, self.settings, self.warehouse, self.frames)[1])

    def _judgement_pay(self, stored: pl.DataFrame) -> pl.DataFrame:
        learnt = labelers.weights_after(self.round_, self.settings, self.warehouse, self.frames)[1]
        return judging.pay_of(self.round_, self.settings, self.warehouse, self.frames, learnt)

    def _aggregated_preferences(self, stored: pl.DataFrame) -> pl.DataFrame:
        return labelers.aggregated(self.round_, self.settings, self.warehouse, self.frames).drop(
            TEXT_COLUMNS, strict=False
        )

    def _contributor_groups(self, stored: pl.DataFrame) -> pl.DataFrame:
        return groups_of(self.round_, self.settings, self.warehouse, self.frames, self.aim).drop("key")

    def _candidate_members(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Who trained which candidate; what one learnt from earlier rounds, as far as no text of theirs was erased since."""
        groups = self.warehouse.read_round("contributor_groups", self.round_.round_no)
        members = members_of_candidates(self.round_, self.settings, self.warehouse, self.frames, groups)
        erased = learnt_from(self.round_, self.settings, self.warehouse, self.frames, erased=True)
        gone = members["contributor_id"].is_in(erased["contributor_id"].implode())
        if gone.any():
            self.erased["how many demonstrations candidates learnt from, of contributors whose texts are gone"] = None
        held = members.join(stored, on=["group_index", "contributor_id"], how="left", maintain_order="left")
        return members.with_columns(
            demonstrations=pl.when(gone).then(held["demonstrations_right"]).otherwise(pl.col("demonstrations"))
        )

    def _candidates(self, stored: pl.DataFrame) -> pl.DataFrame:
        table = "candidate_members" if "candidate_members" in self.recorded else "contributor_groups"
        members = self.warehouse.read_round(table, self.round_.round_no)
        return members.group_by("group_index").agg(contributors=pl.len(), demonstrations=pl.col("demonstrations").sum())

    def _selections(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Ranks by distance, at most the best selected, distances on the fresh sample by what was written there."""
        candidates = stored.filter(pl.col("role") == "candidate").sort("group_index")
        ranks = rank_of(candidates["distance"].to_numpy())
        refused = self.warehouse.read_round("guard_verdicts", self.round_.round_no).filter(pl.col("refused") != "")
        may_win = ~candidates["group_index"].is_in(refused["group_index"].implode()).to_numpy()
        best = -1
        if candidates["selected"].any() and may_win.any():
            best = candidates["group_index"][int(np.argmin(np.where(may_win, ranks, ranks.size)))]
        base, winner = (self._fresh("generations", column) for column in ("base", "winner"))
        rows = []
        for row in stored.iter_rows(named=True):
            selected, rank = row["group_index"] == best, None
            fresh = base if row["role"] == "base" else winner if selected else (None, None)
            if row["role"] == "candidate":
                rank = int(ranks[candidates["group_index"].index_of(row["group_index"])])
            row |= {"rank": rank, "selected": selected}
            if fresh is not None:
                row |= dict(zip(FRESH, fresh, strict=True))
            rows.append(row)
        return pl.DataFrame(rows, schema=stored.schema)

    def _alignments(self, stored: pl.DataFrame) -> pl.DataFrame:
        judged = self.frames.read("aggregated_preferences", self.round_.round_id)
        training, held_out = selection.preference_pairs(judged, self.round_, self.settings)
        row = stored.row(0, named=True)
        measured = [row[name] for name in ("accuracy_before", "accuracy_after", "distance_before", "distance_after")]
        blocked = bool(self.settings.gate_command) and (row["reason"] or "").startswith(BLOCKED)
        kept = row["model"] is not None and selection.is_better(*measured) and not blocked
        row |= {"pairs": len(training), "held_out": len(held_out), "kept": kept}
        fresh = self._fresh("aligned_generations", "aligned") if kept else (None, None)
        if fresh is not None:
            row |= dict(zip(FRESH, fresh, strict=True))
        return pl.DataFrame([row], schema=stored.schema)

    def _judgement_values(self, stored: pl.DataFrame) -> pl.DataFrame:
        return judgement_values.values_of(self.round_, self.settings, self.warehouse, self.frames)

    def _fresh(self, frame: str, column: str) -> tuple[float, float] | None:
        """Target distance of what a model wrote on the fresh sample, and its standard error; None where some is erased."""
        texts = self.frames.read(frame, self.round_.round_id)[column].to_list()
        if ERASED in texts:
            self.erased[f"distances on the fresh sample of {frame}"] = None
            return None
        distance = mean_distance(self.embedder.embed(texts), self.aim.vector)
        return distance.mean, distance.standard_error

    def _contributor_embeddings(self, stored: pl.DataFrame) -> pl.DataFrame:
        valid = self.frames.read("validated_feedback", self.round_.round_id)
        gone = valid.filter(pl.col("response") == ERASED)["contributor_id"].unique().implode()
        erased = pl.col("contributor_id").is_in(gone)
        if stored.filter(erased).height:
            self.erased["embeddings of contributors whose texts are gone"] = None
        again = contributions.embedded(valid, self.embedder)
        return pl.concat([again.filter(~erased), stored.filter(erased)])

    def _contributions(self, stored: pl.DataFrame) -> pl.DataFrame:
        base = self.frames.read("generations", self.round_.round_id)["base"]
        if self.settings.shapley_method == "centroid" and ERASED in base:
            self.erased["Shapley values"] = None
            return stored
        written = self.frames.read(EMBEDDED_CONTRIBUTORS, self.round_.round_id)
        again, _ = contributions.values_of(
            self.round_, self.settings, self.warehouse, self.frames, self.embedder, self.aim, written
        )
        return again

    @cached_property
    def _estimates(self) -> EpochSoFar:
        return points.estimates_of(self.round_, self.settings, self.warehouse, self.frames, self.aim)

    def _contributor_estimates(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.estimates

    def _contributor_points(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.points

    def _epochs(self, stored: pl.DataFrame) -> pl.DataFrame:
        return self._estimates.epoch

    def _awards(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Qualities by the texts, and the auction by the qualities as they are."""
        bids = procurement.bids_of(self.round_, self.settings, self.warehouse, self.frames)
        held = bids.join(stored.select("event_id", "quality"), on="event_id", how="left", maintain_order="left")[
            "quality"
        ]
        if held.null_count():
            return bids.select("event_id", "contributor_id", "lot_id")  # an award is missing
        again = procurement.awards_of(self.round_, self.settings, bids, held.to_numpy())
        quality = procurement.verified_quality(bids["response"].to_list(), self.aim, self.embedder)
        erased = bids["response"] == ERASED
        if erased.any():
            self.erased[f"qualities of {erased.sum()} bids"] = None
        return again.with_columns(quality=pl.Series(np.where(erased.to_numpy(), held.to_numpy(), quality)))

    def _ledger(self, stored: pl.DataFrame) -> pl.DataFrame:
        corrections = CorrectionBook(self.warehouse).of_round(self.round_.round_no)
        entries = settlement.entries_of(self.round_, self.settings, self.warehouse, self._estimates.points, corrections)
        number = pl.lit(self.round_.round_no, pl.Int32)
        self.posted = settlement.as_frame(entries).with_columns(round_no=number).select(stored.columns)
        return self.posted

    def _comparison_tasks(self, stored: pl.DataFrame) -> pl.DataFrame:
        published = self.round_.status == COMPLETED and self.round_.reason is None
        if stored.is_empty() and not published:
            return stored
        bought = procurement.tasks_of(self.round_, self.warehouse.read_round("awards", self.round_.round_no))
        written = self.frames.read("generations", self.round_.round_id)
        if self.settings.generated_pairs and ERASED in pl.concat([written["base"], written["winner"]]):
            self.erased["comparisons of what models wrote"] = None
            return pl.concat([bought, stored.filter(pl.col("lot_id") == generated.NO_LOT).select(bought.columns)])
        return pl.concat([bought, generated.generated_tasks(self.round_, self.settings, self.frames)])

    def _labeler_standings(self, stored: pl.DataFrame) -> pl.DataFrame:
        learnt = labelers.weights_after(self.round_, self.settings, self.warehouse, self.frames)[1]
        return standing.standings_after(self.round_, self.settings, self.warehouse, self.frames, learnt)

    def _agreement_figures(self, stored: pl.DataFrame) -> pl.DataFrame:
        return agreement.figures_of_round(self.round_, self.warehouse, self.frames)

    def _assignments(self, stored: pl.DataFrame) -> pl.DataFrame:
        published = self.round_.status == COMPLETED and self.round_.reason is None
        if stored.is_empty() and not published:
            return stored
        return assignment.assignments_of(self.round_, self.settings, self.warehouse, self.frames)


CHECKS: dict[str, tuple[tuple[str, ...], Recompute | None]] = {
    "published_lots": ((), None),
    "rejected_feedback": ((), None),
    "validated_feedback": (("seq",), Recomputation._validated_feedback),
    "quality_verdicts": ((), None),
    "quality_findings": ((), None),
    "quality_contributors": ((), None),
    "rings": ((), None),
    "labeler_weights": (("labeler_id",), Recomputation._labeler_weights),
    "labeler_states": (("labeler_id", "figure"), Recomputation._labeler_states),
    "labeler_decisions": ((), None),
    "agreement_figures": (("figure",), Recomputation._agreement_figures),
    "labeler_standings": (("labeler_id",), Recomputation._labeler_standings),
    "judgement_pay": (("labeler_id",), Recomputation._judgement_pay),
    "aggregated_preferences": (("comparison_id",), Recomputation._aggregated_preferences),
    "contributor_groups": (("contributor_id",), Recomputation._contributor_groups),
    "candidate_members": (("group_index", "contributor_id"), Recomputation._candidate_members),
    "candidates": (("group_index",), Recomputation._candidates),
    "contributor_values": ((), None),
    "selections": (("role", "group_index"), Recomputation._selections),
    "guard_verdicts": ((), None),
    "corrections": ((), None),
    "alignments": (("round_no",), Recomputation._alignments),
    "pair_values": ((), None),
    "judgement_values": (("labeler_id",), Recomputation._judgement_values),
    EMBEDDED_CONTRIBUTORS: (("contributor_id",), Recomputation._contributor_embeddings),
    "contributions": (("contributor_id",), Recomputation._contributions),
    "contributor_estimates": (("contributor_id",), Recomputation._contributor_estimates),
    "contributor_points": (("earned_in_round", "contributor_id"), Recomputation._contributor_points),
    "epochs": (("first_round_no",), Recomputation._epochs),
    "awards": (("event_id",), Recomputation._awards),
    "ledger": (("entry_id",), Recomputation._ledger),
    "comparison_tasks": (("comparison_id",), Recomputation._comparison_tasks),
    "assignments": (("assignment_id",), Recomputation._assignments),
}
"""Tables and frames of a round, each behind what it is computed from: its key, and what recomputes it."""
