"""What splitting work over tasks rests on, without a cluster: slices of a pass are the pass. With one: tests/cluster/test_ray.py."""

from pathlib import Path

import pytest

import resources.ray_compute as ray_compute
from crowd_assets import jobs as rounds
from resources.build import build_resources
from resources.models.local import LocalTrainer
from resources.models.store import ModelStoreResource
from resources.ray_compute import RayMissingError
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings
from resources.training.generation import prompts_a_pass


def test_slices_of_prompts_that_begin_with_a_pass_are_answered_as_in_the_whole(
    seed_folder: Path, tmp_path: Path
) -> None:
    store = ModelStoreResource(root=str(tmp_path / "store"), cache=str(tmp_path / "cache"))
    trainer = LocalTrainer(store=store, base_model=str(seed_folder / "language_model"))
    a_pass = prompts_a_pass(1, "cpu")
    assert a_pass == 512
    prompts = [f"What about thing {row}?" for row in range(a_pass + 20)]

    def written(prompts: list[str], seed: int) -> list[str]:
        return trainer.generate([None], prompts, max_new_tokens=3, temperature=1.0, seed=seed)[0]

    whole = written(prompts, 7)[a_pass:]
    assert written(prompts[a_pass:], 7 + a_pass) == whole
    assert written(prompts[a_pass:], 7) != whole
    assert prompts_a_pass(8, "cpu") == 64
    assert prompts_a_pass(8, "cuda") == 128
    assert prompts_a_pass(100, "cpu") == 32


def test_parts_are_even() -> None:
    pytest.importorskip("dagster_ray", reason="dagster-ray is in the extra 'cluster'")
    from resources.ray_compute.cluster import evenly

    assert evenly(8, 3) == [3, 3, 2]
    assert evenly(2, 5) == [1, 1]
    assert evenly(3, 0) == [3]
    assert evenly(0, 4) == []


def test_settings_that_need_ray_say_so_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_compute, "find_spec", lambda package: None)
    build_resources(CrowdSettings())
    rounds.executor(CrowdSettings())
    with pytest.raises(RayMissingError, match=r"CROWD_COMPUTE=ray.*\[cluster\]"):
        build_resources(CrowdSettings(compute="ray"))
    with pytest.raises(RayMissingError, match=r"CROWD_EXECUTOR=ray.*\[cluster\]"):
        rounds.executor(CrowdSettings(executor="ray"))
    with pytest.raises(SettingError, match=r"CROWD_SHARDING=fsdp.*CROWD_COMPUTE=ray"):
        build_resources(CrowdSettings(sharding="fsdp"))
