"""What prediction requests and outcomes may hold."""

import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import testing
from perennial.serving.request import BadRequest, Input, Signature, read_feedback, read_outcome, read_request, read_signature

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
    with pytest.raises(ValueError, match="gives a the type 'video'"):
        read_signature({"inputs": [{"name": "a", "type": "video"}]})


# What follows: the whole sentence of each refusal, both sides of each border, and exactly what is handed on.

NUMBERS = read_signature(
    {
        "inputs": [
            {"name": "n", "type": "int", "nullable": True, "min": -3, "max": 5},
            {"name": "x", "type": "float", "nullable": True, "min": 0.5, "max": 1.5},
            {"name": "any", "type": "int", "nullable": True},
        ]
    }
)


def numbers(*rows):
    """The columns of rows of which each names some of `n`, `x` and `any`."""
    return read_request(body(*rows), NUMBERS).columns


def refusal(given, signature, **limits):
    """What is said to whoever sends it."""
    with pytest.raises(BadRequest) as refused:
        read_request(given, signature, **limits)
    return str(refused.value)


def test_a_field_is_as_its_signature_says_and_nothing_more():
    """SC-07: not nullable, without bounds, values or zone unless it says so; an empty list of values allows none."""
    plain = read_signature({"inputs": [{"name": "a", "type": "int"}]})
    alone = Input("a", "int", nullable=False, min=None, max=None, values=None, of="", longest=None, shape=(), mode="")
    assert plain == Signature((alone,), strict=False, time_zone="UTC", files=None)
    assert plain.called == {"a": "a"}
    with pytest.raises(TypeError, match="called"):
        Signature((), called={})
    assert Signature(()).strict is False
    assert Signature(()).files is None
    assert Signature(()).time_zone == "UTC"
    full = {"name": "b", "type": "string", "nullable": True, "min": 1, "max": 2, "values": ["u", "v"]}
    read = read_signature({"inputs": [full, {"name": "c", "type": "int", "values": []}], "strict": 1, "time_zone": "Europe/Berlin"})
    assert read.inputs == (Input("b", "string", True, 1, 2, frozenset({"u", "v"})), Input("c", "int", values=frozenset()))
    assert (read.strict, read.time_zone, read.names) == (True, "Europe/Berlin", {"b", "c"})
    with pytest.raises(ValueError, match=r"gives b the type 'matrix': known are int, float, string, timestamp, bool, list, text"):
        read_signature({"inputs": [{"name": "a", "type": "int"}, {"name": "b", "type": "matrix"}]})


# Texts and names as the files of the dataset have them.

FORM = {
    "decimal": ",",
    "thousands": ".",
    "nulls": ["n/a"],
    "true": ["ja"],
    "times": ["%d.%m.%Y %H:%M", "epoch seconds"],
    "header": "any case",
    "fields": {"floor": "where.house.floor", "size": "Größe", "other": "no.input"},
    "time_of": {"at": ["day", "hour"]},
}
DOCUMENT = {
    "inputs": [
        {"name": "floor", "type": "int"},
        {"name": "size", "type": "float", "nullable": True},
        {"name": "sold", "type": "bool", "nullable": True},
        {"name": "at", "type": "timestamp", "nullable": True},
        {"name": "word", "type": "string", "nullable": True},
        {"name": "id", "type": "string", "nullable": True},
        {"name": "ID", "type": "string", "nullable": True},
    ],
    "files": FORM,
}
FORMED = read_signature(DOCUMENT)
EMPTY = dict.fromkeys(["floor", "size", "sold", "at", "word", "id", "ID"])


