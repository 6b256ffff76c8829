"""What an index of reports has to know of each: noted when it is written, so that an index reads one note and no report. Light.

A report that no note has is looked up itself; so a note that is old, garbled or deleted costs time and loses no report.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> store.write("reports/flights/docs/validations/2013-07-04.csv~0123456789ab~891~refused.html", b"<h1>Refused</h1>")
>>> [(batch.batch, batch.rows, batch.verdict) for batch in batches(store, "flights")]
[('2013-07-04.csv', 891, 'refused')]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from perennial.store import Store

KEPT = 1_000  # batches in a note, the newest
FORM = 1  # of a note; one of another form is made again
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"(?P<batch>.+)~(?P<digest>[0-9a-f]*)~(?P<rows>\d*)~(?P<verdict>passed|warning|refused)\.html")
Verdict = Literal["passed", "warning", "refused"]
N = TypeVar("N")


class Evaluated(BaseModel):
    """The evaluation of one trained version, and what the gate said of it."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="Content address of the version's folder.")
    time: datetime = Field(description="When its page was written, UTC.")
    passed: bool | None = Field(description="Whether the gate let it pass; none before it has judged.")
    sentence: str = Field(description="What the gate said.")


class Batch(BaseModel):
    """The page of Data Docs of one batch that was validated."""

    model_config = ConfigDict(frozen=True)

    path: str = Field(description="Of its page, below the reports.")
    batch: str = Field(description="Name of the batch.")
    digest: str = Field(description="Identity of its content; empty if it has none.")
    rows: int | None = Field(description="Its rows; none if it could not be read.")
    verdict: Verdict = Field(description="What its suite, or the table, said.")
    time: datetime = Field(description="When that was, UTC.")


def evaluations(store: Store, model: str) -> list[Evaluated]:
    """Every evaluation of a model that has a page, newest first."""
    noted = _noted_evaluations(store, model)
    digests = [name for name in store.folders(f"reports/{model}") if _DIGEST.fullmatch(name)]
    known = (noted[digest] if digest in noted else _evaluated(store, model, digest) for digest in digests)
    return sorted((one for one in known if one is not None), key=lambda one: (one.time, one.digest), reverse=True)


def note_evaluation(store: Store, model: str, digest: str) -> None:
    """Note the evaluation of a version. Whoever writes what the gate said of it does this, after."""
    noted = _noted_evaluations(store, model)
    for name in store.folders(f"reports/{model}"):
        if _DIGEST.fullmatch(name) and (name == digest or name not in noted):
            noted[name] = _evaluated(store, model, name)
    judged = {name: one for name, one in noted.items() if one is None or one.passed is not None}  # the others are looked up until they are
    said = {name: one and one.model_dump(mode="json") for name, one in judged.items()}
    store.write(_evaluations_key(model), json.dumps({"form": FORM, "of": said}, separators=(",", ":")).encode())


def batches(store: Store, dataset: str) -> list[Batch]:
    """The newest batches of a dataset, newest first, at most `KEPT`."""
    noted = _note(store, _batches_key(dataset), TypeAdapter(list[Batch]))
    return listed_batches(store, dataset)[:KEPT] if noted is None else noted


def note_batches(store: Store, dataset: str, newest_first: Iterable[Batch]) -> None:
    """Note the batches of a dataset. Whoever writes the index of its Data Docs does this."""
    kept = [one.model_dump(mode="json") for one in newest_first][:KEPT]
    store.write(_batches_key(dataset), json.dumps({"form": FORM, "of": kept}, separators=(",", ":")).encode())


def listed_batches(store: Store, dataset: str) -> list[Batch]:
    """Every batch that has a page, newest first, from the listing alone: the key of a page says what it shows.

    Of several pages of one file the newest tells what became of it: one that passed its suite may have been refused by the table.
    """
    pages = []
    for item in store.list(f"reports/{dataset}/docs/validations"):
        if parts := _KEY.fullmatch(item.key.rsplit("/", 1)[1]):
            pages.append((item.modified, parts["verdict"] == "refused", item.key, parts))
    pages.sort(key=lambda page: page[:3], reverse=True)
    newest = {parts.group("batch", "digest"): key for *_, key, parts in reversed(pages)}
    return [
        Batch(
            path=key.removeprefix("reports/"),
            batch=parts["batch"],
            digest=parts["digest"],
            rows=int(parts["rows"]) if parts["rows"] else None,
            verdict=parts["verdict"],
            time=datetime.fromtimestamp(when, timezone.utc),
        )
        for when, _, key, parts in pages
        if not parts["digest"] or newest[parts.group("batch", "digest")] == key
    ]


def _evaluated(store: Store, model: str, digest: str) -> Evaluated | None:
    """An evaluation as it lies in the store; None if it has no page."""
    written = store.stat(f"reports/{model}/{digest}/evaluation.html")
    if written is None:
        return None
    time = datetime.fromtimestamp(written.modified, timezone.utc)
    key = f"reports/{model}/{digest}/gate.json"
    try:
        gate = json.loads(store.read(key))
        return Evaluated(digest=digest, time=time, passed=bool(gate["passed"]), sentence=str(gate["sentence"]))
    except KeyError:
        return Evaluated(digest=digest, time=time, passed=None, sentence="The gate has not judged it.")
    except (TypeError, ValueError):
        return Evaluated(digest=digest, time=time, passed=None, sentence=f"What the gate said cannot be read: restore {key}.")


def _noted_evaluations(store: Store, model: str) -> dict[str, Evaluated | None]:
    return _note(store, _evaluations_key(model), TypeAdapter(dict[str, Evaluated | None])) or {}


def _note(store: Store, key: str, form: TypeAdapter[N]) -> N | None:
    """What a note says; None if there is none that can be read, or one of another form."""
    try:
        note = json.loads(store.read(key))
        return form.validate_python(note["of"]) if note["form"] == FORM else None
    except (KeyError, TypeError, ValueError, ValidationError):
        return None


def _evaluations_key(model: str) -> str:
    return f"views/reports/evaluations/{model}.json"


def _batches_key(dataset: str) -> str:
    return f"views/reports/batches/{dataset}.json"
