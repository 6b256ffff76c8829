"""The rule by which the labels of several people become one, or none.

Words: the label that more than half of the people gave, and at least the share that is asked for. Numbers: the median, if all lie close
enough together. What is not agreed on is held back with the reason, never guessed.

    >>> from perennial.labelling.consensus import Rule, agreed_value
    >>> agreed_value(["yes", "yes", "no"], Rule())
    ('yes', '')
    >>> agreed_value(["yes", "no"], Rule())
    ('', 'no, yes: none has more than half')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from perennial.encoding import text
from perennial.labelling.answers import Answer, Key, Target

Label = Mapping[str, str]


@dataclass(frozen=True)
class Rule:
    """When the labels of several people count as agreed.

    Attributes:
        people: fewest people who must have answered.
        share: smallest share of those who answered that must say the same; more than half in any case.
        within: numbers may differ by this much; the median of those counts.
    """

    people: int = 1
    share: float = 0.0
    within: float = 0.0

    @property
    def words(self) -> str:
        """The rule as a phrase."""
        share = f"at least {self.share:.0%}" if self.share > 0.5 else "more than half"
        people = f"of at least {self.people} people " if self.people > 1 else ""
        return f"{share} {people}say the same (numbers: the median, if all lie within {self.within:g})"


@dataclass(frozen=True)
class Held:
    """A row without an agreed label, and why."""

    key: Key
    why: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Agreed:
    """A label on which the people agreed from a moment on."""

    key: Key
    label: Label
    known: str  # as it was written: the time of the answer that made it so


def agreed_value(values: Sequence[str], rule: Rule, *, numeric: bool = False) -> tuple[str, str]:
    """The agreed one of several people's values, and an empty reason; or an empty value, and why there is none.

    Args:
        values: one for each person, none empty.
        rule: when they count as agreed.
        numeric: whether they are numbers with a distance.
    """
    if len(values) < rule.people:
        return "", f"{len(values)} of {rule.people} people answered"
    counts = Counter(values)
    if numeric and len(counts) > 1:
        numbers = sorted(map(float, values))
        spread = numbers[-1] - numbers[0]
        return (
            (text(median(numbers)) or "", "") if spread <= rule.within else ("", f"they differ by {spread:g}, and {rule.within:g} may be")
        )
    value, most = max(counts.items(), key=lambda item: item[1])
    shown = ", ".join(f"{word}{f' ({count})' if count > 1 else ''}" for word, count in sorted(counts.items()))
    if 2 * most <= len(values):
        return "", f"{shown}: none has more than half"
    if most < rule.share * len(values):
        return "", f"{shown}: {most / len(values):.0%} agree, and {rule.share:.0%} must"
    return value, ""


def agreed_label(answers: Sequence[Answer], target: Target, rule: Rule) -> tuple[Label, str]:
    """The agreed label of one row and an empty reason; or no label, and why.

    Args:
        answers: the newest of each person.
        target: its `deciding` columns must be agreed on; another one is empty where it is not.
        rule: when values count as agreed.
    """
    label: dict[str, str] = {}
    for column in target.labels:
        given = [answer.label[column.name] for answer in answers if answer.label.get(column.name)]
        if not given and len(answers) >= rule.people:
            if not column.nullable:  # the whole file of labels would be refused for it
                return {}, f"{column.name}: nobody gave one, and it must not be missing"
            label[column.name] = ""
            continue
        value, why = agreed_value(given, rule, numeric=column.type == "float" or (column.type == "int" and rule.within > 0))
        if why and column.name in target.deciding:
            return {}, f"{column.name}: {why}"
        label[column.name] = value
    return label, ""


def newest_answers(answers: Iterable[Answer], target: Target) -> dict[Key, dict[str, Answer]]:
    """The newest answer of each person by row: a later one of the same person replaces his own."""
    newest: dict[Key, dict[str, Answer]] = {}
    for answer in in_order(answers, target):
        newest.setdefault(answer.key, {})[answer.person] = answer
    return newest


def in_order(answers: Iterable[Answer], target: Target) -> list[Answer]:
    """Answers by the moment at which they were given; those of one moment in their own order."""
    return sorted(answers, key=lambda answer: target.moment(answer.known))


def history(answers: Iterable[Answer], target: Target, rule: Rule) -> dict[Key, tuple[list[Agreed], Held | None]]:
    """For each row the agreed labels one after the other, and why there is none now, if so.

    A label is agreed on from the moment of the answer that made it so. While people disagree the one before stays.
    """
    rows: dict[Key, list[Answer]] = {}
    for answer in in_order(answers, target):
        rows.setdefault(answer.key, []).append(answer)
    return {key: _history_of(key, given, target, rule) for key, given in rows.items()}


def _history_of(key: Key, given: Sequence[Answer], target: Target, rule: Rule) -> tuple[list[Agreed], Held | None]:
    steps: list[Agreed] = []
    newest: dict[str, Answer] = {}
    why = ""
    for place, answer in enumerate(given):
        newest[answer.person] = answer
        if place + 1 < len(given) and target.moment(given[place + 1].known) == target.moment(answer.known):
            continue  # of several answers of one moment none comes first
        label, why = agreed_label(list(newest.values()), target, rule)
        if not why and (not steps or steps[-1].label != label):
            steps.append(Agreed(key, label, answer.known))
    return steps, Held(key, why, tuple(newest[person] for person in sorted(newest))) if why else None
