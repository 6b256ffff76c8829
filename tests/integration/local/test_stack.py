from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from perennial.commands import down, status, up
from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.local import airflow_programs, stack
from perennial.local.airflow_api import AirflowApi
from perennial.local.orphans import ADDRESS
from perennial.local.supervisor import Supervisor
from perennial.settings import Settings
from perennial.store import Store, open_store
from perennial.testing import free_ports, wait_until

from ... import browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    """A home of this module, open to others as earlier releases left theirs; whatever a test leaves running is stopped at the end."""
    found = make_settings()
    found.home.chmod(0o755)
    before = os.umask(0o077)  # as the command line does
    yield found
    stack.stop(found)
    os.umask(before)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Store:
    """The home's store."""
    return open_store(settings.store)


@pytest.fixture
def platform(settings: Settings, store: Store) -> Supervisor:
    """The platform, up."""
    assert up.run(settings, store) == 0
    return Supervisor(settings)


def ask(url: str, data: dict[str, str] | None = None) -> dict[str, object]:
    """A JSON answer."""
    request = urllib.request.Request(url, None if data is None else json.dumps(data).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found


def healthy(settings: Settings) -> bool:
    """Whether Airflow says that all of it is well."""
    try:
        found = ask(f"{settings.airflow_url}/api/v2/monitor/health")
    except OSError:
        return False
    return all(part["status"] == "healthy" for part in found.values() if isinstance(part, dict))


def pids_of(settings: Settings) -> set[int]:
    """Every process that supervisord of this home started, found as a stranger would."""
    address, found = f"unix://{Supervisor(settings).socket}", set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(ADDRESS) == address:
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_up_starts_everything_and_says_where(settings, store, capsys):
    """DE-09, OP-01: One command; the password lets a person in."""
    assert up.run(settings, store) == 0
    printed = capsys.readouterr().out
    for address in (
        settings.airflow_url,
        settings.mlflow_url,
        f"{settings.airflow_url}/perennial/reports",
        settings.gateway_url,
        str(airflow_programs.passwords_file(settings)),
        str(settings.mlflow_password),
    ):
        assert address in printed
    assert settings.mlflow_password.read_text() not in printed
    user, password = airflow_programs.login(settings)
    assert "access_token" in ask(f"{settings.airflow_url}/auth/token", {"username": user, "password": password})
    assert healthy(settings)


def test_the_server_for_reports_of_an_earlier_release_is_ended(platform, settings, store):
    """SC-01: Reports are pages of Airflow: after `perennial up` nothing listens on the port that they had, and all else runs on."""
    (port,) = free_ports(1)
    python = [str(settings.venv("workload") / "bin/python"), "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    platform.add_program("reports", python, {})
    wait_until(lambda: stack._get(f"http://127.0.0.1:{port}/") is not None, 60)
    assert up.run(settings, store) == 0
    assert "reports" not in platform.programs()
    assert stack._get(f"http://127.0.0.1:{port}/") is None


def test_what_the_platform_writes_only_its_user_can_read(platform, settings, store):
    """DM-09: Logs, reports, routes and the registry's files, whoever of the programs writes them; sockets are in a folder that is
    closed."""
    assert settings.home.stat().st_mode & 0o777 == 0o700
    everything = [Path(folder, name) for folder, folders, files in os.walk(settings.home) for name in (*folders, *files)]
    kept = [path for path in everything if not path.is_symlink() and not path.is_socket()]
    assert settings.home / "logs/envoy.log" in kept
    assert [path for path in kept if path.lstat().st_mode & 0o077] == []


def test_a_newcomer_finds_where_to_put_files(platform, settings):
    """DM-01: The landing folder of every dataset is there before any file is."""
    assert {folder.name for folder in (settings.home / "store/landing").iterdir()} >= {"flights", "digits"}


def test_pages_of_other_sites_get_nothing(platform, settings):
    """SC-01: A name that is not theirs (DNS rebinding), or a page of another site, is refused by the real servers."""
    for url, path, body in (
        (settings.airflow_url, "/auth/token", b"{}"),
        (settings.mlflow_url, "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}'),
        (settings.airflow_url, "/perennial/reports", None),
    ):
        for headers, refused in (
            ({}, False),
            ({"Host": f"localhost:{urlsplit(url).port}"}, False),
            ({"Host": "rebound.example"}, True),
            ({"Host": "10.1.2.3:5000"}, True),  # MLflow would answer to every private address
            ({"Origin": "https://elsewhere.example"}, True),
            ({"Origin": "null"}, True),
        ):
            request = urllib.request.Request(url + path, body, {"Content-Type": "application/json", **headers})
            try:
                status = urllib.request.urlopen(request, timeout=60).status
            except urllib.error.HTTPError as error:
                status = error.code
            assert (status == 403) is refused, (url, headers, status)


@pytest.mark.skipif(not browser.found(), reason=browser.ABSENT)
def test_no_script_reads_the_token_of_a_login(platform, settings, tmp_path):
    """SC-01: In the browser: a login by Airflow's page opens the UI, shows the token to no script, and a logout ends it."""
    user, password = airflow_programs.login(settings)
    code = """(async () => {
        const form = {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(WHO)};
        const login = await fetch("/auth/token", form);
        const token = (await login.json()).access_token;
        document.cookie = `_token=${token}; path=/; samesite=lax`;  // as the login page's script does
        const within = (await fetch("/ui/config")).status;
        const seen = document.cookie.includes("_token");
        await fetch("/api/v2/auth/logout", {redirect: "manual"});
        return [login.status, within, seen, (await fetch("/ui/config")).status];
    })()""".replace("WHO", json.dumps({"username": user, "password": password}))
    found = browser.Browser(browser.found(), tmp_path)
    try:
        (page,) = found.open(f"{settings.airflow_url}/auth/login", code=code)
    finally:
        found.close()
    assert page.value == [201, 200, False, 401]


def test_a_refused_run_and_the_graph_of_assets_are_shown(platform, settings):
    """DE-15: A run that is refused says so as its note, and on the console's page of the run; Airflow's own graph of assets opens, which
    an error of its keeps shut under the database driver that the platform has."""
    user, password = airflow_programs.login(settings)
    api = AirflowApi(settings.airflow_url, user, password)
    api.until(lambda: True if "digits_rollback" in api.dags() else None, "the DAGs to appear", 600)
    run = api.wait(api.trigger("digits_rollback", reason="To see it refused."), 600)
    token = ask(f"{settings.airflow_url}/auth/token", {"username": user, "password": password})["access_token"]

    def read(address: str, **query: str) -> Any:
        request = urllib.request.Request(
            f"{settings.airflow_url}{address}?{urlencode(query)}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    assert run.state == "failed"
    noted = api.note(run)
    shown = read("/perennial/run.json", dag_id=run.dag, run_id=run.id)
    assert noted.startswith("Refused: ")
    assert noted == f"{shown['word']}: {shown['sentence']}"
    assert [stage["word"] for stage in shown["stages"] if stage["task"] == "rollback"] == ["Refused"]
    graph = read("/ui/dependencies", dependency_type="scheduling")
    assert {"digits_snapshot", "digits_candidate", "digits_training"} <= {node["label"] for node in graph["nodes"]}


def test_up_again_restarts_nothing(platform, settings, store, capsys):
    """OP-08: The same processes run on."""
    before = {name: p.pid for name, p in platform.programs().items()}
    assert up.run(settings, store) == 0
    assert {name: p.pid for name, p in platform.programs().items()} == before
    wait_until(lambda: status.run(settings, store) == 0, 120)
    printed = capsys.readouterr().out
    assert all(name in printed for name in before)


def test_nothing_listens_to_other_machines(platform, settings):
    """SC-01: Every server binds to the address that the settings name."""
    ours = pids_of(settings)
    listening = {(c.laddr.ip, c.laddr.port) for c in psutil.net_connections("inet") if c.pid in ours and c.status == psutil.CONN_LISTEN}
    assert (settings.host, settings.airflow_port) in listening
    assert ("127.0.0.1", settings.metrics_port) in listening
    assert {address for address, _ in listening} == {settings.host}


@pytest.mark.parametrize("name", ["airflow-scheduler", "mlflow", "postgres"])
def test_a_killed_program_comes_back(platform, settings, name):
    """OP-08: kill -9, and the platform is whole again by itself."""
    first = platform.programs()[name].pid
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: platform.programs()[name].pid not in (None, first), 300)
    wait_until(lambda: all(p.state == "RUNNING" for p in platform.programs().values()) and healthy(settings), 300)
    wait_until(lambda: stack._get(f"{settings.mlflow_url}/health") == b"OK", 300)


def test_two_at_once_do_not_meet(platform, settings, store):
    """OP-08: The second says what it waits for."""
    with stack._only_one(settings), pytest.raises(ServiceUnreachable, match="Another `perennial up` or `down`"):
        stack.start(settings, store)


def test_up_takes_over_what_a_killed_supervisor_left(platform, settings, store, capsys):
    """OP-08: Its own programs are no strangers at its ports: `status` names them, `up` replaces them."""
    before = pids_of(settings)
    os.kill(int((settings.home / "supervisor/supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not platform.running(), 300)
    assert status.run(settings, store) == 1
    assert "programs run on whose supervisor has gone: `perennial up` replaces them" in capsys.readouterr().out
    assert up.run(settings, store) == 0
    assert not before & pids_of(settings)
    assert platform.left() == {}
    wait_until(lambda: status.run(settings, store) == 0, 120)  # beside other tests its servers may be slow to answer at first


def test_down_also_ends_what_a_killed_supervisor_left(platform, settings, store, capsys):
    """OP-08: Nothing of the platform runs afterwards, and a second down is no error."""
    os.kill(int((settings.home / "supervisor/supervisord.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not platform.running(), 300)
    assert pids_of(settings)
    assert status.run(settings, store) == 1
    assert down.run(settings, store) == 0
    assert pids_of(settings) == set()
    assert not (settings.home / "postgres/data/postmaster.pid").exists()
    assert down.run(settings, store) == 0
    assert "is down" in capsys.readouterr().out


def test_a_taken_port_is_named_with_its_setting(make_settings, store):
    """DE-09: Before anything was started."""
    settings = make_settings()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((settings.host, settings.mlflow_port))
        taken.listen()
        with pytest.raises(SettingMissing, match=f"Port {settings.mlflow_port} is taken .* PERENNIAL_MLFLOW_PORT"):
            stack.start(settings, store)
    assert stack.state(settings) == {}


def test_a_host_that_is_not_ours_is_named(make_settings, store):
    """DE-09: A typo in an address is no taken port."""
    with pytest.raises(SettingMissing, match="PERENNIAL_HOST"):
        stack.start(make_settings(PERENNIAL_HOST="203.0.113.1"), store)


def test_a_part_that_does_not_start_shows_its_last_words(make_settings, store, monkeypatch):
    """OP-08: The log's last line and where the rest is."""
    settings = make_settings()
    monkeypatch.setattr(stack.postgres, "command", lambda settings: ["/bin/sh", "-c", "echo no such luck; exit 1"])
    monkeypatch.setattr(stack.postgres, "initialise", lambda settings: None)
    monkeypatch.setattr(stack, "START_SECONDS", 5)
    try:
        with pytest.raises(Fault, match=r"postgres does not start .*no such luck.*postgres\.log"):
            stack.start(settings, store)
    finally:
        stack.stop(settings)


def test_an_unfinished_database_is_made_anew(make_settings, tmp_path: Path):
    """OP-08: A kill in the middle of initdb leaves a folder that nobody trusts."""
    settings = make_settings()
    unfinished = settings.home / "postgres/data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "half").touch()
    stack.postgres.initialise(settings)
    assert (settings.home / "postgres/data/PG_VERSION").exists()
    assert not unfinished.exists()
