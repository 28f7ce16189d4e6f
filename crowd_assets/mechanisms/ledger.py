"""Entries of the append-only double-entry ledger, in points and credits.

Belongs here: what an entry is, how transactions are made, summed, checked and reversed.
Does not belong here: where entries are kept, and refusing a second posting of a settled round (see
``resources.warehouse.duckdb``).

Amounts are ``Decimal`` with at most six decimal places. Every transaction sums to zero in its unit, so the
ledger as a whole does; nothing is ever changed, a mistake is undone by a reversal.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TypeVar

TREASURY = "treasury"
"""The account that points and credits come from."""

DEPOSITS = "deposit:"
"""What accounts begin with that hold points back."""

UNITS = ("point", "credit")

DECIMAL_PLACES = 6

# Sums of entries are exact whatever precision the caller's decimal context has.
_EXACT = Context(prec=200)

Amount = TypeVar("Amount", Decimal, float)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: ``amount`` (negative for a debit) of ``unit`` on ``account`` in ``round_id``.

    ``reason`` says why in one word of the project; ``reference`` names the one thing it is for (a bid, a
    round and a contributor, a reversed entry). ``entry_id`` follows from everything but the amount; see
    ``entry_id``.
    """

    entry_id: str
    round_id: str
    account: str
    unit: str
    amount: Decimal
    reason: str
    reference: str


def contributor_account(contributor_id: str) -> str:
    """Account of a contributor: ``contributor:<id>``. Raises ValueError for an empty id.

    Example:
        >>> contributor_account('ada')
        'contributor:ada'
    """
    if not contributor_id:
        raise ValueError("a contributor's account needs a contributor id")
    return f"contributor:{contributor_id}"


def deposit_account(contributor_id: str) -> str:
    """Account of the points that are held back of a contributor: ``deposit:<id>``. Raises ValueError for an empty id.

    Example:
        >>> deposit_account('ada')
        'deposit:ada'
    """
    if not contributor_id:
        raise ValueError("a deposit needs a contributor id")
    return f"{DEPOSITS}{contributor_id}"


def contributor_of(account: str) -> str:
    """Whose a contributor's account or deposit is.

    Example:
        >>> contributor_of(contributor_account('ada'))
        'ada'
    """
    return account.partition(":")[2]


def held_back(held: Amount, earned: Amount, deposit: Amount) -> Amount:
    """Points that move from a name's account to the name's deposit when the name earns; below zero: points that come back.

    Formula: min(deposit, held + max(earned, 0)) - held. So the first ``deposit`` points that a name earns are held back, once,
    however its earnings are cut into settlements; what it loses does not touch them. Whoever is paid under k names in place of
    one leaves k - 1 more deposits behind.

    Args:
        held: what its deposit holds, at least 0.
        earned: what this settlement pays it in all, may be negative.
        deposit: what every name's deposit should hold, at least 0; where it was lowered the rest comes back.

    Guarantees: at most what was earned, if that is positive; afterwards the deposit holds at most ``deposit``.

    Raises:
        ValueError: a negative ``held`` or ``deposit``.

    Source: Friedman & Resnick, "The social cost of cheap pseudonyms" (2001): newcomers pay their dues.

    Example:
        >>> held_back(Decimal('0'), Decimal('2'), Decimal('0.5'))
        Decimal('0.5')
    """
    if held < 0 or deposit < 0:
        raise ValueError(f"a deposit holds nothing below zero: got {held} of {deposit}")
    return min(deposit, held + max(earned, earned * 0)) - held


