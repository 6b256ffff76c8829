"""The Open Inference Protocol by REST and gRPC, behind a real gateway and at a server's own port: it answers as Seldon's form does."""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perennial import testing
from perennial.lineage import version_folder
from perennial.pictures import as_png
from perennial.serving import open_inference_pb2 as messages
from perennial.serving.backends.local import LocalBackend, server_socket
from perennial.serving.request import read_signature
from perennial.serving.scorer import Scorer
from perennial.sockets import UnixConnection, get, post

from .conftest import VENVS, Platform

CLIENT = Path(__file__).with_name("call_grpc.py")
KINDS: list[dict[str, Any]] = [
    {"name": "weekend", "type": "bool", "nullable": True},
    {"name": "history", "type": "list", "of": "float", "nullable": True},
    {"name": "words", "type": "list", "of": "string", "nullable": False},
    {"name": "heat", "type": "array", "of": "float", "shape": [2, 3], "nullable": True},
    {"name": "photo", "type": "image", "shape": [4, 4], "mode": "L", "nullable": True},
    {"name": "remark", "type": "text", "nullable": True},
    {"name": "flights", "type": "int", "nullable": True},
]
FEATURES = '''"""Columns in, tensors out: what has no encoder of its own moves the first number."""

import numpy as np


def _weight(value):
    if value is None:
        return 0.125
    if isinstance(value, bytes):
        return sum(value) % 97 / 97
    array = np.asarray(value)
    if array.dtype.kind in "OU":
        return sum(map(len, array.ravel().tolist())) / 50
    return float(np.nansum(array.astype(float))) / 100


def encode(encoder, columns):
    """The tensors of every row."""
    tensors = encoder.encode({name: values for name, values in columns.items() if name in ("carrier", "origin", "distance", "temp")})
    others = [name for name in columns if name not in ("carrier", "origin", "distance", "temp", "scheduled_departure")]
    hours = columns["scheduled_departure"].astype("datetime64[h]").astype(int) % 24 / 24
    moved = [sum(_weight(columns[name][row]) for name in others) + hours[row] for row in range(len(hours))]
    tensors["numbers"] = tensors["numbers"] + np.array(moved, dtype=np.float32)[:, None]
    return tensors
'''


def rows(count: int) -> list[dict[str, Any]]:
    """Rows with values of every type, some of them missing."""
    rng = np.random.default_rng(7)
    made = []
    for number, row in enumerate(testing.small_rows(count, seed=3)):
        picture = as_png(rng.integers(0, 255, size=(6, 5), dtype=np.uint8))
        more = {
            "weekend": [True, False, None][number % 3],
            "history": None if number % 4 == 0 else rng.normal(size=number % 3).tolist(),
            "words": ["late", "früh", ""][: number % 4],
            "heat": None if number % 5 == 0 else [[1.5, None, 3.0], [0.1, -2.25, float(number)]],
            "photo": None if number % 3 == 1 else base64.b64encode(picture).decode(),
            "remark": None if number % 2 else f"Über {number} \u2708",
            "flights": None if number % 4 == 3 else number * 10**12,
        }
        made.append({**row, **more})
    return made


def all_kinds(platform: Platform) -> str:
    """Publish a version that takes every type of column; its digest."""
    folder = testing.small_version(platform.scratch / "kinds", seed=5)
    signature = json.loads((folder / "signature.json").read_text())
    signature["inputs"] = [*signature["inputs"], *KINDS]
    (folder / "signature.json").write_text(json.dumps(signature))
    (folder / "features.py").write_text(FEATURES)
    scorer = Scorer(folder)
    from perennial.serving.request import read_request

    golden = rows(16)
    scores = scorer.score(read_request(json.dumps({"data": {"rows": golden}}), scorer.signature).columns)
    (folder / "golden.json").write_text(json.dumps({"rows": golden, "scores": scores.tolist(), "tolerance": 1e-4}))
    return version_folder.publish(platform.store, platform.model.name, folder, testing.small_manifest(run_key="5" * 24))


