"""Contracts of consumers: what is read, what is judged, and how a breach is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import SpecBroken
from perennial.registry.contracts import Breach, breaches, contracts_in, kept, read_contract, requests_of

ANSWER = {
    "data": {"names": ["on_time", "late"], "ndarray": [[0.75, 0.25], [0.5, 0.5]]},
    "meta": {"puid": "x", "tags": {"version": 7}},
}
REFUSAL = {"status": {"info": "Row 0 lacks the field carrier."}}


def contract(**case: Any) -> Any:
    """The contract of a board with one case."""
    return read_contract("board", json.dumps({"owner": "desk", "cases": {"a case": {"request": {"data": {"rows": [{}]}}, **case}}}))


def why(code: int = 200, document: Any = ANSWER, /, **case: Any) -> str:
    """What an answer misses of a case; empty if nothing."""
    found = breaches([contract(**case)], [(code, document)])
    return found[0].why if found else ""


@pytest.mark.parametrize(
    ("case", "missing"),
    [
        ({}, ""),
        ({"fields": ["meta.puid", "meta.tags.version", "data"]}, ""),
        ({"fields": ["meta.tags.unit"]}, "the answer has no meta.tags.unit"),
        ({"fields": ["data.names.deep"]}, "the answer has no data.names.deep"),
        ({"names": ["late", "on_time"]}, ""),
        ({"names": ["late", "cancelled"]}, "the answer has no score cancelled"),
        ({"scores": [{"name": "late", "at_least": 0.25, "at_most": 0.25}]}, ""),
        ({"scores": [{"name": "late", "row": 1, "at_least": 0.5}]}, ""),
        ({"scores": [{"name": "late", "at_least": 0.26}]}, "late of row 0 is 0.25 and must be at least 0.26"),
        ({"scores": [{"name": "late", "row": 1, "at_most": 0.49}]}, "late of row 1 is 0.5 and must be at most 0.49"),
        ({"scores": [{"name": "late", "row": 2, "at_most": 1}]}, "the answer has no late of row 2"),
        ({"scores": [{"at_most": 1}]}, "the answer has no value of row 0"),
        ({"classes": [{"row": 0, "among": ["on_time"]}]}, ""),
        ({"classes": [{"among": ["late", "cancelled"]}]}, "row 0 is on_time and must be late or cancelled"),
        ({"classes": [{"row": 2, "among": ["late"]}]}, "the answer has no row 2"),
        ({"order": [{"row": 1, "above": 0, "name": "late"}]}, ""),
        ({"order": [{"row": 1, "above": 0, "name": "late", "by": 0.25}]}, ""),
        ({"order": [{"row": 0, "above": 0, "name": "late"}]}, ""),
        (
            {"order": [{"row": 1, "above": 0, "name": "late", "by": 0.3}]},
            "late of row 1 is 0.5 and must be above that of row 0, 0.25 by 0.3 at least",
        ),
        ({"order": [{"row": 0, "above": 1, "name": "late"}]}, "late of row 0 is 0.25 and must be above that of row 1, 0.5"),
        ({"order": [{"row": 2, "above": 1, "name": "late"}]}, "the answer has no late of row 2"),
        ({"order": [{"row": 1, "above": 3, "name": "late"}]}, "the answer has no late of row 3"),
        ({"status": 400}, "the answer is 200, and must be 400"),
    ],
)
def test_an_answer_is_held_against_its_case(case: dict[str, Any], missing: str) -> None:
    """DE-12: Fields, names, ranges at their borders, classes, and which row is above which."""
    assert why(**case) == missing


def test_a_refusal_is_held_against_its_case() -> None:
    """DE-12: Its status and what it must say; an unexpected one is quoted, and no answer is none."""
    assert why(400, REFUSAL, status=400, says="carrier") == ""
    assert why(400, REFUSAL, status=400, says="origin") == 'the refusal says "Row 0 lacks the field carrier.", and must say "origin"'
    assert why(400, {}, status=400, says="origin") == 'the refusal says nothing, and must say "origin"'
    assert why(400, {"status": {"info": 7}}, status=400, says="origin") == 'the refusal says 7, and must say "origin"'
    assert why(400, REFUSAL) == "the answer is 400 (Row 0 lacks the field carrier.), and must be 200"
    assert why(500, "<html>") == "the answer is 500 (<html>), and must be 200"
    assert why(0, "no answer (TimeoutError)") == "the answer is none (no answer (TimeoutError)), and must be 200"
    assert len(why(500, "x" * 500)) == len(why(500, "x" * 200))


def test_an_answer_of_another_form_keeps_nothing() -> None:
    """DE-12: Scores that are no table have no rows; nothing breaks of it."""
    wanted = {"scores": [{"name": "late", "at_most": 1}]}
    for document in ([], {"data": {"names": 3, "ndarray": {}}}, {"data": {"names": ["late"], "ndarray": [0.5]}}):
        assert why(200, document, **wanted) == "the answer has no late of row 0"
    assert why(200, {"data": {"names": ["value"], "ndarray": [[12.5]]}}, scores=[{"at_least": 12.5}]) == ""
    odd = {"data": {"names": ["on_time", "late"], "ndarray": [[None, "x"]]}}
    assert why(200, odd, **wanted) == "the answer has no late of row 0"
    assert why(200, odd, classes=[{"among": ["late"]}]) == "the answer has no row 0"


def test_a_breach_names_consumer_owner_and_case() -> None:
    """DE-12: So that it is known whom it hurts and whom to ask."""
    (breach,) = breaches([contract(status=400)], [(200, ANSWER)])
    assert breach == Breach("board", "desk", "a case", "the answer is 200, and must be 400")
    assert breach.sentence == 'the contract of board is broken (ask desk): in the case "a case" the answer is 200, and must be 400'


def test_each_consumer_has_a_check() -> None:
    """DE-12: Of several broken cases the first is told, with how many more there are."""
    cases = {name: {"request": {}, "status": status} for name, status in (("a", 200), ("b", 201), ("c", 202))}
    board = read_contract("board", json.dumps({"owner": "desk", "cases": cases}))
    other = contract().model_copy(update={"consumer": "other"})
    assert requests_of([board, other]) == [{}, {}, {}, {"data": {"rows": [{}]}}]
    first, second = kept([board, other], breaches([board, other], [(200, ANSWER)] * 4))
    assert (first.name, first.passed, first.numbers) == ("contract board", False, {"cases": 3, "broken": 2})
    assert first.sentence.endswith('in the case "b" the answer is 200, and must be 201, and 1 more of its 3 cases')
    assert (second.name, second.passed, second.numbers) == ("contract other", True, {"cases": 1, "broken": 0})
    assert second.sentence == "it keeps the contract of other, 1 case (owner desk)"
    (single,) = kept([other], [Breach("other", "desk", "a case", "no")])
    assert single.sentence == 'the contract of other is broken (ask desk): in the case "a case" no'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON: "),
        ("[" * 100_000, "it is nested too deep"),
        ('{"owner": "a", "cases": {"x": {"request": {}}, "y": {"request": 1}, "x": {"request": 2}}}', "the name 'x' comes twice"),
        ("[]", "it must be a JSON object with owner and cases"),
        ("{}", "owner: Field required"),
        ('{"owner": "", "cases": {}}', "owner: String should have at least 1 character"),
        ('{"owner": "a", "cases": {}}', "cases: Dictionary should have at least 1 item"),
        ('{"owner": "a", "cases": {"x": {}}}', "cases.x.request: Field required"),
        ('{"owner": "a", "cases": {"x": {"request": {}, "score": []}}}', "cases.x.score: Extra inputs are not permitted"),
        (
            '{"owner": "a", "cases": {"x": {"request": {}, "scores": [{}]}}}',
            "cases.x.scores.0: Value error, give at_least, at_most, or both",
        ),
        (
            '{"owner": "a", "cases": {"x": {"request": {}, "scores": [{"at_least": 2, "at_most": 1}]}}}',
            "cases.x.scores.0: Value error, at_least is 2, above at_most, 1",
        ),
        ('{"owner": "a", "cases": {"x": {"request": {}, "scores": [{"at_least": 1, "row": -1}]}}}', "cases.x.scores.0.row: "),
        ('{"owner": "a", "cases": {"x": {"request": {}, "classes": [{"among": []}]}}}', "cases.x.classes.0.among: "),
        ('{"owner": "a", "cases": {"x": {"request": {}, "classes": [{"row": -1, "among": ["a"]}]}}}', "cases.x.classes.0.row: "),
        ('{"owner": "a", "cases": {"x": {"request": {}, "order": [{"row": -1, "above": 0}]}}}', "cases.x.order.0.row: "),
        ('{"owner": "a", "cases": {"x": {"request": {}, "order": [{"row": 1, "above": -1}]}}}', "cases.x.order.0.above: "),
        ('{"owner": "a", "cases": {"x": {"request": {}, "order": [{"row": 1, "above": 0, "by": -1}]}}}', "cases.x.order.0.by: "),
    ],
)
def test_what_is_no_contract_is_said_with_its_place(text: str, words: str) -> None:
    """DE-12: One sentence that names the field."""
    with pytest.raises(ValueError, match=r".+") as refusal:
        read_contract("board", text)
    assert str(refusal.value).startswith(words)


def test_borders_of_what_may_be_written() -> None:
    """DE-12: A range of one number, the first row, and an order by nothing are contracts."""
    made = contract(scores=[{"at_least": 1, "at_most": 1}], order=[{"row": 0, "above": 1}], classes=[{"row": 0, "among": ["a"]}])
    assert made.cases["a case"].status == 200
    assert made.cases["a case"].order[0].by == 0
    assert (made.cases["a case"].scores[0].row, made.cases["a case"].scores[0].name) == (0, "value")


def test_contracts_are_found_in_the_models_folder(tmp_path: Path) -> None:
    """DE-12: One for each file, by name; a folder without any has none; one that is none is named with its file."""
    folder = tmp_path / "delays"
    assert contracts_in(folder) == []
    (folder / "contracts").mkdir(parents=True)
    for consumer in ("desk", "board"):
        (folder / "contracts" / f"{consumer}.json").write_text('{"owner": "a", "about": "b", "cases": {"x": {"request": "no JSON"}}}')
    (folder / "contracts" / "README.md").write_text("not a contract")
    assert [(one.consumer, one.about, requests_of([one])) for one in contracts_in(folder)] == [
        ("board", "b", ["no JSON"]),
        ("desk", "b", ["no JSON"]),
    ]
    (folder / "contracts" / "broken.json").write_text('{"owner": 3}')
    said = r"The contract delays/contracts/broken.json cannot be used: owner: .*\. Mend that file \(docs/contracts.md\)\."
    with pytest.raises(SpecBroken, match=said):
        contracts_in(folder)
