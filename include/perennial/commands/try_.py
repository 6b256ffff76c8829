"""`perennial try`: learn to predict a column of a file of yours, without a server, and keep the files that did it.

The file is described as by `perennial add`, taken in, trained on, measured and scored by the same code as on the platform, in this
process. What comes of it is printed; dataset, suite and model are written into a folder, from which they are taken into a project.

    $ perennial try --data orders.csv --label returned
    $ perennial try --data orders.csv --label returned --learner boosted
    $ perennial try --data orders.csv --label total --inputs quantity,channel --name orders_total --folder tried
"""

from __future__ import annotations

import hashlib
import json
import keyword
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perennial.commands import _trial
from perennial.commands._target import PROJECT, target
from perennial.commands._trial import Asked, Trial
from perennial.commands._trial_words import result_lines
from perennial.commands.add import require_name
from perennial.errors import EXIT_DONE, UnknownName
from perennial.projects import VARIABLE
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import Learner
from perennial.store import Store

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_FOLDERS = ("include", "great_expectations", "tests")  # what is taken into a project


def run(
    settings: Settings,
    store: Store,
    data: Path,
    label: str,
    task: str | None = None,
    inputs: str | None = None,
    event_time: str | None = None,
    key: str | None = None,
    name: str | None = None,
    folder: Path | None = None,
    learner: Learner | None = None,
    project: Path | None = None,
) -> int:
    """Try it, print what came of it, and write the files.

    Raises:
        UnknownName: something must be said, the file cannot be read, or files that somebody edited are in the way.
        TrainingRefused: the rows give no model.
    """
    name = name or name_of(data)
    require_name(name)
    if not data.is_file():
        raise UnknownName(f"There is no file {data}: give the path of your data with --data.")
    into = target(settings, project)
    folder = (folder or settings.home / "try" / name).expanduser().absolute()
    asked = Asked(name, data, label, task, _names(inputs), event_time, key, learner or "lightning")
    if settings.log_level != "DEBUG":
        logging.getLogger("perennial").setLevel("WARNING")  # the lines of progress say what is done
    with tempfile.TemporaryDirectory(prefix="perennial-try-") as scratch:
        edited = _edited(folder, asked)
        trial = _trial.run(settings, asked, Path(scratch), _Clock(), lambda texts: _refuse_edited(folder, name, texts, into), edited)
    replaced = _write(folder, name, trial, asked, edited=bool(edited))
    lines = [*result_lines(trial), "", *_places(folder, name, replaced), "", *_next(settings, asked, folder, into)]
    print(on_terminal("\n".join(lines)), flush=True)
    return EXIT_DONE


def name_of(data: Path) -> str:
    """A name for the dataset and the model, after the file's."""
    given = unicodedata.normalize("NFC", data.name.partition(".")[0]).lower().translate(_GERMAN)
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", given) if not unicodedata.combining(sign))
    words = re.findall(r"[a-z0-9]+", plain)
    named = "_".join(words if words and words[0][0].isalpha() else ["table", *words])[:40].rstrip("_")
    return f"{named}_table" if keyword.iskeyword(named) else named


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip()) if given else ()


