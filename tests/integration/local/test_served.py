"""A gateway and one served version under a real supervisor, and what a person is told of them when one hangs or the supervisor dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import psutil
import pytest

from perennial.commands import retire, status
from perennial.incidents.incidents import Incident, Incidents
from perennial.lineage.ledger import Ledger
from perennial.local import routes, stack
from perennial.local.container import StatusServer
from perennial.local.supervisor import Supervisor
from perennial.serving import caller, envoy
from perennial.serving.load import Call, send
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages._service import note_service
from perennial.store import Store, open_store
from perennial.testing import publish_small_version, small_model, small_rows, wait_until

pytestmark = pytest.mark.slow
SERVER = "serving-small_delays-v1"


@dataclass
class Served:
    """One released version."""

    settings: Settings
    store: Store
    model: ModelSpec
    supervisor: Supervisor

    def start(self) -> None:
        """The gateway and the version, as `perennial up` starts them; returns once they answer."""
        envoy.prepare(self.settings)
        self.supervisor.add_program(stack.GATEWAY, envoy.command(self.settings), {})
        wait_until(lambda: not stack.silent(self.settings, self.store, {stack.GATEWAY}), 60, "the gateway's answer")
        assert list(routes.resume(self.settings, self.store)) == ["  small_delays serves version 1"]

    def predicts(self) -> bool:
        """Whether a caller gets a score."""
        return not send(self.settings, self.model, [Call(small_rows(1))]).failures

    def stop_signal(self, name: str) -> None:
        """Let a program hang: it and its children get SIGSTOP."""
        process = psutil.Process(self.supervisor.programs()[name].pid)
        for found in (process, *process.children(recursive=True)):
            os.kill(found.pid, signal.SIGSTOP)
            wait_until(lambda process=found: process.status() == psutil.STATUS_STOPPED, 30, "the end of what it was about")

    def incidents(self) -> list[Incident]:
        """The open ones."""
        return Incidents(self.store, "small_delays").open_ones()


@pytest.fixture(scope="module")
def served(make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The only model of this home serves its first version."""
    settings = make_settings()
    store, supervisor = open_store(settings.store), Supervisor(settings)
    digest = publish_small_version(store, tmp_path_factory.mktemp("version") / "1")
    weights, versions = {1: 10_000}, {1: digest}
    Ledger(store, "small_delays").append(
        "released", version=1, champion=1, weights=weights, versions=versions, reason="first", actor="perennial", after_seq=None
    )
    found = Served(settings, store, small_model(), supervisor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "PATIENCE_SECONDS", 0.0)
        patch.setattr(caller, "ANSWER_SECONDS", 1.0)  # nothing here is so slow unless it hangs
        patch.setattr(routes.discovery, "models", lambda: {"small_delays": found.model})
        supervisor.start()
        found.start()
        yield found
        supervisor.shutdown()


def test_status_asks_each_version_as_a_caller(served, capsys):
    """MN-04: What answers is said with its share of the traffic."""
    assert served.predicts()
    assert status.run(served.settings, served.store) == 0
    printed = capsys.readouterr().out
    assert "small_delays 1" in printed
    assert "100 %" in printed
    assert "does not answer" not in printed
    assert note_service(served.settings, served.store, "small_delays") == ()
    proxied = served.settings.model_copy(update={"gateway_url": "http://127.0.0.1:9"})
    assert stack.silent(proxied, served.store, {stack.GATEWAY}) == set(), "it answers, though nobody comes to it from elsewhere"


def test_a_version_that_hangs_is_told_noted_and_mended(served, capsys, monkeypatch):
    """MN-09, OP-08: Its process runs, its port takes connections, and nobody gets an answer: `status` says so, an incident opens, `up`
    mends it and ends that."""
    with StatusServer(("127.0.0.1", 0), served.settings) as health:
        assert health.trouble() == ""
        served.stop_signal(SERVER)
        assert "Version 1 of small_delays does not answer" in health.trouble()
    assert status.run(served.settings, served.store) == 1
    assert "does not answer: " in capsys.readouterr().out.split("small_delays 1")[1]
    monkeypatch.setattr("perennial.stages._service.PATIENCE_SECONDS", 0.1)
    (opened,) = note_service(served.settings, served.store, "small_delays")
    assert note_service(served.settings, served.store, "small_delays") == ()
    (incident,) = served.incidents()
    assert (incident.id, incident.kind, incident.key, incident.severity) == (opened, "service", "version 1", "critical")
    young = list(routes.mend(served.settings, served.store))
    assert young == []  # it may still be starting
    monkeypatch.setattr(served, "model", small_model(start_seconds=0.5))
    proxied = served.settings.model_copy(update={"gateway_url": "http://127.0.0.1:9"})  # it leads nowhere now, which is not ours to mend
    (sentence,) = routes.mend(proxied, served.store)
    assert "version 1 of small_delays" in sentence
    monkeypatch.undo()
    assert list(routes.resume(served.settings, served.store)) == ["  small_delays serves version 1"]
    assert served.incidents() == []
    assert served.predicts()


