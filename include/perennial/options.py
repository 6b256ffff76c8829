"""The arguments of every stage and command, in one table.

The command line, the tasks' argument lists and the documentation are made from it. Light: DAG files import this.

    $ perennial release --model flight_delays --plan
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from perennial.specs import INCIDENT_KINDS, VERDICTS


@dataclass(frozen=True)
class Option:
    """One argument. A name without dashes is positional."""

    name: str
    help: str
    type: Callable[[str], Any] = str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] | None = None
    many: bool = False  # a positional one that takes one or more values, as a list

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
            nargs = "+" if self.many else None if self.required else "?"
            parser.add_argument(self.name, type=self.type, choices=self.choices, help=self.help, nargs=nargs, default=self.default)


PROJECT_HELP = "name or folder of the project that it is for; the only one that PERENNIAL_PROJECT names if absent"
SILENCES = (*INCIDENT_KINDS, "all", "its kind")


def hours(text: str) -> float:
    """Hours of a silence: more than none, and a month at most."""
    given = float(text)
    if not 0 < given <= 720:
        raise argparse.ArgumentTypeError(f"{text} hours are no time for a silence: give more than 0 and at most 720")
    return given


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


def versions(text: str) -> dict[str, int]:
    """Versions of tables by name, such as weather=3,prices=12."""
    pairs = [one.partition("=") for one in text.split(",") if one]
    if not all(name and number.isdecimal() for name, _, number in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names no versions of tables: write them like weather=3,prices=12")
    return {name: int(number) for name, _, number in pairs}


def rate(text: str) -> float:
    """A number from 0 on."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give a number from 0 on")
    return number


def real(text: str) -> float:
    """Any finite number."""
    try:
        found = float(text)
    except ValueError:
        found = float("inf")
    if not abs(found) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return found


