"""When does retraining pay? `perennial replay` on the flights of 2013, and how soon the default policy answers a broken concept.

    python benchmarks/retraining_replay.py [--months 1-12] [--seed 2013] [--target "arr_delay>15"] [--breaks 14] [--jobs 2]

The first month is history; from the second on every day is answered by what a policy had trained by then. The labels of a day are
known 1 day, then 7 days after its end. Trees on the inputs of the model flight_delays stand in for it; each distinct training is
fitted once. Beside the project's policies stand two that other tools suggest, asked at the end of every week: train when any column
differs by a Kolmogorov-Smirnov or chi-squared test (p < .05, Bonferroni), and when any column's population stability index exceeds .2.

The target is `COLUMN>NUMBER` (a class), or a column (its value: a regression). A planted break inverts the label of every flight
of one half of the carriers from one day on; day, half and how long the model has been in service by then (30 to 59 days) are drawn
by the seed for each break. Told is after how many days the default policy (`RetrainSpec()`) trains with the cause `performance` or
`drift` once a wrong label is known, so that age cannot pass for an answer. A training that has begun before that answers nothing.

Goal: the default policy closes at least 80 % of the gap between never and every night, with at most 15 retrainings a year (in
proportion where fewer months are asked for), for both delays, and answers each break within 7 days of the first wrong label.
"""

from __future__ import annotations

import argparse
import calendar
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from perennial.training.rehearsal import Rehearsal
from perennial_datasets.flights import DATASET, land
from perennial_models.flight_delays.spec import MODEL

DELAYS = (1, 7)
BREAKS = 14  # that are planted
BEFORE, AFTER = (30, 60), 14  # days in service before a break; days that are looked at after its first wrong label
RETRAINS_A_YEAR, CLOSES, REACTS = 15, 0.8, 7
WEEK = 7


def history(first: date, last: date, folder: Path) -> Snapshot:
    """The flights of these days as a snapshot."""
    rows = pa.concat_tables([day for _, day in land(first, last)])
    fields = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    store = FolderStore(str(folder))
    version = Table(store, DATASET.name).append(rows.cast(pa.schema(fields)), "all")
    return Snapshot(DATASET, version, store)


class Silent(Told):
    """Tells nothing of the many short replays."""

    def say(self, sentence: str) -> None:
        """Nothing."""


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


@dataclass(frozen=True)
class Planted(Rehearsal):
    """The same history with other labels of some rows from a day on; its trainings from before that day are those of the history."""

    since: date = date.min
    wrong: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), compare=False, repr=False)  # [rows]

    def _file(self, training: date) -> Path:
        if training < self.since:
            return super()._file(training)
        identity = hashlib.sha256(self.wrong.tobytes()).hexdigest()[:12]
        return self.folder / f"planted-{self.since}-{identity}-{training}.npy"

    def _array(self, name: str) -> np.ndarray:
        if name == "labels" and name not in self._read:
            given = np.array(super()._array(name))
            given[self.wrong] = -given[self.wrong] if self.learner.task == "regression" else 1 - given[self.wrong]
            self._read[name] = given
        return super()._array(name)


def planted(world: HistoryWorld, day: date, rng: np.random.Generator) -> tuple[HistoryWorld, float]:
    """A history in which the label of half of the carriers is inverted from a day on, and what share of its rows they have."""
    whole = world.rehearsal
    values = np.load(whole.folder / "values.npy", mmap_mode="r")
    types = [DATASET.column(name).type for name in world.spec.inputs[: world.spec.inputs.index("carrier")]]
    carrier = values[:, sum(2 if kind == "timestamp" else 1 for kind in types)]  # of a time the trees see minute and weekday
    names = np.unique(carrier)
    later = np.arange(len(carrier)) >= np.load(whole.folder / "starts.npy")[whole.days.index(day)]
    wrong = later & np.isin(carrier, rng.permutation(names)[: len(names) // 2])
    other = Planted(whole.folder, whole.days, whole.categories, whole.learner, since=day, wrong=wrong)
    return replace(world, rehearsal=other), float(wrong.sum() / later.sum())


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
    parser.add_argument("--breaks", type=int, default=BREAKS, help="planted breaks, each with both delays")
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
        begun = time.perf_counter()
        reached &= react(world, given.breaks, given.seed, Silent(terminal=False))
        print(f"{time.perf_counter() - begun:.0f} s")
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


def react(world: HistoryWorld, breaks: int, seed: int, told: Told) -> bool:
    """The planted breaks; whether each was answered in time."""
    rng = np.random.default_rng(seed)
    own = policies(world.spec.retrain)["spec"]
    earliest, latest = world.days[0] + timedelta(days=21 + BEFORE[1]), world.days[-1] - timedelta(days=max(DELAYS) + AFTER)
    span = (latest - earliest).days
    if span < 1:
        print("The months are too few to plant a break in them.")
        return True
    print(f"Planted: from a day on the label of half of the carriers is inverted, {breaks} times")
    print(f"  {'break':<12}{'share of rows':>14}{'labels after':>14}{'trains':>14}{'cause':>13}{'days after the first wrong label':>34}")
    found: dict[int, list[int | None]] = {delay: [] for delay in DELAYS}
    for _ in range(breaks):
        day, before = earliest + timedelta(days=int(rng.integers(span))), int(rng.integers(*BEFORE))
        broken, share = planted(world, day, rng)
        for delay in DELAYS:
            known = day + timedelta(days=1 + delay)  # in this morning the first wrong labels are
            (history,) = play(replace(broken, delay=delay), [own], day - timedelta(days=before), known + timedelta(days=AFTER), 1, told)
            answer = next((d for d in history.days if d.day >= known and d.retrained in ("performance", "drift")), None)
            after = (answer.day - known).days if answer else None
            found[delay].append(after)
            said = f"{answer.day!s:>14}{answer.retrained:>13}{after:>34}" if answer else f"{'not at all':>14}"
            print(f"  {day!s:<12}{share * 100:>12.0f} %{delay:>14}{said}", flush=True)
    for delay, days in found.items():
        in_time = sum(after is not None and after <= REACTS for after in days)
        print(f"Labels {delay} days after the end of their day: {in_time} of {breaks} breaks answered within {REACTS} days")
    return all(after is not None and after <= REACTS for days in found.values() for after in days)


if __name__ == "__main__":
    main()