def entry_id(round_id: str, account: str, unit: str, reason: str, reference: str) -> str:
    """Deterministic name of an entry: 32 hexadecimal digits.

    Formula: BLAKE2b with a digest of 128 bits over the canonical JSON (sorted keys, no spaces, UTF-8) of
    round_id, account, unit, reason and reference. The amount is left out on purpose: posting another amount
    for the same thing collides with the first posting instead of paying twice.

    Example:
        >>> entry_id('r000001', 'treasury', 'point', 'demonstrations', 'earned in r000001')[:8]
        '8a280599'
    """
    content = {
        "round_id": round_id,
        "account": account,
        "unit": unit,
        "reason": reason,
        "reference": reference,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def transfer(
    *,
    round_id: str,
    debit_account: str,
    credit_account: str,
    unit: str,
    amount: Decimal,
    reason: str,
    reference: str,
) -> tuple[Entry, Entry]:
    """A transaction of two entries: ``amount`` leaves one account and arrives at another.

    The two entries are named after round, account, unit, reason and reference. So give every transaction that
    shares an account, a reason and a round its own ``reference`` (the bid, not the lot; the contributor, not
    the round): otherwise its debits on the treasury would be taken for one and the same.

    Args:
        round_id: the round it belongs to.
        debit_account: where the amount comes from.
        credit_account: where it goes to, another account.
        unit: one of ``UNITS``.
        amount: positive and finite, at most six decimal places.
        reason: why, not empty.
        reference: what for, not empty.

    Returns:
        the debit (negative amount) and the credit (positive amount).

    Guarantees: the two amounts sum to zero exactly; equal arguments give equal entries.

    Raises:
        ValueError: an amount that is not a positive finite ``Decimal`` of at most six decimal places, an
            unknown unit, the same account twice, or an empty name.

    Example:
        >>> paid = transfer(round_id='r000001', debit_account='treasury', credit_account=contributor_account('ada'), unit='credit', amount=Decimal('2'), reason='sale', reference='lot-1')
        >>> [(entry.account, str(entry.amount)) for entry in paid]
        [('treasury', '-2'), ('contributor:ada', '2')]
    """
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}: choose one of {', '.join(UNITS)}")
    if debit_account == credit_account:
        raise ValueError(f"a transfer needs two accounts, got {debit_account!r} twice")
    names = {
        "round_id": round_id,
        "debit_account": debit_account,
        "credit_account": credit_account,
        "reason": reason,
        "reference": reference,
    }
    for name, text in names.items():
        if not text:
            raise ValueError(f"{name} is empty: every entry says where, why and what for")
    _check_amount(amount)
    if amount <= 0:
        raise ValueError(f"amount must be positive, got {amount}: swap the accounts to move it the other way")
    return (
        _entry(round_id, debit_account, unit, amount.copy_negate(), reason, reference),
        _entry(round_id, credit_account, unit, amount, reason, reference),
    )


def totals(entries: Iterable[Entry]) -> dict[tuple[str, str], Decimal]:
    """Balance of every account in every unit: (account, unit) to the exact sum of amounts.

    Guarantees: exact, and the same whatever the order of entries.

    Example:
        >>> paid = transfer(round_id='r000001', debit_account='treasury', credit_account=contributor_account('ada'), unit='credit', amount=Decimal('2'), reason='sale', reference='lot-1')
        >>> totals(paid)[contributor_account('ada'), 'credit']
        Decimal('2')
    """
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in entries:
        key = (entry.account, entry.unit)
        sums[key] = _EXACT.add(sums[key], entry.amount)
    return dict(sums)


def unbalanced(entries: Iterable[Entry]) -> dict[str, Decimal]:
    """Units whose entries do not sum to zero, with what they sum to; empty for a balanced set of entries.

    Example:
        >>> paid = transfer(round_id='r000001', debit_account='treasury', credit_account=contributor_account('ada'), unit='credit', amount=Decimal('2'), reason='sale', reference='lot-1')
        >>> unbalanced(paid), unbalanced(paid[:1])
        ({}, {'credit': Decimal('-2')})
    """
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        sums[entry.unit] = _EXACT.add(sums[entry.unit], entry.amount)
    return {unit: total for unit, total in sums.items() if total}


def reversal(entries: Iterable[Entry], *, round_id: str, reason: str) -> tuple[Entry, ...]:
    """Entries that undo ``entries``: the opposite amounts, each with a reference to the reversed entry.

    Args:
        entries: what to undo, whole transactions.
        round_id: the round in which the correction is posted.
        reason: why, not empty.

    Returns:
        one entry for each entry, in their order.

    Guarantees: ``totals`` of both together are zero for every account; reversing the same entries again gives
    the same ids.

    Raises:
        ValueError: the entries do not balance (half a transaction cannot be reversed), or an empty name.

    Example:
        >>> paid = transfer(round_id='r000001', debit_account='treasury', credit_account=contributor_account('ada'), unit='credit', amount=Decimal('2'), reason='sale', reference='lot-1')
        >>> unbalanced([*paid, *reversal(paid, round_id='r000002', reason='mistake')])
        {}
    """
    entries = tuple(entries)
    if not round_id or not reason:
        raise ValueError("a reversal needs a round and a reason")
    left_over = unbalanced(entries)
    if left_over:
        raise ValueError(f"only whole transactions can be reversed: these entries sum to {left_over}")
    return tuple(
        _entry(round_id, entry.account, entry.unit, entry.amount.copy_negate(), reason, entry.entry_id)
        for entry in entries
    )


def _entry(round_id: str, account: str, unit: str, amount: Decimal, reason: str, reference: str) -> Entry:
    return Entry(
        entry_id=entry_id(round_id, account, unit, reason, reference),
        round_id=round_id,
        account=account,
        unit=unit,
        amount=amount,
        reason=reason,
        reference=reference,
    )


def _check_amount(amount: Decimal) -> None:
    if not isinstance(amount, Decimal):
        raise ValueError(f"amounts are Decimal, never float: got {amount!r}")
    if not amount.is_finite():
        raise ValueError(f"amount must be finite, got {amount}")
    exponent = amount.normalize(_EXACT).as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMAL_PLACES:
        raise ValueError(f"amount {amount} has more than {DECIMAL_PLACES} decimal places: round it first")
