"""MLServer with our runtime, as Seldon Core 2 starts it: the same answers as our own server, and none of MLServer's open doors.

Its environment is no part of `make setup`: the first test that asks makes it from its lock file, and says what that took.
"""

import http.client
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from perennial import testing
from perennial.lineage import version_folder
from perennial.local import environments
from perennial.serving.mlserver_folder import Told
from perennial.store import open_store
from perennial.testing import small_rows

from .conftest import VENVS

MODEL = "small_delays"
TYPES = {"carrier": "BYTES", "origin": "BYTES", "scheduled_departure": "BYTES", "distance": "INT64", "temp": "FP64"}


class Runtime:
    """An MLServer of its own, and this project's server beside it with the same version."""

    def __init__(self, folder, python):
        self.folder, self.store = folder, open_store(str(folder / "store"))
        self.digest = testing.publish_small_version(self.store, folder / "v1")
        self.wrong = self.publish_wrong()
        self.put("good", Told(MODEL, 1, self.digest))
        self.put("wrong", Told(MODEL, 2, self.wrong))
        self.put("gone", Told(MODEL, 3, "f" * 64))
        self.http, self.grpc, self.metrics, self.own = testing.free_ports(4)
        self.programs = testing.Programs(folder / "logs")
        common = {"PERENNIAL_STORE": self.store.root, "PERENNIAL_SERVING": "seldon"}
        ports = {"MLSERVER_HTTP_PORT": self.http, "MLSERVER_GRPC_PORT": self.grpc, "MLSERVER_METRICS_PORT": self.metrics}
        careless = {"MLSERVER_PARALLEL_WORKERS": "1", "MLSERVER_DEBUG": "true", "MLSERVER_LOAD_MODELS_AT_STARTUP": "true"}
        command = [python, "-m", "perennial.serving.mlserver_runtime", "--models", str(folder / "models")]
        named = {name: str(value) for name, value in ports.items()}
        self.programs.add_program("mlserver", command, {**common, "PERENNIAL_HOME": str(folder / "home"), **careless, **named})
        given = ["--model", MODEL, "--version", "1", "--digest", self.digest, "--port", str(self.own)]
        command = [str(VENVS / "serving/bin/python"), "-m", "perennial.serving.server", *given]
        self.programs.add_program("own", command, {**common, "PERENNIAL_HOME": str(folder / "own")})
        testing.wait_until(lambda: self.get(self.http, "/v2/models/good/ready") == 200, 60, "MLServer's answer")
        testing.wait_until(lambda: self.get(self.own, "/ready") == 200, 60, "our server's answer")

    def put(self, name, told):
        """A folder of a model, with the name that Seldon's agent gives it."""
        folder = self.folder / "models" / name
        folder.mkdir(parents=True)
        for file, content in told.files().items():
            (folder / file).write_bytes(content)
        settings = json.loads((folder / "model-settings.json").read_text())
        # What the agent leaves of it, and its own name and version.
        kept = {"implementation": settings["implementation"], "parameters": {**settings["parameters"], "version": "1"}}
        (folder / "model-settings.json").write_text(json.dumps({"name": name, "parallel_workers": 0, **kept}))

    def publish_wrong(self):
        """A version whose golden rows do not score as they say."""
        folder = testing.small_version(self.folder / "wrong", seed=5)
        golden = json.loads((folder / "golden.json").read_text())
        golden["scores"][3][1] += 0.25
        (folder / "golden.json").write_text(json.dumps(golden))
        return version_folder.publish(self.store, MODEL, folder, testing.small_manifest(MODEL, seed=5, run_key="5" * 24))

    def get(self, port, path):
        """Status of a GET; None if nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def post(self, path, body, port=None):
        """Status, headers and document of an answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        address = f"http://127.0.0.1:{port or self.http}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, data, {"Content-Type": "application/json"}), timeout=30) as answer:
                return answer.status, answer.headers, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.load(error)

    def lines(self, kind):
        """What the store has of predictions or outcomes."""
        items = self.store.list(f"{kind}/{MODEL}")
        return [json.loads(line) for item in items for line in self.store.read(item.key).splitlines()]


