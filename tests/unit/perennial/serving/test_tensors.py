"""Tensors of the Open Inference Protocol, and the rows that they mean."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from perennial import clock
from perennial.column_types import shown
from perennial.serving.open_inference import RELEASE, OpenInferenceForm, model_metadata, server_metadata, wanted_outputs
from perennial.serving.request import MAX_ROWS, BadRequest, Input, read_request, read_signature
from perennial.serving.tensors import (
    DATATYPES,
    INTEGERS,
    Tensor,
    columns_of,
    counted,
    from_json,
    in_range,
    named_shape,
    refuse_tensors,
    rounded,
    rows_of,
    without_values,
)

ROOT = Path(__file__).parents[4]
LIST = {"x": Input("x", "list", of="float")}
ARRAY = {"x": Input("x", "array", of="float", shape=(2, 3))}


def rows(tensors, inputs, **more):
    """The rows that tensors mean."""
    return rows_of(columns_of(tensors, inputs, **more))


def refusal(function, *arguments, **more):
    """The sentence with which something is refused."""
    with pytest.raises(BadRequest) as caught:
        function(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "sentence"),
    [
        ("", "FP64", [1], "Each of inputs needs a name."),
        (5, "FP64", [1], "Each of inputs needs a name."),
        ("x", "FLOAT", [1], f"Input x has the datatype 'FLOAT': known are {', '.join(DATATYPES)}."),
        *(
            ("x", "FP64", shape, f"Input x has the shape {what}: it must be a list like [2] or [2, 1], the number of rows first.")
            for shape, what in (
                ([], "a list"), ("1", "'1'"), ({"a": 1}, "an object"), (None, "null"), (1, "1"), ([-1], "[-1]"), ([True], "[True]"),
                ([1.0], "[1.0]"), ([1, -1], "[1, -1]"), ([1] * 9, "[1, 1, 1, 1, 1, 1, 1, 1, 1]"),
            )
        ),
    ],
)  # fmt: skip
def test_what_a_tensor_says_of_itself_is_checked(name, datatype, shape, sentence):
    """SC-07, SE-02: A name, a known datatype and a shape with the rows first, or a sentence."""
    assert refusal(named_shape, name, datatype, shape) == sentence


def test_a_long_shape_is_cut():
    """SC-07: A sentence stays a sentence."""
    told = refusal(named_shape, "x", "FP64", [10**30] * 5 + [-1])
    assert told == f"Input x has the shape {str([10**30] * 2)[:60]}: it must be a list like [2] or [2, 1], the number of rows first."


def test_whole_numbers_have_the_ranges_of_numpy():
    """SE-02: Of each datatype, from its least to its most."""
    assert set(INTEGERS) == {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
    for name, (least, most) in INTEGERS.items():
        assert (least, most) == (np.iinfo(name.lower()).min, np.iinfo(name.lower()).max)
    assert refusal(from_json, "x", "INT8", (1,), [128]) == "Input x has 128 as element 0, which is no INT8: it has -128 to 127."


def test_shapes_may_have_eight_axes_and_no_rows():
    """SE-02: What a shape may be is read as it is."""
    assert named_shape("x", "FP64", [0]) == ("x", "FP64", (0,))
    assert named_shape("x", "BOOL", [1] * 8) == ("x", "BOOL", (1,) * 8)
    assert named_shape("x", "BYTES", (2, 1)) == ("x", "BYTES", (2, 1))


def test_a_tensor_has_as_many_values_as_its_shape_says():
    """SC-07: Neither fewer nor more."""
    counted("x", (2, 3), 6)
    for values in (5, 7):
        assert refusal(counted, "x", (2, 3), values) == f"Input x has the shape [2, 3] and {values} values: it needs 6."


def test_data_may_be_flat_or_nested():
    """SE-02: The protocol allows both; rows come first."""
    for data in ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]):
        assert from_json("x", "INT64", (2, 3), data) == Tensor("x", "INT64", (2, 3), [1, 2, 3, 4, 5, 6])
    assert from_json("x", "INT64", (1, 2, 2), [[[1, 2], [3, 4]]]).values == [1, 2, 3, 4]
    assert from_json("x", "INT64", (1, 2, 2), [[1, 2], [3, 4]]).values == [1, 2, 3, 4]
    assert from_json("x", "INT64", (0,), []).values == []
    assert refusal(from_json, "x", "INT64", (1,), [[1]]) == "Input x has a list as element 0, which is no INT64."
    for data in (None, 5, "5", {"a": 1}):
        assert refusal(from_json, "x", "INT64", (1,), data) == "Input x has no data: it must be a list of its values."


@pytest.mark.parametrize(
    ("datatype", "values", "kept"),
    [
        ("BOOL", [True, None, False], [True, None, False]),
        ("BYTES", ["a", None], ["a", None]),
        ("INT8", [-128, 127, None], [-128, 127, None]),
        ("UINT8", [0, 255], [0, 255]),
        ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ("UINT64", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("FP64", [1, 0.1, None], [1.0, 0.1, None]),
        ("FP32", [0.1, 1e300], [0.10000000149011612, math.inf]),
        ("FP16", [0.1, None], [0.0999755859375, None]),
        ("FP64", [10**400, -(10**400), 1], [math.inf, -math.inf, 1.0]),
    ],
)
def test_values_are_what_their_datatype_holds(datatype, values, kept):
    """SE-02: Numbers of fewer bits are rounded, as the same tensor would be over gRPC; null is a missing value."""
    found = from_json("x", datatype, (len(values),), values).values
    assert found == kept
    assert [type(value) for value in found] == [type(value) for value in kept]


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("BOOL", 1), ("BOOL", "true"), ("BYTES", 5), ("INT64", 1.0), ("INT64", True), ("INT64", "5"), ("FP64", "5"), ("FP64", True)],
)
def test_a_value_of_another_datatype_is_named(datatype, value):
    """SC-07: By its place and what was wanted."""
    good = {"BOOL": True, "BYTES": "a"}.get(datatype, 1)
    assert (
        refusal(from_json, "x", datatype, (3,), [good, None, value]) == f"Input x has {shown(value)} as element 2, which is no {datatype}."
    )


def test_whole_numbers_stay_in_their_range():
    """SC-07: One below the least and one above the most are refused, of every datatype."""
    for datatype, least, most in (("INT8", -128, 127), ("UINT16", 0, 65_535), ("INT32", -(2**31), 2**31 - 1)):
        in_range("x", datatype, [least, None, most])
        for value in (least - 1, most + 1):
            sentence = f"Input x has {value} as element 1, which is no {datatype}: it has {least} to {most}."
            assert refusal(in_range, "x", datatype, [0, value]) == sentence


def test_a_crowd_of_tensors_is_refused_before_any_is_read():
    """DE-14, SE-02: 100,000 tensors of one element took a server longer than a request may take, which counted against the version."""
    refuse_tensors(1_005, 5)
    assert refusal(refuse_tensors, 1_006, 5) == (
        "The request has 1006 inputs and the model 5: send one for each, with as many rows as are asked for."
    )
    body = json.dumps({"inputs": [{"name": 5}] * 2_000})
    assert refusal(OpenInferenceForm().read, body, SIGNATURE, None).startswith("The request has 2000 inputs and the model ")


def test_nan_means_that_there_is_no_value():
    """DE-14, SE-02: As pandas writes a missing number."""
    assert rounded([math.nan, 1, None], "FP64") == [None, 1.0, None]
    assert rounded([0.5, math.nan, None, math.inf], "FP64") == [0.5, None, None, math.inf]


def test_rows_without_a_value_are_named_by_their_places():
    """SE-02: By a list, or with commas between, since parameters of the protocol hold no lists."""
    for nulls in ("0,2", [0, 2], ["0", "2"]):
        assert without_values("x", 3, nulls) == {0, 2}
    for none in (None, "", []):
        assert without_values("x", 3, none) == frozenset()
    assert without_values("x", 3, 0) == {0}, "a number alone, as a parameter of a call may be"
    for wrong in ("3", "-1", "a", "0,,1", "1_0", "9" * 5000, [None], [0.5], [[0]], [True], 5, True, False, {"0": 1}):
        assert refusal(without_values, "x", 3, wrong).startswith("Input x has the parameter nulls ")
    assert refusal(without_values, "x", 3, "7").endswith("'7': it must name rows by their places, like 0,17.")
    assert rows([from_json("x", "INT64", (2,), [1, 2], "1")], {}) == [{"x": 1}, {"x": None}]


def test_tensors_make_rows():
    """SE-02: One value of each tensor for each row."""
    tensors = [Tensor("a", "INT64", (2,), [1, 2]), Tensor("b", "BYTES", (2, 1), [b"u", "v"]), Tensor("c", "FP64", (2, 1, 1), [0.5, None])]
    assert rows(tensors, {}) == [{"a": 1, "b": "u", "c": 0.5}, {"a": 2, "b": "v", "c": None}]


def test_tensors_that_make_no_rows_are_refused():
    """SC-07: None, one twice, uneven ones, none or too many rows, several values for a row."""
    one = Tensor("a", "INT64", (1,), [1])
    assert refusal(rows, [], {}) == "The request has no inputs: send one for each input of the model."
    assert refusal(rows, [one, one], {}) == "The request has the input a twice."
    assert refusal(rows, [one, Tensor("b", "INT64", (2,), [1, 2])], {}) == "Input b has 2 rows where a has 1."
    assert refusal(rows, [Tensor("a", "INT64", (0,), [])], {}) == "The request has no rows: send at least one."
    many = Tensor("a", "INT64", (3,), [1, 2, 3])
    assert refusal(rows, [many], {}, max_rows=2) == "The request has more than 2 rows: send them in several requests."
    assert len(rows([many], {}, max_rows=3)) == 3
    assert len(rows([Tensor("a", "INT64", (MAX_ROWS,), [1] * MAX_ROWS)], {})) == MAX_ROWS
    wide = Tensor("a", "INT64", (1, 2), [1, 2])
    assert refusal(rows, [wide], {}) == "Input a has the shape [1, 2]: it must be [1] or [1, 1], one value for each row."
    empty = Tensor("a", "INT64", (1, 0), [])
    assert refusal(rows, [empty], {}) == "Input a has the shape [1, 0]: it must be [1] or [1, 1], one value for each row."


def test_lists_come_as_json_or_as_a_second_axis():
    """SE-02: Rows of lists may be of any length as JSON; of one length as numbers."""
    assert rows([Tensor("x", "BYTES", (3,), ["[1, 2.5]", b"[]", None])], LIST) == [{"x": [1, 2.5]}, {"x": []}, {"x": None}]
    assert rows([Tensor("x", "FP64", (2, 2), [1.0, 2.0, 3.0, 4.0])], LIST) == [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}]
    assert rows([Tensor("x", "BYTES", (1, 2), ["a", b"b"])], {"x": Input("x", "list", of="string")}) == [{"x": ["a", "b"]}]
    assert rows([Tensor("x", "BYTES", (2,), [b"", "[3]"], frozenset([0]))], LIST) == [{"x": None}, {"x": [3]}]
    assert refusal(rows, [Tensor("x", "BYTES", (2,), ["[3]", "[3"])], LIST) == "Row 1: x is '[3', which is no list in JSON."


def test_arrays_have_their_own_shape():
    """SE-02: The shape of the column behind the rows, or all its numbers in one axis; no other, which might mean other places."""
    values = [float(value) for value in range(12)]
    for shape in ((2, 2, 3), (2, 6)):
        assert rows([Tensor("x", "FP64", shape, values)], ARRAY) == [{"x": values[:6]}, {"x": values[6:]}]
    assert rows([Tensor("x", "BYTES", (1,), ["[[1, 2, 3], [4, 5, 6]]"])], ARRAY) == [{"x": [[1, 2, 3], [4, 5, 6]]}]
    for shape in ((2, 3, 2), (2, 2, 3, 1), (12,)):
        sentence = f"Input x has the shape {list(shape)}: it must be {[shape[0], 2, 3]}."
        assert refusal(rows, [Tensor("x", "FP64", shape, values)], ARRAY) == sentence


def test_bytes_are_texts_or_the_file_of_a_picture():
    """SE-02: A picture may come as base64 or as it is; any other bytes must be UTF-8."""
    image = {"x": Input("x", "image", shape=(2, 2), mode="L")}
    assert rows([Tensor("x", "BYTES", (3,), [b"\x89PNG", b"iVBO", "iVBO"])], image) == [
        {"x": base64.b64encode(b"\x89PNG").decode()}, {"x": "iVBO"}, {"x": "iVBO"},
    ]  # fmt: skip
    assert rows([Tensor("x", "BYTES", (1,), ["früh".encode()])], {}) == [{"x": "früh"}]
    assert refusal(rows, [Tensor("x", "BYTES", (2,), [b"a", b"\xff"])], {}) == ("Input x has bytes as element 1 that are no text in UTF-8.")
    assert rows([Tensor("x", "BYTES", (2,), [b"\xff", b"a"], frozenset([0]))], {}) == [{"x": None}, {"x": "a"}]


FIELDS = [{"name": "carrier", "type": "string", "nullable": True}, {"name": "distance", "type": "int", "min": 1}]
SIGNATURE = read_signature({"inputs": FIELDS})


def asked(**more):
    """A request of the protocol."""
    tensors = [
        {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", None]},
        {"name": "distance", "shape": [2, 1], "datatype": "FP64", "data": [[719.0], [1400]]},
    ]
    return json.dumps({"inputs": tensors, **more}).encode()


def test_the_rules_are_those_of_rows():
    """SE-01, SE-02: The same columns, rows, id and time as the same request in Seldon's form; the same sentences, by their own names."""
    rows = [{"carrier": "UA", "distance": 719.0}, {"carrier": None, "distance": 1400}]
    time = "2013-02-01T06:00:00"
    plain = read_request(json.dumps({"data": {"rows": rows}, "meta": {"puid": "mine", "tags": {"event_time": time}}}), SIGNATURE)
    found = OpenInferenceForm().read(asked(id="mine", parameters={"event_time": time}), SIGNATURE, None)
    assert {name: values.tolist() for name, values in found.columns.items()} == {n: v.tolist() for n, v in plain.columns.items()}
    assert (found.rows, found.id, found.event_time) == (plain.rows, plain.id, plain.event_time)
    assert OpenInferenceForm().read(asked(id=""), SIGNATURE, None).id is None
    form = OpenInferenceForm()
    assert refusal(form.read, asked(id="?"), SIGNATURE, None).startswith("id is '?': an id has 1 to 128")
    sentence = f"parameters.event_time must be a time like {clock.EXAMPLE}, not 'noon'."
    assert refusal(form.read, asked(parameters={"event_time": "noon"}), SIGNATURE, None) == sentence
    assert refusal(form.read, asked(parameters=[1]), SIGNATURE, None) == "parameters must be an object."
    assert refusal(form.read, asked(inputs=None), SIGNATURE, None).startswith("The request has no inputs: send {")
    assert refusal(form.read, asked(inputs=[5]), SIGNATURE, None).startswith("The request has no inputs: send {")
    assert refusal(form.read, asked(outputs=[5]), SIGNATURE, None) == 'outputs must be a list like [{"name": "scores"}].'
    assert refusal(form.read, asked(outputs={"a": 1}), SIGNATURE, None) == 'outputs must be a list like [{"name": "scores"}].'


