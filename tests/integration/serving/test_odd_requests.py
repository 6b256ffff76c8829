"""Two thousand odd and malformed requests to a server's own application: each is answered or refused in a sentence."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perennial
from perennial import discovery, testing
from perennial.data.tables import Table
from perennial.monitoring.outcomes import collect_outcomes
from perennial.monitoring.prediction_table import collect_predictions
from perennial.store import FolderStore

CHECKOUT = Path(perennial.__file__).parents[2]
PYTHON = Path(os.environ.get("PERENNIAL_VENVS", CHECKOUT / ".perennial" / "venvs")) / "serving" / "bin" / "python"
MODEL = testing.small_model()
ROW = {"carrier": "UA", "origin": "EWR", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None}
PREDICTIONS, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"


class Server:
    """A version's application in a process of the serving environment."""

    def __init__(self, folder: Path, server: str) -> None:
        self.kind = server
        self.store = FolderStore(str(folder / "store"))
        digest = testing.publish_small_version(self.store, folder / "version")
        self.process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).with_name("answer_requests.py")), MODEL.name, "1", digest, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ["PATH"], "PERENNIAL_HOME": str(folder / "home"), "PERENNIAL_STORE": str(folder / "store")},
        )

    def ask(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, str]:
        """Status and text of an answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"path": path, "type": content_type, "body": base64.b64encode(body).decode()})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["text"]

    def end(self) -> None:
        """Let it write its logs."""
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module", params=["open", "seldon"])
def server(tmp_path_factory, request):
    """Either server of a small version."""
    started = Server(tmp_path_factory.mktemp("server"), request.param)
    yield started
    with started.process:  # closes its pipes
        started.process.kill()


def nested(levels: int) -> str:
    """JSON of lists in lists."""
    return "[" * levels + "1" + "]" * levels


NUMBERS = ["0", "-1", "1.5", "500.0", "1e19", "-1e308", "1e308", "1e400", "9007199254740993", "9007199254740993.0", "9223372036854775807",
    "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "-0.0", "5e-324"]  # fmt: skip
TIMES = ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "0001-01-01", "9999-12-31T23:59:59.999999", "0000-00-00",
    "2013-02-01T06:00:00-05:00", "2013-02-01T24:00", "noon", "2013-W05-5", "1969-12-31T23:59:59Z"]  # fmt: skip
TEXTS = ["", " ", "\x00", "\u2028", "x" * 5000, "EWR", "null", "💥", "late", "a-0", "on_time"]
scalars = st.one_of(
    st.sampled_from(["null", "true", "false", *NUMBERS, nested(10), nested(1000), nested(5000), "{}", "[]", '{"a": 1}', r'"\\ud800"']),
    st.sampled_from([json.dumps(text) for text in (*TIMES, *TEXTS)]),
    st.text(max_size=8).map(json.dumps),
    st.integers().map(str),
    st.floats().map(json.dumps),
)


def objects(fields: dict[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """JSON objects that have some of the fields, and sometimes another one."""
    more = {"other": scalars}
    return st.fixed_dictionaries({}, optional={**fields, **more}).map(
        lambda found: "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in found.items()) + "}"
    )


def listed(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """JSON lists."""
    return st.lists(items, max_size=3).map(lambda found: "[" + ", ".join(found) + "]")


@st.composite
def rows(draw) -> str:
    """A row that is right but for some of its fields."""
    fields = {name: json.dumps(value) for name, value in ROW.items()}
    for name in draw(st.lists(st.sampled_from([*ROW, "other", ""]), max_size=3)):
        if draw(st.booleans()):
            fields[name] = draw(scalars)
        else:
            fields.pop(name, None)
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


names = st.permutations(list(ROW)).map(json.dumps) | listed(scalars)
data = st.one_of(
    listed(rows()).map('{{"rows": {}}}'.format),
    objects({"rows": listed(rows() | scalars) | scalars}),
    objects({"names": names | scalars, "ndarray": listed(listed(scalars) | scalars) | scalars}),
    scalars,
)
meta = objects({"puid": scalars, "tags": objects({"event_time": scalars}) | scalars}) | scalars
right = st.builds(
    '{{"data": {{"rows": [{}]}}, "meta": {{"tags": {{"event_time": {}}}}}}}'.format,
    rows(),
    st.sampled_from([json.dumps(time) for time in TIMES]),
)
predictions = st.one_of(right, objects({"data": data, "meta": meta}), scalars)
truth = objects(
    {"data": objects({"ndarray": listed(scalars) | scalars, "tensor": objects({"values": listed(scalars)})}) | scalars, "strData": scalars}
)
response = objects({"meta": objects({"puid": st.just('"a-0"') | scalars}) | scalars})
outcomes = objects({"response": response | scalars, "truth": truth | scalars, "reward": scalars}) | scalars
damage = st.sampled_from([bytes, lambda body: body[:-1], lambda body: b"\xff\xfe" + body, lambda body: body.replace(b'"', b"'")])
kinds = st.sampled_from(
    ["application/json"] * 8
    + ["text/plain", "multipart/form-data; boundary=x", "multipart/form-data", "application/x-www-form-urlencoded", ""]
)
requests = st.tuples(
    st.one_of(
        st.tuples(st.just(PREDICTIONS), predictions),
        st.tuples(st.just(FEEDBACK), outcomes),
        st.tuples(st.sampled_from(["/predict", "/send-feedback", "/api/v0.1/feedback"]), predictions | outcomes),
    ),
    damage,
    kinds,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_requests=st.lists(requests, min_size=20, max_size=20))
def test_every_odd_request_gets_scores_or_a_sentence(server, given_requests):
    """SC-07, DE-14: whatever is sent, no request is an error of the server: it is answered, or refused as the caller's with one
    sentence."""
    for (path, text), damaged, kind in given_requests:
        body = damaged(text.encode())
        status, answer = server.ask(path, body, kind)
        assert status in (200, 400, 413), (path, kind, body[:300], status, answer)
        found = json.loads(answer)
        if status == 200:
            assert found["meta"]["puid"]
        else:
            assert found["status"]["info"].strip()
            assert len(found["status"]["info"]) < 1000


datatypes = st.sampled_from(["BOOL", "INT8", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES", "FLOAT"]).map(json.dumps)
shapes = st.sampled_from(["[1]", "[2]", "[1, 1]", "[2, 1]", "[0]", "[-1]", "[1, 2]", "[]", "2", "[1.0]", "[true]", "[9999999999999999999]"])
parameters = objects({"nulls": scalars, "event_time": scalars, "binary_data_size": scalars}) | scalars
tensors = st.one_of(
    objects(
        {
            "name": st.sampled_from([*ROW, "other", ""]).map(json.dumps) | scalars,
            "datatype": datatypes | scalars,
            "shape": shapes | scalars,
            "data": listed(scalars) | listed(listed(scalars)) | scalars,
            "parameters": parameters,
        }
    ),
    st.builds(
        '{{"name": {}, "datatype": {}, "shape": [1], "data": [{}]}}'.format, st.sampled_from(list(ROW)).map(json.dumps), datatypes, scalars
    ),
    scalars,
)
right_tensors = ", ".join(
    json.dumps({"name": name, "shape": [1], "datatype": kind, "data": [value]})
    for (name, value), kind in zip(ROW.items(), ("BYTES", "BYTES", "BYTES", "INT64", "FP64"), strict=True)
)
inferences = st.one_of(
    objects({"inputs": listed(tensors) | scalars, "outputs": listed(objects({"name": scalars})) | scalars, "id": scalars}),
    st.builds('{{"inputs": [{}, {}]}}'.format, st.just(right_tensors), tensors),
    st.builds('{{"inputs": [{}], "id": {}, "parameters": {}}}'.format, st.just(right_tensors), scalars, parameters),
    scalars,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=st.lists(st.tuples(inferences, damage), min_size=20, max_size=20))
def test_every_odd_request_of_tensors_gets_scores_or_a_sentence(server, asked):
    """SC-07, DE-14, SE-02: The same holds for the Open Inference Protocol, and for bytes that claim to be a call of gRPC."""
    if server.kind != "open":
        pytest.skip("seldon-core's wrapper speaks its own protocol alone")
    for text, damaged in asked:
        body = damaged(text.encode())
        status, answer = server.ask("/v2/models/small_delays/infer", body)
        assert status in (200, 400, 413), (body[:300], status, answer)
        found = json.loads(answer)
        assert found["id"] if status == 200 else 0 < len(found["error"].strip()) < 1000
        status, answer = server.ask("/inference.GRPCInferenceService/ModelInfer", body, "application/x-protobuf")
        assert (status, json.loads(answer)["x-grpc-status"]) in ((400, "3"), (200, "5")), (body[:300], answer)


def test_a_form_is_refused_before_it_is_read(server):
    """SC-07: A body that says it is a form gets the header to send."""
    for kind in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        status, answer = server.ask(PREDICTIONS, b'{"data": {}}', kind)
        assert status == 400
        assert "send JSON with the header Content-Type: application/json" in json.loads(answer)["status"]["info"]


def test_what_the_server_accepted_can_be_read(server):
    """SE-13: After all that, every line that the server logged is taken into the tables: none is set aside."""
    for time in TIMES:
        server.ask(
            PREDICTIONS,
            json.dumps({"data": {"rows": [{**ROW, "scheduled_departure": time}]}, "meta": {"tags": {"event_time": time}}}).encode(),
        )
    right = json.dumps({"data": {"rows": [{**ROW, "other": 1e300, "distance": 20_000.0}]}, "meta": {"tags": {"event_time": TIMES[5]}}})
    assert server.ask(PREDICTIONS, right.encode())[0] == 200
    feedback = json.dumps({"response": {"meta": {"puid": "a-0"}}, "truth": {"data": {"tensor": {"values": [1]}}}})
    assert server.ask(FEEDBACK, feedback.encode()) == (200, '{"meta":{"puid":"a-0"}}')
    server.end()
    predicted = collect_predictions(server.store, MODEL, discovery.dataset("flights"), Table(server.store, "small_delays_predictions"))
    happened = collect_outcomes(server.store, MODEL, Table(server.store, "small_delays_outcomes"))
    assert predicted.rows > 0
    assert happened.rows > 0
    assert (predicted.damaged, happened.damaged) == (0, 0)


def test_a_server_holds_no_more_after_many_requests(tmp_path):
    """SE-04, SE-05: Answers of one row and of many, in each form, refusals and outcomes leave nothing behind: after six hundred more
    requests there are as many threads, open files, lines of metrics and objects as after a hundred."""
    digest = testing.publish_small_version(FolderStore(str(tmp_path / "store")), tmp_path / "version")
    tensors = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [ROW[name]]} for name in ("carrier", "origin")]
    tensors += [{"name": "distance", "shape": [1], "datatype": "INT64", "data": [500]}]
    tensors += [{"name": "scheduled_departure", "shape": [1], "datatype": "BYTES", "data": [ROW["scheduled_departure"]]}]
    outcome = {"response": {"meta": {"puid": "a-0"}}, "truth": {"data": {"ndarray": [[1]]}}}
    asked = [
        (PREDICTIONS, {"data": {"rows": [ROW]}}),
        (PREDICTIONS, {"data": {"rows": [{**ROW, f"unknown {place}": place} for place in range(30)]}}),
        (PREDICTIONS, {"data": {"rows": [{**ROW, "distance": None}]}}),
        (f"/v2/models/{MODEL.name}/infer", {"inputs": tensors}),
        (f"/v2/models/{MODEL.name}/infer", {"inputs": tensors[1:]}),
        ("/nothing/here", {}),
        (FEEDBACK, outcome),
    ]
    bodies = [[path, "application/json", base64.b64encode(json.dumps(body).encode()).decode()] for path, body in asked]
    (tmp_path / "bodies.json").write_text(json.dumps(bodies))
    script = Path(__file__).with_name("count_held.py")
    environment = {"PATH": os.environ["PATH"], "PERENNIAL_HOME": str(tmp_path / "home"), "PERENNIAL_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        [PYTHON, script, MODEL.name, digest, tmp_path / "bodies.json"], capture_output=True, text=True, env=environment, check=True
    )
    first, last = map(json.loads, done.stdout.splitlines())
    assert first["statuses"] == last["statuses"] == [200, 200, 400, 200, 400, 404, 200]
    assert {name: last[name] for name in ("threads", "files", "lines of metrics")} == {
        name: first[name] for name in ("threads", "files", "lines of metrics")
    }
    assert last["objects"] - first["objects"] < 50  # one an answer would be three hundred