DATATYPES = {"int": "INT64", "float": "FP64", "bool": "BOOL"}


def as_tensors(given: list[dict[str, Any]], inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as tensors of the protocol, in JSON."""
    tensors = []
    for field in inputs:
        values = [row[field["name"]] for row in given]
        if field["type"] in ("list", "array"):
            values = [None if value is None else json.dumps(value) for value in values]
        tensors.append(
            {
                "name": field["name"],
                "shape": [len(values)] if field["type"] != "int" else [len(values), 1],
                "datatype": DATATYPES.get(field["type"], "BYTES"),
                "data": values,
            }
        )
    return tensors


def as_message(tensors: list[dict[str, Any]], *, raw: bool, **more: Any) -> messages.ModelInferRequest:
    """The same as a message, with contents in their own fields or raw."""
    request = messages.ModelInferRequest(**more)
    fields = {"INT64": "int64_contents", "FP64": "fp64_contents", "BOOL": "bool_contents", "BYTES": "bytes_contents"}
    blanks = {"INT64": 0, "FP64": math.nan, "BOOL": False, "BYTES": b""}
    kinds = {"INT64": "<i8", "FP64": "<f8", "BOOL": "?"}
    for tensor in tensors:
        kind = tensor["datatype"]
        given = request.inputs.add(name=tensor["name"], datatype=kind, shape=tensor["shape"])
        missing = [place for place, value in enumerate(tensor["data"]) if value is None]
        if missing and kind != "FP64":
            given.parameters["nulls"].string_param = ",".join(map(str, missing))
        values = [blanks[kind] if value is None else value.encode() if kind == "BYTES" else value for value in tensor["data"]]
        if tensor["name"] == "photo":
            values = [base64.b64decode(value) for value in values]
        if not raw:
            getattr(given.contents, fields[kind]).extend(values)
        elif kind == "BYTES":
            request.raw_input_contents.append(b"".join(len(value).to_bytes(4, "little") + value for value in values))
        else:
            request.raw_input_contents.append(np.array(values, dtype=kinds[kind]).tobytes())
    return request


@dataclass
class Calls:
    """A client of gRPC in a process of the serving environment."""

    process: subprocess.Popen[str]
    target: str

    def call(
        self, call: str, message: Any, target: str = "", cancelled: bool = False, compressed: bool = False, **metadata: str
    ) -> tuple[str, str, bytes]:
        """Code, details and body of a call."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        asked = {"target": target or self.target, "call": call, "body": base64.b64encode(body).decode(), "cancelled": cancelled}
        asked |= {"compressed": compressed}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        self.process.stdin.write(json.dumps({**asked, "metadata": named}) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        return told["code"], told["details"], base64.b64decode(told["body"])


@pytest.fixture(scope="module")
def served(new_platform: Callable[..., Platform]) -> Platform:
    """One version that takes every type of column."""
    platform = new_platform()
    platform.serve({1: 100}, {1: all_kinds(platform)})
    return platform


@pytest.fixture(scope="module")
def calls(served: Platform) -> Iterator[Calls]:
    """A client that asks the gateway."""
    process = subprocess.Popen(
        [str(VENVS / "serving" / "bin" / "python"), str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Calls(process, f"{served.settings.host}:{served.settings.gateway_port}")
    process.communicate(timeout=60)


def rest(platform: Platform, path: str, document: Any = None, method: str = "", **headers: str) -> tuple[int, Any, Any]:
    """Status, document and headers of a request by the gateway."""
    connection = http.client.HTTPConnection(platform.settings.host, platform.settings.gateway_port, timeout=60)
    body = document if isinstance(document, bytes) or document is None else json.dumps(document).encode()
    kind = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method or ("GET" if body is None else "POST"), path, body, {**kind, **headers})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text), answer.headers


INFER = "/v2/models/small_delays/infer"


def inputs_of(platform: Platform) -> list[dict[str, Any]]:
    """The fields of the version's signature."""
    return [*testing.INPUTS, *KINDS]


def test_all_protocols_give_the_scores_of_a_batch(served, calls):
    """SE-01, SE-02, SE-03: Of rows with every type of column, nulls included, v1, V2 by REST, gRPC with contents and raw, and the scorer of
    batches give the same numbers, bit for bit."""
    given = rows(24)
    wanted = served.answers(given)
    scorer = Scorer(served.scratch / "kinds")
    from perennial.serving.request import read_request

    assert scorer.score(read_request(json.dumps({"data": {"rows": given}}), scorer.signature).columns).tolist() == wanted
    tensors = as_tensors(given, inputs_of(served))
    status, answer, _ = rest(served, INFER, {"id": "all", "inputs": tensors})
    assert status == 200
    assert np.array(answer["outputs"][0]["data"]).reshape(answer["outputs"][0]["shape"]).tolist() == wanted
    assert answer["outputs"][1]["data"] == ["on_time", "late"]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("small_delays", "1", "all")
    for raw in (False, True):
        code, details, body = calls.call(
            "ModelInfer", as_message(tensors, raw=raw, model_name="small_delays", id="g"), seldon_model="small_delays"
        )
        assert (code, details) == ("OK", "")
        told = messages.ModelInferResponse.FromString(body)
        scores = np.frombuffer(told.raw_output_contents[0], "<f8") if raw else np.array(told.outputs[0].contents.fp64_contents)
        assert scores.reshape(list(told.outputs[0].shape)).tolist() == wanted
        assert (told.model_name, told.model_version, told.id) == ("small_delays", "1", "g")


def lines(platform: Platform, begin: str) -> list[dict[str, Any]]:
    """Lines of the prediction log whose ids begin so."""
    found = [
        json.loads(line)
        for stored in platform.store.list(f"predictions/{platform.model.name}")
        for line in platform.store.read(stored.key).splitlines()
    ]
    return [line for line in found if line["id"].startswith(begin)]


def test_all_protocols_record_the_same_line(served, calls):
    """SE-13, SE-02: The log has the same row, scores and event time, whichever way the request came."""
    given = rows(1)
    tensors = as_tensors(given, inputs_of(served))
    when = "2013-02-01T06:00:00"
    body = json.dumps({"data": {"rows": given}, "meta": {"puid": "log-a", "tags": {"event_time": when}}}).encode()
    path = served.settings.prediction_path("small_delays")
    assert rest(served, path, body)[0] == 200
    assert rest(served, INFER, {"id": "log-b", "parameters": {"event_time": when}, "inputs": tensors})[0] == 200
    message = as_message(tensors, raw=False, model_name="small_delays", id="log-c")
    message.parameters["event_time"].string_param = when
    assert calls.call("ModelInfer", message, seldon_model="small_delays")[0] == "OK"
    testing.wait_until(lambda: len(lines(served, "log-")) == 3, 60, "three lines")
    found = lines(served, "log-")
    kept = [{name: line[name] for name in ("row", "scores", "event_time", "model", "version")} for line in found]
    assert kept[0] == kept[1] == kept[2]
    assert kept[0]["event_time"] == "2013-02-01T11:00:00+00:00"


@pytest.mark.parametrize("base", ["/v2/models/small_delays", "/seldon/perennial/small-delays/v2/models/small_delays"])
def test_a_client_of_the_protocol_finds_the_model(served, base):
    """SE-02: Metadata and readiness of the model and its version, where standard clients ask and below the model's own path."""
    assert rest(served, f"{base}/ready")[:2] == (200, {"name": "small_delays", "ready": True})
    assert rest(served, f"{base}/versions/1/ready")[0] == 200
    status, found, headers = rest(served, base)
    assert (status, found["versions"], headers["x-perennial-version"]) == (200, ["1"], "1")
    by_name = {one["name"]: (one["datatype"], one["shape"]) for one in found["inputs"]}
    assert by_name["distance"] == ("INT64", [-1])
    assert by_name["heat"] == ("FP64", [-1, 2, 3])
    assert by_name["carrier"] == ("BYTES", [-1])
    assert [one["name"] for one in found["outputs"]] == ["scores", "names"]
    assert rest(served, f"{base}/versions/1")[1] == found
    tensors = as_tensors(rows(2), inputs_of(served))
    assert rest(served, f"{base}/versions/1/infer", {"inputs": tensors})[0] == 200
    assert rest(served, f"{base}/versions/7/infer", {"inputs": tensors})[0] == 404


def test_the_gateway_says_what_it_is(served):
    """SE-02: Paths of the protocol that name no model are answered by the gateway; below a model's path by its version."""
    assert rest(served, "/v2")[1]["name"] == "perennial"
    assert rest(served, "/v2/health/live")[:2] == (200, {"live": True})
    assert rest(served, "/v2/health/ready")[:2] == (200, {"ready": True})
    assert rest(served, "/seldon/perennial/small-delays/v2/health/ready")[:2] == (200, {"ready": True})
    assert "No model is served" in rest(served, "/v2/models/unknown/infer", {})[1]["error"]


def test_a_call_finds_the_model_by_its_metadata(served, calls):
    """SE-02: seldon-model names the model of a call, x-predictor a version; without it a sentence says so."""
    ready = calls.call("ServerReady", messages.ServerReadyRequest(), seldon_model="small_delays")
    assert (ready[0], messages.ServerReadyResponse.FromString(ready[2]).ready) == ("OK", True)
    assert calls.call("ServerLive", messages.ServerLiveRequest(), seldon_model="small_delays", x_predictor="1")[0] == "OK"
    told = calls.call("ServerMetadata", messages.ServerMetadataRequest(), seldon_model="small_delays")
    assert messages.ServerMetadataResponse.FromString(told[2]).name == "perennial"
    told = calls.call("ModelReady", messages.ModelReadyRequest(name="small_delays", version="1"), seldon_model="small_delays")
    assert messages.ModelReadyResponse.FromString(told[2]).ready
    told = calls.call("ModelMetadata", messages.ModelMetadataRequest(name="small_delays"), seldon_model="small_delays")
    assert messages.ModelMetadataResponse.FromString(told[2]).inputs[0].name == "carrier"
    for metadata in ({}, {"seldon_model": "unknown"}):
        code, details, _ = calls.call("ServerLive", messages.ServerLiveRequest(), **metadata)
        assert (code, "seldon-model" in details) == ("NOT_FOUND", True)
    code, details, _ = calls.call("ModelReady", messages.ModelReadyRequest(name="other"), seldon_model="small_delays")
    assert (code, details) == ("NOT_FOUND", "other is not served here: this is small_delays.")
    assert calls.call("ModelStreamInfer", b"", seldon_model="small_delays")[0] == "NOT_FOUND"


def test_wrong_addresses_are_no_evidence(served, calls):
    """SE-06, SE-02: A call that names another version in its message says nothing of the version that got it."""
    before = served.backend.observe(served.model)[1]
    message = as_message(as_tensors(rows(1), inputs_of(served)), raw=False, model_name="small_delays", model_version="9")
    code, details, _ = calls.call("ModelInfer", message, seldon_model="small_delays")
    assert (code, details[:51]) == ("NOT_FOUND", "Version 9 of small_delays does not answer here, ver")
    after = served.backend.observe(served.model)[1]
    assert (after.unreadable, after.errors) == (before.unreadable, before.errors)


def test_what_a_call_cannot_have_read_counts_as_that_of_rest(served, calls):
    """SE-06, SE-02: A call that does not fit counts for the version as unreadable, exactly as a request of REST does."""
    tensors = as_tensors(rows(1), inputs_of(served))
    tensors[3]["data"] = [-5]
    seen = [served.backend.observe(served.model)[1].unreadable]
    assert rest(served, INFER, {"inputs": tensors})[0] == 400
    testing.wait_until(lambda: served.backend.observe(served.model)[1].unreadable > seen[0], 60, "the count of REST")
    seen.append(served.backend.observe(served.model)[1].unreadable)
    code, details, _ = calls.call("ModelInfer", as_message(tensors, raw=True, model_name="small_delays"), seldon_model="small_delays")
    assert (code, details) == ("INVALID_ARGUMENT", "Row 0: distance is -5: it is below 1, the least it can be.")
    testing.wait_until(lambda: served.backend.observe(served.model)[1].unreadable > seen[1], 60, "the count of gRPC")
    seen.append(served.backend.observe(served.model)[1].unreadable)
    assert [seen[1] - seen[0], seen[2] - seen[1]] == [1, 1]


def hostile() -> list[tuple[str, bytes, str]]:
    """Messages that do not fit, and how the sentence about each begins."""
    good = as_tensors(rows(2), [*testing.INPUTS, *KINDS])

    def changed(place: int, raw: bool = False, **fields: Any) -> bytes:
        tensors = [dict(tensor) for tensor in good]
        tensors[place].update(fields)
        return as_message(tensors, raw=raw, model_name="small_delays").SerializeToString()

    message = as_message(good, raw=True, model_name="small_delays")
    short = messages.ModelInferRequest.FromString(message.SerializeToString())
    short.raw_input_contents.pop()
    torn = messages.ModelInferRequest.FromString(message.SerializeToString())
    torn.raw_input_contents[0] = b"\xff\xff\xff\x7fUA"
    odd = messages.ModelInferRequest.FromString(message.SerializeToString())
    odd.raw_input_contents[3] = b"12345"
    latin = messages.ModelInferRequest.FromString(message.SerializeToString())
    latin.raw_input_contents[0] = b"\x02\x00\x00\x00\xff\xfe" * 2
    unknown = messages.ModelInferRequest.FromString(message.SerializeToString())
    unknown.inputs[0].datatype = "BF16"
    deep = messages.ModelInferRequest.FromString(message.SerializeToString())
    del deep.inputs[0].shape[:]
    deep.inputs[0].shape.extend([1] * 9)
    negative = messages.ModelInferRequest.FromString(message.SerializeToString())
    negative.inputs[0].shape[0] = -1
    wide = messages.ModelInferRequest.FromString(message.SerializeToString())
    wide.inputs[0].shape[0] = 2**62
    output = messages.ModelInferRequest.FromString(message.SerializeToString())
    output.outputs.add(name="other")
    nulls = messages.ModelInferRequest.FromString(message.SerializeToString())
    nulls.inputs[4].parameters["nulls"].string_param = "7"
    big = messages.ModelInferRequest.FromString(message.SerializeToString())
    big.id = "x" * 200
    many = {"data": [500] * 10_001, "shape": [10_001]}
    return [
        ("garbage", b"\x07garbage\xff\xff", "The message is no ModelInferRequest"),
        ("empty", b"", "A model without a name is not served here"),
        ("no inputs", messages.ModelInferRequest(model_name="small_delays").SerializeToString(), "The request has no inputs"),
        ("few parts", short.SerializeToString(), "raw_input_contents has 11 parts for 12 inputs"),
        ("torn words", torn.SerializeToString(), "Input carrier has raw bytes that end within an element"),
        ("odd bytes", odd.SerializeToString(), "Input distance has 5 raw bytes"),
        ("no text", latin.SerializeToString(), "Input carrier has bytes as element 0 that are no text"),
        ("datatype", unknown.SerializeToString(), "Input carrier has the datatype 'BF16'"),
        ("deep", deep.SerializeToString(), "Input carrier has the shape"),
        ("negative", negative.SerializeToString(), "Input carrier has the shape"),
        ("wide", wide.SerializeToString(), "Input carrier has the shape"),
        ("output", output.SerializeToString(), "There is no output 'other'"),
        ("nulls", nulls.SerializeToString(), "Input temp has the parameter nulls '7'"),
        ("id", big.SerializeToString(), "id is"),
        ("wrong type", changed(0, datatype="FP64", data=[1.0, 2.0]), "Row 0: carrier must be a string, not 1.0"),
        ("uneven rows", changed(3, data=[500], shape=[1, 1]), "Input distance has 1 rows where carrier has 2"),
        ("10,001 rows", as_message([{**good[3], **many}], raw=True, model_name="small_delays").SerializeToString(), "The request has more"),
        ("infinite", changed(4, data=[math.inf, 1.0]), "Row 0: temp is inf: it must be finite"),
        ("wrong list", changed(6, data=["[1", "[]"]), "Row 0: history is '[1', which is no list in JSON"),
        ("wrong picture", changed(9, data=["/9j/AAAA", "/9j/AAAA"]), "Row 0: photo is no PNG or JPEG picture"),
    ]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "sentence"), hostile(), ids=[what for what, _, _ in hostile()])