def test_an_answer_has_the_outputs_that_were_asked_for():
    """SE-02: Both, or those that are named, once each and in their order."""
    assert wanted_outputs([]) == ("scores", "names")
    assert wanted_outputs(["names"]) == ("names",)
    assert wanted_outputs(["names", "scores", "names"]) == ("names", "scores")
    assert refusal(wanted_outputs, ["scores", "other"]) == "There is no output 'other': the outputs are scores and names."


def test_metadata_say_how_inputs_are_best_sent():
    """SE-02: Numbers as numbers, all else as bytes, an array in its shape."""
    fields = [
        *FIELDS,
        {"name": "temp", "type": "float"},
        {"name": "flag", "type": "bool"},
        {"name": "heat", "type": "array", "of": "int", "shape": [2, 3]},
        {"name": "tags", "type": "list", "of": "string"},
        {"name": "when", "type": "timestamp"},
    ]
    told = model_metadata("churn", 7, read_signature({"inputs": fields}), 3)
    assert [(one["name"], one["datatype"], one["shape"]) for one in told["inputs"]] == [
        ("carrier", "BYTES", [-1]), ("distance", "INT64", [-1]), ("temp", "FP64", [-1]), ("flag", "BOOL", [-1]),
        ("heat", "INT64", [-1, 2, 3]), ("tags", "BYTES", [-1]), ("when", "BYTES", [-1]),
    ]  # fmt: skip
    assert [(one["name"], one["datatype"], one["shape"]) for one in told["outputs"]] == [
        ("scores", "FP64", [-1, 3]),
        ("names", "BYTES", [3]),
    ]
    assert (told["name"], told["versions"], told["platform"]) == ("churn", ["7"], "perennial")


