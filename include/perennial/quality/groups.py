"""Groups of rows, such as airports or sexes: is each represented, and do labels and gaps differ between them?

What differs from chance is told by tests that take sampling into account, and told as worth a look only if it is large too: with many rows
every difference is shown. Days differ by more than single rows do, so the test of a batch is scaled by how much earlier batches differed.

    >>> usual = GroupCounts({"EWR": 3500, "JFK": 3300, "LGA": 3200})
    >>> found = coverage("origin", {"EWR": 480, "JFK": 450}, usual)
    >>> [(each.group, each.rows, each.state) for each in found.groups]
    [('EWR', 480, 'more'), ('JFK', 450, 'more'), ('LGA', 0, 'vanished')]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.counted import wilson

MISSING = "(missing)"  # the group of rows without a value
MOST_GROUPS = 50  # of a column; one with more values has no groups
LEAST_EXPECTED = 5.0  # rows in each cell of a test (Cochran 1954); with fewer it is not made
CHANCE = 0.01  # of calling a difference real that is none, over all groups of a column (false discovery rate)
LARGE = 0.1  # Cramér's V from which on a difference is worth a look: small, but not trivial (Cohen 1988)
SELDOM = 0.05  # share of earlier batches in which a group may have been absent, so that its absence says something
LEAST_BATCHES = 5  # by which it is known how much batches differ
NOTHING = 1e-12  # of the largest label: values of a group that scatter by less are all the same, but for rounding

State = Literal["as usual", "more", "less", "vanished", "new", "few rows"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupCounts:
    """Rows by group of one column; and by group in each of the newest batches, where these are known."""

    rows: Mapping[str, int]
    by_batch: Sequence[Mapping[str, int]] = ()


@dataclass(frozen=True)
class GroupShare:
    """One group in a batch, beside what is usual."""

    group: str
    rows: int
    share: float
    low: float  # of the share's 95 % interval
    high: float
    usual: float | None  # its share of the rows that are in
    p: float | None  # adjusted for the number of groups; None where there are too few rows for a test
    state: State


@dataclass(frozen=True)
class Coverage:
    """The groups of one column in a batch or snapshot.

    Attributes:
        column: its name.
        rows: of the batch.
        groups: in order of their names.
        p: chance of differing as much as this from what is usual; None if it was not tested.
        effect: Cramér's V of batch against usual, as if both had as many rows; 0 to 1.
        scatter: how many times more the shares of batches differ than those of rows drawn at random.
    """

    column: str
    rows: int
    groups: tuple[GroupShare, ...]
    p: float | None = None
    effect: float = 0.0
    scatter: float = 1.0


def names_of(values: Any) -> list[str]:
    """Groups of values as they are in a frame or an array: texts; `true`, `false`; whole numbers; `(missing)`."""
    return [_name(value) for value in values]


def _name(value: Any) -> str:
    if value is None or str(value) in ("nan", "<NA>", "NaT"):
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def counts_of(values: Any) -> dict[str, int]:
    """Rows by group, in order of the groups' names."""
    names, counts = np.unique(np.array(names_of(values), object), return_counts=True)
    return {str(name): int(n) for name, n in zip(names, counts, strict=True)}


def adjusted(chances: Sequence[float | None]) -> list[float | None]:
    """Chances of several tests, mended so that of those that are called real only a stated share is not: Benjamini and Hochberg,
    "Controlling the false discovery rate" (1995). None stays None."""
    from scipy.stats import false_discovery_control

    tested = [p for p in chances if p is not None]
    mended = iter(false_discovery_control(tested).tolist() if tested else ())
    return [None if p is None else float(next(mended)) for p in chances]


def cramers_v(table: Floats) -> tuple[float, float | None]:
    """Cramér's V of a table [groups, columns] of counts, and the chance of such a table if groups and columns were unrelated.

    Pearson's chi-square; Cramér, "Mathematical Methods of Statistics" (1946). Groups with too few expected rows are left out of both;
    0 and None where fewer than two are left.
    """
    from scipy.stats import chi2_contingency

    table = _with_enough(table)
    if min(table.shape) < 2:
        return 0.0, None
    tested = chi2_contingency(table, correction=False)
    return math.sqrt(tested.statistic / (table.sum() * (min(table.shape) - 1))), float(tested.pvalue)


def _with_enough(table: Floats) -> Floats:
    """A table [groups, columns] without columns that no row has, and without groups that have too few expected rows."""
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / max(table.sum(), 1.0)
    enough: Floats = table[expected.min(axis=1, initial=math.inf) >= LEAST_EXPECTED]
    return enough[:, enough.sum(axis=0) > 0]


