"""Contracts of consumers: what those who use a model's answers count on. One file each, `contracts/<consumer>.json` in the model's folder.

A contract has cases: a request, and what must hold of its answer. What is read here is judged here; nothing is asked.

>>> case = {"request": {"data": {"rows": [{}, {}]}}, "order": [{"row": 1, "above": 0, "name": "late"}]}
>>> text = json.dumps({"owner": "desk", "cases": {"two rows": case}})
>>> contract = read_contract("board", text)
>>> answer = {"data": {"names": ["on_time", "late"], "ndarray": [[0.5, 0.5], [0.6, 0.4]]}}
>>> [breach.sentence for breach in breaches([contract], [(200, answer)])]
['the contract of board is broken (ask desk): in the case "two rows" late of row 1 is 0.4 and must be above that of row 0, 0.5']
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from perennial.errors import SpecBroken

if TYPE_CHECKING:
    from perennial.registry.promotion import Check

FOLDER = "contracts"
VALUE = "value"  # the name of a regression's score


class _Part(BaseModel):
    """A part of a contract: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScoreBetween(_Part):
    """The score of a row lies in a range."""

    row: int = Field(default=0, ge=0, description="Place of the row in the request, from 0.")
    name: str = Field(default=VALUE, description="Which score: a class, or `value` of a regression.")
    at_least: float | None = Field(default=None, description="Least value; none if unset.")
    at_most: float | None = Field(default=None, description="Greatest value; none if unset.")

    @model_validator(mode="after")
    def _is_a_range(self) -> ScoreBetween:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least is {self.at_least:g}, above at_most, {self.at_most:g}")
        return self


class ClassOf(_Part):
    """The class with the highest score of a row is one of these."""

    row: int = Field(default=0, ge=0, description="Place of the row in the request, from 0.")
    among: tuple[str, ...] = Field(min_length=1, description="The classes that it may be.")


class Order(_Part):
    """A score of one row is above that of another, such as of the same flight in a storm."""

    row: int = Field(ge=0, description="Place of the row with the higher score.")
    above: int = Field(ge=0, description="Place of the row with the lower score.")
    name: str = Field(default=VALUE, description="Which score: a class, or `value` of a regression.")
    by: float = Field(default=0.0, ge=0, description="By how much at least; 0 allows that both are equal.")


class Case(_Part):
    """A request, and what must hold of its answer."""

    request: Any = Field(description="Body of the request as JSON; a text is sent as it is, such as one that is no JSON.")
    status: int = Field(default=200, description="Status of the answer.")
    says: str = Field(default="", description="Text that the sentence of a refusal must have.")
    fields: tuple[str, ...] = Field(default=(), description="Fields that the answer must have, such as `meta.tags.version`.")
    names: tuple[str, ...] = Field(default=(), description="Scores that the answer must have, by name.")
    scores: tuple[ScoreBetween, ...] = Field(default=(), description="Ranges of scores.")
    classes: tuple[ClassOf, ...] = Field(default=(), description="Classes of rows.")
    order: tuple[Order, ...] = Field(default=(), description="Which row has a higher score than which.")


class Contract(_Part):
    """What one consumer counts on."""

    consumer: str
    owner: str = Field(min_length=1, description="Person or team of the consumer to ask.")
    about: str = Field(default="", description="What the consumer does with the answers.")
    cases: dict[str, Case] = Field(min_length=1, description="Cases by what they show.")


@dataclass(frozen=True)
class Breach:
    """One case of a contract that an answer does not keep."""

    consumer: str
    owner: str
    case: str
    why: str

    @property
    def sentence(self) -> str:
        """A clause that names the consumer, whom to ask, and the case."""
        return f'the contract of {self.consumer} is broken (ask {self.owner}): in the case "{self.case}" {self.why}'


def read_contract(consumer: str, text: str) -> Contract:
    """A contract of a file's text. Raises ValueError: it is none; the message says where and why."""
    try:
        document = json.loads(text, object_pairs_hook=_each_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("it must be a JSON object with owner and cases")
    try:
        return Contract.model_validate({**document, "consumer": consumer})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError where a name comes twice: of two cases of one name the first would never be asked."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} comes twice in one object")
    return found


def contracts_in(folder: Path) -> list[Contract]:
    """The contracts of a model's folder, by consumer; none if it has none.

    Raises:
        SpecBroken: a file is no contract.
    """
    found = []
    for file in sorted((folder / FOLDER).glob("*.json")):
        try:
            found.append(read_contract(file.stem, file.read_text("utf-8")))
        except (ValueError, OSError) as error:
            place = f"{folder.name}/{FOLDER}/{file.name}"
            raise SpecBroken(f"The contract {place} cannot be used: {error}. Mend that file (docs/contracts.md).") from None
    return found


def requests_of(contracts: Sequence[Contract]) -> list[Any]:
    """The requests of all cases, in the order in which `breaches` wants their answers."""
    return [case.request for contract in contracts for case in contract.cases.values()]


