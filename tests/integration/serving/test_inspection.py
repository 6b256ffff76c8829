"""A version is inspected at its real server: over its own socket, with its processes' memory and time, and nothing of it counts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.integration.serving.conftest import Platform

from perennial import discovery
from perennial.commands import contracts
from perennial.errors import ReleaseRefused
from perennial.lineage.ledger import Ledger
from perennial.lineage.measurements import measurements
from perennial.lineage.registrations import note_registration
from perennial.specs import LimitSpec, ServingSpec
from perennial.stages._inspection import inspect_server
from perennial.testing import small_rows


@pytest.fixture(scope="module")
def served(platform: Platform) -> str:
    """Version 1 serves; its digest."""
    digest = platform.version(1)
    platform.serve({1: 100}, {1: digest})
    return digest


def limited(platform: Platform, **limits: float) -> None:
    """Give the model limits."""
    given = {name: LimitSpec(at_most=value, requirement="R-12", owner="desk") for name, value in limits.items()}
    platform.model = platform.model.model_copy(update={"serving": ServingSpec(limits=given)})


def test_a_server_is_measured_and_nothing_of_it_counts(platform: Platform, served: str) -> None:
    """SE-04, SE-15, DE-11, DE-14: Memory and CPU time are those of the server's processes; no count moves and no prediction is logged."""
    before = platform.backend.observe(platform.model)[1]
    limited(platform, p95_ms=10_000, memory_mb=10_000, folder_mb=100, joules=10_000)
    inspect_server(platform.settings, platform.store, platform.model, platform.backend, 1, served)
    (kept,) = measurements(platform.store, platform.model.name, served)
    assert kept.where == "at its server"
    assert 20 < kept.figures["memory_mb"] < 2_000
    assert 0 < kept.figures["p95_ms"] <= kept.figures["wall_p95_ms"]
    assert 0 < kept.figures["cpu_ms"] < 1_000
    time.sleep(2.5)  # the log is written once a second, the gateway's figures too
    assert platform.backend.observe(platform.model)[1] == before
    assert not [item.key for item in platform.store.list(f"predictions/{platform.model.name}")]


def test_a_server_beyond_its_limit_gets_no_traffic(platform: Platform, served: str) -> None:
    """SE-04, MO-24: The refusal has the figure, the limit, the requirement and the owner."""
    limited(platform, memory_mb=1)
    said = r"gets no traffic: its memory is \d+.* MB at its server and must be at most 1 MB \(requirement R-12; owner desk\)"
    with pytest.raises(ReleaseRefused, match=said):
        inspect_server(platform.settings, platform.store, platform.model, platform.backend, 1, served)


def test_a_version_that_hangs_on_an_input_is_named(platform: Platform, tmp_path: Path) -> None:
    """DE-14, DE-11: No answer within the time of the spec is a failure of that input; all others still get theirs."""
    from perennial.lineage import version_folder
    from perennial.testing import small_manifest, small_version

    folder = small_version(tmp_path / "hangs", seed=1)
    (folder / "features.py").write_text(
        "import time\n\n\ndef encode(encoder, columns):\n"
        "    if '' in set(columns['carrier']):\n        time.sleep(2)\n    return encoder.encode(columns)\n"
    )
    digest = version_folder.publish(platform.store, platform.model.name, folder, small_manifest(run_key="3" * 24))
    platform.model = platform.model.model_copy(update={"serving": ServingSpec(timeout_seconds=1)})
    platform.serve({1: 100, 2: 0}, {1: platform.version(1), 2: digest})
    with pytest.raises(ReleaseRefused, match=r"\(carrier\): to .*\"carrier\": \"\".* it answers nothing: no answer \(TimeoutError"):
        inspect_server(platform.settings, platform.store, platform.model, platform.backend, 2, digest)


def test_contracts_are_checked_through_the_gateway(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """DE-12: As consumers ask: what serves, or a version by its number; a gateway that is not there breaks them too."""
    folder = tmp_path / "model"
    (folder / "contracts").mkdir(parents=True)
    case = {"request": {"data": {"rows": small_rows(1)}}, "names": ["late"], "fields": ["meta.tags.version"]}
    refused = {"request": "no JSON", "status": 400, "says": "The body is not JSON"}
    (folder / "contracts" / "board.json").write_text(json.dumps({"owner": "desk", "cases": {"a": case, "b": refused}}))
    monkeypatch.setattr(discovery, "model_folder", lambda name: folder)
    monkeypatch.setattr(discovery, "model", lambda name: platform.model)
    name, digest = platform.model.name, platform.version(1)
    platform.serve({1: 100}, {1: digest})
    Ledger(platform.store, name).append(
        "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
    )
    note_registration(platform.store, name, 1, digest, {})
    settings = platform.settings
    for version, which in ((None, "what serves"), (1, "version 1")):
        assert contracts.run(settings, platform.store, what="check", model=name, version=version, live=True) == 0
        assert capsys.readouterr().out.startswith(f"small_delays, {which}: keeps board, owner desk")
    gone = settings.model_copy(update={"gateway_url": "http://127.0.0.1:9"})
    assert contracts.run(gone, platform.store, what="check", model=name, live=True) == 1
    assert 'in the case "a" the answer is none (no answer (ConnectionRefusedError' in capsys.readouterr().out
