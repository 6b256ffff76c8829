"""The sentences of the drift test, on what moved and what cannot be tested. They lack their end, which says whether it is drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from perennial.monitoring.drift.blocks import UNEQUAL
from perennial.monitoring.permutation import Floats

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile


def since(window: Profile) -> str:
    """End of a sentence that says when the window begins; empty where its blocks are no days."""
    first = next(iter(window.blocks), None)
    return f" since {first.day} {first:%B}" if isinstance(first, date) else ""


def of_rows(before: float, after: float) -> str:
    """A share of the rows before and after."""
    return f"{_percent(before)} → {_percent(after)} of rows"


def shifted(column: str, label: str, before: float, after: float) -> str:
    """A range or category that changed its share."""
    return f"`{column}`: {label}: {of_rows(before, after)}"


def other_values(column: str, known: int, before: float, after: float) -> str:
    """Values that the layout of the profiles does not know."""
    return f"`{column}`: values that are none of the {known} known: {of_rows(before, after)}"


def missing(column: str, before: float, after: float) -> str:
    """Missing values."""
    return f"`{column}`: missing {of_rows(before, after)}"


def new_category(column: str, names: Sequence[str], share: float) -> str:
    """Categories that the reference has not, the most frequent first, and the share of that one."""
    if not names:
        return f"`{column}`: no new category"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"`{column}`: new category {names[0]}: 0.0 % → {_percent(share)} of rows{more}"


def correlation(first: str, second: str, before: float, after: float) -> str:
    """How far two columns go together."""
    return f"`{first}` and `{second}`: correlation {before:.2f} → {after:.2f}"


def apart(effect: float) -> str:
    """All columns together."""
    return f"All columns together: combinations of values are {effect:.2g} apart"


def power(reference: int, current: int, labellings: int, alpha: float) -> str:
    """A sentence on what the test cannot find with so few blocks; empty if there is no such limit."""
    if not reference or not current:
        return f"Nothing can be compared: {'the reference' if not reference else 'the window'} has no rows."
    if 1 / labellings > alpha:
        return (
            f"Nothing can be found: with {reference} reference and {current} window days no result is rarer than {1 / labellings:.2g}. "
            "Use more reference days or longer windows."
        )
    if current == 1:
        return (
            f"The window is one day: only a day that stands out among all {reference} of the reference can be told from chance. "
            "Use longer windows to see smaller changes."
        )
    return ""


def too_unequal(rows: Floats, reference: int) -> str:
    """Why the joint samples cannot be compared; empty if they can. They are means, and cannot be thinned."""
    if not rows.all():
        return "some blocks have too few different rows for a sample of them, so correlations and all columns together are not compared"
    before, after = np.median(rows[:reference]), np.median(rows[reference:])
    if after * UNEQUAL < before:
        return (
            f"a block of the window has {after:.0f} sampled rows, one of the reference {before:.0f}: "
            "they scatter differently, so correlations and all columns together are not compared"
        )
    return ""


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:.0f} %"
