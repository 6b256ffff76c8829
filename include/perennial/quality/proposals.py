"""Expectations that are grown from what was seen of a dataset, each with its evidence: from a sample, or from all batches of a table.

A rule is a small object that can be grown from any number of batches and held against one. So the same rule is grown from the batches that
came before each of the newer ones and held against it: how often it would have failed is known before it is proposed.

    >>> from perennial.specs import Column, DatasetSpec
    >>> spec = DatasetSpec(name="rides", title="Rides", owner="fleet", row_id="content", event_time="",
    ...                    columns=[Column(name="km", type="float")])
    >>> batches = [BatchFacts("monday.csv", 900, {"km": ColumnFacts(known=900, nulls=0, low=0.3, high=52.0, median=6.0)})]
    >>> [proposal.words for proposal in proposals(spec, batches, batch_is_file=False)]
    ['a batch has at least 1 row', 'km is from 0 to 150']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from perennial.column_types import kind_of
from perennial.quality.sentences import shown
from perennial.specs import DatasetSpec

Kwargs = dict[str, Any]
FEW_VALUES = 20  # different values of a column of words, up to which a suite lists them
ROWS_EACH = 5  # rows of each such value, on average, at least
MOST_BROKEN = 0.05  # share of the newer batches that a rule may have failed, grown from those before them; with more it is not proposed
LEAST_BATCHES = 5  # that say how much batches differ, and by which a rule is tried
MOST_TRIED = 60  # newest batches by which rules are tried
LEAST_SLACK = 0.01  # of a range, on each side
NEVER_CONSTANT = 0.9  # largest share of one value in any batch, of a column that is not nearly constant
ENOUGH_ROWS = 20  # of a batch, to say that a column has one value alone
_SMALLEST = 1e-300  # of a slack
PAIR_ROWS = 300  # with both values: a rule that none broke holds for at least 99 % of what comes (95 % confidence, 3 in n)
PAIR_TELLS = 0.1  # share of rows that would break a rule between two columns if they had nothing to do with one another


@dataclass(frozen=True)
class ColumnFacts:
    """What was seen of one column in one batch."""

    known: int  # rows with a value
    nulls: int
    low: float | None = None
    high: float | None = None
    median: float | None = None
    zeros: int = 0
    commonest: int = 0  # rows of the most frequent value, at most
    values: Mapping[str, int] | None = None  # rows by value, of a column of words; None if there are too many


@dataclass(frozen=True)
class BatchFacts:
    """What was seen of one batch."""

    name: str
    rows: int
    columns: Mapping[str, ColumnFacts]


@dataclass(frozen=True)
class PairFacts:
    """How two columns compare in the rows that have both: in how many the first is the larger, or equal to the second."""

    rows: int = 0
    larger: int = 0
    by_chance: float = 0.0  # share of rows in which it would be the larger if the two had nothing to do with one another
    equal: int = 0


Pairs = Mapping[tuple[str, str], PairFacts]


@dataclass(frozen=True)
class Rule:
    """One kind of expectation about one column, pair or batch.

    Attributes:
        type: of the expectation.
        grow: its arguments, from batches; None if they say nothing of it.
        words: what it asks, as a clause.
        evidence: what was seen, as a clause.
        severity: proposed severity.
        why: that severity.
        batch_only: whether it says nothing about a snapshot.
        untried: why it cannot have failed a later batch; empty where it can.
    """

    type: str
    grow: Callable[[Sequence[BatchFacts]], Kwargs | None]
    words: Callable[[Kwargs], str]
    evidence: Callable[[Sequence[BatchFacts], Kwargs], str]
    severity: Literal["critical", "warning"] = "warning"
    why: str = "a batch that differs is looked at before it is refused"
    batch_only: bool = False
    untried: str = ""


@dataclass(frozen=True)
class Proposal:
    """An expectation, and what speaks for it."""

    type: str
    kwargs: Kwargs
    severity: Literal["critical", "warning"]
    words: str
    evidence: str
    why_severity: str
    batch_only: bool = False
    untried: str = ""  # why it was held against no later batch
    tried: int = 0  # newer batches against which it was held, grown from those before each
    failed: int = 0  # of these
    failed_by: tuple[str, ...] = ()

    @property
    def tried_words(self) -> str:
        """How it would have done, as a clause."""
        if not self.tried:
            return self.untried
        what = "refused" if self.severity == "critical" else "warned of"
        named = f" ({', '.join(self.failed_by[:3])})" if self.failed_by else ""
        return f"grown from the batches before each, it would have {what} {self.failed} of the newest {self.tried}{named}"

    @property
    def usable(self) -> bool:
        """Whether it failed seldom enough to be proposed."""
        return self.failed <= MOST_BROKEN * self.tried


def proposals(
    spec: DatasetSpec, batches: Sequence[BatchFacts], pairs: Pairs | None = None, *, batch_is_file: bool = True
) -> list[Proposal]:
    """What batches say that a suite may expect, in the order of the spec's columns; also what failed too often to be used.

    Args:
        spec: the dataset's.
        batches: oldest first.
        pairs: how columns compare over all batches.
        batch_is_file: whether these are batches as they land, rather than one sample of which nobody knows how many files it was.
    """
    grown = []
    for rule in _rules(spec, pairs or {}, batch_is_file=batch_is_file):
        kwargs = rule.grow(batches)
        if kwargs is None:
            continue
        tried, failed = _tried(rule, batches)
        grown.append(
            Proposal(
                rule.type,
                kwargs,
                rule.severity,
                rule.words(kwargs),
                rule.evidence(batches, kwargs),
                rule.why,
                rule.batch_only,
                rule.untried or f"fewer than {2 * LEAST_BATCHES} batches are too few to try it on",
                tried,
                len(failed),
                failed,
            )
        )
    return grown


def _tried(rule: Rule, batches: Sequence[BatchFacts]) -> tuple[int, tuple[str, ...]]:
    """Against how many of the newer half of the batches the rule was held, grown from those before each, and which broke it."""
    if len(batches) < 2 * LEAST_BATCHES or rule.untried:
        return 0, ()
    tried, failed = 0, []
    for place in range(max(len(batches) // 2, len(batches) - MOST_TRIED), len(batches)):
        kwargs = rule.grow(batches[:place])
        if kwargs is not None:
            tried += 1
            if breaks(rule.type, kwargs, batches[place]):
                failed.append(batches[place].name)
    return tried, tuple(failed)


def _rules(spec: DatasetSpec, pairs: Pairs, *, batch_is_file: bool) -> list[Rule]:
    rules = [_rows_at_least(), *([_rows()] if batch_is_file else [])]
    if spec.key:
        rules.append(_unique(spec))
    if spec.event_time:
        rules += _times(spec)
    for column in spec.columns:
        if column.name in spec.key:
            continue
        if batch_is_file and column.nullable:
            rules.append(_known(column.name))
        if column.type in ("int", "float"):
            rules.append(_range(column.name, whole=column.type == "int"))
            if batch_is_file:
                rules.append(_zeros(column.name))
        elif column.type == "string":
            rules.append(_words(column.name))
        elif (kind := kind_of(column.type)) and kind.size:
            rules.append(_range(f"{column.name}[{kind.size}]", whole=True))
        if batch_is_file and column.type in ("int", "float", "string"):
            rules.append(_varied(column.name))
    return [*rules, *(_not_above(*pair, facts) for pair, facts in pairs.items() if _tells(facts))]


def over(batches: Sequence[BatchFacts]) -> str:
    """How much was seen: `45 batches with 40,928 rows`."""
    return f"{shown(len(batches))} {'batches' if len(batches) > 1 else 'batch'} with {shown(sum(b.rows for b in batches))} rows"


def beyond(extreme: float, middle: float, width: float, batches: int) -> float:
    """How far a bound lies beyond the extreme of so many batches: twice the distance from the median to it, divided by √batches.

    With one batch a symmetric range so gets its width on both sides; with a hundred a tenth of it. At least 1 % of the width.
    The largest of n exchangeable values is exceeded by the next with chance 1/(n+1), and values of one batch are alike: batches count.
    """
    return max(2 * abs(extreme - middle) / math.sqrt(batches), LEAST_SLACK * width)


def _columns(batches: Sequence[BatchFacts], name: str) -> list[ColumnFacts]:
    """The column in those batches that have values of it."""
    return [facts for batch in batches if (facts := batch.columns.get(name)) and facts.known]


def _mostly(failing: Sequence[float]) -> float | None:
    """The share of a batch that a rule may ask for, of which these shares failed in the batches that were seen; None if all of one may."""
    most = max(failing)
    allowed = math.ceil(round(100 * (most + beyond(most, median(failing), most, len(failing))), 6)) / 100
    return round(1 - max(allowed, 0.01), 2) if allowed < 1 else None


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"


def _rounded_out(value: float, slack: float, *, up: bool, whole: bool) -> float:
    """A bound with few digits, farther out by less than the slack."""
    if slack < _SMALLEST:  # has no digits to round to
        return math.nextafter(value, math.inf if up else -math.inf)
    step = 10.0 ** math.floor(math.log10(slack))
    places = value / step
    bound = (math.ceil(round(places, 9)) if up else math.floor(round(places, 9))) * step
    return int(math.ceil(bound) if up else math.floor(bound)) if whole else float(f"{bound:.12g}")


def _rows_at_least() -> Rule:
    return Rule(
        "expect_table_row_count_to_be_between",
        lambda batches: {"min_value": 1},
        lambda kwargs: "a batch has at least 1 row",
        lambda batches, kwargs: "a file without rows is a mistake of its sender",
        "critical",
        "there is nothing to take in",
        untried="true of every batch that is in",
    )


def _rows() -> Rule:
    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        counts = [batch.rows for batch in batches]
        if len(counts) < LEAST_BATCHES:
            return None
        low, high, middle = min(counts), max(counts), median(counts)
        slacks = [max(beyond(end, middle, high - low, len(counts)), 1.0) for end in (low, high)]
        least = int(_rounded_out(low - slacks[0], slacks[0], up=False, whole=True))
        return {"min_value": max(1, least), "max_value": int(_rounded_out(high + slacks[1], slacks[1], up=True, whole=True))}

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        counts = [batch.rows for batch in batches]
        change = max(abs(b - a) for a, b in pairwise(counts))
        return (
            f"of {shown(len(counts))} batches the smallest had {shown(min(counts))} rows, the largest {shown(max(counts))}; "
            f"from one to the next the number changed by {shown(change)} at most"
        )

    return Rule(
        "expect_table_row_count_to_be_between",
        grow,
        lambda kwargs: f"a batch has {shown(kwargs['min_value'])} to {shown(kwargs['max_value'])} rows",
        evidence,
        batch_only=True,
    )


def _unique(spec: DatasetSpec) -> Rule:
    one = len(spec.key) == 1
    return Rule(
        "expect_column_values_to_be_unique" if one else "expect_compound_columns_to_be_unique",
        lambda batches: {"column": spec.key[0]} if one else {"column_list": list(spec.key)},
        lambda kwargs: f"no two rows have the same {' and '.join(spec.key)}",
        lambda batches, kwargs: "the key names a row",
        "critical",
        "the spec says that it names a row",
        untried="true of the whole table: a repeated key is never taken in",
    )


def _times(spec: DatasetSpec) -> list[Rule]:
    """Bounds on event time, which depend on the clock and on the table: nothing of them is grown."""
    rules = [
        _of_the_clock(
            "expect_column_max_to_be_between",
            {"column": spec.event_time, "max_value": {"$PARAMETER": "latest"}},
            f"{spec.event_time} is at most a day ahead of the clock",
            "what has not happened yet cannot be known: one wrong year would make all later days old",
            "no later batch could mend it",
        )
    ]
    if spec.freshness_days is not None:
        rules.append(
            _of_the_clock(
                "expect_column_min_to_be_between",
                {"column": spec.event_time, "min_value": {"$PARAMETER": "oldest"}},
                f"{spec.event_time} is at most {shown(spec.freshness_days)} days older than the newest row of the table",
                "older than anything that may still arrive (freshness_days): stale or mislabelled",
                "the spec says so",
            )
        )
    return rules


def _of_the_clock(kind: str, kwargs: Kwargs, words: str, evidence: str, why: str) -> Rule:
    return Rule(
        kind,
        lambda batches: kwargs,
        lambda kwargs: words,
        lambda batches, kwargs: evidence,
        "critical",
        why,
        batch_only=True,
        untried="it follows from the clock and the spec, not from the data",
    )


def _known(column: str) -> Rule:
    def shares(batches: Sequence[BatchFacts]) -> list[float]:
        seen = [facts for batch in batches if (facts := batch.columns.get(column))]
        return [facts.nulls / rows for facts in seen if (rows := facts.nulls + facts.known)]

    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        missing = shares(batches)
        mostly = _mostly(missing) if len(missing) >= LEAST_BATCHES else None
        return None if mostly is None else {"column": column, "mostly": mostly}

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        missing = shares(batches)
        if not max(missing):
            return f"over {over(batches)} it was never null, and the spec allows that it is"
        change = max(abs(b - a) for a, b in pairwise(missing))
        return (
            f"over {over(batches)} it was null in {_percent(min(missing))} to {_percent(max(missing))} of a batch, in half of them in at "
            f"most {_percent(median(missing))}; from one to the next the share changed by {_percent(change)} at most"
        )

    return Rule(
        "expect_column_values_to_not_be_null",
        grow,
        lambda kwargs: f"{column} is null in at most {_percent(1 - kwargs['mostly'])} of the rows",
        evidence,
    )


def _range(column: str, *, whole: bool) -> Rule:
    def ends(batches: Sequence[BatchFacts]) -> list[tuple[float, float, float]]:
        seen = _columns(batches, column)
        return [(f.low, f.high, f.median) for f in seen if f.low is not None and f.high is not None and f.median is not None]

    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        seen = ends(batches)
        if not seen:
            return None
        low, high, middle = min(s[0] for s in seen), max(s[1] for s in seen), median(s[2] for s in seen)
        if not high > low or not math.isfinite(high - low):
            return None
        below, above = (beyond(end, middle, high - low, len(seen)) for end in (low, high))
        least = _rounded_out(low - below, below, up=False, whole=whole)
        least = max(0, least) if low >= 0 else least  # what was never negative is a count, a size or a share
        return {"column": column, "min_value": least, "max_value": _rounded_out(high + above, above, up=True, whole=whole)}

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        seen = ends(batches)
        said = f"over {over(batches)} the smallest was {shown(min(s[0] for s in seen))}, the largest {shown(max(s[1] for s in seen))}"
        if len(seen) < 2:
            return said
        falls, rises = ([abs(b[end] - a[end]) for a, b in pairwise(seen)] for end in (0, 1))
        return f"{said}; from one batch to the next its smallest changed by {shown(max(falls))} at most, its largest by {shown(max(rises))}"

    return Rule(
        "expect_column_values_to_be_between",
        grow,
        lambda kwargs: f"{column} is from {shown(kwargs['min_value'])} to {shown(kwargs['max_value'])}",
        evidence,
        why="single values may be true though they were never seen; a batch of which no value is inside is refused",
    )


def _zeros(column: str) -> Rule:
    def shares(batches: Sequence[BatchFacts]) -> list[float]:
        return [facts.zeros / facts.known for facts in _columns(batches, column)]

    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        seen = _columns(batches, column)
        if len(seen) < LEAST_BATCHES or min(f.low or 0.0 for f in seen) > 0:  # without zeros the range says enough
            return None
        mostly = _mostly(shares(batches))
        return None if mostly is None else {"column": column, "value_set": [0], "mostly": mostly}

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        zeros = shares(batches)
        if not max(zeros):
            return f"over {over(batches)} it was never 0, though 0 is inside its range"
        return f"over {over(batches)} it was 0 in {_percent(min(zeros))} to {_percent(max(zeros))} of a batch's values"

    return Rule(
        "expect_column_values_to_not_be_in_set",
        grow,
        lambda kwargs: f"{column} is 0 in at most {_percent(1 - kwargs['mostly'])} of its values",
        evidence,
    )


def _words(column: str) -> Rule:
    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        counts: dict[str, int] = {}
        for facts in _columns(batches, column):
            if facts.values is None:
                return None
            for value, rows in facts.values.items():
                counts[value] = counts.get(value, 0) + rows
        if not counts or len(counts) > FEW_VALUES or sum(counts.values()) < ROWS_EACH * len(counts):
            return None
        return {"column": column, "value_set": sorted(counts)}

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        named = next((b.name for b in reversed(batches) if any(_new(f, batches, b) for f in _columns([b], column))), "")
        since = f"; the last that was new came with {named}" if named and named != batches[0].name else ""
        return f"over {over(batches)} it had these {len(kwargs['value_set'])} values alone{since}"

    def _new(facts: ColumnFacts, batches: Sequence[BatchFacts], batch: BatchFacts) -> bool:
        earlier = {value for b in batches[: batches.index(batch)] for f in _columns([b], column) for value in f.values or ()}
        return not set(facts.values or ()) <= earlier

    return Rule(
        "expect_column_values_to_be_in_set",
        grow,
        lambda kwargs: f"{column} is one of {', '.join(kwargs['value_set'])}",
        evidence,
        why="a new word may be true; a batch of which no value is known is refused",
    )


def _varied(column: str) -> Rule:
    def grow(batches: Sequence[BatchFacts]) -> Kwargs | None:
        seen = _columns(batches, column)
        if len(seen) < LEAST_BATCHES or min(facts.known for facts in seen) < ENOUGH_ROWS:
            return None
        varied = all(facts.commonest <= NEVER_CONSTANT * facts.known for facts in seen)
        return {"column": column, "min_value": 2} if varied else None

    def evidence(batches: Sequence[BatchFacts], kwargs: Kwargs) -> str:
        seen = _columns(batches, column)
        return (
            f"in each of {over(batches)} no value had more than {_percent(max(f.commonest / f.known for f in seen))} of the rows, "
            f"and the smallest batch had {shown(min(f.known for f in seen))} values"
        )

    return Rule(
        "expect_column_unique_value_count_to_be_between",
        grow,
        lambda kwargs: f"{column} has more than one value in a batch",
        evidence,
        "critical",
        "a column of one value alone was lost at its source",
        batch_only=True,
    )


def _tells(facts: PairFacts) -> bool:
    """Whether the first of two columns was never the larger, in enough rows, and would often be if the two were unrelated."""
    enough = facts.rows >= PAIR_ROWS and facts.equal < facts.rows
    return enough and not facts.larger and facts.by_chance >= PAIR_TELLS


def _not_above(smaller: str, larger: str, facts: PairFacts) -> Rule:
    return Rule(
        "expect_column_pair_values_a_to_be_greater_than_b",
        lambda batches: {"column_A": larger, "column_B": smaller, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        lambda kwargs: f"{smaller} is at most {larger}",
        lambda batches, kwargs: (
            f"true in all {shown(facts.rows)} rows that have both; if the two had nothing to do with one another, about "
            f"{_percent(facts.by_chance)} would break it"
        ),
        untried="true in every batch that is in",
    )


def breaks(kind: str, kwargs: Mapping[str, Any], batch: BatchFacts) -> bool:
    """Whether a batch is known to break an expectation, as it may be in force; False where its facts do not tell."""
    least, most = kwargs.get("min_value"), kwargs.get("max_value")
    if not all(isinstance(bound, int | float | None) for bound in (least, most, kwargs.get("mostly"))):
        return False  # a parameter of the run, a time, or no bound at all
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    if kind == "expect_table_row_count_to_be_between":
        return not low <= batch.rows <= high
    facts = batch.columns.get(str(kwargs.get("column", "")))
    if facts is None:
        return False
    if kind == "expect_column_values_to_be_between" and kwargs.get("mostly", 1) == 1 and facts.low is not None and facts.high is not None:
        return not low <= facts.low <= facts.high <= high
    if kind == "expect_column_unique_value_count_to_be_between" and (low, high) == (2, math.inf):
        return facts.known >= ENOUGH_ROWS and facts.commonest == facts.known
    fitting, rows = _fitting(kind, kwargs, facts)
    return rows > 0 and fitting / rows < kwargs.get("mostly", 1) - 1e-9


def _fitting(kind: str, kwargs: Mapping[str, Any], facts: ColumnFacts) -> tuple[int, int]:
    """How many rows of a batch meet an expectation about single values, and of how many; of none where its facts do not tell."""
    if kind == "expect_column_values_to_not_be_null":
        return facts.known, facts.known + facts.nulls
    if not isinstance(kwargs.get("value_set"), list | tuple):
        return 0, 0
    if kind == "expect_column_values_to_not_be_in_set" and list(kwargs["value_set"]) == [0]:
        return facts.known - facts.zeros, facts.known
    if kind == "expect_column_values_to_be_in_set" and facts.values is not None:
        return sum(rows for value, rows in facts.values.items() if value in kwargs["value_set"]), facts.known
    return 0, 0
