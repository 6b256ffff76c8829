"""A suite's file, edited so that what people wrote stays as they wrote it; and how proposed expectations differ from those in force.

An expectation that a program proposed carries a mark in its `meta`, a hash of itself. As long as the two agree nobody has changed it, and a
later proposal may take its place. What a person wrote or changed is never touched.

    >>> file = SuiteFile("rides", "")
    >>> expectation = {"type": "expect_column_to_exist", "kwargs": {"column": "km"}, "severity": "warning", "meta": {}}
    >>> print(file.edited([marked(expectation)], {}))
    {
      "name": "rides",
      "expectations": [
        {
          "type": "expect_column_to_exist",
          "kwargs": {
            "column": "km"
          },
          "severity": "warning",
          "meta": {
            "proposed": "25e358e6"
          }
        }
      ]
    }
    <BLANKLINE>
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perennial.errors import SettingMissing
from perennial.quality.proposals import BatchFacts, Proposal, breaks
from perennial.quality.suites import BATCH_ONLY

Expectation = dict[str, Any]
Relation = Literal["new", "the same", "tighter", "looser", "different"]
MARK = "proposed"  # in the meta of an expectation that a program proposed
_ALIKE = {
    "expect_column_distinct_values_to_equal_set": "expect_column_values_to_be_in_set",
    "expect_column_distinct_values_to_be_in_set": "expect_column_values_to_be_in_set",
}  # kinds that say at least as much as another


def expectation_of(proposal: Proposal) -> Expectation:
    """A proposal as a suite's file has it, with its evidence as the note and its mark."""
    meta: dict[str, Any] = {"notes": {"format": "string", "content": [proposal.evidence]}}
    if proposal.batch_only:
        meta["scope"] = BATCH_ONLY
    return marked({"type": proposal.type, "kwargs": proposal.kwargs, "severity": proposal.severity, "meta": meta})


def marked(expectation: Expectation) -> Expectation:
    """The expectation with the mark of one that a program proposed."""
    return {**expectation, "meta": {**expectation["meta"], MARK: _hash(expectation)}}


def is_proposed(expectation: Mapping[str, Any]) -> bool:
    """Whether a program proposed it and nobody has changed it since."""
    return (expectation.get("meta") or {}).get(MARK) == _hash(expectation)


