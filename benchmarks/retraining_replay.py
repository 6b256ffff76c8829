"""When does retraining pay? `perennial replay` on the flights of 2013, and how soon the default policy answers a broken concept.

    python benchmarks/retraining_replay.py [--months 1-12] [--seed 2013] [--target "arr_delay>15"] [--jobs 2]

The first month is history; from the second on every day is answered by what a policy had trained by then. The labels of a day are
known 1 day, then 7 days after its end. Trees on the inputs of the model flight_delays stand in for it; each distinct training is
fitted once. Beside the project's policies stand two that other tools suggest, asked at the end of every week: train when any column
differs by a Kolmogorov-Smirnov or chi-squared test (p < .05, Bonferroni), and when any column's population stability index exceeds .2.

The target is `COLUMN>NUMBER` (a class), or a column (its value: a regression). A planted break inverts the label of every flight
of one half of the carriers, chosen by the seed, from one day on: three such days, each in a history of its own, which begins 45
days before it. Told is after how many days the default policy (`RetrainSpec()`) trains because of it, by which cause, and what
part of these days passed before the first wrong label was known. The days are those after the break, so that chance and age
cannot pass for an answer only where the cause says `performance` or `drift`.

Goal: the default policy closes at least 80 % of the gap between never and every night, with at most 15 retrainings a year (in
proportion where fewer months are asked for), for both delays, and answers each break within 7 days of the first wrong label.
"""

from __future__ import annotations

import argparse
import calendar
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from scipy import stats

from perennial.commands.replay import HistoryWorld, Told, bounds, play, prepare
from perennial.data.snapshots import Snapshot
from perennial.data.tables import Table
from perennial.encoding import Columns, numbers
from perennial.monitoring.performance import LOSS
from perennial.monitoring.replay import Policy, policies, summaries, table
from perennial.monitoring.windows import Window
from perennial.specs import GateSpec, ModelSpec, RetrainSpec
from perennial.store import FolderStore
from perennial_datasets.flights import DATASET, land
from perennial_models.flight_delays.spec import MODEL

DELAYS = (1, 7)
BREAKS, BEFORE, AFTER = 3, 45, 21  # planted breaks; days of their histories before and after
RETRAINS_A_YEAR, CLOSES, REACTS = 15, 0.8, 7
WEEK = 7


def history(first: date, last: date, folder: Path) -> Snapshot:
    """The flights of these days as a snapshot."""
    rows = pa.concat_tables([day for _, day in land(first, last)])
    fields = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    store = FolderStore(str(folder))
    version = Table(store, DATASET.name).append(rows.cast(pa.schema(fields)), "all")
    return Snapshot(DATASET, version, store)


def model_for(target: str, seed: int) -> tuple[ModelSpec, Callable[[Columns], np.ndarray]]:
    """The model flight_delays with another label, and the label's function."""
    column, above, number = target.partition(">")
    column = column.strip()
    changes = {"label": column, "training": MODEL.training.model_copy(update={"seed": seed}), "retrain": RetrainSpec()}
    if above:
        limit = float(number)

        def late(columns: Columns) -> np.ndarray:
            values = numbers(columns[column])
            return np.where(np.isnan(values), np.nan, (values > limit).astype(float))

        return MODEL.model_copy(update=changes), late
    gate = GateSpec(metric="rmse", floors={"rmse": 1e9})
    return MODEL.model_copy(update={**changes, "task": "regression", "classes": (), "gate": gate}), lambda columns: numbers(columns[column])


def broken(label: Callable[[Columns], np.ndarray], day: date, carriers: frozenset[str], task: str) -> Callable[[Columns], np.ndarray]:
    """The label, inverted for some carriers from a day on; of a regression, its sign."""

    def changed(columns: Columns) -> np.ndarray:
        given = label(columns)
        wrong = (columns["scheduled_departure"].astype("datetime64[D]") >= np.datetime64(day)) & np.isin(
            columns["carrier"].astype(str), sorted(carriers)
        )
        return np.where(wrong, -given if task == "regression" else 1 - given, given)

    return changed


@dataclass
class OtherTest(HistoryWorld):
    """The same history, where another test says what drifted in a week."""

    test: str = "ks"

    def drifted(self, morning: date, window: Window) -> tuple[str, ...]:
        """Columns that differ from the thirty days that a training of that morning knows."""
        known = [day for day in self.days if day < morning][-30:]
        before, after = (
            np.concatenate([self.rehearsal.values(day) for day in some])
            for some in (known, [d for d in self.days if window.first.date() <= d < window.last.date()])
        )
        found = []
        for place, category in enumerate(self.rehearsal.categories):
            a, b = (values[:, place][~np.isnan(values[:, place])] for values in (before, after))
            if len(a) and len(b) and _differs(self.test, a, b, category=category, columns=before.shape[1]):
                found.append(str(place))
        return tuple(found)


def _differs(test: str, a: np.ndarray, b: np.ndarray, *, category: bool, columns: int) -> bool:
    if test == "ks" and not category:
        return float(stats.ks_2samp(a, b, method="asymp").pvalue) < 0.05 / columns
    edges = np.unique(a) if category else np.unique(np.quantile(a, np.linspace(0, 1, 11)))
    counts = np.stack(
        [np.bincount(np.clip(np.searchsorted(edges, v, side="right") - 1, 0, len(edges) - 1), minlength=len(edges)) for v in (a, b)]
    )
    counts = counts[:, counts.sum(axis=0) > 0]
    if test == "ks":
        return counts.shape[1] > 1 and float(stats.chi2_contingency(counts).pvalue) < 0.05 / columns
    p, q = (np.maximum(c / c.sum(), 1e-4) for c in counts)
    return float(((p - q) * np.log(p / q)).sum()) > 0.2


