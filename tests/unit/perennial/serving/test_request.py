"""What prediction requests and outcomes may hold."""

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import testing
from perennial.serving.request import BadRequest, read_feedback, read_outcome, read_request, read_signature

FIELDS = [*testing.INPUTS, {"name": "weekend", "type": "bool", "nullable": True}]
SIGNATURE = read_signature({"inputs": FIELDS})
STRICT = read_signature({"inputs": FIELDS, "strict": True})
ROW = {"carrier": "UA", "origin": "EWR", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None, "weekend": True}


def body(*rows, **more) -> bytes:
    """A request."""
    return json.dumps({"data": {"rows": rows}, **more}).encode()


def test_columns_have_the_types_that_training_had():
    """DM-18: Numbers become float64 with null as NaN, times datetime64, texts stay objects; rows stay as they came."""
    found = read_request(body(ROW, {**ROW, "temp": 3}), SIGNATURE)
    assert found.columns["distance"].dtype == np.float64
    assert found.columns["temp"].tolist()[1] == 3
    assert math.isnan(found.columns["temp"][0])
    assert found.columns["scheduled_departure"][0] == np.datetime64("2013-02-01T06:00:00")
    assert found.columns["carrier"].tolist() == ["UA", "UA"]
    assert found.columns["weekend"].tolist() == [True, True]
    assert list(found.rows) == [ROW, {**ROW, "temp": 3}]


def test_both_forms_of_a_request_say_the_same():
    """SE-01: Seldon's names and ndarray give the same columns as rows do."""
    seldon = json.dumps({"data": {"names": list(ROW), "ndarray": [list(ROW.values())]}})
    assert read_request(seldon, SIGNATURE).rows == read_request(body(ROW), SIGNATURE).rows


def test_meta_carries_an_id_and_an_event_time():
    """SE-01: The id is taken as it is; the event time is turned into UTC."""
    found = read_request(body(ROW, meta={"puid": "a-1", "tags": {"event_time": "2013-02-01T06:00:00+02:00", "else": 1}}), SIGNATURE)
    assert (found.id, found.event_time) == ("a-1", "2013-02-01T04:00:00+00:00")
    assert read_request(body(ROW, meta={}), SIGNATURE).id is None


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({**ROW, "distance": None}, "Row 0: distance must not be null."),
        ({**ROW, "distance": 1.5}, "Row 0: distance must be a whole number, not 1.5."),
        ({**ROW, "distance": True}, "Row 0: distance must be a whole number, not true."),
        ({**ROW, "distance": 0}, "Row 0: distance is 0: it is below 1, the least it can be."),
        ({**ROW, "distance": 20_001}, "Row 0: distance is 20001: it is above 20000, the most it can be."),
        ({**ROW, "temp": "warm"}, "Row 0: temp must be a number, not 'warm'."),
        ({**ROW, "carrier": 7}, "Row 0: carrier must be a string, not 7."),
        ({**ROW, "origin": "SFO"}, "Row 0: origin is 'SFO': it must be one of EWR, JFK, LGA."),
        ({**ROW, "weekend": 1}, "Row 0: weekend must be true or false, not 1."),
        ({**ROW, "scheduled_departure": "tomorrow"}, "Row 0: scheduled_departure must be a time like 2013-02-01T06:00:00, not 'tomorrow'."),
        ({k: v for k, v in ROW.items() if k != "distance"}, "Row 0 lacks the field distance."),
        ([1], "Row 0 is not an object of field names and values."),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_field(row, sentence):
    """SC-07: Each way a row can be wrong has its sentence, which names the row and the field."""
    with pytest.raises(BadRequest) as refused:
        read_request(body(row), SIGNATURE)
    assert str(refused.value) == sentence


