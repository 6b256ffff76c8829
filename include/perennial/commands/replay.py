"""`perennial replay --model NAME`: what other retraining policies would have done with the history of the model's dataset.

The learner of a replay is gradient-boosted trees on the model's own inputs (`training/boosted.py`), a stand-in for the model: they
are fitted in a second, so that a training of every night can be afforded. Each training is fitted once, whatever policy wants it,
and kept below `<home>/replay`, so that a replay that was interrupted goes on where it stopped. That folder may be deleted.

    $ perennial replay --model flight_delays
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from perennial import discovery
from perennial.data.snapshots import Snapshot, empty_dataset, label_of, model_snapshot
from perennial.engine.in_process import fold
from perennial.errors import EXIT_DONE, Fault, TrainingRefused, UnknownName
from perennial.monitoring import drift, permutation, replay
from perennial.monitoring.figures import DayPerformance
from perennial.monitoring.performance import LOSS, event_days, is_labelled, losses
from perennial.monitoring.replay import History, Policy
from perennial.monitoring.replay_picture import draw
from perennial.monitoring.windows import Window
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import ByDay, Profile
from perennial.profiles.reference import watched
from perennial.profiles.scan import Scan
from perennial.profiles.store import ProfileStore
from perennial.registry.promotion import Losses, improves
from perennial.settings import Settings
from perennial.specs import ModelSpec, RetrainSpec
from perennial.store import Store
from perennial.training.boosted import inputs_of
from perennial.training.evaluation import per_row_loss
from perennial.training.recalibration import Recalibration, fit_recalibration, split_days, weight_for
from perennial.training.rehearsal import HORIZON, Labelled, Learner, Rehearsal, lay_out

LEARNER = "The learner is gradient-boosted trees on the model's inputs, which stand in for the model."
RELEASED = "A training answers from the morning on in which it is made, as if no gate and no canary stood before it."
MOST_ROWS_OF_A_DAY = 4000  # that are trained on and judged; more are thinned evenly
FIRST_DAYS = 31  # before the first day that is replayed, unless that is more than a third of the history
AT_A_TIME = 30  # days in memory while the history is read
KEPT_DAYS = 14  # what was not used for so long is deleted from this machine

_Given = TypeVar("_Given")
_Found = TypeVar("_Found")
_Shared = TypeVar("_Shared")


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    first: date | None,
    last: date | None,
    policies: str | None,
    delay_days: float | None,
    jobs: int | None,
) -> int:
    """Replay, print the policies side by side, write figures and picture below `reports/<model>/replays`.

    Raises:
        UnknownName: there is no such model or policy, or no history, or the days are not in it.
        TrainingRefused: the history is too short, or has no labels.
    """
    spec = discovery.model(model)
    dataset = discovery.dataset_of(spec)
    if spec.task == "anomaly":
        raise TrainingRefused(f"{model} cannot be replayed: a replay judges days by their labels, and an anomaly model learns without.")
    if spec.split.by != "time" or not dataset.event_time:
        why = f"{dataset.name} has no event time" if not dataset.event_time else f"its rows are split by {spec.split.by}, not by time"
        raise TrainingRefused(f"{model} cannot be replayed: a replay trains and judges day by day, and {why}.")
    chosen = policies_named(policies, spec.retrain)
    snapshot = model_snapshot(store, spec)
    if snapshot is None:
        empty = empty_dataset(store, spec)
        raise UnknownName(f"The dataset {empty} has no rows yet, so there is nothing to replay: land and ingest its history first.")
    delay = snapshot.usual_delay_days() if delay_days is None else ceil(delay_days)
    began = time.monotonic()
    progress = Told(sys.stderr.isatty())
    world = prepare(snapshot, spec, discovery.model_part(model, "features"), delay, settings.home / "replay", progress)
    begin, end = bounds(world, first, last)
    try:
        histories = play(world, chosen, begin, end, jobs or os.cpu_count() or 1, progress)
    except KeyboardInterrupt:
        progress.say("Stopped. What was fitted is kept, the same command goes on from there.")
        raise
    lines = replay.summaries(histories, spec.retrain.cost)
    folder = f"reports/{model}/replays/{begin}_{end}_delay_{delay}"
    facts = {
        "dataset": dataset.name,
        "snapshot": snapshot.version,
        "snapshot_digest": snapshot.digest,
        "first": begin.isoformat(),
        "last": end.isoformat(),
        "delay_days": delay,
        "loss": LOSS[spec.task],
        "cost_of_a_retraining": spec.retrain.cost,
        "learner": LEARNER,
        "released": RELEASED,
    }
    document = replay.document(spec, histories, lines, facts)
    store.write(f"{folder}/replay.json", json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode())
    store.write(f"{folder}/replay.svg", draw(histories, spec.title, LOSS[spec.task]))
    print(
        f"{spec.title}: {len(histories[0].days)} days of {dataset.name}, {begin} to {end}, replayed in {time.monotonic() - began:.0f} s. "
        f"The labels of a day are known {delay} day{'' if delay == 1 else 's'} after its end. {LEARNER} {RELEASED}"
    )
    print(replay.table(lines, LOSS[spec.task], spec.retrain.cost))
    print("* the spec's own policy. closes: share of the gap between never and every night that a policy closes.")
    print(f"Picture: {settings.report_url(f'{folder}/replay.svg')}")
    print(f"Figures: {folder}/replay.json in the store")
    return EXIT_DONE


def policies_named(names: str | None, spec: RetrainSpec) -> list[Policy]:
    """The policies of that list, all if absent; always with `never` and `nightly`, by which the others are measured, and the spec's own.

    Raises UnknownName.
    """
    known = replay.policies(spec)
    wanted = list(known) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UnknownName(f"There is no policy {name!r}. {f'Did you mean {near[0]}? ' if near else ''}Known: {', '.join(known)}.")
    return [policy for name, policy in known.items() if name in {"never", "nightly", "spec", *wanted}]


@dataclass
class HistoryWorld:
    """A dataset's history as policies see it (`monitoring.replay.World`)."""

    spec: ModelSpec
    delay: int  # days from the end of a day until its labels are known
    counts: dict[date, tuple[int, int]]  # rows and labelled rows of each day
    profile: Profile  # of the watched inputs, by day, all rows
    rehearsal: Rehearsal
    drift_key: str  # identity of what a drift finding depends on besides the days

    @property
    def days(self) -> Sequence[date]:
        """Days that have rows, in order."""
        return self.rehearsal.days

    def labels_to(self, morning: date) -> date | None:
        """Newest day whose labels are known in that morning."""
        newest = morning - timedelta(days=1 + self.delay)
        return max((day for day, (_, labelled) in self.counts.items() if labelled and day <= newest), default=None)

    def labels_before(self, morning: date) -> int:
        """Labelled rows that are known in that morning."""
        newest = self.labels_to(morning)
        return sum(labelled for day, (_, labelled) in self.counts.items() if newest is not None and day <= newest)

    def performance(self, training: date, recalibration: object | None, day: date) -> DayPerformance:
        """The predictions of a training for one day, recalibrated if asked."""
        rows, labelled = self.counts[day]
        if not labelled:
            return DayPerformance(day, rows, 0, None, None)
        scores = self.rehearsal.scores(training, day)
        if isinstance(recalibration, Recalibration):
            scores = recalibration.apply(scores)
        realised, expected = losses(self.spec.task, scores, self.rehearsal.labels(day))
        return DayPerformance(day, rows, labelled, float(realised.mean()), None if expected is None else float(expected.mean()))

    def recalibrated(self, training: date, current: object | None, morning: date, spec: RetrainSpec) -> object | None:
        """The recalibration that replaces the current one in that morning: fitted and judged as the recalibration stage does it."""
        newest = self.labels_to(morning)
        known = [day for day in self.days if newest is not None and training < day <= newest and is_labelled(*self.counts[day])]
        fitted, judged = split_days(known, spec.recalibrate_days, spec.recalibrate_judged_days)
        if sum(self.counts[day][1] for day in fitted) < max(1, spec.recalibrate_min_labels):
            return None
        task = self.spec.task
        assert task != "anomaly"  # no replay begins without labels
        scores, labels = self._rows(training, fitted)
        weight = weight_for(spec.recalibrate_weight, len(fitted), spec.recalibrate_days)
        recalibration = fit_recalibration(task, scores, labels, weight)
        scores, labels = self._rows(training, judged)
        before = current.apply(scores) if isinstance(current, Recalibration) else scores
        days = np.concatenate([np.full(len(self.rehearsal.labels(day)), day, dtype="datetime64[D]") for day in judged])
        pair = Losses(per_row_loss(task, labels, recalibration.apply(scores)), per_row_loss(task, labels, before), days)
        return recalibration if improves(pair, spec.recalibrate_alpha, self.spec.gate.resamples).passed else None

    def _rows(self, training: date, days: Sequence[date]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The predictions of a training for some days, and their labels."""
        return np.concatenate([self.rehearsal.scores(training, day) for day in days]), np.concatenate(
            [self.rehearsal.labels(day) for day in days]
        )

    def drifted(self, morning: date, window: Window) -> tuple[str, ...]:
        """The columns that drifted in a window, against the newest reference days known to a training of that morning."""
        kept = self.rehearsal.folder / f"drift-{self.drift_key}-{morning}-{window.name}.json"
        if kept.exists():
            return tuple(json.loads(kept.read_text()))
        known = [day for day in self.days if day < morning][-self.spec.monitoring.reference_days :]
        past = self.profile.select(known[0], known[-1])
        current = self.profile.select(window.first.date(), (window.last - timedelta(microseconds=1)).date())
        alarming = drift.find_drift(past, current, self.spec.monitoring, window.seed, resamples=0).alarming
        unfinished = kept.with_name(f".{kept.name}.{os.getpid()}")
        unfinished.write_text(json.dumps(alarming))
        unfinished.replace(kept)
        return alarming


def prepare(snapshot: Snapshot, spec: ModelSpec, features: ModuleType | Any, delay: int, folder: Path, progress: Told) -> HistoryWorld:
    """Read all rows of a snapshot, some days at a time, and lay them out for trainings.

    Args:
        snapshot: the history.
        spec: of the model.
        features: gives the label of each row (`label`).
        delay: days from the end of a day until its labels are known.
        folder: where trainings are kept.
        progress: hears how far it is.

    Raises:
        TrainingRefused: no row has a known label.
    """
    dataset = snapshot.dataset
    columns, _ = watched(spec, dataset)
    times = snapshot.read([dataset.time_column])[dataset.time_column]
    days = np.unique(event_days(times.drop_null())).astype(object).tolist()
    kept_layout = ProfileStore(snapshot.store, dataset.name).layout()
    counting = None if kept_layout is None else ByDay(Profile(kept_layout, {}).only(columns).layout, dataset.time_column)
    counted: Scan | None = None
    counts: dict[date, tuple[int, int]] = {}
    inputs: dict[str, list[NDArray[Any]]] = {name: [] for name in spec.inputs}
    labels: list[NDArray[np.float64]] = []
    for piece in progress.each(_pieces(days, AT_A_TIME), "Days read", AT_A_TIME, len(days)):
        begin, end = datetime.combine(piece[0], datetime.min.time()), datetime.combine(piece[-1] + timedelta(days=1), datetime.min.time())
        moment = pc.field(dataset.time_column)
        table = snapshot.read([dataset.time_column, *columns], (moment >= begin) & (moment < end))
        counting = counting or ByDay(
            fit_layout(table, columns, types={column.name: column.type for column in dataset.columns}), dataset.time_column
        )
        of_these = fold(counting, table)
        counted = of_these if counted is None else counting.merge(counted, of_these)
        rows = snapshot.rows(None, begin, end)
        given = {name: rows[name].to_numpy() for name in rows.columns}
        label = label_of(rows, features, spec)
        starts = np.searchsorted(given[dataset.time_column].astype("datetime64[D]"), np.array([*piece, end.date()], dtype="datetime64[D]"))
        for place, day in enumerate(piece):
            known = starts[place] + np.flatnonzero(np.isfinite(label[starts[place] : starts[place + 1]]))
            counts[day] = int(starts[place + 1] - starts[place]), len(known)
            kept = known[np.linspace(0, len(known) - 1, min(len(known), MOST_ROWS_OF_A_DAY)).astype(np.int64)]
            labels.append(label[kept])
            for name in spec.inputs:
                inputs[name].append(given[name][kept])
    if not any(len(label) for label in labels):
        raise TrainingRefused(
            f"The dataset {dataset.name} has no row with a known {spec.label}, so there is nothing to replay: "
            "ingest batches that have outcomes."
        )
    types = {name: dataset.column(name).type for name in spec.inputs}
    labelled = Labelled(
        tuple(days),
        np.cumsum([0, *(len(label) for label in labels)]),
        inputs_of({name: np.concatenate(pieces) for name, pieces in inputs.items()}, types),
        np.concatenate(labels),
    )
    assert spec.task != "anomaly", "it is not replayed"
    learner = Learner(spec.task, len(spec.classes), spec.split.train_days, spec.training.seed)
    _forget(folder)
    rehearsal = lay_out(labelled, learner, folder, spec.name)
    assert counting is not None
    assert counted is not None
    whole = counting.finish(counted)
    return HistoryWorld(spec, delay, counts, whole, rehearsal, _drift_key(spec, whole))


def _pieces(days: list[date], size: int) -> list[list[date]]:
    return [days[i : i + size] for i in range(0, len(days), size)]


def _drift_key(spec: ModelSpec, of: Profile) -> str:
    parts = [spec.monitoring.model_dump_json(), of.layout.digest, *(inspect.getsource(module) for module in (drift, permutation))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _forget(folder: Path) -> None:
    """Delete the trainings of histories that nobody has replayed for a while."""
    oldest = time.time() - KEPT_DAYS * 86400
    for kept in folder.iterdir() if folder.is_dir() else ():
        if max((file.stat().st_atime for file in kept.iterdir()), default=kept.stat().st_mtime) < oldest:
            shutil.rmtree(kept)


def bounds(world: HistoryWorld, first: date | None, last: date | None) -> tuple[date, date]:
    """First and last day of a replay, as given or as the history allows.

    Raises:
        UnknownName: the days run backwards or are not in the history.
        TrainingRefused: too few labels are known before the first day, or none from it on.
    """
    days, spec = world.days, world.spec
    whole = f"The history of {spec.dataset} has the days {days[0]} to {days[-1]}"
    for name, given in (("--from", first), ("--to", last)):
        if given is not None and not days[0] <= given <= days[-1]:
            raise UnknownName(f"{whole}, and {name} is {given}: choose a day among them.")
    if first is not None and last is not None and first > last:
        raise UnknownName(f"The days {first} to {last} run backwards: give the earlier one to --from.")
    wanted = spec.split.min_train_rows
    if first is None:
        early = days[min(FIRST_DAYS, len(days) // 3)]
        first = next((day for day in days if day >= early and world.labels_before(day) >= wanted), None)
    known = world.labels_before(first or days[-1])
    if first is None or not known or known < wanted:
        raise TrainingRefused(
            f"{whole}, and in the morning of {first or days[-1]} {known} labelled rows of it are known, "
            f"{world.delay} days after the end of their day; a training of {spec.name} needs {wanted}: "
            "give a later --from, or ingest more of the history."
        )
    end = last or max((day for day, (_, labelled) in world.counts.items() if labelled))
    replayed = [day for day in days if first <= day <= end]
    if len(replayed) < 2 or not any(world.counts[day][1] for day in replayed):
        raise TrainingRefused(
            f"{whole}, of which {len(replayed)} from {first} on can be replayed: at least two days with labels are needed. "
            "Give other days, or ingest more of the history."
        )
    return first, end


def play(world: HistoryWorld, chosen: Sequence[Policy], first: date, last: date, jobs: int, progress: Told) -> list[History]:
    """Fit what the policies can want, then replay each.

    Args:
        world: the history.
        chosen: the policies.
        first: first day.
        last: last day.
        jobs: processes at most.
        progress: hears how far it is.

    Raises:
        Fault: a process died.
    """
    mornings = [day for day in world.days if first <= day <= last]
    every_night = any(policy.name == "nightly" for policy in chosen)
    trainings = sorted({t for day in mornings[: None if every_night else 1] if (t := world.labels_to(day)) is not None})
    missing = [(t, None if t == trainings[0] else HORIZON) for t in trainings if not world.rehearsal.is_fitted(t)]
    if len(missing) < len(trainings):
        progress.say(f"{len(trainings) - len(missing)} of {len(trainings)} trainings are there already.")
    _parallel(Work(_fit, world.rehearsal), missing, jobs, progress, "Trainings")
    return _parallel(Work(_simulate, (world, first, last)), list(chosen), jobs, progress, "Policies")


def _fit(rehearsal: Rehearsal, wanted: tuple[date, int | None]) -> None:
    rehearsal.fit(*wanted)


def _simulate(given: tuple[HistoryWorld, date, date], policy: Policy) -> History:
    world, first, last = given
    return replay.simulate(policy, world, world.spec.monitoring, first, last)


@dataclass(frozen=True)
class Work(Generic[_Shared, _Given, _Found]):
    """One kind of work on many items: the function, and the data that all calls share."""

    do: Callable[[_Shared, _Given], _Found]
    shared: _Shared


_WORK: list[Work[Any, Any, Any]] = []  # of a process of the pool: what it was started for


def _begin(work: Work[Any, Any, Any]) -> None:
    threadpool_limits(1)  # the processes are as many as the cores
    _WORK[:] = [work]


def _one(given: Any) -> Any:
    return _WORK[0].do(_WORK[0].shared, given)


def _parallel(work: Work[_Shared, _Given, _Found], items: Sequence[_Given], jobs: int, progress: Told, what: str) -> list[_Found]:
    """Do some work on every item, in at most so many processes; results in the order of the items."""
    if jobs == 1 or len(items) < 2:
        with threadpool_limits(1):
            return [work.do(work.shared, item) for item in progress.each(items, what)]
    results: dict[int, _Found] = {}
    # Spawned, not forked: the threads of Arrow, DuckDB and the trees do not survive a fork.
    pool = ProcessPoolExecutor(min(jobs, len(items)), multiprocessing.get_context("spawn"), _begin, (work,))
    try:
        waiting = {pool.submit(_one, item): place for place, item in enumerate(items)}
        for done in progress.each(as_completed(waiting), what, total=len(items)):
            results[waiting[done]] = done.result()
    except BrokenProcessPool:
        raise Fault(
            "A process of the replay was killed, most likely because memory ran out: give --jobs a smaller number. "
            "What was fitted is kept, the same command goes on from there."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return [results[place] for place in range(len(items))]


@dataclass(frozen=True)
class Told:
    """Shows progress: a bar on a terminal, else a line for each tenth."""

    terminal: bool

    def say(self, sentence: str) -> None:
        """One line."""
        print(sentence, file=sys.stderr, flush=True)

    def each(self, items: Iterable[_Given], what: str, step: int = 1, total: int | None = None) -> Iterable[_Given]:
        """The items as they come, each counting as `step` of `total`."""
        wanted = total if total is not None else len(items) if isinstance(items, Sequence) else 0
        if self.terminal:
            with tqdm(total=wanted, desc=what, unit="") as bar:
                for item in items:
                    yield item
                    bar.update(min(step, wanted - bar.n))
            return
        done, tenth, began = 0, 0, time.monotonic()
        for item in items:
            yield item
            done = min(done + step, wanted)
            if done * 10 // max(wanted, 1) > tenth:
                tenth = done * 10 // wanted
                self.say(f"{what}: {done} of {wanted}, {time.monotonic() - began:.0f} s")
