"""The platform on one machine: its programs, their start order, and when each is ready."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from perennial import discovery, projects, stage_runner, tracing
from perennial.data import landing
from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.local import (
    airflow_programs,
    callers,
    heartbeat,
    metrics_server,
    mlflow_program,
    postgres,
    prometheus,
    routes,
    span_receiver,
)
from perennial.local.project import executable
from perennial.local.supervisor import Program, Supervisor
from perennial.serving import caller, envoy
from perennial.serving.backends.local import SERVERS
from perennial.settings import PORTS, Settings
from perennial.sockets import socket_folder
from perennial.store import Store, private_folder, tighten

GATEWAY = "envoy"
WATCH = "watch"
STAGES = "stages"  # forks the processes of stages
START_SECONDS = 600  # a first start on a slow or busy machine; 30 s is usual
SAY_SECONDS = 60  # between two lines that say what is still starting
HANGS_SECONDS = 120  # after which a program that does not answer is no slow starter
FREE_BASES = range(18_000, 32_000, 100)  # that are proposed where a port is taken; the kernel hands out higher ones by itself
LOOKS = 3  # in vain, one after the other, before a program is said to hang


@dataclass(frozen=True)
class Part:
    """One program of the platform."""

    name: str
    command: list[str]
    environment: dict[str, str]
    ready: Callable[[], bool]
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)  # setting -> address and port
    told_by: str = ""  # the part that `ready` asks, if that is another one
    patience: int = HANGS_SECONDS  # seconds after its start from which on it hangs if it does not answer
    stop_signal: str = "TERM"
    stop_seconds: int = 20


def start(settings: Settings, store: Store, say: Callable[[str], None] = print) -> None:
    """Start what does not run yet, wait until all is ready, and restore the routes of the ledger.

    Raises:
        Fault: an environment is missing, or a part does not become ready.
        SettingMissing: ports are taken, or a project is not there; nothing was set up then.
    """
    with _only_one(settings):
        began, begun = time.monotonic(), datetime.now(timezone.utc)
        _require_projects(settings)
        supervisor = Supervisor(settings)
        tracing.keep(settings.home, _where_spans_go(settings))
        parts = _parts(settings, store)
        left = supervisor.left()
        _check_ports(parts, {*left, *_working(supervisor)})
        tighten(settings.home)
        store.make_private()
        for dataset in (name for name, spec in discovery.datasets().items() if not spec.scores_of):
            store.make_folder(landing.folder(dataset))
        if left:
            say(f"Programs run on whose supervisor has gone ({', '.join(left)}): each is replaced by a new one.")
        # What answers callers goes on until its successor is started; the others would meet theirs at the same database.
        supervisor.start(keep={name for name in left if _serves(name)} if settings.serving == "local" else ())
        # Of a platform that was started by an earlier release, which had a server for them, or with PERENNIAL_METRICS.
        for name in ("reports", *({prometheus.PROMETHEUS, prometheus.ALERTMANAGER, span_receiver.NAME, STAGES} - set(parts))):
            supervisor.remove_program(name)
        airflow_programs.login(settings)
        if not settings.postgres_url:
            postgres.initialise(settings)
            _add(supervisor, parts[postgres.NAME])
            _wait(supervisor, [parts[postgres.NAME]], begun, say)
        postgres.create_databases(settings)
        airflow = [p for n, p in parts.items() if n in airflow_programs.COMPONENTS]
        others = [p for n, p in parts.items() if n not in (*airflow_programs.COMPONENTS, postgres.NAME, WATCH)]
        if GATEWAY in parts:
            envoy.prepare(settings)
        if prometheus.PROMETHEUS in parts:
            prometheus.prepare(settings)
        for part in others:
            _add(supervisor, part)
        airflow_programs.migrate(settings)
        for part in airflow:
            _add(supervisor, part)
        _wait(supervisor, [*others, *airflow], begun, say)
        if settings.serving == "local":  # a cluster keeps its versions itself
            for sentence in (*routes.mend(settings, store), *routes.resume(settings, store)):
                say(sentence)
            # It leaves a version that does not answer, so it begins once all that should answer was started.
            _add(supervisor, parts[WATCH])
            _wait(supervisor, [parts[WATCH]], begun, say)
        supervisor.end_left()
        say(f"The platform is up ({time.monotonic() - began:.0f} s).")


def _require_projects(settings: Settings) -> None:
    """Raises SettingMissing where Airflow would show nothing of what a team wrote, without a word."""
    if os.environ.get("PERENNIAL_DAGS_FOLDER"):
        raise SettingMissing(
            "PERENNIAL_DAGS_FOLDER is no setting any more: put those DAG files into dags/ of a project (`perennial new` makes one), "
            "name that in PERENNIAL_PROJECT, and unset the variable."
        )
    for project in settings.projects:
        if why := projects.trouble(project):
            raise SettingMissing(f"{why[0].upper()}{why[1:]}.")


def _where_spans_go(settings: Settings) -> dict[str, str]:
    """OpenTelemetry's variables for every part, none if no spans are sent. Raises SettingMissing where they cannot be sent there."""
    try:
        return tracing.variables(span_receiver.environment(settings, os.environ))
    except tracing.Trouble as error:
        raise SettingMissing(str(error)) from None