def test_an_unknown_field_is_ignored_and_named():
    """SE-12: A caller that sends more than the version knows is answered, hears which fields did not count, and they are not recorded."""
    found = read_request(body(ROW, {**ROW, "colour": {"red": 1}}, {**ROW, "age": 3}), SIGNATURE)
    assert found.ignored == ("age", "colour")
    assert list(found.rows) == [ROW, ROW, ROW]
    assert read_request(body(ROW), SIGNATURE).ignored == ()


def test_a_missing_nullable_field_is_null():
    """SE-12: A caller that does not know of a nullable input yet is answered as if it had sent null; both forms of a request alike."""
    old = {name: value for name, value in ROW.items() if name not in ("temp", "weekend")}
    seldon = json.dumps({"data": {"names": list(old), "ndarray": [list(old.values())]}})
    for found in (read_request(body(old), SIGNATURE), read_request(body(old), STRICT), read_request(seldon, SIGNATURE)):
        assert list(found.rows) == [{**ROW, "temp": None, "weekend": None}]
        assert math.isnan(found.columns["temp"][0])
        assert found.columns["weekend"].tolist() == [None]


def test_a_strict_version_refuses_unknown_fields():
    """SC-07: Where the spec says strict, a field that the version does not know is a 400 with the fields it knows."""
    with pytest.raises(BadRequest) as refused:
        read_request(body({**ROW, "colour": "red"}), STRICT)
    assert (
        str(refused.value)
        == "Row 0 has the unknown field 'colour': the fields are carrier, origin, scheduled_departure, distance, temp, weekend."
    )


@given(st.sets(st.sampled_from(sorted(ROW))), st.dictionaries(st.text(max_size=3), st.integers(), max_size=3))
def test_versions_that_differ_by_nullable_inputs_answer_the_same_callers(lacking, more):
    """SE-12: Whatever a caller leaves out or adds: answered unless a field is missing that must not be null."""
    row = {**more, **{name: value for name, value in ROW.items() if name not in lacking}}
    if lacking - {"temp", "weekend"}:
        with pytest.raises(BadRequest, match="lacks the field"):
            read_request(body(row), SIGNATURE)
    else:
        assert read_request(body(row), SIGNATURE).ignored == tuple(sorted(set(row) - set(ROW)))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "The request has no body"),
        (b"[]", "The body must be a JSON object"),
        (b"{}", "The request has no data"),
        (b'{"data": {}}', "data has neither rows nor ndarray"),
        (b'{"data": {"rows": {}}}', "data.rows must be a list"),
        (b'{"data": {"rows": []}}', "The request has no rows"),
        (b'{"data": {"ndarray": [[1]]}}', "data.names must list the field names"),
        (b'{"data": {"names": ["a", "a"], "ndarray": [[1, 2]]}}', "data.names names 'a' twice"),
        (b'{"data": {"names": ["a"], "ndarray": {}}}', "data.ndarray must be a list of rows"),
        (b'{"data": {"names": ["a"], "ndarray": [[1, 2]]}}', "Row 0 of data.ndarray must be a list of 1 values"),
        (b'{"data": {"rows": [NaN]}}', "The body is not JSON"),
        (b"\xff", "The body is not JSON"),
        (body(ROW, meta=[]), "meta must be an object"),
        (body(ROW, meta={"puid": "a b"}), "meta.puid is 'a b'"),
        (body(ROW, meta={"tags": 1}), "meta.tags must be an object"),
        (body(ROW, meta={"tags": {"event_time": "noon"}}), "meta.tags.event_time must be a time"),
        (body(*[ROW] * 11), "The request has more than 10 rows"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(given, sentence):
    """SC-07: Each way a body can be wrong has its sentence."""
    with pytest.raises(BadRequest) as refused:
        read_request(given, SIGNATURE, max_rows=10)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400])
def test_infinite_numbers_are_refused(number):
    """SC-07: A number that float64 cannot hold never reaches a version."""
    with pytest.raises(BadRequest):
        read_request(body(ROW).replace(b"500", b"1").replace(b"null", number.encode()), SIGNATURE)


