"""A store with everything that the console can show, written by what writes it: models in each state, and a stranger's words in all places.

Of each model that has a history the same is told: versions, releases of which one runs, windows with drift, incidents, refused batches.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from perennial import discovery
from perennial.data.receipts import Receipt, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.incidents.incidents import Incidents
from perennial.lineage.experiments import Look, Plan, keep_look
from perennial.lineage.progress import Progress
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import verdict_key
from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.page import page as window_page
from perennial.monitoring.report.timeline import note_windows
from perennial.specs import BudgetSpec, DatasetSpec, ModelSpec, ReleaseSpec, SignalSpec
from perennial.stages._experiment_plan import Wish
from perennial.stages.experiment import Experiment
from perennial.store import FolderStore
from perennial.testing import World, small_model
from perennial.training import report as evaluation_report

from ...unit.perennial.monitoring.test_report import COLUMN, KNOWN, REPORT, hostile_report
from ...unit.perennial.stages.test_evaluate_page import evaluated
from ...unit.perennial.stages.test_evaluate_page import model as evaluation_model

HOSTILE, CALM, ENDED, EMPTY, BROKEN = "churn", "delays", "prices", "forecasts", "prices_old"
BEGIN = datetime(2026, 3, 2, tzinfo=timezone.utc)
WINDOWS = 8
RUN = "scheduled__1"
BUDGET = BudgetSpec(whole=0.1, stages={"train": 1, "release": 0.1})  # minutes; the whole and the release take longer
RELEASE = ReleaseSpec(steps=(5, 25, 50, 100), min_seconds=0, min_requests=100)


def fill(folder: Path, texts: Sequence[str]) -> FolderStore:
    """Fill `folder/store`, and write `folder/specs.json` for `serve.py`.

    Args:
        texts: what a stranger writes wherever a person or a file can put words of theirs; of the model HOSTILE alone.
    """
    store = FolderStore(str(folder / "store"))
    said = " | ".join(texts)
    specs = {
        HOSTILE: _spec(HOSTILE, f"Churn {said}", f"crm {said}"),
        CALM: _spec(CALM, "Late departures", "traffic desk"),
        ENDED: _spec(ENDED, "Prices", "sales"),
        EMPTY: _spec(EMPTY, "Forecasts", ""),
    }
    datasets = {name: discovery.dataset("flights").model_copy(update={"name": spec.dataset}) for name, spec in specs.items()}
    _tell(World(folder / "made1", spec=specs[HOSTILE], store=store), lambda words: f"{words} {said}", texts, datasets[HOSTILE])
    _tell(World(folder / "made2", spec=specs[CALM], store=store), str, ["AA", "a-column"], datasets[CALM])
    _tell(World(folder / "made3", spec=specs[ENDED], store=store), str, ["AA"], datasets[ENDED], ends=True)
    known = {
        "models": {name: spec.model_dump(mode="json") for name, spec in specs.items()},
        "datasets": {spec.dataset: datasets[name].model_dump(mode="json") for name, spec in specs.items()},
        "broken": [{"kind": "model", "name": BROKEN, "why": said, "place": f"perennial_models/{BROKEN}/spec.py, line 3"}],
        "runs": [*_runs(HOSTILE, said), *_runs(CALM, "")],
    }
    (folder / "specs.json").write_text(json.dumps(known))
    return store


def _runs(name: str, said: str) -> list[dict[str, Any]]:
    """The way from landed files into traffic, each run started by the one before it, for `serve.py`: with words of a stranger it ends in
    refusals, else in a promotion."""
    end = {"outcome": "refused"} if said else {"outcome": "done", "action": "promoted"}
    tasks = (
        (f"{name}_rows_ingestion", "ingest", {"outcome": "done"}),
        (f"{name}_training", "register", end),
        (f"{name}_release", "move_traffic", end),
    )
    more = {"sentence": f"That was found. {said}", "links": {f"A page {said}": "http://127.0.0.1:1/x"}, "seconds": 1.0}
    return [{"dag": dag, "run": RUN, "by": said, "task": task, "result": {**result, **more}} for dag, task, result in tasks]


def _spec(name: str, title: str, owner: str) -> ModelSpec:
    changes = {"title": title, "owner": owner, "dataset": f"{name}_rows", "release": RELEASE, "budget": BUDGET}
    return small_model(name).model_copy(update=changes)


def _tell(world: World, say: Callable[[str], str], texts: Sequence[str], dataset: DatasetSpec, *, ends: bool = False) -> None:
    """All that happens to a model.

    Args:
        world: of the model.
        say: what becomes of words of a person or a file.
        texts: each is a column, a category, a file's name.
        dataset: of the model.
        ends: whether its release has ended.
    """
    store, name = world.store, world.spec.name
    _batches(store, dataset.name, say, texts)
    for seed in (1, 2):
        world.candidate(world.published(seed))
        note_registration(store, name, seed, world.published(seed), {"cause": say("drift"), "gate": say("It is better.")})
        _evaluation(store, name, world.published(seed), texts)
        if seed == 2:
            _experiment(world, say, champion=1, tried=2)
        world.look(actor=say("jo"))
        if seed == 1 or ends:
            world.until_end(looks=20)
            _turned_down(world, say)
        else:
            for _ in range(3):
                world.backend.serve(400, errors={2: 0.004})
                world.look()
    if ends:
        _experiment(world, say, champion=2, tried=1, is_over=False)
    _training(store, name)
    _refused_candidate(world, say)
    _windows(store, world.spec, say, texts)
    _incidents(store, name, say)


def _experiment(world: World, say: Callable[[str], str], *, champion: int, tried: int, is_over: bool = True) -> None:
    """An experiment with a few looks, of which a person makes an end if it is over."""
    metric = SignalSpec(name="metric", source="outcomes", column="error", low=0, high=1)
    plan = Plan(champion=champion, tried=tried, metric=metric, unit=say("user_id"), least=0.05)
    release = world.release()
    experiment = Experiment(release.spec, release.settings, release.store, release.backend, release.registry)
    experiment.look_at(Wish("start", plan, actor=say("jo")))
    began = next(entry for entry in world.ledger.newest_first() if entry.kind == "experiment")
    for day in range(1, 15):
        units, wide = 90 * day, 0.22 / day**0.5
        difference = -0.02 - 0.03 / day
        look = Look(
            time=began.time + timedelta(days=day), share=0.5, sentence=say(f"Day {day} has passed."), champion_units=units,
            tried_units=units + 7, champion_mean=0.31, tried_mean=0.31 + difference, difference=difference, low=difference - wide,
            high=difference + wide, planned=2_400, arrived=((0.5, units + 9, 2 * units + 11),), changed=3, crossed=4, without_unit=5,
        )  # fmt: skip
        keep_look(world.store, world.spec.name, began.seq, plan, look)
    if is_over:
        experiment.look_at(Wish("stop", reason=say("Enough was seen."), actor=say("jo")))


def _training(store: FolderStore, name: str) -> None:
    """One that runs, but for ENDED: nothing was heard of that for long."""
    heard = BEGIN if name == ENDED else datetime.now(timezone.utc) + timedelta(hours=1)
    note = Progress(began=BEGIN, heard=heard, epoch=3, limit=20, seconds=2.5, loss=0.41)
    store.write(f"views/training/{name}.json", note.model_dump_json().encode())


def _turned_down(world: World, say: Callable[[str], str]) -> None:
    """Somebody says no to a version once more."""
    last = world.ledger.last()
    assert last
    world.ledger.append(
        "rejected", version=last.version, champion=last.champion, weights=last.weights, versions=last.versions, good=last.good,
        shadow=last.shadow, reason=say("It felt wrong."), actor=say("jo"), after_seq=last.seq,
    )  # fmt: skip


def _refused_candidate(world: World, say: Callable[[str], str]) -> None:
    digest = world.published(3)
    verdict = {"passed": False, "sentence": say("Its loss is too large.")}
    world.store.write(verdict_key(world.spec.name, digest), json.dumps(verdict).encode())


def _evaluation(store: FolderStore, name: str, digest: str, texts: Sequence[str]) -> None:
    spec = evaluation_model("binary").model_copy(update={"name": name})
    document = copy.deepcopy(_measured())
    slices = {"city": {text: {"rows": 3, "log_loss": 0.5} for text in texts}}
    for part in document["parts"].values():
        for who in ("candidate", "champion"):
            part[who] |= {"slices": slices}
    store.write(f"reports/{name}/{digest}/evaluation.json", json.dumps(document).encode())
    store.write(f"reports/{name}/{digest}/evaluation.html", evaluation_report.page(spec, document).encode())


@functools.cache
def _measured() -> dict[str, Any]:
    """One evaluation: its intervals take seconds."""
    return evaluated(evaluation_model("binary"))


def _windows(store: FolderStore, spec: ModelSpec, say: Callable[[str], str], texts: Sequence[str]) -> None:
    for number in range(WINDOWS):
        first, last = (BEGIN + timedelta(days=3 * day) for day in (number, number + 1))
        finding = {**COLUMN, "alarms": number > 5, "effect": 0.05 * number}
        named: list[dict[str, Any]] = [
            {**finding, "column": text, "sentence": say("It moved."), "bins": [{"label": text, "reference": 0.2, "window": 0.8}]}
            for text in texts
        ]
        drifted = [*texts, "temp"] if number > 4 else []
        realised = 0.5 + 0.02 * number
        document = REPORT if say is str else hostile_report(say(""))
        document = {
            **document,
            "model": spec.name,
            "title": spec.title,
            "name": f"{first:%Y-%m-%d}_{last:%Y-%m-%d}",
            "first": first.isoformat(),
            "last": last.isoformat(),
            "version": 1 if number < 5 else 2,
            "sentence": say("Drift: temp."),
            "drift": {**document["drift"], "columns": [finding, *named], "drifted": drifted, "alarming": drifted, "confirmed": drifted},
            "performance": {**KNOWN, "realised": realised, "low": realised - 0.05, "high": realised + 0.05, "expected": 0.5},
        }
        report = WindowReport.model_validate(document)
        folder = f"reports/{spec.name}/windows/{report.name}"
        store.write(f"{folder}/report.json", report.model_dump_json().encode())
        store.write(f"{folder}/index.html", window_page(report).encode())
    note_windows(store, spec.name)


def _incidents(store: FolderStore, name: str, say: Callable[[str], str]) -> None:
    incidents = Incidents(store, name)
    incidents.open("drift", say("temp"), "warning", say("`temp` moved."), {say("figure"): 3.0, "page": "http://127.0.0.1:1/x"})
    incidents.open("data quality", "unit of temp", "critical", say("`temp` is in °C."))
    known = incidents.open("service", "errors", "critical", say("It errs."))
    assert known
    incidents.verdict(known, "real", say("jo"), say("A switch was down."))
    incidents.resolve(known, say("It answers again."))


def _batches(store: FolderStore, dataset: str, say: Callable[[str], str], texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        facts: dict[str, Any] = {
            "id": f"{number:064x}", "name": f"{text}.csv".replace("/", "\u2044"), "size": 1000, "digest": f"{number:064x}", "rows": 100,
            "time": BEGIN + timedelta(days=number % 20),
        }  # fmt: skip
        if number % 4 == 1:
            facts |= {"outcome": "refused", "sentence": say("`temp` is null."), "counts": RowCounts(refused=100)}
        else:
            facts |= {"outcome": "appended", "sentence": say("100 rows."), "version": number, "counts": RowCounts(added=100)}
        write_receipt(store, dataset, Receipt(**facts))