def stop(settings: Settings) -> None:
    """Stop every program that was started below this home, PostgreSQL last; also what a killed supervisord left."""
    with _only_one(settings):
        Supervisor(settings).shutdown(last=(STAGES, postgres.NAME))


def silent(settings: Settings, store: Store, programs: Collection[str]) -> set[str]:
    """Which of these programs do not answer.

    All are asked at the same time, and once more if they do not: a busy machine is no outage.
    """
    asked = [part for part in _parts(settings, store).values() if part.name in programs]
    with ThreadPoolExecutor(max_workers=max(len(asked), 1)) as pool:
        for _ in range(2):
            asked = [part for part, ready in zip(asked, pool.map(lambda part: part.ready(), asked), strict=True) if not ready]
    return {part.name for part in asked}


def state(settings: Settings) -> dict[str, Program]:
    """Every program, those of served versions included; empty if the platform is down."""
    supervisor = Supervisor(settings)
    return supervisor.programs() if supervisor.running() else {}


def addresses(settings: Settings) -> dict[str, str]:
    """The addresses for a browser, by title; the first is where to begin."""
    return {
        "Models": f"{settings.airflow_url}/plugin/models",
        "Airflow": settings.airflow_url,
        "MLflow": settings.mlflow_url,
        "Reports": f"{settings.airflow_url}/perennial/reports",
        "Predictions": settings.gateway_url,
        **({"Prometheus": settings.prometheus_url} if settings.metrics else {}),
    }


