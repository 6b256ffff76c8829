"""The lines that programs of the platform log: text for a person, or one JSON object a line where PERENNIAL_LOG_FORMAT is `json`.

A line of JSON has the ids that are known: of the process (model, stage, run of the orchestrator ...), given once with `write_lines`, and of
what it is just working on (the id of a prediction), given with `during`. Standard library only: each DAG file loads it when it is parsed.
`perennial.log_line` has the form.

>>> import json, logging
>>> record = logging.LogRecord("perennial", logging.INFO, "", 0, "Trained in %d s.", (12,), None)
>>> with during(model="churn", stage="train", run="manual__1"):
...     written = json.loads(JsonLines().format(record))
>>> written["level"], written["message"], written["run"], written["schema"]
('INFO', 'Trained in 12 s.', 'manual__1', 1)
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, TextIO

VARIABLE = "PERENNIAL_LOG_FORMAT"
SCHEMA = 1
LINE = 32_000  # characters of a message or an exception; shippers cut or drop lines that are much longer
TRACEPARENT = r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
# By which Airflow tells a task's process, and what that starts, which run it belongs to.
RUN_VARIABLES = {
    "dag": "AIRFLOW_CTX_DAG_ID",
    "run": "AIRFLOW_CTX_DAG_RUN_ID",
    "task": "AIRFLOW_CTX_TASK_ID",
    "try": "AIRFLOW_CTX_TRY_NUMBER",
}
TRACEPARENT_VARIABLE = "TRACEPARENT"  # of W3C: the span within which a process was started
SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
)
SHORTEST_SECRET = 4  # a shorter one would star out words
_IN_ADDRESS = r"(//[^/@\s:]*:)[^/\s]+@"
_secrets: set[str] = set()
_of_process: dict[str, str | int] = {}
_of_work: ContextVar[Mapping[str, str | int]] = ContextVar("_of_work", default=MappingProxyType({}))


IDS = (
    "program",
    "model",
    "dataset",
    "stage",
    "version",
    "dag",
    "run",
    "task",
    "try",
    "prediction",
    "trace_id",
    "span_id",
)
NUMBERS = ("version", "try")


def wants_json(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the setting asks for JSON. A value that is neither is told by the settings, which every program reads next."""
    return str((os.environ if environment is None else environment).get(VARIABLE)).lower() == "json"


def write_lines(
    program: str, *, text: str, times: str | None = None, ids: Mapping[str, Any] | None = None, stream: TextIO | None = None
) -> None:
    """Have this process log to standard error, in the form that the setting asks for.

    Args:
        program: which one it is.
        text: form of a line of text.
        times: form of its time; logging's own if None.
        ids: of the process: `model`, `dataset`, `stage`, `version`.
        stream: where lines go instead.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if wants_json() else TextLines(text, times))
    logging.basicConfig(level="INFO", handlers=[handler])
    logging.captureWarnings(wants_json())  # a line of text among lines of JSON is lost on the way
    _of_process.clear()
    _of_process.update(_known({**ids_of_run(os.environ), "program": program, **(ids or {})}))
    hide(*(os.environ[name] for name in SECRET_VARIABLES if name in os.environ))


@contextmanager
def during(**ids: str | int | None) -> Iterator[None]:
    """Lines that are written in the block have these ids too."""
    before = _of_work.set({**_of_work.get(), **_known(ids)})
    try:
        yield
    finally:
        _of_work.reset(before)


def hide(*secrets: str) -> None:
    """From now on show stars instead of these texts in every line of this process."""
    _secrets.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)


def without_secrets(text: str) -> str:
    """A text as it may be shown: stars in place of known secrets, and of a password in an address.

    >>> without_secrets("postgresql://reader:s3cr3t@db.example/cars")
    'postgresql://reader:***@db.example/cars'
    """
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return re.sub(_IN_ADDRESS, r"\1***@", text)


def ids_of_run(variables: Mapping[str, str]) -> dict[str, str | int]:
    """Run, task and trace that a process belongs to, as its environment says."""
    ids: dict[str, str | int | None] = {name: variables.get(variable) for name, variable in RUN_VARIABLES.items()}
    return _known({**ids, **ids_of_trace(variables.get(TRACEPARENT_VARIABLE))})


def ids_of_trace(traceparent: str | None) -> dict[str, str]:
    """Trace and span that a W3C `traceparent` names; none if it is not of that form."""
    parts = re.fullmatch(TRACEPARENT, str(traceparent).strip().lower())
    return {"trace_id": parts[1], "span_id": parts[2]} if parts and set(parts[1]) != {"0"} and set(parts[2]) != {"0"} else {}


def ids_now() -> dict[str, str | int]:
    """All ids that are known at this place: of the process, and of what it works on."""
    return {**_of_process, **_of_work.get()}


def _known(ids: Mapping[str, Any]) -> dict[str, str | int]:
    """The ids that are there; what should be a number and is none is left out."""
    known: dict[str, str | int] = {}
    for name, value in ids.items():
        if name in NUMBERS:
            if str(value).isdecimal():
                known[name] = int(value)
        elif name in IDS and value is not None and str(value):
            known[name] = str(value)
    return known


class TextLines(logging.Formatter):
    """Lines for a person, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line. Ids that are in a record's `extra` count before those of the place and of the process.

    Args:
        program: which one writes, where another program's logging is told to use this class.
    """

    def __init__(self, *_: object, program: str | None = None) -> None:
        super().__init__()
        self._program = _known({"program": program})

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the newline at its end."""
        written = {
            "schema": SCHEMA,
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": _level(record.levelno),
            "logger": record.name,
            "message": _shown(record.getMessage()),
        }
        if record.exc_info and record.exc_info[0]:
            written["exception"] = _shown(self.formatException(record.exc_info))
        if outcome := vars(record).get("outcome"):
            written["outcome"] = outcome
        ids = {**self._program, **ids_now(), **_known({name: value for name, value in vars(record).items() if name in IDS})}
        return json.dumps({**written, **ids}, ensure_ascii=False)


def logging_form(program: str = "") -> dict[str, Any]:
    """What `logging.config.dictConfig` takes, for servers that set up logging themselves: all their lines as JSON on standard error.

    Args:
        program: which one it is, where `write_lines` was not called in the same process.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{JsonLines.__module__}.{JsonLines.__name__}", "program": program}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": "INFO", "handlers": ["lines"]},
    }


def read_line(line: str) -> dict[str, Any] | None:
    """A line of this form as an object; None if it is another one."""
    if not line.startswith('{"schema": '):
        return None
    try:
        read = json.loads(line)
    except ValueError:  # cut short, by the end of the one who wrote it
        return None
    return read if isinstance(read, dict) and {"level", "message"} <= read.keys() else None


def _level(number: int) -> str:
    """The nearest of the five levels below a number."""
    return next((logging.getLevelName(each) for each in (50, 40, 30, 20) if number >= each), "DEBUG")


def _shown(text: str) -> str:
    shown = without_secrets(text)
    return shown if len(shown) <= LINE else f"{shown[: LINE - 2]} …"
