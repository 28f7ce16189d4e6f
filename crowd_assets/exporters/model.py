"""A settled round's model as a folder that transformers loads with one call, with a model card that names nobody.

Belongs here: which round, what the folder holds, the card, writing all of it or nothing. Does not belong here: merging
and saving weights (see ``resources.training.loading``), the page of a round (see ``crowd_assets.report``).
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from crowd_assets.round.tournament import points_so_far
from resources.common.errors import OperatorError
from resources.files.storage import is_free, whole_folder
from resources.models.store import ModelStoreResource, markdown_cell
from resources.models.trainer import ADAPTER, BASE, OtherRootError, TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.rounds.named import named_round
from resources.settings.fields import marks_of, variable
from resources.settings.resource import CrowdSettings
from resources.training.loading import read_adapter
from resources.training.packaged import PACKAGED
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import SETTLED_ROUNDS, round_id_of

OWN_LICENSE = "mit"  # of this project, of which the embedded model is a part
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
README = "README.md"
TAG = "crowd-rounds"
NAME_LENGTH = 12
WORD = re.compile(r"[\w.-]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class ExportExistsError(OperatorError, FileExistsError):
    """Something lies where the export would."""


def export_round(
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    trainer: TrainerResource,
    *,
    round_name: str = "",
    to: Path | None = None,
    force: bool = False,
) -> Path:
    """Write the model that a settled round ended with, merged, with its adapters and its card.

    Args:
        round_name: ``r000003`` or ``3``; empty: the last settled round.
        to: The folder to write; None: ``<home>/exports/<round>``.
        force: Replace an earlier export that lies there.

    Returns:
        The folder.

    Raises:
        NoSuchRoundError: there is no such round, or it is not settled.
        OtherRootError: the settings name another base model than the round was settled with.
        ExportExistsError: the folder is not empty.
    """
    round_ = settled_round(settings, warehouse, round_name)
    stored = json.loads(
        warehouse.query("SELECT settings FROM rounds WHERE round_no = $n", {"n": round_.round_no}).item()
    )
    of_round = settings.of_record(stored).model_dump()
    _check_root(round_, of_round, settings)
    chain = trainer.store.lineage(round_.next_model)
    folder = (to or Path(settings.home, "exports", round_.round_id)).expanduser().resolve()
    with whole_folder(folder, lambda: _check_free(folder, force)) as unfinished:
        trainer.export(round_.next_model, unfinished, temperature=float(of_round["temperature"]))
        text = model_card(round_, of_round, chain, trainer, warehouse)
        (unfinished / README).write_text(text, encoding="utf-8", errors="replace")
        for path in unfinished.rglob("*.safetensors"):
            shutil.copymode(unfinished / README, path)  # safetensors are written for their owner alone
    return folder


def settled_round(settings: CrowdSettings, warehouse: WarehouseResource, name: str) -> Round:
    """The settled round of a name (``r000003`` or ``3``), or the last one where it is empty.

    Raises:
        NoSuchRoundError: there is none.
    """
    # Opening a warehouse makes one, and a mistyped CROWD_HOME should stay empty.
    rounds = RoundBook(warehouse).all() if warehouse.exists() else []
    return named_round(rounds, name, settings.home)


def model_card(
    round_: Round,
    of_round: Mapping[str, Any],
    chain: list[str],
    trainer: TrainerResource,
    warehouse: WarehouseResource,
) -> str:
    """The card as Markdown with YAML front matter: no name of a contributor, no text of theirs, no path of this machine.

    Args:
        of_round: The settings that the round was settled with, by field name.
        chain: The lineage of the round's model.
    """
    root = _source(str(of_round["base_model"]))
    in_package = PACKAGED.get(root or "")
    hub_id = in_package.hub_id if in_package else root
    license_ = trainer.license() if of_round["base_model"] else OWN_LICENSE
    base_lines = f"base_model: {json.dumps(hub_id)}\nbase_model_relation: finetune\n" if hub_id else ""
    starts_from = markdown_cell(_shown("base_model", of_round["base_model"]))
    what = (
        f"{starts_from} with {len(chain)} LoRA adapter{'s' * (len(chain) > 1)} merged into its weights"
        if chain
        else f"{starts_from} unchanged: no round so far found a model closer to the target"
    )
    epoch = warehouse.read_round("epochs", round_.round_no).row(0, named=True)
    posted = "posted" if epoch["closes"] else f"provisional since {round_id_of(epoch['first_round_no'])}"
    tags = "".join(f"- {tag}\n" for tag in (TAG, *(["lora"] if chain else [])))
    return f"""---
