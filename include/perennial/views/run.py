"""One run of a DAG of the platform, as its tab shows it: the decisive sentence, each stage, and the way from landed files into traffic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from pydantic import Field

from perennial import discovery
from perennial.specs import BudgetSpec
from perennial.store import Store
from perennial.views.run_explained import Explanation, explained
from perennial.views.run_story import RunRecord, TaskEnd, Word, sentence_of, verdict, word_of
from perennial.views.view import View

OF_MODELS = {
    "training": "training",
    "release": "release",
    "rollback": "rollback",
    "monitoring": "monitoring",
    "incidents": "questions about incidents",
    "recalibration": "recalibration",
    "scoring": "scoring in batches",
}
OF_DATASETS = {"ingestion": "taking the files in", "profiling": "profiling"}
STEPS = ("ingestion", "training", "release")  # what the runs from landed files to full traffic do, in order
MINUTE = 60


class Timed(View):
    """Something that takes time, and may have a budget."""

    seconds: float | None = Field(description="How long it took, its waits included, s; none until it has ended.")
    budget: float | None = Field(description="How long the model's spec allows it, s; none if it sets no limit.")

    @property
    def over(self) -> float | None:
        """How much longer it took than that, s; none if it did not."""
        if self.seconds is None or self.budget is None or self.seconds <= self.budget:
            return None
        return self.seconds - self.budget


class StageOfRun(Timed):
    """One task of a run."""

    task: str
    word: Word = Field(description="How it ended.")
    sentence: str = Field(description="What it said; empty if it said nothing.")
    links: dict[str, str] = Field(description="Pages that show more, by title.")
    started: datetime | None


class Leg(Timed):
    """One of the runs from landed files into traffic."""

    dag: str
    run: str
    what: str = Field(description="What it does, in words; of which model, where the way leads to several.")
    state: str
    started: datetime | None
    waited: float | None = Field(description="From the end of what started it to its own start, s; none if either is unknown.")


class Way(Timed):
    """From landed files, or else from the first run, to the end of the last release that gave a version all traffic."""

    landed: datetime | None = Field(description="When the files were seen; none if no files started it.")
    legs: tuple[Leg, ...] = Field(description="Oldest first; this run is among them.")
    is_done: bool = Field(description="Whether one of them gave a version all traffic.")


class RunView(View):
    """All that the tab of a run shows."""

    dag: str
    run: str
    state: str
    by: str = Field(description="Who started it; empty if nobody did.")
    what: str = Field(description="What the DAG does, in words; empty for one that is of no model or dataset.")
    model: str = Field(description="The model whose DAG it is; empty if it is of a dataset.")
    dataset: str = Field(description="The dataset whose DAG it is; empty if it is of a model.")
    word: Word = Field(description="How it ended, in a word.")
    sentence: str = Field(description="Its decisive sentence.")
    task: str = Field(description="The task that said it; empty if there is none.")
    stages: tuple[StageOfRun, ...] = Field(description="In the order in which they began.")
    way: Way | None = Field(description="None where the run is of no data's way into traffic.")
    explanation: Explanation = Field(description="Why it ran, on what, what ended it and what to do, what came of it.")


def subject(dag: str) -> tuple[str, str]:
    """Name and kind in the id of a DAG: `("churn", "release")` of `churn_release`; the kind is empty where it is none of the platform's."""
    name, _, kind = dag.rpartition("_")
    return (name, kind) if name and kind in {*OF_MODELS, *OF_DATASETS} else (dag, "")


def run_view(
    store: Store, run: RunRecord, ends: Sequence[TaskEnd], way: Sequence[RunRecord], promoted: Collection[tuple[str, str]]
) -> RunView:
    """What a run's tab shows.

    Args:
        store: has what its tasks name.
        run: the run.
        ends: its tasks.
        way: the runs that led to it, itself, and those that it led to, as far as they may be read.
        promoted: DAG and run of those that gave a version all traffic.
    """
    name, kind = subject(run.dag)
    model, dataset = name if kind in OF_MODELS else "", name if kind in OF_DATASETS else ""
    spec = discovery.models().get(model)
    budget = spec.budget if spec else BudgetSpec()
    said = verdict(ends)
    last = next((end for wanted in ("Done", "Skipped") for end in _of(ends, wanted)), None)
    word: Word = said.word if said else "Running" if run.state in ("running", "queued") else word_of(last) if last else "Done"
    sentence = said.sentence if said else sentence_of(last) if last else ""
    return RunView(
        dag=run.dag,
        run=run.run,
        state=run.state,
        by=run.by,
        what=OF_MODELS.get(kind) or OF_DATASETS.get(kind, ""),
        model=model,
        dataset=dataset,
        word=word,
        sentence=sentence,
        task=said.task if said else last.name if last else "",
        stages=tuple(_stage(end, budget) for end in ends),
        way=_way(way, promoted) if kind in STEPS else None,
        explanation=explained(store, run, ends, model=model, dataset=dataset),
    )


def _of(ends: Sequence[TaskEnd], word: str) -> list[TaskEnd]:
    """Tasks that ended so and said something: of those that are done the last one first, of those that had nothing to do the first."""
    said = [end for end in ends if word_of(end) == word and sentence_of(end)]
    return said[::-1] if word == "Done" else said


def _stage(end: TaskEnd, budget: BudgetSpec) -> StageOfRun:
    links = (end.result or {}).get("links")
    return StageOfRun(
        task=end.name,
        word=word_of(end),
        sentence=sentence_of(end),
        links={str(title): str(page) for title, page in links.items()} if isinstance(links, dict) and sentence_of(end) else {},
        started=end.started,
        seconds=end.seconds,
        budget=_allowed(budget, end.task),
    )


def _allowed(budget: BudgetSpec, stage: str) -> float | None:
    """Seconds that the spec allows a stage."""
    return next((minutes * MINUTE for name, minutes in budget.stages.items() if name == stage), None)


def _way(unsorted: Sequence[RunRecord], promoted: Collection[tuple[str, str]]) -> Way:
    runs = sorted(unsorted, key=lambda run: (run.started is None, run.started, run.dag))
    landed = runs[0].landed
    ended = {(run.dag, run.run): run.ended for run in runs}
    models = sorted({name for name, kind in (subject(run.dag) for run in runs) if kind in OF_MODELS})
    specs = {name: spec for name, spec in discovery.models().items() if name in models}
    the_one = specs[models[0]].budget if len(models) == 1 and specs else BudgetSpec()
    legs = []
    for run in runs:
        name, kind = subject(run.dag)
        budget = specs[name].budget if kind in OF_MODELS and name in specs else the_one
        before = landed if run is runs[0] else ended.get(run.after) if run.after else None
        what = {**OF_MODELS, **OF_DATASETS}.get(kind, run.dag)
        legs.append(
            Leg(
                dag=run.dag,
                run=run.run,
                what=f"{what} of {name}" if len(models) > 1 and kind in OF_MODELS else what,
                state=run.state,
                started=run.started,
                waited=_between(before, run.started),
                seconds=_between(run.started, run.ended),
                budget=_allowed(budget, {"ingestion": "ingest", "release": "release"}.get(kind, "")),
            )
        )
    ends = [ended[run.dag, run.run] for run in runs if (run.dag, run.run) in promoted]
    last = max((end for end in ends if end), default=None)
    return Way(
        landed=landed,
        legs=tuple(legs),
        is_done=bool(ends),
        seconds=_between(landed or runs[0].queued or runs[0].started, last),
        budget=the_one.whole * MINUTE if the_one.whole else None,
    )


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return max(0.0, (last - first).total_seconds()) if first and last else None