def test_hostile_calls_get_a_sentence(served, calls, what, body, sentence):
    """SC-07, DE-14, SE-02: Whatever a call carries, it is refused with the sentence of what is wrong, never as an error of the server."""
    code, details, _ = calls.call("ModelInfer", body, seldon_model="small_delays")
    assert (code, details[: len(sentence)]) == ("NOT_FOUND" if what == "empty" else "INVALID_ARGUMENT", sentence)


def test_crowds_and_compressed_calls_get_a_sentence(served, calls):
    """SC-07, DE-14, SE-02: 100,000 tensors of one element are refused before they are read, and a compressed call says that it is one."""
    crowd = messages.ModelInferRequest(model_name="small_delays")
    for number in range(100_000):
        crowd.inputs.add(name=f"n{number}", datatype="INT64", shape=[1]).contents.int64_contents.append(number)
    code, details, _ = calls.call("ModelInfer", crowd, seldon_model="small_delays")
    assert (code, details[:46]) == ("INVALID_ARGUMENT", "The request has 100000 inputs and the model 12")
    code, details, _ = calls.call("ModelInfer", b"x" * 5_000, compressed=True, seldon_model="small_delays")
    assert (code, details) == ("INVALID_ARGUMENT", "The call is compressed (gzip): send it as it is.")


