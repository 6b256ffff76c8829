"""The spec as versions have it: what a server logs is read whatever became of another version's folder."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import key
from perennial.specs import Column, DatasetSpec
from perennial.stages._versions import as_logged
from perennial.store import FolderStore
from perennial.testing import publish_small_version, small_model


@pytest.mark.parametrize("damage", ["signature.json", "manifest.json"])
def test_predictions_wait_for_no_damaged_version(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """SE-13: A version whose folder was damaged is told, and the inputs of all others are known."""
    store, spec = FolderStore(str(tmp_path / "store")), small_model("small_delays")
    digests = {number: publish_small_version(store, tmp_path / str(number), seed=number) for number in (1, 2)}
    for seq, number in ((None, 1), (0, 2)):
        Ledger(store, spec.name).append(
            "released", version=number, champion=number, weights={number: 10000}, versions=digests, reason="r", actor="a", after_seq=seq
        )
    inputs = as_logged(store, spec.model_copy(update={"inputs": ()}), _dataset(spec.inputs), Ledger(store, spec.name).entries()).inputs
    store.write(f"{key(spec.name, digests[1])}/{damage}", b"{}")
    with caplog.at_level(logging.WARNING):
        left = as_logged(store, spec.model_copy(update={"inputs": ()}), _dataset(spec.inputs), Ledger(store, spec.name).entries()).inputs
    assert inputs
    assert left == inputs
    assert digests[1][:12] in caplog.text


def _dataset(names: tuple[str, ...]) -> DatasetSpec:
    columns = (Column(name="at", type="timestamp"), *(Column(name=name, type="float", nullable=True) for name in names if name != "at"))
    return DatasetSpec(name="small", title="Small", owner="tests", key=("at",), event_time="at", columns=columns)
