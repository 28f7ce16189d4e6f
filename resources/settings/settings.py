"""Settings: every knob of the platform, its unit, default and effect, read from the environment as ``CROWD_<NAME>``.

Belongs here: the fields and how they are read. Does not belong here: what a setting does to a round.
"""

import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from resources.common.errors import OperatorError
from resources.common.members import MemberOf

if TYPE_CHECKING:
    from upath import UPath

    from resources.settings.resource import CrowdSettings as CrowdSettings

ENVIRONMENT_PREFIX = "CROWD_"
BASE_MODEL = "base_model"  # the embedder that is the base model itself
DETECTORS = (
    "near_duplicates",
    "copies",
    "gibberish",
    "language",
    "personal_data",
    "instructions",
    "too_fast",
    "straight_lining",
    "position_bias",
    "gold_agreement",
    "intransitivity",
    "collusion",
)
# What other resources, or jobs, are made from when Dagster loads the code: a run cannot change them.
FROM_THE_ENVIRONMENT = (
    "home",
    "files",
    "warehouse",
    "inbox",
    "outbox",
    "frames",
    "models",
    "store_retry_s",
    "log_format",
    "traces",
    "label_studio_url",
    "label_studio_project",
    "label_studio_judgements",
    "base_model",
    "base_model_revision",
    "dtype",
    "device_map",
    "quantization",
    "embedder",
    "embedder_revision",
    "embedding_cache_mib",
    "fused_candidates",
    "max_line_bytes",
    "max_text_characters",
    "max_parquet_mib",
    "compute",
    "ray_address",
    "ray_cpus_per_task",
    "ray_gpus_per_task",
    "ray_memory_per_task_gib",
    "ray_tasks",
    "ray_retries",
    "ray_wait_s",
    "ray_dashboard",
    "sharding",
    "shards",
    "executor",
    "torch_threads",
    "lock_timeout_s",
    "lease_s",
    "least_free_mib",
)
CREDENTIALS = re.compile(r"(?<=://)[^/@]+(?=@)")
PASSWORD = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^&']*")  # whatever could be one: to be left out of messages
# With a user, and without a password.
POSTGRES = re.compile(r"postgres(ql)?://([^:/?@]*@)?[^@?]*(\?((?!password)[^@])*)?")
NOT_SETTINGS = {
    "CROWD_REFERENCE_DATA",  # where tests and benchmarks find real data
    "CROWD_PSEUDONYM_KEY",  # secrets: read when they are needed, and never part of a configuration that is stored or shown
    "CROWD_LABEL_STUDIO_TOKEN",
}


class SettingError(OperatorError, ValueError):
    """A setting has a value that it cannot have; the message names the setting, the value and the way out."""


