"""The Seldon backends against a small Kubernetes API, gateway and Prometheus over HTTP: what is written when, and every sentence.

What the real ones do is shown by tests/kubernetes.
"""

import copy
import http.server
import itertools
import json
import random
import threading
import time
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from perennial.errors import LedgerConflict, ReleaseRefused, ServiceUnreachable, SettingMissing
from perennial.serving import mlserver_folder
from perennial.serving.backends import open_backend, seldon, seldon_core2, seldon_v1, served_pods, versions_in_pods, written_route
from perennial.serving.route import WHOLE, Route
from perennial.settings import Settings
from perennial.store import open_store
from perennial.testing import small_model

from .....small_kubernetes import SmallKubernetes
from .test_seldon_v1 import DIGESTS, TEMPLATE

MODEL = small_model()
FIRST, IDLE = Route({1: WHOLE}, None, DIGESTS, 1), Route({1: WHOLE, 2: 0}, None, DIGESTS, 1)
CANARY, OVER = Route({1: 5000, 2: 5000}, None, DIGESTS, 1), Route({1: 0, 2: WHOLE}, None, DIGESTS, 2)
SERIES = {"namespace": "models", "model": "small_delays"}


class SmallCluster:
    """The API, and one HTTP server that is gateway and Prometheus."""

    def __init__(self, folder):
        self.api = SmallKubernetes()
        self.weights, self.figures, self.sick = {}, [], set()
        self.operator = True
        self.said = {}  # what servers say on /ready, by version
        self.api.after_write.append(lambda _: self.operate() if self.operator else None)
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                address = urlsplit(self.path)
                if address.path == "/api/v1/query":
                    return self.answer(200, world.query(parse_qs(address.query)["query"][0]))
                if not world.weights:
                    return self.answer(503, {})
                version = random.choices(list(world.weights), list(world.weights.values()))[0]
                return self.answer(200, {}, version)

            def answer(self, status, body, version=None):
                data = json.dumps(body).encode()
                self.send_response(status)
                if version:
                    self.send_header("x-perennial-version", str(version))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        (folder / "server.yaml").write_text(yaml.safe_dump(TEMPLATE))
        self.settings = Settings(
            serving="seldon", store=str(folder / "store"), pod_templates=str(folder), serving_namespace="models", prometheus_url=url,
            gateway_url=url
        )  # fmt: skip

    def stop(self):
        """End both."""
        self.api.stop()
        self.server.shutdown()
        self.server.server_close()

    def operate(self):
        """What the operator makes of the object: Deployments and ready pods at once, traffic when none is sick."""
        live = self.api.objects.get(("seldondeployments", "small-delays"))
        predictors = live["spec"]["predictors"] if live else []
        for kind, name in [key for key in self.api.objects if key[0] in ("deployments", "pods")]:
            if name not in [p["name"] for p in predictors]:
                del self.api.objects[kind, name]
        now = datetime.now(timezone.utc).isoformat()
        for p in predictors:
            labels = {written_route.MODEL: MODEL.name, written_route.VERSION: p["name"][1:]}
            well = int(p["name"][1:]) not in self.sick
            counts = {"observedGeneration": 9, "updatedReplicas": 1, "replicas": 1, "readyReplicas": int(well)}
            meta = {"name": p["name"], "labels": labels}
            ready = [{"type": "Ready", "status": str(well), "lastTransitionTime": now}]
            self.api.put("deployments", {"metadata": meta, "spec": {"replicas": 1}, "status": counts})
            self.api.put("pods", {"metadata": meta, "status": {"podIP": "192.0.2.1", "conditions": ready}})
        if not any(int(p["name"][1:]) in self.sick for p in predictors):
            self.weights = {int(p["name"][1:]): p["traffic"] for p in predictors if p["traffic"] and not p.get("shadow")}

    def query(self, text):
        """What Prometheus answers."""
        rows = [
            (labels, value)
            for name, labels, value in self.figures
            if name in text and not (text.startswith("max") and labels.get("code") != "200")
        ]
        return {"data": {"result": [{"metric": labels, "value": [time.time(), str(value)]} for labels, value in rows]}}

    def count(self, version, pod, at=None, **codes):
        """Counters that Prometheus has of one pod."""
        same = {**SERIES, "version": str(version), "pod": pod}
        total = sum(codes.values())
        self.figures = [f for f in self.figures if f[1].get("pod") != pod]
        self.figures += [("perennial_predictions_total{", {**same, "code": code[1:]}, value) for code, value in codes.items()]
        self.figures += [
            ("perennial_prediction_seconds_bucket", {**same, "le": le}, n) for le, n in (("0.005", total // 2), ("+Inf", total))
        ]
        self.figures.append(("max by", {"version": str(version), "code": "200"}, at or time.time()))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """With servers that say that they are ready."""
    world = SmallCluster(tmp_path)
    (tmp_path / "kubeconfig").write_text(world.api.kubeconfig())
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(versions_in_pods, "_PROBE_SECONDS", 0)
    monkeypatch.setattr(versions_in_pods, "TAKE_UP_SECONDS", 1.0)

    def ask(pod, port, seconds):
        version = int(pod["metadata"]["labels"][written_route.VERSION])
        said = {"ready": version not in world.sick, "refused": False, "reason": "loading", "digest": DIGESTS[version]}
        return {**said, **world.said.get(version, {})} if world.said.get(version, ()) is not None else None

    monkeypatch.setattr(served_pods, "ask_ready", ask)
    yield world
    world.stop()


def test_the_dialect_opens_the_backend(world):
    """DE-06: The settings choose, and nothing else."""
    assert isinstance(open_backend(world.settings), seldon.SeldonBackend)
    assert isinstance(open_backend(world.settings.model_copy(update={"seldon_dialect": "v2"})), seldon_core2.Core2Backend)


def test_a_route_is_written_once_and_read_back(world):
    """SE-08: Applying it again writes nothing; another route does, and the traffic has moved when the call returns."""
    backend = seldon.SeldonBackend(world.settings)
    assert backend.route(MODEL) is None
    assert backend.observe(MODEL) == {}
    backend.apply(MODEL, FIRST)
    backend.wait_ready(MODEL, 1, 5)
    assert backend.route(MODEL) == Route({1: WHOLE}, None, {1: DIGESTS[1]}, 1)
    backend.apply(MODEL, FIRST)
    assert world.api.writes == 1
    backend.apply(MODEL, IDLE)
    backend.wait_ready(MODEL, 2, 5)
    backend.apply(MODEL, OVER)
    assert world.weights == {2: 100}
    assert world.api.writes == 3
    with pytest.raises(ServiceUnreachable, match="Version 9 of small_delays is not among the versions that run"):
        backend.wait_ready(MODEL, 9, 1)


def test_an_idle_version_that_is_not_ready_is_left_out_until_traffic_has_moved(world):
    """SE-12, DE-06: Two writes then: the operator moves nothing while any version of the object is not ready."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, IDLE)
    world.sick = {3}
    seen = []
    world.api.after_write.append(
        lambda api: seen.append([p["name"] for p in api.objects["seldondeployments", "small-delays"]["spec"]["predictors"]])
    )
    backend.apply(MODEL, Route({1: 0, 2: WHOLE, 3: 0}, None, DIGESTS, 2))
    assert seen == [["v1", "v2"], ["v1", "v3", "v2"]]
    assert world.weights == {2: 100}


def test_traffic_that_does_not_move_is_told(world):
    """DE-06, MN-18: A stuck operator and an ingress that still sends requests to what has no share end in a sentence."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, IDLE)
    world.operator = False
    with pytest.raises(ServiceUnreachable, match="has not moved 1 s after its SeldonDeployment was changed: version 2 gets no request"):
        backend.apply(MODEL, OVER)
    world.weights = {1: 50, 2: 50}
    with pytest.raises(ServiceUnreachable, match=r"version . still answers|gets no request"):
        backend.apply(MODEL, FIRST)


def test_an_ingress_that_takes_0_for_a_share_is_found_out(world):
    """SE-08: A version without a weight that answers is never called ready."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, IDLE)
    world.weights = {1: 50, 2: 50}
    with pytest.raises(ServiceUnreachable, match="does not take a weight of 0 for none"):
        backend.wait_ready(MODEL, 2, 5)


def test_ready_is_what_servers_say_and_the_route_shows(world):
    """DE-11: Refused, still loading, another content, silent, and out of the route's reach are told apart."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, FIRST)
    for said, error, words in (
        ({"refused": True, "ready": False, "reason": "Golden row 3 differs."}, ReleaseRefused, "Golden row 3 differs"),
        ({"digest": "other"}, ServiceUnreachable, "its pods still serve another content, though Kubernetes finds it ready"),
        (None, ServiceUnreachable, "does not answer at 192.0.2.1:9000, though .* a NetworkPolicy may be in the way"),
    ):
        world.said[1] = said
        with pytest.raises(error, match=words):
            backend.wait_ready(MODEL, 1, 0.3)
    world.said, world.sick = {}, {1}
    world.operate()
    with pytest.raises(ServiceUnreachable, match=r"is not ready after 0\.3 s: its pods run and are not ready \(loading\)"):
        backend.wait_ready(MODEL, 1, 0.3)
    world.sick = set()
    world.operate()
    world.weights = {}
    with pytest.raises(ServiceUnreachable, match=r"is ready and gets no request after 0\.3 s: the last answer was 503"):
        backend.wait_ready(MODEL, 1, 0.3)


def test_a_server_that_dies_is_told_with_its_last_words(world):
    """MN-18: The log of the container that ended says why; that it may not be read is said too."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, FIRST)
    world.sick = {1}
    world.operate()
    pod = world.api.objects["pods", "v1"]
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    pod["status"]["containerStatuses"] = [{"name": "server", "image": "x", "ready": False, "restartCount": 2, "lastState": ended}]
    with pytest.raises(ServiceUnreachable, match=r"its server ended \(exit code 1, 2 times so far\)\.$"):
        backend.wait_ready(MODEL, 1, 0.1)
    world.api.logs["v1"] = "RuntimeError: no store\n"
    with pytest.raises(ServiceUnreachable, match=r"Its last words: RuntimeError: no store"):
        backend.wait_ready(MODEL, 1, 0.1)


def test_of_two_writers_one_is_told(world):
    """DE-22: What another one changed since it was read is not overwritten; a new status is no change."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, FIRST)
    first = backend._live(MODEL)
    world.api.put("seldondeployments", {**first, "status": {"state": "Creating"}})
    backend._write(first, seldon_v1.render(MODEL, IDLE, "models", TEMPLATE))
    for rests_on in (first, None):
        with pytest.raises(LedgerConflict, match="Another writer changed the SeldonDeployment small-delays"):
            backend._write(rests_on, seldon_v1.render(MODEL, OVER, "models", TEMPLATE))
    assert backend.route(MODEL) == Route({1: WHOLE, 2: 0}, None, {v: DIGESTS[v] for v in (1, 2)}, 1)


def test_somebody_elses_object_is_not_touched(world):
    """DE-06: An object of that name without a route was not made here."""
    backend = seldon.SeldonBackend(world.settings)
    world.operator = False
    foreign = seldon_v1.render(MODEL, FIRST, "models", TEMPLATE)
    foreign["metadata"]["annotations"] = {}
    world.api.put("seldondeployments", foreign)
    with pytest.raises(ServiceUnreachable, match="that Perennial has not made"):
        backend.apply(MODEL, FIRST)
    assert world.api.writes == 0


def test_counts_are_the_pods_and_only_grow(world):
    """MN-04, MN-15: Answers by status code and latency from Prometheus, folded over restarts; reset forgets them with the object."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, IDLE)
    assert {v: (a.requests, a.healthy) for v, a in backend.observe(MODEL).items()} == {1: (0, True), 2: (0, True)}
    world.count(1, "a", _200=90, _400=5, _500=3, _503=2)
    world.count(1, "b", _200=10)
    arm = backend.observe(MODEL)[1]
    assert (arm.requests, arm.errors) == (110, 5)
    assert arm.latency_ms == ((5.0, 55), (float("inf"), 110))
    world.count(1, "a", _200=1, _500=1)
    world.sick = {2}
    world.operate()
    arms = backend.observe(MODEL)
    assert (arms[1].requests, arms[1].errors, arms[2].healthy) == (112, 6, False)
    backend.reset(MODEL)
    backend.reset(MODEL)
    assert backend.route(MODEL) is None
    backend.apply(MODEL, IDLE)
    world.figures = []
    assert backend.observe(MODEL)[1].requests == 0


def test_a_blind_prometheus_is_told(world):
    """MN-15: Pods that are ready and not scraped, a series without its pod, something else that answers, and nobody."""
    backend = seldon.SeldonBackend(world.settings)
    backend.apply(MODEL, FIRST)
    pod = world.api.objects["pods", "v1"]
    pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    with pytest.raises(ServiceUnreachable, match=r"has no new figures of version 1 .* make it scrape /metrics on port 9000"):
        backend.observe(MODEL)
    world.count(1, "a", at=time.time() - 600, _200=5)
    with pytest.raises(ServiceUnreachable, match="has no new figures of version 1"):
        backend.observe(MODEL)
    world.count(1, "a", _200=5)
    assert backend.observe(MODEL)[1].requests == 5
    for broken, words in (
        ({**SERIES, "version": "1", "code": "200"}, "have no label `pod`"),
        ({**SERIES, "version": "new", "code": "200", "pod": "c"}, "do not name versions by the label version"),
    ):
        world.figures = [("perennial_predictions_total{", broken, 1)]
        with pytest.raises(ServiceUnreachable, match=words):
            backend.observe(MODEL)
    for url, words in (("http://127.0.0.1:9", "does not answer"), (world.api.url, r"refuses a question \(404")):
        with pytest.raises(ServiceUnreachable, match=words):
            seldon.SeldonBackend(world.settings.model_copy(update={"prometheus_url": url})).observe(MODEL)
    with pytest.raises(SettingMissing, match="PERENNIAL_PROMETHEUS_URL is not set"):
        seldon.SeldonBackend(world.settings.model_copy(update={"prometheus_url": ""})).observe(MODEL)


def test_what_the_api_refuses_is_one_sentence(world, monkeypatch, tmp_path):
    """DE-09, MN-18: A missing right, an unknown kind, another refusal, silence and no cluster are told apart."""
    backend = seldon.SeldonBackend(world.settings)
    for status, words in (
        (403, "does not let this account get seldondeployments in the namespace models .*give it that right"),
        (401, "does not let this account"),
        (422, "refused to get seldondeployments in the namespace models .422: because"),
    ):
        world.api.refused = {"GET": (status, "because")}
        with pytest.raises(ServiceUnreachable, match=words):
            backend.route(MODEL)
    world.api.refused = {}
    with pytest.raises(ServiceUnreachable, match=r"knows no unicorns of example\.com: its kind is not installed there"):
        backend.api._call("GET", "/apis/example.com/v1/namespaces/models/unicorns/y", "get unicorns")
    gone = tmp_path / "gone"
    gone.write_text(world.api.kubeconfig().replace(world.api.url, "http://127.0.0.1:9"))
    monkeypatch.setenv("KUBECONFIG", str(gone))
    with pytest.raises(ServiceUnreachable, match=r"The Kubernetes API at http://127\.0\.0\.1:9 does not answer"):
        seldon.SeldonBackend(world.settings).route(MODEL)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ServiceUnreachable, match="No Kubernetes cluster is named"):
        seldon.SeldonBackend(world.settings)


@pytest.fixture
def core_2_store(world, monkeypatch):
    """What stands for the bucket."""
    store = open_store(world.settings.store)
    monkeypatch.setattr(seldon_core2, "open_store", lambda address: store)
    return store


def test_core_2_makes_models_before_the_experiment_names_them(world, core_2_store):
    """DE-06, SC-01: What servers are told is in the store first, then Models, then the Experiment, then what left goes; repeated it writes
    nothing, and two writers do not both win.
    """
    settings = world.settings.model_copy(update={"store": "s3://bucket"})
    backend = seldon_core2.Core2Backend(settings)
    world.operator = False
    assert backend.route(MODEL) is None
    order = []
    world.api.after_write.append(lambda api: order.append(sorted(name for _, name in api.objects)))
    backend.apply(MODEL, CANARY)
    told = mlserver_folder.Told(MODEL.name, 2, DIGESTS[2])
    assert json.loads(core_2_store.read(f"{told.prefix}/version.json")) == {"model": MODEL.name, "version": 2, "digest": DIGESTS[2]}
    assert json.loads(core_2_store.read(f"{told.prefix}/model-settings.json"))["implementation"] == mlserver_folder.RUNTIME
    assert order == [["small-delays-v1"], ["small-delays-v1", "small-delays-v2"], ["small-delays", "small-delays-v1", "small-delays-v2"]]
    assert backend.route(MODEL) == Route({1: 5000, 2: 5000}, None, {v: DIGESTS[v] for v in (1, 2)}, 1)
    backend.apply(MODEL, CANARY)
    assert world.api.writes == 3
    before = backend._experiment(MODEL)
    backend.apply(MODEL, FIRST)
    assert sorted(name for _, name in world.api.objects) == ["small-delays", "small-delays-v1"]
    *_, experiment = seldon_core2.seldon_v2.render(MODEL, IDLE, "models", "s3://bucket")
    with pytest.raises(LedgerConflict, match="Another writer changed the Experiment small-delays"):
        backend._share(before, experiment)


def test_core_2_is_ready_when_it_says_so_of_the_newest_description(world, core_2_store):
    """DE-11: An old status, a missing Model and the message of a failed one are told; the counters are those of our runtime."""
    backend = seldon_core2.Core2Backend(world.settings.model_copy(update={"store": "s3://bucket"}))
    world.operator = False
    with pytest.raises(ServiceUnreachable, match="is not among the versions that run"):
        backend.wait_ready(MODEL, 1, 1)
    backend.apply(MODEL, FIRST)
    with pytest.raises(ServiceUnreachable, match="has not taken up small-delays-v1 of models yet"):
        backend.wait_ready(MODEL, 1, 0.1)

    def say(kind, name, state, message=""):
        status = {"observedGeneration": 9, "conditions": [{"type": "Ready", "status": state, "message": message}]}
        world.api.put(kind, {**copy.deepcopy(world.api.objects[kind, name]), "status": status})

    say("experiments", "small-delays", "True")
    say("models", "small-delays-v1", "False", "no server has the capability")
    with pytest.raises(ServiceUnreachable, match="small-delays-v1 of models is not ready: no server has the capability"):
        backend.wait_ready(MODEL, 1, 0.1)
    why = "Version 1 of small_delays must not serve. Golden row 3 scores 0.1 here and scored 0.4 in training."
    say("models", "small-delays-v1", "False", f"load failed: {why}")
    with pytest.raises(ReleaseRefused) as refused:
        backend.wait_ready(MODEL, 1, 60)
    assert str(refused.value) == why
    say("models", "small-delays-v1", "True")
    backend.wait_ready(MODEL, 1, 1)
    world.count(1, "mlserver-0", c200=7, c500=1)
    backend.settings = world.settings
    arm = backend.observe(MODEL)[1]
    assert (arm.requests, arm.errors, arm.healthy) == (8, 1, True)
    backend.reset(MODEL)
    assert world.api.objects == {}
    assert backend.observe(MODEL) == {}


def ambassador_shares(predictors):
    """What Ambassador gives each predictor of what Seldon Core's operator tells it: nothing of the first one's weight and none of 0, and
    what has no weight shares what is left.
    """
    told = {p["name"]: p["traffic"] or None for p in predictors[1:]}
    told = {predictors[0]["name"]: None, **told}
    left, blank = 100 - sum(filter(None, told.values())), [name for name, weight in told.items() if weight is None]
    return {name: left / len(blank) if weight is None else weight for name, weight in told.items()}


def test_no_order_of_weights_gives_an_idle_version_traffic_at_ambassador():
    """SE-08: As rendered nothing leaks; the champion first would share half of its traffic."""
    for weights in itertools.product((0, 5, 40, 95, 100), repeat=3):
        if sum(weights) == 100:
            route = Route({v: w * 100 for v, w in enumerate(weights, 1)}, None, DIGESTS)
            predictors = seldon_v1.render(MODEL, route, "models", TEMPLATE)["spec"]["predictors"]
            assert ambassador_shares(predictors) == {f"v{v}": w for v, w in enumerate(weights, 1)}
    predictors = seldon_v1.render(MODEL, IDLE, "models", TEMPLATE)["spec"]["predictors"]
    assert ambassador_shares(predictors[::-1]) == {"v1": 50, "v2": 50}
