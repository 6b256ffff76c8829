"""Inputs from a signature: what they are made of, that a version which fails one is found, and by which."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perennial.pictures import as_png
from perennial.serving.generated_inputs import NEVER_SEEN, Found, generated, try_all
from perennial.serving.limits import MAX_BODY_BYTES
from perennial.serving.request import BadRequest, Signature, read_request, read_signature
from perennial.testing import INPUTS, small_rows

EVERY_TYPE = (
    {"name": "n", "type": "int", "nullable": True, "min": -5, "max": 5},
    {"name": "x", "type": "float", "nullable": False, "min": 0.5},
    {"name": "b", "type": "bool", "nullable": True},
    {"name": "s", "type": "string", "nullable": False},
    {"name": "t", "type": "timestamp", "nullable": True},
    {"name": "words", "type": "list", "of": "string", "longest": 3},
    {"name": "counts", "type": "list", "of": "int", "nullable": True},
    {"name": "text", "type": "text", "nullable": False, "longest": 20},
    {"name": "heat", "type": "array", "of": "float", "shape": [2, 3]},
    {"name": "places", "type": "array", "of": "int", "shape": [2]},
    {"name": "photo", "type": "image", "shape": [4, 6], "mode": "L"},
)


def signature(*inputs: dict[str, Any]) -> Signature:
    """The signature of these inputs."""
    return read_signature({"inputs": inputs})


def answering(scores: Callable[[dict[str, Any]], Any], inputs: tuple[dict[str, Any], ...] = INPUTS) -> Callable[[bytes], tuple[int, bytes]]:
    """A version that reads requests as servers do and scores each row so; what raises is a 500."""
    read_by = signature(*inputs)

    def ask(body: bytes) -> tuple[int, bytes]:
        try:
            rows = read_request(body, read_by).rows
        except BadRequest as error:
            return 400, str(error).encode()
        try:
            return 200, json.dumps({"data": {"ndarray": [scores(dict(row)) for row in rows]}}).encode()
        except ZeroDivisionError:
            return 500, b"division by zero"

    return ask


def found(scores: Callable[[dict[str, Any]], Any], *, classes: bool = True) -> Found:
    """What trying all inputs of the small model finds."""
    return try_all(answering(scores), generated(signature(*INPUTS), small_rows(3)), classes=classes)


def test_every_type_has_its_extremes_nulls_and_what_was_never_seen() -> None:
    """DE-14: Whatever a field's type, its own least and greatest value, its longest and its emptiest; null where it may be."""
    photo = b64encode(as_png(np.zeros((9, 9), np.uint8))).decode()
    row = {"n": 1, "x": 1.0, "b": True, "s": "a", "t": "2024-01-01T00:00:00", "words": ["a"], "counts": [1], "text": "a", "heat": [0.0] * 6,
           "places": [1, 2], "photo": photo}  # fmt: skip
    made = generated(signature(*EVERY_TYPE), [row])
    values = {name: [one[name] for one in listed] for name, listed in made if name in {given["name"] for given in EVERY_TYPE}}
    assert values["n"] == [*sorted(v for v in values["n"] if v is not None)[:-1], None, 5]
    assert {-5, 0, 1, -1, 5, None} <= {*values["n"]}
    assert min(values["x"]) == 0.5
    assert max(values["x"]) == 1.7976931348623157e308
    assert values["b"] == [False, None, True]
    assert {"", NEVER_SEEN} < {*values["s"]}
    assert None not in values["s"]
    assert None in values["t"]
    assert [len(one) for one in values["words"]] == [0, 1, 3, 3]
    assert max(len(one) for one in values["text"]) == 20
    assert all(len(one) == 6 for one in values["heat"])
    assert all(isinstance(number, int) for one in values["places"] for number in one)
    assert len({*values["photo"]}) == 4
    fits = try_all(answering(lambda row: [0.5, 0.5], EVERY_TYPE), [each for each in made if each[0] in values], classes=True)
    assert (fits.failure, fits.refused) == ("", 0)
    names = dict(made)
    assert names["nulls"][0] | {"n": None, "b": None, "t": None, "counts": None} == names["nulls"][0]
    assert len(names["extremes"]) == 2


def test_a_signature_gives_the_same_inputs_always() -> None:
    """DE-14: So a refusal can be looked at again."""
    assert generated(signature(*EVERY_TYPE), [{}]) == generated(signature(*EVERY_TYPE), [{}])


def test_one_row_and_as_many_as_a_request_may_have() -> None:
    """DE-14: 10,000 rows, or as many as 16 MB hold."""
    made = dict(generated(signature(*INPUTS), small_rows(3)))
    assert (len(made["one row"]), len(made["many rows"])) == (1, 10_000)
    large = [{"text": "x" * 5_000}]
    many = dict(generated(signature({"name": "text", "type": "text"}), large))["many rows"]
    assert 3_000 < len(many) < 10_000
    assert len(json.dumps({"data": {"rows": many}})) <= MAX_BODY_BYTES


def test_declared_categories_are_all_sent_and_no_other() -> None:
    """DE-14: Where only some words may come, those."""
    made = dict(generated(signature(*INPUTS), small_rows(1)))
    assert [row["origin"] for row in made["origin"]] == ["EWR", "JFK", "LGA"]


def test_a_version_that_answers_all_passes() -> None:
    """DE-14: The rows and requests are counted, and what it refused with a sentence."""
    good = found(lambda row: [0.25, 0.75])
    assert (good.failure, good.refused) == ("", 0)
    assert good.sentence == f"it answers {good.rows:,} generated rows in {good.requests} requests"


