"""The arguments of every stage and command: one table, from which the command line, the tasks' argument lists and
the documentation are made. Light: DAG files import this.

    $ perennial release --model flight_delays --plan
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from perennial.specs import VERDICTS


@dataclass(frozen=True)
class Option:
    """One argument. A name without dashes is positional."""

    name: str
    help: str
    type: Callable[[str], Any] = str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] | None = None

    @property
    def argument(self) -> str:
        """Name of the keyword argument that receives it (`--from` and `--to` are `first` and `last`)."""
        name = self.name.lstrip("-").replace("-", "_")
        return {"from": "first", "to": "last"}.get(name, name)

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Declare this argument to argparse."""
        if self.type is bool:
            parser.add_argument(self.name, dest=self.argument, action="store_true", help=self.help)
        elif self.name.startswith("-"):
            parser.add_argument(
                self.name,
                dest=self.argument,
                type=self.type,
                required=self.required,
                default=self.default,
                choices=self.choices,
                help=self.help,
            )
        else:
            parser.add_argument(
                self.name, type=self.type, choices=self.choices, help=self.help, nargs=None if self.required else "?", default=self.default
            )


def moment(text: str) -> datetime:
    """An ISO 8601 date or time; UTC where no zone is given."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write it like 2013-02-01T06:00") from None
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)


def day(text: str) -> date:
    """A date such as 2013-01-31."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: write it like 2013-01-31") from None


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give a whole number from 1 on")
    return int(text)


def share(text: str) -> tuple[int, int]:
    """One of several parts, such as 2/4."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no part: write the second of four like 2/4")
    return int(number), int(parts)


def rate(text: str) -> float:
    """A number from 0 on."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give a number from 0 on")
    return number


MODEL = Option("--model", "name of the model", required=True)
DATASET = Option("--dataset", "name of the dataset", required=True)
CODE = Option("--code", "identity of the model's files when the run began, as validate gives it; others are refused", default="")
CAUSES = ("data", "drift", "schedule", "manual", "performance", "code")  # of a training; a recalibration is none

STAGES: dict[str, tuple[str, tuple[Option, ...]]] = {
    "ingest": (
        "take in the files that have landed: append good batches, quarantine bad ones",
        (
            DATASET,
            Option("--run", "name of the orchestrator's run, for the receipts", default=""),
            Option("--retry", "an earlier try of the run may have died before it told its result: tell that too", bool),
        ),
    ),
    "profile": (
        "count a table's rows by day, whole or in parts that are added",
        (
            Option("--table", "name of the table; a dataset's is named after it", default=""),
            Option("--dataset", "name of the dataset whose table it is", default=""),
            Option("--version", "table version; the newest if absent", int),
            Option("--day", "date or timestamp column by which rows belong to days; the dataset's event time if absent", default=""),
            Option("--plan", "only decide how rows are counted and which version", bool),
            Option("--partition", "count one part alone: 2/4 is the second of four", share),
            Option("--merge", "add the parts that were counted: how many there are", count),
        ),
    ),
    "validate": (
        "decide whether training starts, on which snapshot and why",
        (
            MODEL,
            Option("--cause", "why training is asked for", choices=CAUSES, default="schedule"),
            Option("--snapshot", "table version to train on; the newest if absent", int),
            Option("--force", "train even if nothing is new", bool),
            Option("--reason", "a person's words for the record", default=""),
            Option("--run-url", "address of the orchestrator's run, for the record", default=""),
        ),
    ),
    "train": (
        "train a candidate and seal its version folder",
        (
            MODEL,
            Option("--snapshot", "table version to train on", int, required=True),
            Option("--cause", "why it is trained", choices=CAUSES, default="manual"),
            CODE,
            Option("--request", "key of the retraining request that this answers", default=""),
            Option("--max-epochs", "overrides the spec's limit", count),
            Option("--reason", "a person's words for the record", default=""),
            Option("--run-url", "address of the orchestrator's run, for the record", default=""),
        ),
    ),
    "evaluate": (
        "measure a candidate on the test split, beside the champion",
        (
            MODEL,
            Option("--digest", "content address of the candidate", required=True),
            Option("--run-id", "MLflow run of the candidate", required=True),
            CODE,
        ),
    ),
    "register": (
        "let the gate decide and register the candidate",
        (
            MODEL,
            Option("--digest", "content address of the candidate", required=True),
            Option("--run-id", "MLflow run of the candidate", required=True),
            CODE,
            Option("--evaluation", "store key of the evaluation", required=True),
        ),
    ),
    "recalibrate": (
        "fit the champion's scores to newly labelled days; register what is shown to be better",
        (MODEL, Option("--run-url", "address of the orchestrator's run, for the record", default="")),
    ),
    "release": (
        "take one look at a release: start it, advance, hold, promote or roll back",
        (
            MODEL,
            Option("--version", "version to release; the one whose release is under way if absent, else the registry's candidate", int),
            Option(
                "--decision",
                "a person's decision; roll_back also turns down a version that waits for its release",
                choices=("promote", "roll_back"),
                default=None,
            ),
            Option("--actor", "who decides or started it", default="perennial"),
            Option(
                "--again",
                "start although this version was rolled back or rejected before, was not compared with this champion, "
                "or the model was retired; for the first look only",
                bool,
            ),
            Option("--plan", "only tell what this look would do, step by step: nothing is written, moved or registered", bool),
        ),
    ),
    "monitor": (
        "look at a window of live traffic; request retraining where the policy asks",
        (MODEL, Option("--from", "begin of the window, event time", moment), Option("--to", "end of the window, event time", moment)),
    ),
    "incident": (
        "record what a person makes of an incident",
        (
            MODEL,
            Option("--id", "id of the incident, or its number", required=True),
            Option("--verdict", "what it was", choices=VERDICTS, required=True),
            Option("--by", "who says so", default="perennial"),
            Option("--note", "their words", default=""),
            Option("--unless-judged", "a verdict that somebody gave before stays", bool),
        ),
    ),
    "rollback": (
        "go back to the last good version at once",
        (MODEL, Option("--reason", "why", default="asked for by a person"), Option("--actor", "who asks", default="perennial")),
    ),
}