def test_a_gateway_that_hangs_is_told_noted_and_mended(served, capsys, monkeypatch):
    """MN-09, OP-08: The kernel takes connections for it, and its process runs."""
    wait_until(lambda: served.supervisor.programs()[SERVER].state == "RUNNING", 60)  # the test before may have started it anew
    served.stop_signal(stack.GATEWAY)
    with StatusServer(("127.0.0.1", 0), served.settings) as health:
        assert "The gateway does not answer" in health.trouble()
    assert status.run(served.settings, served.store) == 1
    printed = capsys.readouterr().out
    assert "does not answer" in printed.split(stack.GATEWAY)[1].splitlines()[0]
    monkeypatch.setattr("perennial.stages._service.PATIENCE_SECONDS", 0.1)
    note_service(served.settings, served.store, "small_delays")
    assert [i.key for i in served.incidents()] == ["gateway"]
    said: list[str] = []
    gateway = replace(stack._parts(served.settings, served.store)[stack.GATEWAY], patience=0)
    stack._wait(served.supervisor, [gateway], datetime.now(timezone.utc), said.append)
    assert "started anew" in said[0]
    assert "ready" in said[1]
    wait_until(served.predicts, 60)
    note_service(served.settings, served.store, "small_delays")
    assert served.incidents() == []


def test_what_a_killed_supervisor_left_is_named_and_replaced(served, capsys):
    """OP-08: Its ports are no stranger's; the version answers until its successor starts, and what has none is ended."""
    served.supervisor.add_program("stray", ["sleep", "1000"], {})
    wait_until(lambda: served.supervisor.programs()["stray"].state == "RUNNING", 60)
    before = {name: program.pid for name, program in served.supervisor.programs().items()}
    os.kill(int((served.settings.home / "supervisor/supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not served.supervisor.running(), 60)
    assert served.supervisor.left() == before
    assert status.run(served.settings, served.store) == 1
    printed = capsys.readouterr().out
    assert "supervisor has gone" in printed
    assert "answers" in printed.split("small_delays 1")[1]
    parts = stack._parts(served.settings, served.store)
    stack._check_ports({stack.GATEWAY: parts[stack.GATEWAY]}, before)
    served.supervisor.start(keep=before)
    assert served.predicts()
    assert served.supervisor.left() == before  # a kill here loses nobody
    served.start()
    assert served.predicts()
    assert list(served.supervisor.left()) == ["stray"]
    served.supervisor.end_left()
    assert served.supervisor.left() == {}
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in before.values())
    assert set(served.supervisor.programs()) == {stack.GATEWAY, SERVER}
    assert served.predicts()


def test_a_supervisor_that_hangs_is_replaced(served, monkeypatch):
    """OP-08: It is killed first: else it would start again what its successor ends."""
    monkeypatch.setattr("perennial.local.supervisor.ANSWER_SECONDS", 1)
    hanging = int((served.settings.home / "supervisor/supervisord.pid").read_text())
    os.kill(hanging, signal.SIGSTOP)
    assert not served.supervisor.running()
    served.supervisor.start(keep=served.supervisor.left())
    assert not psutil.pid_exists(hanging) or psutil.Process(hanging).status() == psutil.STATUS_ZOMBIE
    served.start()
    assert served.predicts()


def test_a_model_whose_folder_is_gone_serves_on_until_it_is_retired(served, capsys, monkeypatch):
    """SC-09: Callers are answered also after the next start, and `status` names it; retired, its route is off the gateway and its server
    has ended."""
    monkeypatch.setattr(routes.discovery, "models", dict)
    (said,) = routes.resume(served.settings, served.store)
    assert said.startswith("  small_delays serves version 1, with the settings of serving that it had. ")
    assert served.predicts()
    assert status.run(served.settings, served.store) == 0
    assert "perennial_models/small_delays is gone" in capsys.readouterr().out
    assert retire.run(served.settings, served.store, model="small_delays", reason="renamed", actor="jo") == 0
    assert "was retired on" in capsys.readouterr().out
    assert not served.predicts()
    assert set(served.supervisor.programs()) == {stack.GATEWAY}
    assert list(routes.resume(served.settings, served.store)) == []
    assert status.run(served.settings, served.store) == 0
    assert "is gone" not in capsys.readouterr().out
