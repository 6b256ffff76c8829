"""What an import adds to what is known: answers that are new, and agreed labels that were not handed on yet.

>>> from perennial.labelling.answers import Answer, Target
>>> from perennial.labelling.consensus import Rule, history
>>> from perennial.specs import Column
>>> target = Target("pets", (Column(name="photo", type="string"),), (Column(name="kind", type="string"),), "known")
>>> answers = [Answer(("1.png",), person, {"kind": "cat"}, "2024-02-01T10:00:00Z") for person in ("ada", "bob")]
>>> [row.label for row in rows_to_hand_on(history(answers, target, Rule(people=2)), {}, target, at="2024-02-02T00:00:00Z")]
[{'kind': 'cat'}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from perennial.labelling.answers import Answer, Key, Target
from perennial.labelling.consensus import Agreed, Held, newest_answers


def new_answers(known: Sequence[Answer], given: Sequence[Answer], target: Target, at: str, *, seen: bool = False) -> list[Answer]:
    """The given answers that are not known yet, each once. Those without a time count from now, unless the person says the same already.

    Args:
        known: answers of earlier imports.
        given: answers of an export.
        target: what they are of.
        at: this moment, as it is written.
        seen: whether the same export was imported before: then its answers without a time are known.
    """
    written = {_identity(answer) for answer in known}
    current = newest_answers(known, target)
    new: list[Answer] = []
    for answer in given:
        if not answer.known:
            before = current.get(answer.key, {}).get(answer.person)
            if seen or (before and before.label == answer.label):
                continue
            answer = replace(answer, known=at)  # noqa: PLW2901
        if _identity(answer) not in written:
            written.add(_identity(answer))
            new.append(answer)
    return new


def rows_to_hand_on(
    rows: Mapping[Key, tuple[Sequence[Agreed], Held | None]], handed_on: Mapping[Key, Sequence[Agreed]], target: Target, at: str
) -> list[Agreed]:
    """Agreed labels that are other than what was handed on last, each from the moment from which it holds.

    An answer that is older than what was handed on may come later and change what is agreed on: such a label became known now.
    """
    new: list[Agreed] = []
    for key, (steps, _) in rows.items():
        last = handed_on[key][-1] if key in handed_on else None
        for step in steps:
            if last is None or (step.label != last.label and target.moment(step.known) > target.moment(last.known)):
                last = step
                new.append(step)
        if last is not None and steps and last.label != steps[-1].label:
            after = max(target.moment(at), target.moment(last.known) + timedelta(microseconds=1))
            new.append(replace(steps[-1], known=after.isoformat()))
    return new


def _identity(answer: Answer) -> tuple[Key, str, tuple[tuple[str, str], ...], str]:
    return answer.key, answer.person, tuple(sorted(answer.label.items())), answer.known
