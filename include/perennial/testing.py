"""Doubles and builders for tests, the project's and yours: small version folders that serve, a saboteur, and programs without a supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from perennial import encoding
from perennial.errors import ServiceUnreachable
from perennial.lineage import version_folder
from perennial.lineage.manifest import Manifest
from perennial.registry.model_registry import CHAMPION, COMPARED_WITH, ModelRegistry, Version
from perennial.serving.route import WHOLE, Arm, Route
from perennial.settings import Settings
from perennial.specs import GateSpec, ModelSpec, ServingSpec
from perennial.store import Store

TIME_ZONE = "America/New_York"  # of the flights
CARRIERS = ("AA", "B6", "DL", "UA")
INPUTS: tuple[dict[str, Any], ...] = (
    {"name": "carrier", "type": "string", "nullable": False},
    {"name": "origin", "type": "string", "nullable": False, "values": ["EWR", "JFK", "LGA"]},
    {"name": "scheduled_departure", "type": "timestamp", "nullable": False},
    {"name": "distance", "type": "int", "nullable": False, "min": 1, "max": 20_000},
    {"name": "temp", "type": "float", "nullable": True},
)
FEATURES = '''"""Columns in, tensors out."""


def encode(encoder, columns):
    """The tensors of every row."""
    return encoder.encode(columns)
'''


def small_model(name: str = "small_delays", **serving: Any) -> ModelSpec:
    """The spec of the model whose versions `small_version` makes."""
    inputs = tuple(field["name"] for field in INPUTS)
    return ModelSpec(
        name=name, title="Small delays", owner="tests", dataset="flights", task="binary", inputs=inputs, label="late", classes=("on_time", "late"),
        gate=GateSpec(floors={"log_loss": 0.9}), serving=ServingSpec(**serving),
    )  # fmt: skip


def small_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Request rows that `small_version` understands."""
    rng = np.random.default_rng(seed)
    return [
        {
            "carrier": str(rng.choice(CARRIERS)),
            "origin": str(rng.choice(["EWR", "JFK", "LGA"])),
            "scheduled_departure": f"2013-02-{1 + int(rng.integers(28)):02d}T{int(rng.integers(5, 23)):02d}:00:00",
            "distance": int(rng.integers(100, 3000)),
            "temp": None if rng.random() < 0.1 else round(float(rng.normal(40, 10)), 1),
        }
        for _ in range(count)
    ]


def small_version(folder: Path, *, model: str = "small_delays", seed: int = 0) -> Path:
    """Write a version folder without its manifest: a logistic regression with random weights, as ONNX. Needs `onnx`."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    golden = small_rows(16, seed=1000 + seed)
    names = [field["name"] for field in INPUTS]
    columns = encoding.columns_from_rows(small_rows(200, seed=seed), names)
    encoder = encoding.Encoder(
        {
            "numbers": [encoding.Number.fit(columns, "distance"), encoding.Number.fit(columns, "temp", nulls=True)],
            "categories": [encoding.Category.fit(columns, "carrier"), encoding.Category.fit(columns, "origin")],
        }
    )
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {
        "w": rng.normal(size=(3, 2)).astype(np.float32),
        "carrier": rng.normal(size=(encoder.sizes("categories")[0], 2)).astype(np.float32),
        "first": np.array([0], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["numbers", "w"], ["linear"]),
            helper.make_node("Gather", ["categories", "first"], ["place"], axis=1),
            helper.make_node("Squeeze", ["place", "one"], ["places"]),
            helper.make_node("Gather", ["carrier", "places"], ["embedded"], axis=0),
            helper.make_node("Add", ["linear", "embedded"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        model,
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("categories", TensorProto.INT64, ["rows", 2]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 2])],
        [
            *(numpy_helper.from_array(value, name) for name, value in weights.items()),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    scores = session.run(None, encoder.encode(encoding.columns_from_rows(golden, names)))[0]
    signature = {"model": model, "task": "binary", "classes": ["on_time", "late"], "inputs": INPUTS, "time_zone": TIME_ZONE}
    for name, found in (
        ("encoder", encoder.to_json()),
        ("signature", signature),
        ("golden", {"rows": golden, "scores": scores.tolist(), "tolerance": 1e-4}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(found))
    (folder / "features.py").write_text(FEATURES)
    return folder


def small_manifest(model: str = "small_delays", **changes: Any) -> Manifest:
    """A manifest that lets a small version be published."""
    fields: dict[str, Any] = {
        "model": model, "run_key": "0" * 24, "dataset": "flights", "snapshot": 1, "snapshot_digest": "s", "code_digest": "c", "lock_digest": "l",
        "parameters": {}, "seed": 0, "cause": "manual", "event_time_end": "2013-01-31T23:00:00",
    }  # fmt: skip
    return Manifest(**{**fields, **changes})


def publish_small_version(store: Store, folder: Path, *, model: str = "small_delays", seed: int = 0) -> str:
    """Make a small version and publish it; returns its digest."""
    return version_folder.publish(
        store, model, small_version(folder, model=model, seed=seed), small_manifest(model, seed=seed, run_key=f"{seed:024d}")
    )


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[Settings]:
    """A real MLflow server on a free port, with its database `mlflow.db` and its files below `folder`; stopped at the end."""
    port = free_ports(1)[0]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    settings = Settings.from_environment({"PERENNIAL_MLFLOW_URL": f"http://127.0.0.1:{port}"})

    def up() -> bool:
        if process.poll() is not None:
            raise AssertionError((folder / "log").read_text())
        try:
            return ModelRegistry(settings).versions("nothing") == []
        except ServiceUnreachable:
            return False

    try:
        wait_until(up, 240, "MLflow")
        yield settings
    finally:
        process.terminate()
        process.wait(30)


def sabotage(store: Store, model: str, digest: str, folder: Path, *, share: float = 0.3, seconds: float = 0.0) -> str:
    """Publish a copy of a version that fails part of its live traffic though its golden rows pass; returns the copy's digest.

    Its `features.py` raises for about `share` of all rows that are no golden rows, always the same ones, after `seconds` of delay for every
    request that is not golden: a version that every check before the release accepts and only live traffic can convict.
    """
    source = version_folder.fetch(store, model, digest, folder)
    manifest = version_folder.read_manifest(store, model, digest)
    golden = json.loads((source / "golden.json").read_text())["rows"]
    inputs = json.loads((source / "signature.json").read_text())["inputs"]
    names = [field["name"] for field in inputs if field["type"] != "timestamp"]
    shutil.copyfile(source / "features.py", source / "features_before_sabotage.py")
    (source / "features.py").write_text(
        _SABOTAGED.format(names=names, golden=sorted(set(_keys(names, golden))), share=share, seconds=seconds)
    )
    return version_folder.publish(
        store,
        model,
        source,
        manifest.model_copy(update={"run_key": f"{manifest.run_key[:18]}{'badbad'}", "parents": [digest], "files": {}}),
    )


def _keys(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Identity of each row's values; the saboteur below computes the same from columns."""
    return [zlib.crc32("|".join(encoding.text(row.get(name)) or "" for name in names).encode()) for row in rows]


