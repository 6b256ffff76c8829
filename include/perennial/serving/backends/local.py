"""Serves on this machine: one process per version under the supervisor, Envoy as gateway.

`<home>/serving/state.json` remembers every model's route and running versions; whoever changes it holds its lock, among processes too.
The order of a change is: servers start, their clusters appear, traffic moves, old servers drain, old servers and clusters go.
A change that is killed at any point is completed by applying the same route again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from perennial import discovery, tracing
from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.log_lines import ids_now
from perennial.serving import envoy
from perennial.serving.aside import Aside, AsideSocket
from perennial.serving.backends.observation import KeptInFile, Observations, read_arms
from perennial.serving.limits import REPLAYED, RUN_HEADER
from perennial.serving.replayed import Replayed
from perennial.serving.route import FRESH, Arm, Route
from perennial.settings import Settings
from perennial.sockets import get, post, socket_folder
from perennial.specs import ModelSpec

log = logging.getLogger(__name__)
SERVERS = "serving-"  # the programs that serve begin so
FALLBACK_NUMBER = -1  # stands, among the versions that have a server, for what answers where they fail
_TAKE_UP_SECONDS = 10.0
_RECORDED = 3  # replayed requests that are spans of their own
_POLL_SECONDS = 0.05
_ROUTED_SECONDS = 1.0  # a request whose way was chosen by its headers may wait so long for its body: until then its cluster must be there


class Supervisor(Protocol):
    """The interface of a program supervisor."""

    def add_program(
        self, name: str, command: list[str], environment: Mapping[str, str], *, stop_seconds: int, leave_running: bool = False
    ) -> None:
        """Keep a program running; the same one again changes nothing, with `leave_running` the same command."""
        ...

    def remove_program(self, name: str) -> None:
        """Stop a program and forget it."""
        ...

    def log(self, name: str) -> Path:
        """File to which a program writes."""
        ...


class LocalBackend:
    """Versions as processes of this machine.

    A server that runs keeps the settings with which it was started: those of whoever moves traffic may be others, and would start all
    servers anew at once. With `renew`, as the platform has it when it comes up, they get these.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor | None = None, *, renew: bool = False) -> None:
        self.renew = renew
        self.settings = settings
        self.folder = settings.home / "serving"
        self._supervisor = supervisor
        self._has_fallback: set[str] = set()  # models whose fallback this process started

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor that keeps the servers running."""
        if self._supervisor is None:
            from perennial.local.supervisor import Supervisor as LocalSupervisor

            self._supervisor = LocalSupervisor(self.settings)
        return self._supervisor

    def apply(self, model: ModelSpec, route: Route) -> None:
        """See `Backend.apply`. Returns once the gateway has taken up the route and servers that left it have answered what they had.

        Where the spec wants a fresh baseline a new process of the champion is started beside; it gets its share once it answers.
        """
        with self._state() as state:
            fresh, leaving = self._put(state, model, route)
        self._retire(model, leaving)
        if fresh is None or fresh["ready"]:
            return
        try:
            self._wait_ready(model, FRESH, fresh["version"], model.serving.start_seconds)
        except (ReleaseRefused, ServiceUnreachable) as error:  # no reason to hold a release up
            log.warning("The candidate of %s is compared with the champion that runs, not with a new process of it: %s", model.name, error)
            return
        with self._state() as state:
            known = state.get(model.name, {})
            if known.get("fresh") == fresh and known.get("route") == _to_json(route):  # no other change was faster
                known["fresh"] = {**fresh, "ready": True}
                self._put(state, model, route)

    def _put(self, state: dict[str, Any], model: ModelSpec, route: Route) -> tuple[dict[str, Any] | None, list[int]]:
        """Start what a route names and make the gateway take it up, under the lock; the champion's new process, and who leaves."""
        known = state.setdefault(model.name, {"versions": []})
        known["prefix"] = self._prefix(model)
        if model.dataset or "threads" not in known:  # what stands for a broken spec knows no better: other threads would replace servers
            known.update(timeout_seconds=model.serving.timeout_seconds, threads=model.serving.threads)
        before = {name: served_model for name, served_model in self._served(state).items() if served_model.route is not None}
        fresh = _fresh_wanted(model, route, known)
        running = (*route.versions, *([] if fresh is None else [FRESH]))
        known["versions"] = sorted({*known["versions"], *running})
        known.pop("fresh", None)
        if fresh is not None:
            known["fresh"] = fresh
        if model.dataset or "fallback" not in known:
            known["fallback"] = _fallback_wanted(model, route)
        self._save(state)  # before anything starts: a server that a killed change had started is found again
        for version in running:
            self._start(model.name, known, version, route.digests[version if fresh is None or version != FRESH else fresh["version"]])
        self._start_fallback(model.name, known)
        known["route"] = _to_json(route)
        served = self._served(state).values()
        self._take_up("cluster_manager.cds.version_text", envoy.write(self.settings, "cds", envoy.clusters(served, before)))
        version_text = envoy.write(self.settings, "rds", [envoy.routes(served, self.settings.host_names())])
        self._save(state)
        self._take_up(f"http.{envoy.ROUTES}.rds.{envoy.ROUTES}.version_text", version_text)
        if not known["fallback"]:
            self._stop_fallback(model.name)
        return fresh, [version for version in known["versions"] if version not in running]

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """See `Backend.wait_ready`. Ready means that the server says so and that the gateway has seen it."""
        self._wait_ready(model, version, version, seconds)

    def _wait_ready(self, model: ModelSpec, version: int, says: int, seconds: float) -> None:
        """Wait for a server that says that it is of this version."""
        deadline = time.monotonic() + seconds
        if version not in self._read().get(model.name, {"versions": []})["versions"]:
            raise ServiceUnreachable(f"Version {version} of {model.name} is not among the versions that run: apply a route that has it.")
        reason, server = "its server does not answer", server_socket(self.settings, model.name, version)
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
                answer = json.loads(get(server, "/ready", max(0.1, min(2.0, deadline - time.monotonic())), _run_header())[1])
                if answer.get("version") == says and answer.get("model") == model.name:
                    if answer["refused"]:
                        raise ReleaseRefused(answer["reason"])
                    reason = answer["reason"] or "the gateway has not seen it yet"
                    arms = self._arms() if answer["ready"] else {}
                    seen = [
                        arms.get(name(model.name, version), Arm(healthy=False)).healthy for name in (envoy.cluster_name, envoy.aside_name)
                    ]
                    if all(seen):
                        return
            if time.monotonic() >= deadline:
                log = self.supervisor.log(program(model.name, version))
                raise ServiceUnreachable(f"Version {says} of {model.name} is not ready after {seconds:g} s: {reason}. Its log: {log}.")
            time.sleep(_POLL_SECONDS)

    def replay(self, model: ModelSpec, version: int, rows: Sequence[Mapping[str, Any]]) -> Replayed | None:
        """See `Backend.replay`. They go to the server's own socket, which the gateway and this user alone can reach."""
        server = server_socket(self.settings, model.name, version)
        seconds = model.serving.timeout_seconds
        # Here, since a thread of the pool does not know what is under way. More than a few would hide all else in the trace.
        recorded, unrecorded = tracing.headers(), tracing.headers(recorded=False)

        def ask(place: int, row: Mapping[str, Any]) -> tuple[int, str, float]:
            began = time.perf_counter()
            body = json.dumps({"data": {"rows": [row]}})
            headers = {"Content-Type": "application/json", REPLAYED: "1", **(recorded if place < _RECORDED else unrecorded)}
            try:
                status, text = post(server, f"/{envoy.PREDICTIONS}", body, headers, timeout=seconds)
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, f"{type(error).__name__}: {error}"
            return status, text, (time.perf_counter() - began) * 1e3

        with ThreadPoolExecutor(model.serving.threads) as pool:
            answers = list(pool.map(ask, range(len(rows)), rows))
        failed = [f"{status or 'no answer'}: {text[:300]}" for status, text, _ in answers if not 200 <= status < 500]
        times = sorted(milliseconds for _, _, milliseconds in answers)
        return Replayed(
            len(answers),
            len(failed),
            sum(400 <= status < 500 for status, _, _ in answers),
            failed[0] if failed else "",
            times[int(0.95 * (len(times) - 1))] if times else 0.0,
        )

    def aside(self, model: ModelSpec, version: int) -> Aside | None:
        """See `Backend.aside`: the server's own socket."""
        way = AsideSocket(server_socket(self.settings, model.name, version), f"/{envoy.PREDICTIONS}", model.serving.timeout_seconds)
        try:
            return way.aside()
        except OSError as error:
            raise ServiceUnreachable(
                f"The server of version {version} of {model.name} went away while it was inspected: {error}."
            ) from error

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """See `Backend.observe`. Counters that Envoy began anew are added to what they had shown before, as far as it was looked at."""
        route = self.route(model)
        if route is None:
            return {}
        with self._lock("observed"):
            observations = Observations(KeptInFile(self.folder / "observed.json"))
            fresh = self._read().get(model.name, {}).get("fresh", {}).get("ready")
            champion = None if route.salt is None else route.stable
            return observations.add(model.name, (*route.versions, *([FRESH] if fresh else [])), self._arms(), in_experiment=champion)

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        document = self._read().get(model.name, {}).get("route")
        return None if document is None else _from_json(document)

    def routes(self) -> dict[str, Route]:
        """The route that is applied now of every model that has one."""
        return {name: _from_json(known["route"]) for name, known in self._read().items() if known.get("route")}

    def reset(self, model: ModelSpec) -> None:
        """See `Backend.reset`."""
        with self._state() as state:
            if model.name not in state:
                return
            for part in ("route", "fresh", "fallback"):
                state[model.name].pop(part, None)
            leaving = [*state[model.name]["versions"]]
            version_text = envoy.write(self.settings, "rds", [envoy.routes(self._served(state).values(), self.settings.host_names())])
            self._save(state)
            self._take_up(f"http.{envoy.ROUTES}.rds.{envoy.ROUTES}.version_text", version_text)
            self._stop_fallback(model.name)
        self._retire(model, leaving)

    def resume(self) -> list[str]:
        """Start the servers of every route again, as the platform does when it comes up; returns the models that have one."""
        with self._state() as state:
            served = {name: served_model.route for name, served_model in self._served(state).items() if served_model.route is not None}
            for name, route in served.items():
                for version in route.versions:
                    self._start(name, state[name], version, route.digests[version])
                self._start_fallback(name, state[name])
        return sorted(served)

    def _prefix(self, model: ModelSpec) -> str:
        return self.settings.prediction_path(model.name).removesuffix("api/v1.0/predictions")

    def _start(self, model: str, known: Mapping[str, Any], version: int, digest: str) -> None:
        command = [
            str(self.settings.venv("serving") / "bin" / "python"),
            "-m",
            "perennial.serving.server",
            "--model",
            model,
            "--version",
            str(known["fresh"]["version"] if version == FRESH else version),
        ]
        command += ["--digest", digest, "--socket", str(server_socket(self.settings, model, version)), "--threads", str(known["threads"])]
        environment = {**self.settings.environment(), **tracing.named(tracing.kept(self.settings.home), "server")}
        self.supervisor.add_program(program(model, version), command, environment, stop_seconds=30, leave_running=not self.renew)

    def _start_fallback(self, model: str, known: Mapping[str, Any]) -> None:
        """Start what answers where versions fail, if that is wanted: a process of its own, all of whose answers are fallbacks."""
        fallback = known.get("fallback")
        if not fallback:
            return
        command = [str(self.settings.venv("serving") / "bin" / "python"), "-m", "perennial.serving.server", "--model", model]
        command += ["--version", str(fallback["version"]), "--digest", fallback["digest"]]
        command += ["--socket", str(server_socket(self.settings, model, FALLBACK_NUMBER)), "--threads", str(known["threads"])]
        command += ["--fallback", fallback["kind"], "--fallback-scores", fallback["scores"], "--fallback-rule", fallback["rule"]]
        environment = {**self.settings.environment(), **tracing.named(tracing.kept(self.settings.home), "server")}
        self.supervisor.add_program(fallback_program(model), command, environment, stop_seconds=30, leave_running=not self.renew)
        self._has_fallback.add(model)

    def _stop_fallback(self, model: str) -> None:
        """Stop it where it runs."""
        if (socket := server_socket(self.settings, model, FALLBACK_NUMBER)).exists() or model in self._has_fallback:
            self.supervisor.remove_program(fallback_program(model))
            socket.unlink(missing_ok=True)
            self._has_fallback.discard(model)

    def _retire(self, model: ModelSpec, leaving: list[int]) -> None:
        """Stop servers that no route names, once nothing runs in them. Not under the lock: a rollback must not wait for a slow request."""
        if not leaving:
            return
        time.sleep(_ROUTED_SECONDS)
        deadline = time.monotonic() + model.serving.timeout_seconds
        clusters_of = (envoy.cluster_name, envoy.aside_name, envoy.without_unit_name)
        names = {name(model.name, version) for version in leaving for name in clusters_of}
        while any(running for cluster, running in self._running_requests().items() if cluster in names) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        with self._state() as state:
            known = state.get(model.name, {"versions": []})
            route = self._served(state)[model.name].route if model.name in state else None
            staying = {*(route.versions if route else ()), *([FRESH] if known.get("fresh") else [])}
            gone = [version for version in leaving if version in known["versions"] and version not in staying]
            known["versions"] = [version for version in known["versions"] if version not in gone]
            if model.name in state and route is None and not known["versions"]:
                del state[model.name]
            envoy.write(self.settings, "cds", envoy.clusters(self._served(state).values()))
            for version in gone:
                self.supervisor.remove_program(program(model.name, version))
                server_socket(self.settings, model.name, version).unlink(missing_ok=True)  # left by one that was killed
            self._save(state)

    def _served(self, state: Mapping[str, Any]) -> dict[str, envoy.Served]:
        served = {}
        for name, known in state.items():
            sockets = {version: server_socket(self.settings, name, version) for version in known["versions"]}
            route = _from_json(known["route"]) if known.get("route") else None
            if route is not None and known.get("fresh", {}).get("ready"):
                route = _with_fresh(route)
            is_open = self.settings.server == "open"
            fallback = server_socket(self.settings, name, FALLBACK_NUMBER) if known.get("fallback") else None
            served[name] = envoy.Served(name, known["prefix"], known["timeout_seconds"], sockets, route, is_open, fallback)
        return served

    def _take_up(self, statistic: str, wanted: str) -> None:
        """Wait until the gateway has taken up a file and its new clusters have been looked at."""
        deadline = time.monotonic() + _TAKE_UP_SECONDS
        while True:
            text = self._admin(f"/stats?filter=^({statistic.replace('.', '[.]')}|cluster_manager[.]warming_clusters)$")
            figures = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if figures.get(statistic, "").strip('"') == wanted and figures.get("cluster_manager.warming_clusters", "0") == "0":
                return
            if time.monotonic() >= deadline:
                raise ServiceUnreachable(
                    f"The gateway did not take up {envoy.folder(self.settings)} in {_TAKE_UP_SECONDS:g} s: its log says why. "
                    "Run `perennial status`."
                )
            time.sleep(_POLL_SECONDS / 5)

    def _arms(self) -> dict[str, Arm]:
        return read_arms(
            self._admin("/clusters?format=json"),
            self._admin(
                "/stats?format=json&histogram_buckets=cumulative&filter=^cluster[.].*[.](upstream_rq_(time|completed|4xx)|retry[.]upstream_rq_400)$"
            ),
        )

    def _running_requests(self) -> dict[str, int]:
        text = self._admin("/stats?filter=^cluster[.].*[.]endpoint[.].*[.]rq_active$")
        return {line.split(".")[1]: int(line.rsplit(": ", 1)[1]) for line in text.splitlines() if ": " in line}

    def _admin(self, path: str) -> str:
        socket = envoy.admin_socket(self.settings)
        try:
            return get(socket, path)[1]
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnreachable(f"The gateway does not answer on its status socket {socket} ({error}): run `perennial up`.") from error

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        with self._lock("state"):
            yield self._read()

    def _read(self) -> dict[str, Any]:
        return read_state(self.settings)

    def _save(self, state: Mapping[str, Any]) -> None:
        unfinished = self.folder / f".state.{os.getpid()}.unfinished"
        unfinished.write_text(json.dumps(state, indent=1))
        unfinished.replace(self.folder / "state.json")

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _run_header() -> dict[str, str]:
    """The run that asks, where one does, for the server's log."""
    run = str(ids_now().get("run", ""))
    return {RUN_HEADER: run} if run.isascii() else {}


