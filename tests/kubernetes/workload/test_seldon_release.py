"""Whole releases and a rollback by the stages' own code, with versions that Seldon Core serves and evidence from Prometheus."""

import time
from functools import partial

import pytest

from perennial import testing
from perennial.serving.backends import open_backend
from perennial.serving.load import NO_ANSWER
from perennial.specs import ReleaseSpec
from perennial.stages import rollback
from perennial.stages._routes import route_of
from perennial.testing import World, small_model

from ...backend_conformance import Background
from .seldon_platform import ServedInCluster, seldon_platform

SPEC = ReleaseSpec(steps=(25, 50, 100), min_requests=40, min_seconds=3, observe_seconds=1)


@pytest.fixture(scope="module")
def served(cluster, tmp_path_factory):
    """A model that Seldon Core serves."""
    with seldon_platform(cluster, tmp_path_factory.mktemp("seldon")) as platform:
        served = ServedInCluster(
            platform.settings, platform.store, small_model("released", start_seconds=180), platform.folder / "released"
        )
        served.platform = platform
        yield served


@pytest.fixture(scope="module")
def world(served):
    """With a first version that serves."""
    spec = served.model.model_copy(update={"release": SPEC})
    backend = partial(open_backend, served.settings)
    world = World(served.scratch, spec=spec, settings=served.settings, store=served.store, backend=backend)
    world.candidate(world.published(1))
    assert until_end(world).action == "promoted"
    return world


def until_end(world):
    """Look until the release has ended; what it came to is printed."""
    began = time.monotonic()
    result = world.until_end(looks=400)
    print(f"{time.monotonic() - began:.1f} s: {result.sentence}")
    return result


@pytest.mark.timeout(1200)
def test_releases_are_decided_by_evidence_and_the_button_goes_back(world, served, monkeypatch):
    """SE-06, SE-10, DE-06: An equal version is promoted in steps, one that fails part of its traffic is rolled back by what Prometheus saw,
    and going back takes no
    start: the last good version is warm. Nobody's request is left without an answer.
    """
    name = world.spec.name
    with Background(served, rate=40) as load:
        second = world.registry.add(name, world.published(2))
        promoted = until_end(world)
        third = world.registry.add(name, testing.sabotage(served.store, name, second.digest, served.scratch / "sabotaged", share=0.3))
        sabotaged = until_end(world)
        evidence = world.ledger.last().evidence
        monkeypatch.setattr(rollback, "REPEAT_SECONDS", 0)
        open_backend(served.settings).wait_ready(world.spec, 1, 180)  # it had to make room for the release and is warm again
        warm = [pod.metadata.uid for pod in served.pods(1)]
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
    assert [pod.metadata.uid for pod in served.pods(1)] == warm
    assert served.send(40).by_version == {1: 40}
    assert not [failure for failure in load.traffic.failures if failure.startswith(NO_ANSWER)]
    assert all("The version failed on this request" in failure for failure in load.traffic.failures)
    assert world.ledger.verify() == []
    assert open_backend(served.settings).route(world.spec) == route_of(world.ledger.last())
