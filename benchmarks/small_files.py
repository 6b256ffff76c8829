"""Ingestion of many small files, each of which is checked, taken or refused whole, with a receipt of its own.

    python benchmarks/small_files.py [--files 100 1000] [--rounds 3] [--without-suite] [--against TREE]

Run with the workload's Python (.perennial/venvs/workload). A file is a day of the flights of 2013, some 923 rows; further years are the
same days 52 weeks later. One process takes them all into an empty table, as `perennial ingest --dataset flights` does, profiles included.
Told are its CPU seconds, peak memory and seconds, by turns with those of TREE, another checkout with its environments.
`--without-suite` lets each file pass its checks unseen, so that what reading, appending and receipts cost is seen alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from costs import by_turns, interpreter, show

ROOT = Path(__file__).parents[1]
YEAR = 365


def fill(folder: Path, files: int) -> None:
    """Land so many days."""
    sys.path.insert(0, str(ROOT / "include"))
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.commands.land import encode
    from perennial.discovery import dataset_module

    folder.mkdir(parents=True)
    for number, (_, rows) in enumerate(dataset_module("flights").land(date(2013, 1, 1), date(2013, 12, 31))):
        for year in range(-(-files // YEAR)):
            if year * YEAR + number >= files:
                continue
            later = rows
            for name in [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]:
                times = pc.add(rows[name], pa.scalar(timedelta(weeks=53 * year), pa.duration("us")))
                later = later.set_column(later.schema.get_field_index(name), name, times.cast(rows.schema.field(name).type))
            path = folder / f"year-{year}-day-{number:03d}.csv.gz"
            path.write_bytes(encode(path.name, later))
            os.utime(path, (1, 1))


def child(tree: Path, without_suite: bool) -> None:
    """Take in what has landed."""
    sys.path.insert(0, str(tree / "include"))
    from perennial.quality import validation
    from perennial.settings import Settings
    from perennial.stages import ingest
    from perennial.store import open_store

    def passes(rows: Any, spec: Any, batch: str, **_: Any) -> Any:
        return validation.Verdict(spec.name, batch, rows.num_rows, True, None, (), f"reports/{spec.name}/docs/validations/{batch}.html")

    if without_suite:
        validation.validate = passes
    settings = Settings.from_environment()
    result = ingest.run(settings, open_store(settings.store), "flights")
    if result.refused:
        raise SystemExit(next(iter(result.refused.values())))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 1_000], help="files that land")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    parser.add_argument("--without-suite", action="store_true", help="leave the suite out")
    parser.add_argument("--against", type=Path, help="another checkout to measure beside this one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child, args.without_suite)
    trees = {"before": args.against.absolute()} if args.against else {}
    trees["now"] = ROOT
    for files in args.files:
        with tempfile.TemporaryDirectory(prefix="perennial-small-") as folder:
            fill(Path(folder) / "landed", files)
            stores = iter(range(1_000_000))

            def anew(_: str, place: str = folder, numbers: Any = stores) -> None:
                store = Path(place) / f"store-{next(numbers)}"
                landing = store / "landing/flights"
                landing.mkdir(parents=True)
                for file in (Path(place) / "landed").iterdir():
                    (landing / file.name).hardlink_to(file)
                os.environ["PERENNIAL_STORE"] = str(store)

            more = ["--without-suite"] if args.without_suite else []
            ways = {way: [interpreter(tree), __file__, "--child", str(tree), *more] for way, tree in trees.items()}
            print(f"\n{files:,} files{' without the suite' if more else ''}:\n")
            show(by_turns(ways, args.rounds, anew))
    return None


if __name__ == "__main__":
    main()
