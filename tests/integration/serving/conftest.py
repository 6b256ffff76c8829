"""A gateway and serving processes of their own, on free ports, for each test module."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import perennial
from perennial import testing
from perennial.serving import envoy
from perennial.serving.backends.local import LocalBackend
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store, open_store

CHECKOUT = Path(perennial.__file__).parents[2]
VENVS = Path(os.environ.get("PERENNIAL_VENVS", CHECKOUT / ".perennial" / "venvs"))


@dataclass
class Platform:
    """What a test of serving needs."""

    settings: Settings
    store: Store
    programs: testing.Programs
    backend: LocalBackend
    scratch: Path
    model: ModelSpec = field(default_factory=testing.small_model)

    def version(self, seed: int = 0) -> str:
        """Publish a small version; its digest."""
        return testing.publish_small_version(self.store, self.scratch / f"seed{seed}", seed=seed)

    def saboteur(self, digest: str, **how: float) -> str:
        """Publish a version that fails part of its live traffic; its digest."""
        return testing.sabotage(self.store, self.model.name, digest, self.scratch / "sabotaged", **how)

    def serve(self, weights: dict[int, int], digests: dict[int, str], shadow: int | None = None) -> Route:
        """Apply a route in percent and wait until all its versions are ready."""
        route = Route({version: weight * 100 for version, weight in weights.items()}, shadow, digests)
        self.backend.apply(self.model, route)
        for version in route.versions:
            self.backend.wait_ready(self.model, version, 60)
        return route

    def answers(self, rows: list[dict[str, Any]], model: str = "") -> list[list[float]]:
        """What callers get, with every bit."""
        url = self.settings.gateway_url + self.settings.prediction_path(model or self.model.name)
        body = json.dumps({"data": {"rows": rows}}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
            given: list[list[float]] = json.load(answer)["data"]["ndarray"]
        return given

    def start_gateway(self) -> None:
        """Start Envoy and wait until it answers."""
        envoy.prepare(self.settings)
        self.programs.add_program("gateway", envoy.command(self.settings), {})
        testing.wait_until(self._answers, 60, "the gateway's answer")

    def server_pids(self, version: int) -> list[int]:
        """The serving process of a version: its parent and its worker."""
        return self.pids(self.programs.programs()[f"serving-{self.model.name}-v{version}"].pid)

    def pids(self, parent: int) -> list[int]:
        """A serving process: its parent and its worker."""
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False).stdout.split()
        return [int(pid) for pid in (parent, *found) if pid]

    def _answers(self) -> bool:
        try:
            return "LIVE" in self.backend._admin("/ready")
        except perennial.errors.ServiceUnreachable:
            return False


def settings_for(folder: Path, **more: str) -> Settings:
    """Settings with a folder of their own and free ports."""
    gateway, metrics = testing.free_ports(2)
    (folder / "home" / "venvs").parent.mkdir(parents=True, exist_ok=True)
    (folder / "home" / "venvs").symlink_to(VENVS)
    given = {
        "home": folder / "home",
        "store": folder / "store",
        "gateway_port": gateway,
        "metrics_port": metrics,
        **more,
    }
    return Settings.from_environment({f"PERENNIAL_{name.upper()}": str(value) for name, value in given.items()})


@pytest.fixture(scope="module")
def new_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Platform]]:
    """Makes platforms; all are stopped after the module."""
    started = []

    def make(**more: str) -> Platform:
        folder = tmp_path_factory.mktemp("platform")
        settings = settings_for(folder, **more)
        programs = testing.Programs(folder / "logs")
        started.append(programs)
        platform = Platform(settings, open_store(settings.store), programs, LocalBackend(settings, programs), folder)
        platform.start_gateway()
        return platform

    yield make
    for programs in started:
        programs.shutdown()


@pytest.fixture(scope="module")
def platform(new_platform: Callable[[], Platform]) -> Platform:
    """A gateway without routes."""
    return new_platform()
