"""How far people agree: Krippendorff's alpha with an interval, agreement of pairs, and what each says against what was agreed on.

Alpha is 1 where all agree, 0 where they agree as often as chance alone would make them, and less where they agree less than that. It
takes any number of people and rows that not everybody labelled. With m values in a row and n in all rows that have at least two:

    alpha = 1 - D_o / D_e,   D_o = sum over rows, over their pairs of d / (m - 1), / n,   D_e = sum over all pairs of d / (n (n - 1))

where d of two values is 0 or 1 for words (nominal), and the squared difference of numbers (interval). Krippendorff, "Computing
Krippendorff's Alpha-Reliability" (2011); Hayes and Krippendorff, "Answering the Call for a Standard Reliability Measure for Coding Data"
(2007), whose interval by drawing rows again is used here.

    >>> from perennial.labelling.agreement import alpha
    >>> alpha([["yes", "yes"], ["no", "no"], ["yes", "no"], ["no"]])
    0.4444444444444444
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from perennial.labelling.answers import Answer, Key
from perennial.labelling.consensus import Label

Floats = NDArray[np.float64]
FEW = 20  # labels: fewer tell little of a person
RESAMPLES = 1000
MOST_WEIGHTS = 4_000_000  # of rows drawn again that are in memory at a time
RELIABLE, TENTATIVE = 0.8, 0.667  # of alpha, from which on labels can be relied on, or with care (Krippendorff 2004)


@dataclass(frozen=True)
class Person:
    """What one person's labels are like.

    Attributes:
        name: of the person.
        labels: rows that he labelled.
        pairs: with another person's label of the same row.
        same: of these, those that are equal.
        said: how often he said what where what was agreed on: agreed label -> his label -> rows.
        few: whether he labelled too few rows to tell.
    """

    name: str
    labels: int
    pairs: int
    same: int
    said: Mapping[str, Mapping[str, int]]
    few: bool

    @property
    def agreement(self) -> float | None:
        """Share of the pairs that are equal; None without pairs."""
        return self.same / self.pairs if self.pairs else None


@dataclass(frozen=True)
class Agreement:
    """How far people agree on one label column.

    Attributes:
        column: that they filled in.
        numeric: whether it has numbers, whose distance counts.
        rows: with a label.
        rows_of_several: with labels of at least two people: alpha is of these.
        labels: all of them, the newest of each person and row.
        alpha: None where nothing can be told: no row has two labels, or all labels are the same.
        low: of its 95 % interval.
        high: of its 95 % interval.
        people: by name.
        pairs: of two people the rows that both labelled and the share on which they agree.
    """

    column: str
    numeric: bool
    rows: int
    rows_of_several: int
    labels: int
    alpha: float | None
    low: float | None
    high: float | None
    people: tuple[Person, ...]
    pairs: tuple[tuple[str, str, int, float], ...]

    @property
    def sentence(self) -> str:
        """What alpha means, in a sentence."""
        if self.alpha is None:
            why = "all labels are the same" if self.rows_of_several else "no row has labels of two people"
            return f"How far people agree on {self.column} cannot be told: {why}."
        words = "can be relied on" if self.alpha >= RELIABLE else "need care" if self.alpha >= TENTATIVE else "are not reliable"
        interval = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"Krippendorff's alpha of {self.column} is {self.alpha:.3f}{interval} on {self.rows_of_several:,} rows: the labels {words}."


def alpha(rows: Sequence[Sequence[str]], *, numeric: bool = False) -> float | None:
    """Krippendorff's alpha of the values of each row; None if no row has two of them, or all are the same.

    Args:
        rows: values of each row, one for each person who labelled it.
        numeric: whether values are numbers, whose squared difference counts, else words.
    """
    sums = _sums(rows, numeric=numeric)
    found = float(_alphas(sums, np.ones((1, len(sums))), numeric=numeric)[0]) if len(sums) else np.nan
    return None if np.isnan(found) else found


def interval(rows: Sequence[Sequence[str]], *, numeric: bool = False, seed: int = 0, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of alpha from rows drawn again with replacement; None if there are fewer than two rows with two values."""
    sums = _sums(rows, numeric=numeric)
    if len(sums) < 2:
        return None
    rng = np.random.default_rng(seed)
    at_a_time = max(1, MOST_WEIGHTS // len(sums))
    values = np.concatenate(
        [
            _alphas(sums, rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), number).astype(np.float64), numeric=numeric)
            for number in (min(at_a_time, RESAMPLES - begin) for begin in range(0, RESAMPLES, at_a_time))
        ]
    )
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    tail = (1 - level) / 2
    return float(np.quantile(values, tail)), float(np.quantile(values, 1 - tail))


