"""The local backend: what every backend does, and under the real supervisor with several models and several writers."""

import http.client
import json
import os
import signal
import sys
import threading
import time
import uuid

import psutil
import pytest

from perennial import testing
from perennial.errors import ServiceUnreachable
from perennial.local.supervisor import Supervisor
from perennial.serving import envoy
from perennial.serving.backends.local import LocalBackend
from perennial.serving.load import Call, send
from perennial.serving.route import Route
from perennial.store import open_store

from ...backend_conformance import BackendConformance, Killed, Served
from .conftest import settings_for


class ServedHere(Served):
    """A model on the module's gateway."""

    platform = None

    def backend(self):
        """See `Served`."""
        return LocalBackend(self.settings, self.platform.programs)

    def dying_backend(self, after):
        """See `Served`. A change is a program started or ended."""
        return LocalBackend(self.settings, DyingPrograms(self.platform.programs, after))

    def kill_server(self, version):
        """See `Served`."""
        program = self.platform.programs.programs()[f"serving-{self.model.name}-v{version}"]
        for pid in self.platform.pids(program.pid):
            os.kill(pid, signal.SIGKILL)

    def footprint(self):
        """See `Served`."""
        mine = {name: found.pid for name, found in self.platform.programs.programs().items() if self.model.name in name}
        files = [self.settings.home / "envoy" / f"{name}.json" for name in ("cds", "rds")]
        return mine, [(file.read_text(), file.stat().st_mtime_ns) for file in files]

    def running(self):
        """See `Served`."""
        mine = f"serving-{self.model.name}-v"
        return {int(name.removeprefix(mine)) for name in self.platform.programs.programs() if name.startswith(mine)}


class DyingPrograms:
    """Programs whose caller is killed at a change."""

    def __init__(self, programs, after):
        self.programs, self.left = programs, after

    def add_program(self, name, command, environment, **more):
        """Start one, if it does not run."""
        if name not in self.programs.programs():
            self._change()
        self.programs.add_program(name, command, environment, **more)

    def remove_program(self, name):
        """Stop one."""
        self._change()
        self.programs.remove_program(name)

    def log(self, name):
        """Its log."""
        return self.programs.log(name)

    def _change(self):
        self.left -= 1
        if self.left < 0:
            raise Killed


class TestConformance(BackendConformance):
    """The local backend keeps the interface's promises."""

    @pytest.fixture
    def served(self, platform):
        """A model of its own, taken away at the end."""
        name = f"m_{uuid.uuid4().hex[:8]}"
        served = ServedHere(platform.settings, platform.store, testing.small_model(name), platform.scratch / name)
        served.platform = platform
        yield served
        served.backend().reset(served.model)


@pytest.fixture
def settings(tmp_path):
    """A home whose supervisor keeps a gateway running."""
    settings = settings_for(tmp_path)
    supervisor = Supervisor(settings)
    supervisor.start()
    try:
        envoy.prepare(settings)
        supervisor.add_program("gateway", envoy.command(settings), {})
        testing.wait_until(lambda: ready(LocalBackend(settings)), 60, "the gateway's answer")
        yield settings
    finally:
        supervisor.shutdown()


def test_two_models_are_released_at_the_same_time(settings, tmp_path):
    """SE-08: Two writers at once give each model its own servers; a second platform start brings the same routes back."""
    store = open_store(settings.store)
    models = [testing.small_model("one"), testing.small_model("two")]
    digests = {model.name: testing.publish_small_version(store, tmp_path / model.name, model=model.name) for model in models}
    failures = []

    def release(model):
        try:
            backend = LocalBackend(settings)
            backend.apply(model, Route({1: 10_000}, None, {1: digests[model.name]}))
            backend.wait_ready(model, 1, 60)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    writers = [threading.Thread(target=release, args=(model,)) for model in models]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    state = json.loads((settings.home / "serving" / "state.json").read_text())
    assert {name: known["versions"] for name, known in state.items()} == {"one": [1], "two": [1]}
    for model in models:
        assert send(settings, model, [Call([row]) for row in testing.small_rows(10)]).by_version == {1: 10}
        assert len(send(settings, model, [Call([{}])]).failures) == 1
        arm = LocalBackend(settings).observe(model)[1]
        assert (arm.answered, arm.unreadable, arm.errors) == (11, 1, 0), "the gateway tells what could not be read from what failed"

    supervisor, backend = Supervisor(settings), LocalBackend(settings)
    for model in models:
        supervisor.remove_program(f"serving-{model.name}-v1")
    assert backend.resume() == ["one", "two"]
    for model in models:
        backend.wait_ready(model, 1, 60)
        backend.apply(model, backend.route(model))
        assert send(settings, model, [Call([row]) for row in testing.small_rows(10)]).failures == []