def _hash(expectation: Mapping[str, Any]) -> str:
    said = json.dumps([expectation["type"], expectation["kwargs"], expectation.get("severity")], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def subject(expectation: Mapping[str, Any]) -> tuple[str, str]:
    """What an expectation is about: its kind and its columns. Two of the same subject say more or less of the same."""
    kwargs, kind = expectation["kwargs"], expectation["type"]
    columns = [kwargs.get(name) for name in ("column", "column_A", "column_B")] + sorted(kwargs.get("column_list") or ())
    named = [str(column) for column in columns if column]
    if kind == "expect_compound_columns_to_be_unique" and len(named) == 1:
        kind = "expect_column_values_to_be_unique"
    return _ALIKE.get(kind, kind), ", ".join(named)


@dataclass(frozen=True)
class Difference:
    """A proposal beside what is in force.

    Attributes:
        relation: to those of the same subject that are in force.
        in_force: these.
        contradicted_by: names of the batches in the table that break one of them.
        replaces: place in the file of the one that it may take the place of; None if it is added, or stays out.
        written: whether it goes into the file.
    """

    proposal: Proposal
    relation: Relation
    in_force: tuple[Expectation, ...] = ()
    contradicted_by: tuple[str, ...] = ()
    replaces: int | None = None
    written: bool = False

    @property
    def words(self) -> str:
        """How it differs, for a person."""
        if self.relation == "new":
            return "new"
        said = f"{self.relation}{' as' if self.relation == 'the same' else ' than'} in force"
        if self.relation == "different":
            said = "in force there is another"
        if self.contradicted_by:
            named = f"{', '.join(self.contradicted_by[:3])}{' and others' if len(self.contradicted_by) > 3 else ''}"
            said += f"; what is in force contradicts {len(self.contradicted_by)} batches that are in the table ({named})"
        if not self.written and self.relation != "the same":
            said += "; a person wrote it, so it stays"
        return said


def differences(proposals: Sequence[Proposal], expectations: Sequence[Expectation], batches: Sequence[BatchFacts]) -> list[Difference]:
    """Each usable proposal beside the expectations of its subject that are in force."""
    found = []
    for proposal in proposals:
        if not proposal.usable:
            continue
        wanted = expectation_of(proposal)
        alike = {place: e for place, e in enumerate(expectations) if subject(e) == subject(wanted)}
        # A row count of at least 1 that refuses stands beside a range that warns: one does not replace the other.
        own = {place: e for place, e in alike.items() if is_proposed(e) and e.get("severity") == proposal.severity}
        others = {place: e for place, e in alike.items() if not is_proposed(e)}
        in_force = others or own
        contradicted = [batch.name for batch in batches if any(breaks(e["type"], e["kwargs"], batch) for e in in_force.values())]
        relation = _relation(proposal, list(in_force.values()))
        replaces = next(iter(own), None) if not others else None
        written = not others and relation != "the same"
        found.append(Difference(proposal, relation, tuple(in_force.values()), tuple(contradicted), replaces, written))
    return found


def _relation(proposal: Proposal, in_force: Sequence[Expectation]) -> Relation:
    if not in_force:
        return "new"
    now = _allowed([(e["type"], e["kwargs"]) for e in in_force])
    then = _allowed([(proposal.type, proposal.kwargs)])
    if now == then:
        return "the same"
    if now[1] == then[1]:
        (low, high), (new_low, new_high) = now[0], then[0]
        if new_low >= low and new_high <= high:
            return "tighter"
        if new_low <= low and new_high >= high:
            return "looser"
    if now[0] == then[0] and now[1] is not None and then[1] is not None:
        return "tighter" if then[1] < now[1] else "looser" if then[1] > now[1] else "different"
    return "different"


def _allowed(rules: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[tuple[float, float], frozenset[str] | None]:
    """What expectations of one subject allow together: a range, of values or of the share that may fail, and a set of values."""
    low, high, values = float("-inf"), float("inf"), None
    for _, kwargs in rules:
        ends = [kwargs.get(name) for name in ("min_value", "max_value")]
        if isinstance(ends[0], (int, float)):
            low = max(low, ends[0])
        if isinstance(ends[1], (int, float)):
            high = min(high, ends[1])
        if (all(end is None for end in ends) and "value_set" not in kwargs) or "mostly" in kwargs:
            high = min(high, 1 - kwargs.get("mostly", 1))
        if "value_set" in kwargs:
            own = frozenset(map(str, kwargs["value_set"]))
            values = own if values is None else values & own
    return (low, high), values


class SuiteFile:
    """The text of a suite's file.

    Args:
        dataset: name of the dataset.
        text: of the file; empty if there is none yet.

    Raises:
        SettingMissing: it is not a suite.
    """

    def __init__(self, dataset: str, text: str) -> None:
        self.dataset = dataset
        self.text = text or json.dumps({"name": dataset, "expectations": []}, indent=2) + "\n"
        try:
            self.expectations: list[Expectation] = json.loads(self.text)["expectations"]
            for number, expectation in enumerate(self.expectations, 1):
                _require(number, expectation)
            self.spans = self._spans()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SettingMissing(f"The suite {self.name} cannot be read ({error}): correct it there.") from None

    @property
    def name(self) -> str:
        """Where the file is."""
        return f"great_expectations/expectations/{self.dataset}.json"

    @classmethod
    def read(cls, dataset: str, file: Path) -> SuiteFile:
        """The file as it is. Raises SettingMissing if it is not a suite."""
        try:
            return cls(dataset, file.read_text(encoding="utf-8") if file.exists() else "")
        except UnicodeDecodeError as error:
            raise SettingMissing(f"The suite {file.name} is not UTF-8 (byte {error.start}): save it as UTF-8.") from None

    def _spans(self) -> list[tuple[int, int]]:
        """Where each expectation begins and ends in the text, and at last the place before the bracket that closes their list."""
        decoder, place = json.JSONDecoder(), self.text.index("[", self.text.index('"expectations"')) + 1
        spans = []
        for _ in self.expectations:
            begin = place + next(i for i, letter in enumerate(self.text[place:]) if letter not in " \t\r\n,")
            _, place = decoder.raw_decode(self.text, begin)
            spans.append((begin, place))
        return [*spans, (place, place)]

    def edited(self, added: Sequence[Expectation], replaced: Mapping[int, Expectation]) -> str:
        """The text with expectations added at the end of the list, and others in place of those at these places; all else is as it was.

        Raises:
            SettingMissing: the list cannot be found in the text, such as where something else has its name, too.
        """
        text, end = self.text, self.spans[-1][0]
        if added:
            more = ",".join(f"\n    {_indented(expectation)}" for expectation in added)
            comma = "," if self.expectations else ""
            closing = "" if self.expectations else "\n  "
            text = f"{text[:end]}{comma}{more}{closing}{text[end:]}"
        for place in sorted(replaced, reverse=True):
            begin, after = self.spans[place]
            text = f"{text[:begin]}{_indented(replaced[place])}{text[after:]}"
        wanted = [replaced.get(place, expectation) for place, expectation in enumerate(self.expectations)] + list(added)
        if not _has(text, wanted):
            raise SettingMissing(
                f'The suite {self.name} cannot be edited, since it has more than one "expectations": leave the list alone with that name.'
            )
        return text


def _has(text: str, expectations: Sequence[Expectation]) -> bool:
    """Whether a suite's text has these expectations."""
    try:
        return bool(json.loads(text)["expectations"] == json.loads(json.dumps(expectations)))
    except ValueError:
        return False


def _require(number: int, expectation: Any) -> None:
    """Raises ValueError where something in the list is no expectation."""
    kinds = {"type": str, "kwargs": dict} if isinstance(expectation, dict) else {}
    if not kinds or not all(isinstance(expectation.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"number {number} of its expectations is none: each has a type and kwargs")
    if not isinstance(expectation["kwargs"].get("column_list", []), list):
        raise ValueError(f"the column_list of number {number} of its expectations is no list")
    if not isinstance(expectation["kwargs"].get("mostly", 1), int | float) or not isinstance(expectation.get("meta"), dict | None):
        raise ValueError(f"of number {number} of its expectations mostly is no number, or meta no object")


def _indented(expectation: Expectation) -> str:
    return json.dumps(expectation, indent=2, ensure_ascii=False).replace("\n", "\n    ")
