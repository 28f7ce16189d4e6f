"""A settled round's model is exported whole, is the model that the trainer loads, and its card names nobody."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.exporters.model import (
    ExportExistsError,
    OtherRootError,
    _settings_table,
    export_round,
    pseudonym,
)
from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.models.trainer import TrainerResource
from resources.rounds.named import NoSuchRoundError
from resources.settings.fields import marks_of
from resources.settings.resource import CrowdSettings
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.prompting import TextFormat
from resources.warehouse.base import WarehouseResource, as_stored

PEOPLE = {"ann@example.org": 3.5, "Robert | [Tables](http://x)": -1.25}
PROMPT = "What about the purple submarine?"
RESPONSE = "Thank you so much for the purple submarine."
CONFIG = CandidateConfig(learning_rate=1e-2, epochs=2, batch_size=4, rank=2, alpha=4, max_tokens=64)
MARKUP = "gratitude <img src=x> | `x` [y](z)"
KEPT, ALIGNED, SKIPPED, OPEN = 1, 2, 3, 4


class Home:
    """A home whose round 1 kept the root, round 2 was won and aligned, round 3 was skipped and round 4 is open."""

    def __init__(self, settings: CrowdSettings) -> None:
        self.settings = settings.changed(
            target_attribute=MARKUP, target_texts="/srv/wishes/texts.txt", gold_answers="/srv/wishes/gold.jsonl"
        )
        resources = build_resources(self.settings)
        self.warehouse: WarehouseResource = resources.warehouse
        self.trainer: TrainerResource = resources.trainer
        common: dict[str, Any] = {"config": CONFIG, "seed": 1, "progress": lambda *_: None}
        card = {"round_id": "r000002"}
        (candidate,) = self.trainer.train_candidates(
            None,
            [Demonstrations([(PROMPT, RESPONSE)] * 8, ["somebody"] * 8)],
            cards=[card | {"role": "candidate"}],
            valuation=None,
            **common,
        )
        self.candidate = candidate.model
        pairs = [PreferencePair(PROMPT, RESPONSE, "Nobody asked for that.", 1.0)] * 8
        self.aligned = self.trainer.align(
            self.candidate, pairs, beta=0.1, card=card | {"role": "aligned"}, **common
        ).model
        for number in (KEPT, ALIGNED, SKIPPED, OPEN):
            self._begin(number)
        self._settle(KEPT, None, None)
        self._settle(ALIGNED, self.candidate, self.aligned)

    def export(self, name: str = "", **options: Any) -> Path:
        return export_round(self.settings, self.warehouse, self.trainer, round_name=name, **options)

    def _begin(self, number: int) -> None:
        with self.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, reason, attempt, seed, settings, "
                "claimed_at) VALUES ($n, $id, 10 * $n, 10 * $n + 9, $status, $reason, 1, 0, $settings, $now)",
                {
                    "n": number,
                    "id": f"r{number:06d}",
                    "status": "skipped" if number == SKIPPED else "claimed",
                    "reason": "5 valid demonstrations" if number == SKIPPED else None,
                    "settings": json.dumps(self.settings.model_dump()),
                    "now": as_stored(datetime(2026, 1, number, tzinfo=UTC)),
                },
            )
            for offset, (kind, who) in enumerate(
                [("demonstration", who) for who in PEOPLE] + [("preference", "lab"), ("outcome", "")]
            ):
                connection.execute(
                    "INSERT INTO event_index VALUES ($id, $seq, $kind, $who, $now)",
                    {
                        "id": f"{number}-{offset}",
                        "seq": 10 * number + offset,
                        "kind": kind,
                        "who": who,
                        "now": as_stored(datetime(2026, 1, number, tzinfo=UTC)),
                    },
                )

    def _settle(self, number: int, winner: str | None, aligned: str | None) -> None:
        base = {"model": None, "role": "base", "group_index": -1, "selected": winner is None, "fresh_distance": 0.5}
        candidate = {
            "model": winner or "other",
            "role": "candidate",
            "group_index": 0,
            "selected": winner is not None,
            "fresh_distance": 0.25 if winner else None,
        }
        selections = pl.DataFrame([base, candidate]).with_columns(
            distance=pl.lit(0.5), standard_error=pl.lit(0.01), fresh_standard_error=pl.lit(0.0125)
        )
        alignment = {
            "model": aligned,
            "kept": aligned is not None,
            "reason": None if aligned else "0 decided pairs",
            "held_out": 4,
            "accuracy_before": 0.5 if aligned else None,
            "accuracy_after": 0.75 if aligned else None,
            "fresh_distance": 0.2 if aligned else None,
            "fresh_standard_error": 0.0125 if aligned else None,
        }
        people = pl.DataFrame({"contributor_id": list(PEOPLE)})
        frames = {
            "selections": selections,
            "alignments": pl.DataFrame([alignment]),
            "quality_verdicts": pl.DataFrame({"passed": [True], "accepted": [3], "rejected": [7]}),
            "contributor_groups": people.with_columns(group_index=pl.lit(0), demonstrations=pl.lit(4)),
            "contributor_estimates": people.with_columns(provisional_points=pl.Series(list(PEOPLE.values()))),
            "epochs": pl.DataFrame({"first_round_no": [1], "closes": [False], "reliability": [0.5]}),
        }
        for table, frame in frames.items():
            self.warehouse.replace_round(table, number, frame)
        with self.warehouse.transaction() as connection:
            connection.execute(
                "UPDATE rounds SET status = 'completed', next_model = $model WHERE round_no = $n",
                {"model": aligned or winner, "n": number},
            )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path) -> Home:
    folder = tmp_path_factory.mktemp("home")
    (folder / "seed").symlink_to(seed_folder)
    return Home(CrowdSettings(home=str(folder)))


@pytest.fixture(scope="module")
def exported(played: Home) -> Path:
    return played.export()


def test_the_export_is_the_model_that_the_trainer_loads(played: Home, exported: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert exported == Path(played.settings.home, "exports", "r000002").resolve()
    ours = played.trainer.load(played.aligned)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    ids = TextFormat.of(tokenizer).prompt(PROMPT)
    assert ids == ours.texts.prompt(PROMPT)
    assert tokenizer.pad_token_id == ours.tokenizer.pad_token_id

    def greedy(model: Any) -> list[int]:
        rows = torch.tensor([ids])
        return model.generate(
            input_ids=rows, attention_mask=torch.ones_like(rows), max_new_tokens=24, do_sample=False
        ).tolist()

    theirs = AutoModelForCausalLM.from_pretrained(exported)
    assert greedy(theirs) == greedy(ours.model.cpu())
    weights = ours.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in theirs.state_dict().items())
    root = AutoModelForCausalLM.from_pretrained(played.trainer.base_model)
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in root.state_dict().items())


def test_the_adapter_is_the_whole_lineage_over_a_base_that_loads(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM, PeftConfig
    from transformers import AutoModelForCausalLM

    config = PeftConfig.from_pretrained(str(exported / "adapter"))
    assert (config.base_model_name_or_path, config.r) == ("base", 2 * CONFIG.rank)
    monkeypatch.chdir(exported)
    ids = torch.arange(24).view(2, 12)
    with torch.no_grad():
        over_base = AutoPeftModelForCausalLM.from_pretrained("adapter")(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(".")(ids).logits
        base = AutoModelForCausalLM.from_pretrained("base")(ids).logits
    torch.testing.assert_close(over_base, merged, atol=1e-4, rtol=1e-4)
    assert (base - merged).abs().max() > 1e-2


def test_the_modelfile_writes_prompts_and_ends_as_training_did(exported: Path) -> None:
    lines = (exported / "Modelfile").read_text(encoding="utf-8")
    assert lines.startswith("FROM .\nPARAMETER temperature 1\n")
    assert (
        'TEMPLATE """{{ if .System }}{{ .System }}\n{{ .Prompt }}\n{{ else }}{{ .Prompt }}\n{{ end }}{{ .Response }}'
        in lines
    )


