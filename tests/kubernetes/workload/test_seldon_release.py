"""Whole releases and a rollback by the stages' own code, with versions that Seldon Core serves and evidence from Prometheus."""

import time

import pytest

from perennial import testing
from perennial.lineage.ledger import Ledger
from perennial.serving.backends import open_backend
from perennial.serving.load import NO_ANSWER
from perennial.specs import ReleaseSpec
from perennial.stages import rollback
from perennial.stages._routes import route_of
from perennial.stages.release import Release
from perennial.testing import RegistryInMemory, small_model

from ...backend_conformance import Background
from .seldon_platform import ServedInCluster, seldon_platform

SPEC = ReleaseSpec(steps=(25, 50, 100), min_requests=40, min_seconds=3, observe_seconds=1)


class World:
    """A served model with a ledger and a registry."""

    def __init__(self, served: ServedInCluster) -> None:
        self.served, self.registry = served, RegistryInMemory()
        self.spec = served.model.model_copy(update={"release": SPEC})
        self.ledger = Ledger(served.store, self.spec.name)

    def release(self) -> Release:
        """A new process's view."""
        return Release(self.spec, self.served.settings, self.served.store, open_backend(self.served.settings), self.registry)

    def until_end(self):
        """Look until the release has ended."""
        began = time.monotonic()
        while time.monotonic() - began < 400:
            result = self.release().look()
            if result.action in ("promoted", "rolled_back", "ask", "nothing"):
                print(f"{time.monotonic() - began:.1f} s: {result.sentence}")
                return result
            time.sleep(result.look_again_seconds)
        raise AssertionError(result.sentence)

    def published(self, seed: int) -> str:
        """A version of its own; its digest."""
        folder = self.served.scratch / f"release{seed}"
        return testing.publish_small_version(self.served.store, folder, model=self.spec.name, seed=seed)


@pytest.fixture(scope="module")
def world(cluster, tmp_path_factory):
    """With a first version that serves."""
    with seldon_platform(cluster, tmp_path_factory.mktemp("seldon")) as platform:
        served = ServedInCluster(
            platform.settings, platform.store, small_model("released", start_seconds=180), platform.folder / "released"
        )
        served.platform = platform
        world = World(served)
        world.registry.add(world.spec.name, world.published(1))
        assert world.until_end().action == "promoted"
        yield world


@pytest.mark.timeout(1200)
def test_releases_are_decided_by_evidence_and_the_button_goes_back(world, monkeypatch):
    """SE-06, SE-10, DE-06: An equal version is promoted in steps, one that fails part of its traffic is rolled back by what Prometheus saw,
    and going back takes no
    start: the last good version is warm. Nobody's request is left without an answer.
    """
    name = world.spec.name
    with Background(world.served, rate=40) as load:
        second = world.registry.add(name, world.published(2))
        promoted = world.until_end()
        third = world.registry.add(
            name, testing.sabotage(world.served.store, name, second.digest, world.served.scratch / "sabotaged", share=0.3)
        )
        sabotaged = world.until_end()
        evidence = world.ledger.last().evidence
        monkeypatch.setattr(rollback, "REPEAT_SECONDS", 0)
        open_backend(world.served.settings).wait_ready(world.spec, 1, 180)  # it had to make room for the release and is warm again
        warm = [pod.metadata.uid for pod in world.served.pods(1)]
        begun = time.monotonic()
        back = rollback.go_back(world.release(), "asked for", "jo")
        took = time.monotonic() - begun
        time.sleep(1)
    print(load.traffic.sentence(), f"rolled back in {took:.1f} s")
    assert (promoted.action, promoted.version) == ("promoted", second.number), promoted.sentence
    assert (sabotaged.action, sabotaged.version, sabotaged.champion) == ("rolled_back", third.number, second.number)
    assert "requests failed" in sabotaged.sentence
    assert evidence["errors"]["evidence"] > evidence["errors"]["limit"]
    assert (back.version, back.champion) == (second.number, 1)
    assert [pod.metadata.uid for pod in world.served.pods(1)] == warm
    assert world.served.send(40).by_version == {1: 40}
    assert not [failure for failure in load.traffic.failures if failure.startswith(NO_ANSWER)]
    assert all("The version failed on this request" in failure for failure in load.traffic.failures)
    assert world.ledger.verify() == []
    assert open_backend(world.served.settings).route(world.spec) == route_of(world.ledger.last())