def _sums(rows: Sequence[Sequence[str]], *, numeric: bool) -> Floats:
    """For each row with two values what alpha needs of it: how often each word occurs; or number, sum and sum of squares."""
    several = [row for row in rows if len(row) > 1]
    if numeric:
        numbers = [np.array(row, dtype=np.float64) for row in several]
        if numbers:  # alpha is of differences alone: of large numbers that lie close together squares would tell nothing
            every = np.concatenate(numbers)
            middle = np.median(every)
            numbers = [(row - middle) / (np.abs(every - middle).max() or 1.0) for row in numbers]
        return np.array([[len(row), row.sum(), (row**2).sum()] for row in numbers], dtype=np.float64).reshape(-1, 3)
    words = {word: place for place, word in enumerate(sorted({word for row in several for word in row}))}
    counts = np.zeros((len(several), len(words)))
    for place, row in enumerate(several):
        for word in row:
            counts[place, words[word]] += 1
    return counts


def _alphas(sums: Floats, weights: Floats, *, numeric: bool) -> Floats:
    """For each line of weights [lines, rows] alpha of rows that count so often; NaN where all values are the same."""
    values = sums[:, 0] if numeric else sums.sum(axis=1)
    within = _differences(sums, numeric=numeric) / (values - 1)
    n = weights @ values
    expected = _differences(weights @ sums, numeric=numeric) / (n * (n - 1))
    different: Floats = expected > 0
    return np.where(different, 1 - weights @ within / n / np.where(different, expected, 1.0), np.nan)


def _differences(sums: Floats, *, numeric: bool) -> Floats:
    """Sum of the differences over all ordered pairs of values of each row."""
    if numeric:
        return np.maximum(2 * (sums[:, 0] * sums[:, 2] - sums[:, 1] ** 2), 0.0)
    different: Floats = sums.sum(axis=1) ** 2 - (sums**2).sum(axis=1)
    return different


def agreement(
    newest: Mapping[Key, Mapping[str, Answer]], agreed: Mapping[Key, Label], column: str, *, numeric: bool = False, seed: int = 0
) -> Agreement:
    """How far people agree on a label column.

    Args:
        newest: the newest answer of each person, by row.
        agreed: label of the rows that have an agreed one.
        column: name of the column.
        numeric: whether it has numbers, whose distance counts.
        seed: of what is drawn.
    """
    said = {
        key: {person: answer.label[column] for person, answer in answers.items() if answer.label.get(column)}
        for key, answers in newest.items()
    }
    rows = [list(values.values()) for values in said.values() if values]
    pairs: dict[tuple[str, str], list[bool]] = {}
    for values in said.values():
        for one, other in combinations(sorted(values), 2):
            pairs.setdefault((one, other), []).append(values[one] == values[other])
    names = sorted({person for values in said.values() for person in values})
    bounds = interval(rows, numeric=numeric, seed=seed)
    return Agreement(
        column=column,
        numeric=numeric,
        rows=len(rows),
        rows_of_several=sum(len(row) > 1 for row in rows),
        labels=sum(map(len, rows)),
        alpha=alpha(rows, numeric=numeric),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        people=tuple(_person(name, said, pairs, agreed, column) for name in names),
        pairs=tuple((*pair, len(same), sum(same) / len(same)) for pair, same in sorted(pairs.items())),
    )


def _person(
    name: str,
    said: Mapping[Key, Mapping[str, str]],
    pairs: Mapping[tuple[str, str], Sequence[bool]],
    agreed: Mapping[Key, Label],
    column: str,
) -> Person:
    own = {key: values[name] for key, values in said.items() if name in values}
    same = [equal for pair, equals in pairs.items() if name in pair for equal in equals]
    against: dict[str, Counter[str]] = {}
    for key, value in own.items():
        if key in agreed:
            against.setdefault(agreed[key].get(column, ""), Counter())[value] += 1
    confusion = {label: dict(sorted(counts.items())) for label, counts in sorted(against.items())}
    return Person(name, len(own), len(same), sum(same), confusion, len(own) < FEW)
