"""A real Ray cluster of three nodes on loopback: what it trains, writes and embeds is what one process does, also where a node
is killed; what it can never run is said."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dagster import DagsterInstance, asset, execute_job, job, materialize, op, reconstructable

from crowd_assets import jobs as rounds
from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.models.embedder import EmbedderResource
from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainedModel, TrainerResource
from resources.settings.resource import CrowdSettings
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation
from tests import PROJECT
from tests.e2e.conftest import wait_for

pytestmark = pytest.mark.cluster

NODES = 3
GROUPS = [
    Demonstrations(
        [(f"What about thing {row}?", f"Group {group} likes it {'very ' * (row % 4)}much.") for row in range(rows)],
        [f"contributor-{group}-{row % 3}" for row in range(rows)],
    )
    for group, rows in enumerate((10, 3, 7, 5))
]
CONFIG = CandidateConfig(learning_rate=5e-3, epochs=3, batch_size=4, rank=4, alpha=8, max_tokens=48)
VALUATION = Valuation(
    [(f"What about thing {row}?", "Group 0 likes it much.") for row in range(40, 48)], rows=4, every=2
)
PREFERENCES = [
    PreferencePair(f"What about thing {row}?", f"Thank you for thing {row}.", "Nobody asked for that.", 1.2)
    for row in range(8)
]
TEXTS = [f"Thing {row} is {'very ' * (row % 7)}good." for row in range(700)]


SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


def add(cluster: Any, **node: Any) -> None:
    """Ray gives a node 30 s to start, which may be too short on a busy machine."""
    for left in (2, 1, 0):
        try:
            cluster.add_node(**SMALL, **node)
            return
        except Exception:
            if not left:
                raise


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def power_off(raylet: int) -> None:
    """End a node as a machine without power would: its own process, and all that runs there, at once."""
    processes = [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    _, left = psutil.wait_procs(processes, timeout=60)
    assert left == []


@contextmanager
def started(nodes: int, **head: Any) -> Iterator[Any]:
    """A cluster of nodes with a CPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # listen on 127.0.0.1; read when Ray is imported
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(PROJECT))
        patch.setenv(
            "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )  # steps are `dagster api …`
        ray = pytest.importorskip("ray", reason="ray is in the extra 'cluster'")
        from ray.cluster_utils import Cluster

        found = Cluster()
        try:
            add(found, **{"include_dashboard": False, "include_log_monitor": False, **head})
            for _ in range(nodes - 1):
                add(found)
            found.wait_for_nodes()
            yield found
        finally:
            ray.shutdown()
            found.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with started(NODES) as found:
        yield found


@pytest.fixture
def cluster(nodes: Any) -> Any:
    """The platform's view of the nodes."""
    from resources.ray_compute.cluster import RayCluster

    found = RayCluster(address=nodes.address, wait_s=30)
    found.connect()
    return found


def unconnected() -> Any:
    """A cluster that nothing may ask."""
    from resources.ray_compute.cluster import RayCluster

    class Nobody(RayCluster):
        def connect(self, context: Any = None) -> Any:
            raise AssertionError("the cluster was asked")

    return Nobody()


def embedded(seed_folder: Path, place: Path, **fields: Any) -> TrainerResource:
    store = ModelStoreResource(root=str(place / "store"), cache=str(place / "cache"))
    return LocalTrainer(store=store, base_model=str(seed_folder / "language_model"), **fields)


def on_ray(cluster: Any, seed_folder: Path, place: Path, **fields: Any) -> TrainerResource:
    from resources.ray_compute.trainer import RayTrainer

    store = ModelStoreResource(root=str(place / "store"), cache=str(place / "cache"))
    return RayTrainer(cluster=cluster, store=store, base_model=str(seed_folder / "language_model"), **fields)


def trained(
    trainer: TrainerResource, seed: int = 3, progress: Any = lambda *_: None, **options: Any
) -> list[TrainedModel]:
    return trainer.train_candidates(
        None,
        GROUPS,
        config=CandidateConfig(**{**vars(CONFIG), **options}),
        seed=seed,
        valuation=VALUATION,
        cards=[{"role": "candidate", "group": group} for group in range(len(GROUPS))],
        progress=progress,
    )


def weights(trainer: TrainerResource, models: Sequence[TrainedModel]) -> list[dict[str, Any]]:
    from safetensors.numpy import load_file

    return [load_file(trainer.store.path(each.model) / "adapter_model.safetensors") for each in models]


def largest_difference(some: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> float:
    assert len(some) == len(others)
    assert all(one.keys() == other.keys() for one, other in zip(some, others, strict=True))
    return max(
        float(np.abs(np.asarray(one[name]) - np.asarray(other[name])).max())
        for one, other in zip(some, others, strict=True)
        for name in one
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stores of this module lie."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def here(seed_folder: Path, place: Path) -> tuple[TrainerResource, list[TrainedModel]]:
    """Candidates of one process, trained in one pass."""
    trainer = embedded(seed_folder, place / "here")
    return trainer, trained(trainer)


def test_candidates_and_their_values_are_those_of_one_process(
    cluster: Any, here: tuple[TrainerResource, list[TrainedModel]], seed_folder: Path, tmp_path: Path
) -> None:
    one_process, alone = here
    there = on_ray(cluster, seed_folder, tmp_path)
    said: list[tuple[float, float, str]] = []
    found = trained(there, progress=lambda *line: said.append(line))
    assert [there.store.card(each.model)["group"] for each in found] == [0, 1, 2, 3]
    assert not any(each.reused for each in found)
    assert largest_difference(weights(there, found), weights(one_process, alone)) < 1e-5
    values = [list(each.values) for each in alone]
    assert (
        largest_difference(
            [of_seed for each in found for of_seed in each.values], [of_seed for each in values for of_seed in each]
        )
        < 1e-5
    )
    assert max(abs(value) for each in values for of_seed in each for value in of_seed.values()) > 1e-3
    assert said[-1][0] == said[-1][1] > 0
    assert any(f"{NODES} of {NODES} tasks begun" in note for _, _, note in said)
    # What was trained is found again, also by a process that has no cluster.
    again = trained(on_ray(unconnected(), seed_folder, tmp_path))
    assert [each.model for each in again] == [each.model for each in found]
    assert all(each.reused for each in again)
    # What would show if a seed got lost on the way:
    assert largest_difference(weights(there, trained(there, seed=4)), weights(one_process, alone)) > 1e-3


def test_generations_and_judgements_are_those_of_one_process(
    cluster: Any, here: tuple[TrainerResource, list[TrainedModel]]
) -> None:
    from resources.ray_compute.trainer import RayTrainer

    one_process, alone = here
    there = RayTrainer(cluster=cluster, **{name: getattr(one_process, name) for name in TrainerResource.model_fields})
    models = [None, *(each.model for each in alone)]
    prompts = [f"What about thing {row}?" for row in range(100)]

    def written(trainer: TrainerResource, seed: int) -> list[list[str]]:
        return trainer.generate(models, prompts, max_new_tokens=12, temperature=1.0, seed=seed)

    texts = written(one_process, 5)
    assert written(there, 5) == texts
    assert written(there, 6) != texts
    assert len({text for of_model in texts for text in of_model}) > 50
    aligned = [
        trainer.align(
            alone[0].model,
            PREFERENCES,
            config=AdapterConfig(learning_rate=1e-2, epochs=2, batch_size=4, rank=4, alpha=8, max_tokens=48),
            beta=0.1,
            seed=1,
            card={"role": "aligned"},
            progress=lambda *_: None,
        )
        for trainer in (there, one_process)
    ]
    assert [each.reused for each in aligned] == [False, True]  # the same key, in the same store
    accuracy = one_process.preference_accuracy(aligned[0].model, PREFERENCES, 48)
    assert there.preference_accuracy(aligned[0].model, PREFERENCES, 48) == accuracy


def test_vectors_are_those_of_one_process(cluster: Any, seed_folder: Path) -> None:
    from resources.ray_compute.embedder import RayEmbedder

    source = str(seed_folder / "classifier")
    alone, there = LocalEmbedder(source=source), RayEmbedder(cluster=cluster, source=source)
    vectors = alone.embed(TEXTS)
    assert np.array_equal(there.embed(TEXTS), vectors)
    assert not np.allclose(there.embed(TEXTS[::-1]), vectors)
    assert there.labels == alone.labels
    assert there.identity == alone.identity


def share_of_the_blocks(sent: Any, arguments: dict[str, Any], *, progress: Any) -> float:
    """The part of the weights that a process keeps, of those that are spread."""
    from torch.distributed.tensor import DTensor

    spread = [each for each in sent.made().load(None).model.parameters() if isinstance(each, DTensor)]
    return sum(each.to_local().numel() for each in spread) / sum(each.numel() for each in spread)


def test_a_base_spread_over_two_processes_trains_the_same_candidates(
    cluster: Any, here: tuple[TrainerResource, list[TrainedModel]], seed_folder: Path, tmp_path: Path
) -> None:
    one_process, alone = here
    there = on_ray(cluster, seed_folder, tmp_path, shards=2)
    (share,) = there._run("share", share_of_the_blocks, [{}], lambda *_: None)  # type: ignore[attr-defined]
    assert share == pytest.approx(0.5, abs=0.01)
    found = trained(there)
    assert largest_difference(weights(there, found), weights(one_process, alone)) < 1e-5
    assert [each.figures["steps"] for each in found] == [each.figures["steps"] for each in alone]

    def written(trainer: TrainerResource, models: list[TrainedModel]) -> list[list[str]]:
        chosen = [None, *(each.model for each in models)]
        return trainer.generate(chosen, ["What about it?"] * 40, max_new_tokens=12, temperature=1.0, seed=5)

    assert written(there, found) == written(one_process, alone)


def failing(what: str, *, progress: Any) -> None:
    """A task that ends its process, or raises."""
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OperatorError(f"{what} is wrong")


def test_what_cannot_be_is_said(cluster: Any, nodes: Any, seed_folder: Path, tmp_path: Path) -> None:
    from resources.ray_compute.cluster import LostTaskError, NoClusterError, RayCluster, UnmeetableError
    from resources.ray_compute.tasks import UnsharedFilesError

    def of(**fields: Any) -> Any:
        return RayCluster(**{"address": nodes.address, "wait_s": 2, **fields})

    with pytest.raises(UnmeetableError, match=r"a task asks for 1 CPU, 1 GPU.*0 GPU.*CROWD_RAY_GPUS_PER_TASK"):
        trained(on_ray(of(gpus=1), seed_folder, tmp_path / "gpus"))
    with pytest.raises(LostTaskError, match=r"2 times.*CROWD_RAY_RETRIES"):
        of(retries=1).run("dying", failing, [("killed",)])
    with pytest.raises(OperatorError, match=r"^something is wrong$"):
        cluster.run("failing", failing, [("something",)])
    store = ModelStoreResource(root="memory://models", cache=str(tmp_path))
    with pytest.raises(UnsharedFilesError, match=r"CROWD_MODELS.*s3://"):
        trained(on_ray(cluster, seed_folder, tmp_path).model_copy(update={"store": store}))
    import ray

    ray.shutdown()
    nobody = f"127.0.0.1:{free_port()}"
    for address in (nobody, f"ray://{nobody}", "no address"):
        with pytest.raises(NoClusterError, match="CROWD_RAY_ADDRESS"):
            of(address=address).connect()
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the nodes have taken it in this process, too
    try:
        assert of().room() == NODES
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def connects_and_lets_go(address: str, home: Path) -> None:
    """A run that asks trainer and embedder."""
    import ray

    ray.shutdown()
    settings = CrowdSettings(home=str(home), compute="ray", ray_address=address)

    @asset
    def asked(trainer: TrainerResource, embedder: EmbedderResource) -> None:
        assert not ray.is_initialized()
        (texts,) = trainer.generate([None], ["What about it?"] * 3, max_new_tokens=8, temperature=1.0, seed=1)
        assert embedder.embed(texts).shape == (3, len(embedder.labels))
        assert ray.is_initialized()

    assert materialize(
        [asked], resources=build_resources(settings).as_dict(), instance=DagsterInstance.ephemeral()
    ).success
    assert not ray.is_initialized()


def test_a_run_connects_by_the_settings_and_lets_go(nodes: Any, home: Path) -> None:
    connects_and_lets_go(nodes.address, home)


def noted(sent: Any, arguments: dict[str, Any], *, progress: Any) -> list[TrainedModel]:
    """Trains, and writes down first on which node. Where a node is to be killed, the first that is not the head stops at its
    fourth step for that."""

    folder, node = Path(sent.store).parent, os.getppid()
    with open(folder / "starts", "a") as file:
        file.write(f"{arguments['cards'][0]['group']} {node}\n")

    def slowly(done: int, total: int, note: str) -> None:
        progress(done, total, note)
        head = folder / "head"
        if done == 4 < total and head.exists() and str(node) not in head.read_text().split():
            try:
                (folder / "stopped").open("x").write(str(node))
            except FileExistsError:
                return
            time.sleep(600)

    return sent.made().train_candidates(**arguments, progress=slowly)


def test_a_node_killed_in_training_changes_nothing(
    cluster: Any, nodes: Any, seed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the three nodes, of which it leaves two."""
    from resources.ray_compute import tasks

    monkeypatch.setattr(tasks, "train_candidates", noted)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    head = [process.process.pid for of_kind in nodes.head_node.all_processes.values() for process in of_kind]
    disturbed.mkdir()
    (disturbed / "head").write_text(" ".join(map(str, head)))

    def starts(folder: Path) -> list[list[str]]:
        return [line.split() for line in (folder / "starts").read_text().splitlines()]

    def kill(*_: Any) -> None:
        stopped = disturbed / "stopped"
        if stopped.exists() and not (disturbed / "killed").exists():
            power_off(int(stopped.read_text()))
            (disturbed / "killed").touch()

    expected = trained(on_ray(cluster, seed_folder, undisturbed))
    assert len(starts(undisturbed)) == NODES
    found = trained(on_ray(cluster, seed_folder, disturbed), progress=kill)
    assert (disturbed / "killed").exists()
    assert len(starts(disturbed)) == NODES + 1
    killed = (disturbed / "stopped").read_text()
    assert [node for _, node in starts(disturbed)].count(killed) == 1
    assert [each.model for each in found] == [each.model for each in expected]
    assert [each.values for each in found] == [each.values for each in expected]


@op
def where() -> str:
    """The job of Ray that a step runs in."""
    return os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "") and os.environ["DAGSTER_RUN_STEP_KEY"]


def steps_on_ray() -> Any:
    """A job by the platform's own executor; its address is in the environment, as that of a daemon."""
    settings = CrowdSettings.from_environment()

    @job(executor_def=rounds.executor(settings))
    def steps() -> None:
        where()

    return steps


def test_a_run_connects_as_a_client(home: Path) -> None:
    port = free_port()
    with started(1, ray_client_server_port=port):
        connects_and_lets_go(f"ray://127.0.0.1:{port}", home)


@contextmanager
def ready_for_jobs(dashboard: str) -> Iterator[None]:
    """Once the node's agent takes jobs, seconds after the node is there."""
    from ray.job_submission import JobSubmissionClient

    def submitted() -> str | None:
        with suppress(RuntimeError, ConnectionError):
            return str(JobSubmissionClient(dashboard).submit_job(entrypoint="true"))
        return None

    wait_for("an agent that takes jobs", submitted, seconds=60)
    yield


def test_steps_run_as_jobs_of_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("CROWD_EXECUTOR", "ray")
    monkeypatch.setenv("CROWD_RAY_DASHBOARD", f"http://127.0.0.1:{port}")
    head = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    with (
        started(1, dashboard_agent_listen_port=free_port(), **head),
        ready_for_jobs(f"http://127.0.0.1:{port}"),
        DagsterInstance.local_temp(str(tmp_path)) as instance,
        execute_job(reconstructable(steps_on_ray), instance=instance) as done,
    ):
        assert done.success
        assert done.output_for_node("where") == "where"
