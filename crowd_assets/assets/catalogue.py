"""What Dagster's catalogue says of the assets: the tables that they write, with the meaning of each column, where columns come from, and
what lies outside the graph on both sides of the loop, and the code and pages behind each.

Belongs here: which asset writes which table. Does not belong here: what columns mean (see ``resources.warehouse.dictionary``).
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    CodeReferencesMetadataValue,
    LocalFileCodeReference,
    TableColumn,
    TableColumnDep,
    TableColumnLineage,
    TableSchema,
    with_source_code_references,
)

from crowd_assets.assets import OWNERS
from resources.settings.resource import CrowdSettings
from resources.warehouse.dictionary import table

SCHEMA, NAME, URI, LINEAGE = "dagster/column_schema", "dagster/table_name", "dagster/uri", "dagster/column_lineage"

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {
    "0_seed": ["training.md"],
    "1_feedback": ["feedback.md", "quality.md"],
    "2_labelers": ["mechanisms/labelers.md"],
    "3_candidates": ["mechanisms/selection.md", "training.md"],
    "4_selection": ["mechanisms/selection.md", "mechanisms/qa_dpo.md", "own_target.md"],
    "5_procurement": ["mechanisms/auctions.md", "attacks.md"],
    "6_contributions": ["mechanisms/points.md", "mechanisms/shapley.md", "attacks.md"],
    "7_report": ["report.md", "operations.md"],
    "8_outside": ["feedback.md", "desk.md"],
    "experiments": ["experiments.md", "reproduction.md"],
}

TABLES: Mapping[str, tuple[str, ...]] = {
    "raw_feedback": ("event_index", "ingested_files", "feedback_segments"),
    "validated_feedback": (
        "quality_findings",
        "quality_verdicts",
        "quality_contributors",
        "rings",
        "flagged_texts",
        "rejected_feedback",
    ),
    "labeler_weights": ("labeler_weights", "labeler_states", "labeler_standings", "judgement_pay"),
    "aggregated_preferences": ("agreement_figures",),
    "contributor_groups": ("contributor_groups", "candidate_members"),
    "candidate_models": ("candidates", "contributor_values"),
    "selected_model": ("selections", "guard_verdicts"),
    "aligned_model": ("alignments", "pair_values", "judgement_values"),
    "shapley_estimates": ("contributions",),
    "contributor_estimates": ("contributor_estimates", "contributor_points", "epochs"),
    "point_ledger": ("ledger", "round_records", "round_keys", "corrections"),
    "auction_clearing": ("awards",),
    "comparison_tasks": ("comparison_tasks", "assignments", "published_lots"),
}
"""By asset, the tables of the warehouse that it writes, the one that it is known by first."""

FROM: Mapping[str, Mapping[str, tuple[tuple[str, str], ...]]] = {
    "selected_model": {"model": (("candidate_models", "model"),), "distance": (("candidate_models", "model"),)},
    "aligned_model": {"model": (("selected_model", "model"),)},
    "shapley_estimates": {"shapley_value": (("candidate_models", "loss_reduction"),)},
    "contributor_estimates": {
        "estimate": (("candidate_models", "demonstrations"), ("selected_model", "fresh_distance")),
        "standard_error": (("selected_model", "fresh_standard_error"),),
        "provisional_points": (("aligned_model", "fresh_distance"), ("selected_model", "fresh_distance")),
    },
    "point_ledger": {
        "amount": (("contributor_estimates", "points"), ("auction_clearing", "payment"), ("labeler_weights", "paid")),
    },
    "comparison_tasks": {
        "event_id_a": (("auction_clearing", "event_id"),),
        "event_id_b": (("auction_clearing", "event_id"),),
    },
}
"""By asset and column of its first table, the columns of other assets' tables that the column is computed from."""


def catalogued(spec: AssetSpec, settings: CrowdSettings) -> AssetSpec:
    """A spec with its table's name, columns and address, and with the columns that others are computed from."""
    written = TABLES.get(spec.key.to_user_string())
    if written is None:
        return spec
    return spec.merge_attributes(metadata=_of_table(spec.key.to_user_string(), written, settings))


def outside(settings: CrowdSettings) -> Sequence[AssetSpec]:
    """What the graph reads and writes beside the warehouse. The loop closes there: labelers, sellers and tools answer what lies in the
    outbox, and their answers arrive in the inbox."""
    addresses = {
        "inbox": settings.inbox_path,
        "outbox": settings.outbox_path,
        "next_base_model": settings.path("models"),
    }
    found = [
        AssetSpec(
            "inbox",
            description="Files of feedback as people, tools and the desk put them there; ingestion takes them. Answers to what the "
            "outbox asks come back here.",
        ),
        AssetSpec(
            "outbox",
            deps=["comparison_tasks"],
            description="What a round asks of the crowd: comparisons, assignments and the lots of the next round. The desk and "
            "annotation tools read it; the answers come back by the inbox.",
        ),
        AssetSpec(
            "next_base_model",
            deps=["aligned_model", "selected_model"],
            description="The stored model with which the next round's candidates begin: the aligned model, the winner, or the base "
            "where nothing came nearer to the target.",
        ),
    ]
    if settings.label_studio_url:
        found.append(
            AssetSpec(
                "label_studio",
                deps=["outbox"],
                metadata={URI: settings.label_studio_url},
                description="The project of Label Studio that the round's comparisons are sent to.",
            )
        )
    return [
        each.replace_attributes(group_name="8_outside", owners=OWNERS, kinds={"json"}).merge_attributes(
            metadata={URI: str(addresses[each.key.to_user_string()])} if each.key.to_user_string() in addresses else {}
        )
        for each in found
    ]


def _of_table(asset: str, written: Sequence[str], settings: CrowdSettings) -> dict[str, Any]:
    first = table(written[0])
    lineage = {
        column: [TableColumnDep(asset_key=AssetKey(upstream), column_name=name) for upstream, name in sources]
        for column, sources in FROM.get(asset, {}).items()
    }
    return {
        SCHEMA: TableSchema(
            columns=[TableColumn(each.name, type=each.type, description=each.words) for each in first.columns]
        ),
        NAME: f"main.{first.name}",
        URI: settings.warehouse.split("@")[-1]
        if settings.warehouse
        else str(settings.path("warehouse.snapshot.duckdb")),
        "tables": ", ".join(written),
        **({LINEAGE: TableColumnLineage(deps_by_column=lineage)} if lineage else {}),
    }


def with_references(assets: list[Any]) -> Sequence[Any]:
    """The assets with links to their code and their pages of the documentation, for the UI on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)
        return with_source_code_references([_with_pages(each) for each in assets])


def _with_pages(assets: AssetsDefinition) -> AssetsDefinition:
    def pages(group: str | None) -> CodeReferencesMetadataValue:
        references = [
            LocalFileCodeReference(file_path=str(DOCS / name), line_number=1, label=f"docs/{name}")
            for name in PAGES[group or ""]
            if (DOCS / name).exists()
        ]
        return CodeReferencesMetadataValue(code_references=list(references))

    return assets.map_asset_specs(
        lambda spec: spec.merge_attributes(metadata={"dagster/code_references": pages(spec.group_name)})
    )