def _parts(settings: Settings, store: Store) -> dict[str, Part]:
    base = f"http://{settings.host}"
    python = {**settings.environment(), **_credentials(), "PYTHONUNBUFFERED": "1", "SPT_NOENV": "1"}
    airflow = {**airflow_programs.environment(settings), **_credentials(), **_outside_mlflow()}
    mlflow = {**python, **mlflow_program.environment(settings)}
    mlflow_command = [*mlflow_program.command(settings), "--host", settings.host, "--port", str(settings.mlflow_port), "--workers", "1"]
    mlflow_command += ["--artifacts-destination", store.uri("mlflow")]
    mlflow_command += ["--allowed-hosts", ",".join(_mlflow_hosts(settings)), "--cors-allowed-origins", ",".join(_mlflow_pages(settings))]
    parts = [
        Part(
            "mlflow",
            mlflow_command,
            mlflow,
            lambda: _get(f"{base}:{settings.mlflow_port}/health") is not None,
            {"mlflow_port": (settings.host, settings.mlflow_port)},
        ),
    ]
    if settings.runtime == "process":
        place = socket_folder(settings) / stage_runner.SOCKET
        command = [executable(settings, "workload", "python"), "-m", "perennial.stage_runner", str(place)]
        parts.append(Part(STAGES, command, python, lambda: stage_runner.answers(place)))
    if settings.serving == "local":
        parts += [
            Part(
                GATEWAY,
                envoy.command(settings),
                {"TZ": "UTC"} if settings.log_format == "json" else {},
                lambda: not caller.gateway_trouble(caller.here(settings)),
                {"gateway_port": (settings.host, settings.gateway_port)},
                patience=10,
            ),
            Part(
                "metrics",
                [executable(settings, "workload", "python"), "-m", "perennial.local.metrics_server"],
                python,
                lambda: _get(f"http://{metrics_server.ADDRESS}:{settings.metrics_port}/metrics") is not None,
                {"metrics_port": (metrics_server.ADDRESS, settings.metrics_port)},
            ),
            Part(
                WATCH,
                watch_command(settings),
                python,
                lambda: heartbeat.beats(settings),
                patience=heartbeat.PATIENCE_SECONDS,
            ),
        ]
    if settings.traces:
        parts.append(
            Part(
                span_receiver.NAME,
                [executable(settings, "workload", "python"), "-m", "perennial.local.span_receiver"],
                python,
                _answers(f"http://{span_receiver.ADDRESS}:{settings.traces_port}/ready"),
                {"traces_port": (span_receiver.ADDRESS, settings.traces_port)},
            )
        )
    if settings.metrics:
        parts += [
            Part(
                name,
                command,
                {},
                _answers(f"http://{metrics_server.ADDRESS}:{port}/-/ready"),
                {f"{name}_port": (metrics_server.ADDRESS, port)},
            )
            for (name, command), port in zip(
                prometheus.commands(settings).items(), (settings.alertmanager_port, settings.prometheus_port), strict=True
            )
        ]
    if not settings.postgres_url:
        # INT is PostgreSQL's fast shutdown; TERM would wait for every client to leave.
        parts.append(
            Part(postgres.NAME, postgres.command(settings), {}, lambda: postgres.answers(settings), stop_signal="INT", stop_seconds=60)
        )
    for name in airflow_programs.COMPONENTS:
        tells = name == airflow_programs.API_SERVER
        ports = {"airflow_port": (settings.host, settings.airflow_port)} if tells else {}
        told_by = "" if tells else airflow_programs.API_SERVER
        parts.append(Part(name, airflow_programs.command(settings, name), airflow, _airflow_ready(settings, name), ports, told_by))
    return {p.name: p for p in parts}


def watch_command(settings: Settings) -> list[str]:
    """What looks at the versions that serve."""
    return [executable(settings, "workload", "python"), "-m", "perennial.cli", "watch"]


def _mlflow_hosts(settings: Settings) -> list[str]:
    """Names that MLflow answers to, with any port. A bracket is a pattern's own sign there."""
    names = sorted(settings.host_names())
    return ["*"] if "*" in names else [host for name in names for host in (name, f"{name.replace('[', '[[]', 1)}:*")]


def _mlflow_pages(settings: Settings) -> list[str]:
    """Pages that may change something in MLflow, besides those of loopback, which it allows by itself."""
    names = settings.host_names() - {"*"}
    return sorted({callers.origin_of(settings.mlflow_url), *(f"http://{name}:{settings.mlflow_port}" for name in names)})


def _airflow_ready(settings: Settings, component: str) -> Callable[[], bool]:
    key = {"airflow-scheduler": "scheduler", "airflow-dag-processor": "dag_processor", "airflow-triggerer": "triggerer"}.get(
        component, "metadatabase"
    )

    def ready() -> bool:
        answer = _get(f"http://{settings.host}:{settings.airflow_port}/api/v2/monitor/health")
        return answer is not None and json.loads(answer)[key]["status"] == "healthy"

    return ready


def _answers(url: str) -> Callable[[], bool]:
    return lambda: _get(url) is not None


def _add(supervisor: Supervisor, part: Part) -> None:
    supervisor.add_program(part.name, part.command, part.environment, stop_signal=part.stop_signal, stop_seconds=part.stop_seconds)