def coverage(column: str, rows: Mapping[str, int], usual: GroupCounts | None) -> Coverage:
    """How the groups of a batch compare with those of the rows that are in.

    Each group is tested against all others, and all together: chi-square of two samples, divided by how many times more earlier batches
    scattered than random rows would (quasi-likelihood: McCullagh and Nelder, "Generalized Linear Models", 1989, section 4.5).

    Args:
        column: its name.
        rows: of the batch by group.
        usual: of the rows that are in; nothing is tested if absent.
    """
    total, known = sum(rows.values()), usual.rows if usual else {}
    known_total = sum(known.values())
    names = sorted({*rows, *known})
    pairs = np.array([[rows.get(name, 0), known.get(name, 0)] for name in names], np.float64).reshape(-1, 2)
    tested = [_against_the_rest(name, rows, usual) if usual and known_total and total else (0.0, None) for name in names]
    mended = adjusted([p for _, p in tested])
    groups = []
    for name, (effect, _), p in zip(names, tested, mended, strict=True):
        count, share = rows.get(name, 0), rows.get(name, 0) / total if total else 0.0
        usually = known[name] / known_total if name in known and known_total else None
        state = _state(count, share, usually, total, p, effect, absent_before=_absent(name, usual), compared=bool(known_total))
        groups.append(GroupShare(name, count, share, *wilson(count, total), usually, p, state))
    if not (known_total and total):
        return Coverage(column, total, tuple(groups))
    scatter = _scatter(usual, names)
    chance = _chance(pairs, scatter, len(usual.by_batch) if usual else 0)
    return Coverage(column, total, tuple(groups), chance, _equal_weights(pairs), scatter)


def _state(
    count: int, share: float, usual: float | None, total: int, p: float | None, effect: float, *, absent_before: float, compared: bool
) -> State:
    if not compared:
        return "as usual"
    if usual is None:
        return "new"
    if count == 0 and usual * total >= LEAST_EXPECTED and absent_before <= SELDOM:
        return "vanished"
    if p is None:
        return "few rows"
    if p < CHANCE and effect >= LARGE:
        return "more" if share > usual else "less"
    return "as usual"


def _absent(name: str, usual: GroupCounts | None) -> float:
    """In which share of the earlier batches a group was absent too."""
    batches = usual.by_batch if usual else ()
    return sum(not batch.get(name) for batch in batches) / len(batches) if len(batches) >= LEAST_BATCHES else 0.0


def _against_the_rest(name: str, rows: Mapping[str, int], usual: GroupCounts) -> tuple[float, float | None]:
    """Size of a group's difference against all others, and its chance."""
    total, known_total = sum(rows.values()), sum(usual.rows.values())
    here, there = rows.get(name, 0), usual.rows.get(name, 0)
    table = np.array([[here, there], [total - here, known_total - there]], np.float64)
    merged = [{name: batch.get(name, 0), "": sum(batch.values()) - batch.get(name, 0)} for batch in usual.by_batch]
    scatter = _scatter(GroupCounts({name: there, "": known_total - there}, merged), [name, ""])
    return _equal_weights(table), _chance(table, scatter, len(merged))


def _equal_weights(table: Floats) -> float:
    """Cramér's V of a table [groups, 2] whose two columns are given as many rows."""
    shares = table / table.sum(axis=0)
    both = shares.sum(axis=1)
    return math.sqrt(float((((shares[:, 0] - shares[:, 1]) ** 2)[both > 0] / both[both > 0]).sum() / 2))


def _chance(table: Floats, scatter: float, batches: int) -> float | None:
    """Chance of a table [groups, 2] without the groups that have too few rows; None where fewer than two are left."""
    from scipy.stats import chi2, f

    table = _with_enough(table)
    if min(table.shape) < 2:
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    degrees = len(table) - 1
    statistic = float(((table - expected) ** 2 / expected).sum())
    if batches < LEAST_BATCHES:
        return float(chi2.sf(statistic, degrees))
    return float(f.sf(statistic / degrees / scatter, degrees, (batches - 1) * degrees))


def _scatter(usual: GroupCounts | None, names: Sequence[str]) -> float:
    """How many times more earlier batches scatter around the shares of all than rows drawn at random; at least 1."""
    if usual is None or len(usual.by_batch) < LEAST_BATCHES:
        return 1.0
    counts = np.array([[batch.get(name, 0) for name in names] for batch in usual.by_batch], np.float64)
    shares = counts.sum(axis=0) / counts.sum()
    counts, shares = counts[:, shares > 0], shares[shares > 0]
    if len(shares) < 2:
        return 1.0
    expected = counts.sum(axis=1, keepdims=True) * shares
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum()
    return max(1.0, float(statistic) / ((len(counts) - 1) * (len(shares) - 1)))