def server_socket(settings: Settings, model: str, version: int) -> Path:
    """Where the server of one version listens: nothing but the gateway of this user is to ask it. Short, whatever the model's name."""
    return socket_folder(settings) / f"v{version}-{hashlib.sha256(model.encode()).hexdigest()[:8]}.sock"


def read_state(settings: Settings) -> dict[str, Any]:
    """The applied routes: for each model its running versions, its route and the gateway's data; empty before the first release."""
    try:
        state: dict[str, Any] = json.loads((settings.home / "serving" / "state.json").read_text())
    except FileNotFoundError:
        return {}
    for known in state.values():
        if "ports" in known:  # written when each server had a port
            known["versions"] = sorted(int(version) for version in known.pop("ports"))
    return state


def program(model: str, version: int) -> str:
    """Name of the program that serves a version."""
    return f"{SERVERS}{model}-v{version}"


def fallback_program(model: str) -> str:
    """Name of the program that answers where versions of a model fail."""
    return f"fallback-{model}"


def _fallback_wanted(model: ModelSpec, route: Route) -> dict[str, Any] | None:
    """What is to answer where versions fail, with all that it is started with; None if nothing is to, or there is no last good version."""
    kind, warm = model.serving.fallback, [version for version in route.weights if not route.weights[version] and version != route.stable]
    if kind == "none" or (kind == "last_good" and not warm):
        return None
    stands_for = max(warm) if kind == "last_good" else route.stable
    rule = str(discovery.model_folder(model.name) / "fallback.py") if kind == "rule" else ""
    scores = json.dumps(model.serving.fallback_scores) if kind == "constant" else ""
    return {"kind": kind, "version": stands_for, "digest": route.digests[stands_for], "scores": scores, "rule": rule}


