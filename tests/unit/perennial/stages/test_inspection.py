"""A version is inspected where it will be served before it is registered, and at its server before it gets traffic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial.errors import Fault, ReleaseRefused, StoredDataDamaged
from perennial.lineage import version_folder
from perennial.lineage.measurements import measurements, measurements_key
from perennial.serving.folder_inspection import in_process
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.specs import LimitSpec, ModelSpec, ServingSpec
from perennial.stages._inspection import inspect_server, inspected
from perennial.store import FolderStore
from perennial.testing import RehearsedBackend, World, publish_small_version, small_manifest, small_model, small_version

FAILS_EMPTY = "def encode(encoder, columns):\n    assert '' not in set(columns['carrier'])\n    return encoder.encode(columns)\n"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(str(tmp_path / "store"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home without environments."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home")})


def limited(**limits: float) -> ModelSpec:
    """The small model with limits."""
    given = {name: LimitSpec(at_most=value, requirement="R-12", owner="desk") for name, value in limits.items()}
    return small_model().model_copy(update={"serving": ServingSpec(limits=given)})


def test_what_was_measured_is_kept_with_the_version(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    """SE-04, SE-15: Checks of golden rows, generated inputs and each limit; the figures and where they were measured are in the store."""
    digest = publish_small_version(store, tmp_path / "version")
    golden, checks = inspected(settings, store, limited(p95_ms=60_000, memory_mb=1e6, folder_mb=1e6, joules=1e9), digest)
    assert golden.sentence == "its golden rows match in the workload environment; the server replays them again before it is ready"
    assert [(check.name, check.passed) for check in checks] == [
        (name, True) for name in ("generated inputs", "limit p95_ms", "limit memory_mb", "limit folder_mb", "limit joules")
    ]
    assert "in the workload environment and may be at most 60000 ms (requirement R-12; owner desk)" in checks[1].sentence
    (kept,) = measurements(store, small_model().name, digest)
    assert kept.where == "in the workload environment"
    assert {"p95_ms", "memory_mb", "folder_mb", "joules", "cpu_ms"} <= kept.figures.keys()
    assert "estimated from CPU time and 3.5 W a CPU" in kept.words


def test_measurements_that_cannot_be_read_are_said_so_and_measured_again(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    """SE-15: Of each place the newest is kept."""
    digest, name = publish_small_version(store, tmp_path / "version"), small_model().name
    store.write(measurements_key(name, digest), b"[{")
    with pytest.raises(StoredDataDamaged, match=r"measured\.json cannot be read"):
        measurements(store, name, digest)
    for _ in range(2):
        inspected(settings, store, small_model(), digest)
    assert len(measurements(store, name, digest)) == 1


def published(store: FolderStore, folder: Path, features: str) -> str:
    """A version with other features; its digest."""
    small_version(folder)
    (folder / "features.py").write_text(features)
    return version_folder.publish(store, small_model().name, folder, small_manifest(run_key="2" * 24))


def test_a_version_that_fails_an_input_or_a_limit_is_refused(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    """SE-04, DE-14, MO-24: Each by its own check."""
    digest = published(store, tmp_path / "bad", FAILS_EMPTY)
    _, checks = inspected(settings, store, limited(folder_mb=1e-6), digest)
    assert [check.name for check in checks if not check.passed] == ["generated inputs", "limit folder_mb"]
    assert "(carrier)" in checks[0].sentence
    assert "must be at most 1e-06 MB (requirement R-12; owner desk)" in checks[1].sentence


def test_golden_rows_are_replayed_in_the_serving_environment(
    settings: Settings, store: FolderStore, tmp_path: Path, serving_environment: None
) -> None:
    """MO-14, DM-18, SY-19: Its Python is asked where there is one; one that does not answer is a fault, not a verdict."""
    digest = publish_small_version(store, tmp_path / "version")
    python = settings.venv("serving") / "bin" / "python"
    python.parent.mkdir(parents=True)
    golden = {"matches": False, "sentence": "Row 3 differs.", "environment": "Python 3.11"}
    python.write_text(f"#!/bin/sh\n[ -f $3/golden.json ] && cat >/dev/null && echo '{json.dumps({'golden': golden})}'\n")
    python.chmod(0o755)
    check, others = inspected(settings, store, small_model(), digest)
    assert (check.passed, check.sentence, check.numbers, others) == (
        False,
        "its golden rows do not match in the serving environment: Row 3 differs",
        {"environment": "Python 3.11"},
        [],
    )
    for script, mode, said in (
        ("echo no such module >&2; exit 1", 0o755, "no such module"),
        ("exit 0", 0o755, "could not inspect the version: list index out of range"),
        ("", 0o644, "Permission denied"),
    ):
        python.write_text(f"#!/bin/sh\ncat >/dev/null; {script}\n")
        python.chmod(mode)
        with pytest.raises(Fault, match=said):
            inspected(settings, store, small_model(), digest)


def test_in_pods_this_environment_inspects(settings: Settings, store: FolderStore, tmp_path: Path, serving_environment: None) -> None:
    """SE-04, SY-19: By a process of its own, so that the memory is the version's and not the stage's."""
    digest = publish_small_version(store, tmp_path / "version")
    (settings.venv("serving") / "bin").mkdir(parents=True)
    (settings.venv("serving") / "bin" / "python").write_text("never asked")
    golden, checks = inspected(settings.model_copy(update={"runtime": "pod"}), store, small_model(), digest)
    assert golden.passed
    assert checks[-1].sentence.startswith("it has no absolute limits; in the workload environment it showed p95 latency ")


def ready(store: FolderStore, digest: str, folder: Path) -> RehearsedBackend:
    """A backend with a way to version 2, which has this folder."""
    backend = RehearsedBackend()
    backend.asides[2] = in_process(Scorer(version_folder.fetch(store, small_model().name, digest, folder)))
    return backend


def test_at_its_server_a_version_is_inspected_again(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    """SE-04, DE-11, DE-14: A sound one goes on, with its figures kept; one beyond its limit, or that fails an input, gets no traffic."""
    digest = publish_small_version(store, tmp_path / "version")
    backend = ready(store, digest, tmp_path / "served")
    inspect_server(settings, store, limited(p95_ms=60_000), backend, 2, digest)
    (kept,) = measurements(store, small_model().name, digest)
    assert kept.where == "at its server"
    with pytest.raises(
        ReleaseRefused, match=r"Version 2 of small_delays gets no traffic: its folder is .* at its server and must be at most"
    ):
        inspect_server(settings, store, limited(folder_mb=1e-6), backend, 2, digest)
    bad = published(store, tmp_path / "bad", FAILS_EMPTY)
    with pytest.raises(ReleaseRefused, match=r"gets no traffic: it fails a generated input \(carrier\)"):
        inspect_server(settings, store, small_model(), ready(store, bad, tmp_path / "bad served"), 2, bad)


def test_where_there_is_no_way_aside_nothing_is_inspected(settings: Settings, store: FolderStore) -> None:
    """SE-04: A mesh that is not ours would log the requests and count them."""
    inspect_server(settings, store, small_model(), RehearsedBackend(), 2, "0" * 64)


def test_a_candidate_that_fails_at_its_server_gets_no_traffic(tmp_path: Path) -> None:
    """DE-11, SE-04: No request moves; the ledger says why, and the champion keeps all."""
    world = World(tmp_path / "world").with_champion()
    bad = published(world.store, tmp_path / "bad", FAILS_EMPTY)
    world.candidate(bad)
    world.backend.asides[2] = in_process(Scorer(version_folder.fetch(world.store, world.spec.name, bad, tmp_path / "bad served")))
    assert world.look().action == "rolled_back"
    last = world.ledger.last()
    assert last is not None
    assert "gets no traffic: it fails a generated input (carrier)" in last.reason
    assert not [route for route in world.backend.history if route.weights.get(2)]


def test_a_fallback_that_cannot_be_given_is_said(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    """SC-07: Seldon Core asks nobody else; the version is registered all the same."""
    digest = publish_small_version(store, tmp_path / "version")
    spec = small_model(fallback="last_good")
    assert "fallback" not in [check.name for check in inspected(settings, store, spec, digest)[1]]
    (check,) = [
        one for one in inspected(settings.model_copy(update={"serving": "seldon"}), store, spec, digest)[1] if one.name == "fallback"
    ]
    assert (check.passed, check.sentence.startswith("its spec wants the fallback last_good, which Seldon Core cannot give")) == (True, True)