def test_huge_and_cancelled_calls_hurt_nobody(served, calls):
    """SE-15, SE-02: A message above the limit gets the sentence, one far above it that of the gateway; a cancelled call is over; the next
    call is answered."""
    large = messages.ModelInferRequest(model_name="small_delays", raw_input_contents=[b"x" * (17 << 20)])
    assert calls.call("ModelInfer", large, seldon_model="small_delays")[:2] == (
        "INVALID_ARGUMENT",
        "The request is larger than 16 MB: send its rows in several requests.",
    )
    huge = messages.ModelInferRequest(model_name="small_delays", raw_input_contents=[b"x" * (40 << 20)])
    code, details, _ = calls.call("ModelInfer", huge, seldon_model="small_delays")
    assert (code, "larger than the 16 MB" in details) == ("RESOURCE_EXHAUSTED", True)
    many = as_message(as_tensors(rows(10) * 1000, inputs_of(served)[:5]), raw=True, model_name="small_delays")
    assert calls.call("ModelInfer", many, seldon_model="small_delays", cancelled=True)[0] == "CANCELLED"
    one = as_message(as_tensors(rows(1), inputs_of(served)), raw=True, model_name="small_delays")
    assert calls.call("ModelInfer", one, seldon_model="small_delays")[0] == "OK"