def label_rates(names: Sequence[str], labels: Floats, classes: Sequence[str]) -> dict[str, Any]:
    """Label by group, as JSON can carry it: of two classes the share of the second, of several the share of each, else the mean.

    Shares have Wilson's interval, and are compared by chi-square and Cramér's V. Means have Student's interval, and are compared by
    Alexander and Govern's test (1994), which does not ask for equal variances, and eta², the share of the variance between groups. Each
    group is also compared with all others (means by Welch's t), adjusted for their number.

    Args:
        names: group of each row.
        labels: class number or value of each row, shape [rows], NaN where it is not known; what is infinite is not known either.
        classes: names of the classes; empty for a regression.
    """
    groups = np.array(names, object)
    known = np.isfinite(labels)
    of_group = {str(name): labels[known & (groups == name)] for name in np.unique(groups)}
    counts = {name: int((groups == name).sum()) for name in of_group}
    summary = _means(of_group) if not classes else _shares(of_group, list(range(len(classes))) if len(classes) > 2 else [1], len(classes))
    said = list(classes[1:2]) if len(classes) == 2 else list(classes) or ["mean"]
    lines = [{"group": name, "rows": counts[name], "labelled": len(of_group[name]), **summary["groups"][name]} for name in of_group]
    return {"of": said, "groups": lines, "p": summary["p"], "effect": summary["effect"], "measure": "eta²" if not classes else "Cramér's V"}


def _shares(of_group: Mapping[str, Floats], shown: Sequence[int], classes: int) -> dict[str, Any]:
    table = np.array([[(labels == place).sum() for place in range(classes)] for labels in of_group.values()], np.float64)
    effect, p = cramers_v(table)
    rest = [cramers_v(np.array([row, table.sum(axis=0) - row])) for row in table]
    mended = adjusted([chance for _, chance in rest])
    groups = {}
    for name, row, (size, _), chance in zip(of_group, table, rest, mended, strict=True):
        rates = [[row[place] / row.sum() if row.sum() else None, *wilson(row[place], row.sum())] for place in shown]
        groups[name] = {"rates": rates, "p": chance, "differs": bool(chance is not None and chance < CHANCE and size >= LARGE)}
    return {"groups": groups, "p": p, "effect": effect}


def _means(of_group: Mapping[str, Floats]) -> dict[str, Any]:
    from scipy.stats import alexandergovern, t, ttest_ind

    every = np.concatenate(list(of_group.values())) if of_group else np.zeros(0)
    unit = float(np.abs(every).max(initial=0.0)) or 1.0  # squares of very large numbers would be no numbers
    every, of_group = every / unit, {name: values / unit for name, values in of_group.items()}
    tested = {name: values for name, values in of_group.items() if len(values) >= 2 * LEAST_EXPECTED and values.std() > NOTHING}
    p = float(alexandergovern(*tested.values()).pvalue) if len(tested) > 1 else None
    between = sum(len(values) * (values.mean() - every.mean()) ** 2 for values in of_group.values() if len(values))
    total = float(((every - every.mean()) ** 2).sum()) if len(every) else 0.0
    chances = [
        float(ttest_ind(of_group[name], others, equal_var=False).pvalue)
        if name in tested and len(others := np.concatenate([v for n, v in of_group.items() if n != name] or [np.zeros(0)])) > 1
        else None
        for name in of_group
    ]
    groups = {}
    for (name, values), chance in zip(of_group.items(), adjusted(chances), strict=True):
        mean = float(values.mean()) if len(values) else None
        reach = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
        low, high = (mean - reach, mean + reach) if mean is not None and reach is not None else (None, None)
        share = len(values) * (mean - every.mean()) ** 2 / total if mean is not None and total else 0.0
        differs = bool(chance is not None and chance < CHANCE and share >= LARGE**2)
        rates = [None if figure is None else figure * unit for figure in (mean, low, high)]
        groups[name] = {"rates": [rates], "p": chance, "differs": differs}
    return {"groups": groups, "p": p, "effect": float(between / total) if total else 0.0}


def missingness(names: Sequence[str], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns that are missing in some groups more than in others, the largest difference first, as JSON can carry it.

    Args:
        names: group of each row.
        columns: where values are missing, by column: bool, shape [rows].
    """
    groups, found = np.array(names, object), []
    kinds = [str(name) for name in np.unique(groups)]
    for column, missing in columns.items():
        counts = np.array([[(missing & (groups == name)).sum(), (~missing & (groups == name)).sum()] for name in kinds], np.float64)
        effect, p = cramers_v(counts)
        found.append((column, effect, p, counts))
    chances = adjusted([p for _, _, p, _ in found])
    lines = []
    for (column, effect, _, counts), p in zip(found, chances, strict=True):
        if p is None or p >= CHANCE or effect < LARGE:
            continue
        shares = counts[:, 0] / counts.sum(axis=1)
        most, least = int(shares.argmax()), int(shares.argmin())
        lines.append(
            {
                "column": column, "effect": effect, "p": p, "most": kinds[most], "most_share": float(shares[most]),
                "least": kinds[least], "least_share": float(shares[least]),
            }
        )  # fmt: skip
    return sorted(lines, key=lambda line: -line["effect"])
