"""Facts of rounds and homes, each asked in one place: whether a round is settled or open, its number, whose an account is, which erasure
is under way, which comparisons are withdrawn, the chain of records.

SQL that both databases read, to stand where a table or a condition may: no view, as homes and snapshots that earlier versions
wrote have none and are read as they are. Imports nothing, as commands that only look use it.

Belongs here: what more than one module asks of rounds or of accounts. Does not belong here: asking (see ``base`` and ``look``).
"""

CLAIMED, SETTLED, COMPLETED, SKIPPED = "claimed", "settled", "completed", "skipped"
STATUSES = (CLAIMED, SETTLED, COMPLETED, SKIPPED)
"""What a round may be, in the order in which it becomes so."""

IS_SETTLED = f"status IN ('{SETTLED}', '{COMPLETED}')"
"""Of a row of ``rounds``: it has paid, and named the next base."""
IS_OPEN = f"status IN ('{CLAIMED}', '{SETTLED}')"
"""Of a row of ``rounds``: it is under way."""
SETTLED_ROUNDS = f"(SELECT * FROM rounds WHERE {IS_SETTLED})"
"""Rows of ``rounds`` that have paid, as a table."""

BEGUN_ERASURE = "SELECT contributor_id, erasure_id FROM erasures WHERE status = 'begun'"
"""Whose erasure was begun and has not ended, and its id: one row at most."""
WITHDRAWN = "SELECT comparison_id FROM withdrawn_comparisons"
"""Comparisons that nobody is asked any more, as an erasure took a text of theirs."""
RECORD_HASHES = "SELECT hash FROM round_records ORDER BY round_no"
"""Hashes of the chain of records, oldest first."""

TREASURY = "treasury"
PEOPLES_LEDGER = (
    "(SELECT *, substr(account, strpos(account, ':') + 1) AS contributor_id, starts_with(account, 'deposit:') AS held_back "
    f"FROM ledger WHERE account <> '{TREASURY}')"
)
"""Entries of the ledger on contributors' accounts and deposits, as a table: those of ``ledger`` with ``contributor_id``, whose
account or deposit it is, and ``held_back``, whether it is the deposit. What the treasury gave or took is the other side."""


def is_settled(status: str) -> bool:
    """What ``IS_SETTLED`` says, of a status that was read."""
    return status in (SETTLED, COMPLETED)


def is_open(status: str) -> bool:
    """What ``IS_OPEN`` says, of a status that was read."""
    return status in (CLAIMED, SETTLED)


def round_id_of(round_no: int) -> str:
    """The partition key of a round: ``r000001`` for 1."""
    return f"r{round_no:06d}"


def round_no_of(round_id: str) -> int:
    """The number of a round: 1 for ``r000001``."""
    return int(round_id.removeprefix("r"))
