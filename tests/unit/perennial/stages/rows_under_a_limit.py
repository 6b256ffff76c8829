"""Reads, fits, encodes and goes through the rows of a training, with no more memory than asked for; prints how many rows there were.

$ python rows_under_a_limit.py STORE MEGABYTES ROOM_BYTES
"""

from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path

import lightgbm  # noqa: F401
import numpy as np
import torch

from perennial import discovery
from perennial.data.snapshots import latest_snapshot
from perennial.data.splits import split
from perennial.engine.room import Room
from perennial.stages.train import _fitted, columns_of
from perennial.store import FolderStore
from perennial.training.batches import Batches, rows_of
from perennial.training.encoded import encode_rows


def main(store: str, megabytes: int, room_bytes: int) -> None:
    """Go through all rows once, shuffled."""
    spec, features = discovery.model("flight_delays"), discovery.model_part("flight_delays", "features")
    source = latest_snapshot(FolderStore(store), discovery.dataset("flights"))
    assert source
    torch.set_num_threads(1)
    list(source.parts(["carrier"]))  # what libraries take when they are first used is not the rows'
    taken = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    limit = taken * 1024 + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    room = Room(room_bytes, Path(store) / "rows") if room_bytes else None
    part = split(source, spec, features, spec.inputs, room=room).parts["train"]
    encoder, labels = _fitted(features, spec, part, room), part.labels()
    pieces = (columns_of(piece) for piece in part.frames(spec.inputs))
    rows = rows_of(spec, encode_rows(partial(features.encode, encoder), pieces, len(part), room), labels)
    seen = sum(len(labels) for _, labels in Batches(rows, 4096, seed=1))
    print(seen, rows.bytes, float(np.mean(labels)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
