"""CPU time of taking a day of a server's log into the table of predictions: many segments, looked at once or 48 times.

    python benchmarks/log_collection.py [--seconds 86400] [--looks 1 48] [--rounds 3] [--against TREE]

Run with the workload environment's Python. A server answers one row each second of the day. Before, it wrote a segment each second; today a
segment grows for a minute. The day is written into a folder first, which is not measured (what the server itself spends for it is, in the
last lines: all writes of an hour). Then each way collects it in a process of its own, `flight_delays` of this checkout: the imports count,
too. Small segments of a server of before are collected by the code of today as well. With `--against` the code of another checkout takes
turns. Files that are listed, read and removed are counted in a first run by today's code. Goals: a day in 5 CPU seconds, at most 1,500
segments, one listing a look.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

MODEL, BEGIN = "flight_delays", datetime(2026, 11, 1, tzinfo=timezone.utc)
ROW = {
    "scheduled_departure": "2013-01-01T05:15:00", "scheduled_minutes": 227, "carrier": "UA", "origin": "EWR", "dest": "IAH",
    "distance": 1400, "temp": 39.02, "dewp": 28.04, "humid": 64.43, "wind_dir": 260.0, "wind_speed": 12.66, "wind_gust": None,
    "precip": 0.0, "pressure": 1011.9, "visib": 10.0, "plane_year": 1999, "manufacturer": "BOEING", "engines": 2, "seats": 149,
}  # fmt: skip


def line(second: int) -> bytes:
    """What a server logs for one row."""
    when = (BEGIN + timedelta(seconds=second)).isoformat()
    said = {"id": f"{second:024x}-0", "model": MODEL, "version": 1, "time": when, "event_time": when, "ms": 1.5, "row": ROW}
    return json.dumps({**said, "scores": [0.7, 0.3]}).encode() + b"\n"


def write_seconds(folder: Path, first: int, last: int) -> None:
    """Segments of before, one for each second."""
    log = folder / "predictions" / MODEL
    log.mkdir(parents=True, exist_ok=True)
    for second in range(first, last):
        (log / f"20261101T000000000000-v1-77-abcdef-{second:08d}.jsonl").write_bytes(line(second))


def write_minutes(folder: Path, first: int, last: int) -> None:
    """Growing segments, as they are at the end of the last second."""
    from perennial.served_log import growing_name

    log = folder / "predictions" / MODEL
    log.mkdir(parents=True, exist_ok=True)
    for minute in range(first // 60, (last + 59) // 60):
        lines = b"".join(map(line, range(minute * 60, min(last, minute * 60 + 60))))
        (log / growing_name("20261101T000000000000-v1-77-abcdef", minute)).write_bytes(lines)


def collect(folder: Path) -> None:
    """What a look at a model does with the log."""
    from perennial import discovery
    from perennial.data.tables import Table
    from perennial.monitoring.prediction_table import collect_predictions
    from perennial.store import open_store

    store, model = open_store(str(folder)), discovery.model(MODEL)
    rows = collect_predictions(store, model, discovery.dataset_of(model), Table(store, f"{MODEL}_predictions")).rows
    print(rows, file=sys.stderr)


def counts(folder: Path) -> Counter[str]:
    """What collecting asks of the store."""
    from perennial.store import FolderStore

    asked: Counter[str] = Counter()
    kept = {name: getattr(FolderStore, name) for name in ("list", "read", "delete", "stat", "write", "put_if_absent")}

    def counted(name: str):
        def call(self: FolderStore, key: str, *more: bytes) -> object:
            asked[name] += f"predictions/{MODEL}" in key
            return kept[name](self, key, *more)

        return call

    for name in kept:
        setattr(FolderStore, name, counted(name))
    collect(folder)
    for name, method in kept.items():
        setattr(FolderStore, name, method)
    return asked


def cost_of_writing(seconds: int) -> tuple[float, float]:
    """CPU seconds of a server's writes with one row a second: of before, and of a segment that grows."""
    from perennial.serving.segments import SegmentWriter
    from perennial.store import FolderStore

    spent = []
    for length in (0.0, 60.0):
        with tempfile.TemporaryDirectory(prefix="perennial-log-") as folder:
            now = [0.0]
            writer = SegmentWriter(FolderStore(folder), f"predictions/{MODEL}", "v1", segment_seconds=length, wall=lambda now=now: now[0])
            began = time.process_time()
            for second in range(seconds):
                now[0] = float(second)
                writer._write(line(second))
            spent.append(time.process_time() - began)
            writer.close()
    return spent[0], spent[1]


def child(arguments: argparse.Namespace) -> None:
    """Collect a day that is written piece by piece, or at once."""
    write = write_minutes if arguments.way == "minutes" else write_seconds
    for look in range(arguments.looks[0]):
        if arguments.looks[0] > 1:  # a look in the middle of the day: what was logged since the last
            write(arguments.folder, *(arguments.seconds * part // arguments.looks[0] for part in (look, look + 1)))
        collect(arguments.folder)


def main() -> None:
    """Write, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=86_400)
    parser.add_argument("--looks", type=int, nargs="+", default=[1, 48])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        return child(arguments)
    from costs import by_turns, interpreter, show

    with tempfile.TemporaryDirectory(prefix="perennial-log-") as scratch:
        folder = Path(scratch)
        for looks in arguments.looks:
            ways = {
                name: [
                    python,
                    __file__,
                    "--way",
                    how,
                    "--folder",
                    str(folder / name),
                    "--seconds",
                    str(arguments.seconds),
                    "--looks",
                    str(looks),
                ]
                for name, python, how in (
                    *([("before, a segment a second", interpreter(arguments.against), "seconds")] if arguments.against else []),
                    ("today, a segment a minute", interpreter(), "minutes"),
                    ("today, a segment a second", interpreter(), "seconds"),
                )
            }

            def written(name: str, ways: dict[str, list[str]] = ways, looks: int = looks) -> None:
                shutil.rmtree(folder / name, ignore_errors=True)
                if looks == 1:
                    (write_minutes if "minutes" in ways[name] else write_seconds)(folder / name, 0, arguments.seconds)

            print(f"\n{arguments.seconds} seconds of the log, collected by {looks} look{'s' * (looks > 1)} in one process\n")
            show(by_turns(ways, arguments.rounds, written))
        write_minutes(folder / "counted", 0, arguments.seconds)
        print(f"\nAsked of the store by one look at them: {dict(counts(folder / 'counted'))}")
    old, new = cost_of_writing(3600)
    print(f"\nWriting an hour: {old:.2f} CPU s a segment a second, {new:.2f} CPU s as segments that grow")


if __name__ == "__main__":
    main()