@pytest.fixture(scope="module")
def python():
    """The environment's interpreter."""
    home = VENVS.parent
    seconds = environments.make_on_demand(home, "mlserver")
    if seconds:
        print(f"The environment mlserver was made in {seconds:.0f} s.")
    return str(home / "venvs/mlserver/bin/python")


@pytest.fixture(scope="module")
def runtime(python, tmp_path_factory):
    """Started once: all that MLServer itself would do at these settings is broken or open."""
    runtime = Runtime(tmp_path_factory.mktemp("mlserver"), python)
    yield runtime
    runtime.programs.shutdown()


def inputs(rows, **more):
    """A request of the protocol."""
    tensors = [{"name": n, "datatype": t, "shape": [len(rows)], "data": [row.get(n) for row in rows]} for n, t in TYPES.items()]
    return {"inputs": tensors, **more}


@pytest.mark.parametrize("count", [1, 7, 500])
def test_scores_are_those_of_our_own_server_bit_for_bit(runtime, count):
    """SE-01, SC-01: By the same protocol and by Seldon's v1 form, for one row and many, every digit is the same."""
    rows = small_rows(count, seed=count)
    status, headers, answer = runtime.post("/v2/models/good/infer", inputs(rows, id=f"n{count}"))
    assert status == 200, answer
    _, _, own = runtime.post(f"/v2/models/{MODEL}/infer", inputs(rows, id=f"n{count}"), runtime.own)
    assert answer["outputs"] == own["outputs"]
    assert (answer["id"], answer["model_version"], headers["x-perennial-version"]) == (f"n{count}", "1", "1")
    _, _, seldon = runtime.post("/api/v1.0/predictions", {"data": {"rows": rows}}, runtime.own)
    assert answer["outputs"][0]["data"] == [score for scores in seldon["data"]["ndarray"] for score in scores]


def test_calls_by_grpc_give_what_rest_gives(runtime, python):
    """SE-02: The same scores and names, raw contents too; a fault has the same sentence, with gRPC's word for it."""
    rows = small_rows(20, seed=9)
    done = subprocess.run(
        [python, str(Path(__file__).with_name("ask_mlserver.py")), str(runtime.grpc), json.dumps(rows), json.dumps(TYPES)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    _, _, rest = runtime.post("/v2/models/good/infer", inputs(rows))
    assert found["typed"] == found["raw"] == [output["data"] for output in rest["outputs"]]
    assert found["refused"] == ["INVALID_ARGUMENT", "Row 0 lacks the field carrier."]


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["inputs"].pop(0),
        lambda body: body["inputs"][3].update(data=["x"]),
        lambda body: body["inputs"][3].update(shape=[2]),
        lambda body: body.update(inputs=[]),
        lambda body: body.update(id="no id !"),
        lambda body: body.update(outputs=[{"name": "else"}]),
        lambda body: body["inputs"][2].update(data=["yesterday"]),
    ],
)
def test_what_does_not_fit_is_refused_by_the_same_sentence(runtime, change):
    """DE-11, SE-01: One set of checks: MLServer's caller reads what our own server's caller reads."""
    body = inputs(small_rows(1))
    change(body)
    status, _, answer = runtime.post("/v2/models/good/infer", body)
    own_status, _, own = runtime.post(f"/v2/models/{MODEL}/infer", body, runtime.own)
    assert (status, answer) == (own_status, own) == (400, answer)


