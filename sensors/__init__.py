"""What starts a round: the inbox sensor, the round sensor, the nightly schedule, and what happens when a run fails.

Belongs here: decisions as pure functions, and the sensors that fetch what they need and return what they say.
Does not belong here: the graph. Jobs and partitions are named by string; only ``resources`` is imported.
"""

INGESTION_JOB = "ingest_feedback"
ROUND_JOB = "crowd_round"
ROUNDS_PARTITION = "rounds"
ROUND_TAG = "crowd/round"
PROCESS_TAG = "crowd/process"
BATCH_TAG = "crowd/batch"
CREDITS_TAG = "crowd/credits_spent"
SECONDS_TAG = "crowd/seconds"