def others(spec: ModelSpec) -> list[tuple[str, Policy]]:
    """What other tools suggest: the test, and the policy that trains when it finds something in a week."""
    retrain = RetrainSpec(
        on_drift="confirmed", drift_windows=1, max_age_days=None, cooldown_days=0, recalibrate=False, cost=spec.retrain.cost
    )
    titles = {"ks": "any column, KS or chi², weekly", "psi": "any column, PSI > .2, weekly"}
    return [(test, Policy(test, title, retrain)) for test, title in titles.items()]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", default="1-12", help="months of 2013, first-last; the first is history")
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--target", default="arr_delay>15", help="COLUMN>NUMBER, or a column")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="where trainings are kept, to go on after an interruption; a temporary one if absent")
    given = parser.parse_args()
    months = [int(part) for part in given.months.split("-")]
    first, last = date(2013, months[0], 1), date(2013, months[-1], calendar.monthrange(2013, months[-1])[1])
    with tempfile.TemporaryDirectory(prefix="perennial-replay-") as scratch:
        folder = given.folder or Path(scratch) / "replay"
        snapshot = history(first, last, Path(scratch) / "store")
        spec, label = model_for(given.target, given.seed)
        told = Told(sys.stderr.isatty())
        started = time.perf_counter()
        reached = True
        for delay in DELAYS:
            begun = time.perf_counter()
            world = prepare(snapshot, spec, SimpleNamespace(label=label), delay, folder, told)
            begin, end = bounds(world, date(2013, months[0] + 1, 1) if len(months) > 1 and months[0] < months[-1] else None, None)
            reached &= compare(world, begin, end, given.jobs, told)
            print(f"{time.perf_counter() - begun:.0f} s\n", flush=True)
        reached &= react(snapshot, spec, label, folder, given.seed, told, (first, last))
        print(f"\n{time.perf_counter() - started:.0f} s in all with {given.jobs} processes. Goals {'reached' if reached else 'MISSED'}.")
    sys.exit(0 if reached else 1)


def compare(world: HistoryWorld, first: date, last: date, jobs: int, told: Told) -> bool:
    """One table; whether the default policy reaches its goals."""
    spec = world.spec
    histories = play(world, list(policies(spec.retrain).values()), first, last, jobs, told)
    weekly = spec.model_copy(update={"monitoring": spec.monitoring.model_copy(update={"window_days": WEEK})})
    for test, policy in others(spec):
        fields = {**world.__dict__, "spec": weekly, "test": test}
        histories[-1:-1] = play(OtherTest(**fields), [policy], first, last, 1, told)
    lines = summaries(histories, spec.retrain.cost)
    print(f"{first} to {last}, labels {world.delay} days after the end of their day")
    print(table(lines, LOSS[spec.task], spec.retrain.cost))
    own, days = lines[-1], len(histories[0].days)
    allowed = RETRAINS_A_YEAR * days / 334
    print(f"* the default policy: {own.causes}")
    return own.closes is not None and own.closes >= CLOSES and own.retrains <= allowed


def react(
    snapshot: Snapshot,
    spec: ModelSpec,
    label: Callable[[Columns], np.ndarray],
    folder: Path,
    seed: int,
    told: Told,
    days: tuple[date, date],
) -> bool:
    """The planted breaks; whether each was answered in time."""
    rng = np.random.default_rng(seed)
    carriers = sorted(set(snapshot.table.scan(["carrier"])["carrier"].to_pylist()))
    half = frozenset(str(c) for c in rng.permutation(carriers)[: len(carriers) // 2])
    earliest, latest = days[0] + timedelta(days=31 + BEFORE), days[1] - timedelta(days=AFTER)
    span = max((latest - earliest).days, 1)
    when = sorted(earliest + timedelta(days=int(n)) for n in rng.choice(span, size=min(BREAKS, span), replace=False))
    print(f"Planted: the label of {', '.join(sorted(half))} is inverted from a day on")
    print(f"  {'break':<12}{'labels after':>13}{'trains':>14}{'cause':>13}{'days after the break':>22}{'after the first wrong label':>29}")
    reached = True
    for day in when:
        world = prepare(snapshot, spec, SimpleNamespace(label=broken(label, day, half, spec.task)), DELAYS[0], folder, told)
        for delay in DELAYS:
            own = policies(spec.retrain)["spec"]
            (found,) = play(
                replace(world, delay=delay), [own], day - timedelta(days=BEFORE), min(days[1], day + timedelta(days=AFTER)), 1, told
            )
            answers = [d for d in found.days if d.day > day and d.retrained in ("performance", "drift")]
            if not answers:
                print(f"  {day!s:<12}{delay:>13}{'not at all':>14}", flush=True)
                reached = False
                continue
            after = (answers[0].day - day).days
            known = after - delay - 1
            reached &= known <= REACTS
            print(f"  {day!s:<12}{delay:>13}{answers[0].day!s:>14}{answers[0].retrained:>13}{after:>22}{known:>29}", flush=True)
    return reached


if __name__ == "__main__":
    main()