@pytest.mark.parametrize("number", ["1e19", "9223372036854775808", "-9223372036854775809", "-1e308", "9007199254740993.0", "1" + "0" * 400])
def test_whole_numbers_that_are_not_exact_are_refused(number):
    """SC-07: Beyond 64 bits, or from 2^53 on with a point or an exponent, a whole number is no longer the one that was meant."""
    fields = [{"name": "n", "type": "int"}]
    with pytest.raises(BadRequest, match=r"n (is|must be)|not JSON"):
        read_request(f'{{"data": {{"rows": [{{"n": {number}}}]}}}}', read_signature({"inputs": fields}))


def test_a_bound_is_told_with_all_its_digits():
    """SC-07: Of a day written as 20130101 six digits would name another day."""
    fields = [{"name": "day", "type": "int", "min": 20130101}, {"name": "share", "type": "float", "max": 0.1}]
    for row, words in (({"day": 20130100, "share": 0}, "below 20130101, the"), ({"day": 20130101, "share": 1}, "above 0.1, the")):
        with pytest.raises(BadRequest, match=words):
            read_request(json.dumps({"data": {"rows": [row]}}), read_signature({"inputs": fields}))


def test_times_are_wall_times_of_the_signature_zone():
    """DM-18: An offset is converted to the version's zone, in rows and in the event time; a signature of an older release means UTC."""
    eastern = read_signature({"inputs": FIELDS, "time_zone": "America/New_York"})
    for when in ("2013-02-01T06:00:00", "2013-02-01T06:00:00-05:00", "2013-02-01T11:00:00Z"):
        found = read_request(body({**ROW, "scheduled_departure": when}, meta={"tags": {"event_time": when}}), eastern)
        assert found.columns["scheduled_departure"][0] == np.datetime64("2013-02-01T06:00:00")
        assert found.event_time == "2013-02-01T11:00:00+00:00"
    found = read_request(body({**ROW, "scheduled_departure": "2013-02-01T06:00:00-05:00"}), SIGNATURE)
    assert found.columns["scheduled_departure"][0] == np.datetime64("2013-02-01T11:00:00")
    with pytest.raises(ValueError, match="is no time zone"):
        read_signature({"inputs": FIELDS, "time_zone": "Mars/Olympus"})


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "9999-12-31", 5, True, [], {}, "", "2013-02-01T25:00"]
)
def test_an_event_time_at_the_edge_of_the_calendar_is_refused(when):
    """SC-07: What no calendar holds in every zone is a sentence, not an error of the server."""
    with pytest.raises(BadRequest, match=r"meta\.tags\.event_time must be a time like"):
        read_request(body(ROW, meta={"tags": {"event_time": when}}), SIGNATURE)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from(sorted(ROW)))
