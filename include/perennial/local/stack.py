"""The one-machine platform: which programs it has, in which order they start, and when each is ready."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.local import airflow_programs, postgres, routes
from perennial.local.project import executable
from perennial.local.supervisor import Program, Supervisor
from perennial.serving import envoy
from perennial.settings import Settings
from perennial.store import Store

GATEWAY = "envoy"
START_SECONDS = 240  # a first start on a slow disk; 30 s is usual


@dataclass(frozen=True)
class Part:
    """One program of the platform."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: Callable[[], bool]
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)  # setting -> address and port
    stop_signal: str = "TERM"
    stop_seconds: int = 20


def start(settings: Settings, store: Store, say: Callable[[str], None] = print) -> None:
    """Start what does not run yet, wait until all is ready, and put the routes of the ledger back.

    Raises:
        Fault: an environment is missing, or a part does not become ready.
        SettingMissing: a port is taken.
    """
    with _only_one(settings):
        began = time.monotonic()
        supervisor = Supervisor(settings)
        parts = _parts(settings, store)
        _check_ports(parts, supervisor.programs() if supervisor.running() else {})
        supervisor.start()
        airflow_programs.login(settings)
        if not settings.postgres_url:
            postgres.initialise(settings)
            _add(supervisor, parts[postgres.NAME])
            _wait(supervisor, [parts[postgres.NAME]], say)
        postgres.create_databases(settings)
        airflow = [p for n, p in parts.items() if n in airflow_programs.COMPONENTS]
        others = [p for n, p in parts.items() if n not in airflow_programs.COMPONENTS and n != postgres.NAME]
        if GATEWAY in parts:
            envoy.prepare(settings)
        for part in others:
            _add(supervisor, part)
        airflow_programs.migrate(settings)
        for part in airflow:
            _add(supervisor, part)
        _wait(supervisor, [*others, *airflow], say)
        if settings.serving == "local":  # a cluster keeps its versions itself
            for sentence in routes.resume(settings, store):
                say(sentence)
        say(f"The platform is up ({time.monotonic() - began:.0f} s).")


def stop(settings: Settings) -> None:
    """Stop every program that was started below this home, PostgreSQL last; also what a killed supervisord left."""
    with _only_one(settings):
        Supervisor(settings).shutdown(last=(postgres.NAME,))


def state(settings: Settings) -> dict[str, Program]:
    """Every program, those of served versions included; empty if the platform is down."""
    supervisor = Supervisor(settings)
    return supervisor.programs() if supervisor.running() else {}


def addresses(settings: Settings) -> dict[str, str]:
    """What a person opens in a browser, by title."""
    return {
        "Airflow": settings.airflow_url,
        "MLflow": settings.mlflow_url,
        "Reports": settings.reports_url,
        "Predictions": settings.gateway_url,
    }


def _parts(settings: Settings, store: Store) -> dict[str, Part]:
    base = f"http://{settings.host}"
    python = {**settings.environment(), **_credentials(), "PYTHONUNBUFFERED": "1", "SPT_NOENV": "1"}
    airflow = {**airflow_programs.environment(settings), **_credentials()}
    mlflow = {
        **python,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its own runners of background work, which nothing here uses
    }
    mlflow_command = [
        executable(settings, "workload", "mlflow"),
        "server",
        "--host",
        settings.host,
        "--port",
        str(settings.mlflow_port),
        "--workers",
        "1",
    ]
    mlflow_command += [
        "--backend-store-uri",
        postgres.address(settings, "mlflow", "psycopg"),
        "--artifacts-destination",
        store.uri("mlflow"),
    ]
    reports_command = [executable(settings, "workload", "python"), "-m", "perennial.local.reports_server"]
    parts = [
        Part(
            "mlflow",
            mlflow_command,
            mlflow,
            lambda: _get(f"{base}:{settings.mlflow_port}/health") is not None,
            {"mlflow_port": (settings.host, settings.mlflow_port)},
        ),
        Part(
            "reports",
            reports_command,
            python,
            lambda: _get(f"{base}:{settings.reports_port}/") is not None,
            {"reports_port": (settings.host, settings.reports_port)},
        ),
    ]
    if settings.serving == "local":
        parts.append(
            Part(
                GATEWAY,
                envoy.command(settings),
                {},
                lambda: _get(f"http://{envoy.ADMIN_HOST}:{settings.gateway_admin_port}/ready") is not None,
                {
                    "gateway_port": (settings.host, settings.gateway_port),
                    "gateway_admin_port": (envoy.ADMIN_HOST, settings.gateway_admin_port),
                },
            )
        )
    if not settings.postgres_url:
        # INT is PostgreSQL's fast shutdown; TERM would wait for every client to leave.
        parts.append(
            Part(postgres.NAME, postgres.command(settings), {}, lambda: postgres.answers(settings), stop_signal="INT", stop_seconds=60)
        )
    for name in airflow_programs.COMPONENTS:
        ports = {"airflow_port": (settings.host, settings.airflow_port)} if name == "airflow-api-server" else {}
        parts.append(Part(name, airflow_programs.command(settings, name), airflow, _airflow_ready(settings, name), ports))
    return {p.name: p for p in parts}


def _airflow_ready(settings: Settings, component: str) -> Callable[[], bool]:
    key = {"airflow-scheduler": "scheduler", "airflow-dag-processor": "dag_processor", "airflow-triggerer": "triggerer"}.get(
        component, "metadatabase"
    )

    def ready() -> bool:
        answer = _get(f"http://{settings.host}:{settings.airflow_port}/api/v2/monitor/health")
        return answer is not None and json.loads(answer)[key]["status"] == "healthy"

    return ready


def _add(supervisor: Supervisor, part: Part) -> None:
    supervisor.add_program(part.name, part.command, part.environment, stop_signal=part.stop_signal, stop_seconds=part.stop_seconds)


def _wait(supervisor: Supervisor, parts: list[Part], say: Callable[[str], None]) -> None:
    began, waiting = time.monotonic(), {p.name: p for p in parts}
    while waiting:
        programs = supervisor.programs()
        for name in list(waiting):
            state = programs[name].state
            if state == "RUNNING" and waiting[name].ready():
                del waiting[name]
                say(f"  {name:<22} ready after {time.monotonic() - began:.0f} s")
            elif state == "FATAL" or time.monotonic() - began > START_SECONDS:
                raise Fault(
                    f"{name} does not start ({state.lower()}): {_last_line(supervisor.log(name))} Its log: {supervisor.log(name)}. Then run `perennial up` again."
                )
        time.sleep(0.2)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"“{lines[-1][:200]}”." if lines else "It wrote nothing."


def _check_ports(parts: dict[str, Part], programs: dict[str, Program]) -> None:
    for part in parts.values():
        if part.name in programs and programs[part.name].state in ("RUNNING", "STARTING", "STOPPING"):
            continue
        for setting, (host, port) in part.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        raise SettingMissing(
                            f"Port {port} is taken by another program: stop that, or set PERENNIAL_{setting.upper()} to a free port."
                        ) from None
                    raise SettingMissing(
                        f"{host}:{port} cannot be listened on ({error.strerror}): correct PERENNIAL_HOST or PERENNIAL_{setting.upper()}."
                    ) from None


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:  # loopback: never through a proxy
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _credentials() -> dict[str, str]:
    """Who the platform is towards an S3 store. Part of every definition: a changed key restarts what uses it."""
    return {k: v for k, v in os.environ.items() if k.startswith("AWS_")}


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True)
    with open(settings.home / "platform.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceUnreachable(f"Another `perennial up` or `down` works on {settings.home}: wait for it to end.") from None
        yield
