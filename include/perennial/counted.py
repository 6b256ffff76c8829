"""Numbers in sentences: with their noun, such as one file, two files; shares, with their interval; quantiles; and times.

>>> from perennial.counted import counted, percent
>>> counted(1, "file"), counted(1200, "row"), counted(2, "entry", "entries")
('1 file', '1,200 rows', '2 entries')
>>> percent(0.25), percent(0.0012)
('25.0 %', '0.12 %')
>>> shown_of(3, 1200), shown_of(0, 1200, 0.31)
('3 of 1,200', 'mean 0.31 of 1,200')
>>> lasting(90), lasting(86400)
('1.5 minutes', '1 day')
>>> spent(90).replace("\u00a0", " ")
'1 min 30 s'
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959963984540054  # so many standard deviations on both sides hold 95 % of a normal distribution


def counted(number: int, noun: str, several: str = "") -> str:
    """The number and its noun, in the singular for one; `several` is the plural where an s does not make it."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def shown_of(events: int, requests: int, mean: float | None = None) -> str:
    """How many of an arm's requests had an event, or, of a signal that watches a mean, which mean their values have."""
    return f"{events:,} of {requests:,}" if mean is None else f"mean {mean:.4g} of {requests:,}"


def percent(share: float) -> str:
    """A share in words; a small one keeps two digits."""
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.1f} %"


def lasting(seconds: float) -> str:
    """A time that is expected or allowed, as people say it: two digits of it are enough."""
    for unit, size in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:.2g} seconds"


def spent(seconds: float) -> str:
    """A time that was measured, in its two largest units, such as `3 h 12 min`; less than a minute in seconds."""
    if seconds < 60:
        return f"{seconds:.3g}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    first = next(place for place, (count, _) in enumerate(counts) if count)
    return " ".join(f"{count}\u00a0{unit}" for count, unit in counts[first : first + 2] if count)


def wilson(rows: float, total: float) -> tuple[float, float]:
    """95 % interval of a share: Wilson, "Probable inference, the law of succession, and statistical inference" (1927)."""
    if not total:
        return 0.0, 1.0
    share, z2 = rows / total, Z95 * Z95
    middle, reach = share + z2 / (2 * total), Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, (middle - reach) / (1 + z2 / total)), min(1.0, (middle + reach) / (1 + z2 / total))


def latency_quantile(cumulative: Sequence[tuple[float, int]], share: float) -> float | None:
    """Upper bound in ms of the histogram cell that holds a quantile.

    None if nothing was counted or it lies beyond the last finite bound.
    """
    total = cumulative[-1][1] if cumulative else 0
    bound = next((bound for bound, count in cumulative if total and count >= share * total), None)
    return None if bound is None or not math.isfinite(bound) else float(bound)
