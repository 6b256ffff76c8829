"""What the profile of many days costs beside the counting of its rows, and what many batches cost that are profiled together.

    python benchmarks/profile_days.py [--rows 1000000] [--days 1095] [--batches 200] [--rounds 3] [--against TREE]

Made rows of ten numbers and six categories with nulls, in the order of their days. Each line is a whole process, from start to end; the
ways take turns, and the middle run counts. `counted` makes the state of every day, the joint sample included; `counted and written` makes a
file of them too, `and read` reads it. `batches` profiles a table of so many batches, of a day each, as an ingestion that took them in does
(`stages/profile.py`: rows are read, counted by batch and day, and each batch's file is written to the store). With TREE, another checkout
that `make setup` was run in, its code is measured beside. Goal: writing takes at most half of what counting takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from costs import by_turns, interpreter, ratio, show

COUNTED, WRITTEN, READ, BATCHES = "counted", "counted and written", "counted, written, read", "batches"
NUMBERS, CATEGORIES = 10, 6


def make(folder: Path, rows: int, days: int, batches: int) -> None:
    """Write `rows.parquet`, `layout.json` and the store of a table whose batches have no profile yet."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from perennial.data.tables import Table
    from perennial.profiles.layout import fit_layout
    from perennial.profiles.store import ProfileStore
    from perennial.store import FolderStore

    random = np.random.default_rng(0)
    when = np.datetime64("2020-01-01", "us") + np.sort(random.integers(0, days * 86_400_000_000, rows))
    columns = {"when": pa.array(when)}
    for number in range(NUMBERS):
        values = random.integers(0, 20 << number, rows) if number % 2 else random.normal(size=rows).round(2)
        columns[f"n{number}"] = pa.array(values, mask=random.random(rows) < 0.02)
    for number in range(CATEGORIES):
        names = np.array([f"c{name}" for name in range(3 << (2 * number))])
        columns[f"c{number}"] = pa.array(names[random.zipf(1.5, rows) % len(names)], mask=random.random(rows) < 0.02)
    table = pa.table(columns)
    pq.write_table(table, folder / "rows.parquet", row_group_size=1 << 17)
    layout = fit_layout(table.drop(["when"]).slice(0, 100_000))
    (folder / "layout.json").write_text(layout.model_dump_json())
    store = FolderStore(str(folder / "store"))
    kept = ProfileStore(store, "made")
    kept.keep_layout(layout)
    of_days = when.astype("datetime64[D]")
    for number, day in enumerate(np.unique(of_days)[:batches].tolist()):
        digest = f"{number:064x}"[::-1]
        label = f"{number}.csv ({digest[:12]})"
        kept.owe(digest, label)
        first, end = np.searchsorted(of_days, [np.datetime64(day), np.datetime64(day) + 1])
        Table(store, "made").append(table.slice(first, end - first), digest, label=label)


def child(what: str, folder: Path) -> None:
    """One thing that is measured."""
    from perennial.profiles.layout import Layout
    from perennial.profiles.profile import profile
    from perennial.profiles.store import decode, encode

    if what == BATCHES:
        profile_batches(folder)
        return
    layout = Layout.model_validate_json((folder / "layout.json").read_text())
    counted = profile([folder / "rows.parquet"], layout, day="when")
    if what != COUNTED:
        written = encode(counted)
        if what == READ:
            del counted
            decode(written, layout)


def profile_batches(folder: Path) -> None:
    """Profile the batches of a copy of the store."""
    import shutil

    from perennial.specs import Column, DatasetSpec
    from perennial.stages.profile import profile_owed
    from perennial.store import FolderStore

    numbers = [Column(name=f"n{number}", type="int" if number % 2 else "float", nullable=True) for number in range(NUMBERS)]
    names = [Column(name=f"c{number}", type="string", nullable=True) for number in range(CATEGORIES)]
    spec = DatasetSpec(
        name="made", title="Made", owner="benchmarks", key=("when",), event_time="when",
        columns=(Column(name="when", type="timestamp"), *numbers, *names),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as copy:
        shutil.copytree(folder / "store", Path(copy) / "store")
        assert profile_owed(FolderStore(str(Path(copy) / "store")), spec) > 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=1_095, help="days on which the rows are")
    parser.add_argument("--batches", type=int, default=200, help="batches of a day each that are profiled together")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each process; the middle one counts")
    parser.add_argument("--against", type=Path, help="another checkout, to measure its code beside")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="perennial-days-") as scratch:
        size = [options.rows, options.days, options.batches]
        subprocess.run([sys.executable, __file__, "--make", scratch, *map(str, size)], check=True)  # a process inherits its parent's memory
        trees = {"": interpreter(), **({", before": interpreter(options.against)} if options.against else {})}
        ways = {
            f"{what}{tree}": [python, __file__, "--child", what, scratch]
            for what in (COUNTED, WRITTEN, READ, BATCHES)
            for tree, python in trees.items()
        }
        found = by_turns(ways, rounds=options.rounds)
    show(found)
    whole = ratio(found[WRITTEN], found[COUNTED])
    print(f"\ncounted and written, over counted: {whole:.2f} (goal: at most 1.5)" if whole else "\na run failed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        main()