@pytest.mark.parametrize(
    ("row", "means", "ignored"),
    [
        ({"floor": "1.234"}, {"floor": 1234}, ()),
        ({"floor": "1.000", "size": "1.234,5", "sold": "JA"}, {"floor": 1000, "size": 1234.5, "sold": True}, ()),
        ({"floor": 1, "size": "n/a", "sold": "n/a", "at": "n/a"}, {"floor": 1}, ()),
        ({"floor": 1, "size": 1.5, "sold": False, "word": "ja"}, {"floor": 1, "size": 1.5, "sold": False, "word": "ja"}, ()),
        ({"floor": 1, "at": "29.11.2026 14:00"}, {"floor": 1, "at": "2026-11-29T14:00:00"}, ()),
        ({"floor": 1, "at": 86400}, {"floor": 1, "at": "1970-01-02T00:00:00+00:00"}, ()),
        ({" FLOOR ": 2, "GRÖSSE": 3, "Word": "x"}, {"floor": 2, "size": 3, "word": "x"}, ()),
        ({"floor": 1, "ID": "b", "id": "a", "iD": 1}, "Row 0 has the field 'ID' twice, also as 'iD'.", ()),
        ({"floor": 1, "ID": "b", "id": "a", "more": 1}, {"floor": 1, "id": "a", "ID": "b"}, ("more",)),
        ({"where": {"house": {"floor": 3, "door": 1}, "city": "x"}}, {"floor": 3}, ()),
        ({"where.house.floor": 4}, {"floor": 4}, ()),
        ({"floor": 5, "where": {"house": {"floor": 3}}}, {"floor": 5}, ()),
        ({"floor": 5, "where": {"house": 3}}, {"floor": 5}, ()),
        ({"floor": 5, "where": 3}, {"floor": 5}, ("where",)),
        ({"where": {"house": 3}}, "Row 0 lacks the field floor.", ()),
        ({"where": {"house": {"floor": None}}}, "Row 0 lacks the field floor.", ()),
        ({"floor": 1, "no": {"input": 3}, "house": {}}, {"floor": 1}, ("house", "no")),
        (
            {"floor": 1, "Größe": {}, "size": 2},
            "Row 0 has the field 'size' twice, also as 'Größe'. Row 0: size must be a number, not an object.",
            (),
        ),
        ({"floor": 1, "day": "2026-11-29", "hour": "7:30"}, {"floor": 1, "at": "2026-11-29 07:30"}, ()),
        ({"floor": 1, "day": "2026-11-29", "hour": 17}, {"floor": 1, "at": "2026-11-29 17:00"}, ()),
        ({"floor": 1, "day": "2026-11-29", "hour": 7.0}, {"floor": 1, "at": "2026-11-29 07:00"}, ()),
        ({"floor": 1, "day": "2026-11-29", "hour": None}, {"floor": 1}, ("day", "hour")),
        ({"floor": 1, "day": 5, "hour": 7}, {"floor": 1}, ("day", "hour")),
        ({"floor": 1, "day": "2026-11-29"}, {"floor": 1}, ("day",)),
        ({"floor": 1, "at": 0, "day": "2026-11-29", "hour": 7}, {"floor": 1, "at": "1970-01-01T00:00:00+00:00"}, ("day", "hour")),
        ({"floor": "n/a"}, "Row 0: floor must not be null.", ()),
        ({"floor": 1, "word": "n/a"}, "Row 0: word is 'n/a', a word for a missing value in the files of its dataset: send null.", ()),
    ],
)
def test_names_and_texts_of_a_request_are_read_as_in_files(row, means, ignored):
    """SE-12, DM-18: by another header, in any case, nested or in two fields; exact names and JSON's own values come first."""
    signature = read_signature(DOCUMENT)  # anew, as one that has read a row does not work out again what its names mean
    if isinstance(means, str):
        assert refusal(body(row), signature) == means
    else:
        request = read_request(body(row), signature)
        assert (request.rows, request.ignored) == ([{**EMPTY, **means}], ignored)


TOGETHER = [
    {"name": "n", "type": "int", "nullable": True, "min": -3, "max": 9},
    {"name": "any", "type": "int"},
    {"name": "x", "type": "float", "nullable": True},
    {"name": "y", "type": "float", "min": -0.5},
    {"name": "k", "type": "int", "values": [1, 2]},
    {"name": "word", "type": "string", "nullable": True},
    {"name": "name", "type": "string"},
    {"name": "is", "type": "bool", "nullable": True},
]
number = st.sampled_from(
    [1, 2, 0, -0.0, -1, 3.0, 2**53, 2**53 - 1, -(2**53), 2**63, 1e300, -0.5, 0.25, 9, 10, -3, -4, None, True, "1", [1]]
)
plain_row = st.fixed_dictionaries(
    {
        "n": st.sampled_from([None, -3, 9, 2.0]),
        "any": st.integers(-9, 9),
        "x": st.none() | st.floats(-1, 1),
        "y": st.floats(0, 1),
        "word": st.none() | st.text(max_size=2),
        "name": st.text(max_size=2),
        "is": st.none() | st.booleans(),
    }
).map(lambda row: {**row, "k": 1})


