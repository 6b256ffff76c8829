"""What callers of a real server behind a real gateway get: answers, sentences, ids; and what the store has afterwards."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from perennial import testing
from perennial.local.metrics_server import MetricsServer
from perennial.serving.backends.local import server_socket
from perennial.serving.limits import REPLAYED
from perennial.serving.load import Call, send
from perennial.serving.route import Route
from perennial.sockets import UnixConnection
from perennial.sockets import get as get_from

ROW = {"carrier": "UA", "origin": "EWR", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None}


@pytest.fixture(scope="module", params=["open", "seldon"])
def served(new_platform, request):
    """Version 1 with all traffic, version 2 as its shadow, on either server."""
    platform = new_platform(allowed_hosts="x-shadow", server=request.param)
    platform.serve({1: 100}, {1: platform.version(1), 2: platform.version(2)}, shadow=2)
    return platform


def post(platform, body, suffix="api/v1.0/predictions", headers=None):
    """Status, answer and headers of one request through the gateway."""
    url = (
        platform.settings.gateway_url + platform.settings.prediction_path(platform.model.name).removesuffix("api/v1.0/predictions") + suffix
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}), timeout=60
        ) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def lines(platform, kind):
    """All lines of a model's log in the store."""
    return [
        json.loads(line)
        for stored in platform.store.list(f"{kind}/{platform.model.name}")
        for line in platform.store.read(stored.key).splitlines()
    ]


def test_an_answer_carries_scores_id_and_version(served):
    """SE-01: The answer has one score per class, adding up to one, the asked-for id, model and version; the version is in a header too."""
    status, answer, headers = post(served, {"data": {"rows": [ROW, ROW]}, "meta": {"puid": "mine"}})
    assert status == 200
    assert answer["data"]["names"] == ["on_time", "late"]
    assert [sum(row) for row in answer["data"]["ndarray"]] == pytest.approx([1, 1], abs=1e-5)
    assert answer["meta"] == {"puid": "mine", "tags": {"model": "small_delays", "version": 1}}
    assert headers["x-perennial-version"] == "1"


def test_an_answer_is_sent_in_one_piece(served):
    """SE-12: A server that is killed has sent all of an answer or nothing, which the gateway can ask of another version."""
    body = json.dumps({"data": {"rows": [ROW]}}).encode()
    request = b"POST /api/v1.0/predictions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(server_socket(served.settings, served.model.name, 1)))
        for _ in range(200):
            connection.sendall(request)
            headers, answer = connection.recv(1 << 16).split(b"\r\n\r\n")
            assert b" 200 OK" in headers
            assert json.loads(answer)["meta"]["tags"]["version"] == 1


@pytest.mark.parametrize("suffix", ["", "api/v1.0/predictions"])
def test_the_whole_path_may_be_left_out(served, suffix):
    """SE-01: The prediction path answers with and without its suffix."""
    assert post(served, {"data": {"names": list(ROW), "ndarray": [list(ROW.values())]}}, suffix)[0] == 200


def test_a_header_addresses_a_version(served):
    """SE-08, SE-14: The header x-predictor reaches the shadow, which has no share of the traffic."""
    assert post(served, {"data": {"rows": [ROW]}}, headers={"x-predictor": "2"})[1]["meta"]["tags"]["version"] == 2


def test_a_version_that_does_not_run_is_not_answered_by_another(served):
    """SE-08: Who names a version wants its answer, or to hear which ones there are."""
    status, answer, _ = post(served, {"data": {"rows": [ROW]}}, headers={"x-predictor": "99"})
    assert status == 404
    assert "for the header x-predictor with 1, 2 or none" in answer["status"]["info"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The body is not JSON"),
        ({"data": {"rows": []}}, "The request has no rows: send at least one."),
        ({"data": {"rows": [{**ROW, "distance": "far"}]}}, "Row 0: distance must be a whole number, not 'far'."),
        ({"data": {"rows": [{k: v for k, v in ROW.items() if k != "origin"}]}}, "Row 0 lacks the field origin."),
    ],
)
def test_bad_input_gets_400_and_a_sentence(served, body, sentence):
    """SC-07: What does not fit the version's inputs is answered with 400 and one sentence that names the field."""
    status, answer, _ = post(served, body)
    assert status == 400
    assert answer["status"]["info"].startswith(sentence)


