"""Settings: where models run, and in which processes.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from typing import Literal

from pydantic import BaseModel, field_validator

from resources.settings.fields import setting, without_credentials


class Compute(BaseModel):
    """Where models run, and in which processes."""

    compute: Literal["embedded", "ray"] = setting(
        default="embedded",
        description="Where models are trained, sampled and embedded with: in the process of the step, or in tasks of a Ray "
        "cluster, which the extra cluster installs. A round that was settled is repeated with what it was settled with.",
        shown="yes",
        per_run=False,
    )
    executor: Literal["in_process", "multiprocess", "ray"] = setting(
        default="in_process",
        description="How a round's steps run: in one process (0.1 s a step), in one process each (about 2 s a step), or in a "
        "job of the Ray cluster each, whose machines share CROWD_HOME and Dagster's storage.",
        shown="yes",
        per_run=False,
    )
    torch_threads: int = setting(
        default=1,
        ge=1,
        description="Threads of torch on the CPU. Models of a few million parameters are fastest on one, above all where "
        "other processes want a core; raise it for large models. Results on another number differ in the last digits.",
        shown="yes",
        per_run=False,
    )
    ray_address: str = setting(
        default="",
        description="The cluster: host:port or auto on one of its nodes, ray://host:10001 from elsewhere. Empty: one of the "
        "step's own process, on the cores and GPUs of this machine.",
        shown="no",
        per_run=False,
    )
    ray_cpus_per_task: float = setting(
        default=1.0, gt=0, description="CPUs that a task of the cluster asks for.", shown="yes", per_run=False
    )
    ray_gpus_per_task: float = setting(
        default=0.0,
        ge=0,
        description="GPUs that a task asks for. A task without one sees none; with less than 1, several share one.",
        shown="yes",
        per_run=False,
    )
    ray_memory_per_task_gib: float = setting(
        default=0.0,
        ge=0,
        description="Memory that a task asks for, in GiB. 0: it does not say.",
        shown="yes",
        per_run=False,
    )
    ray_tasks: int = setting(
        default=0,
        ge=0,
        description="Tasks that candidates, generations and texts are split into. 0: as many as fit on the nodes that are there; "
        "name a number where nodes are started on demand.",
        shown="yes",
        per_run=False,
    )
    ray_retries: int = setting(
        default=3,
        ge=0,
        description="How often a task is run again whose process or node ended, as spot instances do.",
        shown="yes",
        per_run=False,
    )
    ray_wait_s: float = setting(
        default=120.0,
        gt=0,
        description="Longest wait for the cluster to answer, and for a node on which a task fits, in seconds.",
        shown="yes",
        per_run=False,
    )
    ray_dashboard: str = setting(
        default="http://127.0.0.1:8265",
        description="Where the cluster takes jobs, for CROWD_EXECUTOR=ray; RayRunLauncher's address goes before it.",
        shown="no",
        per_run=False,
    )
    sharding: Literal["none", "fsdp"] = setting(
        default="none",
        description="fsdp: the base is spread over the devices of CROWD_SHARDS tasks that all make the same passes, for one that fits "
        "on no single device: it saves memory, not time. It takes CROWD_COMPUTE=ray.",
        shown="yes",
        per_run=False,
    )
    shards: int = setting(
        default=2,
        ge=2,
        description="Tasks that the base is spread over where CROWD_SHARDING=fsdp.",
        shown="yes",
        per_run=False,
    )
    lease_s: float = setting(
        default=90.0,
        ge=5,
        description="Seconds without a sign of life after which a run whose process is on another machine counts as lost. On its own "
        "machine a process that is gone is known at once.",
        shown="yes",
        per_run=False,
    )

    @field_validator("ray_address", "ray_dashboard")
    @classmethod
    def _no_credentials_of_ray(cls, value: str) -> str:
        return without_credentials(value)
