"""What a setting knows of itself: its default, its limits, its description, and the marks that say who may see and change it.

Belongs here: the marks, and checks that several sections share. Does not belong here: settings (a section a module).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from resources.common.errors import OperatorError

ENVIRONMENT_PREFIX = "CROWD_"
CREDENTIALS = re.compile(r"(?<=://)[^/@]+(?=@)")
PASSWORD = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^&']*")  # whatever could be one: to be left out of messages
# With a user, and without a password.
POSTGRES = re.compile(r"postgres(ql)?://([^:/?@]*@)?[^@?]*(\?((?!password)[^@])*)?")
NOT_SETTINGS = {
    "CROWD_REFERENCE_DATA",  # where tests and benchmarks find real data
    "CROWD_PSEUDONYM_KEY",  # secrets: read when they are needed, and never part of a configuration that is stored or shown
    "CROWD_LABEL_STUDIO_TOKEN",
    "CROWD_SECRET",
}

Shown = Literal["yes", "no", "file", "model", "people", "word"]
_MARKS = "crowd_rounds_marks"
_UNSET: Any = object()
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class SettingError(OperatorError, ValueError):
    """A setting has a value that it cannot have; the message names the setting, the value and the way out."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a setting knows of itself beside its type and limits.

    shown: What strangers see of the value, as in an exported model's card: ``yes`` all of it, ``no`` nothing (places and
        addresses), ``file`` or ``people`` that there is one, ``model`` a hub id and no folder,
        ``word`` one word and no path.
    per_run: Whether the configuration of one run may change it; False where other resources or jobs are made from it when
        Dagster loads the code.
    place: Whether it says where things are: an audit reads it from the environment, as a home may have been moved.
    essential: Whether it is one of the few that nearly every operator sets.
    earlier: The value that a round had which was settled before the setting existed; the default where None.
    """

    shown: Shown
    per_run: bool = True
    place: bool = False
    essential: bool = False
    earlier: Any = None


def setting(
    default: Any = _UNSET,
    *,
    shown: Shown,
    per_run: bool = True,
    place: bool = False,
    essential: bool = False,
    earlier: Any = None,
    **constraints: Any,
) -> Any:
    """The field of a setting: pydantic's ``Field`` with :class:`Marks`.

    Args:
        default: Value of somebody who sets nothing.
        shown, per_run, place, essential, earlier: See :class:`Marks`. ``shown`` has no default, so that whoever adds a
            setting decides.
        constraints: As of ``Field``: description, ge, le, pattern and so on.
    """
    marks = Marks(shown, per_run, place, essential, earlier)
    return Field(default=default, json_schema_extra={_MARKS: marks}, **constraints)  # type: ignore[dict-item]


def marks_of(field: FieldInfo) -> Marks:
    """The marks of a field that :func:`setting` made.

    Raises:
        TypeError: the field was declared otherwise.
    """
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not isinstance(marks := extra.get(_MARKS), Marks):
        raise TypeError(
            f"the setting {field.description!r} has no marks: declare the setting by resources.settings.fields.setting"
        )
    return marks


def limits(field: FieldInfo) -> str:
    """The numbers that a setting may have, in words, such as ``above 0, at most 1``; empty where nothing bounds them."""
    bounds = {name: getattr(each, name) for each in field.metadata for name in _BOUNDS if hasattr(each, name)}
    return ", ".join(f"{_BOUNDS[name]} {bounds[name]:,}" for name in _BOUNDS if name in bounds)


def variable(name: str) -> str:
    """The environment variable of the setting ``name``."""
    return f"{ENVIRONMENT_PREFIX}{name.upper()}"


def parts(value: str) -> tuple[str, ...]:
    """What stands between commas, without spaces; nothing is no part."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def decimal_text(value: str) -> str:
    """``value``, if it is an amount of points or credits.

    Raises:
        ValueError: it is no decimal number, below 0, or has more than 6 decimal places.
    """
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a decimal number") from None
    if not amount.is_finite() or amount < 0 or amount != amount.quantize(Decimal("0.000001")):
        raise ValueError(f"{value!r} must be at least 0 with at most 6 decimal places")
    return value


def without_credentials(value: str) -> str:
    """``value``, if it holds no user and password before an @.

    Raises:
        ValueError: it does; the message does not repeat it.
    """
    if CREDENTIALS.search(value):
        raise ValueError(
            "holds credentials before an @, and settings are recorded with every round: give credentials by the environment variables of the storage's own client"
        )
    return value


def all_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Check that every one of ``names`` is ``known``.

    Raises:
        ValueError: some are not; the message lists those that there are.
    """
    choices = tuple(known)
    if unknown := [name for name in names if name not in choices]:
        raise ValueError(f"{', '.join(unknown)}: no such {what}; there are {', '.join(choices)}")
