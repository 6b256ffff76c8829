"""Results of stages: one JSON document for each run, the only thing that the orchestrator gets back.

>>> from perennial.results import ReleaseResult
>>> import json
>>> result = ReleaseResult(action="hold", sentence="Version 8 of churn stays at 10 %.", version=8, weight=10)
>>> json.loads(result.model_dump_json())["outcome"]
'done'
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from perennial.specs import Cause, Verdict

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def on_terminal(text: str) -> str:
    """Text that is safe to print: control characters in names of files and categories are escaped, such as `\\x1b`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class Result(BaseModel):
    """The fields of every stage's result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["done", "skipped", "refused", "fault"] = Field(
        default="done", description="done: go on; skipped: nothing to do; refused: a decision against; fault: it broke."
    )
    sentence: str = Field(description="What happened, for a person.")
    fault: str = Field(default="", description="Class of what ended it, where it did not end well: one of `errors.py`, or Python's own.")
    links: dict[str, str] = Field(default_factory=dict, description="Pages that show more, by title.")
    seconds: float = Field(default=0.0, description="Wall time of the stage, process start to result, s.")


class CollectResult(Result):
    """The result of `collect`: what landed from a dataset's source."""

    files: tuple[str, ...] = Field(default=(), description="Files that landed.")
    rows: int = Field(default=0, description="Their rows.")
    repeated: int = Field(default=0, description="Rows that were read again by the overlap and have not changed.")
    changed: int = Field(default=0, description="Rows that were read before and have changed since.")
    unreadable: int = Field(default=0, description="Records that cannot be read as rows.")
    again_at: float | None = Field(
        default=None, description="Until when the server asks to be left alone, seconds since the epoch; none if it does not."
    )


class IngestResult(Result):
    """The result of `ingest`: which files were taken, and which were refused."""

    snapshot: int | None = Field(default=None, description="Table version after the stage; none while the table does not exist.")
    appended: dict[str, int] = Field(default_factory=dict, description="Rows appended by this run, by file.")
    refused: dict[str, str] = Field(default_factory=dict, description="Sentence for each refused file.")
    refused_rows: dict[str, int] = Field(
        default_factory=dict, description="Rows that were refused of each file whose other rows were taken."
    )
    counts: dict[str, int] = Field(
        default_factory=dict, description="What became of the rows of the files of which not all were simply added."
    )
    duplicates: tuple[str, ...] = Field(default=(), description="Files whose content was already in.")
    waiting: tuple[str, ...] = Field(default=(), description="Files that are still being written.")


class ProfileResult(Result):
    """The result of `profile`: what was counted of a table."""

    version: int | None = Field(default=None, description="Table version that was counted.")
    rows: int = Field(default=0, description="Rows that were counted.")
    days: int = Field(default=0, description="Days that they belong to.")
    profile: str = Field(default="", description="Store key of the profile.")


class ValidateResult(Result):
    """The result of `validate`: whether training starts, on which snapshot and why."""

    snapshot: int | None = Field(default=None, description="Table version to train on.")
    labels: int | None = Field(
        default=None, description="Version of the label feed's table, or of the table of outcomes; none without a label feed."
    )
    predictions: int | None = Field(default=None, description="Version of the table of predictions, where it learns from outcomes.")
    joined: str | None = Field(
        default=None, description="Versions of the joined datasets' tables, such as `weather=3`; none without joins."
    )
    cause: Cause = Field(default="schedule", description="Why training starts.")
    request: str | None = Field(default=None, description="Key of the retraining request that this run answers.")
    rows: int = Field(default=0, description="Rows of the snapshot.")
    code: str = Field(default="", description="Identity of the model's files when the run began: later stages of the run refuse others.")


class TrainResult(Result):
    """The result of `train`: a candidate, as a sealed version folder."""

    digest: str = Field(default="", description="Content address of the version folder.")
    run_id: str = Field(default="", description="MLflow run.")
    epochs: int = Field(default=0, description="Epochs trained, the best one's number included.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Metrics on the validation split.")


