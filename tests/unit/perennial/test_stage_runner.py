"""The process that forks the processes of stages."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from perennial import stage_runner
from perennial.stage_runner import Request, digest_of, received

NOTHING_LANDED = "Nothing has landed for digits yet"


class Client:
    """What a task does, step by step."""

    def __init__(self, path: Path, request: Request) -> None:
        read, write = os.pipe()
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(60)
        self.connection.connect(str(path))
        socket.send_fds(self.connection, [request.sent()], [write])
        os.close(write)
        self.output = os.fdopen(read)
        self.answers = self.connection.makefile()

    def hears(self) -> dict[str, int]:
        """The next line of the runner; empty where it has ended."""
        return json.loads(self.answers.readline() or "{}")

    def leaves(self) -> None:
        """Close everything."""
        self.answers.close()
        self.connection.close()
        self.output.close()


@pytest.fixture
def runner(tmp_path):
    """A runner that listens; the path of its socket, and the process."""
    path = tmp_path / "stages.sock"
    command = [sys.executable, "-m", "perennial.stage_runner", str(path)]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(tmp_path))
    end = time.monotonic() + 60
    while not stage_runner.answers(path) and time.monotonic() < end:
        time.sleep(0.02)
    yield path, process
    if process.poll() is None:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()  # asked before it was ready, it is ended


def _environment(tmp_path, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERENNIAL_", "COVERAGE"))}
    return {**kept, "PERENNIAL_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1", **more}


def _request(tmp_path, *arguments, **more):
    return Request(list(arguments or ("ingest", "--dataset=digits")), _environment(tmp_path, **more), str(tmp_path), 0o077)


def _asked(path, request, tries=5):
    """A client whose stage runs, and the stage's process id."""
    for _ in range(tries):
        client = Client(path, request)
        said = client.hears()
        if "pid" in said:
            return client, said["pid"]
        assert said == {"again": True}
        client.leaves()
    raise AssertionError("it began anew again and again")


def _ended(client):
    said, code = client.output.read(), client.hears()["code"]
    client.leaves()
    return said, code


def test_a_stage_runs_as_if_it_had_been_started(runner, tmp_path):
    """DE-15, OP-05: The same sentence, exit code and result as `python -m perennial.cli`, in a process group of its own that `ps` shows by
    its own command; and the second one finds everything imported."""
    path, process = runner
    result = tmp_path / "result.json"
    client, pid = _asked(path, _request(tmp_path, "ingest", "--dataset=digits", f"--result={result}"))
    assert os.getpgid(pid) == pid != process.pid
    said, code = _ended(client)
    assert said.startswith(NOTHING_LANDED)
    assert (code, json.loads(result.read_text())["outcome"]) == (0, "skipped")
    client, pid = _asked(path, _request(tmp_path, "ingest", "--dataset=unheard_of"))
    shown = psutil.Process(pid).cmdline()
    said, code = _ended(client)
    assert "There is no dataset 'unheard_of'" in said
    assert code == 2
    assert [word for word in shown if word][1:] == ["-m", "perennial.cli", "ingest", "--dataset=unheard_of"] or "stage_runner" in shown[2]


def test_each_stage_has_its_own_variables(runner, tmp_path):
    """DE-15: Those of a task are not left to the next one, and need no new beginning. Any other one does: imports may have read it."""
    path, process = runner
    ids = {}
    for name, more in (("first", {"AIRFLOW_CTX_DAG_ID": "one"}), ("second", {"AIRFLOW_CTX_DAG_ID": "two"})):
        client, _ = _asked(path, _request(tmp_path, **more), tries=2 if name == "first" else 1)
        assert _ended(client)[1] == 0, name
    client = Client(path, _request(tmp_path, PERENNIAL_LOG_LEVEL="DEBUG"))
    assert client.hears() == {"again": True}
    client.leaves()
    client, ids["third"] = _asked(path, _request(tmp_path, PERENNIAL_LOG_LEVEL="DEBUG"))
    assert _ended(client)[1] == 0
    assert process.poll() is None, "it is the same process as before"
    of_a_task = {"AIRFLOW_CTX_X": "1", "TRACEPARENT": "2", "PERENNIAL_CONNECTIONS": "3"}
    assert digest_of({"PERENNIAL_STORE": "4", **of_a_task}) == digest_of({"PERENNIAL_STORE": "4"}) != digest_of({"PERENNIAL_STORE": "5"})


