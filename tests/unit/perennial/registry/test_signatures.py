"""What of a signature may change by itself, what needs a person, and what is another model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.registry.signatures import Changes, compare
from perennial.serving.request import BadRequest, Input, Signature, read_request

SEAT = {"name": "seat", "type": "int", "nullable": False}
LIST = {"name": "seats", "type": "list", "of": "int", "nullable": False}
MAP = {"name": "map", "type": "array", "of": "float", "shape": (2, 2)}
PICTURE = {"name": "picture", "type": "image", "shape": (4, 4), "mode": "L"}


def signature(*inputs, **changes):
    return {"task": "binary", "label": "late", "classes": ["no", "yes"], "inputs": list(inputs), **changes}


@pytest.mark.parametrize(
    ("before", "now", "breaking", "compatible"),
    [
        ((SEAT,), (SEAT,), "", ""),
        ((SEAT,), (SEAT, {"name": "gust", "type": "float", "nullable": True}), "", "`gust` is new, and null"),
        ((SEAT,), (SEAT, {"name": "gust", "type": "float", "nullable": False}), "must send `gust` (float)", ""),
        ((SEAT, {"name": "gust", "type": "float"}), (SEAT,), "", "`gust` is no longer read"),
        ((SEAT,), ({**SEAT, "type": "string"},), "`seat` must be sent as string, no longer as int", ""),
        ((SEAT,), ({**SEAT, "type": "float"},), "", "`seat` may be any number"),
        (({**SEAT, "nullable": True},), (SEAT,), "`seat` must not be null any more", ""),
        ((SEAT,), ({**SEAT, "nullable": True},), "", "`seat` may be null"),
        (({**SEAT, "min": 0},), ({**SEAT, "min": 1},), "`seat` must be at least 1", ""),
        (({**SEAT, "min": 1},), ({**SEAT, "min": 0},), "", "`seat` may be below 1"),
        ((SEAT,), ({**SEAT, "max": 9},), "`seat` must be at most 9", ""),
        (({**SEAT, "max": 9},), (SEAT,), "", "`seat` may be above 9"),
        (({**SEAT, "values": [1, 2]},), ({**SEAT, "values": [1]},), "`seat` must be one of `1`", ""),
        (({**SEAT, "values": [1]},), ({**SEAT, "values": [1, 2]},), "", "`seat` may have values besides `1`"),
        ((LIST,), ({**LIST, "of": "float"},), "", "`seats` may hold any numbers"),
        ((LIST,), ({**LIST, "of": "string"},), "`seats` must hold string, no longer int", ""),
        ((LIST,), ({**LIST, "longest": 9},), "`seats` may be at most 9 long", ""),
        (({**LIST, "longest": 9},), ({**LIST, "longest": 12},), "", "`seats` may be longer"),
        (({**LIST, "longest": 9},), (LIST,), "", "`seats` may be longer"),
        (({**LIST, "longest": 20_000},), (LIST,), "`seats` may be at most 10000 long", ""),
        ((LIST,), ({**LIST, "longest": 20_000},), "", "`seats` may be longer"),
        ((LIST,), ({**LIST, "longest": 10_000},), "", ""),
        ((MAP,), (MAP,), "", ""),
        ((MAP,), ({**MAP, "shape": (3, 2)},), "`map` must have 3 x 2 numbers, no longer 2 x 2", ""),
        ((PICTURE,), ({**PICTURE, "shape": (8, 8), "mode": "RGB"},), "", ""),
    ],
)
def test_what_breaks_callers_and_what_does_not(before, now, breaking, compatible):
    """SE-12: Each change is told once, as one of both, by the name of its input."""
    found = compare(signature(*before), signature(*now))
    assert found.meaning == ()
    assert (len(found.breaking), len(found.compatible)) == (bool(breaking), bool(compatible))
    assert breaking in "".join(found.breaking)
    assert compatible in "".join(found.compatible)
    assert Changes.read(found.as_json()) == found


def test_each_change_of_one_input_is_told():
    """SE-12: A list that may hold any numbers, yet fewer of them, breaks those who send many."""
    changes = compare(signature(LIST), signature({**LIST, "of": "float", "longest": 9}))
    assert changes.breaking == ("`seats` may be at most 9 long",)
    assert changes.compatible == ("`seats` may hold any numbers",)


CITY = {"name": "city", "type": "string", "nullable": True}


@pytest.mark.parametrize(
    ("before", "now", "breaking", "compatible"),
    [
        ({}, {"decimal": ","}, [], []),
        ({"decimal": ","}, {"thousands": "."}, ["decimal mark `.` and the thousands mark `.`"], []),
        ({"true": ["ja"]}, {}, ["no text is read", "`ja` is no longer true"], []),
        ({"nulls": ["-"]}, {"nulls": ["-", "n/a"]}, ["`city` must be null, not `n/a`"], ["`n/a` may be sent for a missing value"]),
        ({"times": ["%d.%m.%Y"], "false": ["nein"]}, {"false": ["nein"]}, ["`%d.%m.%Y` is no longer a form of times"], []),
        ({"fields": {"seat": "Platz"}, "header": "any case"}, {"fields": {"seat": "Sitz"}},
         ["`seat` must be sent under that name or as files have it now", "in the case of their names"], []),
    ],
)  # fmt: skip
def test_forms_of_texts_are_compared(before, now, breaking, compatible):
    """SE-12: What a caller may send as files have it: what is no longer read breaks callers, what is read too does not."""
    changes = compare(signature(SEAT, CITY, files=before), signature(SEAT, CITY, files=now))
    for said, wanted in ((changes.breaking, breaking), (changes.compatible, compatible)):
        assert len(said) == len(wanted)
        assert all(part in whole for part, whole in zip(wanted, said, strict=True))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ["yes", "no"]}, "its classes were `no`, `yes` and are `yes`, `no`"),
        ({"classes": ["no", "yes", "maybe"], "task": "multiclass"}, "its task was `binary` and is `multiclass`"),
        ({"label": "cancelled"}, "its label was `late` and is `cancelled`"),
    ],
)
def test_what_an_answer_means_is_compared(changes, said):
    """MO-13: Also the order of the classes: outcomes are their numbers."""
    assert said in compare(signature(SEAT), signature(SEAT, **changes)).meaning
    assert compare(signature(SEAT, label=None), signature(SEAT)).meaning == ()


def test_a_strict_version_breaks_callers_who_send_more():
    """SE-12: Where unknown fields are refused, an input that is dropped has to be taken out of the requests; where they begin to be, all
    others too."""
    gust = {"name": "gust", "type": "float", "nullable": True}
    both, one = signature(SEAT, gust, strict=True), signature(SEAT, strict=True)
    assert compare(both, one).breaking == ("no request may send `gust` any more",)
    assert compare(signature(SEAT), one).breaking == ("no request may send a field that is no input: `seat`",)
    assert compare(one, signature(SEAT)).compatible == ("fields that are no input are ignored",)


def test_another_time_zone_is_told():
    """SE-12: Times with an offset mean another wall time then; where no input is a time nothing changes."""
    when = {"name": "when", "type": "timestamp", "nullable": False}
    said = "times that carry an offset are converted to America/New_York, no longer to UTC; others stay as they stand"
    assert compare(signature(when), signature(when, time_zone="America/New_York")).compatible == (said,)
    assert compare(signature(when), signature(when, time_zone="UTC")) == Changes()
    assert compare(signature(SEAT), signature(SEAT, time_zone="America/New_York")) == Changes()


FIELDS = st.builds(
    lambda type, nullable, low, high: {"name": "x", "type": type, "nullable": nullable, "min": low, "max": high},
    st.sampled_from(["int", "float", "bool"]),
    st.booleans(),
    st.none() | st.integers(0, 2),
    st.none() | st.integers(2, 4),
)
LISTS = st.builds(
    lambda of, longest: {"name": "x", "type": "list", "of": of, "longest": longest},
    st.sampled_from(["int", "float", "string"]),
    st.none() | st.integers(1, 3),
)
ARRAYS = st.builds(
    lambda of, shape: {"name": "x", "type": "array", "of": of, "shape": shape},
    st.sampled_from(["int", "float"]),
    st.sampled_from([(2,), (3,), (1, 2), (2, 1)]),
)
PAIRS = st.one_of(*(st.tuples(fields, fields) for fields in (FIELDS, LISTS, ARRAYS)))
VALUES = ["null", "true", "0", "1", "2", "3", "2.5", "9", "[]", "[1]", "[1, 2]", "[1, 2.5]", "[0, 1, 2]", '["a"]', "[[1, 2]]", "[[1], [2]]"]


@given(PAIRS, st.sampled_from(VALUES))
def test_what_is_called_compatible_refuses_nobody(pair, value):
    """SE-12: A value that the old version reads is read by the new one, or the change was called breaking: held against what servers do."""
    before, now = pair
    if compare(signature(before), signature(now)).breaking:
        return
    body = f'{{"data": {{"rows": [{{"x": {value}}}]}}}}'
    try:
        read_request(body, Signature((Input(**before),)))
    except BadRequest:
        return
    read_request(body, Signature((Input(**now),)))