def test_old_and_new_callers_are_answered(served):
    """SE-12, SC-07: A caller that sends an input of another version, and one that does not know of a nullable one, get scores; the first
    hears what was ignored."""
    old = {name: value for name, value in ROW.items() if name != "temp"}
    status, answer, _ = post(served, {"data": {"rows": [{**ROW, "visibility": 3}]}})
    assert (status, answer["meta"]["tags"]["ignored"]) == (200, ["visibility"])
    assert post(served, {"data": {"rows": [old]}})[0] == 200


def get(platform, suffix, method="GET", headers=None):
    """Status and answer of a request without a body."""
    connection = http.client.HTTPConnection(platform.settings.host, platform.settings.gateway_port, timeout=60)
    connection.request(method, prefix(platform) + suffix, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def prefix(platform):
    """The path below which the model answers."""
    return platform.settings.prediction_path(platform.model.name).removesuffix("api/v1.0/predictions")


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "http://127.0.0.1.elsewhere.example", "https://elsewhere.example:8003", "null"]
)
@pytest.mark.parametrize("suffix", ["api/v1.0/predictions", "api/v1.0/feedback", "", "ready"])
def test_pages_of_other_sites_may_not_ask(served, origin, suffix):
    """SC-01: A browser names the page that asks: one of another site is refused by the gateway, and nothing reaches a server."""
    status, answer, headers = post(served, {"data": {"rows": [ROW]}}, suffix, headers={"Origin": origin})
    assert (status, answer["status"]["info"].split(":")[0]) == (403, "Pages of other sites may not ask this gateway")
    assert headers["x-perennial-version"] is None
    assert [name for name in headers if name.lower().startswith("access-control-")] == []


def test_pages_of_this_machine_may_ask(served):
    """SC-01: A page that one of the platform's own servers sent names it as its origin."""
    assert post(served, {"data": {"rows": [ROW]}}, headers={"Origin": f"http://LocalHost:{served.settings.airflow_port}"})[0] == 200


def test_a_strange_name_is_no_way_to_the_gateway(served):
    """SC-01: A site that makes its own name mean this machine is told that this is another server; known names need no port."""
    for host in ("elsewhere.example", "localhost.elsewhere.example:8003", "elsewhere.example@localhost"):
        status, answer, headers = post(served, {"data": {"rows": [ROW]}}, headers={"Host": host})
        assert (status, headers["x-perennial-version"]) == (421, None)
        assert "PERENNIAL_ALLOWED_HOSTS" in answer["status"]["info"]
    for host in ("localhost", "LOCALHOST:8003", "127.0.0.1", "[::1]:1"):
        assert post(served, {"data": {"rows": [ROW]}}, headers={"Host": host})[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "suffix",
    ["seldon.json", "metrics", "metadata", "predict", "live", "api/v1.0/metadata", "health/status", "send-feedback", "x/../metrics"],
)
def test_only_documented_paths_are_there(served, suffix, method):
    """SC-01: All else that a server has is for the machine: the gateway answers with a sentence that names what there is."""
    status, answer = get(served, suffix, method)
    assert (status, answer["status"]["reason"]) == (404, "GATEWAY")
    assert f"of small_delays there are POST {prefix(served)}api/v1.0/predictions" in answer["status"]["info"]


def test_a_prediction_is_posted(served):
    """SC-01: An image or a link on a strange page, for which browsers name no origin, asks for no prediction and stores no outcome."""
    for suffix in ("", "api/v1.0/predictions", "api/v1.0/feedback"):
        assert get(served, suffix)[0] == 404


def test_a_caller_asks_a_version_whether_it_is_ready(served):
    """SE-12: `ready` is answered by the version that the header addresses, else by the champion; one that is not served is none; it is no
    evidence."""
    before = {version: arm.requests for version, arm in served.backend.observe(served.model).items()}
    for wanted, version in (("1", 1), ("2", 2), (None, 1)):
        status, answer = get(served, "ready", headers={"x-predictor": wanted} if wanted else {})
        assert (status, answer["ready"], answer["version"]) == (200, True, version)
    status, answer = get(served, "ready", headers={"x-predictor": "7"})
    assert (status, answer["status"]["reason"]) == (404, "GATEWAY")
    assert {version: arm.requests for version, arm in served.backend.observe(served.model).items()} == before


def test_a_model_that_is_not_served_is_told_so(served):
    """SE-01: A path below which no model is served is answered with where to look."""
    connection = http.client.HTTPConnection(served.settings.host, served.settings.gateway_port, timeout=60)
    connection.request("POST", served.settings.prediction_path("unknown"), b"{}")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["status"]["info"].split(":")[0]) == (404, "No model is served below this path")
    connection.close()