@given(
    st.lists(plain_row, min_size=1, max_size=4), st.none() | st.tuples(st.sampled_from(["n", "any", "x", "y", "k"]), number), st.booleans()
)
def test_values_are_the_same_together_and_each_for_itself(rows, changed, reordered):
    """SE-04, SC-07: What is checked in one pass over all columns is bit for bit what each column gives alone; what does not fit is refused
    with the same sentence, whichever way it takes."""
    given = read_signature({"inputs": TOGETHER})
    if changed:
        rows[-1] = {**rows[-1], changed[0]: changed[1]}
    if reordered:
        rows[-1] = dict(reversed(rows[-1].items()))

    def found():
        try:
            return {
                name: (column.dtype, column.tolist(), column.tobytes() if column.dtype != object else b"")
                for name, column in read_request(body(*rows), given).columns.items()
            }
        except BadRequest as refused:
            return str(refused)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perennial.serving.request._plain_columns", lambda *_: {})
        alone = found()
    together = found()
    assert repr(together) == repr(alone)
    assert isinstance(together, str) or list(together) == [each["name"] for each in TOGETHER]


def test_a_request_as_it_should_be_is_looked_at_once(monkeypatch):
    """SE-04: However many rows come, numbers, texts and truth values are checked together, nulls among them; what must be looked at by
    itself is a column of times and one that may have some values only. Rows are taken apart once, and not at all where columns came."""
    from perennial.serving import request

    looked: list[str] = []
    column, by_input = request._column, request._by_input
    monkeypatch.setattr(request, "_column", lambda given, *more: looked.append(given.name) or column(given, *more))
    monkeypatch.setattr(request, "_by_input", lambda *given: looked.append("rows") or by_input(*given))
    in_files = read_signature({"inputs": FIELDS, "files": {"decimal": ","}})
    whole = {**ROW, "distance": 500.0, "temp": 1.5, "weekend": None}
    for signature in (SIGNATURE, in_files):
        for count in (1, 500):
            looked.clear()
            found = read_request(body(*[ROW, whole] * count), signature)
            assert looked == ["rows", "origin", "scheduled_departure"]
            assert found.columns["weekend"].tolist()[:2] == [True, None]
    looked.clear()
    columns = {name: [value] for name, value in ROW.items()}
    assert request.checked([ROW], None, SIGNATURE, by_input=columns).columns["distance"].tolist() == [500]
    assert looked == ["origin", "scheduled_departure"]
    plain = read_signature({"inputs": [{"name": "n", "type": "int"}]})
    assert read_request(body({"n": -0.0}, {"n": 3}), plain).columns["n"].tobytes() == np.array([0.0, 3.0]).tobytes()


def test_the_parts_of_a_time_may_be_inputs_themselves():
    """DM-18: under their own name or another; they stay, and a caller who sends both parts alone is not told that the time is missing."""
    at = {"name": "at", "type": "timestamp"}
    for fields, day in (({}, "day"), ({"date": "day"}, "date")):
        inputs = [at, {"name": day, "type": "string"}, {"name": "hour", "type": "int"}]
        signature = read_signature({"inputs": inputs, "files": {"time_of": {"at": ["day", "hour"]}, "fields": fields}})
        request = read_request(body({"day": "2026-11-29", "hour": 7}), signature)
        assert (request.rows, request.ignored) == ([{"at": "2026-11-29 07:00", day: "2026-11-29", "hour": 7}], ())


def test_an_event_time_may_be_written_as_in_files():
    """DM-18: In a form that the dataset declares, or as a count of seconds."""
    for written, moment in (("29.11.2026 14:00", "2026-11-29T14:00:00+00:00"), (86400, "1970-01-02T00:00:00+00:00")):
        assert read_request(body({"floor": 1}, meta={"tags": {"event_time": written}}), FORMED).event_time == moment
    assert refusal(body({"floor": 1}, meta={"tags": {"event_time": "29.13.2026 14:00"}}), FORMED) == (
        "meta.tags.event_time must be a time like 2013-02-01T06:00:00, not '29.13.2026 14:00'."
    )


def test_a_value_that_does_not_fit_is_told_how_files_write_it():
    """SC-07: Of a text alone, with its row, also a time; where nothing is declared, nothing is added."""
    forms = (
        "(texts are read as in files: decimal mark ',' and thousands mark '.'; true 'ja'; missing 'n/a'; "
        "times '%d.%m.%Y %H:%M', 'epoch seconds')"
    )
    for row, said in (
        ({"floor": "1.5"}, f"floor must be a whole number, not '1.5' {forms}."),
        ({"floor": True}, "floor must be a whole number, not true."),
        ({"floor": 1, "at": "noon"}, f"at must be a time like 2013-02-01T06:00:00, not 'noon' {forms}."),
        ({"floor": 1, "at": True}, "at must be a time like 2013-02-01T06:00:00, not true."),
    ):
        assert refusal(body({"floor": 1}, row), FORMED) == f"Row 1: {said}"