license: {license_ or "other"}
{base_lines}library_name: transformers
pipeline_tag: text-generation
tags:
{tags}---

# The model of {round_.round_id}

What an open crowd had made of a language model by the end of round {round_.round_no}: {what}.

## Loading the model

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

A prompt goes through the chat template of the tokenizer; where the tokenizer has none, the model reads the prompt and a newline. `ollama create NAME -f
Modelfile` makes the export a model of Ollama.
{_about_the_adapter(chain, trainer, hub_id, bool(in_package or not root))}
## License

{_about_the_license(license_, starts_from)}

## Lineage

{_table(["round", "role", "model", "parent"], _lineage_rows(chain, trainer.store, starts_from))}

## Data

Events of every settled round. What was rejected failed the round's quality gate and was not used.

{_data_table(round_, warehouse)}

## Evaluation

Target distance: how far the model's generations lie from the target, less is better, on a fresh sample of the round ±
standard error. Accuracy: share of held-out pairs that the model ranks as the crowd does, before and after alignment. An
aligned model that was left out is not part of this one.

{_evaluation_table(round_, warehouse)}

## Points

Points so far ({posted}). Contributors appear by pseudonym: the first {NAME_LENGTH} hexadecimal digits of the BLAKE2b hash
of their id, without a key. Whoever knows an id can find its row, and can test a guess.

{_points_table(round_, warehouse)}

## Settings

Those of {round_.round_id} that differ from their defaults, folders of the operator left out.

{_settings_table(of_round)}
"""


def pseudonym(contributor_id: str) -> str:
    """What a card calls a contributor."""
    return hashlib.blake2b(contributor_id.encode("utf-8", errors="replace")).hexdigest()[:NAME_LENGTH]


def _about_the_adapter(chain: list[str], trainer: TrainerResource, hub_id: str | None, base_lies_here: bool) -> str:
    if not chain:
        return ""
    rank = sum(read_adapter(trainer.store.path(model)).rank for model in chain)
    base = f"over the base in `{BASE}/`, called from within this folder" if base_lies_here else f"over {hub_id}"
    return f"""
`{ADAPTER}/` has the {len(chain)} adapters of the lineage as one LoRA of rank {rank} {base}:

```python
from peft import AutoPeftModelForCausalLM

model = AutoPeftModelForCausalLM.from_pretrained("{ADAPTER}")
```

vLLM serves the adapter with `--enable-lora --max-lora-rank {_served_rank(rank)}`.
"""


def _served_rank(rank: int) -> int:
    """The least rank that vLLM makes room for and that an adapter fits in; the adapter's own where there is none."""
    return next((each for each in VLLM_RANKS if each >= rank), rank)


def _about_the_license(license_: str, starts_from: str) -> str:
    if license_:
        return (
            f"The base, {starts_from}, is under {license_}, and what was made of it here keeps to that. Contributors' texts are "
            "in none of these files."
        )
    return f"The card of the base, {starts_from}, names no license: look the license up before you give this model to others, and write the license into the first lines of this card."


def _lineage_rows(chain: list[str], store: ModelStoreResource, starts_from: str) -> Iterator[tuple[object, ...]]:
    yield "", "base model", starts_from, ""
    for model in chain:
        card = store.card(model)
        yield card.get("round_id"), card.get("role"), model, card["parent"] or "base model"


def _data_table(round_: Round, warehouse: WarehouseResource) -> str:
    through = {"n": round_.round_no}
    of_round = f"{SETTLED_ROUNDS} r JOIN event_index e ON e.seq BETWEEN r.from_seq AND r.to_seq"
    settled = "r.round_no <= $n"
    counted = warehouse.query(
        f"SELECT round_id, kind, count(*) AS events FROM {of_round} WHERE {settled} GROUP BY round_id, kind ORDER BY round_id, kind",
        through,
    )
    people = warehouse.query(
        "SELECT round_id, count(DISTINCT nullif(contributor_id, '')) AS contributors, max(v.rejected) AS rejected "
        f"FROM {of_round} LEFT JOIN quality_verdicts v ON v.round_no = r.round_no WHERE {settled} "
        "GROUP BY round_id ORDER BY round_id",
        through,
    )
    kinds = counted["kind"].unique().sort().to_list()
    events = {(round_id, kind): count for round_id, kind, count in counted.iter_rows()}
    rows = [
        (round_id, *(events.get((round_id, kind), 0) for kind in kinds), contributors, rejected)
        for round_id, contributors, rejected in people.iter_rows()
    ]
    return _table(["round", *kinds, "contributors", "rejected"], rows)