def test_a_request_whose_body_comes_late_is_answered_though_a_version_leaves(settings, tmp_path):
    """SE-12: Its way is chosen by its headers. The version that it was for, or the shares of then, may be gone before the body is there."""
    model, store = testing.small_model("late"), open_store(settings.store)
    digest = testing.publish_small_version(store, tmp_path / "version", model=model.name)
    backend = LocalBackend(settings)
    backend.apply(model, Route({1: 10_000}, None, {1: digest}))
    backend.wait_ready(model, 1, 60)
    backend.apply(model, Route({1: 5000, 2: 5000}, None, {1: digest, 2: digest}))
    backend.wait_ready(model, 2, 60)
    body = json.dumps({"data": {"rows": testing.small_rows(1)}}).encode()
    callers = [http.client.HTTPConnection(settings.host, settings.gateway_port, timeout=30) for _ in range(20)]
    for caller in callers:
        caller.putrequest("POST", settings.prediction_path(model.name))
        caller.putheader("Content-Type", "application/json")
        caller.putheader("Content-Length", str(len(body)))
        caller.endheaders()
    time.sleep(0.2)
    change = threading.Thread(target=backend.apply, args=(model, Route({1: 10_000}, None, {1: digest})))
    change.start()
    time.sleep(0.7)
    for caller in callers:
        caller.send(body)
    assert [caller.getresponse().status for caller in callers] == [200] * 20
    change.join()
    for caller in callers:
        caller.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one loopback address by itself")
def test_the_gateway_has_one_port(tmp_path):
    """SC-01: Wherever it listens: what could stop it is a socket that only this user opens, and the backend finds it."""
    settings = settings_for(tmp_path, host="127.0.0.2")
    with testing.started(testing.Programs(tmp_path / "logs")) as programs:
        envoy.prepare(settings)
        programs.add_program("gateway", envoy.command(settings), {})
        testing.wait_until(lambda: ready(LocalBackend(settings, programs)), 60, "the gateway's answer")
        found = psutil.Process(programs.programs()["gateway"].pid).net_connections(kind="inet")
        assert {c.laddr for c in found if c.status == psutil.CONN_LISTEN} == {(settings.host, settings.gateway_port)}
        assert envoy.admin_socket(settings).stat().st_mode & 0o777 == 0o600


def ready(backend):
    """What the gateway says of itself; None while it does not answer."""
    try:
        return backend._admin("/ready")
    except ServiceUnreachable:
        return None


def test_what_cannot_be_is_told_in_a_sentence(settings):
    """SE-08: A version that does not run, and a gateway that is gone, are told apart."""
    backend, model = LocalBackend(settings), testing.small_model()
    with pytest.raises(ServiceUnreachable, match="not among the versions that run"):
        backend.wait_ready(model, 1, 1)
    assert backend.observe(model) == {}
    backend.apply(model, Route({1: 10_000}, None, {1: "0" * 64}))
    with pytest.raises(Exception, match="has no version 000000000000"):
        backend.wait_ready(model, 1, 60)
    Supervisor(settings).remove_program("gateway")
    with pytest.raises(ServiceUnreachable, match=r"The gateway does not answer on its status socket"):
        backend.observe(model)