def test_words_for_nothing_stay_words_where_something_must_be_sent():
    """SC-07: The word is a value where the input is not nullable, or the dataset declares no such words."""
    for nullable, nulls in ((False, ["n/a"]), (True, [])):
        inputs = [{"name": "word", "type": "string", "nullable": nullable}]
        signature = read_signature({"inputs": inputs, "files": {"nulls": nulls, "decimal": ","}})
        assert read_request(body({"word": "n/a"}), signature).columns["word"].tolist() == ["n/a"]
    listed = {"name": "kind", "type": "string", "nullable": True, "values": ["n/a", "b"]}
    signature = read_signature({"inputs": [listed], "files": {"nulls": ["n/a"]}})
    assert read_request(body({"kind": "b"}, {"kind": None}), signature).columns["kind"].tolist() == ["b", None]
    assert refusal(body({"kind": "b"}, {"kind": "n/a"}), signature).startswith("Row 1: kind is 'n/a', a word for a missing value")


def test_a_field_twice_is_told_of_its_first_row_and_each_field():
    """SC-07: Two fields that are there twice are both told, each with its first row."""
    rows = [{"floor": 1, "Size": 1, "SIZE": 2}, {"floor": 1, "Size": 1, "SIZE": 2, "word": "a", "Word": "b"}]
    assert refusal(body(*rows), FORMED) == (
        "Row 0 has the field 'size' twice, also as 'SIZE'. Row 1 has the field 'word' twice, also as 'Word'."
    )


def test_values_that_are_no_scalars():
    """DM-18, SC-07: A list, a text and an array come as cells, null where it may be; a misfit is told with its row."""
    given = [
        {"name": "tags", "type": "list", "of": "string", "nullable": True, "longest": 2},
        {"name": "map", "type": "array", "of": "int", "shape": [1, 2], "nullable": True},
        {"name": "note", "type": "text"},
    ]
    signature = read_signature({"inputs": given, "files": {"nulls": ["n/a"]}})
    assert [(one.of, one.longest, one.shape, one.mode) for one in signature.inputs] == [
        ("string", 2, (), ""),
        ("int", None, (1, 2), ""),
        ("", None, (), ""),
    ]
    columns = read_request(body({"tags": ["a", "b"], "map": [[1, 2]], "note": "n/a"}, {"note": "x"}), signature).columns
    assert [columns["tags"][0].tolist(), columns["tags"][1], columns["tags"].shape] == [["a", "b"], None, (2,)]
    assert [columns["map"][0].tolist(), columns["map"][1]] == [[1, 2], None]
    assert columns["note"].tolist() == ["n/a", "x"]
    rows = [{"note": "x"}, {"note": None, "tags": ["a", "b", "c"], "map": 1}]
    assert refusal(body(*rows), signature) == (
        "Row 1: tags has 3 elements, and it must be a list of at most 2 words. Row 1: map must be 1 x 2 whole numbers, not 1. "
        "Row 1: note must not be null."
    )


def test_wrong_rows_wrong_values_and_wrong_meta_are_told_together():
    """SC-07: The first of each, a value with the row that the caller sent it in, also behind fields that every row lacks."""
    given = read_signature({"inputs": [{"name": name, "type": "int"} for name in ("a", "b", "c")], "strict": True})
    rows = [7, {"b": 1, "c": 1, "x": 0}, 8, {"b": "u", "c": 2, "y": 0}, {"a": 1, "b": "v", "c": None}, {"b": 1}]
    assert refusal(body(*rows, meta=[]), given) == (
        "Row 0 is not an object of field names and values. Row 1 has the unknown field 'x': the fields are a, b, c. "
        "Row 1 lacks the field a. Row 5 lacks the field c. Row 3: b must be a whole number, not 'u'. Row 4: c must not be null. "
        "meta must be an object."
    )
    assert refusal(body({"b": 1, "c": "w"}), given) == "Row 0 lacks the field a. Row 0: c must be a whole number, not 'w'."
    at = read_signature({"inputs": [{"name": "at", "type": "timestamp"}], "files": {"times": ["epoch seconds"]}})
    assert refusal(body({}), at) == "Row 0 lacks the field at."


