"""One trace from a caller, or from a release, through the gateway to the version that answers, at a receiver of OTLP over HTTP."""

import contextlib
import json
import socket
import urllib.error
import urllib.request

import pytest

from perennial import testing, tracing
from perennial.lineage.making import Making, making
from perennial.lineage.version_folder import made_key
from perennial.serving import own_requests
from perennial.serving.backends.local import LocalBackend, server_socket
from perennial.sockets import get
from perennial.store import open_store
from perennial.testing.spans import Spans

from .conftest import Platform, settings_for

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def spans():
    """A receiver."""
    with Spans() as receiver:
        yield receiver


@contextlib.contextmanager
def serving(folder, variables, train=lambda store, model, digest: None):
    """A gateway and version 1, of a platform that came up with these variables."""
    settings = settings_for(folder)
    tracing.keep(settings.home, variables)
    store = open_store(settings.store)
    with testing.started(testing.Programs(folder / "logs")) as programs:
        made = Platform(settings, store, programs, LocalBackend(settings, programs), folder)
        made.start_gateway()
        digest = made.version()
        train(store, made.model.name, digest)
        made.serve({1: 100}, {1: digest})
        yield made


@pytest.fixture(scope="module")
def platform(tmp_path_factory, spans):
    """One whose spans go to the receiver, and whose version was trained in a trace of its own."""

    def train(store, model, digest):
        tracing.begin("stage train", "perennial-stage", {}, environment=spans.variables())
        trained = Making(seconds=1, usage=None, commit="", code={}, packages={}, trace=tracing.headers()["traceparent"])
        store.put_if_absent(made_key(model, digest), trained.model_dump_json().encode())
        tracing.end("done", "trained")

    with serving(tmp_path_factory.mktemp("platform"), spans.variables(), train) as made:
        yield made


@pytest.fixture
def stage(spans):
    """A stage that is under way."""
    tracing.begin("stage release", "perennial-stage", {}, environment=spans.variables())
    yield tracing.trace_id()
    tracing.end("done", "looked")


def row():
    return testing.small_rows(1)[0]


def ask(platform, body, **headers):
    """Status, headers and document of an answer."""
    url = platform.settings.gateway_url + platform.settings.prediction_path(platform.model.name)
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def logged(platform):
    """Lines of the prediction log, once there are some."""

    def lines():
        items = platform.store.list(f"predictions/{platform.model.name}")
        return [json.loads(line) for item in items if item.key.endswith(".jsonl") for line in platform.store.read(item.key).splitlines()]

    return testing.wait_until(lines, 30, "a line of the prediction log")


def counted(platform):
    """What the server of version 1 has counted."""
    text = get(server_socket(platform.settings, platform.model.name, 1), "/metrics")[1]
    return [line for line in text.splitlines() if line.startswith("perennial_predictions_total")]


def of(known, trace, *names):
    """The spans of a trace by name, once all these are there."""
    found = {span["name"] if span["service"] != "perennial-gateway" else "gateway": span for span in known if span["trace"] == trace}
    return found if set(names) <= set(found) else None


