from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest

from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.local import postgres
from perennial.local.supervisor import Program, Supervisor
from perennial.settings import Settings
from perennial.sockets import socket_folder
from perennial.testing import wait_until


@pytest.fixture
def supervisor(make_settings: Callable[..., Settings]) -> Iterator[Supervisor]:
    """A running supervisor of an empty home."""
    found = Supervisor(make_settings())
    found.start()
    yield found
    found.shutdown()


def ended(pid: int) -> bool:
    """Whether a process runs no more; one that init has not yet buried counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def running(supervisor: Supervisor, name: str) -> Program:
    """The program, once it runs."""
    wait_until(lambda: supervisor.programs()[name].state == "RUNNING", 60)
    return supervisor.programs()[name]


def test_a_program_gets_its_environment_literally(supervisor):
    """DE-23: Quotes, percent signs, line ends and dollars arrive as they are; the starter's settings do not leak."""
    value = 'it\'s "50 %" of $HOME\nand more'
    supervisor.add_program("says", ["/bin/sh", "-c", 'printf "%s|%s" "$VALUE" "$PERENNIAL_STORE"; exec sleep 100'], {"VALUE": value})
    running(supervisor, "says")
    wait_until(lambda: supervisor.log("says").read_text() == f"{value}|", 60)


def test_a_home_may_have_blanks_in_its_path(make_settings):
    """DE-09: As on a Mac's or a shared disk: supervisord's own patterns have blanks between."""
    short = make_settings()
    home = short.home / "ML models of a team"
    home.mkdir()
    (home / "venvs").symlink_to(short.home / "venvs")
    found = Supervisor(short.model_copy(update={"home": home}))
    found.start()
    try:
        found.add_program("sleeps", ["/bin/sleep", "100"], {})
        assert running(found, "sleeps").pid
    finally:
        found.shutdown()


def test_the_same_definition_restarts_nothing_and_a_changed_one_does(supervisor):
    """OP-08: `perennial up` may be called at any time."""
    supervisor.add_program("a", ["sleep", "100"], {"X": "1"})
    first = running(supervisor, "a").pid
    supervisor.add_program("a", ["sleep", "100"], {"X": "1"})
    assert supervisor.programs()["a"].pid == first
    supervisor.add_program("a", ["sleep", "100"], {"X": "2"})
    assert running(supervisor, "a").pid != first
    assert ended(first)


def test_a_program_that_runs_may_be_left_with_its_environment(supervisor):
    """OP-08, SE-12: A command from a shell with other settings starts nothing anew, but what does not run and what is another command."""
    supervisor.add_program("a", ["sleep", "100"], {"X": "1"})
    first = running(supervisor, "a").pid
    supervisor.add_program("a", ["sleep", "100"], {"X": "2"}, leave_running=True)
    assert supervisor.programs()["a"].pid == first
    supervisor.add_program("a", ["sleep", "101"], {"X": "2"}, leave_running=True)
    assert running(supervisor, "a").pid != first
    supervisor.add_program("b", ["sleep", "100"], {}, leave_running=True)
    assert running(supervisor, "b").pid


def test_a_killed_program_comes_back_without_its_old_children(supervisor):
    """OP-08: Children of the killed process would hold its port, or work on beside the new one."""
    supervisor.add_program("a", ["/bin/sh", "-c", "sleep 1001 & sleep 1002; true"], {})
    first = running(supervisor, "a").pid
    wait_until(lambda: len(psutil.Process(first).children()) == 2, 60)
    children = psutil.Process(first).children()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: supervisor.programs()["a"].pid not in (None, first), 60)
    wait_until(lambda: all(ended(c.pid) for c in children), 60)
    assert running(supervisor, "a").since is not None


def test_a_program_that_ended_is_started_by_adding_it_again(supervisor):
    """OP-08: Also one that supervisord has given up, or a person has stopped."""
    supervisor.add_program("a", ["sleep", "100"], {})
    running(supervisor, "a")
    supervisor._call("stopProcess", "a", True)
    supervisor.add_program("a", ["sleep", "100"], {})
    assert running(supervisor, "a").pid


def test_restart_and_removal(supervisor):
    """OP-08: A removed program is forgotten; removing it again is no error."""
    supervisor.add_program("a", ["sleep", "100"], {})
    first = running(supervisor, "a").pid
    supervisor.restart("a")
    assert running(supervisor, "a").pid != first
    supervisor.remove_program("a")
    supervisor.remove_program("a")
    assert supervisor.programs() == {}
    with pytest.raises(ServiceUnreachable, match="No program a"):
        supervisor.restart("a")


def test_a_refusal_of_supervisord_is_a_sentence(supervisor):
    """OP-08: It names the call and the log."""
    with pytest.raises(Fault, match="supervisord refused startProcess nobody"):
        supervisor._call("startProcess", "nobody", True)


def test_what_a_killed_supervisor_left_is_ended_by_the_next(supervisor):
    """OP-08: Its programs would hold the ports and the database."""
    supervisor.add_program("a", ["sleep", "100"], {})
    pid = running(supervisor, "a").pid
    os.kill(int(supervisor._call("getPID")), signal.SIGKILL)
    wait_until(lambda: not supervisor.running(), 60)
    with pytest.raises(ServiceUnreachable, match="perennial up"):
        supervisor.programs()
    assert not ended(pid)
    supervisor.start()
    assert ended(pid)
    assert supervisor.programs() == {}


def test_shutdown_ends_the_last_ones_last_and_can_be_repeated(supervisor):
    """OP-08: The database goes after those that use it."""
    for name in ("first", "database"):
        supervisor.add_program(
            name, ["/bin/sh", "-c", f"trap 'echo {name} >> {supervisor.folder}/ended; exit' TERM; while true; do sleep 0.05; done"], {}
        )
    for name in ("first", "database"):
        running(supervisor, name)
    supervisor.shutdown(last=("database",))
    assert (supervisor.folder / "ended").read_text().split() == ["first", "database"]
    assert not supervisor.running()
    supervisor.shutdown()


def test_a_long_home_gets_a_short_socket(make_settings, tmp_path):
    """DE-09: The kernel allows 107 bytes."""
    home = tmp_path / ("long" * 40)
    settings = Settings.from_environment({"PERENNIAL_HOME": str(home)})
    folder = socket_folder(settings)
    assert len(os.fsencode(folder / ".s.PGSQL.5432.lock")) < 107
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket_folder(settings) == folder
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(SettingMissing, match="belongs to somebody else"):
        socket_folder(settings)
    folder.unlink()


def test_without_environments_the_sentence_names_set_up(tmp_path):
    """DE-09: Nothing is installed yet."""
    with pytest.raises(Fault, match="make setup"):
        Supervisor(Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})).start()


def test_an_outside_database_server_is_used_where_one_is_named(make_settings, supervisor):
    """OP-05: The databases are made there once; nothing of an own server is needed."""
    own = supervisor.settings
    postgres.initialise(own)
    port = own.metrics_port
    supervisor.add_program("outside", [*postgres.command(own), "--listen_addresses=127.0.0.1", f"--port={port}"], {}, stop_signal="INT")
    settings = make_settings(PERENNIAL_POSTGRES_URL=f"postgresql://postgres@127.0.0.1:{port}")
    wait_until(lambda: postgres.answers(settings), 60)
    for _ in range(2):
        postgres.create_databases(settings)
        with psycopg.connect(postgres.address(settings, "mlflow")) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("mlflow",)