def test_a_field_that_is_an_input_itself_hides_no_nested_one():
    """SE-12: It is judged as that input, though another input lies in it; one whose name is a step of a path alone is not."""
    where, floor = {"name": "where", "type": "string", "nullable": True}, {"name": "floor", "type": "int"}
    signature = read_signature({"inputs": [where, floor], "files": {"fields": {"floor": "where.floor"}}})
    assert refusal(body({"where": {"floor": 3}}), signature) == "Row 0: where must be a string, not an object."
    signature = read_signature({"inputs": [floor], "files": {"fields": {"floor": "where.floor"}}})
    request = read_request(body({"where": {"floor": 3}}), signature)
    assert (request.rows, request.ignored) == ([{"floor": 3}], ())


def test_a_time_that_the_calendar_of_the_zone_does_not_hold_is_told_with_its_row():
    """SC-07, DM-18: Of the zone that is the version's: there the year 9999 ends earlier than elsewhere."""
    signature = read_signature({"inputs": [{"name": "at", "type": "timestamp"}], "time_zone": "Asia/Tokyo"})
    said = refusal(body({"at": "2013-01-01T00:00:00Z"}, {"at": "9999-12-31T23:59:00Z"}), signature)
    assert said == "Row 1: at must be a time like 2013-02-01T06:00:00, not '9999-12-31T23:59:00Z'."


def test_bounds_are_themselves_allowed():
    """SC-07: the least and the most are taken, what is just beyond is refused, and null has no size."""
    columns = numbers({"n": -3, "x": 0.5}, {"n": 5, "x": 1.5}, {"n": None, "x": None})
    assert columns["n"].tolist()[:2] == [-3, 5]
    assert columns["x"].tolist()[:2] == [0.5, 1.5]
    assert np.isnan([columns["n"][2], columns["x"][2], columns["any"][0]]).all()
    for row, sentence in (
        ({"n": -4}, "Row 2: n is -4: it is below -3, the least it can be."),
        ({"n": 6}, "Row 2: n is 6: it is above 5, the most it can be."),
        ({"x": 0.25}, "Row 2: x is 0.25: it is below 0.5, the least it can be."),
        ({"x": 2}, "Row 2: x is 2: it is above 1.5, the most it can be."),
        ({"n": 2.5}, "Row 2: n must be a whole number, not 2.5."),
        ({"n": "2"}, "Row 2: n must be a whole number, not '2'."),
        ({"x": False}, "Row 2: x must be a number, not false."),
    ):
        assert refusal(body({}, {"n": None}, row, row), NUMBERS) == sentence


def test_a_number_that_is_not_finite_names_its_row():
    """SC-07: a whole number of four hundred digits is read, and float64 cannot hold it."""
    given = read_signature({"inputs": [{"name": "x", "type": "float"}]})
    assert refusal(b'{"data": {"rows": [{"x": 1}, {"x": "NaN"}]}}', given) == "Row 1: x must be a number, not 'NaN'."
    assert refusal(json.dumps({"data": {"rows": [{"x": 1}, {"x": None}]}}), given) == "Row 1: x must not be null."


@pytest.mark.parametrize("whole", [2**53 - 1, -(2**53) + 1, 2**53, -(2**53), 2**53 + 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_are_handed_on_exactly(whole):
    """SC-07: up to 64 bits, as float64 where that is exact, beside nulls too."""
    (alone,), (first, second) = numbers({"any": whole})["any"].tolist(), numbers({"any": whole}, {})["any"].tolist()
    assert alone == first == whole
    assert second is None or math.isnan(second)


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (2**63, "9223372036854775808: whole numbers have at most 64 bits, -2^63 to 2^63 - 1."),
        (
            -(2**63) - 1,
            "-9.223372036854776e+18: from 2^53 on a number with a point or an exponent is not exact. Write all its digits.",
        ),
    ],
)
def test_the_first_whole_number_of_more_than_64_bits_is_refused(whole, said):
    """SC-07: with its row, whatever stands before it."""
    assert refusal(body({"any": None}, {"any": 2**60}, {"any": whole}), NUMBERS) == f"Row 2: any is {said}"


