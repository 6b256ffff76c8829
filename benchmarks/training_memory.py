"""What a training costs as its table grows: CPU seconds and most memory, with more and more rows that it does not use.

The table has flights of 111 days that the model uses (90 to train, 7 to validate, 14 to test) and as many older rows as are asked for, in
files of whole days; with `--unclustered` each file has rows of all days. One epoch is trained. `--against` measures the code of another
checkout beside this one's, by turns.

$ python benchmarks/training_memory.py --sizes 1 2 4 --against ../before
$ python benchmarks/training_memory.py --sizes 0.1 --used 5000 --rounds 1

With `--speed` it is measured how many samples a CPU second are trained on whose rows lie in files, beside those in memory, by turns.

$ python benchmarks/training_memory.py --speed --used 200000
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from perennial import discovery
from perennial.data.snapshots import latest_snapshot, table_of
from perennial.store import FolderStore

FIRST_USED, USED_DAYS = datetime(2013, 9, 12), 111
DAY_ROWS = 1000  # of a day that is not used
FILE_ROWS = 500_000


def flights() -> pa.Table:
    """Real flights of a month, as a batch has them."""
    source = discovery.dataset_module("flights")
    rows = pa.concat_tables([table for _, table in source.land(date(2013, 1, 1), date(2013, 1, 31))])
    return rows.cast(table_of(FolderStore(tempfile.gettempdir()), discovery.dataset("flights")).expected.empty_table().schema)


def made(some: pa.Table, days: list[datetime], rows: int, rng: np.random.Generator) -> pa.Table:
    """So many rows on these days, evenly, each with the values of a real one."""
    spec = discovery.dataset("flights")
    taken = some.take(rng.integers(0, len(some), rows))
    minutes = rng.integers(5 * 60, 23 * 60, rows)
    when = [days[place * len(days) // rows] + timedelta(minutes=int(minute)) for place, minute in enumerate(minutes)]
    place = taken.column_names.index(spec.time_column)
    return taken.set_column(place, taken.schema.field(place), pa.array(when, taken.schema.field(place).type))


def make_table(store: FolderStore, unused: int, used: int, *, clustered: bool) -> None:
    """The table `flights` with so many rows of each kind."""
    rng, some, spec = np.random.default_rng(0), flights(), discovery.dataset("flights")
    old_days = [FIRST_USED - timedelta(days=day) for day in range(max(1, unused // DAY_ROWS), 0, -1)]
    used_days = [FIRST_USED + timedelta(days=day) for day in range(USED_DAYS)]
    parts = []
    for begin in range(0, unused, FILE_ROWS):
        rows = min(FILE_ROWS, unused - begin)
        days = old_days[begin // DAY_ROWS : (begin + rows) // DAY_ROWS] or old_days[-1:]
        parts.append(made(some, days if clustered else old_days, rows, rng))
    parts.append(made(some, used_days, used, rng))
    if not clustered:
        shares = np.array_split(rng.permutation(used), len(parts) - 1)
        parts = [pa.concat_tables([old, parts[-1].take(share)]) for old, share in zip(parts[:-1], shares, strict=True)]
    for number, rows in enumerate(parts):
        table_of(store, spec).append(rows, f"{number:064x}")


def train(folder: Path) -> None:
    """Train one epoch on the newest snapshot of a store, as the stage does."""
    from perennial.stages.train import fill_version_folder
    from perennial.training.checkpoints import Checkpoints

    store, spec = FolderStore(str(folder)), discovery.model("flight_delays")
    source = latest_snapshot(store, discovery.dataset(spec.dataset))
    assert source is not None
    checked = "vouched" in inspect.signature(fill_version_folder).parameters
    if not checked:
        source.refuse_damaged()
    with tempfile.TemporaryDirectory() as scratch:
        given = {"checkpoints": Checkpoints(Path(scratch) / "run"), "max_epochs": 1, **({"vouched": True} if checked else {})}
        fill_version_folder(Path(scratch) / "version", spec, discovery.dataset_of(spec), source, **given)
        print(json.loads((Path(scratch) / "version/training.json").read_text())["metrics"])


def speed(rows: int, rounds: int) -> None:
    """Print samples per CPU second of a training, of rows in memory and in files."""
    from training_speed import prepared

    from perennial.engine.room import Room
    from perennial.training.batches import rows_of
    from perennial.training.encoded import mapped_rows
    from perennial.training.trainer import Checkpoints, train

    spec = discovery.model("flight_delays")
    encoder, in_memory, validation = prepared(spec.name, rows)
    with tempfile.TemporaryDirectory() as scratch:
        arrays = {name: mapped_rows(iter([values.numpy()]), Room(0, scratch)) for name, values in in_memory.inputs.items()}
        in_files = rows_of(spec, arrays, in_memory.labels.numpy())
        taken: dict[str, list[float]] = {"memory": [], "files": []}
        for turn in range(rounds + 1):
            for where, given in (("memory", in_memory), ("files", in_files)):
                begun = time.process_time()
                train(
                    spec,
                    model_class=discovery.model_part(spec.name, "model").Model,
                    encoder=encoder,
                    training=given,
                    validation=validation,
                    checkpoints=Checkpoints(Path(scratch) / f"{where}-{turn}"),
                    max_epochs=1,
                )
                if turn:  # the first one warms up
                    taken[where].append(rows / (time.process_time() - begun))
    for where, of in taken.items():
        print(f"rows in {where}: {statistics.median(of):,.0f} samples a CPU second")
    ratios = [b / a for a, b in zip(taken["memory"], taken["files"], strict=True)]
    print(f"{statistics.median(ratios):.3f} of the speed in memory (median of {rounds} turns; {in_files.bytes / 1e6:.0f} MB)")


def main() -> None:
    """Print a table for each size."""
    from costs import by_turns, interpreter, show

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 4], help="millions of rows that are not used")
    parser.add_argument("--used", type=int, default=100_000, help="rows that are used")
    parser.add_argument("--unclustered", action="store_true", help="let each file have rows of all days")
    parser.add_argument("--against", type=Path, help="another checkout, in which `make setup` was run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--speed", action="store_true", help="measure samples per CPU second of rows in memory and in files")
    asked = parser.parse_args()
    if asked.speed:
        speed(asked.used, asked.rounds)
        return
    if asked.child:
        train(asked.child)
        return
    for size in asked.sizes:
        with tempfile.TemporaryDirectory(prefix="perennial-training-memory-") as scratch:
            with ProcessPoolExecutor(1, get_context("spawn")) as other:  # whose memory would count as that of what this one starts
                other.submit(make_table, FolderStore(scratch), round(size * 1e6), asked.used, clustered=not asked.unclustered).result()
            print(f"\n{size:g} million rows that are not used, {asked.used:,} that are:")
            others = {"before": [interpreter(asked.against), __file__, "--child", scratch]} if asked.against else {}
            show(by_turns({**others, "now": [sys.executable, __file__, "--child", scratch]}, rounds=asked.rounds))


if __name__ == "__main__":
    main()
