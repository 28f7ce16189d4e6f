"""How much more is to be asked until a figure is known as well as wanted.

Belongs here: power analysis of agreement and of win rates. Does not belong here: the figures themselves (see ``agreement``,
``preferences``).
"""

import math


def items_until_interval(half_width: float, items: int, wanted: float) -> int:
    """How many more items must be judged until an interval's half width is at most ``wanted``, if the half width falls as 1 / sqrt(items).

    Args:
        half_width: of the interval over ``items`` items, positive; ``wanted`` alike.

    Returns:
        at least 0.

    Raises:
        ValueError: a width that is not positive and finite, or fewer than one item.

    Example:
        >>> items_until_interval(0.1, items=100, wanted=0.05)
        300
    """
    if not (math.isfinite(half_width) and half_width > 0 and math.isfinite(wanted) and wanted > 0 and items > 0):
        raise ValueError(f"expected positive widths and items, got {half_width}, {wanted} and {items}")
    return max(0, math.ceil(items * (half_width / wanted) ** 2 * (1 - 1e-12)) - items)


def comparisons_until_margin(rate: float, margin: float, *, level: float = 0.95) -> int:
    """How many independent comparisons give a win rate to +- ``margin``: z^2 p (1 - p) / margin^2.

    Args:
        rate: the win rate expected, in [0, 1]; ``margin`` in (0, 1); ``level`` of the interval.

    Raises:
        ValueError: a number outside its range.

    Example:
        >>> comparisons_until_margin(0.5, 0.05)
        385
    """
    from scipy.stats import norm

    if not (0 <= rate <= 1 and 0 < margin < 1 and 0 < level < 1):
        raise ValueError(f"expected a rate in [0, 1], a margin and a level in (0, 1), got {rate}, {margin}, {level}")
    return math.ceil(float(norm.ppf((1 + level) / 2)) ** 2 * rate * (1 - rate) / margin**2)


def comparisons_until_decided(rate: float, *, level: float = 0.95, power: float = 0.8) -> int | None:
    """How many independent comparisons tell a win rate from 1/2 with chance ``power``, by a two-sided test at 1 - ``level``.

    (z_level / 2 + z_power sqrt(p (1 - p)))^2 / (p - 1/2)^2; None where the rate is 1/2, which no number tells from itself.

    Raises:
        ValueError: a rate outside [0, 1], a level or power outside (0, 1).

    Example:
        >>> comparisons_until_decided(0.6)
        194
    """
    from scipy.stats import norm

    if not (0 <= rate <= 1 and 0 < level < 1 and 0 < power < 1):
        raise ValueError(f"expected a rate in [0, 1], a level and a power in (0, 1), got {rate}, {level}, {power}")
    if rate == 0.5:
        return None
    needed = float(norm.ppf((1 + level) / 2)) / 2 + max(float(norm.ppf(power)), 0.0) * math.sqrt(rate * (1 - rate))
    return math.ceil((needed / (rate - 0.5)) ** 2)