def test_ten_thousand_rows_in_one_call(served, calls):
    """SE-15, SE-02: As many rows as a request may have are scored by gRPC as by REST."""
    given = rows(10) * 1000
    fields = [field for field in inputs_of(served) if field["type"] != "image"]
    given = [{**row, "photo": None} for row in given]
    told = calls.call("ModelInfer", as_message(as_tensors(given, fields), raw=True, model_name="small_delays"), seldon_model="small_delays")
    assert told[:2] == ("OK", "")
    scores = np.frombuffer(messages.ModelInferResponse.FromString(told[2]).raw_output_contents[0], "<f8").reshape(-1, 2)
    assert scores.tolist() == served.answers(given)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"{", "The body is not JSON"),
        ({"inputs": 5}, "The request has no inputs: send"),
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "INT64", "data": ["far"]}]}, "Input distance has 'far' as element 0"),
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "INT8", "data": [500]}]}, "Input distance has 500 as element 0"),
        ({"inputs": [{"name": "distance", "shape": [1, 2], "datatype": "INT64", "data": [[1, 2]]}]}, "Input distance has the shape [1, 2]"),
        (
            {"inputs": [{"name": "distance", "shape": [2], "datatype": "INT64", "data": [1]}]},
            "Input distance has the shape [2] and 1 values",
        ),
        ({"inputs": [{"name": "distance", "shape": [0], "datatype": "INT64", "data": []}]}, "The request has no rows"),
        (
            {"inputs": [{"name": "distance", "shape": [1], "datatype": "INT64", "data": [1]}] * 2},
            "The request has the input distance",
        ),
        ({"inputs": [{"name": "distance", "shape": [1], "datatype": "INT64", "data": [1]}]}, "Row 0 lacks the field carrier."),
        (
            {"inputs": [{"name": "distance", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}]},
            "Input distance has binary data",
        ),
    ],
)
def test_bad_requests_get_a_sentence(served, document, sentence):
    """SC-07, SE-02: What does not fit is answered with 400 and one sentence, in the protocol's form."""
    status, answer, _ = rest(served, INFER, document)
    assert status == 400
    assert answer["error"].startswith(sentence)