@pytest.mark.parametrize(
    ("name", "fails", "shown"),
    [
        ("carrier", lambda row: 1 / (row["carrier"] != ""), '"carrier": ""'),
        ("temp", lambda row: 1 / (row["temp"] is not None or row["distance"] == 0), '"temp": null'),
        ("distance", lambda row: 1 / (row["distance"] != 20_000), '"distance": 20000'),
        ("scheduled_departure", lambda row: 1 / (not row["scheduled_departure"].startswith("1900")), "1900-01-01"),
    ],
)
def test_an_input_that_fails_is_named(name: str, fails: Callable[[dict[str, Any]], float], shown: str) -> None:
    """DE-14: By the field and one short row; the golden rows have none such."""
    golden = [{**row, "temp": 40.0} for row in small_rows(3)]

    def scores(row: dict[str, Any]) -> list[float]:
        fails(row)
        return [0.5, 0.5]

    said = try_all(answering(scores), generated(signature(*INPUTS), golden), classes=True)
    assert said.failure.startswith(f"it fails a generated input ({name}): to ")
    assert shown in said.failure
    assert said.failure.endswith("it answers 500: division by zero")
    assert said.sentence == said.failure


@pytest.mark.parametrize(
    ("scores", "classes", "words"),
    [
        ([0.5, float("nan")], True, "the score NaN, which is no finite number"),
        ([0.5, float("inf")], False, "the score Infinity, which is no finite number"),
        ([0.5, None], False, "the score null, which is no finite number"),
        ([0.5, True], False, "the score true, which is no finite number"),
        ([0.5, "0.5"], False, 'the score "0.5", which is no finite number'),
        ([-0.1, 1.1], True, "the score -0.1 of a class, which must be between 0 and 1"),
        ([0.1, 1.1], True, "the score 1.1 of a class, which must be between 0 and 1"),
    ],
)
def test_scores_must_be_finite_and_of_classes_shares(scores: list[Any], classes: bool, words: str) -> None:
    """DE-14: A value may be any finite number, a score of a class is between 0 and 1."""
    assert found(lambda row: scores, classes=classes).failure.endswith(words)


def test_a_value_may_be_outside_of_shares_and_stand_alone() -> None:
    """DE-14: Of a regression; and a share a rounding beside 0 or 1 is one."""
    assert found(lambda row: 1234.5, classes=False).failure == ""
    assert found(lambda row: [-1e-6, 1 + 1e-6]).failure == ""
    assert "of a class" in found(lambda row: [-2e-6, 1]).failure
    assert "of a class" in found(lambda row: [0, 1 + 2e-6]).failure


def test_a_refusal_is_an_answer_but_for_golden_rows() -> None:
    """DE-14: A version may say that it cannot read a value; what training gave it, it must read."""
    inputs = generated(signature(*INPUTS), small_rows(3))

    def picky(body: bytes) -> tuple[int, bytes]:
        rows = json.loads(body)["data"]["rows"]
        bad = any(row["carrier"] == NEVER_SEEN for row in rows)
        return (400, b"no such carrier") if bad else (200, json.dumps({"data": {"ndarray": [[0, 1]] * len(rows)}}).encode())

    refused = try_all(picky, inputs, classes=True)
    assert (refused.failure, refused.refused > 0) == ("", True)
    assert f"of which it refused {refused.refused} with a sentence" in refused.sentence
    nothing = try_all(lambda body: (400, b"no"), inputs, classes=True)
    assert "(golden rows)" in nothing.failure
    assert nothing.failure.endswith("it answers 400: no")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (0, b"no answer (TimeoutError)", "nothing: no answer (TimeoutError)"),
        (503, b"", "503: "),
        (200, b"<html>", "200 without scores: <html>"),
        (200, b'{"data": []}', '200 without scores: {"data": []}'),
        (200, b'{"data": {"ndarray": 3}}', "scores of no rows for 1"),
        (200, b'{"data": {"ndarray": [[1], [2]]}}', "scores of 2 rows for 1"),
    ],
)
def test_any_other_answer_is_a_failure(status: int, body: bytes, words: str) -> None:
    """DE-14, DE-11: Whatever comes that is no answer with a score for each row."""
    assert try_all(lambda asked: (status, body), [("one row", [{}])], classes=True).failure.endswith(f"it answers {words}")


def test_what_fails_only_together_is_said_so() -> None:
    """DE-14: A request of many rows of which each half is answered."""

    def ask(body: bytes) -> tuple[int, bytes]:
        rows = len(json.loads(body)["data"]["rows"])
        return (500, b"too many") if rows > 3 else (200, json.dumps({"data": {"ndarray": [[0.5]] * rows}}).encode())

    said = try_all(ask, [("many rows", [{"a": place} for place in range(4)])], classes=True)
    assert (
        said.failure
        == 'it fails a generated input (many rows): to 4 rows of which each half is answered, such as {"a": 0} it answers 500: too many'
    )
    assert said.requests == 1
    assert math.isclose(said.rows, 0)


def test_a_long_row_is_cut_where_it_is_shown() -> None:
    """DE-14: A sentence has no picture in it."""
    said = try_all(lambda asked: (500, b"x" * 1000), [("one row", [{f"f{n}": "y" * 500 for n in range(40)}])], classes=True).failure
    assert len(said) < 700
    assert "yyyy…" in said