def _wait(supervisor: Supervisor, parts: list[Part], begun: datetime, say: Callable[[str], None]) -> None:
    """Wait until all answer. A program that ran before `begun` and does not answer is restarted once; one started since is waited for."""
    began, waiting = time.monotonic(), {p.name: p for p in parts}
    looks, mended, said = dict.fromkeys(waiting, 0), set[str](), began
    while waiting:
        programs = supervisor.programs()
        for name in list(waiting):
            program, part = programs[name], waiting[name]
            if program.state == "RUNNING" and part.ready():
                del waiting[name]
                say(f"  {name:<22} ready after {time.monotonic() - began:.0f} s")
            elif program.state == "FATAL" or time.monotonic() - began > START_SECONDS:
                raise Fault(
                    f"{name} does not start ({program.state.lower()}): {_last_line(supervisor.log(name))} Its log: "
                    f"{supervisor.log(name)}. Then run `perennial up` again."
                )
            elif program.since and program.since < begun and part.told_by not in waiting and name not in mended:
                looks[name] += 1
                if looks[name] >= LOOKS and (datetime.now(timezone.utc) - program.since).total_seconds() > part.patience:
                    say(f"  {name:<22} runs and does not answer: it is started anew")
                    supervisor.replace(name)
                    mended.add(name)
        if waiting and time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            logs = supervisor.log(next(iter(waiting))).parent
            say(f"  {', '.join(waiting)}: still starting after {said - began:.0f} s; the logs are in {logs}")
        time.sleep(0.2)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"“{lines[-1][:200]}”." if lines else "It wrote nothing."


def _working(supervisor: Supervisor) -> set[str]:
    programs = supervisor.programs().values() if supervisor.running() else ()
    return {program.name for program in programs if program.state in ("RUNNING", "STARTING", "STOPPING")}


def _serves(program: str) -> bool:
    return program == GATEWAY or program.startswith(SERVERS)


def _check_ports(parts: dict[str, Part], ours: Collection[str]) -> None:
    """Refuse ports that strangers have, all at once; not one that is held by one of our own programs."""
    ports = {setting: place for part in parts.values() for setting, place in part.ports.items()}
    for setting, place in ports.items():
        if same := [f"PERENNIAL_{other.upper()}" for other, its in ports.items() if its == place and other != setting]:
            raise SettingMissing(f"PERENNIAL_{setting.upper()} and {same[0]} are both {place[1]}: set one of them to another port.")
    asked = {setting: place for part in parts.values() if part.name not in ours for setting, place in part.ports.items()}
    taken: dict[str, int] = {}
    for setting, (host, port) in asked.items():
        if trouble := _trouble_with(host, port):
            if trouble.errno != errno.EADDRINUSE:
                raise SettingMissing(
                    f"{host}:{port} cannot be listened on ({trouble.strerror}): correct PERENNIAL_HOST or PERENNIAL_{setting.upper()}."
                )
            taken[setting] = port
    if not taken:
        return
    hosts = {host for host, _ in ports.values()}
    bases = (base for base in FREE_BASES if not any(_trouble_with(host, base + place) for host in hosts for place in PORTS.values()))
    base = next(bases, None)
    move = "" if base is None else f", or let all ports follow from one that is free: export PERENNIAL_PORT_BASE={base}"
    if len(taken) == 1:
        ((setting, port),) = taken.items()
        raise SettingMissing(
            f"Port {port} is taken by another program: stop that, set PERENNIAL_{setting.upper()} to a free port{move or '.'}"
        )
    named = [f"{port} (PERENNIAL_{setting.upper()})" for setting, port in taken.items()]
    raise SettingMissing(
        f"Ports {', '.join(named[:-1])} and {named[-1]} are taken by other programs: stop those, set these to free ports{move or '.'}"
    )


def _trouble_with(host: str, port: int) -> OSError | None:
    """Why nothing could listen there; None where it could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:  # loopback: never through a proxy
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _credentials() -> dict[str, str]:
    """The platform's S3 credentials. They are part of every definition, so that a changed key restarts what uses it."""
    return {k: v for k, v in os.environ.items() if k.startswith("AWS_")}


def _outside_mlflow() -> dict[str, str]:
    """What an MLflow elsewhere asks stages for."""
    return {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_TRACKING_")}


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    private_folder(settings.home)
    with open(settings.home / "platform.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceUnreachable(f"Another `perennial up` or `down` works on {settings.home}: wait for it to end.") from None
        yield