def part(text: str) -> float:
    """A share from 0 to 1."""
    number = rate(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to 1, such as 0.2")
    return number


MODEL = Option("--model", "name of the model", required=True)
DATASET = Option("--dataset", "name of the dataset", required=True)
CODE = Option(
    "--code",
    "hash of the model's files when the run began, as validate prints it; the stage refuses if the files have changed since",
    default="",
)
CAUSES = ("data", "drift", "schedule", "manual", "performance", "code")  # of a training; a recalibration is none

STAGES: dict[str, tuple[str, tuple[Option, ...]]] = {
    "collect": (
        "read what is new in a dataset's source, a database or service, and let it land as files",
        (
            DATASET,
            Option("--run", "name of the orchestrator's run, recorded in the log of what was collected", default=""),
            Option("--anew", "read the source from its beginning, whatever was read before", bool),
        ),
    ),
    "ingest": (
        "take in the files that have landed: append good batches, quarantine bad ones",
        (
            DATASET,
            Option("--run", "name of the orchestrator's run, recorded in the receipts", default=""),
            Option("--retry", "this is a retry: also report what an earlier try of the run did, in case it died before reporting it", bool),
        ),
    ),
    "profile": (
        "profile a table: count its rows by day, at once or in parts that are added up",
        (
            Option("--table", "name of the table; a dataset's table has the dataset's name", default=""),
            Option("--dataset", "name of the dataset that the table belongs to", default=""),
            Option("--version", "table version; the newest if absent", int),
            Option("--day", "date or timestamp column that gives a row's day; the dataset's event time if absent", default=""),
            Option("--plan", "only fix the layout and the table version; count nothing", bool),
            Option("--partition", "count only one part: 2/4 is the second of four", share),
            Option("--merge", "add up the counted parts: how many there are", count),
        ),
    ),
    "validate": (
        "decide whether to train, on which snapshot and why",
        (
            MODEL,
            Option("--cause", "why training is requested", choices=CAUSES, default="schedule"),
            Option("--snapshot", "table version to train on; the newest if absent", int),
            Option("--labels", "version of the label feed's table, or of the table of outcomes; the newest if absent", int),
            Option("--predictions", "version of the table of predictions, where it learns from outcomes; the newest if absent", int),
            Option("--joined", "versions of the tables that it joins, such as weather=3,prices=12; the newest if absent", versions),
            Option("--force", "train even if nothing is new", bool),
            Option("--reason", "a person's reason, for the record", default=""),
            Option("--run-url", "URL of the orchestrator's run, for the record", default=""),
        ),
    ),
    "train": (
        "train a candidate and seal its version folder",
        (
            MODEL,
            Option("--snapshot", "table version to train on", int, required=True),
            Option("--labels", "version of the label feed's table, or of the table of outcomes; the newest if absent", int),
            Option("--predictions", "version of the table of predictions, where it learns from outcomes; the newest if absent", int),
            Option("--joined", "versions of the tables that it joins, such as weather=3,prices=12; the newest if absent", versions),
            Option("--cause", "why the candidate is trained", choices=CAUSES, default="manual"),
            CODE,
            Option("--request", "key of the retraining request that this answers", default=""),
            Option("--max-epochs", "maximum number of epochs; overrides the spec", count),
            Option("--reason", "a person's reason, for the record", default=""),
            Option("--run-url", "URL of the orchestrator's run, for the record", default=""),
        ),
    ),
    "close": (
        "record the end of a training that was killed outright",
        (MODEL, Option("--run-url", "URL of the orchestrator's run that began it", required=True)),
    ),
    "evaluate": (
        "evaluate a candidate on the test split, side by side with the champion",
        (
            MODEL,
            Option("--digest", "digest of the candidate's version folder", required=True),
            Option("--run-id", "MLflow run of the candidate", required=True),
            CODE,
        ),
    ),
    "register": (
        "run the gate, and register the candidate if it passes",
        (
            MODEL,
            Option("--digest", "digest of the candidate's version folder", required=True),
            Option("--run-id", "MLflow run of the candidate", required=True),
            CODE,
            Option("--evaluation", "store key of the evaluation", required=True),
        ),
    ),
    "recalibrate": (
        "fit the champion's scores to newly labelled days; register what is shown to be better",
        (MODEL, Option("--run-url", "URL of the orchestrator's run, for the record", default="")),
    ),
    "score": (
        "score rows of a snapshot, a file or a query in a batch, at once or in parts that are put together",
        (
            MODEL,
            Option("--version", "version that scores; the champion by the ledger if absent", int),
            Option("--snapshot", "table version whose rows are scored; the newest if absent", int),
            Option("--from", "first day of event time; without days the newest ones are scored, as many as scoring.days of the spec", day),
            Option("--to", "last such day, included", day),
            Option(
                "--file", "score the rows of this file instead: its key in the store, or its path; of the form of the dataset", default=""
            ),
            Option("--query", "score the rows of this query instead: one SELECT of DuckDB over the tables of the store", default=""),
            Option("--run", "name of the orchestrator's run, recorded in the table of scores", default=""),
            Option("--plan", "only fix what is to be scored; score nothing", bool),
            Option("--planned", "name of the plan whose rows are scored, in parts or at once", default=""),
            Option("--partition", "score only one part of the plan: 2/4 is the second of four", share),
            Option("--merge", "write the scored parts of the plan: how many there are", count),
        ),
    ),
    "release": (
        "take one look at a release, then start it, advance, hold, promote or roll back",
        (
            MODEL,
            Option("--version", "version to release; if absent, the one whose release is under way, else the registry's candidate", int),
            Option(
                "--decision",
                "a person's decision; roll_back also rejects a version that is waiting for its release",
                choices=("promote", "roll_back"),
                default=None,
            ),
            Option("--actor", "who decides, or who started the release", default="perennial"),
            Option(
                "--again",
                "start even if this version was rolled back or rejected before, was never compared with this champion, "
                "or if the model was retired; for the first look only",
                bool,
            ),
            Option("--plan", "only print what this look would do, step by step; nothing is written, moved or registered", bool),
        ),
    ),
    "monitor": (
        "monitor a window of live traffic; request retraining if the policy calls for it",
        (MODEL, Option("--from", "start of the window, event time", moment), Option("--to", "end of the window, event time", moment)),
    ),
    "incident": (
        "record a person's verdict on an incident, or silence its kind for a time",
        (
            MODEL,
            Option("--id", "id of the incident, or its number", default=""),
            Option("--verdict", "what the incident was", choices=VERDICTS),
            Option("--silence", "tell nobody of this kind for a time; `its kind` is that of the incident", choices=SILENCES),
            Option("--hours", "how long the silence holds, at most 720", hours),
            Option("--by", "who gives the verdict, or wants the silence", default="perennial"),
            Option("--note", "a note, for the record", default=""),
            Option("--unless-judged", "keep a verdict that somebody gave before", bool),
        ),
    ),
    "experiment": (
        "start, look at, re-weigh or stop an experiment: an A/B test between the champion and another version",
        (
            Option(
                "action",
                "start one; look at the one under way, which may end it; weigh: give the version that is tried another share of the units; "
                "stop it",
                required=True,
                choices=("start", "look", "weigh", "stop"),
            ),
            MODEL,
            Option("--versions", "to start: the champion and the version that is tried, such as 7,8"),
            Option(
                "--metric",
                "to start: what is compared: a signal of the model's release, or error, outcome, score, class, milliseconds, a class or an "
                "input that is a number, with a condition if wished, such as 'score > 0.9'",
            ),
            Option(
                "--better",
                "which value of the metric is better; of error and milliseconds the lower if absent, else the higher",
                choices=("lower", "higher"),
            ),
            Option("--low", "lowest value of a mean that counts; one below counts as this", real),
            Option("--high", "highest value of a mean that counts; one above counts as this", real),
            Option("--unit", "to start: what the key in the header x-perennial-unit is of, such as user_id"),
            Option("--share", "percent of the units that get the version that is tried; half if absent", rate),
            Option("--least", "to start: least difference worth knowing, in the metric's unit", rate),
            Option("--power", "chance to show a difference of that size", part, default=0.8),
            Option("--alpha", "chance that the interval ever misses the true difference", part, default=0.05),
            Option("--days", "longest time of the experiment, days", rate, default=28.0),
            Option("--look-seconds", "time between two looks, seconds", rate, default=60.0),
            Option("--promote", "make a winner the champion at once; otherwise its release goes its own way", bool),
            Option("--reason", "why it is stopped or re-weighed; kept in the ledger", default=""),
            Option("--run", "name of the orchestrator's run: the same one starts an experiment once", default=""),
            Option("--actor", "who wishes it", default="perennial"),
        ),
    ),
    "rollback": (
        "return to the last good version at once",
        (
            MODEL,
            Option("--version", "go back to this version or not at all; if absent, to the one that served before", int),
            Option("--reason", "why; kept in the ledger", default="asked for by a person"),
            Option("--actor", "who asks for it", default="perennial"),
        ),
    ),
}

COMMANDS: dict[str, tuple[str, tuple[Option, ...]]] = {
    "land": (
        "copy files of yours, or days from a dataset's own source, into the landing zone",
        (
            Option("what", "your files, with --dataset; or the name of one dataset that has a source of its own", required=True, many=True),
            Option("--dataset", "dataset that your files belong to"),
            Option("--from", "first day of the dataset's own source", day),
            Option("--to", "last day of the dataset's own source", day),
        ),
    ),
    "dvc": (
        "hand a snapshot to DVC as files and the .dvc file that names them; or land what a .dvc file names",
        (
            Option("action", "what to do", required=True, choices=("export", "import")),
            Option("what", "export: name of the dataset; import: the .dvc file", required=True),
            Option("--snapshot", "export: table version; the newest if absent", int),
            Option("--folder", "export: folder to write into, such as one of your Git repository", Path),
            Option("--dataset", "import: dataset that the files belong to"),
            Option("--remote", "import: a folder that is, or is a copy of, a remote of DVC; the files may lie there, too", Path),
            Option("--only", "import: only files whose name is like this, such as '*.csv'", default=""),
        ),
    ),
    "remove-batch": (
        "remove a wrong batch from a dataset's table, and list the versions that learned from it",
        (
            Option("dataset", "name of the dataset", required=True),
            Option("batch", "name of the landed file, or the beginning of its digest", required=True),
            Option("--reason", "why, for the record", required=True),
            Option("--by", "who decides; your login if absent", default=""),
            Option("--again", "instead, allow a batch that was removed to be landed again", bool),
        ),
    ),
    "drift": (
        "tell whether two files or tables differ by more than chance, and draw how",
        (
            Option(
                "first",
                "a file of any form that ingestion reads (CSV and other separators, JSON, JSON lines, Excel and OpenDocument sheets, "
                "Parquet, ORC, Avro, NPZ; packed by gzip, or in zip or tar), or table:NAME@VERSION",
                required=True,
            ),
            Option("second", "what is compared with it, likewise", required=True),
            Option(
                "--time", "column of times in both whose days are exchanged whole; if absent, the only one, else rows count as independent"
            ),
            Option("--columns", "comma-separated columns to compare; all but ids if absent"),
            Option(
                "--times",
                "how dates and times are written in files of text, in the codes of strptime; if absent, as all values of a column fit",
            ),
            Option("--report", "file for the plots, which is replaced", Path, default=Path("drift.html")),
        ),
    ),
    "labels": (
        "have rows labelled by people: choose those worth a label, import what people answered, report how far they agree",
        (
            Option("action", "what to do", required=True, choices=("choose", "import", "report")),
            Option(
                "file",
                "choose: the tasks to write (.json for Label Studio, or .csv); "
                "import: the export of the tool (Label Studio: JSON, JSON-MIN, CSV; CVAT: images 1.1 as XML, COCO; plain CSV); "
                "report: the page to draw (.html), none if absent",
                Path,
            ),
            Option("--dataset", "import: name of the label feed"),
            Option("--model", "name of the model whose labels these are; its label feed, or if it has none its outcomes, gets them"),
            Option(
                "--by",
                "choose: rows that the champion is unsure of, that are unlike the reference (drifted), of the slice with the worst loss, "
                "at random, all of these in turn (mixed), or rows whose label is doubtful",
                choices=("unsure", "drifted", "worst-slice", "random", "mixed", "doubtful"),
                default="mixed",
            ),
            Option("--count", "choose: number of rows", count, default=200),
            Option(
                "--random", "choose: share of them that is drawn at random, so that rates of all rows can be estimated", part, default=0.2
            ),
            Option(
                "--source",
                "choose: rows of the table whose label is not known, or the logged predictions; by what can take the labels if absent",
                choices=("table", "log"),
            ),
            Option("--from", "choose: start, event time", moment),
            Option("--to", "choose: end, event time", moment),
            Option("--seed", "choose: of what is drawn at random", int, default=0),
            Option("--again", "choose: also rows that were written as tasks before and have no answer yet", bool),
            Option("--person", "import: who answered, where the export does not say", default=""),
            Option("--people", "import, report: fewest people who must have answered a row", count, default=1),
            Option(
                "--agreement", "import, report: smallest share of them that must say the same; always more than half", part, default=0.0
            ),
            Option("--within", "import, report: by how much numbers may differ; their median counts", rate, default=0.0),
            Option("--json", "report: print it as JSON", bool),
        ),
    ),
    "suite": (
        "propose expectations that a dataset's table speaks for, each with its evidence and its difference to the suite in force",
        (
            Option("action", "what to do", required=True, choices=("suggest",)),
            DATASET,
            Option("--from", "first day of event time whose rows count; all if absent", day),
            Option("--to", "last such day, included", day),
            Option("--write", "write what is new, and what an earlier proposal said otherwise, into the suite's file", bool),
            Option("--json", "print JSON", bool),
        ),
    ),
    "outcomes": (
        "import a file of outcomes (CSV, JSON lines or Parquet with prediction_id, outcome)",
        (Option("model", "name of the model", required=True), Option("file", "the file", Path, required=True)),
    ),
    "reproduce": (
        "train a version again from its manifest and compare the result; its snapshot is checked against the file hashes first",
        (Option("version", "version as <model>/<number>; a number alone if there is only one model", required=True),),
    ),
    "verify": ("check every table, version folder and ledger against its hashes, and list what has changed", ()),
    "served-at": (
        "show which versions served at a time, at what weight and why, or which one answered a prediction",
        (
            Option("time", "ISO 8601; UTC if it has no zone; now if absent", moment),
            Option("--model", "name of the model; all if absent"),
            Option("--prediction", "instead, which version answered the prediction of this id (`meta.puid`)"),
        ),
    ),
    "ledger": (
        "verify or show the ledger",
        (Option("action", "what to do", required=True, choices=("verify", "show")), Option("--model", "name of the model; all if absent")),
    ),
    "registry": (
        "rebuild the registry from the store, after its database was lost",
        (
            Option("action", "what to do", required=True, choices=("rebuild",)),
            Option("--model", "name of the model; all if absent"),
            Option(
                "--replace",
                "first delete the model's versions from the registry; versions that only the registry has are added after the others",
                bool,
            ),
        ),
    ),
    "explain-run": (
        "explain a run across its tasks: why it ran, on what, what ended it and what to do, what came of it",
        (
            Option(
                "name",
                "the run: its id, or DAG/run; a version as model/7 for the run that made it; a model or dataset for its newest run that "
                "takes data in, trains, releases or rolls back",
                required=True,
            ),
            Option("--json", "print it as JSON", bool),
        ),
    ),
    "show": (
        "show what the console shows: the list of models, or a page of one model, or two of its versions side by side",
        (
            Option(
                "what",
                "what to show",
                required=True,
                choices=(
                    "models",
                    "model",
                    "versions",
                    "compare",
                    "release",
                    "experiment",
                    "drift",
                    "data",
                    "lineage",
                    "incidents",
                    "reports",
                ),
            ),
            Option(
                "name",
                "name of the model, or for data, lineage and reports of a dataset; the only model if absent, all for incidents and reports",
            ),
            Option("a", "the first version to compare: its number, or signs of its digest; the champion if absent"),
            Option("b", "the second; the candidate, or else the newest, if absent"),
            Option(
                "--version",
                "version whose release or lineage is shown; the newest release, or the version that serves, if absent",
                int,
            ),
            Option("--page", "which page of a long list, from 1", count),
            Option("--batch", "for lineage: name, identity or digest of a landed file: which versions and traffic did it reach"),
            Option(
                "--only",
                "for data: these batches alone; for reports: only versions and batches that were refused",
                choices=("refused", "late", "corrected", "removed"),
            ),
            Option("--json", "print it as JSON, for programs", bool),
        ),
    ),
    "incidents": (
        "list incidents with their verdicts, and the number of alarms a month",
        (
            Option("--model", "name of the model; all if absent"),
            Option("--state", "only those that are open, or over", choices=("open", "over")),
            Option("--kind", "only those of one kind", choices=INCIDENT_KINDS),
            Option("--unjudged", "only alarms on which nobody has given a verdict", bool),
            Option("--page", "which fifty, from the newest on", count, default=1),
        ),
    ),
    "contracts": (
        "list the contracts of consumers, or check that a version keeps them; 1 if one is broken, for CI",
        (
            Option("what", "whether to list or to check them", required=True, choices=("list", "check")),
            Option("--model", "name of the model; all if absent"),
            Option("--version", "version that is checked; the champion by the ledger if absent", int),
            Option("--live", "ask through the gateway, as consumers do; its requests are logged as theirs are", bool),
        ),
    ),
    "requirements": (
        "list which system requirement each floor and each limit of the gate serves, and its owner; 1 if one has none, for CI",
        (Option("--model", "name of the model; all if absent"),),
    ),
    "review": (
        "review a model: releases, refusals, incidents, delivery figures, live metrics, and what is open",
        (
            MODEL,
            Option("--since", "first day, UTC; thirty days ago if absent", day),
            Option("--json", "print it as JSON, for programs", bool),
        ),
    ),
    "watch": (
        "look at the versions that serve, every few seconds; the platform runs this by itself",
        (
            Option("--once", "look a single time", bool),
            Option("--figures", "port at which the figures of models are served to a Prometheus, beside looking; none if absent", count),
        ),
    ),
    "retire": (
        "take a model out of service for good: it no longer serves, and nothing is trained or released automatically",
        (
            Option("model", "name of the model; its folder may be gone", required=True),
            Option("--reason", "why; kept in the ledger", default="asked for by a person"),
            Option("--actor", "who asks for it; your login if absent"),
        ),
    ),
    "trace": (
        "draw what a run, a stage or a prediction did when, across services, from the spans that this machine keeps",
        (
            Option(
                "which",
                "a trace's identity or its first digits, a run of Airflow or MLflow, or a prediction's id; lists the newest if absent",
            ),
            Option("--svg", "file for a picture of it, which is replaced", Path),
        ),
    ),
    "traffic": (
        "send a dataset's rows to the gateway as prediction requests",
        (
            MODEL,
            Option("--from", "start, event time", moment, required=True),
            Option("--to", "end, event time", moment, required=True),
            Option("--rate", "requests per second; 0 sends as fast as they are answered", rate, default=50.0),
            Option("--limit", "maximum number of rows; all if absent", count),
        ),
    ),
    "replay": (
        "replay a model's history under several retraining policies and compare what they cost",
        (
            MODEL,
            Option("--from", "first day to replay; if absent, the first with enough known labels", day),
            Option("--to", "last day to replay; the newest one with labels if absent", day),
            Option("--policies", "comma-separated names; all if absent"),
            Option(
                "--delay-days",
                "days from the end of a day until its labels are known; as the dataset's spec or its label feed shows if absent",
                rate,
            ),
            Option("--jobs", "maximum number of processes; one for each core if absent", count),
        ),
    ),
    "up": ("start the platform on this machine", ()),
    "down": ("stop what `up` started", ()),
    "status": ("show what runs on this machine, and whether it answers", ()),
    "demo": ("run the whole loop with real DAG runs", ()),
    "try": (
        "learn to predict a column of a file of yours, in this process, and write the files of dataset and model that did it",
        (
            Option("--data", "the file: any that can land, such as CSV, JSON or Parquet", Path, required=True),
            Option("--label", "column to predict", required=True),
            Option("--task", "what to predict; from the label's values if absent", choices=("binary", "multiclass", "regression")),
            Option("--inputs", "columns to learn from, comma-separated; all that are fit for it if absent"),
            Option("--event-time", "event time column; the first column of times if absent"),
            Option("--key", "columns that together name a row, comma-separated; found if absent"),
            Option("--name", "name of the dataset and the model; from the file's name if absent"),
            Option(
                "--learner",
                "what makes the model, a network (lightning), trees of LightGBM (boosted) or an estimator of scikit-learn (sklearn); "
                "lightning if absent",
                choices=("lightning", "boosted", "sklearn"),
            ),
            Option("--folder", "folder to write into, laid out like a project; `<home>/try/<name>` if absent", Path),
            Option("--project", PROJECT_HELP, Path),
        ),
    ),
    "add": (
        "write the files of a new dataset or model, and say what was found in the sample, what was decided and what is left out",
        (
            Option("kind", "what to add: a dataset first, then a model that learns from it", required=True, choices=("dataset", "model")),
            Option("name", "its name: lower-case letters, digits and underscores", required=True),
            Option(
                "--sample",
                "a file of yours with some of the rows, labels included: columns, classes, split and floor are derived from it; "
                "for a model from the dataset's table if absent",
                Path,
            ),
            Option("--table", "for a dataset, in place of a sample: a table or view of a database, which becomes its source"),
            Option("--connection", "how to get into that database: a connection of the file that PERENNIAL_CONNECTIONS names"),
            Option("--database", "in its place, the SQLAlchemy address of a database that asks for no password"),
            Option("--cursor", "column of that table that grows with every new or changed row; if absent, the table is compared whole"),
            Option("--key", "for a dataset: columns that together name a row, comma-separated; found if absent"),
            Option("--event-time", "for a dataset: the column that says when a row happened; found if absent"),
            Option("--dataset", "for a model: the dataset that it learns from"),
            Option("--label", "for a model: the column to predict"),
            Option("--labels", "for a model: the label feed, the dataset that has the label, where it comes after the rows"),
            Option(
                "--task",
                "for a model: what to predict, from the label's values if absent; anomaly, how unusual a row is, needs no label",
                choices=("binary", "multiclass", "regression", "anomaly"),
            ),
            Option(
                "--learner",
                "for a model: what makes it, a network (lightning), trees of LightGBM (boosted), an estimator of scikit-learn (sklearn) or "
                "a file of ONNX made elsewhere (onnx); lightning if absent",
                choices=("lightning", "boosted", "sklearn", "onnx"),
            ),
            Option("--project", PROJECT_HELP, Path),
        ),
    ),
    "new": (
        "write a small repository of your own for datasets, models, suites, DAGs and tests, beside the platform; overwrites nothing",
        (Option("folder", "where; its name is the project's", Path, required=True),),
    ),
    "docs": ("write the generated documentation", (Option("--check", "write nothing; fail if a page is out of date", bool),)),
}
