"""The container for one Docker host: it runs the gateway, the served versions, and the scheduler whose stages start them.

All else of the platform runs in containers of its own (docker-compose.yaml). Run as

    python -m perennial.local.container --status-port 9900 -- airflow scheduler --skip-serve-logs

where the command is kept running beside the gateway. SIGTERM ends everything in order. It ends by itself when supervisord has gone, so that
the container is started again. What the programs write is shown, and another port tells their state to health checks and to Prometheus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TextIO

from perennial import projects
from perennial.errors import EXIT_DONE, EXIT_FAULT, Fault, PerennialError
from perennial.local import routes
from perennial.local.metrics_server import TEXT, MetricsServer
from perennial.local.stack import GATEWAY, WATCH, watch_command
from perennial.local.supervisor import NOT_INHERITED, Supervisor
from perennial.serving import caller, envoy
from perennial.serving.backends.local import LocalBackend
from perennial.settings import Settings
from perennial.store import Store, open_store

START_SECONDS = 60
POLL_SECONDS = 0.5
COMMAND_STOP_SECONDS = 20


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM; 0 then, 1 if something that all depends on has gone."""
    parser = argparse.ArgumentParser(prog="python -m perennial.local.container", description="Gateway and versions, beside one command.")
    parser.add_argument("--status-port", type=int, default=9900, help="port of /health and /metrics")
    parser.add_argument("command", nargs="+", help="what runs beside the gateway, such as `airflow scheduler`")
    given = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        settings = Settings.from_environment()
        return run(settings, open_store(settings.store), given.command, given.status_port)
    except PerennialError as error:
        print(error, file=sys.stderr)
        return EXIT_FAULT


def run(settings: Settings, store: Store, command: list[str], status_port: int) -> int:
    """Start the gateway, the command, the versions of the ledger and what looks at them, then watch over all.

    Raises:
        Fault: the gateway does not start.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    supervisor = Supervisor(settings)
    supervisor.start()
    server = StatusServer((settings.host, status_port), settings)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    logs = Logs(supervisor.logs, sys.stdout)
    threading.Thread(target=logs.follow, args=(ended,), daemon=True).start()
    try:
        envoy.prepare(settings)
        supervisor.add_program(GATEWAY, envoy.command(settings), {})
        _wait_for_gateway(settings, supervisor, ended)
        if not ended.is_set():
            supervisor.add_program(name_of(command), command, environment(os.environ), stop_seconds=COMMAND_STOP_SECONDS)
            for sentence in routes.resume(settings, store):
                print(sentence.strip(), flush=True)
            supervisor.add_program(WATCH, watch_command(settings), environment(os.environ))
        while not ended.wait(POLL_SECONDS):
            if not supervisor.running():
                raise Fault(f"supervisord has ended; its log: {supervisor.folder / 'supervisord.log'}. Start the container again.")
    finally:
        ended.set()
        supervisor.shutdown()
        server.shutdown()
        logs.show()
    return EXIT_DONE


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Variables of the container that supervisord itself does not hand on, for the command; and Airflow's, for DAG files."""
    handed_on = {k: v for k, v in outer.items() if k.startswith(NOT_INHERITED) and not k.startswith("SUPERVISOR_")}
    bundles = json.dumps(projects.bundles(projects.folders(outer.get(projects.VARIABLE, ""))))
    noenv = {"SPT_NOENV": "1"}  # keeps the environment readable, by which a killed supervisor's children are found
    return {projects.BUNDLES: bundles, **handed_on, **noenv}


class Logs:
    """Shows what every program writes into its log file, each line behind the program's name."""

    def __init__(self, folder: Path, out: TextIO) -> None:
        self.folder, self.out = folder, out
        self._read = {file: (file.stat().st_ino, file.stat().st_size) for file in folder.glob("*.log")}  # what was there before is old
        self._lock = threading.Lock()

    def follow(self, ended: threading.Event) -> None:
        """Show new lines until the end."""
        while not ended.wait(POLL_SECONDS):
            self.show()

    def show(self) -> None:
        """Show the whole lines that are new."""
        with self._lock:
            for file in sorted(self.folder.glob("*.log")):
                for line in self._new_lines(file):
                    self.out.write(f"{file.stem} | {line}\n")
            self.out.flush()

    def _new_lines(self, file: Path) -> list[str]:
        number, position = self._read.get(file, (0, 0))
        try:
            with file.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino != number or status.st_size < position:  # supervisord began a new file
                    position = 0
                stream.seek(position)
                data = stream.read()
        except FileNotFoundError:  # renamed by supervisord a moment ago
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read[file] = (status.st_ino, position + len(whole))
        return whole.decode(errors="replace").splitlines()


class StatusServer(MetricsServer):
    """A server for the container's health check (`/health`) and for Prometheus (`/metrics`)."""

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body of the answer to one path."""
        if path == "/health":
            trouble = self.trouble()
            return (
                (HTTPStatus.SERVICE_UNAVAILABLE, TEXT, trouble) if trouble else (HTTPStatus.OK, TEXT, "All run, and what serves answers.")
            )
        if path == "/metrics":
            return super().answer(path)
        return HTTPStatus.NOT_FOUND, TEXT, "There are /health and /metrics."

    def trouble(self) -> str:
        """A sentence on what does not run or does not answer callers; empty if all is well.

        A version without traffic may still be starting.
        """
        programs = self.supervisor.programs()
        if GATEWAY not in programs:
            return "The gateway is not started yet."
        down = [f"{name} ({program.state.lower()})" for name, program in sorted(programs.items()) if program.state != "RUNNING"]
        if down:
            return f"Not running: {', '.join(down)}."
        asked = caller.here(self.settings)
        if trouble := caller.gateway_trouble(asked):
            return f"The gateway does not answer: {trouble}"
        routes = LocalBackend(self.settings).routes().items()
        answers = [answer for model, route in routes for answer in caller.ask(asked, model, route)]
        silent = [f"Version {a.version} of {a.model} does not answer: {a.trouble}" for a in answers if a.weight and a.trouble]
        return " ".join(silent)


def _wait_for_gateway(settings: Settings, supervisor: Supervisor, ended: threading.Event) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ended.is_set():
        trouble = caller.gateway_trouble(caller.here(settings))
        if not trouble:
            return
        if time.monotonic() > deadline:
            raise Fault(f"The gateway does not start in {START_SECONDS} s: {supervisor.log(GATEWAY)} says why. {trouble}")
        ended.wait(POLL_SECONDS)


def name_of(command: list[str]) -> str:
    """The program's name, made of the command's plain words: `airflow-scheduler`."""
    return "-".join(word for word in (Path(command[0]).name, *command[1:]) if re.fullmatch(r"[a-z][a-z0-9-]*", word))


if __name__ == "__main__":
    sys.exit(main())
