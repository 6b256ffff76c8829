"""What a platform takes while nothing happens: processes, memory, and CPU seconds a minute.

    python benchmarks/idle_platform.py [--seconds 120] [--rounds 3] [--against TREE]

Runs in the environment `workload`. A platform of its own is started, with nothing in its store, and measured once it is quiet. Memory is
each process's proportional share (PSS, which counts what processes share once), and beside it what no other process shares. `--against`
names another checkout in which `make setup` was run, measured by turns with this one. `--all` lists the processes too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import platforms
import processes
from costs import interpreter

QUIET = 15.0  # CPU seconds a minute
COLD_SECONDS = 330.0  # after which what waits for work has let go of what it loaded for the last


def main() -> None:
    """Measure both trees by turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", default="", metavar="TREE")
    parser.add_argument("--all", action="store_true", help="list the processes too")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.seconds, given.all)))
        return
    ways = {**({"before": interpreter(given.against)} if given.against else {}), "now": interpreter()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, python in ways.items():
            command = [python, __file__, "--child", "--seconds", str(given.seconds), *(["--all"] if given.all else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| tree | processes | PSS, MB | private, MB | CPU s/min |\n| --- | --- | --- | --- | --- |")
    for name, rounds in found.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        print(
            f"| {name} | {middle['processes']:.0f} | {middle['shared']:.0f} | {middle['private']:.0f} | {middle['cpu']:.2f} |", flush=True
        )


def measured(seconds: float, lists: bool) -> dict[str, float]:
    """The figures of one platform."""
    with platforms.scratch() as settings, platforms.running(settings) as supervisor:
        began = time.monotonic()
        platforms.settled(supervisor, QUIET)
        time.sleep(max(0.0, COLD_SECONDS - (time.monotonic() - began)))
        before = processes.below(supervisor)
        time.sleep(seconds)
        after = processes.below(supervisor)
        memory = {pid: processes.megabytes(pid) for pid in after}
        took = {pid: (one.seconds - (before[pid].seconds if pid in before else 0)) * 60 / seconds for pid, one in after.items()}
        if lists:
            for pid, (shared, private) in sorted(memory.items(), key=lambda item: -item[1][0]):
                print(f"{shared:7.1f} {private:7.1f} {took[pid]:6.2f}  {after[pid].command[:100]}", file=sys.stderr)
        cpu = processes.cpu_seconds(supervisor) - sum(one.seconds for one in before.values())
    return {
        "processes": len(after),
        "shared": sum(shared for shared, _ in memory.values()),
        "private": sum(private for _, private in memory.values()),
        "cpu": cpu * 60 / seconds,
    }


if __name__ == "__main__":
    main()
