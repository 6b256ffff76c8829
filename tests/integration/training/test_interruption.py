"""Training in processes of its own: killed in the middle, spread over two machines, and served by another environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.data.snapshots import Snapshot
from perennial.data.tables import Table
from perennial.encoding import columns_from_rows
from perennial.lineage.version_folder import seal
from perennial.stages.train import begin_manifest, fill_version_folder
from perennial.store import FolderStore
from perennial.testing import free_ports
from perennial.testing.forks import Forked
from perennial.training.checkpoints import Checkpoints
from perennial.training.scoring import score
from perennial_datasets.flights import land

EPOCHS = 8
PROGRAM = Path(__file__).with_name("train_in_process.py")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with 26 days of January."""
    root = tmp_path_factory.mktemp("training")
    some = pa.concat_tables([table for _, table in land(date(2013, 1, 1), date(2013, 1, 26))])
    types = [pa.timestamp("us") if pa.types.is_timestamp(column.type) else column.type for column in some.schema]
    rows = some.take(np.arange(0, len(some), 3)).cast(pa.schema(list(zip(some.schema.names, types, strict=True))))
    assert Table(FolderStore(str(root / "store")), "flights").append(rows, "first") == 1
    return root


def start(root: Path, name: str, nodes: int = 1, **environment: str) -> Forked:
    """A training in a process of its own."""
    output = root / f"said-{name}-{environment.get('NODE_RANK', 'alone')}"
    return Forked([str(PROGRAM), str(root), name, str(nodes), str(EPOCHS)], os.environ | environment, output)


def files_of(root: Path, name: str) -> dict[str, str]:
    """Digest of every file that a training wrote, by way of its manifest."""
    spec, dataset = discovery.model("flight_delays"), discovery.dataset("flights")
    manifest = begin_manifest(spec, Snapshot(dataset, 1, FolderStore(str(root / "store"))), EPOCHS, cause="manual")
    return seal(root / name, manifest).files


def train_here(root: Path, name: str) -> None:
    """Train in this process, from whatever checkpoints there are."""
    spec, dataset, store = discovery.model("flight_delays"), discovery.dataset("flights"), FolderStore(str(root / "store"))
    assert fill_version_folder(
        root / name,
        spec,
        dataset,
        Snapshot(dataset, 1, store),
        checkpoints=Checkpoints(root / "runs" / name, store, f"models/flight_delays/runs/{name}"),
        max_epochs=EPOCHS,
    )


@pytest.mark.slow
def test_kill_9_costs_one_epoch_at_most(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """DE-22, MO-15: A training that is killed with no chance to tidy up goes on, and gives the very files of one that was left alone."""
    child = start(root, "killed", KILLED_AFTER="3")
    assert child.wait(240) == -signal.SIGKILL
    seen = max(map(int, re.findall(r"^Epoch (\d+) of", child.said(), re.MULTILINE)))
    assert seen >= 3
    assert not (root / "killed" / "model.onnx").exists()
    caplog.set_level("INFO", logger="perennial")
    train_here(root, "killed")
    resumed = next(int(found[1]) for message in caplog.messages if (found := re.match(r"Going on after epoch (\d+)", message)))
    assert seen - 1 <= resumed <= seen
    train_here(root, "alone")
    assert files_of(root, "killed") == files_of(root, "alone")


@pytest.mark.slow
def test_two_machines_train_together(root: Path) -> None:
    """MO-05: Two nodes on loopback agree on every weight, one of them writes the version, and it is a good one."""
    port = str(free_ports(1)[0])
    nodes = [start(root, "together", 2, NODE_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for rank in range(2)]
    assert [node.wait(240) for node in nodes] == [0, 0]
    said = [node.said() for node in nodes]
    assert [text.split()[-1] for text in said] == ["main", "helper"]
    assert "Epoch 1 of" in said[0]
    assert "Epoch 1 of" not in said[1]
    record = json.loads((root / "together" / "training.json").read_text())
    assert record["history"][-1]["validation_loss"] < record["history"][0]["validation_loss"]


@pytest.mark.slow
def test_the_serving_environment_gives_the_same_scores(root: Path) -> None:
    """DM-18, DE-24: Another numpy and another ONNX Runtime: the golden rows come out within the tolerance."""
    python = Path(sys.executable).parents[2] / "serving" / "bin" / "python"
    if not python.exists():
        pytest.skip("the serving environment is not on this machine: `make setup` makes it")
    train_here(root, "served")
    golden = json.loads((root / "served" / "golden.json").read_text())
    names = [column["name"] for column in json.loads((root / "served" / "signature.json").read_text())["inputs"]]
    code = (
        "import json, sys; from pathlib import Path; from perennial.encoding import columns_from_rows; "
        "from perennial.training.scoring import score\n"
        "folder, golden, names = json.load(sys.stdin)\n"
        "print(json.dumps(score(Path(folder), columns_from_rows(golden, names)).tolist()))\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)"
    )
    ran = subprocess.run(
        [str(python), "-c", code],
        input=json.dumps([str(root / "served"), golden["rows"], names]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert np.array(json.loads(ran.stdout)) == pytest.approx(np.array(golden["scores"]), abs=golden["tolerance"])
    assert score(root / "served", columns_from_rows(golden["rows"], names)) == pytest.approx(
        np.array(golden["scores"]), abs=golden["tolerance"]
    )