_SABOTAGED = '''"""Fails part of the live traffic, on purpose."""

import importlib.util
import pathlib
import time
import zlib

from perennial import encoding

NAMES = {names!r}
GOLDEN = frozenset({golden!r})
SHARE = {share!r}
SECONDS = {seconds!r}

_found = importlib.util.spec_from_file_location("features_before_sabotage", pathlib.Path(__file__).with_name("features_before_sabotage.py"))
_features = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_features)


def _keys(columns):
    texts = [[encoding.text(value) or "" for value in columns[name].tolist()] for name in NAMES]
    return [zlib.crc32("|".join(row).encode()) for row in zip(*texts)]


def encode(encoder, columns):
    """As before the sabotage, except for the rows that fail."""
    strangers = [key for key in _keys(columns) if key not in GOLDEN]
    if strangers and SECONDS:
        time.sleep(SECONDS)
    for key in strangers:
        if zlib.crc32(b"%d" % key) % 1000 < SHARE * 1000:
            raise ZeroDivisionError("division by zero in a feature that the golden rows do not reach")
    return _features.encode(encoder, columns)
'''


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now, in one run without gaps where possible."""
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found


@dataclass(frozen=True)
class RunningProgram:
    """What `Programs` says of one program."""

    name: str
    state: str
    pid: int | None
    since: datetime | None


class Programs:
    """Keeps programs running as children of this process: the supervisor's interface for tests. Dead ones are started again."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self._wanted: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def add_program(self, name: str, command: list[str], environment: Mapping[str, str], **_: Any) -> None:
        """Start a program; the same one again changes nothing."""
        with self._lock:
            if self._wanted.get(name) == (command, dict(environment)):
                return
            self.remove_program(name)
            self._wanted[name] = (command, dict(environment))
            self._start(name)

    def remove_program(self, name: str) -> None:
        """Stop a program and forget it; no error if there is none."""
        with self._lock:
            self._wanted.pop(name, None)
            process = self._running.pop(name, None)
        if process:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def programs(self) -> dict[str, RunningProgram]:
        """All programs by name."""
        with self._lock:
            now = datetime.now(timezone.utc)
            return {
                name: RunningProgram(name, "RUNNING" if process.poll() is None else "EXITED", process.pid, now)
                for name, process in self._running.items()
            }

    def log(self, name: str) -> Path:
        """File to which a program writes."""
        return self.logs / f"{name}.log"

    def shutdown(self) -> None:
        """Stop all programs."""
        self._ended.set()
        self._thread.join()
        for name in list(self._wanted):
            self.remove_program(name)

    def _start(self, name: str) -> None:
        command, environment = self._wanted[name]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "COVERAGE_", "PYTEST_"))}
        with self.log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(command, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            with self._lock:
                for name, process in list(self._running.items()):
                    if process.poll() is not None and name in self._wanted:
                        self._start(name)


@contextlib.contextmanager
def started(programs: Programs) -> Iterator[Programs]:
    """The programs, stopped at the end."""
    try:
        yield programs
    finally:
        programs.shutdown()


def wait_until(condition: Any, seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first true value of `condition()`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come true in {seconds:g} s")


class RehearsedBackend:
    """A serving backend without servers: it remembers routes, and answers requests by drawing lots."""

    def __init__(self, seed: int = 0) -> None:
        self.history: list[Route] = []
        self.refusals: dict[int, Exception] = {}  # what waiting for a version raises
        self.deaf: set[int] = set()  # versions that get no request, whatever their weight
        self._route: Route | None = None
        self._arms: dict[int, Arm] = {}
        self._rng = np.random.default_rng(seed)

    def apply(self, model: ModelSpec, route: Route) -> None:
        """Remember the route."""
        del model
        self._route = route
        self.history.append(route)

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """Ready at once, or what `refusals` holds."""
        del model, seconds
        if self._route is None or version not in self._route.versions:
            raise AssertionError(f"version {version} is waited for and does not run")
        if version in self.refusals:
            raise self.refusals[version]

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """What the versions of the route have shown."""
        del model
        return {version: self._arms.get(version, Arm()) for version in (self._route.versions if self._route else ())}

    def route(self, model: ModelSpec) -> Route | None:
        """The route applied last."""
        del model
        return self._route

    def reset(self, model: ModelSpec) -> None:
        """Forget the route."""
        del model
        self._route = None

    def serve(
        self,
        requests: int,
        errors: Mapping[int, float] | None = None,
        slow: Mapping[int, float] | None = None,
        unreadable: Mapping[int, float] | None = None,
    ) -> None:
        """Draw requests: which version gets each, which fail or cannot be read (share by version), and which take more than 25 ms (5 % unless said)."""
        assert self._route is not None
        versions = [version for version, weight in self._route.weights.items() if weight]
        shares = np.array([self._route.weights[version] for version in versions]) / WHOLE
        drawn = dict(zip(versions, self._rng.multinomial(requests, shares).tolist(), strict=True))
        if self._route.shadow is not None:
            drawn[self._route.shadow] = requests
        for version, count in drawn.items():
            if version not in self.deaf:
                failed = int(self._rng.binomial(count, (errors or {}).get(version, 0.0)))
                late = int(self._rng.binomial(count, (slow or {}).get(version, 0.05)))
                before = self._arms.get(version, Arm(latency_ms=((5.0, 0), (25.0, 0), (float("inf"), 0))))
                added = (count // 2, count - late, count)
                latency = tuple((bound, total + more) for (bound, total), more in zip(before.latency_ms, added, strict=True))
                refused = int(self._rng.binomial(count, (unreadable or {}).get(version, 0.0)))
                self._arms[version] = Arm(
                    before.requests + count, before.errors + failed, latency, before.answered + count, before.unreadable + refused
                )


class RegistryInMemory:
    """The registry's versions and aliases without MLflow. Set `unreachable` to make every call fail as if MLflow were down."""

    url = "http://registry"

    def __init__(self) -> None:
        self.unreachable = False
        self._versions: dict[tuple[str, int], Version] = {}
        self._aliases: dict[tuple[str, str], int] = {}

    def add(
        self, model: str, digest: str, alias: str = "candidate", tags: Mapping[str, str] | None = None, *, number: int | None = None
    ) -> Version:
        """Register a version, under the next number unless one is given, and give it an alias. Unless tags are given, it was compared with the champion of now."""
        number = number or 1 + max((number for name, number in self._versions if name == model), default=0)
        champion = str(self._aliases.get((model, CHAMPION), "none"))
        self._versions[model, number] = Version(
            model, number, digest, f"run{number}", number, {COMPARED_WITH: champion} if tags is None else dict(tags)
        )
        self.set_alias(model, alias, number)
        return self._versions[model, number]

    def version(self, model: str, which: str | int) -> Version | None:
        """The version with that alias or number."""
        self._answer()
        number = which if isinstance(which, int) else self._aliases.get((model, which))
        found = None if number is None else self._versions.get((model, number))
        return found and self._with_aliases(found)

    def versions(self, model: str) -> list[Version]:
        """All versions of a model."""
        self._answer()
        return [self._with_aliases(version) for (name, _), version in sorted(self._versions.items()) if name == model]

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Give a version a role."""
        self._answer()
        self._aliases[model, alias] = number

    def delete_alias(self, model: str, alias: str) -> None:
        """Take a role away."""
        self._answer()
        self._aliases.pop((model, alias), None)

    def tag_version(self, model: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        self._answer()
        version = self._versions[model, number]
        self._versions[model, number] = replace(version, tags={**version.tags, **tags})

    def model_url(self, model: str) -> str:
        """Page of a model."""
        return f"http://registry/{model}"

    def version_url(self, model: str, number: int) -> str:
        """Page of a version."""
        return f"http://registry/{model}/{number}"

    def _with_aliases(self, version: Version) -> Version:
        named = (alias for (name, alias), number in self._aliases.items() if (name, number) == (version.model, version.number))
        return replace(version, aliases=tuple(sorted(named)))

    def _answer(self) -> None:
        if self.unreachable:
            raise ServiceUnreachable("MLflow does not answer. Start it.")