def test_weights_and_stand_ins_hold_for_calls(new_platform, calls):
    """SE-06, SC-07, SE-02: Of two versions that share traffic calls reach both; one on which the candidate fails is answered by the
    champion and counts as the candidate's error."""
    platform = new_platform()
    good = platform.version(1)
    platform.serve({1: 50, 2: 50}, {1: good, 2: platform.saboteur(good, share=1.0)})
    target = f"{platform.settings.host}:{platform.settings.gateway_port}"
    by_version = []
    for number in range(40):
        message = as_message(as_tensors(testing.small_rows(1, seed=number), [*testing.INPUTS]), raw=False, model_name="small_delays")
        code, details, body = calls.call("ModelInfer", message, target=target, seldon_model="small_delays")
        assert (code, details) == ("OK", "")
        by_version.append(messages.ModelInferResponse.FromString(body).model_version)
    assert set(by_version) == {"1"}
    testing.wait_until(lambda: sum(arm.requests for arm in platform.backend.observe(platform.model).values()) >= 40, 60, "all counts")
    arms = platform.backend.observe(platform.model)
    assert arms[2].errors == arms[2].requests > 0
    assert arms[1].errors == 0
    assert calls.call("ModelInfer", message, target=target, seldon_model="small_delays", x_predictor="99")[0] == "NOT_FOUND"
    code, details, _ = calls.call("ModelInfer", message, target=target, seldon_model="small_delays", x_predictor="2")
    assert (code, details[:27]) == ("INTERNAL", "Version 2 of small_delays: ")


