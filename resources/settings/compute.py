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
        description="Where models are trained, sampled and embedded with: embedded is the process of the step, ray a Ray "
        "cluster, which the extra cluster installs. A settled round keeps the value that the round was settled "
        "with.",
        shown="yes",
        per_run=False,
    )
    executor: Literal["in_process", "multiprocess", "ray"] = setting(
        default="in_process",
        description="Processes of a round's steps: in_process runs all steps in one process (0.1 s a step), multiprocess each "
        "step in its own process (about 2 s a step), ray each step in a job of the Ray cluster, whose machines "
        "share CROWD_HOME and Dagster's storage.",
        shown="yes",
        per_run=False,
    )
    torch_threads: int = setting(
        default=0,
        ge=0,
        earlier=1,
        description="Number of threads that torch uses on the CPU. 0: one thread for the embedded model, and every core for any other. "
        "Models of a few million parameters are fastest on one "
        "thread, above all where other processes want a core; large models want more. Another number changes the "
        "last digits of results.",
        shown="yes",
        per_run=False,
    )
    ray_address: str = setting(
        default="",
        description="Address of the Ray cluster: host:port or auto on a node of the cluster, ray://host:10001 from elsewhere. "
        "Empty: a cluster inside the step's own process, on the cores and GPUs of this machine.",
        shown="no",
        per_run=False,
    )
    ray_cpus_per_task: float = setting(
        default=1.0,
        gt=0,
        description="Number of CPUs that a task of the Ray cluster asks for.",
        shown="yes",
        per_run=False,
    )
    ray_gpus_per_task: float = setting(
        default=0.0,
        ge=0,
        description="Number of GPUs that a task of the Ray cluster asks for. A task that asks for 0 sees no GPU; tasks that "
        "ask for less than 1 share a GPU.",
        shown="yes",
        per_run=False,
    )
    ray_memory_per_task_gib: float = setting(
        default=0.0,
        ge=0,
        description="GiB of memory that a task of the Ray cluster asks for. 0: a task asks for no amount.",
        shown="yes",
        per_run=False,
    )
    ray_tasks: int = setting(
        default=0,
        ge=0,
        description="Number of tasks that candidates, generations and embeddings are split into on the Ray cluster. 0: as many"
        " tasks as fit on the running nodes; a cluster that starts nodes on demand needs a number.",
        shown="yes",
        per_run=False,
    )
    ray_retries: int = setting(
        default=3,
        ge=0,
        description="Number of times that a task of the Ray cluster is run again after its process or node ended, as spot "
        "instances do.",
        shown="yes",
        per_run=False,
    )
    ray_wait_s: float = setting(
        default=120.0,
        gt=0,
        description="Seconds that a step waits at most for the Ray cluster to answer, and for a node on which a task fits.",
        shown="yes",
        per_run=False,
    )
    ray_dashboard: str = setting(
        default="http://127.0.0.1:8265",
        description="Address where the Ray cluster takes jobs, for CROWD_EXECUTOR=ray. The address of RayRunLauncher, where "
        "configured, is used instead.",
        shown="no",
        per_run=False,
    )
    sharding: Literal["none", "fsdp"] = setting(
        default="none",
        description="Whether one base model is spread over several devices. fsdp spreads the model over CROWD_SHARDS tasks "
        "that all make the same passes, for a model that fits on no single device; spreading saves memory, not "
        "time. fsdp needs CROWD_COMPUTE=ray.",
        shown="yes",
        per_run=False,
    )
    shards: int = setting(
        default=2,
        ge=2,
        description="Number of tasks that the base model is spread over where CROWD_SHARDING is fsdp.",
        shown="yes",
        per_run=False,
    )
    lease_s: float = setting(
        default=90.0,
        ge=5,
        description="Seconds without a sign of life after which a run on another machine counts as lost. A lost process on the"
        " same machine is noticed at once.",
        shown="yes",
        per_run=False,
    )

    @field_validator("ray_address", "ray_dashboard")
    @classmethod
    def _no_credentials_of_ray(cls, value: str) -> str:
        return without_credentials(value)
