"""CPU time that a look spends on all predictions and outcomes there ever were, by the size of their tables.

    python benchmarks/outcomes_look.py [--sizes 1000000 5000000] [--rounds 3] [--against TREE]

Run with the workload environment's Python. A model has answered 5,000 requests a day for years, and the outcome of each came two days
later. Since the last look 1,000 predictions and 1,000 outcomes came. Measured is a process that asks for the predictions of each day, the
newest event time, the outcomes of the last 30 days' predictions, and how many outcomes wait for their prediction; loading the modules
counts, and is told by the size 0. With `--against` the code of another checkout takes turns. Goal: a cost that does not grow with the
tables.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

MODEL, BEGIN, A_DAY, A_COMMIT = "flight_delays", datetime(2015, 1, 1, tzinfo=timezone.utc), 5_000, 200_000


def append(folder: Path, first: int, count: int) -> None:
    """Predictions and their outcomes, in one commit each."""
    import numpy as np
    import pyarrow as pa

    from perennial.data.tables import Table
    from perennial.store import open_store

    store, places = open_store(str(folder)), np.arange(first, first + count)
    hashed = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    ids = pa.array([f"{number:016x}{place:08x}-0" for number, place in zip(hashed.tolist(), places.tolist(), strict=True)])
    times = np.datetime64(BEGIN.replace(tzinfo=None), "us") + (places * (86_400_000_000 // A_DAY)).astype("timedelta64[us]")
    utc = pa.timestamp("us", "UTC")
    predicted: dict[str, Any] = {
        "prediction_id": ids, "model_version": pa.array(np.ones(count, np.int32)), "shadow": pa.array(np.zeros(count, np.bool_)),
        "served_at": pa.array(times, utc), "event_time": pa.array(times, utc),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(np.full(2 * count, 0.5)), 2).cast(pa.list_(pa.float64())),
    }  # fmt: skip
    Table(store, f"{MODEL}_predictions").append(pa.table(predicted), f"{first:064x}")
    happened: dict[str, Any] = {
        "prediction_id": ids, "outcome": pa.array(places % 2.0), "time": pa.array(times + np.timedelta64(2, "D"), utc),
        "source": pa.array(["log"] * count), "line": pa.array(places + 1),
    }  # fmt: skip
    Table(store, f"{MODEL}_outcomes").append(pa.table(happened), f"{first:064x}")


def look(folder: Path) -> None:
    """What a look asks of the tables, by the code of today or of before."""
    from perennial import discovery
    from perennial.monitoring import outcomes
    from perennial.monitoring.windows import Window
    from perennial.stages._traffic import Traffic
    from perennial.store import open_store

    model = discovery.model(MODEL)
    traffic = Traffic(open_store(str(folder)), model, discovery.dataset_of(model))
    traffic.collect()
    if traffic.happened.version() is None:
        return
    last = max(traffic.days)
    end = datetime(last.year, last.month, last.day, tzinfo=timezone.utc) + timedelta(days=1)
    rows = traffic.predictions(Window(end - timedelta(days=30), end), ["prediction_id", "served_at", "event_time"])
    if hasattr(traffic, "waiting_outcomes"):
        found, waiting = traffic.outcomes([rows]), traffic.waiting_outcomes()
    else:
        found = traffic.outcomes()
        waiting = outcomes.count_unknown(found, traffic.predicted.dataset())
    joined, counts = outcomes.join(rows, outcomes.outcomes_of([rows], found))
    print(sum(traffic.days.values()), traffic.newest, joined.num_rows, counts, waiting)


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1_000_000, 5_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.look:
        return look(arguments.look)
    from costs import by_turns, interpreter, measure, show

    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="perennial-look-") as scratch:
            whole = Path(scratch, "whole")
            whole.mkdir()
            for first in range(0, size, A_COMMIT):
                append(whole, first, min(A_COMMIT, size - first))
            pythons = {"before": interpreter(arguments.against)} if arguments.against else {}
            ways = {
                name: [python, __file__, "--look", str(Path(scratch, name))] for name, python in {**pythons, "today": interpreter()}.items()
            }
            filled = dict.fromkeys(ways, size)
            for name, command in ways.items():
                shutil.copytree(whole, Path(scratch, name))
                first_look = measure(command)
                print(f"{name}, {size:,} rows, the first look ever: {first_look if isinstance(first_look, str) else first_look.seconds:.3}")

            def more(name: str, size: int = size, filled: dict[str, int] = filled, scratch: str = scratch) -> None:
                if size:
                    append(Path(scratch, name), filled[name], 1000)
                    filled[name] += 1000

            print(f"\nA look at 1,000 new rows of {size:,}\n")
            show(by_turns(ways, arguments.rounds, more))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