def _fresh_wanted(model: ModelSpec, route: Route, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The champion's new process that a route is to have beside it, with what is known of one that runs; None if it is to have none."""
    champion, others = route.champion, [version for version, weight in route.weights.items() if weight and version != route.champion]
    if not model.release.fresh_baseline or route.salt is not None or champion is None or not route.weights[champion] or not others:
        return None
    wanted = {"version": champion, "digest": route.digests[champion], "ready": False}
    running: dict[str, Any] = known.get("fresh", {})
    return running if {**running, "ready": False} == wanted else wanted


def _with_fresh(route: Route) -> Route:
    """The route in which the champion's new process takes as much of the champion's traffic as the greatest other version has."""
    champion = route.stable
    other = max(weight for version, weight in route.weights.items() if version != champion)
    given = min(other, route.weights[champion])
    weights = {**route.weights, champion: route.weights[champion] - given, FRESH: given}
    return Route(weights, route.shadow, {**route.digests, FRESH: route.digests[champion]}, champion)


def _to_json(route: Route) -> dict[str, Any]:
    return {
        "weights": {str(k): v for k, v in route.weights.items()},
        "shadow": route.shadow,
        "digests": {str(k): v for k, v in route.digests.items()},
        "champion": route.champion,
        **({} if route.salt is None else {"salt": route.salt}),
    }


def _from_json(document: Mapping[str, Any]) -> Route:
    return Route(
        {int(k): v for k, v in document["weights"].items()},
        document["shadow"],
        {int(k): v for k, v in document["digests"].items()},
        document["champion"],
        document.get("salt"),
    )