def test_a_whole_number_may_have_a_point_while_it_is_exact():
    """SC-07: many callers write 2008.0; from 2^53 on it might be another number."""
    columns = numbers({"any": 2008.0}, {"any": -0.0}, {"any": 9007199254740991.0}, {"any": -9007199254740991.0})
    assert columns["any"].tolist() == [2008, 0, 9007199254740991, -9007199254740991]
    for number in (9007199254740992.0, -9007199254740992.0):
        assert refusal(body({"any": 1}, {"any": number}), NUMBERS) == (
            f"Row 1: any is {number!r}: from 2^53 on a number with a point or an exponent is not exact. Write all its digits."
        )


def test_values_of_a_list():
    """SC-07: null is none of them and may be sent where the field is nullable; another is refused with the whole list, in order."""
    given = read_signature({"inputs": [{"name": "k", "type": "int", "nullable": True, "values": [8, 3, 1]}]})
    assert read_request(body({"k": 8}, {"k": None}, {"k": 1.0}), given).columns["k"].tolist()[::2] == [8, 1]
    assert refusal(body({"k": 8}, {"k": None}, {"k": 4}), given) == "Row 2: k is 4: it must be one of 1, 3, 8."


def test_texts_times_and_truth_values_of_many_rows():
    """SC-07: each as it came, null where it may be; the row of a wrong one is named."""
    given = read_signature({"inputs": [{"name": name, "type": name, "nullable": True} for name in ("string", "bool", "timestamp")]})
    rows = [{"string": "a", "bool": False, "timestamp": "2013-02-01T06:00:00"}, {"string": None, "bool": None, "timestamp": None}]
    columns = read_request(body(*rows), given).columns
    assert list(columns) == ["string", "bool", "timestamp"]
    assert columns["string"].tolist() == ["a", None]
    assert columns["bool"].tolist() == [False, None]
    assert columns["timestamp"][0] == np.datetime64("2013-02-01T06:00:00")
    assert np.isnat(columns["timestamp"][1])
    assert refusal(body(*rows, {"timestamp": "noon"}), given) == "Row 2: timestamp must be a time like 2013-02-01T06:00:00, not 'noon'."
    assert refusal(body(*rows, {"string": []}), given) == "Row 2: string must be a string, not a list."
    assert refusal(body(*rows, {"bool": {}}), given) == "Row 2: bool must be true or false, not an object."
    assert refusal(body(*rows, {"bool": 0}), given) == "Row 2: bool must be true or false, not 0."
    assert refusal(body(ROW, {**ROW, "carrier": None}), SIGNATURE) == "Row 1: carrier must not be null."
    assert refusal(body(ROW, {k: v for k, v in ROW.items() if k != "origin"}), SIGNATURE) == "Row 1 lacks the field origin."
    assert refusal(body(ROW, 5), SIGNATURE) == "Row 1 is not an object of field names and values."
    assert refusal(body(ROW, {**ROW, "b": 1, "a": 1}), STRICT).startswith("Row 1 has the unknown field 'a': the fields are carrier, ")


def test_how_many_rows_a_request_may_have():
    """SC-07: as many as are allowed, ten thousand where nobody says; one more is refused, before what is behind it is looked at."""
    given = read_signature({"inputs": [{"name": "n", "type": "int"}]})
    row = {"n": 1}
    assert len(read_request(body(*[row] * 10), given, 10).rows) == 10
    assert refusal(body(*[row] * 11), given, max_rows=10) == "The request has more than 10 rows: send them in several requests."
    assert len(read_request(body(*[row] * 10_000), given).rows) == 10_000
    assert refusal(body(*[row] * 10_001), given).startswith("The request has more than 10000 rows")
    ndarray = [[1]] * 11
    assert refusal(json.dumps({"data": {"names": ["n"], "ndarray": ndarray}}), given, max_rows=10).startswith(
        "The request has more than 10"
    )
    assert refusal(json.dumps({"data": {"names": ["n"], "ndarray": [*ndarray, []]}}), given, max_rows=10).startswith("The request has more")
    wrong = refusal(json.dumps({"data": {"names": ["n"], "ndarray": [[1], [1], [1, 2]]}}), given, max_rows=10)
    assert wrong == "Row 2 of data.ndarray must be a list of 1 values, one for each of data.names."
    assert refusal(json.dumps({"data": {"names": ["n"], "ndarray": [[1], 1]}}), given).startswith("Row 1 of data.ndarray must be a list")
    assert refusal(json.dumps({"data": {"names": ["n", 1], "ndarray": [[1, 2]]}}), given).startswith("data.names must list the field names")
    assert refusal(json.dumps({"data": {"names": ["n", "m", "m"], "ndarray": []}}), given) == "data.names names 'm' twice."
    assert refusal(json.dumps({"data": {"names": ["n"], "ndarray": []}}), given) == "The request has no rows: send at least one."


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "The request has no body: send JSON with the header Content-Type: application/json."),
        ("[]", 'The body must be a JSON object like {"data": {"rows": [{...}]}}.'),
        ('{"data": 1}', 'The request has no data: send {"data": {"rows": [{...}]}}.'),
        ('{"data": {"rows": {}, "ndarray": [[1]]}}', "data.rows must be a list of rows."),
        ('{"data": {"names": ["a"], "ndarray": 1}}', "data.ndarray must be a list of rows."),
        ('{"data": {"names": ["a"]}}', "data has neither rows nor ndarray: one of them must hold the rows."),
    ],
)
def test_a_body_is_refused_in_these_words(given, sentence):
    """SC-07: with an example of what to send."""
    assert refusal(given, SIGNATURE) == sentence
    assert refusal("{", SIGNATURE).endswith("NaN and infinity are not JSON either.")