class EvaluateResult(Result):
    """The result of `evaluate`: the candidate's metrics on the test split, next to the champion's."""

    digest: str = Field(default="", description="Content address of the candidate.")
    run_id: str = Field(default="", description="MLflow run.")
    evaluation: str = Field(default="", description="Store key of the evaluation.")
    champion: int | None = Field(default=None, description="Version it was compared with.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Metrics on the test split.")


class RegisterResult(Result):
    """The result of `register`: the gate's decision."""

    version: int | None = Field(default=None, description="Registered version.")
    run_id: str = Field(default="", description="MLflow run.")
    evidence: dict[str, object] = Field(default_factory=dict, description="What the gate saw.")


class RecalibrateResult(Result):
    """The result of `recalibrate`: whether the champion's scores were recalibrated, and why or why not."""

    version: int | None = Field(default=None, description="Registered version.")
    champion: int | None = Field(default=None, description="The version that was recalibrated.")
    digest: str = Field(default="", description="Content address of the recalibrated version.")
    run_id: str = Field(default="", description="MLflow run.")
    evidence: dict[str, object] = Field(default_factory=dict, description="What the gate saw.")


class ReleaseResult(Result):
    """The result of `release`, `rollback` and `experiment`: the state of what is under way."""

    action: Literal["started", "advance", "hold", "ask", "promoted", "rolled_back", "rejected", "reweighed", "ended", "nothing"] = Field(
        default="nothing", description="What was decided at this look."
    )
    before_start: bool = Field(
        default=False,
        description="Whether a person is asked before any traffic moves: the candidate cannot read all that callers send, or a model "
        "that reads its scores would answer otherwise.",
    )
    verdict: str = Field(default="", description="Of an experiment that has ended: what it showed.")
    version: int | None = Field(default=None, description="The candidate, or the version that an experiment tries.")
    champion: int | None = Field(default=None, description="The version it is compared with.")
    weight: int = Field(default=0, description="Percent of traffic, or of an experiment's units, that it now has.")
    evidence: dict[str, object] = Field(default_factory=dict, description="Counts and test values behind the decision.")
    look_again_seconds: float = Field(default=0.0, description="When to look again, if action is started, advance or hold.")


class ScoreResult(Result):
    """The result of `score`: which rows were scored by which version, and which were held back."""

    plan: str = Field(default="", description="Name of what is to be scored, for the tasks that score its parts and put them together.")
    version: int | None = Field(default=None, description="Version that scored.")
    digest: str = Field(default="", description="Content address of its folder.")
    source: str = Field(default="", description="Where the rows are from: a table, a file or a query, as the table of scores names it.")
    snapshot: int | None = Field(default=None, description="Table version that the rows are from; none of a file or a query.")
    days: int = Field(default=0, description="Days of event time that the rows belong to.")
    rows: int = Field(default=0, description="Rows that were scored.")
    changed: int = Field(default=0, description="Those of them that had no score of this version before, or another one.")
    held_back: int = Field(default=0, description="Rows that a request would refuse: they have no score.")
    difference: float = Field(
        default=0.0, description="Largest difference of a score from that of the same row scored alone, of the rows that were tried."
    )
    table: str = Field(default="", description="Name of the table of scores.")


class CloseResult(Result):
    """The result of `close`: which trainings were recorded as killed."""

    runs: tuple[str, ...] = Field(default=(), description="Their runs in the registry.")


class IncidentResult(Result):
    """The result of `incident`: the recorded verdict."""

    id: str = Field(default="", description="The incident.")
    verdict: Verdict | None = Field(default=None, description="What a person made of it.")


class MonitorResult(Result):
    """The result of `monitor`: the findings of a window of live traffic."""

    report: str = Field(default="", description="Store key of the window's report.")
    requests: int = Field(default=0, description="Predictions in the window.")
    labelled: int = Field(default=0, description="Predictions whose outcome is known.")
    damaged: int = Field(default=0, description="Logged lines that could not be read, now or before, and are set aside.")
    drifted: tuple[str, ...] = Field(default=(), description="Columns that drifted so far that it alarms.")
    retraining: str | None = Field(default=None, description="Key of the retraining request that this window made, if it has not ended.")
    cause: Cause | None = Field(default=None, description="Why that retraining was requested.")
    incidents: tuple[str, ...] = Field(default=(), description="Incidents that this look opened or resolved.")
