"""Names that a home gives to others: its jobs, the tags and keys of its runs, the set of its rounds' partitions.

Belongs here: names, and nothing that Dagster has to be imported for. Does not belong here: what a name stands for (see
``crowd_assets.jobs`` and ``sensors``).
"""

INGESTION_JOB = "ingest_feedback"
ROUND_JOB = "crowd_round"
SEED_JOB = "seed_models"
REPRODUCTION_JOB = "reproduce"
LEASED_JOBS = (INGESTION_JOB, ROUND_JOB, SEED_JOB, REPRODUCTION_JOB)
"""Jobs each run of which holds a lease while its process lives."""
ROUNDS_PARTITION = "rounds"
"""Set of the rounds' partitions, of a home that nobody has begun; see :func:`partition_set`."""
HOME_TAG = "crowd/home"
ROUND_TAG = "crowd/round"
ATTEMPT_TAG = "crowd/attempt"
BATCH_TAG = "crowd/batch"
STATE_TAG = "crowd/inbox"
CREDITS_TAG = "crowd/credits_spent"
SECONDS_TAG = "crowd/seconds"
TAKEN_IN = "every_file_taken_in"
"""Check of an ingestion that finds files which cannot be read."""
NOTHING_STUCK = "nothing_is_stuck"
"""Check of ``raw_feedback`` that says what waits and why."""


def partition_set(home: str) -> str:
    """Name of the set of a home's rounds: homes that share Dagster's storage have sets of their own.

    Args:
        home: uuid of the home, empty where nobody has begun it.
    """
    return f"{ROUNDS_PARTITION}-{home[:12]}" if home else ROUNDS_PARTITION


def home_tags(home: str) -> dict[str, str]:
    """Tags of every run of a home, by which its runs are found."""
    return {HOME_TAG: home} if home else {}


def run_key(home: str, *parts: object) -> str:
    """Key of a run that a home asks for once: no other home's run has it."""
    return ":".join(map(str, (*((home,) if home else ()), *parts)))
