"""What it costs to ask a long ledger: which entry holds now, which held at a time, which versions it names, and to write the next one.

    python benchmarks/ledger_reads.py [--entries 100 1000 10000] [--repeat 20] [--against TREE]

A ledger in a folder is filled with releases that end, one after the other. Each question is then asked by an object that was just made, as
a new process would: reads of the store (objects that are read or looked at), and milliseconds of CPU, the middle one of the repeats.
`verify` alone is meant to read every entry. With `--against` the same is asked by the code of another checkout, on the same ledger.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from costs import interpreter

MODEL = "churn"
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)


def fill(folder: Path, count: int) -> None:
    """A ledger of releases: three entries for each version, an hour apart."""
    from perennial.lineage.ledger import Ledger
    from perennial.store import FolderStore

    ledger, champion, good = Ledger(FolderStore(str(folder)), MODEL), None, ()
    for place in range(count):
        number, step = place // 3 + 1, place % 3
        kind = ("started", "weights", "promoted")[step]
        weights = {number: 10_000} if kind == "promoted" or champion is None else {champion: 9_000, number: 1_000}
        if kind == "promoted":
            good, champion = ((champion, *good)[:5] if champion else ()), number
        named = {number, *weights, *good} | ({champion} if champion else set())
        ledger.append(
            kind,
            version=number,
            champion=champion,
            weights=weights,
            good=good,
            versions={named_one: f"{named_one:064x}" for named_one in named},
            reason="It is as good.",
            actor="perennial",
            after_seq=place - 1 if place else None,
            evidence={"errors": {"champion": [10, 10_000], "candidate": [11, 10_000]}},
            now=FIRST + timedelta(hours=place),
        )


def ask(folder: str, count: int, repeat: int) -> dict[str, list[float]]:
    """Question -> reads and milliseconds."""
    from perennial.lineage.ledger import Ledger
    from perennial.store import FolderStore

    reads = 0

    class Counting(FolderStore):
        def read(self, key: str) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(key)

        def stat(self, key: str) -> Any:
            nonlocal reads
            reads += 1
            return super().stat(key)

        def list(self, prefix: str) -> Any:
            nonlocal reads
            for item in super().list(prefix):
                reads += 1
                yield item

    middle = FIRST + timedelta(hours=count // 3, minutes=1)

    def digests(ledger: Ledger) -> object:
        if hasattr(ledger, "digests"):
            return ledger.digests()
        return {number: digest for entry in ledger.entries() for number, digest in entry.versions.items()}

    questions: dict[str, Callable[[Ledger], object]] = {
        "last": lambda ledger: ledger.last(),
        "served at": lambda ledger: ledger.served_at(middle),
        "versions and their digests": digests,
        "verify": lambda ledger: ledger.verify(),
    }
    found = {}
    for name, question in questions.items():
        figures = []
        for _ in range(1 if name == "verify" else repeat):
            reads = 0
            ledger, began = Ledger(Counting(folder), MODEL), time.process_time()
            question(ledger)
            figures.append((reads, 1000 * (time.process_time() - began)))
        found[name] = [statistics.median(counted for counted, _ in figures), statistics.median(spent for _, spent in figures)]
    return found


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[100, 1_000, 10_000], help="lengths of the ledger")
    parser.add_argument("--repeat", type=int, default=20, help="times that each question is asked; the middle figures count")
    parser.add_argument("--against", default="", help="another checkout, whose code is asked the same")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "ENTRIES", "REPEAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder, count, repeat = given.child
        print(json.dumps(ask(folder, int(count), int(repeat))))
        return
    trees = {"now": "", **({"before": given.against} if given.against else {})}
    print("| entries | question | " + " | ".join(f"{name}: reads | {name}: ms CPU" for name in trees) + " |")
    print("| --- | --- |" + " --- | --- |" * len(trees))
    for count in given.entries:
        with tempfile.TemporaryDirectory(prefix="perennial-ledger-") as folder:
            fill(Path(folder), count)
            found = {}
            for name, tree in trees.items():
                command = [interpreter(tree), __file__, "--child", folder, str(count), str(given.repeat)]
                found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for question in found["now"]:
            cells = [f"{found[name][question][0]:.0f} | {found[name][question][1]:.2f}" for name in trees]
            print(f"| {count:,} | {question} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