class Settings(BaseModel):
    """All settings of the platform. Each field ``name`` is read from the environment variable ``CROWD_NAME``."""

    home: str = Field(
        default=".crowd", description="Folder of everything the platform keeps: warehouse, models, frames, reports."
    )
    warehouse: str = Field(
        default="",
        description="Where the tables are: postgresql://user@host/database, with the password in PGPASSWORD or PGPASSFILE. "
        "Empty: the DuckDB file <home>/warehouse.duckdb.",
    )
    files: str = Field(
        default="",
        description="Folder or URI, such as s3://bucket/prefix, below which inbox, outbox, frames, models, archive, steps and reports "
        "lie; warehouse, locks, caches and Data Docs stay in <home>. Empty: <home>.",
    )
    inbox: str = Field(default="", description="Folder or URI where feedback files arrive. Empty: <files>/inbox.")
    outbox: str = Field(
        default="", description="Folder or URI where comparison tasks are published. Empty: <files>/outbox."
    )
    frames: str = Field(default="", description="Folder or URI of the Parquet frames. Empty: <files>/frames.")
    models: str = Field(default="", description="Folder or URI of the model store. Empty: <files>/models.")
    store_retry_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds for which each call of an S3 store that does not answer is tried again; then the run fails, and the "
        "next one repairs what it left.",
    )
    ingest_files: int = Field(
        default=1000,
        ge=0,
        description="Feedback files that one run of the inbox sensor takes in at most; the next run goes on. 0: all there are.",
    )
    ingest_mib: int = Field(
        default=1024,
        ge=0,
        description="MiB of feedback files, about, that one run of the inbox sensor takes in at most. 0: all there are.",
    )
    backlog_mib: int = Field(
        default=4096,
        ge=0,
        description="MiB waiting in the inbox above which <outbox>/backlog.json tells collectors that it is full. 0: never.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Lines of the log of a run in a terminal, and of what commands warn of: for people, or one JSON object each.",
    )
    traces: bool = Field(
        default=False,
        description="Send an OpenTelemetry span for each stage of a round to OTEL_EXPORTER_OTLP_ENDPOINT. It takes the extra cluster.",
    )

    label_studio_url: str = Field(
        default="",
        description="Where a Label Studio answers (http or https) that comparison tasks are sent to and judgements are "
        "pulled from, with the personal access token in CROWD_LABEL_STUDIO_TOKEN. Empty: none.",
    )
    label_studio_project: str = Field(
        default="Comparison tasks", min_length=1, description="Title of the project there; made where there is none."
    )
    label_studio_judgements: int = Field(
        default=3, ge=1, description="Judgements that a comparison should get in a project that is made."
    )

    base_model: str = Field(
        default="",
        description="Hub id or local path of the causal language model that round 1 starts from. Empty: the seed model "
        "that the asset seed_language_model builds.",
    )
    base_model_revision: str = Field(
        default="main",
        description="Branch, tag or commit of a base model from the hub. A home keeps to the commit where a branch or tag stood "
        "when it was first used.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Precision of the base model; adapters are trained and kept in single precision. auto: as its "
        "configuration says.",
    )
    device_map: str = Field(
        default="",
        pattern=r"^(auto|cpu|cuda(:\d+)?)?$",
        description="Where the base model lies: cpu, cuda, cuda:1 and so on, or auto, as transformers' device_map. It must fit on "
        "one device. Empty: the first GPU, or the CPU where there is none.",
    )
    quantization: Literal["none", "int8", "nf4"] = Field(
        default="none",
        description="Linear layers of the base model in 8 or 4 bits by bitsandbytes, which the extra quantization installs; "
        "adapters of earlier rounds are merged before.",
    )
    embedder: str = Field(
        default="",
        description="Φ: hub id or local path of a multi-label classifier or a sentence encoder; or base_model, the last hidden "
        "states of the model that round 1 starts from. Empty: the seed classifier.",
    )
    embedder_revision: str = Field(default="main", description="Branch, tag or commit of an embedder from the hub.")
    embedding_cache_mib: int = Field(
        default=512,
        ge=0,
        description="Largest size, in MiB, of the file in which vectors of texts are kept for later steps and rounds; those "
        "stored first go first. 0: none are kept. The seed classifier's never are, as they are quickly made again.",
    )
    target_from: Literal["auto", "neighbourhood", "top_k", "texts", "gold"] = Field(
        default="auto",
        description="What the target is the centroid of: the reference texts around the one that scores highest for the "
        "attribute, those that score highest, the texts of target_texts, or the gold answers. auto: the file that is set, "
        "else neighbourhood.",
    )
    target_attribute: str = Field(
        default="gratitude",
        description="Label of Φ that the crowd should bring out, where the target is a neighbourhood or the top k.",
    )
    target_texts: str = Field(
        default="", description="File of texts to be like: one a line, or JSON Lines with a field text."
    )
    target_neighbours: int = Field(
        default=100, ge=1, description="Reference texts in the centroid of a neighbourhood, or of the top k."
    )
    gold_answers: str = Field(
        default="",
        description="File of gold answers to be like: JSON Lines with a field response and, if known, prompt. Φ sees the "
        "response; the prompt is what in-run values ask for it by.",
    )
    reference_texts: str = Field(
        default="",
        description="File of ordinary texts (one a line, or JSON Lines with a field text) among which the target is found "
        "and against which quality is scaled. Empty: comments of the embedded forum.",
    )

    seed: int = Field(default=0, ge=0, description="Seed of every random choice; a round adds its number.")
    groups: int = Field(default=6, ge=2, description="Groups of contributors, and so candidates, a round.")
    grouping: Annotated[str, MemberOf("crowd_assets.mechanisms.groupings.table:GROUPINGS")] = Field(
        default="posterior_sampling",
        description="How contributors are split into groups: at random, by points or estimates so far with exploring "
        "rounds, dealt from the upper and lower half, by a draw from the posterior of the estimates, or nested: the best few train one "
        "candidate, these and some more the next, each with what its members sent in earlier rounds, and the rest trains none.",
    )
    planned_rounds: int = Field(
        default=4,
        ge=1,
        description="Rounds planned; epsilon_greedy and posterior_sampling explore with probability "
        "max(0.4, 1 - round/planned).",
    )
    small_groups: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Size of all groups but one, as a share of an equal split, at least two contributors; the last group "
        "takes everybody else. Small groups tell contributors apart sooner; 1 splits equally. Not for interleaved.",
    )
    points_scheme: Annotated[str, MemberOf("crowd_assets.mechanisms.points_schemes.table:POINTS_SCHEMES")] = Field(
        default="evidence",
        description="What points are paid by: Shapley values of demonstrations by where candidates show that each contributor takes a "
        "model in Φ (evidence), the same of contributors with texts taken to work fully at first (surrogate), what each adds to a "
        "candidate's value (regression), or the rank of the group's candidate, the paper's (rank).",
    )
    epoch_rounds: int = Field(
        default=3,
        ge=1,
        description="Settled rounds after which points are posted. Until then they are provisional, as every round "
        "restates them. Points by rank are posted in every round.",
    )
    points_per_distance: str = Field(
        default="100", description="Points for one unit of target distance gained, at most 6 decimal places."
    )

    pay_by: Literal["demonstrations", "contributor"] = Field(
        default="demonstrations",
        description="What a share of a round's points goes by: valid demonstrations, so that splitting them between names pays "
        "nothing, or one share a contributor. Points by rank are the paper's, one share a contributor.",
    )
    paid_demonstrations: int = Field(
        default=64, ge=1, description="Demonstrations of one contributor in a round beyond which more are not paid for."
    )
    points_after_rounds: int = Field(
        default=2,
        ge=1,
        description="Rounds, of those that memory_rounds reaches, in which a contributor must have taken part when an epoch "
        "closes to be paid points for it; in a campaign's first rounds, all there were. What a new name costs whoever leaves "
        "the old one.",
    )
    copy_discount: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of their points that copies do not earn, where the detector near_duplicates flags a contributor for "
        "sending more of them than others.",
    )
    conserved_points: bool = Field(
        default=True,
        json_schema_extra={"earlier": False},
        description="The points of an epoch sum to what the model gained in it, less what noise of measuring explains, and nobody's "
        "fall below zero: where nothing was gained nobody is paid, and for harm a name's deposit answers. Not for points by rank.",
    )
    covered_points: bool = Field(
        default=False,
        description="Where points are not conserved: points of an epoch are scaled down so that they need nobody's debts: in all at most what the model gained. "
        "Off: who is below zero pays who is above, if the name is ever used again.",
    )
    deposit: str = Field(
        default="0",
        description="Points that are held back of each name's first, as its deposit, for as long as this says so: what every "
        "further name costs somebody who takes several. Lowered, the rest is paid with the next points. At most 6 decimal "
        "places; 0: none.",
    )
    labeler_stake: bool = Field(
        default=False,
        description="Judgements count only from names whose deposit was whole before the round. Demonstrations alone earn "
        "points, so nobody's count before the first epoch has closed, and never those of who only judges.",
    )
    forfeited: str = Field(
        default="",
        description="Contributors, separated by commas and as the home names them, whom somebody found cheating: they are paid "
        "no points above zero, and their deposits go to the treasury with the next points. Credits stay.",
    )
    memory_rounds: int = Field(
        default=9,
        ge=0,
        description="Settled rounds that estimates of contributions go back, and at least the open epoch. Fewer forget old "
        "merits sooner; more tell contributors apart better. 0: all.",
    )
    newcomer_weight: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of a new labeler, in mean weights. Below 1 nobody sheds a bad record by taking a new name, except "
        "from below that.",
    )
    aggregate: Annotated[str, MemberOf("crowd_assets.mechanisms.labelers.table:AGGREGATES")] = Field(
        default="log_odds",
        description="How labelers' reports on a comparison become one probability. Accurate first: log_odds, the best on real workers; "
        "by_agreement needs no outcomes. Truthful first: weighted_score_update_pooled for labelers who want a high weight, "
        "weighted_score_update_sampled, limited_feedback also for those who want the aggregate near their belief, fpl_elf and elf_x "
        "also for those who look ahead. Baselines: mean, median, dawid_skene.",
        json_schema_extra={"earlier": "weighted_score_update_pooled"},
    )
    judging_budget: str = Field(
        default="6",
        description="Credits that a round may pay for judgements. Each judgement scored in the round earns its score times the budget "
        "over the number of judgements scored: by the outcome of its comparison, or by agreement with peers in a home where nothing was "
        "realised yet. 0: judgements earn nothing.",
        json_schema_extra={"earlier": "0"},
    )
    rings_count_once: bool = Field(
        default=False,
        description="Of contributors whom the detector collusion links, one report a comparison counts and one bid a lot is "
        "admitted, the first to arrive. Off by default: on easy comparisons careful labelers are alike, too.",
    )

    quorum_events: int = Field(default=200, ge=1, description="Pending events at which a round starts.")
    quorum_contributors: int = Field(
        default=8, ge=1, description="Distinct contributors among them that a round needs."
    )
    longest_wait_minutes: float = Field(
        default=60.0,
        ge=0,
        description="After this wait, in minutes, a round starts with fewer events if contributors suffice.",
    )
    max_attempts: int = Field(default=3, ge=1, description="Runs a round may take before it is skipped.")

    max_line_bytes: int = Field(default=1_000_000, ge=1000, description="Longest line of a feedback file, in bytes.")
    max_text_characters: int = Field(default=20_000, ge=1, description="Longest prompt or response, in characters.")
    max_parquet_mib: int = Field(
        default=2048,
        ge=1,
        description="Largest content of a Parquet file of feedback once it is decompressed, in MiB, a row "
        "counted as 1 KiB at least; a file with more is rejected as a whole. It is decompressed into a temporary file.",
    )
    max_rejected_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of a round's events that may be rejected before the gate closes."
    )
    max_contributor_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a round's demonstrations, preferences or bids that one contributor may send without a warning.",
    )
    max_feedback_age_days: float = Field(
        default=730.0, gt=0, description="Age of a round's newest event, in days, above which it is warned of."
    )
    drift_distance: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Distance of a round's lengths, scripts, shares, prices and places in Φ from those of the five rounds "
        "before it, from 0 (the same) to 1 (nothing in common), above which it is warned of. Small samples may differ more.",
    )
    lots: str = Field(
        default="",
        description="File with the lots that may be bid for, one lot_id a line, where CROWD_LOTS_FROM says so.",
    )
    lots_from: Literal["auto", "forum", "file", "worst", "listed", "any"] = Field(
        default="auto",
        description="Which lots may be bid for. Published by the platform in <outbox>/lots, for the next round: with prompts of the "
        "embedded forum (forum), of CROWD_LOT_PROMPTS (file), or those on which the base model is furthest from the target (worst). "
        "Not published: those of CROWD_LOTS (listed), or any that a seller names (any), with which two names take a budget. auto: "
        "listed or file where the file is set, else forum for the embedded model and worst for another.",
    )
    lot_prompts: str = Field(
        default="", description="Text file with prompts of lots, one a line, for CROWD_LOTS_FROM=file."
    )
    lots_published: int = Field(default=12, ge=1, description="Lots published for a round.")
    min_demonstrations: int = Field(
        default=16, ge=1, description="Valid demonstrations below which a round is skipped."
    )

    detectors_reject: str = Field(
        default="copies,gibberish,instructions",
        description="Detectors, separated by commas, whose events go into quarantine: "
        + ", ".join(DETECTORS)
        + ". Of one that "
        "flags labelers these are all their judgements of the round. What a detector finds is shown in any case. Empty: none.",
    )
    personal_data: Literal["mask", "reject", "keep"] = Field(
        default="mask",
        description="What becomes of e-mail addresses, telephone and card numbers and the like in texts: replaced by their kind, "
        "the response rejected (and what others' texts hold of it replaced), or nothing.",
    )
    phone_region: str = Field(
        default="US",
        description="Region (ISO 3166) whose telephone numbers are found without their country code.",
    )
    languages: str = Field(
        default="",
        description="Languages of responses (ISO 639-1, separated by commas) outside which the detector language flags. Empty: any.",
    )
    near_duplicate: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="Similarity (Jaccard, of runs of 4 bytes) from which two responses are near duplicates.",
    )
    fastest_reading: float = Field(
        default=1000.0, gt=0, description="Words a minute above which a judgement was made too fast to be read."
    )

    learning_rate: float = Field(default=5e-3, gt=0, description="Peak learning rate of a candidate's LoRA adapter.")
    epochs: int = Field(default=4, ge=1, description="Passes of a candidate over its group's demonstrations.")
    batch_size: int = Field(default=16, ge=1, description="Demonstrations or pairs in a training step.")
    lora_rank: int = Field(default=8, ge=1, description="Rank of the LoRA adapters.")
    lora_alpha: int = Field(
        default=16, ge=1, description="Scale of the LoRA adapters: updates are multiplied by alpha/rank."
    )
    max_tokens: int = Field(
        default=256, ge=8, description="Longest prompt and response together, in tokens; the rest is cut."
    )

    fused_candidates: int = Field(
        default=8,
        ge=1,
        description="Candidates trained in one pass over the base, each as it would be alone. 1 trains every candidate in a "
        "step of its own, for models that do not fit together on a device.",
    )
    tokens_per_pass: int = Field(
        default=0,
        ge=0,
        description="Tokens, padding counted, in one forward pass of training; larger steps are split and accumulate "
        "gradients. 0: 1,024 on a CPU, where the cache counts, and 65,536 on a GPU.",
    )
    held_out_demonstrations: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of a group's demonstrations on which its candidate's loss is measured after each epoch; it is kept "
        "as it was at its lowest. 0: as the last step leaves it, which comes closer to the target with the embedded models.",
    )
    patience: int = Field(
        default=2, ge=1, description="Epochs in a row without a lower held-out loss after which a candidate stops."
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute activations again in the backward pass of candidates: less memory, more time.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the base model's blocks while candidates train (torch.compile). It takes a C++ compiler and, the "
        "first time, about a minute; with the embedded model on a CPU it gains nothing.",
    )
    shapley_method: Literal["in_run", "centroid"] = Field(
        default="in_run",
        description="What a round's Shapley values are of: by how much a contributor's demonstrations lowered the loss on the "
        "target's texts while candidates trained, or how close the mean of what a coalition wrote is to the target in Φ.",
    )
    value_seeds: int = Field(
        default=2,
        ge=1,
        description="Runs of each group, with other initial adapters and orders, over which in-run values are averaged; the "
        "first is the candidate.",
    )
    value_rows: int = Field(default=64, ge=1, description="Target texts in each validation gradient of in-run values.")
    value_every: int = Field(default=16, ge=1, description="Training steps from one validation gradient to the next.")
    value_order: int = Field(
        default=2,
        ge=1,
        le=2,
        description="Order of in-run values; 2 adds the curvature along the steps and holds the gradients of those who are in "
        "them, 1 needs no more memory than training.",
    )

    exam: Literal["contributors", "prompts"] = Field(
        default="contributors",
        json_schema_extra={"earlier": "prompts"},
        description="What fills the prompts on which models are compared: the same share of every contributor's prompts, or every "
        "distinct prompt alike, so that whoever sends most writes most of them.",
    )
    guard: bool = Field(
        default=True,
        json_schema_extra={"earlier": False},
        description="A candidate does not win, however near to the target, whose texts fall behind the base's as language: unlike the "
        "reference texts by their likelihood under the base model of round 1, too alike, or copied from what it learnt.",
    )
    selection_samples: int = Field(
        default=256, ge=8, description="Generations per model on which the winner is chosen."
    )
    selection_confidence: float = Field(
        default=0.9,
        ge=0.5,
        lt=1,
        description="Confidence with which the best candidate must be closer to the target than the base to replace it. "
        "Models that it cannot be told from with that confidence are measured on further samples.",
    )
    selection_batches: int = Field(
        default=3, ge=1, description="Samples of that size that a close model may take; then the best so far wins."
    )
    report_samples: int = Field(
        default=384, ge=8, description="Fresh generations per model on which distances are reported."
    )
    max_new_tokens: int = Field(default=40, ge=1, description="Longest generation, in tokens.")
    temperature: float = Field(default=1.0, gt=0, description="Sampling temperature of generations.")

    alignment_beta: float = Field(
        default=0.1, gt=0, description="β of QA-DPO: how closely the reference model is kept."
    )
    alignment_learning_rate: float = Field(default=5e-3, gt=0, description="Peak learning rate of QA-DPO.")
    alignment_epochs: int = Field(default=3, ge=1, description="Passes of QA-DPO over the training pairs.")
    alignment_min_pairs: int = Field(default=8, ge=2, description="Decided pairs below which QA-DPO is left out.")
    alignment_holdout: float = Field(
        default=0.33, gt=0, lt=1, description="Share of the pairs on which the aligned model's accuracy is measured."
    )

    exact_shapley_up_to: int = Field(
        default=12, ge=1, le=15, description="Contributors up to which Shapley values are exact."
    )
    shapley_permutations: int = Field(default=400, ge=4, description="Permutations sampled above that.")

    budget: str = Field(default="24", description="Credits a round may spend on bought answers.")
    value_per_quality: str = Field(
        default="1", description="Credits that an answer of quality 1 is worth to the buyer."
    )
    least_surplus: str = Field(
        default="0",
        description="Credits of an answer's value that the buyer keeps at least: what sellers that bid as a ring can raise a "
        "payment to is the value less this. Lots in which no two answers are worth that much more than asked are not bought.",
    )
    audit_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a round's comparison tasks, drawn at random, that <outbox>/audits lists as well, for somebody "
        "trusted to send outcomes for: so that labelers cannot know of which comparison nobody will learn the truth.",
    )
    auction: Annotated[str, MemberOf("crowd_assets.mechanisms.auctions.table:AUCTIONS")] = Field(
        default="posted_rate",
        description="The auction that answers are bought by.",
        json_schema_extra={"earlier": "scoring_vcg"},
    )
    answers_per_lot: int = Field(
        default=8,
        ge=2,
        le=64,
        description="Answers bought in a lot at most; labelers compare them two by two. scoring_vcg and the controls buy 2.",
    )
    reserve: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Most that an answer is paid, as a share of its value: what sellers are paid who are too few to compete. For "
        "posted_rate, proportional_share, uniform_price and fixed_price.",
    )

    keep_runs: int = Field(
        default=100,
        ge=0,
        description="Settled rounds, the last ones, whose runs Dagster still knows after `make compact`, with their logs and "
        "what their steps handed on. 0: all.",
    )
    keep_data_docs: int = Field(
        default=100, ge=0, description="Settled rounds whose pages of the Data Docs are kept by it. 0: all."
    )
    keep_losing_models: int = Field(
        default=100,
        ge=0,
        description="Settled rounds whose candidates and aligned models are kept by it though no round chose them. 0: all.",
    )
    keep_archive: int = Field(
        default=0,
        ge=0,
        description="Settled rounds whose files, as they arrived, are kept by it in the archive. 0: all. Events are kept in any case.",
    )
    keep_unfinished_hours: float = Field(
        default=24.0,
        gt=0,
        description="Hours after which it removes what a killed process left half written; nothing takes that long to write.",
    )

    compute: Literal["embedded", "ray"] = Field(
        default="embedded",
        description="Where models are trained, sampled and embedded with: in the process of the step, or in tasks of a Ray "
        "cluster, which the extra cluster installs. A round that was settled is repeated with what it was settled with.",
    )
    ray_address: str = Field(
        default="",
        description="The cluster: host:port or auto on one of its nodes, ray://host:10001 from elsewhere. Empty: one of the "
        "step's own process, on the cores and GPUs of this machine.",
    )
    ray_cpus_per_task: float = Field(default=1.0, gt=0, description="CPUs that a task of the cluster asks for.")
    ray_gpus_per_task: float = Field(
        default=0.0,
        ge=0,
        description="GPUs that a task asks for. A task without one sees none; with less than 1, several share one.",
    )
    ray_memory_per_task_gib: float = Field(
        default=0.0, ge=0, description="Memory that a task asks for, in GiB. 0: it does not say."
    )
    ray_tasks: int = Field(
        default=0,
        ge=0,
        description="Tasks that candidates, generations and texts are split into. 0: as many as fit on the nodes that are there; "
        "name a number where nodes are started on demand.",
    )
    ray_retries: int = Field(
        default=3, ge=0, description="How often a task is run again whose process or node ended, as spot instances do."
    )
    ray_wait_s: float = Field(
        default=120.0,
        gt=0,
        description="Longest wait for the cluster to answer, and for a node on which a task fits, in seconds.",
    )
    sharding: Literal["none", "fsdp"] = Field(
        default="none",
        description="fsdp: the base is spread over the devices of CROWD_SHARDS tasks that all make the same passes, for one that fits "
        "on no single device: it saves memory, not time. It takes CROWD_COMPUTE=ray.",
    )
    shards: int = Field(default=2, ge=2, description="Tasks that the base is spread over then.")
    ray_dashboard: str = Field(
        default="http://127.0.0.1:8265",
        description="Where the cluster takes jobs, for CROWD_EXECUTOR=ray; RayRunLauncher's address goes before it.",
    )

    executor: Literal["in_process", "multiprocess", "ray"] = Field(
        default="in_process",
        description="How a round's steps run: in one process (0.1 s a step), in one process each (about 2 s a step), or in a "
        "job of the Ray cluster each, whose machines share CROWD_HOME and Dagster's storage.",
    )
    torch_threads: int = Field(
        default=1,
        ge=1,
        description="Threads of torch on the CPU. Models of a few million parameters are fastest on one, above all where "
        "other processes want a core; raise it for large models. Results on another number differ in the last digits.",
    )
    lock_timeout_s: float = Field(default=120.0, gt=0, description="Longest wait for the warehouse, in seconds.")
    lease_s: float = Field(
        default=90.0,
        ge=5,
        description="Seconds without a sign of life after which a run whose process is on another machine counts as lost. On its own "
        "machine a process that is gone is known at once.",
    )
    least_free_mib: int = Field(
        default=1024,
        ge=0,
        description="MiB that must be free on the disks of the home for a round or an ingestion to start.",
    )

    @field_validator("budget", "judging_budget", "value_per_quality", "least_surplus", "points_per_distance", "deposit")
    @classmethod
    def _money(cls, value: str) -> str:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a decimal number") from None
        if not amount.is_finite() or amount < 0 or amount != amount.quantize(Decimal("0.000001")):
            raise ValueError(f"{value!r} must be at least 0 with at most 6 decimal places")
        return value

    @field_validator("labeler_stake")
    @classmethod
    def _a_deposit_to_stake(cls, value: bool, about: ValidationInfo) -> bool:
        if value and not Decimal(about.data.get("deposit", "1")):
            raise ValueError("needs a deposit, and CROWD_DEPOSIT is 0: set it as well")
        return value

    @field_validator(
        "home",
        "files",
        "inbox",
        "outbox",
        "frames",
        "models",
        "label_studio_url",
        "base_model",
        "embedder",
        "ray_address",
        "ray_dashboard",
    )
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if CREDENTIALS.search(value):
            raise ValueError(
                "holds credentials before an @, and settings are recorded with every round: give them by the environment "
                "variables of the storage's own client"
            )
        return value

    @field_validator("warehouse")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if value and not POSTGRES.fullmatch(value):
            raise ValueError(
                "must be postgresql://user@host/database without a password, as settings are recorded with every round: give it "
                "by PGPASSWORD or PGPASSFILE"
            )
        return value

    @field_validator("detectors_reject")
    @classmethod
    def _known_detectors(cls, value: str) -> str:
        unknown = [name for name in _parts(value) if name not in DETECTORS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no such detector; there are {', '.join(DETECTORS)}")
        return value

    @field_validator("languages")
    @classmethod
    def _language_codes(cls, value: str) -> str:
        if not all(re.fullmatch("[a-z]{2,3}", code) for code in _parts(value)):
            raise ValueError(f"{value!r} must be codes such as en,de")
        return value

    @field_validator("phone_region")
    @classmethod
    def _region_code(cls, value: str) -> str:
        if not re.fullmatch("[A-Z]{2}", value):
            raise ValueError(f"{value!r} must be two capital letters such as US or DE")
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> Self:
        """Settings from ``CROWD_*`` variables, with ``overrides`` (field names) on top.

        Raises:
            SettingError: a value is not one the setting can have, or a ``CROWD_`` variable names no setting.
        """
        environment = os.environ if environment is None else environment
        known = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in cls.model_fields}
        unknown = sorted(
            variable
            for variable in environment
            if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known and variable not in NOT_SETTINGS
        )
        if unknown:
            raise SettingError(f"{', '.join(unknown)}: no such setting. docs/configuration.md lists them all.")
        values: dict[str, object] = {
            field: environment[variable] for variable, field in known.items() if environment.get(variable)
        }
        values.update(overrides)
        try:
            return cls(**values)  # type: ignore[arg-type]  # pydantic converts and validates the text
        except ValidationError as error:
            problems = "; ".join(
                f"{ENVIRONMENT_PREFIX}{str(problem['loc'][0]).upper()}={PASSWORD.sub('…', repr(problem['input']))}: "
                f"{problem['msg']}"
                for problem in error.errors()
            )
            raise SettingError(f"{problems}. See docs/configuration.md for what each setting takes.") from None

    def changed(self, **changes: object) -> Self:
        """These settings with some changed; ``model_copy`` would not reach what Dagster makes resources from."""
        return type(self)(**{**self.model_dump(), **changes})

    def path(self, *parts: str) -> "UPath":
        """A path below ``home``."""
        from upath import UPath

        return UPath(self.home, *parts)

    @property
    def lots_source(self) -> Literal["forum", "file", "worst", "listed", "any"]:
        """What ``lots_from`` comes to."""
        if self.lots_from != "auto":
            return self.lots_from
        if self.lots or self.lot_prompts:
            return "listed" if self.lots else "file"
        return "worst" if self.base_model else "forum"

    def known_lots(self) -> frozenset[str]:
        """The lots that the file of CROWD_LOTS lists.

        Raises:
            SettingError: the file cannot be read, or names none.
        """
        return frozenset(word for line in self._lines("lots") for word in line.split())

    def known_prompts(self) -> list[str]:
        """The prompts that the file of CROWD_LOT_PROMPTS lists, in order, each once.

        Raises:
            SettingError: the file cannot be read, or has none.
        """
        return list(dict.fromkeys(line.strip() for line in self._lines("lot_prompts")))

    def _lines(self, name: Literal["lots", "lot_prompts"]) -> list[str]:
        from upath import UPath

        place, variable = getattr(self, name), f"CROWD_{name.upper()}"
        if not place:
            raise SettingError(f"CROWD_LOTS_FROM={self.lots_from} needs {variable}: name a text file.")
        try:
            found = [line for line in UPath(place).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as problem:
            raise SettingError(
                f"{variable}={place!r} cannot be read ({problem}): name a text file, or unset it."
            ) from None
        if not found:
            raise SettingError(f"{variable}={place!r} names no lot: write one a line, or unset it.")
        return found

    def _place(self, value: str, default: str) -> "UPath":
        from upath import UPath

        return UPath(value) if value else UPath(self.files or self.home, default)

    @property
    def rejecting_detectors(self) -> tuple[str, ...]:
        """Names in ``detectors_reject``."""
        return _parts(self.detectors_reject)

    @property
    def forfeited_names(self) -> tuple[str, ...]:
        """Names in ``forfeited``."""
        return _parts(self.forfeited)

    @property
    def spoken_languages(self) -> tuple[str, ...]:
        """Codes in ``languages``."""
        return _parts(self.languages)

    @property
    def inbox_path(self) -> "UPath":
        return self._place(self.inbox, "inbox")

    @property
    def outbox_path(self) -> "UPath":
        return self._place(self.outbox, "outbox")

    @property
    def frames_path(self) -> "UPath":
        return self._place(self.frames, "frames")

    @property
    def models_path(self) -> "UPath":
        return self._place(self.models, "models")

    @property
    def archive_path(self) -> "UPath":
        return self._place("", "archive")

    @property
    def steps_path(self) -> "UPath":
        return self._place("", "steps")

    @property
    def reports_path(self) -> "UPath":
        return self._place("", "reports")

    @property
    def file_places(self) -> "dict[str, UPath]":
        """Where files lie that are neither the warehouse nor made again from the rest, by the names of their folders."""
        return {
            "inbox": self.inbox_path,
            "outbox": self.outbox_path,
            "frames": self.frames_path,
            "models": self.models_path,
            "archive": self.archive_path,
            "steps": self.steps_path,
            "reports": self.reports_path,
        }

    @property
    def target_source(self) -> Literal["neighbourhood", "top_k", "texts", "gold"]:
        """Where the target comes from.

        Raises:
            SettingError: the file that it should come from is not set, or both files are and neither is chosen.
        """
        if self.target_from == "auto":
            if self.target_texts and self.gold_answers:
                raise SettingError(
                    "CROWD_TARGET_TEXTS and CROWD_GOLD_ANSWERS are both set: unset one of them, or choose with "
                    "CROWD_TARGET_FROM=texts or CROWD_TARGET_FROM=gold."
                )
            return "texts" if self.target_texts else "gold" if self.gold_answers else "neighbourhood"
        for source, file, setting in (
            ("texts", self.target_texts, "CROWD_TARGET_TEXTS"),
            ("gold", self.gold_answers, "CROWD_GOLD_ANSWERS"),
        ):
            if self.target_from == source and not file:
                raise SettingError(f"CROWD_TARGET_FROM={source} needs a file of them: set {setting}.")
        return self.target_from

    @property
    def target_name(self) -> str:
        """The file or the attribute that the target is made of."""
        files = {"texts": self.target_texts, "gold": self.gold_answers}
        return files.get(self.target_source, self.target_attribute)

    @property
    def seed_language_model_path(self) -> Path:
        """Where the embedded language model lies."""
        return Path(self.home, "seed", "language_model")

    @property
    def root_source(self) -> str:
        """Hub id or folder of the base model of round 1."""
        return self.base_model or str(self.seed_language_model_path)

    @property
    def seed_classifier_path(self) -> Path:
        """Where the embedded classifier lies."""
        return Path(self.home, "seed", "classifier")


def __getattr__(name: str) -> Any:
    """``CrowdSettings``, the settings as a resource of the graph, imported when it is first asked for: a command that only
    looks something up need not wait for Dagster."""
    if name != "CrowdSettings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from resources.settings.resource import CrowdSettings

    return CrowdSettings


def _parts(value: str) -> tuple[str, ...]:
    """What stands between commas, without spaces; nothing is no part."""
    return tuple(part.strip() for part in value.split(",") if part.strip())