def test_a_change_of_the_setting_brings_another_server(new_platform, calls):
    """SE-02, OP-01: What the wrapper served goes on with the own server once the platform comes up again: state and
    socket are the same, and the protocol's paths are there; and back."""
    platform = new_platform(server="seldon")
    route = platform.serve({1: 100}, {1: platform.version(1)})
    asked = testing.small_rows(3)
    wanted = platform.answers(asked)
    ready = "/v2/models/small_delays/ready"
    assert rest(platform, ready)[0] == 404
    for server, processes, status in (("open", 1, 200), ("seldon", 2, 404)):
        platform.backend = LocalBackend(platform.settings.model_copy(update={"server": server}), platform.programs, renew=True)
        platform.backend.apply(platform.model, route)
        testing.wait_until(lambda: len(platform.server_pids(1)) == processes, 60, "the other server")  # noqa: B023
        platform.backend.wait_ready(platform.model, 1, 60)
        assert platform.answers(asked) == wanted
        assert rest(platform, ready)[0] == status


def test_a_slow_request_keeps_nobody_from_asking(new_platform):
    """SE-12: While every thread of a server scores, it says that it is ready and shows its figures."""
    platform = new_platform()
    platform.serve({1: 100}, {1: platform.saboteur(platform.version(1), share=0.0, seconds=4.0)})
    server = server_socket(platform.settings, platform.model.name, 1)
    body = json.dumps({"inputs": as_tensors(testing.small_rows(1, seed=99), [*testing.INPUTS])})
    slow = [
        threading.Thread(target=post, args=(server, INFER, body, {"Content-Type": "application/json"}), kwargs={"timeout": 60})
        for _ in range(platform.model.serving.threads + 2)
    ]
    for thread in slow:
        thread.start()
    time.sleep(0.5)
    assert [get(server, path)[0] for path in ("/ready", "/v2/health/ready", "/metrics")] == [200, 200, 200]
    assert all(thread.is_alive() for thread in slow)
    for thread in slow:
        thread.join()


