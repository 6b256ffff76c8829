"""CPU time of a dataset's watch over its landing zone, a look every two seconds, when nothing new lands.

    python benchmarks/landing_watch.py [--files 1000 10000 100000] [--folders 1] [--rounds 3] [--against TREE]

Run with Airflow's Python (.perennial/venvs/airflow). So many files have landed and been taken: each has its receipt. The trigger of the
ingestion DAG then looks as it does in the triggerer. Told are the CPU seconds (user and system) of its first look, and of the thirty looks
of a minute after it; the middle of three processes, by turns with those of TREE, another checkout with its environments. Goal: .05 CPU
seconds a minute at 100,000 files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from costs import interpreter

ROOT = Path(__file__).parents[1]
LOOKS = 30  # of a minute


def fill(folder: Path, files: int, folders: int) -> None:
    """A store in which so many files have landed and been taken, some time ago, spread over so many folders."""
    sys.path.insert(0, str(ROOT / "include"))
    from perennial.data.landing import listing, receipt_key
    from perennial.store import FolderStore

    store, then = FolderStore(str(folder)), time.time() - 86_400
    places = [folder / "landing/flights" / (f"{number:05d}" if folders > 1 else "") for number in range(folders)]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        file = places[number % folders] / f"{number:07d}.csv"
        file.write_bytes(b"x")
        os.utime(file, (then, then))
    (folder / "receipts/flights").mkdir(parents=True)
    for landed in listing(store, "flights"):
        (folder / receipt_key("flights", landed.id)).write_bytes(b"{}")
    for number, place in enumerate([*places, folder / "landing/flights"]):
        os.utime(place, (then - number, then - number))


def child(tree: Path) -> None:
    """Look as the trigger of a checkout does, and tell the CPU seconds of the first look and of the looks of a minute."""
    sys.path[:0] = [str(tree / "plugins"), str(tree / "include")]
    from perennial_airflow.triggers import landing

    took: list[float] = []
    really: Any = landing.look

    def look(*args: Any, **options: Any) -> Any:
        took.append(time.process_time())
        if len(took) > LOOKS + 1:
            raise KeyboardInterrupt
        return really(*args, **options)

    async def watch() -> None:
        async for _ in landing.LandingTrigger("flights").run():
            raise SystemExit("Something waits that was taken.")

    landing.look, landing.POLL_SECONDS = look, 0.0
    began = time.process_time()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch())
    print(json.dumps({"first": took[1] - began, "minute": took[-1] - took[1]}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="files that have landed")
    parser.add_argument("--folders", type=int, default=1, help="folders in which they lie")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    parser.add_argument("--against", type=Path, help="another checkout to measure beside this one")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child)
    trees = {"before": args.against.absolute()} if args.against else {}
    trees["now"] = ROOT
    print("| files that landed | code | first look, CPU s | a minute, CPU s |\n| --- | --- | --- | --- |")
    for files in args.files:
        with tempfile.TemporaryDirectory(prefix="perennial-landing-") as folder:
            fill(Path(folder), files, args.folders)
            told: dict[str, list[dict[str, float]]] = {way: [] for way in trees}
            for _ in range(args.rounds):
                for way, tree in trees.items():
                    command = [interpreter(tree), __file__, "--child", str(tree)]
                    found = subprocess.run(
                        command, env={**os.environ, "PERENNIAL_STORE": folder}, capture_output=True, text=True, check=True
                    )
                    told[way].append(json.loads(found.stdout.splitlines()[-1]))
            for way, costs in told.items():
                first, minute = (statistics.median(cost[what] for cost in costs) for what in ("first", "minute"))
                print(f"| {files:,} | {way} | {first:.3f} | {minute:.3f} |", flush=True)
    return None


if __name__ == "__main__":
    main()