@pytest.mark.parametrize(
    ("puid", "taken"),
    [
        ("a", True),
        ("Z9._:-", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("-a", False),
        (".a", False),
        ("a\n", False),
        (7, False),
    ],
)
def test_what_an_id_may_be(puid, taken):
    """SC-07: 1 to 128 letters, digits and some signs, of which none comes first."""
    given = body(ROW, meta={"puid": puid})
    if taken:
        assert read_request(given, SIGNATURE).id == puid
    else:
        assert refusal(given, SIGNATURE).endswith(
            ": an id has 1 to 128 letters, digits and the signs . _ : - and begins with a letter or digit."
        )


def test_what_meta_may_leave_out():
    """SC-07: each part of it; a part of another kind is refused."""
    for meta in ({}, {"puid": None}, {"tags": None}, {"tags": {}}, {"tags": {"event_time": None}}):
        taken = read_request(body(ROW, meta=meta), SIGNATURE)
        assert (taken.id, taken.event_time, taken.ignored) == (None, None, ())
    assert read_request(body(ROW), SIGNATURE).id is None
    assert refusal(body(ROW, meta=1), SIGNATURE) == "meta must be an object."
    assert refusal(body(ROW, meta={"tags": []}), SIGNATURE) == "meta.tags must be an object."
    noon = body(ROW, meta={"tags": {"event_time": "noon"}})
    assert refusal(noon, SIGNATURE) == "meta.tags.event_time must be a time like 2013-02-01T06:00:00, not 'noon'."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        ({}, "an object"),
        ([], "a list"),
        ("a" * 58, "'" + "a" * 58 + "'"),
        ("a" * 59, "'" + "a" * 56 + "..."),
        ("a" * 61, "'" + "a" * 56 + "..."),
        (10**60, "1" + "0" * 56 + "..."),
    ],
)
def test_a_value_is_shown_in_sixty_letters(value, shown):
    """SC-07: in JSON's words; of what is longer the beginning, and a nested one by its kind alone."""
    with pytest.raises(BadRequest) as refused:
        read_outcome(value, 1, ())
    assert str(refused.value).startswith(f"response.meta.puid is {shown}: it must be the id of a prediction row")


@pytest.mark.parametrize(
    ("puid", "taken"),
    [
        ("p-0", True),
        ("a-b-999999", True),
        ("a" * 128 + "-0", True),
        ("a" * 129 + "-0", False),
        ("p-1000000", False),
        ("p-", False),
        ("p", False),
        ("-0", False),
        ("p-x", False),
        ("p-0\n", False),
        (7, False),
    ],
)
def test_what_the_id_of_a_prediction_row_may_be(puid, taken):
    """MN-03: a request's id, a hyphen and one to six digits."""
    if taken:
        assert read_outcome(puid, 1.5, ()) == (puid, 1.5)
    else:
        with pytest.raises(BadRequest, match=r"must be the id of a prediction row, which is the id of the answer, a hyphen and the row's"):
            read_outcome(puid, 1.5, ())


