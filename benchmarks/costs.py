"""What a process costs: CPU seconds, peak memory and seconds, side by side with others.

A benchmark names its ways of doing the same work, each the command of a process: `by_turns` runs them one after the other, round by
round, and `show` prints the middle figures with the ratio to the first way (the middle of those within the rounds). `interpreter` names
the Python of another checkout: with it a benchmark measures the code of today beside that of before.

    ways = {"before": [interpreter(other), __file__, "--child", ...], "now": [interpreter(), __file__, "--child", ...]}
    show(by_turns(ways, rounds=3))
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 1800.0  # seconds


@dataclass(frozen=True)
class Cost:
    """What a process took, from its start to its end: CPU seconds (user and system, all threads and the children it waited for), the most
    memory that one of them held (gigabytes) and seconds of the clock."""

    seconds: float
    gigabytes: float
    elapsed: float = 0.0


def interpreter(tree: Path | str = "") -> str:
    """The Python of the environment in which this runs, in this checkout or in another one that `make setup` was run in."""
    if not tree:
        return sys.executable
    found = Path(tree) / ".perennial/venvs" / Path(sys.prefix).name / "bin/python"
    if not found.exists():
        raise SystemExit(f"{tree} has no {found.relative_to(tree)}: run `make setup` there.")
    return str(found)


def measure(command: Sequence[str], seconds: float = LONGEST, environment: Mapping[str, str] | None = None) -> Cost | str:
    """What a process takes, or why that cannot be told."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, **(environment or {})})
        ended = 0
        while not ended and time.monotonic() < began + seconds:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            time.sleep(0.01)
        if not ended:
            process.kill()
            os.wait4(process.pid, 0)
            process.returncode = -9
            return f"ended after {seconds:.0f} s without a result"
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            return f"failed with code {process.returncode}: {lines[-1][:150] if lines else 'no word'}"
        return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, time.monotonic() - began)


def middle(found: Sequence[Cost | str]) -> Cost | str:
    """The run of middle CPU seconds, the cheaper of two; what went wrong if any did."""
    wrong = [cost for cost in found if isinstance(cost, str)]
    costs = sorted((cost for cost in found if isinstance(cost, Cost)), key=lambda cost: cost.seconds)
    return wrong[0] if wrong else costs[(len(costs) - 1) // 2]


def by_turns(
    ways: Mapping[str, Sequence[str]], rounds: int = 3, before: Callable[[str], object] | None = None
) -> dict[str, list[Cost | str]]:
    """What each way took in each round; all take a turn before the next round begins. `before` is called with a way's name before it."""
    found: dict[str, list[Cost | str]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, command in ways.items():
            if before:
                before(name)
            found[name].append(measure(command))
    return found


def ratio(found: Sequence[Cost | str], other: Sequence[Cost | str]) -> float | None:
    """The middle of the ratios of CPU seconds within the rounds; None if a run of either failed."""
    pairs = [(a.seconds, b.seconds) for a, b in zip(found, other, strict=True) if isinstance(a, Cost) and isinstance(b, Cost)]
    return statistics.median(a / b for a, b in pairs) if len(pairs) == len(found) else None


def show(found: Mapping[str, Sequence[Cost | str]]) -> None:
    """Print a line for each way: the middle run, and the ratio of its CPU seconds to the first way's."""
    first = next(iter(found.values()))
    print("| way | CPU s | of the first | peak GB | s |\n| --- | --- | --- | --- | --- |")
    for name, costs in found.items():
        cost, of_first = middle(costs), ratio(costs, first)
        if isinstance(cost, str):
            print(f"| {name} | {cost} | | | |")
        else:
            told = "" if of_first is None else f"{of_first:.2f}"
            print(f"| {name} | {cost.seconds:.3g} | {told} | {cost.gigabytes:.2f} | {cost.elapsed:.3g} |")