def breaches(contracts: Sequence[Contract], answers: Sequence[tuple[int, Any]]) -> list[Breach]:
    """The cases that answers do not keep.

    Args:
        contracts: of consumers.
        answers: status and document of the answer to each of their requests; the status 0 where none came.
    """
    cases = [(contract, name, case) for contract in contracts for name, case in contract.cases.items()]
    found = []
    for (contract, name, case), (status, document) in zip(cases, answers, strict=True):
        if why := next(_misses(case, status, document), ""):
            found.append(Breach(contract.consumer, contract.owner, name, why))
    return found


def kept(contracts: Sequence[Contract], broken: Sequence[Breach]) -> list[Check]:
    """A check for each consumer, which names the first case that is broken."""
    from perennial.registry.promotion import Check  # heavier than all of this, and needed by the gate alone

    checks = []
    for contract in contracts:
        own = [breach for breach in broken if breach.consumer == contract.consumer]
        count = f"{len(contract.cases)} case{'s' if len(contract.cases) > 1 else ''}"
        more = f", and {len(own) - 1} more of its {count}" if len(own) > 1 else ""
        sentence = f"{own[0].sentence}{more}" if own else f"it keeps the contract of {contract.consumer}, {count} (owner {contract.owner})"
        checks.append(Check(f"contract {contract.consumer}", not own, sentence, {"cases": len(contract.cases), "broken": len(own)}))
    return checks


def _misses(case: Case, status: int, document: Any) -> Iterator[str]:
    """What an answer misses, in the order of the case."""
    if status != case.status:
        yield f"the answer is {_said(status, document)}, and must be {case.status}"
        return
    said = _at(document, "status.info")
    if case.says and not (isinstance(said, str) and case.says in said):
        yield f"the refusal says {_short(said)}, and must say {_short(case.says)}"
    for field in case.fields:
        if _at(document, field) is None:
            yield f"the answer has no {field}"
    scores = _Scores(document)
    for name in case.names:
        if name not in scores.names:
            yield f"the answer has no score {name}"
    for wanted in (*case.scores, *case.classes, *case.order):
        yield from filter(None, [_JUDGED[type(wanted)](scores, wanted)])


class _Scores:
    """The scores of an answer, by row and name."""

    def __init__(self, document: Any) -> None:
        names, rows = _at(document, "data.names"), _at(document, "data.ndarray")
        self.names: list[str] = names if isinstance(names, list) else []
        self.rows: list[Any] = rows if isinstance(rows, list) else []

    def of(self, row: int) -> dict[str, float]:
        """The scores of a row by name; none where the answer lacks it."""
        values = self.rows[row] if row < len(self.rows) else []
        pairs = zip(self.names, values, strict=False) if isinstance(values, list) else ()
        return {name: value for name, value in pairs if isinstance(value, (int, float))}


def _between(scores: _Scores, wanted: ScoreBetween) -> str:
    value = scores.of(wanted.row).get(wanted.name)
    what = f"{wanted.name} of row {wanted.row}"
    if value is None:
        return f"the answer has no {what}"
    if wanted.at_least is not None and not value >= wanted.at_least:
        return f"{what} is {value:g} and must be at least {wanted.at_least:g}"
    if wanted.at_most is not None and not value <= wanted.at_most:
        return f"{what} is {value:g} and must be at most {wanted.at_most:g}"
    return ""


def _class(scores: _Scores, wanted: ClassOf) -> str:
    of_row = scores.of(wanted.row)
    if not of_row:
        return f"the answer has no row {wanted.row}"
    highest = max(of_row, key=lambda name: of_row[name])
    return "" if highest in wanted.among else f"row {wanted.row} is {highest} and must be {' or '.join(wanted.among)}"


def _order(scores: _Scores, wanted: Order) -> str:
    high, low = (scores.of(row).get(wanted.name) for row in (wanted.row, wanted.above))
    if high is None or low is None:
        return f"the answer has no {wanted.name} of row {wanted.row if high is None else wanted.above}"
    if high >= low + wanted.by:
        return ""
    more = f" by {wanted.by:g} at least" if wanted.by else ""
    return f"{wanted.name} of row {wanted.row} is {high:g} and must be above that of row {wanted.above}, {low:g}{more}"


_JUDGED: Mapping[type, Callable[[_Scores, Any], str]] = {ScoreBetween: _between, ClassOf: _class, Order: _order}


def _at(document: Any, way: str) -> Any:
    """What a document has at a way like `meta.tags.version`; None if it has nothing there."""
    for step in way.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _said(status: int, document: Any) -> str:
    said = _at(document, "status.info") or (document if isinstance(document, str) else "")
    return f"{status or 'none'}{f' ({said[:200]})' if said else ''}"


def _short(said: Any) -> str:
    return "nothing" if said is None else json.dumps(said[:200] if isinstance(said, str) else said, ensure_ascii=False)