@pytest.mark.parametrize(
    ("truth", "classes", "sentence"),
    [
        (None, (), 'The feedback has no outcome: it must be a finite number, like {"truth":{"data":{"ndarray":[[1.5]]}}}.'),
        ("x", (), "The outcome is 'x': it must be a finite number, like "),
        (
            [["later"]],
            ("on_time", "late"),
            "The outcome is 'later': it must be one of on_time, late or their numbers 0 to 1, like "
            '{"truth":{"data":{"ndarray":[["late"]]}}}.',
        ),
        ([1, 2], (), "The outcome is a list: "),
        (((1, 2),), (), "The outcome is (1, 2): "),
    ],
)
def test_an_outcome_is_refused_in_these_words(truth, classes, sentence):
    """MN-03: what it is, what it must be, and an example of the model's own."""
    with pytest.raises(BadRequest) as refused:
        read_outcome("p-0", truth, classes)
    assert str(refused.value).startswith(sentence)


def test_an_outcome_in_lists_of_one():
    """MN-03: however deep, also in tuples; of two nothing is chosen."""
    assert read_outcome("p-0", [[([2.5],)]], ()) == ("p-0", 2.5)
    assert read_outcome("p-0", (1,), ("a", "b")) == ("p-0", 1.0)


@pytest.mark.parametrize(
    ("truth", "outcome"),
    [
        ({"strData": "2", "data": {"ndarray": [3], "tensor": {"values": [4]}}}, 2),
        ({"strData": "", "data": {"ndarray": [3], "tensor": {"values": [4]}}}, 3),
        ({"data": {"ndarray": [], "tensor": {"values": [4]}}}, 4),
        ({"strData": None, "data": {"ndarray": None, "tensor": {"values": [4]}}}, 4),
        ({"strData": 0, "data": {"ndarray": [3]}}, 0),
    ],
)
def test_the_first_form_that_holds_something_is_the_outcome(truth, outcome):
    """MN-03: a text, then a list, then a tensor; what is empty is passed over, and zero is not empty."""
    given = json.dumps({"response": {"meta": {"puid": "p-0"}}, "truth": truth})
    assert read_feedback(given, ()) == ("p-0", outcome)


@pytest.mark.parametrize(
    "truth", [None, 1, {}, {"data": 1}, {"data": {"tensor": 1}}, {"data": {"tensor": {"values": []}}}, {"strData": ""}]
)
def test_feedback_without_any_form_has_no_outcome(truth):
    """MN-03: whatever stands in its place."""
    with pytest.raises(BadRequest, match=r"^The feedback has no outcome: "):
        read_feedback(json.dumps({"response": {"meta": {"puid": "p-0"}}, "truth": truth}), ())


def test_feedback_that_is_no_object_is_shown_an_example():
    """MN-03: of the whole message."""
    with pytest.raises(BadRequest) as refused:
        read_feedback("[]", ())
    example = '{"response": {"meta": {"puid": "..."}}, "truth": {"data": {"ndarray": [[1]]}}}'
    assert str(refused.value) == f"The body must be a JSON object like {example}."


def test_every_row_of_the_largest_request_is_looked_at():
    """SC-07: Also the last row that a request may have: a row of another length is refused, not an error of the server."""
    names, row = list(ROW), list(ROW.values())
    last_is_short = json.dumps({"data": {"names": names, "ndarray": [row, row, row[:-1]]}})
    with pytest.raises(BadRequest, match=r"Row 2 of data\.ndarray must be a list of 6 values"):
        read_request(last_is_short, SIGNATURE, max_rows=3)
    assert len(read_request(json.dumps({"data": {"names": names, "ndarray": [row] * 3}}), SIGNATURE, max_rows=3).rows) == 3


@pytest.mark.parametrize(("number", "accepted"), [(-(2**63), True), (-(2**63) - 1, False), (2**63 - 1, True), (2**63, False)])
def test_whole_numbers_have_64_bits(number, accepted):
    """SC-07: The least and the greatest are taken, exactly; one beyond is refused with a sentence."""
    signature = read_signature({"inputs": [{"name": "count", "type": "int"}]})
    request = json.dumps({"data": {"rows": [{"count": number}]}})
    if accepted:
        assert int(read_request(request, signature).columns["count"][0]) == number
    else:
        with pytest.raises(BadRequest):
            read_request(request, signature)


def test_all_fields_that_do_not_fit_are_told_at_once():
    """DM-10: The first wrong value of each field, of ten fields at most: a caller need not try again for each."""
    given = read_signature({"inputs": [{"name": f"n{place}", "type": "int"} for place in range(12)]})
    rows = [{f"n{place}": 1 for place in range(12)}, {f"n{place}": "x" if place else None for place in range(12)}]
    assert refusal(body(*rows), given) == " ".join(
        ["Row 1: n0 must not be null.", *(f"Row 1: n{place} must be a whole number, not 'x'." for place in range(1, 10))]
    )