def test_answers_and_outcomes_are_recorded(runtime):
    """SE-01, MO-13: Each row is a line of the prediction log with its id, and an outcome that is told to the server is stored."""
    rows = small_rows(2, seed=4)
    sent = inputs(rows, id="recorded", parameters={"event_time": "2013-07-01T06:00:00"})
    _, _, answer = runtime.post("/v2/models/good/infer", sent)
    message = {"response": {"meta": {"puid": "recorded-1"}}, "truth": {"data": {"ndarray": [["late"]]}}}
    assert runtime.post("/v2/models/good/feedback", message)[::2] == (200, {"meta": {"puid": "recorded-1"}})
    assert runtime.post("/v2/models/good/feedback", {"response": {}})[0] == 400
    assert [line["outcome"] for line in runtime.lines("outcomes") if line["id"] == "recorded-1"] == [1.0]

    def written():
        return [line for line in runtime.lines("predictions") if line["id"].startswith("recorded-")] or None

    lines = testing.wait_until(written, 30, "the lines of the log")
    assert [line["scores"] for line in lines] == [answer["outputs"][0]["data"][:2], answer["outputs"][0]["data"][2:]]
    assert {(line["version"], line["event_time"]) for line in lines} == {(1, "2013-07-01T10:00:00+00:00")}


def test_a_version_that_must_not_serve_is_not_ready_and_says_why(runtime):
    """SE-05, DE-11: Golden rows that score otherwise, and a version that is not there, are refused by a sentence; others serve on."""
    for name, words in (("wrong", "Version 2 of small_delays must not serve. Golden row 3 scores"), ("gone", "Version 3 of small_delays")):
        assert runtime.get(runtime.http, f"/v2/models/{name}/ready") == 404
        status, _, answer = runtime.post(f"/v2/repository/models/{name}/load", {})
        assert status in (422, 503)
        assert answer["error"].startswith(words), answer
        assert words in (runtime.folder / "logs" / "mlserver.log").read_text()
    assert runtime.get(runtime.http, "/v2/models/good/ready") == 200


def test_prometheus_sees_each_version(runtime):
    """MN-15: The counts of every server are on MLServer's metrics port, by version and status."""
    runtime.post("/v2/models/good/infer", inputs(small_rows(1)))
    with urllib.request.urlopen(f"http://127.0.0.1:{runtime.metrics}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'perennial_predictions_total{code="200",model="small_delays",version="1"}' in text
    assert text.count("# TYPE perennial_predictions_total") == 1
    assert 'perennial_prediction_seconds_bucket{le="0.005",model="small_delays",version="1"}' in text


def test_doors_that_mlserver_leaves_open_are_closed(runtime, python):
    """SC-04: Models are loaded and unloaded from near alone, by REST and gRPC; too much is refused unread; a fault tells nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", runtime.http, timeout=30)
    connection.putrequest("POST", "/v2/models/good/infer")
    connection.putheader("Content-Length", str((16 << 20) + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]) == (413, "The request is larger than 16 MB: send its rows in several requests.")
    connection.close()
    done = subprocess.run([python, str(Path(__file__).with_name("try_doors.py"))], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "far": [403, "Models are loaded and unloaded from the server's own pod or machine alone."],
        "near": [200, "handed on"],
        "elsewhere": [200, "handed on"],
        "far call": ["PERMISSION_DENIED", "Models are loaded and unloaded from the server's own pod or machine alone."],
        "near call": "answered",
        "settings": {"parallel_workers": 0, "debug": False, "load_models_at_startup": False, "host": "127.0.0.1"},
        "fault": [500, "The server failed on this request: its log says why."],
    }


def test_a_stop_loses_no_line(runtime, python, tmp_path):
    """SE-01: At SIGTERM the log is written, and the process ends."""
    runtime.post("/v2/models/good/infer", inputs(small_rows(1), id="the-last"))
    process = runtime.programs.programs()["mlserver"]
    os.kill(process.pid, signal.SIGTERM)
    testing.wait_until(lambda: [line for line in runtime.lines("predictions") if line["id"] == "the-last-0"], 30, "the last line")