class _Clock:
    """Prints what begins, and after how many seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, what: str) -> None:
        print(on_terminal(f"{time.monotonic() - self.began:5.1f} s  {what}"), file=sys.stderr, flush=True)


def _record(name: str) -> Path:
    return Path("reports", name, "try.json")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _earlier(folder: Path, name: str) -> dict[str, Any]:
    """The record of an earlier try into the folder; empty if there was none."""
    try:
        record: dict[str, Any] = json.loads((folder / _record(name)).read_text())
    except FileNotFoundError:
        return {}
    return record


def _tried_before(folder: Path, name: str) -> dict[str, str]:
    """What an earlier try wrote into the folder: path -> SHA-256."""
    files: dict[str, str] = _earlier(folder, name).get("files", {})
    return files


def _options(asked: Asked) -> dict[str, Any]:
    """What was asked for, besides the file of rows."""
    return {
        "label": asked.label,
        "task": asked.task,
        "inputs": list(asked.inputs),
        "event_time": asked.event_time,
        "key": asked.key,
        "learner": asked.learner,
    }


def _edited(folder: Path, asked: Asked) -> dict[Path, str]:
    """Dataset, suite and model as they lie in the folder, if somebody edited what an earlier try wrote there; else nothing.

    Raises:
        UnknownName: other options are given than before, which edited files cannot follow.
    """
    record = _earlier(folder, asked.name)
    wrote = {Path(path): digest for path, digest in record.get("files", {}).items()}
    own = {path: (folder / path).read_bytes() for path in wrote if (folder / path).exists()}
    if all(_digest(content) == wrote[path] for path, content in own.items()):
        return {}
    other = [
        f"--{option.replace('_', '-')}" for option, value in _options(asked).items() if value != record.get("asked", {}).get(option, value)
    ]
    if other:
        raise UnknownName(
            f"The files in {folder} were edited, and are tried as they are: {', '.join(other)} cannot change them. Edit them, or choose "
            f"another --name than {asked.name}."
        )
    code = (folder / "include" / "perennial_models" / asked.name).rglob("*.py")
    added = [file.relative_to(folder) for file in code]  # modules that were written besides
    return {path: (folder / path).read_text() for path in dict.fromkeys((*own, *added))}


def _refuse_edited(folder: Path, name: str, texts: Mapping[Path, str], into: Path = PROJECT) -> None:
    """Raises UnknownName where a file that somebody wrote or edited is in the way, in the folder or in the project."""
    before = _tried_before(folder, name)
    for project in dict.fromkeys((folder, into, PROJECT)):  # the platform's own names are taken too
        for path, text in texts.items():
            file = project / path
            if not file.exists() or file.read_bytes() == text.encode():
                continue
            if project == folder and before.get(path.as_posix()) == _digest(file.read_bytes()):
                continue  # as an earlier try left it
            raise UnknownName(f"{file} exists already, with other content, and is not overwritten: choose another --name than {name}.")


def _write(folder: Path, name: str, trial: Trial, asked: Asked, *, edited: bool = False) -> list[Path]:
    """Write all files, or none if it is interrupted; returns those that an earlier try had written otherwise.

    Edited files stay as they are, and only what came of them is written.
    """
    sources = {} if edited else {path: text.encode() for path, text in trial.files.items()}
    report = Path("reports", name)
    rows = json.dumps({"data": {"rows": trial.rows}}, indent=1, ensure_ascii=False)
    record = {
        "data": trial.data,
        "rows": len(trial.sample.rows),
        "chosen": trial.chosen,
        "evaluation": trial.evaluation,
        "asked": _options(asked),
        "files": _tried_before(folder, name) if edited else {path.as_posix(): _digest(content) for path, content in sources.items()},
    }
    files = sources | {
        report / "evaluation.html": trial.page.encode(),
        report / "request.json": rows.encode(),
        _record(name): json.dumps(record, indent=1, sort_keys=True).encode(),
    }
    replaced = [path for path, content in sources.items() if (folder / path).exists() and (folder / path).read_bytes() != content]
    were = {path: (folder / path).read_bytes() if (folder / path).exists() else None for path in files}
    folders = [above for path in files for above in (folder / path).parents if not above.exists()]
    try:
        for path, content in files.items():
            _put(folder / path, content)
    except BaseException:  # Ctrl-C, a full disk: all is as it was
        for path, was in were.items():
            if was is None:
                (folder / path).unlink(missing_ok=True)
            else:
                _put(folder / path, was)
        for made in sorted(set(folders), key=lambda made: -len(made.parts)):
            if made.exists() and not any(made.iterdir()):
                made.rmdir()
        raise
    return replaced


def _put(file: Path, content: bytes) -> None:
    """Write a file whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _places(folder: Path, name: str, replaced: list[Path]) -> list[str]:
    return [
        f"Files of dataset, suite and model: {folder}"
        + (f" ({len(replaced)} of an earlier try were replaced: {', '.join(path.name for path in replaced)})" if replaced else ""),
        f"Evaluation page: {folder / 'reports' / name / 'evaluation.html'}",
    ]


def _next(settings: Settings, asked: Asked, folder: Path, into: Path) -> list[str]:
    """The commands that take it from here to a served version."""
    command = "perennial" if shutil.which("perennial") else shlex.quote(str(settings.home / "bin" / "perennial"))
    parts = " ".join(shlex.quote(str(folder / part)) for part in _FOLDERS)
    project = PROJECT.parent / "my-models" if into == PROJECT else into  # the platform's checkout stays as it was released
    quoted = shlex.quote(str(project))
    make = [f"  {command} new {quoted}", f"  export {VARIABLE}={quoted}"] if into == PROJECT else []
    take_in = [] if folder == into else [*make, f"  cp -r {parts} {quoted}/"]
    address = f"{settings.gateway_url}{settings.prediction_path(asked.name)}"
    request = shlex.quote(f"@{folder / 'reports' / asked.name / 'request.json'}")
    return [
        "Next, to serve it (edit the files as you like first: the same command tries them again as they are then):",
        *take_in,
        f"  {command} up",
        f"  {command} land {shlex.quote(str(asked.data.absolute()))} --dataset {asked.name}",
        f"Ingestion, training and release follow by themselves, in minutes ({command} status shows what serves). Then ask it:",
        f"  curl -s {address} -H 'Content-Type: application/json' -d {request}",
    ]