def test_too_large_an_outcome_gets_413_and_a_sentence(served):
    """SE-15: Feedback has a limit of its own, which one outcome never reaches: the gateway refuses it, however its length is told."""
    message = {"response": {"meta": {"puid": "large-0"}}, "truth": {"data": {"ndarray": [[1] * 30_000]}}}
    status, answer, headers = post(served, message, "api/v1.0/feedback")
    assert (status, headers["x-perennial-version"]) == (413, None)
    assert "64 KB of an outcome" in answer["status"]["info"]
    connection = http.client.HTTPConnection(served.settings.host, served.settings.gateway_port, timeout=60)
    body = json.dumps(message).encode()
    connection.request("POST", prefix(served) + "api/v1.0/feedback", iter([body[:50_000], body[50_000:]]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_too_large_a_request_gets_413_and_a_sentence(served):
    """SE-15: A body above the limit is not read."""
    status, answer, _ = post(served, b'{"data": "' + b"x" * (17 << 20) + b'"}')
    assert status == 413
    assert "larger than 16 MB" in answer["status"]["info"]


def test_an_outcome_is_stored_before_it_is_acknowledged(served):
    """SE-13, MN-03: Once feedback is answered with 200 the outcome is in the store; what does not fit gets 400 and a sentence."""
    message = {"response": {"meta": {"puid": "mine-0"}}, "truth": {"data": {"ndarray": [[1]]}}}
    assert post(served, message, "api/v1.0/feedback")[0] == 200
    assert [(line["id"], line["outcome"]) for line in lines(served, "outcomes")] == [("mine-0", 1)]
    message["truth"]["data"]["ndarray"] = [[2]]
    status, answer, _ = post(served, message, "api/v1.0/feedback")
    assert (status, answer["status"]["info"]) == (
        400,
        'The outcome is 2: it must be one of on_time, late or their numbers 0 to 1, like {"truth":{"data":{"ndarray":[["late"]]}}}.',
    )


def test_the_shadow_logs_what_nobody_saw_under_the_same_id(served):
    """SE-14: A mirrored request is logged by the shadow as such, with the id that the caller got, also if the gateway made it."""
    puid = post(served, {"data": {"rows": [ROW]}, "meta": {"tags": {"event_time": "2013-02-01T06:00"}}})[1]["meta"]["puid"]
    found = testing.wait_until(lambda: two(line for line in lines(served, "predictions") if line["id"] == f"{puid}-0"), 60, "both lines")
    assert {line["version"]: line.get("shadow", False) for line in found} == {1: False, 2: True}
    assert {line["event_time"] for line in found} == {"2013-02-01T11:00:00+00:00"}  # 06:00 in New York
    assert found[0]["row"] == ROW


@pytest.mark.parametrize("wanted", [{}, {"x-predictor": "1"}])
def test_no_caller_can_pass_for_a_shadow(served, wanted):
    """SE-14: A host that ends as Envoy lets a mirrored request's end: the prediction counts, and only the mirrored one is the shadow's."""
    puid = post(served, {"data": {"rows": [ROW]}}, headers={"Host": "x-shadow", **wanted})[1]["meta"]["puid"]
    testing.wait_until(
        lambda: any(line["id"] == f"{puid}-0" and line["version"] == 1 for line in lines(served, "predictions")), 60, "the line"
    )
    found = [line for line in lines(served, "predictions") if line["id"] == f"{puid}-0"]
    assert [line.get("shadow", False) for line in found if line["version"] == 1] == [False]
    assert all(line["shadow"] for line in found if line["version"] == 2)


@pytest.mark.parametrize("header", ["SCRIPT_NAME", "x_prediction_id"])
def test_no_header_passes_for_another(served, header):
    """SC-07: Gunicorn takes a sign for another: a header with an underscore makes no error of the server's and no id of the caller's."""
    status, answer, _ = post(served, {"data": {"rows": [ROW]}}, headers={header: "/mine"})
    assert status == 200
    assert "mine" not in answer["meta"]["puid"]


def test_who_names_a_version_makes_no_evidence(served):
    """SE-06: What a caller sends to a version of their choice counts for no arm, least of all what it cannot read."""
    before = served.backend.observe(served.model)
    assert [post(served, b"x", headers={"x-predictor": "2"})[0] for _ in range(5)] == [400] * 5
    assert served.backend.observe(served.model)[2].unreadable == before[2].unreadable
    assert served.backend.observe(served.model)[2].answered == before[2].answered


def test_replayed_requests_warm_a_version_and_leave_no_trace(served):
    """SE-06, SE-13: Neither log nor counts of server and gateway know of them; of a caller the header that marks them is removed."""
    server = server_socket(served.settings, served.model.name, 2)
    before, arms = get_from(server, "/metrics")[1], served.backend.observe(served.model)
    marked = {**ROW, "distance": 2999}
    replayed = served.backend.replay(served.model, 2, [marked] * 30 + [{**ROW, "distance": "far"}])
    assert (replayed.requests, replayed.failed, replayed.unreadable) == (31, 0, 1)
    assert replayed.p95_ms > 0
    counted = [line for line in before.splitlines() if line.startswith("perennial_predictions_total")]
    assert [line for line in get_from(server, "/metrics")[1].splitlines() if line.startswith("perennial_predictions_total")] == counted
    assert served.backend.observe(served.model)[2].requests == arms[2].requests
    puid = post(served, {"data": {"rows": [{**ROW, "distance": 2998}]}}, headers={REPLAYED: "1"})[1]["meta"]["puid"]
    testing.wait_until(lambda: [line for line in lines(served, "predictions") if line["id"] == f"{puid}-0"], 60, "the caller's line")
    assert not [line for line in lines(served, "predictions") if line["row"]["distance"] == 2999]


def two(found):
    """The items, if there are two."""
    found = list(found)
    return found if len(found) == 2 else None


def test_metrics_and_liveness_are_the_servers_own(served):
    """MN-04: Each server shows its counts in Prometheus' form and that it lives."""
    server = server_socket(served.settings, served.model.name, 1)
    assert 'perennial_predictions_total{code="400",model="small_delays",version="1"}' in get_from(server, "/metrics")[1]
    assert get_from(server, "/live") == (200, "live")


def test_a_server_is_reached_through_the_gateway_only(served):
    """SC-01: A prediction that went around the gateway would be in no log of its: a server listens on a socket of this user, and on no
    port."""
    server = server_socket(served.settings, served.model.name, 1)
    assert (server.parent.stat().st_mode & 0o777, server.stat().st_mode & 0o777) == (0o700, 0o700)
    pids = served.server_pids(1)
    assert len(pids) == {"open": 1, "seldon": 2}[served.settings.server]
    ports = [c.laddr.port for pid in pids for c in psutil.Process(pid).net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    assert ports == []


def test_all_figures_are_shown_on_one_port(served):
    """MN-04, MN-15, SY-07: Prometheus asks one port for the gateway's figures and every version's; a version that hangs takes none of the
    others' away."""
    post(served, {"data": {"rows": [ROW]}})
    server = MetricsServer(("127.0.0.1", 0), served.settings)
    server.supervisor = served.programs
    paused = served.server_pids(2)
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        found = server.metrics()
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        server.server_close()
    assert 'perennial_program_running{program="gateway"} 1' in found
    assert [line for line in found.splitlines() if line.startswith("perennial_part_answers")] == [
        'perennial_part_answers{part="gateway"} 1',
        'perennial_part_answers{part="small_delays-v1"} 1',
        'perennial_part_answers{part="small_delays-v2"} 0',
        'perennial_part_answers{part="store"} 1',
    ]
    assert 'perennial_program_memory_bytes{program="gateway"}' in found
    assert 'perennial_predictions_total{code="200",model="small_delays",version="1"}' in found
    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="small_delays-v1"}' in found
    assert [kind for kind in found.splitlines() if kind.startswith("# TYPE perennial_predictions_total")] == [
        "# TYPE perennial_predictions_total counter"
    ]


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/v1.0/feedback", 64 << 10), ("/send-feedback", 64 << 10), ("/api/v1.0/predictions", 16 << 20)]
)
def test_a_server_reads_no_more_than_its_limit(served, path, limit):
    """SE-15: Behind another gateway too: a body that says its length, and one in chunks, is refused with a sentence as soon as it is too
    large."""
    for chunked in (False, True):
        connection = UnixConnection(server_socket(served.settings, served.model.name, 1), timeout=60)
        body = b'{"data": "' + b"x" * limit + b'"}'
        connection.request("POST", path, iter([body]) if chunked else body, {"Content-Type": "application/json"}, encode_chunked=chunked)
        answer = connection.getresponse()
        assert (answer.status, "is larger than" in json.loads(answer.read())["status"]["info"]) == (413, True)
        connection.close()


def test_kill_9_loses_at_most_the_last_second_of_the_log(new_platform):
    """SE-13: After a kill -9 under load every answer older than a second is in the log, each id once."""
    platform = new_platform()
    platform.serve({1: 100}, {1: platform.version(1)})
    stop = threading.Event()
    rows = testing.small_rows(50)

    def calls():
        for number in range(100_000):
            yield Call([rows[number % 50]], id=f"k{number}")

    seen = []
    background = threading.Thread(
        target=lambda: seen.append(send(platform.settings, platform.model, calls(), rate=300, stop=stop, connections=4))
    )
    background.start()
    testing.wait_until(lambda: len(lines(platform, "predictions")) > 1200, 120, "enough answers in the log")
    cut = time.monotonic()
    for pid in platform.server_pids(1):
        os.kill(pid, signal.SIGKILL)
    stop.set()
    background.join()
    load = seen[0]
    logged = [line["id"] for line in lines(platform, "predictions")]
    old = [identity for identity, when in zip(load.ids, load.answered_at, strict=True) if when < cut - 1.0]
    print(f"{len(load.ids)} answered, {len(old)} of them over a second before the kill, {len(set(load.ids) - set(logged))} lost")
    assert len(old) > 300
    assert set(old) - set(logged) == set()
    assert len(logged) == len(set(logged))


def test_idle_connections_hold_no_thread(served):
    """SE-12: More silent connections than threads do not keep a server from answering."""
    with contextlib.ExitStack() as held:
        for _ in range(3 * served.model.serving.threads):
            held.enter_context(socket.socket(socket.AF_UNIX)).connect(str(server_socket(served.settings, served.model.name, 1)))
        time.sleep(0.3)
        load = send(served.settings, served.model, (Call([row]) for row in testing.small_rows(20)), connections=8)
    assert load.failures == []


def test_outcomes_are_taken_in_while_a_server_is_gone(served):
    """SE-13, OP-08: The champion's server is killed while outcomes come: each is answered with 200 and is in the store, by whichever
    version took it."""

    def sent(number):
        if number == 20:
            for pid in served.server_pids(1):
                os.kill(pid, signal.SIGKILL)
        message = {"response": {"meta": {"puid": f"killed-{number}"}}, "truth": {"data": {"ndarray": [[1]]}}}
        return post(served, message, "api/v1.0/feedback")[0]

    with ThreadPoolExecutor(max_workers=4) as callers:
        assert list(callers.map(sent, range(120))) == [200] * 120
    stored = {line["id"] for line in lines(served, "outcomes")}
    assert stored >= {f"killed-{number}" for number in range(120)}
    served.backend.wait_ready(served.model, 1, 60)


@pytest.mark.parametrize("server", ["open", "seldon"])
def test_sigterm_writes_the_log_to_its_end(new_platform, server):
    """SE-13: A server that is asked to stop loses no answer, and nothing breaks at its end."""
    platform = new_platform(server=server)
    platform.serve({1: 100}, {1: platform.version(1)})
    load = send(platform.settings, platform.model, (Call([row]) for row in testing.small_rows(200)))
    platform.programs.remove_program("serving-small_delays-v1")
    assert load.failures == []
    assert set(load.ids) == {line["id"] for line in lines(platform, "predictions")}
    log = platform.programs.log("serving-small_delays-v1").read_text()
    assert not [word for word in ("Traceback", "SIGABRT", "terminate called") if word in log]


def test_a_slow_candidate_costs_half_the_timeout_and_no_answer(new_platform):
    """SC-07, SE-04: A candidate that hangs is given half of the time a request may take, then the champion answers; the candidate gets an
    error for it."""
    platform = new_platform()
    platform.model = testing.small_model(timeout_seconds=4)
    good = platform.version(1)
    digests = {1: good, 2: platform.saboteur(good, share=0.0, seconds=6.0)}
    platform.serve({1: 50, 2: 50}, digests)
    load = send(platform.settings, platform.model, (Call([row]) for row in testing.small_rows(12)), connections=4)
    assert load.failures == []
    assert load.by_version == {1: 12}
    arms = platform.backend.observe(platform.model)
    assert arms[2].errors == arms[2].requests > 0
    assert arms[1].errors == 0


def test_reset_takes_the_model_off_the_gateway(new_platform):
    """SE-08: After reset the model has no route and no server, and its ports are free again."""
    platform = new_platform()
    platform.serve({1: 100}, {1: platform.version(1)})
    platform.backend.reset(platform.model)
    assert platform.backend.route(platform.model) is None
    assert set(platform.programs.programs()) == {"gateway"}
    assert json.loads((platform.settings.home / "serving" / "state.json").read_text()) == {}
    platform.backend.reset(platform.model)
    platform.serve({3: 100}, {3: platform.version(1)})
    assert platform.backend.route(platform.model) == Route({3: 10_000}, None, {3: platform.version(1)})