def test_a_server_has_a_port_of_grpc_of_its_own(served, calls, tmp_path):
    """SE-02: As in a pod: the same calls at a port of the server's own, without a gateway or metadata; SIGTERM ends it and its log is
    written."""
    port, grpc_port = testing.free_ports(2)
    digest = served.backend.route(served.model).digests[1]
    command = [str(VENVS / "serving" / "bin" / "python"), "-m", "perennial.serving.server", "--model", "small_delays", "--version", "1"]
    command += ["--digest", digest, "--port", str(port), "--grpc-port", str(grpc_port)]
    environment = {"PATH": os.environ["PATH"], "PERENNIAL_HOME": str(tmp_path), "PERENNIAL_STORE": served.settings.store}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    target = f"127.0.0.1:{grpc_port}"
    try:
        ask = messages.ServerReadyRequest()
        testing.wait_until(
            lambda: messages.ServerReadyResponse.FromString(calls.call("ServerReady", ask, target=target)[2]).ready, 60, "a ready server"
        )
        given = rows(5)
        message = as_message(as_tensors(given, inputs_of(served)), raw=True, model_name="small_delays", id="own-port")
        code, details, body = calls.call("ModelInfer", message, target=target)
        assert (code, details) == ("OK", "")
        told = messages.ModelInferResponse.FromString(body)
        assert np.frombuffer(told.raw_output_contents[0], "<f8").reshape(-1, 2).tolist() == served.answers(given)
        for what, sent, sentence in hostile():
            code, details, _ = calls.call("ModelInfer", sent, target=target)
            assert (code, details[: len(sentence)]) == ("NOT_FOUND" if what == "empty" else "INVALID_ARGUMENT", sentence)
    finally:
        server.terminate()
        assert server.wait(60) == 0
    assert len(lines(served, "own-port")) == 5


def test_the_server_reads_headers_and_numbers_of_a_signature(served):
    """SE-02: A server behind another gateway refuses a body of forms and one above its limit, in the protocol's form."""
    assert read_signature({"inputs": KINDS}).names == {field["name"] for field in KINDS}
    connection = UnixConnection(server_socket(served.settings, "small_delays", 1), timeout=60)
    connection.request("POST", INFER, b"a=1", {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    assert (answer.status, "send JSON" in json.loads(answer.read())["error"]) == (400, True)
    connection.request("POST", INFER, b"x" * ((16 << 20) + 1), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, "larger than 16 MB" in json.loads(answer.read())["error"]) == (413, True)
    connection.close()