def test_changed_code_is_imported_anew(runner, tmp_path):
    """DE-15: A stage never runs what the disk does not hold any more; stages that run go on meanwhile."""
    path, _ = runner
    (tmp_path / "extra").mkdir()
    extra = tmp_path / "extra" / "sitecustomize.py"
    extra.write_text("")
    with_extra = {"PYTHONPATH": str(extra.parent)}
    client, _ = _asked(path, _request(tmp_path, **with_extra))
    assert _ended(client)[1] == 0
    waiting, pid = _asked(path, _request(tmp_path, "watch", **with_extra))
    assert psutil.pid_exists(pid)
    extra.write_text("import sys\nprint('the new one', file=sys.stderr)\n")
    client = Client(path, _request(tmp_path, **with_extra))
    assert client.hears() == {"again": True}
    client.leaves()
    client, _ = _asked(path, _request(tmp_path, **with_extra), tries=1)
    assert _ended(client)[1] == 0
    assert "the new one" in (tmp_path / "log").read_text()
    os.killpg(pid, signal.SIGTERM)
    assert waiting.hears()["code"] in (-signal.SIGTERM, 0)
    waiting.leaves()


def test_a_stage_ends_with_its_client_and_with_its_runner(runner, tmp_path):
    """DE-22: Nobody listens to it any more, while another try may already run."""
    path, process = runner
    client, pid = _asked(path, _request(tmp_path, "watch"))
    client.leaves()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=60)
    assert not psutil.pid_exists(pid)
    client, pid = _asked(path, _request(tmp_path, "watch"))
    process.kill()
    process.wait()
    assert client.hears() == {}
    end = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    client.leaves()


def test_a_stage_that_is_killed_is_told_by_the_signal(runner, tmp_path):
    """DE-15: A negative number, as a parent gets it."""
    path, _ = runner
    client, pid = _asked(path, _request(tmp_path, "watch"))
    os.killpg(pid, signal.SIGKILL)
    assert client.hears() == {"code": -9}
    os.killpg(pid, 0)  # not buried while the client holds on: the id is no other's
    client.leaves()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", (5 << 20).to_bytes(8, "big"), (3).to_bytes(8, "big") + b"abc"])
def test_what_is_no_request_ends_nothing(runner, tmp_path, sent):
    """DE-15: It is told in the log, and the next one is served."""
    path, _ = runner
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""
    client, _ = _asked(path, _request(tmp_path))
    assert _ended(client)[1] == 0
    assert ("could not be taken" in (tmp_path / "log").read_text()) == bool(sent)


def test_the_socket_is_its_owners(runner):
    """SC-04: Who may ask it may run what this user may."""
    path, _ = runner
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_long_request_arrives_whole():
    """DE-15: Variables may be many."""
    ours, theirs = socket.socketpair()
    request = Request(["ingest"], {f"V{n}": "x" * 100 for n in range(3000)}, "/", 0)
    read, write = os.pipe()
    whole = request.sent()
    sent = socket.send_fds(theirs, [whole[:1000]], [write])
    rest = threading.Thread(target=theirs.sendall, args=(whole[sent:],))
    rest.start()
    output, found = received(ours)
    rest.join()
    assert dataclasses.asdict(found) == dataclasses.asdict(request)
    for descriptor in (output, read, write):
        os.close(descriptor)
    ours.close()
    theirs.close()