COMMANDS: dict[str, tuple[str, tuple[Option, ...]]] = {
    "land": (
        "replay a dataset's own source into the landing zone",
        (
            Option("dataset", "name of the dataset", required=True),
            Option("--from", "first day", day, required=True),
            Option("--to", "last day", day, required=True),
        ),
    ),
    "remove-batch": (
        "take a wrong batch out of a dataset's table, and name the versions that learned from it",
        (
            Option("dataset", "name of the dataset", required=True),
            Option("batch", "name of the landed file, or the beginning of its digest", required=True),
            Option("--reason", "why, for the record", required=True),
            Option("--by", "who decides; the user of this machine if absent", default=""),
            Option("--again", "instead, let the content of a batch that was taken out be landed again", bool),
        ),
    ),
    "outcomes": (
        "take in a file of outcomes (CSV, JSON lines or Parquet: prediction_id, outcome)",
        (Option("model", "name of the model", required=True), Option("file", "the file", Path, required=True)),
    ),
    "reproduce": (
        "train a version again from its manifest and compare; first its snapshot is read and held against the hashes of its files",
        (Option("version", "version as <model>/<number>, or a number if there is one model", required=True),),
    ),
    "verify": ("read every table, version folder and ledger and tell what is not as it was written", ()),
    "served-at": (
        "tell which versions served at a time, at what weight and why",
        (
            Option("time", "ISO 8601; UTC where no zone is given", moment, required=True),
            Option("--model", "name of the model; all if absent"),
        ),
    ),
    "ledger": (
        "verify or show the ledger",
        (Option("action", "what to do", required=True, choices=("verify", "show")), Option("--model", "name of the model; all if absent")),
    ),
    "registry": (
        "make the registry again from the store, after its database was lost",
        (
            Option("action", "what to do", required=True, choices=("rebuild",)),
            Option("--model", "name of the model; all if absent"),
            Option("--replace", "delete what the registry has of the model first; what only it has comes after the others", bool),
        ),
    ),
    "incidents": (
        "list incidents with their verdicts, and how many alarms a month there are",
        (Option("--model", "name of the model; all if absent"),),
    ),
    "retire": (
        "take a model off the gateway for good: nothing of it serves, and nothing is trained or released by itself",
        (
            Option("model", "name of the model, also of one whose folder is gone", required=True),
            Option("--reason", "why; kept in the ledger", default="asked for by a person"),
            Option("--actor", "who asks; your login if absent"),
        ),
    ),
    "traffic": (
        "replay a dataset's rows against the gateway",
        (
            MODEL,
            Option("--from", "begin, event time", moment, required=True),
            Option("--to", "end, event time", moment, required=True),
            Option("--rate", "requests per second; as fast as they are answered if 0", rate, default=50.0),
            Option("--limit", "rows at most; all if absent", count),
        ),
    ),
    "replay": (
        "replay a model's history under several retraining policies and compare what they cost",
        (
            MODEL,
            Option("--from", "first day that is replayed; as soon as enough labels are known if absent", day),
            Option("--to", "last day; the newest one with labels if absent", day),
            Option("--policies", "names with commas between; all if absent"),
            Option("--delay-days", "days from the end of a day until its labels are known; the dataset's own if absent", rate),
            Option("--jobs", "processes at most; as many as there are cores if absent", count),
        ),
    ),
    "up": ("start the platform on this machine", ()),
    "down": ("stop what `up` started", ()),
    "status": ("show what runs on this machine, and what of it answers", ()),
    "demo": ("tell the whole story with real DAG runs", ()),
    "add": (
        "write the files of a new model or dataset",
        (
            Option("kind", "what to add", required=True, choices=("model", "dataset")),
            Option("name", "its name", required=True),
            Option("--sample", "a file of the dataset: columns, classes, splits and floors are read from it", Path),
            Option("--key", "columns that name a row of a new dataset, with commas between"),
            Option("--event-time", "time column of a new dataset"),
            Option("--dataset", "dataset that a new model learns from"),
            Option("--label", "column that a new model predicts"),
            Option("--task", "what a new model does", choices=("binary", "multiclass", "regression")),
        ),
    ),
    "docs": ("write the generated documentation", (Option("--check", "write nothing; fail if a page is out of date", bool),)),
}
