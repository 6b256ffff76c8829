"""A store, a ledger, a registry and servers of one model that belong together: what a test of a release or a gate begins with.

>>> import tempfile, pathlib
>>> from perennial.testing import World
>>> world = World(pathlib.Path(tempfile.mkdtemp()))
>>> number = world.candidate("a" * 64)
>>> world.look().sentence
'Version 1 of small_delays serves all traffic: it is the first.'
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from perennial.lineage.ledger import Ledger
from perennial.registry.model_registry import Version
from perennial.results import ReleaseResult
from perennial.settings import Settings
from perennial.specs import ModelSpec, ReleaseSpec
from perennial.stages._routes import route_of
from perennial.stages.release import Release
from perennial.store import FolderStore, Store
from perennial.testing.backend import RehearsedBackend
from perennial.testing.registry import RegistryInMemory
from perennial.testing.versions import publish_small_version, small_model

ENDED = ("promoted", "rolled_back", "ask", "nothing")


class World:
    """One model, its servers, registry and ledger; every look is a new process as far as the release can tell.

    Args:
        folder: of the store, unless one is given, and of what is made for it.
        spec: the model; a small one whose releases look at once at a hundred requests unless given.
        settings: of the platform; defaults unless given.
        store: where everything durable lives; a folder unless given.
        backend: what serves; one without servers unless given. Something that is called is called for each look, as a new process would.
        registry: a `RegistryInMemory` unless given.
        release: fields of the spec's release that differ.
    """

    def __init__(
        self,
        folder: Path,
        *,
        spec: ModelSpec | None = None,
        settings: Settings | None = None,
        store: Store | None = None,
        backend: Any = None,
        registry: Any = None,
        **release: Any,
    ) -> None:
        steps = ReleaseSpec(**{"min_seconds": 0, "min_requests": 100, **release})
        self.folder = folder
        self.spec = spec or small_model().model_copy(update={"release": steps})
        self.settings = settings or Settings.from_environment({})
        self.store = store or FolderStore(str(folder))
        self.backend: Any = backend or RehearsedBackend()
        self.registry: Any = registry or RegistryInMemory()
        self.ledger = Ledger(self.store, self.spec.name)
        self.digest = ""  # of the version that a test is about, where it is about one
        self.versions: dict[int, str] = {}  # digests of what `published` made, by seed

    def published(self, seed: int) -> str:
        """The digest of a small version of the model in the store, made once for each seed."""
        if seed not in self.versions:
            folder = self.folder / f"version{seed}"
            self.versions[seed] = publish_small_version(self.store, folder, model=self.spec.name, seed=seed)
        return self.versions[seed]

    def candidate(self, digest: str = "", **named: Any) -> int:
        """Register the next version, under the alias candidate unless another is named; its number.

        Unless a digest is given, it is the number, written with as many digits as a digest has.
        """
        next_number = 1 + max((version.number for version in self.registry.versions(self.spec.name)), default=0)
        number: int = self.registry.add(self.spec.name, digest or f"{next_number:064d}", **named).number
        return number

    def release(self) -> Release:
        """The release as a new process sees it."""
        backend = self.backend() if callable(self.backend) else self.backend
        return Release(self.spec, self.settings, self.store, backend, self.registry)

    def look(self, *arguments: Any, **named: Any) -> ReleaseResult:
        """One look, with the arguments of `Release.look`."""
        return self.release().look(*arguments, **named)

    def with_champion(self, digest: str = "a" * 64, **named: Any) -> World:
        """This world, with a first version that has all traffic."""
        self.candidate(digest)
        result = self.look(**named)
        if result.action != "promoted":
            raise AssertionError(result.sentence)
        return self

    def released(self, count: int) -> World:
        """This world, with as many versions that became champion at once, one after the other."""
        spec, self.spec = self.spec, self.spec.model_copy(update={"release": ReleaseSpec(steps=(100,))})
        for _ in range(count):
            self.candidate()
            result = self.look()
            if result.action != "promoted":
                raise AssertionError(result.sentence)
        self.spec = spec
        return self

    def until_end(self, looks: int = 300, requests: int = 2000, **served: Any) -> ReleaseResult:
        """Look until the release has ended or asks a person. Between two looks a backend without servers draws `requests`, with shares of
        errors and the like as its `serve` takes them; before real servers the time passes that the look asked for.
        """
        for _ in range(looks):
            result = self.look()
            if result.action in ENDED:
                return result
            if isinstance(self.backend, RehearsedBackend):
                self.backend.serve(requests, **served)
            else:
                time.sleep(result.look_again_seconds)
        raise AssertionError(f"no end after {looks} looks: {result.sentence}")

    def alias(self, name: str) -> int | None:
        """The number of the version that has a role in the registry."""
        version: Version | None = self.registry.version(self.spec.name, name)
        return version.number if version else None

    def agrees(self) -> None:
        """Raises AssertionError unless the ledger is whole, and gateway and registry are as its last entry says."""
        last = self.ledger.last()
        assert last is not None
        assert self.ledger.verify() == []
        assert self.backend.route(self.spec) == route_of(last)
        assert (self.alias("champion"), self.alias("last_good"), self.alias("candidate")) == (last.champion, last.last_good, None)

    def crown(self, version: Version | None) -> None:
        """Let the ledger say that a version of the registry is the champion, unless it does."""
        crown(self.store, self.spec.name, version)


def crown(store: Store, model: str, version: Version | None) -> None:
    """Let the ledger of a model say that a version is its champion, unless it does, or there is none."""
    ledger = Ledger(store, model)
    last = ledger.last()
    if version is None or (last and last.versions.get(version.number) == version.digest and last.champion == version.number):
        return
    ledger.append(
        "released", version=version.number, champion=version.number, weights={version.number: 10_000},
        versions={version.number: version.digest}, reason="r", actor="a", after_seq=last.seq if last else None,
    )  # fmt: skip