def test_any_value_is_taken_or_refused_with_a_sentence(value, field):
    """SC-07, DE-14: Whatever JSON a caller sends, the answer is checked columns or a BadRequest, never another error."""
    for given_body in (
        {"data": {"rows": [{**ROW, field: value}]}},
        {"data": value},
        {"data": {"rows": value}},
        {"data": {"rows": [ROW]}, "meta": value},
    ):
        with contextlib.suppress(BadRequest):
            assert np.isfinite(read_request(json.dumps(given_body), SIGNATURE).columns["distance"]).all()


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ({"data": {"ndarray": [[1]]}}, 1.0),
        ({"data": {"ndarray": ["late"]}}, 1.0),
        ({"data": {"ndarray": [0]}}, 0.0),
        ({"data": {"tensor": {"shape": [1], "values": [1]}}}, 1.0),
        ({"data": {"names": ["late"], "ndarray": [[1.0]]}}, 1.0),
        ({"strData": "on_time"}, 0.0),
    ],
)
def test_feedback_may_come_in_each_of_seldons_forms(message, outcome):
    """MN-03, SY-32: A list of lists, a tensor or a text."""
    given = json.dumps({"request": {"any": 1}, "response": {"meta": {"puid": "p-0"}}, "truth": message, "reward": 1})
    assert read_feedback(given, ("on_time", "late")) == ("p-0", outcome)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (b"", "The request has no body"),
        (b"true", "The body must be a JSON object like"),
        (b"0", "The body must be a JSON object like"),
        (b"1" + b"0" * 400, "The body "),
        (b"[" * 1000 + b"]" * 1000, "The body must be a JSON object like"),
        (b"[" * 60_000, "The body is not JSON"),
        (b"{}", r"response.meta.puid is null"),
        (b'{"response": true, "truth": 0}', r"response.meta.puid is null"),
        (b'{"response": {"meta": {"puid": {"a": 1}}}}', r"response.meta.puid is an object"),
        (b'{"response": {"meta": {"puid": ' + b"[" * 1000 + b"]" * 1000 + b"}}}", r"response.meta.puid is a list"),
        (b'{"response": {"meta": {"puid": "p-0"}}}', "The feedback has no outcome: it must be one of on_time, late or"),
        (b'{"response": {"meta": {"puid": "p-0"}}, "truth": {"data": {"ndarray": 1e400}}}', "The body is not JSON"),
        (b'{"response": {"meta": {"puid": "p-0"}}, "truth": {"data": {"ndarray": [1, 2]}}}', "The outcome is a list"),
        (b'{"response": {"meta": {"puid": "p-0"}}, "truth": {"data": {"ndarray": 1' + b"0" * 400 + b"}}}", "The body is not JSON"),
        (
            b'{"response": {"meta": {"puid": "p-0"}}, "truth": {"data": {"ndarray": ' + b"[" * 900 + b"]" * 900 + b"}}}",
            "The outcome is a list",
        ),
    ],
)
def test_feedback_that_does_not_fit_is_refused(given, sentence):
    """SC-07, DE-14: Whatever a feedback message holds, it is an outcome or a sentence."""
    with pytest.raises(BadRequest) as refused:
        read_feedback(given, ("on_time", "late"))
    assert str(refused.value).startswith(sentence)


def test_every_id_that_a_request_may_have_may_have_an_outcome():
    """MN-03: The longest id of a request gives ids of rows that feedback takes."""
    longest = "a" * 128
    assert read_request(body(ROW, meta={"puid": longest}), SIGNATURE).id == longest
    assert read_outcome(f"{longest}-9999", 1, ())[0] == f"{longest}-9999"


@pytest.mark.parametrize(("truth", "outcome"), [(1, 1.0), ([[0]], 0.0), ([1.0], 1.0), ("late", 1.0)])
def test_an_outcome_may_come_in_several_forms(truth, outcome):
    """MN-03, SY-32: A class is named by its number, alone or in a list, or by its name."""
    assert read_outcome("p-0", truth, ("on_time", "late")) == ("p-0", outcome)


@pytest.mark.parametrize("truth", [None, "later", 2, 0.5, -1, math.nan, [[1, 2]], []])
def test_an_outcome_that_is_no_class_is_refused(truth):
    """MN-03: What is no class number of the model never reaches the store."""
    with pytest.raises(BadRequest):
        read_outcome("p-0", truth, ("on_time", "late"))


def test_an_outcome_needs_the_id_of_a_prediction():
    """MN-03: Without an id there is nothing to join."""
    with pytest.raises(BadRequest, match=r"response\.meta\.puid"):
        read_outcome("", 1, ())
    assert read_outcome("p-0", 7.25, ()) == ("p-0", 7.25)


def test_an_unknown_type_in_the_signature_is_an_error():
    """SC-07: A signature of a later release is not misread."""
    with pytest.raises(ValueError, match="gives a the type 'image'"):
        read_signature({"inputs": [{"name": "a", "type": "image"}]})
