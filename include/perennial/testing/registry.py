"""A registry without MLflow, and MLflow itself on a free port.

>>> from perennial.testing import RegistryInMemory
>>> registry = RegistryInMemory()
>>> registry.add("delays", "a" * 64, alias="champion").number
1
>>> registry.version("delays", "champion").digest == "a" * 64
True
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from perennial.errors import ServiceUnreachable
from perennial.registry.model_registry import CHAMPION, COMPARED_WITH, ModelRegistry, Provenance, Standing, Version
from perennial.registry.run_facts import RunFacts
from perennial.settings import Settings
from perennial.testing.programs import free_ports, wait_until


@dataclass(frozen=True)
class RunNotes:
    """What a registry in memory was told of a run."""

    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class RegistryInMemory:
    """The registry's versions and aliases without MLflow. Set `unreachable` to make every call fail as if MLflow were down."""

    url = "http://registry"

    def __init__(self) -> None:
        self.unreachable = False
        self.runs: dict[str, RunNotes] = {}
        self.statuses: dict[str, tuple[str, str]] = {}  # of runs that have begun: status, and why it ended
        self.descriptions: list[str] = []  # of what was registered, in order
        self._versions: dict[tuple[str, int], Version] = {}
        self._aliases: dict[tuple[str, str], int] = {}
        self._notes: dict[str, str] = {}  # by model: the entry of the ledger that was followed

    def add(
        self, model: str, digest: str, alias: str = "candidate", tags: Mapping[str, str] | None = None, *, number: int | None = None
    ) -> Version:
        """Register a version, under the next number unless one is given, and give it an alias.

        Unless tags are given, it was compared with the champion of now.
        """
        number = number or self._next_number(model)
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
        registered = None if number is None else self._versions.get((model, number))
        return registered and self._with_aliases(registered)

    def versions(self, model: str) -> list[Version]:
        """All versions of a model."""
        self._answer()
        return [self._with_aliases(version) for (name, _), version in sorted(self._versions.items()) if name == model]

    def standing(self, model: str) -> Standing:
        """Who has which role, and how far the registry has followed the ledger."""
        self._answer()
        roles = {alias: number for (name, alias), number in self._aliases.items() if name == model}
        return Standing(any(name == model for name, _ in self._versions), roles, self._notes.get(model, ""))

    def note_followed(self, model: str, note: str) -> None:
        """Say of which entry of the ledger the registry has all that it says."""
        self._answer()
        self._notes[model] = note

    def find(self, model: str, digest: str) -> Version | None:
        """The version that has this content."""
        return next((version for version in self.versions(model) if version.digest == digest), None)

    def numbered(self, model: str, numbers: Collection[int]) -> dict[int, Version]:
        """Those of these versions that there are."""
        return {version.number: version for version in self.versions(model) if version.number in numbers}

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

    def register(self, model: str, run_id: str, digest: str, tags: Mapping[str, str] | None = None, description: str = "") -> Version:
        """Register what a run made, without a role."""
        self._answer()
        self.descriptions.append(description)
        number = self._next_number(model)
        self._versions[model, number] = Version(model, number, digest, run_id, number, dict(tags or {}))
        return self._versions[model, number]

    def begin_run(self, manifest: Provenance, tags: Mapping[str, str] | None = None) -> str:
        """Say that a training runs."""
        self._answer()
        run_id = f"run-{manifest.run_key}"
        self.runs.setdefault(run_id, RunNotes()).tags.update(tags or {})
        self.statuses[run_id] = ("RUNNING", "")
        return run_id

    def end_run(self, run_id: str, status: Literal["FAILED", "KILLED"], sentence: str) -> None:
        """Say how a training ended."""
        self._answer()
        self.statuses[run_id] = (status, sentence)

    def record_run(
        self,
        manifest: Provenance,
        metrics: Mapping[str, float],
        history: Sequence[Mapping[str, float]],
        digest: str,
        *,
        key: str = "",
        facts: RunFacts | None = None,
    ) -> str:
        """Note the metrics of a finished training or recalibration; the id of its run."""
        self._answer()
        run_id = f"run-{key or manifest.run_key}"
        self.annotate(run_id, metrics=metrics)
        self.statuses[run_id] = ("FINISHED", "")
        return run_id

    def annotate(
        self,
        run_id: str,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Note something at a run."""
        self._answer()
        notes = self.runs.setdefault(run_id, RunNotes())
        notes.tags.update(tags or {})
        notes.metrics.update(metrics or {})
        notes.files.update(files or {})

    def run_url(self, run_id: str) -> str:
        """Page of a run."""
        return f"http://registry/runs/{run_id}"

    def model_url(self, model: str) -> str:
        """Page of a model."""
        return f"http://registry/{model}"

    def version_url(self, model: str, number: int) -> str:
        """Page of a version."""
        return f"http://registry/{model}/{number}"

    def _next_number(self, model: str) -> int:
        return 1 + max((number for name, number in self._versions if name == model), default=0)

    def _with_aliases(self, version: Version) -> Version:
        named = (alias for (name, alias), number in self._aliases.items() if (name, number) == (version.model, version.number))
        return replace(version, aliases=tuple(sorted(named)))

    def _answer(self) -> None:
        if self.unreachable:
            raise ServiceUnreachable("MLflow does not answer. Start it.")


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[Settings]:
    """A real MLflow server on a free port, with its database `mlflow.db` and its files below `folder`; stopped at the end."""
    port = free_ports(1)[0]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        # Without its own runners of background work: nothing here uses them, and they take longer to start than the server.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
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
