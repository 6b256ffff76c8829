"""Keeps programs of this machine running: supervisord of the tools environment, spoken to over its unix socket.

Everything is below `<home>/supervisor`: one folder of program definitions, one pid file per program. Callers need no
supervisor package. Programs that outlive a killed supervisord are found again by `orphans.py`; one that is to go on answering
until its successor starts keeps its pid file and its definition, without which it could not be told from a stranger.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shlex
import subprocess
import time
import xmlrpc.client
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perennial.errors import Fault, ServiceUnreachable
from perennial.local import orphans
from perennial.settings import Settings
from perennial.sockets import UnixConnection, socket_folder

CALL_SECONDS = 120  # stopping a program may take as long as it was given
ANSWER_SECONDS = 30  # a supervisord that does not even say that it runs in this time hangs
# Variables of the starter's own Python or Airflow would change what a program runs.
NOT_INHERITED = (
    "PYTHON",
    "VIRTUAL_ENV",
    "AIRFLOW",
    "PERENNIAL_",
    "SUPERVISOR_",
    "MLFLOW_",
    "OTEL_",
    "TRACEPARENT",
    "TRACESTATE",
    "COVERAGE_",
    "PYTEST_",
)


@dataclass(frozen=True)
class Program:
    """The state of one program, as supervisord reports it."""

    name: str
    state: str  # STARTING RUNNING BACKOFF STOPPING STOPPED EXITED FATAL UNKNOWN
    pid: int | None
    since: datetime | None  # start of the running process, UTC


@dataclass(frozen=True)
class Definition:
    """The definition of a program: how it is started and stopped."""

    name: str
    command: list[str]
    environment: dict[str, str]
    autorestart: bool
    stop_signal: str
    stop_seconds: int
    directory: str


class Supervisor:
    """The programs of one home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.home / "supervisor"
        self.programs_folder = self.folder / "programs"
        self.logs = settings.home / "logs"

    @property
    def socket(self) -> Path:
        """The unix socket on which supervisord listens."""
        return socket_folder(self.settings) / "supervisor.sock"

    def running(self) -> bool:
        """Whether supervisord answers."""
        if not self.socket.exists():
            return False
        try:
            with self._proxy(ANSWER_SECONDS) as proxy:
                state: Any = proxy.supervisor.getState()
            return bool(state["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException):
            return False

    def start(self, keep: Collection[str] = ()) -> None:
        """Start supervisord as a daemon, with no programs. Does nothing if it runs. Programs left by a killed one are ended first.

        Args:
            keep: names of programs that run on until `add_program` replaces them, or `end_left` ends them.

        Raises:
            Fault: it does not start.
        """
        with self._lock():
            if self.running():
                return
            orphans.kill(self.folder / "supervisord.pid")  # one that hangs would start again what is ended here
            self._end_orphans(keep=keep)
            self._forget_programs(keep)
            self.logs.mkdir(parents=True, exist_ok=True)
            config = self.folder / "supervisord.conf"
            config.write_text(self._config())
            daemon = self.settings.venv("tools") / "bin" / "supervisord"
            if not daemon.exists():
                raise Fault(f"{daemon} does not exist: run `make setup` first.")
            environment = {k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)}
            begun = subprocess.run([str(daemon), "-c", str(config)], env=environment, capture_output=True, text=True, check=False)
            if begun.returncode:
                raise Fault(
                    f"supervisord does not start: {(begun.stderr or begun.stdout).strip().splitlines()[-1:]}. Its log: "
                    f"{self.folder / 'supervisord.log'}."
                )
            for _ in range(100):
                if self.running():
                    return
                time.sleep(0.05)
            raise Fault(f"supervisord does not answer after 5 seconds. Its log: {self.folder / 'supervisord.log'}.")

    def add_program(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        *,
        autorestart: bool = True,
        stop_signal: str = "TERM",
        stop_seconds: int = 10,
        directory: Path | str | None = None,
        leave_running: bool = False,
    ) -> None:
        """Keep a program running. The same definition again restarts nothing; a changed one replaces the process.

        `environment` is added to what supervisord inherited. The call returns once supervisord knows the program, not once it is ready.
        With `leave_running` one that runs by the same command goes on as it was started, whatever the environment is now.

        Raises:
            ServiceUnreachable: supervisord does not run.
        """
        wanted = Definition(
            name, list(command), dict(environment), autorestart, stop_signal, stop_seconds, str(directory or self.settings.home)
        )
        with self._lock():
            state, before = self.programs().get(name), self._definition(name)
            if state and leave_running and before and before.command == wanted.command and state.state in ("STARTING", "RUNNING"):
                return
            if state and before == wanted and self._files(name)[1].read_text() == self._script(wanted):
                if state.state in ("STOPPED", "EXITED", "FATAL") and autorestart:
                    self._call("startProcess", name, False)
                return
            if state:
                self._remove(name)
            else:
                self._end_orphan(name)
            self._write(wanted)
            self._call("reloadConfig")
            self._call("addProcessGroup", name)

    def remove_program(self, name: str) -> None:
        """Stop a program and forget it; no error if there is none."""
        with self._lock():
            if name in self.programs():
                self._remove(name)

    def restart(self, name: str) -> None:
        """Stop a program and start it again. Raises ServiceUnreachable if there is no such program."""
        with self._lock():
            if name not in self.programs():
                raise ServiceUnreachable(f"No program {name} runs on this machine: run `perennial up`, then `perennial status`.")
            self._call("stopProcessGroup", name)
            self._call("startProcessGroup", name, False)

    def replace(self, name: str) -> None:
        """Kill a program that runs and does not answer: supervisord starts another process in its place."""
        self._call("signalProcess", name, "KILL")

    def left(self) -> dict[str, int]:
        """Process ids of the programs that run on without a supervisor, by name: what a killed supervisord left."""
        known = self.programs() if self.running() else {}
        pid_files = {file.stem: file for file in self.programs_folder.glob("*.pid") if file.stem not in known}
        running = orphans.running(pid_files, f"unix://{self.socket}")
        return {name: pid for name, pid in sorted(running.items()) if name not in known}

    def end_left(self) -> None:
        """End what a killed supervisord left and nobody added again."""
        with self._lock():
            known = self.programs()
            for name in {file.stem for file in self.programs_folder.glob("*.json")} - set(known):
                self._end_orphan(name)
            orphans.end_all(f"unix://{self.socket}", besides=known)

    def programs(self) -> dict[str, Program]:
        """All programs by name. Raises ServiceUnreachable if supervisord does not run."""
        by_name = {}
        for info in self._call("getAllProcessInfo"):
            since = datetime.fromtimestamp(info["start"], timezone.utc) if info["pid"] else None
            by_name[info["name"]] = Program(info["name"], info["statename"], info["pid"] or None, since)
        return by_name

    def log(self, name: str) -> Path:
        """File to which a program writes (standard output and error)."""
        return self.logs / f"{name}.log"

    def shutdown(self, *, last: tuple[str, ...] = ()) -> None:
        """Stop every program (those in `last` after all others, in that order), then supervisord and whatever is left of a killed one."""
        with self._lock():
            if self.running():
                known = [n for n in self.programs() if n not in last]
                for name in known:
                    self._call("stopProcess", name, False)
                self._wait_stopped(known)
                for name in last:
                    if name in self.programs():
                        self._call("stopProcess", name, True)
                pid = int(self._call("getPID"))
                self._call("shutdown")
                _wait_gone(pid)
            orphans.kill(self.folder / "supervisord.pid")
            self._end_orphans(last)
            self._forget_programs()

    def _end_orphans(self, last: tuple[str, ...] = (), keep: Collection[str] = ()) -> None:
        definitions = [d for d in map(self._definition, sorted(p.stem for p in self.programs_folder.glob("*.json"))) if d]
        for names in ({d.name for d in definitions} - {*last, *keep}, *({name} for name in last)):
            orphans.end_left(orphans.Left(self._pid_file(d.name), d.stop_signal, d.stop_seconds) for d in definitions if d.name in names)
        orphans.end_all(f"unix://{self.socket}", besides=keep)

    def _end_orphan(self, name: str) -> None:
        """End the process of a program that supervisord does not know, if there is one."""
        if definition := self._definition(name):
            orphans.end_left([orphans.Left(self._pid_file(name), definition.stop_signal, definition.stop_seconds)])
        for file in self._files(name):
            file.unlink(missing_ok=True)

    def _wait_stopped(self, names: list[str]) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if not any(p.pid for n, p in self.programs().items() if n in names):
                return
            time.sleep(0.1)

    def _remove(self, name: str) -> None:
        self._call("stopProcessGroup", name)
        self._call("removeProcessGroup", name)
        for file in self._files(name):
            file.unlink(missing_ok=True)

    def _forget_programs(self, keep: Collection[str] = ()) -> None:
        self.programs_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self.programs_folder.iterdir():
            if file.stem not in keep or file.suffix not in (".json", ".pid"):  # without its .conf supervisord does not start it
                file.unlink()

    def _files(self, name: str) -> tuple[Path, ...]:
        return tuple(self.programs_folder / f"{name}.{end}" for end in ("json", "sh", "conf", "pid"))

    def _pid_file(self, name: str) -> Path:
        return self.programs_folder / f"{name}.pid"

    def _definition(self, name: str) -> Definition | None:
        try:
            return Definition(**json.loads((self.programs_folder / f"{name}.json").read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):  # absent or cut short by a kill: the program is defined anew
            return None

    def _write(self, wanted: Definition) -> None:
        definition, script, config, _ = self._files(wanted.name)
        script.write_text(self._script(wanted))
        script.chmod(0o700)
        options = {
            "command": f"/bin/sh {_quoted(script)}",
            "directory": wanted.directory,
            "autorestart": str(wanted.autorestart).lower(),
            "startsecs": "1",
            "startretries": "20",
            "stopsignal": wanted.stop_signal,
            "stopwaitsecs": str(wanted.stop_seconds),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(self.log(wanted.name)),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": "1",
        }
        config.write_text(f"[program:{wanted.name}]\n" + "".join(f"{k} = {v.replace('%', '%%')}\n" for k, v in options.items()))
        definition.write_text(json.dumps(asdict(wanted)))
        definition.chmod(0o600)

    def _script(self, wanted: Definition) -> str:
        """A shell script holds command and environment: supervisord's own file cannot quote every value."""
        pid_file, tidy = _quoted(self._pid_file(wanted.name)), [str(self.settings.venv("tools") / "bin" / "python"), "-I", orphans.__file__]
        lines = [
            f"[ -e {pid_file} ] && {shlex.join(tidy)}",  # it ran before: its last process was killed and may have left children
            f"echo $$ > {pid_file}",
            *(f"export {k}={shlex.quote(v)}" for k, v in sorted(wanted.environment.items())),
            f"exec {shlex.join(wanted.command)}",
        ]
        return "\n".join(lines) + "\n"

    def _config(self) -> str:
        folder = str(self.folder).replace("%", "%%")
        return (
            f"[unix_http_server]\nfile = {str(self.socket).replace('%', '%%')}\nchmod = 0700\n\n"
            f"[supervisord]\nlogfile = {folder}/supervisord.log\nlogfile_maxbytes = 5MB\nlogfile_backups = 1\numask = "
            f"077\npidfile = {folder}/supervisord.pid\n"
            f"childlogdir = {folder}\ndirectory = {folder}\nminfds = 1024\n{'user = root' if os.geteuid() == 0 else ''}\n\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\n"
            "[include]\nfiles = programs/*.conf\n"  # beside this file: patterns have blanks between, and a folder's name may have one
        )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One change at a time, among processes too."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _proxy(self, seconds: float = CALL_SECONDS) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket, seconds))

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            with self._proxy() as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnreachable(
                f"The platform of {self.settings.home} does not run on this machine ({error}): run `perennial up`."
            ) from error
        except xmlrpc.client.Fault as error:
            if method in ("startProcess", "startProcessGroup", "stopProcess", "signalProcess") and error.faultString.startswith(
                ("ALREADY_STARTED", "NOT_RUNNING")
            ):
                return None
            raise Fault(
                f"supervisord refused {method} {' '.join(map(str, arguments))}: {error.faultString}. Its log: "
                f"{self.folder / 'supervisord.log'}."
            ) from error


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self.path, self.seconds = path, seconds

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = UnixConnection(self.path, self.seconds)
        self._connection = str(host), connection  # what the base class closes
        return connection


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _wait_gone(pid: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