def _evaluation_table(round_: Round, warehouse: WarehouseResource) -> str:
    rows: list[tuple[object, ...]] = []
    for each in RoundBook(warehouse).all():
        if each.round_no > round_.round_no or not each.settled:
            continue
        selection = warehouse.read_round("selections", each.round_no)
        base = selection.filter(pl.col("role") == "base").row(0, named=True)
        winner = selection.filter("selected").row(0, named=True)
        alignment = warehouse.read_round("alignments", each.round_no).row(0, named=True)
        before, after = alignment["accuracy_before"], alignment["accuracy_after"]
        rows.append(
            (
                each.round_id,
                _distance(base),
                _distance(winner) if winner["role"] == "candidate" else "the base stays",
                _distance(alignment) if alignment["kept"] else f"left out: {alignment['reason']}",
                None if before is None else f"{before:.3f} to {after:.3f} of {alignment['held_out']}",
            )
        )
    return _table(["round", "base", "selected", "aligned", "accuracy"], rows)


def _distance(row: Mapping[str, Any]) -> str:
    return f"{row['fresh_distance']:.4f} ± {row['fresh_standard_error']:.4f}"


def _points_table(round_: Round, warehouse: WarehouseResource) -> str:
    points = points_so_far(warehouse, round_.round_no)
    rows = ((pseudonym(who), f"{count:.3f}") for who, count in points.select("contributor_id", "points").iter_rows())
    return _table(["contributor", "points"], rows)


def _settings_table(of_round: Mapping[str, Any]) -> str:
    rows = [
        (variable(name), _shown(name, of_round[name]))
        for name, field in CrowdSettings.model_fields.items()
        if marks_of(field).shown != "no" and of_round[name] != field.default
    ]
    return _table(["setting", "value"], rows) if rows else "None."


def _shown(setting: str, value: Any) -> Any:
    """A setting's value as strangers may see it: a path of this machine is only said to be one."""
    shown = marks_of(CrowdSettings.model_fields[setting]).shown
    if shown == "people" and value:
        return "names of contributors"
    if shown == "file" and value:
        return "a file of the operator"
    if shown == "model":
        return _source(value) or ("a local model of the operator" if value else "the embedded seed model")
    if shown == "word" and not WORD.fullmatch(value):
        return "a value of the operator"
    return value


def _source(value: str) -> str | None:
    """A hub id as it is; None where a model comes from a folder."""
    return value if HUB_ID.fullmatch(value) and not os.path.isdir(value) else None


def _table(names: Iterable[str], rows: Iterable[tuple[object, ...]]) -> str:
    header = [markdown_cell(name) for name in names]
    lines = [header, ["---"] * len(header)]
    lines += [["–" if cell is None else markdown_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check_root(round_: Round, of_round: Mapping[str, Any], settings: CrowdSettings) -> None:
    then, now = str(of_round["base_model"]), settings.base_model
    same_folder = os.path.isdir(then) and os.path.isdir(now) and os.path.samefile(then, now)
    revisions = of_round["base_model_revision"], settings.base_model_revision
    if not same_folder and (then != now or (_source(now) and revisions[0] != revisions[1])):
        raise OtherRootError(
            f"{round_.round_id} was settled with CROWD_BASE_MODEL={then!r} (CROWD_BASE_MODEL_REVISION={revisions[0]!r}), and "
            f"is now asked for with {now!r} ({revisions[1]!r}): its adapters fit that model only. Set both variables as before."
        )


def _check_free(folder: Path, force: bool) -> None:
    if is_free(folder):
        return
    if not _is_export(folder):
        raise ExportExistsError(
            f"{folder} exists and is no earlier export, so the folder is never replaced: name another folder with --to."
        )
    if not force:
        raise ExportExistsError(
            f"{folder} holds an export already: replace the export with --force, or name another folder with --to."
        )


def _is_export(folder: Path) -> bool:
    card = folder / README
    return (
        card.is_file()
        and f"\n- {TAG}\n" in card.read_text(encoding="utf-8", errors="replace").split("\n---\n")[0] + "\n"
    )
