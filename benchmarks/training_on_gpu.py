"""What a GPU is needed to see, in at most eight minutes: 16 bits, speed, resumption after a kill, memory, through the trainer of the stage.

For each of digits and flight_delays: a version folder trained in 32 bits and in bf16-mixed (validation log loss and seconds of each, what
was used, whether rows stayed on the GPU), samples per second beside a loop written by hand, and a training that is killed after its second
epoch and goes on, compared with one left alone. Then a batch that does not fit. What fails is said at the end; then the exit code is 1.

$ python benchmarks/training_on_gpu.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import torch
from training_speed import DAYS, ROWS, measured

from perennial import discovery
from perennial.data.snapshots import Snapshot
from perennial.data.tables import Table
from perennial.lineage.usage import Meter
from perennial.specs import ModelSpec
from perennial.stages.train import fill_version_folder
from perennial.store import FolderStore
from perennial.training.trainer import Checkpoints, is_memory_short

MINUTES = 8.0
EPOCHS = 6
GOAL = 0.9  # of the loop's speed


def spec_of(name: str, gpus: int, precision: str) -> ModelSpec:
    """The model as it trains here: with less data before its test days than it asks for, for the sake of time."""
    spec = discovery.model(name)
    return spec.model_copy(
        update={
            "compute": spec.compute.model_copy(update={"gpus": gpus}),
            "training": spec.training.model_copy(update={"precision": precision}),
            "split": spec.split.model_copy(update={"test_days": 2, "validation_days": 2}),
        }
    )


def train_folder(root: Path, name: str, where: str, gpus: int, precision: str) -> Meter:
    """Train into the folder ROOT/WHERE, as the stage does."""
    spec, dataset, store = (
        spec_of(name, gpus, precision),
        discovery.dataset(discovery.model(name).dataset),
        FolderStore(str(root / "store")),
    )
    meter = Meter(spec.compute)
    checkpoints = Checkpoints(root / f"run-{where}", store, f"models/{name}/runs/{where}")
    fill_version_folder(root / where, spec, dataset, Snapshot(dataset, 1, store), checkpoints=checkpoints, max_epochs=EPOCHS, meter=meter)
    return meter


def landed(root: Path, name: str) -> None:
    """Some days of the model's example data, as snapshot 1 of ROOT/store."""
    dataset = discovery.model(name).dataset
    rows = pa.concat_tables([table for _, table in discovery.dataset_module(dataset).land(*DAYS[name])])
    types = [pa.timestamp("us") if pa.types.is_timestamp(column.type) else column.type for column in rows.schema]
    Table(FolderStore(str(root / "store")), dataset).append(rows.cast(pa.schema(list(zip(rows.schema.names, types, strict=True)))), "first")


def killed_and_resumed(root: Path, name: str, gpus: int, precision: str) -> bool:
    """Whether a training that was killed after its second epoch and goes on gives the same files as one left alone."""
    order = [sys.executable, __file__, "--child", str(root), name, "killed", str(gpus), precision]
    child = subprocess.Popen(order, stderr=subprocess.PIPE, text=True)
    assert child.stderr
    for line in child.stderr:
        if line.startswith("Epoch 2 "):
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    train_folder(root, name, "killed", gpus, precision)
    files = [
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (root / where).iterdir() if file.is_file()}
        for where in ("killed", precision)
    ]
    return files[0] == files[1]


def of_model(name: str, gpus: int, turns: int, wrong: list[str]) -> None:
    """All that is looked at of one model."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        landed(root, name)
        losses = {}
        for precision in ("32", "bf16-mixed"):
            since = time.monotonic()
            usage = train_folder(root, name, precision, gpus, precision).usage()
            record = json.loads((root / precision / "training.json").read_text())
            losses[precision] = record["metrics"]["log_loss"]
            print(f"{name}, {precision}: validation log loss {losses[precision]:.4f}, {time.monotonic() - since:.1f} s. {usage.sentence}")
            print(f"  {usage.profile}")
        if abs(losses["32"] - losses["bf16-mixed"]) > 0.1 * losses["32"] + 0.02:
            wrong.append(f"{name} learns otherwise in 16 bits")
        if not killed_and_resumed(root, name, gpus, "bf16-mixed"):
            wrong.append(f"{name} comes out otherwise when it was killed and went on")
    for precision in ("32", "bf16-mixed"):
        figures = measured(name, gpus=gpus, precision=precision, turns=turns, rows=ROWS[name] * (4 if gpus else 1))
        print(f"{name}, {precision}: {figures['trainer']:,.0f} samples/s, {figures['share']:.3f} of a loop by hand")
        if figures["share"] < GOAL:
            wrong.append(f"{name} trains at {figures['share']:.2f} of a loop's speed in {precision}, and {GOAL} is the goal")


def memory(wrong: list[str]) -> None:
    """Whether what the GPU says when its memory is full is understood."""
    try:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    except RuntimeError as error:
        if not is_memory_short(error):
            wrong.append(f"this is not taken for too little memory: {error}")


def main() -> int:
    """Print a line for each thing that was looked at; 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--gpus", type=int, default=1, help="0 tries the script itself where there is none")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", nargs=5, metavar=("ROOT", "MODEL", "WHERE", "GPUS", "PRECISION"))
    given = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not compute the same again
    if given.child:
        root, name, where, gpus, precision = given.child
        train_folder(Path(root), name, where, int(gpus), precision)
        return 0
    begun, wrong = time.monotonic(), list[str]()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(0) if given.gpus else 'no GPU'}")
    for name in ROWS:
        if time.monotonic() - begun > 60 * MINUTES * 0.7:
            wrong.append(f"there was no time left for {name}")
            break
        of_model(name, given.gpus, given.turns, wrong)
    if given.gpus:
        memory(wrong)
    print(f"{time.monotonic() - begun:.0f} s. " + ("All as it should be." if not wrong else f"Wrong: {'; '.join(wrong)}."))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
