from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from perennial.commands import watch
from perennial.errors import ServiceUnreachable, SettingMissing
from perennial.local import metrics_server, refusals
from perennial.local.metrics_server import FiguresServer, MetricsServer, merged
from perennial.local.supervisor import Supervisor
from perennial.settings import Settings
from perennial.store import open_store
from perennial.testing import wait_until
from perennial.views.gauges import Gauge


@pytest.fixture
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server for a home in which nothing runs."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path_factory.mktemp("home"))})
    server = MetricsServer(("127.0.0.1", 0), settings)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_each_metric_is_told_of_once() -> None:
    """MN-04, MN-15: Prometheus refuses an answer that describes a metric twice: versions have the same ones, and each keeps its samples."""
    head = "# HELP asked_total Requests.\n# TYPE asked_total counter\n"
    found = merged([f'{head}asked_total{{version="1"}} 3\n', "bare 1\n", f'{head}asked_total{{version="2"}} 4\n# EOF\n'])
    assert found == f'{head}asked_total{{version="1"}} 3\nasked_total{{version="2"}} 4\nbare 1\n'


def test_a_part_that_breaks_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04, MN-15: Whatever goes wrong with the figures of models, the answer comes, and says that they are missing."""

    def breaks(store: object) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(metrics_server.gauges, "of_models", breaks)
    with FiguresServer(("127.0.0.1", 0), Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})) as server:
        told = server.metrics()
    assert 'perennial_part_answers{part="store"} 0' in told


@pytest.mark.parametrize("port", [None, 99_999])
def test_a_watch_whose_port_is_taken_says_so(tmp_path: Path, port: int | None) -> None:
    """MN-15: One sentence, whether another listens there or it is no port at all."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_HOST": "127.0.0.1"})
    with FiguresServer(("127.0.0.1", 0), settings) as other, pytest.raises(SettingMissing, match="give another port to --figures"):
        watch.run(settings, open_store(settings.store), once=True, figures=port or other.server_port)


def test_a_watch_on_a_cluster_tells_of_models_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04, MN-15: Asked by the pod's address, in Prometheus' form; of a store that does not answer one figure says so."""
    monkeypatch.setattr(metrics_server, "REMEMBERED_SECONDS", 0.0)
    server = FiguresServer(("127.0.0.1", 0), Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)}))
    Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers={"Host": "10.0.0.7:9900"})
        answer = connection.getresponse()
        assert answer.status == 200
        found = answer.read().decode()
        assert 'perennial_part_answers{part="store"} 1' in found
        assert "perennial_version_share" in found
        assert "perennial_machine" not in found

        def away(uri: str) -> None:
            raise ServiceUnreachable("The store does not answer.")

        monkeypatch.setattr(metrics_server, "open_store", away)
        connection.request("GET", "/metrics")
        found = connection.getresponse().read().decode()
        assert 'perennial_part_answers{part="store"} 0' in found
        assert "perennial_version_share" not in found
    finally:
        connection.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/metrics", {}, 503),  # nothing runs, which it says
        ("GET", "/metrics", {"Host": "elsewhere.example"}, 403),
        ("GET", "/metrics", {"Origin": "http://elsewhere.example"}, 403),
        ("GET", "/stats", {}, 404),
        ("GET", "/quitquitquit", {}, 404),
        ("POST", "/metrics", {}, 501),
        ("POST", "/quitquitquit", {}, 501),
    ],
)
def test_there_is_nothing_but_figures_for_callers_of_this_machine(
    port: int, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """SC-01: What stands before the gateway's own door passes nothing on, and no page of another site reads it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    assert connection.getresponse().status == status
    connection.close()


def test_what_the_web_server_refused_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-16: Failed logins and refused callers are counters, from nought on."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    monkeypatch.setattr(Supervisor, "programs", lambda self: {})
    with MetricsServer(("127.0.0.1", 0), settings) as server:
        assert 'perennial_web_refused_total{what="login"} 0' in server.metrics()
        refusals.count(settings, "login")
        refusals.count(settings, "login")
        found = server.metrics()
    assert "# TYPE perennial_web_refused_total counter" in found
    assert 'perennial_web_refused_total{what="login"} 2' in found
    assert 'perennial_web_refused_total{what="caller"} 0' in found


def test_a_store_that_hangs_keeps_no_other_figure_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04: It is asked by one thread however many scrapes there are; each says in time that it does not answer, and once it does it has
    figures again."""
    monkeypatch.setattr(metrics_server, "MAKE_SECONDS", 0.05)
    monkeypatch.setattr(metrics_server, "REMEMBERED_SECONDS", 0.0)
    answers, asked = Event(), []

    def make() -> list[Gauge]:
        asked.append(1)
        answers.wait(60)
        return [Gauge("g", "A gauge.", [])]

    remembered = metrics_server.Remembered(make)
    assert [remembered.get() for _ in range(5)] == [None] * 5
    assert asked == [1]
    answers.set()
    wait_until(lambda: remembered.get() == [Gauge("g", "A gauge.", [])], 30)