def test_the_server_names_this_release():
    """SE-02: The release that pyproject.toml has."""
    assert f'version = "{RELEASE}"' in (ROOT / "pyproject.toml").read_text()
    assert server_metadata() == {"name": "perennial", "version": RELEASE, "extensions": []}


def test_the_messages_are_those_of_the_proto_file():
    """SE-02: What was generated has the fields and numbers that open_inference.proto says."""
    from perennial.serving import open_inference_pb2

    text = (ROOT / "include/perennial/serving/open_inference.proto").read_text()
    written = {(name, int(number)) for name, number in re.findall(r"(\w+) = (\d+);", text)}
    made = {
        (field.name, field.number)
        for message in open_inference_pb2.DESCRIPTOR.message_types_by_name.values()
        for one in (message, *(nested for nested in message.nested_types if not nested.GetOptions().map_entry))
        for field in one.fields
    }
    assert made == written
    assert {method.name for method in open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods} == set(
        re.findall(r"rpc (\w+)\(", text)
    )


def test_scores_keep_every_bit_in_json():
    """SE-01: What is written reads back as the same number."""
    from perennial.serving.wire_form import Scored

    scores = np.random.default_rng(1).random((50, 3))
    told = json.loads(OpenInferenceForm().write(Scored("m", 1, ["a", "b", "c"], "i", scores, ("odd",))))
    assert np.array(told["outputs"][0]["data"]).reshape(told["outputs"][0]["shape"]).tolist() == scores.tolist()
    assert told["parameters"] == {"ignored": "odd"}