def test_the_card_says_what_came_of_the_round(played: Home, exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: mit\nlibrary_name: transformers\n")  # no base_model: the root is on no hub
    for row in (
        f"| r000002 | aligned | {played.aligned} | {played.candidate} |",
        "| round | demonstration | outcome | preference | contributors | rejected |",
        "| r000002 | 2 | 1 | 1 | 3 | 7 |",
        "| r000001 | 0.5000 ± 0.0125 | the base stays | left out: 0 decided pairs | – |",
        "| r000002 | 0.5000 ± 0.0125 | 0.2500 ± 0.0125 | 0.2000 ± 0.0125 | 0.500 to 0.750 of 4 |",
        "| CROWD_TARGET_TEXTS | a file of the operator |",
        "| CROWD_GOLD_ANSWERS | a file of the operator |",
        f"| {pseudonym('ann@example.org')} | 3.500 |",
    ):
        assert row in card
    assert "CROWD_GROUPS" not in card
    assert "r000003" not in card


def test_nothing_personal_no_path_and_no_markup_gets_out(played: Home, exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "| CROWD_TARGET_ATTRIBUTE | a value of the operator |" in card
    assert "<img" not in card
    for path in exported.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (*PEOPLE, "Robert", "lab |", "purple", "/srv", played.settings.home, played.trainer.base_model):
            assert secret.encode() not in content, (path, secret)
        assert path.is_dir() or path.stat().st_mode & 0o044 == (exported / "README.md").stat().st_mode & 0o044


def test_a_round_that_kept_the_root_exports_the_root(played: Home, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = played.export("1", to=tmp_path / "root")
    assert not (folder / "adapter").exists()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "unchanged: no round so far found a model closer to the target" in card
    assert "r000002" not in card
    theirs = load_file(folder / "model.safetensors")
    root = load_file(Path(played.trainer.base_model, "model.safetensors"))
    assert all((theirs[name] == root[name]).all() for name in root)


def test_a_folder_that_is_not_empty_is_left_alone(played: Home, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportExistsError, match=r"replace the export with --force"):
        played.export("r000002")
    earlier = (exported / "model.safetensors").stat().st_ino
    assert played.export("2", force=True) == exported
    assert (exported / "model.safetensors").stat().st_ino != earlier
    assert [path.name for path in exported.parent.iterdir()] == ["r000002"]
    (tmp_path / "letters.txt").write_text("Dear Ann")
    with pytest.raises(ExportExistsError, match="no earlier export"):
        played.export("2", to=tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_an_export_that_fails_leaves_nothing(played: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("crowd_assets.exporters.model.model_card", full)
    with pytest.raises(OSError, match="no space"):
        played.export(to=tmp_path / "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("9", "there is no r000009; settled rounds of CROWD_HOME=.*: r000001, r000002"),
        ("last", "write r000003 or 3, or nothing"),
        ("r000003", r"r000003 was skipped \(5 valid demonstrations\)"),
        ("4", "r000004 is claimed and not settled yet: `make round` finishes the round"),
    ],
)
def test_a_round_without_a_model_says_why(played: Home, name: str, message: str) -> None:
    with pytest.raises(NoSuchRoundError, match=message):
        played.export(name)


def test_another_base_model_than_the_rounds_is_refused(played: Home, tmp_path: Path) -> None:
    other = played.settings.changed(base_model="somebody/something")
    with pytest.raises(OtherRootError, match=r"CROWD_BASE_MODEL=''.*'somebody/something'"):
        export_round(other, played.warehouse, played.trainer, to=tmp_path / "here")


def test_where_nothing_is_settled_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", str(tmp_path / "typo"))
    result = CliRunner().invoke(app, ["export"])
    assert isinstance(result.exception, OperatorError)
    assert "none yet. `make round` runs rounds" in str(result.exception)
    assert not (tmp_path / "typo").exists()


def test_the_command_writes_a_round(played: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", played.settings.home)
    result = CliRunner().invoke(app, ["export", "--round", "2", "--to", str(tmp_path / "here")])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "here") in result.output
    assert (tmp_path / "here" / "config.json").is_file()


@pytest.mark.parametrize(
    "name", [name for name, field in CrowdSettings.model_fields.items() if field.annotation is str]
)
def test_a_card_shows_no_path_and_no_address_of_the_operator(name: str) -> None:
    """Whatever setting holds a path or an address, the table of settings does not print either."""
    of_round = CrowdSettings().model_dump()
    for secret in ("/srv/private/lots.txt", "10.0.0.7:6379", "https://internal.example:8443/x"):
        shown = _settings_table(of_round | {name: secret})
        if marks_of(CrowdSettings.model_fields[name]).shown == "yes":
            with pytest.raises(ValueError, match=r".+"):  # a setting that is shown as it is can hold neither
                CrowdSettings(**{name: secret})
        else:
            assert secret not in shown