def test_a_prediction_is_a_span_of_its_callers_trace(platform, spans):
    """MN-13, SY-24: Caller, gateway and version are one trace; its identity is in the answer and in the prediction log, and the span says
    version, rows and prediction, with a link to the training."""
    status, headers, document = ask(platform, {"data": {"rows": [row(), row()]}}, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert status == 200
    assert headers["x-trace-id"] == TRACE
    trace = spans.wait_for(lambda known: of(known, TRACE, "gateway", "predict"))
    gateway, predict = trace["gateway"], trace["predict"]
    assert (gateway["parent"], predict["parent"], predict["service"]) == (CALLER, gateway["span"], "perennial-server")
    assert predict["attributes"] == {
        "perennial.model": platform.model.name,
        "perennial.version": 1,
        "perennial.status": 200,
        "perennial.rows": 2,
        "perennial.prediction": document["meta"]["puid"],
        "perennial.counts": True,
    }
    trained = making(platform.store, platform.model.name, platform.backend.route(platform.model).digests[1]).trace
    assert predict["links"] == [trained.split("-")[1]]
    (training,) = [span for span in spans.known if span["name"] == "stage train"]
    assert training["trace"] == predict["links"][0]
    assert {line["trace"] for line in logged(platform)} == {TRACE}


def test_a_request_that_does_not_fit_is_told_without_its_data(platform, spans):
    """MN-13: The span of a refused request says its status, and nothing of what was in it."""
    trace = TRACE[::-1]
    status, headers, _ = ask(platform, {"data": {"rows": [{"anna": "anna@example.com"}]}}, traceparent=f"00-{trace}-{CALLER}-01")
    assert (status, headers["x-trace-id"]) == (400, trace)
    found = spans.wait_for(lambda known: of(known, trace, "gateway", "predict"))
    assert found["predict"]["attributes"]["perennial.status"] == 400
    assert not found["predict"]["error"]
    assert "anna" not in json.dumps(found)


@pytest.mark.parametrize("wrong", ["nonsense", f"00-{TRACE}-{CALLER}", f"00-{'0' * 32}-{CALLER}-01", "00-" + "f" * 5_000])
def test_a_wrong_traceparent_changes_no_answer(platform, wrong):
    """MN-13: A caller's traceparent that is none, or much too long, changes nothing of the answer."""
    right = ask(platform, {"data": {"rows": [row()]}})[2]["data"]
    status, _, document = ask(platform, {"data": {"rows": [row()]}}, traceparent=wrong, tracestate="=" * 5_000)
    assert (status, document["data"]) == (200, right)


def test_a_release_asks_through_the_gateway_in_its_own_trace(platform, spans, stage):
    """MN-13: A release's own request goes the callers' way, as a part of the release's trace, and is neither logged nor counted."""
    before = counted(platform)
    assert own_requests.ask(platform.settings, platform.model.name, 1, row()) == 200
    found = spans.wait_for(lambda known: of(known, stage, "gateway", "predict"))
    assert found["predict"]["attributes"]["perennial.counts"] is False
    assert found["predict"]["parent"] == found["gateway"]["span"]
    assert counted(platform) == before
    puid = ask(platform, {"data": {"rows": [row()]}}, **{own_requests.HEADER: "guessed"})[2]["meta"]["puid"]
    testing.wait_until(lambda: f"{puid}-0" in {line["id"] for line in logged(platform)}, 30, "the caller's line")
    assert stage not in {line.get("trace") for line in logged(platform)}
    assert counted(platform) != before


def test_a_question_whether_a_version_is_ready_is_no_trace(platform, spans):
    """MN-13: What is asked every few seconds would hide what callers ask."""
    path = platform.settings.prediction_path(platform.model.name).replace("api/v1.0/predictions", "ready")
    for _ in range(5):
        with urllib.request.urlopen(platform.settings.gateway_url + path, timeout=60) as answer:
            assert answer.status == 200
    trace = "12" * 16
    ask(platform, {"data": {"rows": [row()]}}, traceparent=f"00-{trace}-{CALLER}-01")
    spans.wait_for(lambda known: of(known, trace, "gateway", "predict"))
    assert not [span for span in spans.known if str(span["attributes"].get("http.url", "")).endswith("/ready")]


def test_replayed_requests_are_parts_of_the_release(platform, spans, stage):
    """MN-13: Requests that a release replays to a candidate are in its trace, the first ones as spans of the version; what measures its
    speed sends none, for hundreds would hide all else."""
    with tracing.span("replay", rows=9):
        assert platform.backend.replay(platform.model, 1, [row()] * 9).failed == 0
        way = platform.backend.aside(platform.model, 1)
        assert way.ask(json.dumps({"data": {"rows": [row()]}}).encode())[0] == 200
        way.close()
    predictions = spans.wait_for(
        lambda known: found if len(found := [s for s in known if s["trace"] == stage and s["name"] == "predict"]) == 3 else None
    )
    assert {span["attributes"]["perennial.counts"] for span in predictions} == {False}


def test_no_answer_is_changed_by_a_way_to_a_gateway_that_is_none(platform, stage):
    """MN-13: A gateway that does not answer a release's own request is no fault."""
    (port,) = testing.free_ports(1)
    away = platform.settings.model_copy(update={"gateway_port": port})
    assert own_requests.ask(away, platform.model.name, 1, row()) == 0
    assert own_requests.ask(platform.settings, "unheard_of", 1, row()) == 404


def test_a_receiver_that_is_gone_costs_no_answer(tmp_path):
    """MN-13: Where nobody takes spans, and where somebody listens and never answers, predictions are answered and logged as ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for number, port in enumerate((9, silent.getsockname()[1])):
            with serving(tmp_path / str(number), {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}) as platform:
                answers = [ask(platform, {"data": {"rows": [row()]}}) for _ in range(20)]
                assert {status for status, _, _ in answers} == {200}
                assert {len(line["trace"]) for line in logged(platform)} == {32}
