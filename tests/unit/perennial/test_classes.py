"""An outcome means the same class, or is refused alike, over HTTP and in a file; what a server stored is read back as that class."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.classes import outcome_number
from perennial.commands.outcomes import check
from perennial.data.tables import Table
from perennial.encoding import text
from perennial.errors import BatchRefused
from perennial.monitoring.outcomes import collect_outcomes
from perennial.serving.prediction_log import OutcomeLog
from perennial.serving.request import BadRequest, read_feedback
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore

STARS, DIGITS, FLIGHTS = ("1", "2", "3", "4", "5"), tuple("0123456789"), ("on_time", "late")
TRUTH, HALVES, COLOURS, CODES = ("False", "True"), ("0.5", "1", "1.5"), ("red", "it's", "blue"), ("01", "02", "03")

CASES = [  # classes, JSON, and the place of the class that it means; None where it is refused
    (STARS, "3", 2), (STARS, "3.0", 2), (STARS, '"3"', 2), (STARS, '" 3 "', 2), (STARS, '"3.0"', 2), (STARS, "5", 4), (STARS, "1", 0),
    (STARS, "0", None), (STARS, "6", None), (STARS, "1.5", None), (STARS, "true", None),
    (DIGITS, "3", 3), (DIGITS, '"3"', 3), (DIGITS, "0", 0), (DIGITS, "-0.0", 0), (DIGITS, "9", 9), (DIGITS, "10", None),
    (FLIGHTS, "1", 1), (FLIGHTS, "0", 0), (FLIGHTS, "1.0", 1), (FLIGHTS, '"1"', 1), (FLIGHTS, '"late"', 1), (FLIGHTS, "2", None),
    (FLIGHTS, "0.5", None), (FLIGHTS, '"Late"', None), (FLIGHTS, "true", 1), (FLIGHTS, "false", 0),
    (TRUTH, "true", 1), (TRUTH, "false", 0), (TRUTH, '"true"', 1), (TRUTH, '"True"', 1), (TRUTH, '"FALSE"', 0), (TRUTH, "1", 1),
    (TRUTH, "0", 0), (TRUTH, '"yes"', None),
    (("True", "False"), "true", 0), (("True", "False"), '"false"', 1), (("true", "false", "unknown"), "true", 0),
    (("yes", "true"), "false", None),
    (HALVES, "0.5", 0), (HALVES, "1", 1), (HALVES, "0", None), (HALVES, "2", None),
    (COLOURS, "2", 2), (COLOURS, '"it\'s"', 1), (COLOURS, "true", None), (COLOURS, "3", None), (COLOURS, "-1", None),
    (COLOURS, '"nan"', None), (COLOURS, '{"a": 1}', None), (COLOURS, "1e308", None),
    (CODES, '"02"', 1), (CODES, "2", None), (CODES, "0", None),
    ((), "7.25", 7.25), ((), '"7.25"', 7.25), ((), "-3", -3), ((), '"inf"', None), ((), "true", None), ((), '"soon"', None),
]  # fmt: skip


def model(classes: tuple[str, ...]) -> ModelSpec:
    """One of those classes."""
    task = "regression" if not classes else "binary" if len(classes) == 2 else "multiclass"
    gate = GateSpec(floors={}) if classes else GateSpec(metric="rmse", floors={})
    return ModelSpec(name="m", title="M", owner="tests", dataset="d", task=task, classes=classes, label="l", inputs=("a",), gate=gate)


def over_http(written: str, classes: tuple[str, ...], form: str) -> float | str:
    """What the server would store, or its refusal."""
    try:
        return read_feedback(f'{{"response": {{"meta": {{"puid": "a-0"}}}}, "truth": {form % written}}}', classes)[1]
    except BadRequest as refused:
        return str(refused)


def in_a_file(value: object, classes: tuple[str, ...]) -> float | str:
    """What `perennial outcomes` would store, or its refusal."""
    try:
        return check([("line 1", {"prediction_id": "a-0", "outcome": value})], model(classes), "a.jsonl")[0]["outcome"]
    except BatchRefused as refused:
        return str(refused)


@pytest.mark.parametrize(
    "form", ['{"data": {"ndarray": [[%s]]}}', '{"strData": %s}', '{"data": {"ndarray": %s}}', '{"data": {"tensor": {"values": [%s]}}}']
)
def test_every_door_takes_an_outcome_for_the_same_class(form):
    """MN-03, DM-18: A table of cases over HTTP, JSON lines and, as texts, CSV: the same place, or a refusal that names the classes and no
    field of the message."""
    for classes, written, place in CASES:
        value = json.loads(written)
        doors = {"HTTP": over_http(written, classes, form), "JSON lines": in_a_file(value, classes)}
        if isinstance(value, (str, float, int)):
            doors["CSV"] = in_a_file(value if isinstance(value, str) else written, classes)
        for door, taken in doors.items():
            if place is None:
                assert isinstance(taken, str), (classes, written, door)
                assert f"one of {', '.join(classes)}" in taken if classes else "a finite number" in taken, taken
                assert "must hold" not in taken
            else:
                assert taken == place, (classes, written, door)


@pytest.mark.parametrize("classes", [STARS, DIGITS, FLIGHTS, TRUTH, HALVES, ("1.0", "2.0", "3.0"), ("2", "1", "0")])
def test_what_the_server_stored_of_a_class_is_read_back_as_that_class(classes, tmp_path):
    """MN-03, DM-18: However the classes are called: the log holds places."""
    store = FolderStore(str(tmp_path))
    log = OutcomeLog(store, "m", 1)
    for place, name in enumerate(classes):
        log.record(
            f"a-{place}",
            read_feedback(orjson.dumps({"response": {"meta": {"puid": f"a-{place}"}}, "truth": {"strData": name}}), classes)[1],
        )
    log.segments.close()
    table = Table(store, "m_outcomes")
    assert collect_outcomes(store, model(classes), table).damaged == 0
    assert {row["prediction_id"]: row["outcome"] for row in table.scan().to_pylist()} == {f"a-{i}": float(i) for i in range(len(classes))}


def test_lines_that_are_stored_keep_their_meaning(tmp_path):
    """MN-03: A line as servers have always written it, of a model whose classes are numbers: the place 3 is the fourth star."""
    file = Path(tmp_path) / "outcomes" / "m" / "v1-a.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(
        '{"id":"a-0","outcome":3.0,"time":"2026-11-01T00:00:00+00:00"}\n{"id":"b-0","outcome":0.0,"time":"2026-11-01T00:00:00+00:00"}\n'
    )
    table = Table(FolderStore(str(tmp_path)), "m_outcomes")
    assert collect_outcomes(FolderStore(str(tmp_path)), model(STARS), table).rows == 2
    assert sorted(table.scan(["outcome"])["outcome"].to_pylist()) == [0.0, 3.0]


@given(st.lists(st.integers(-50, 50) | st.booleans() | st.sampled_from([0.5, 1.5, 2.5]), min_size=2, max_size=12, unique=True))
def test_a_value_of_the_label_is_the_class_that_a_new_model_learns_from_it(values):
    """MN-03, DM-18: `make add-model` calls classes by the texts of the label's values: an outcome of the same value is that class."""
    names = [str(text(value)) for value in values]
    assert [outcome_number(value, names) for value in values] == [float(place) for place in range(len(values))]


@pytest.mark.parametrize("puid", ["my-id", "5f0c", "my-id-", "my-id-x", "-0", "my-id-0 "])
def test_an_id_that_no_row_can_have_is_refused(puid):
    """MN-03: The sentence says how a row's id looks: an outcome of any other id would be stored and meet no prediction."""
    with pytest.raises(BadRequest, match="a hyphen and the row's place from 0"):
        read_feedback(json.dumps({"response": {"meta": {"puid": puid}}, "truth": {"strData": "late"}}), FLIGHTS)
