"""Explains a run across its tasks and the runs around it: why it ran, on what, what ended it and what to do, and what came of it. Light.

Made of what Airflow knows of the run (`RunRecord`, what its tasks left) and of what the store knows of the versions, requests, releases and
incidents that they name. What neither says is told as such.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from typing import Any
from urllib.parse import quote

from pydantic import Field

from perennial.errors import PerennialError, UnknownName
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.manifest import Manifest
from perennial.lineage.registrations import registration
from perennial.lineage.releases import releases
from perennial.lineage.trainings import verdict_key
from perennial.store import Store
from perennial.views.run_faults import Fault, GateCheck, fault_of
from perennial.views.run_story import AGAINST, RunRecord, TaskEnd, word_of
from perennial.views.version import manifest_or_none
from perennial.views.view import View

CONSOLE = "/perennial"  # below Airflow's address
INPUTS = {  # of the stages' results: the fields that say on what a run worked, and what they are called
    "snapshot": "snapshot",
    "labels": "labels, snapshot",
    "predictions": "predictions, snapshot",
    "joined": "joined datasets",
    "code": "model's files",
    "digest": "version folder",
    "evaluation": "evaluation",
    "champion": "compared with version",
    "plan": "scoring plan",
    "source": "rows from",
    "report": "window's report",
}
OF_MANIFEST = {
    "dataset": "dataset",
    "snapshot_digest": "rows",
    "code_digest": "training code",
    "lock_digest": "packages",
    "seed": "seed",
}
GONE = "is not in the store any more: on what it was trained is not known in full."  # a version's folder
SHOWN = 8  # incidents and files at most
LATER = timedelta(minutes=2)  # after the end of a run, in which its incidents may still open
UNREADABLE = "unreadable"  # kind of a run that was started by one of a DAG that whoever asks may not read
STARTERS = {
    UNREADABLE: "A run that you may not read started it.",
    "scheduled": "Its schedule started it.",
    "manual": "It was started by hand or by a command.",
    "backfill": "A backfill started it.",
}
BY_CAUSE = {
    "data": "new data",
    "drift": "the world has changed",
    "schedule": "its schedule",
    "manual": "a person's wish",
    "performance": "the loss has jumped",
    "code": "changed code",
}


class Explanation(View):
    """What a run was about."""

    why: tuple[str, ...] = Field(description="Why it ran, nearest cause first.")
    inputs: dict[str, str] = Field(description="On what it worked: snapshots, code, version, digests; what a person gave.")
    checks: tuple[str, ...] = Field(description="What the gate said, check by check; empty where no gate decided.")
    fault: Fault | None = Field(description="What ended it, or held it back; none if it went well.")
    where: str = Field(description="The task that it ended at; empty if it went well.")
    became: tuple[str, ...] = Field(description="What came of it: versions, releases, whether they serve, incidents.")
    pages: dict[str, str] = Field(description="Pages that show more, by title: addresses, or paths below Airflow's.")
    untold: tuple[str, ...] = Field(description="What cannot be told, and why.")


def explained(store: Store, run: RunRecord, ends: Sequence[TaskEnd], *, model: str, dataset: str, airflow: str = "") -> Explanation:
    """The explanation of a run.

    Args:
        store: has what its tasks name.
        run: the run.
        ends: its tasks, in the order in which they began.
        model: whose DAG it is; empty if it is a dataset's.
        dataset: whose DAG it is; empty if it is a model's.
        airflow: Airflow's address; links are paths without it.
    """
    untold: list[str] = []
    results = {end.name: dict(end.result) for end in ends if end.result and word_of(end) not in ("Not reached", "Waiting")}
    digest = next((str(result["digest"]) for result in results.values() if result.get("digest")), "")
    manifest = manifest_or_none(store, model, digest, untold, GONE) if digest else None
    checks = _checks(store, model, digest) if digest and "register" in results else []
    decisive = _decisive(ends)
    return Explanation(
        why=tuple(_why(store, run, results, manifest, model, untold)),
        inputs=_inputs(run, results, manifest),
        checks=tuple(map(_check_words, checks)),
        fault=fault_of(decisive, checks) if decisive else None,
        where=decisive.name if decisive else "",
        became=tuple(_became(store, run, results, model, dataset, untold)),
        pages=_pages(store, run, results, model, dataset, digest, airflow),
        untold=tuple(untold),
    )


def explained_version(store: Store, model: str, number: int, airflow_trouble: str) -> Explanation:
    """What the store alone says of the run that made a version: without Airflow nobody knows its tasks.

    Raises:
        UnknownName: the model has no such version.
    """
    digest = digest_of(store, model, number)
    if not digest:
        raise UnknownName(f"{model} has no version {number}: `perennial show versions {model}` lists those it has.")
    untold = [airflow_trouble, "Who or what started the run, and how each of its tasks went, is in Airflow alone."]
    manifest = manifest_or_none(store, model, digest, untold, GONE)
    return Explanation(
        why=tuple(_of_manifest(store, model, manifest)) if manifest else (),
        inputs={"version folder": digest, **(_inputs_of(manifest) if manifest else {})},
        checks=tuple(map(_check_words, _checks(store, model, digest))),
        fault=None,
        where="",
        became=tuple(_state_of(store, model, number, untold)),
        pages={"Version": f"{CONSOLE}/models/{quote(model)}/versions/{number}"},
        untold=tuple(untold),
    )


def digest_of(store: Store, model: str, number: int) -> str:
    """The content address of a version, by its registration, else by the ledger; empty if neither knows the number."""
    if known := registration(store, model, number):
        return known.digest
    return Ledger(store, model).digests().get(number, "")


def _decisive(ends: Sequence[TaskEnd]) -> TaskEnd | None:
    """The task that ended the run, as its verdict has it; else one that held back what was asked of it."""
    against = [end for end in ends if word_of(end) in AGAINST]
    if against:
        return min(against, key=lambda end: AGAINST.index(word_of(end)))
    return next((end for end in ends if fault_of(end)), None)


# -- why it ran ------------------------------------------------------------------------------------------------------------


def _why(
    store: Store, run: RunRecord, results: Mapping[str, dict[str, Any]], manifest: Manifest | None, model: str, untold: list[str]
) -> list[str]:
    why = []
    if run.by:
        reason = str(run.conf.get("reason") or "").rstrip(".")
        why.append(f"{run.by} started it{f': {reason}' if reason else ''}.")
    elif run.after:
        announced = f", which announced {run.asset}" if run.asset else ""
        why.append(f"The run {run.after[1]} of {run.after[0]} started it{announced}.")
    elif run.landed:
        why.append(f"Files landed at {_minute(run.landed)}.")
    elif run.asset:
        why.append(f"{run.asset} was announced.")
    elif run.kind in STARTERS:
        why.append(STARTERS[run.kind])
    if run.waits_for:
        why.append(f"It waits for the run {run.waits_for} of the same DAG, which is at work: one works at a time.")
    validate = results.get("validate", {})
    if cause := validate.get("cause"):
        why.append(f"A training was asked for because of {BY_CAUSE.get(str(cause), str(cause))} (cause {cause}).")
    elif manifest:
        why += _of_manifest(store, model, manifest)
    if request := validate.get("request"):
        why.append(_request(store, model, str(request)))
    if not why:
        untold.append("Airflow does not say what started it.")
    return why


def _of_manifest(store: Store, model: str, manifest: Manifest) -> list[str]:
    why = [f"It was trained because of {BY_CAUSE.get(manifest.cause, manifest.cause)} (cause {manifest.cause})."]
    why += [f"A person's reason: {manifest.reason.rstrip('.')}."] if manifest.reason else []
    return [*why, _request(store, model, manifest.request)] if manifest.request else why


def _request(store: Store, model: str, key: str) -> str:
    try:
        request = Inbox(store, model).get(key)
    except PerennialError as error:
        return str(error)
    seen = "; ".join(f"{name} {_short(value)}" for name, value in request.evidence.items() if value not in (None, "", [], {}))
    return f"It answers the retraining request {key} of {_minute(request.asked)}{f', made on {seen}' if seen else ''}."


# -- what it worked on -----------------------------------------------------------------------------------------------------


def _inputs(run: RunRecord, results: Mapping[str, dict[str, Any]], manifest: Manifest | None) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for result in results.values():
        for field, title in INPUTS.items():
            if result.get(field) not in (None, "", (), []):
                inputs.setdefault(title, _short(result[field]))
    inputs |= _inputs_of(manifest) if manifest else {}
    return inputs | {f"parameter {name}": _short(value) for name, value in sorted(run.conf.items()) if value not in (None, "", False)}


def _inputs_of(manifest: Manifest) -> dict[str, str]:
    return {title: str(getattr(manifest, field)) for field, title in OF_MANIFEST.items()}


# -- what came of it -------------------------------------------------------------------------------------------------------


def _became(store: Store, run: RunRecord, results: Mapping[str, dict[str, Any]], model: str, dataset: str, untold: list[str]) -> list[str]:
    became = []
    numbers = {int(result["version"]) for result in results.values() if isinstance(result.get("version"), int)} if model else set()
    for number in sorted(numbers):
        became += _state_of(store, model, number, untold)
    if (ingest := results.get("ingest")) is not None:
        taken, refused = ingest.get("appended") or {}, ingest.get("refused") or {}
        if taken:
            became.append(f"{sum(taken.values()):,} rows of {len(taken)} files are in the table, snapshot {ingest.get('snapshot')}.")
        became += [f"Refused: {sentence}" for sentence in list(refused.values())[:SHOWN]]
    monitor = results.get("monitor", {})
    if monitor.get("retraining"):
        became.append(f"It asked for a retraining: request {monitor['retraining']}, cause {monitor.get('cause')}.")
    return became + _incidents(store, run, model or dataset, untold)


def _state_of(store: Store, model: str, number: int, untold: list[str]) -> list[str]:
    """Whether a version was released, how that ended, and whether it serves now."""
    said = []
    try:
        known = releases(store, model)
        last = Ledger(store, model).last()
    except PerennialError as error:
        untold.append(str(error))
        return [f"Version {number}."]
    untold += [sentence for sentence in known.damage if sentence not in untold]
    release = next((one for one in known.newest_first if one.version == number), None)
    if release is None:
        said.append(f"Version {number} has had no release.")
    elif release.end is None:
        said.append(f"Version {number} is being released since {_minute(release.began_at)}.")
    else:
        end = "was retired" if release.end == "retired" else f"was {release.end}"
        said.append(f"Version {number} {end} at {_minute(release.ended_at)}: {release.reason}")
    if release and release.undone_at:
        said.append(f"It was rolled back later, at {_minute(release.undone_at)}: {release.undone_reason}")
    share = 0.0 if last is None or last.kind == "retired" else last.weights.get(number, 0) / 10_000
    said.append(f"It serves {share:.0%} of the traffic now." if share else "It serves no traffic now.")
    return said


def _incidents(store: Store, run: RunRecord, name: str, untold: list[str]) -> list[str]:
    """Incidents that opened while it ran."""
    if not name or run.started is None:
        return []
    first, last = run.started, (run.ended or datetime.now(timezone.utc)) + LATER
    try:
        until_then = takewhile(lambda line: line.opened >= first, Incidents(store, name).listing().lines())
        within = [line for line in until_then if line.opened <= last]
    except PerennialError as error:
        untold.append(str(error))
        return []
    return [f"Meanwhile incident {line.id} opened ({line.severity} {line.kind}): {line.sentence}" for line in within[:SHOWN]]


# -- where more is ---------------------------------------------------------------------------------------------------------


def _pages(
    store: Store, run: RunRecord, results: Mapping[str, dict[str, Any]], model: str, dataset: str, digest: str, airflow: str
) -> dict[str, str]:
    pages = {"Airflow run": f"{airflow}/dags/{quote(run.dag)}/runs/{quote(run.run, safe='')}"}
    for result in results.values():
        links = result.get("links")
        pages |= {str(title): str(address) for title, address in links.items()} if isinstance(links, dict) else {}
    if not model:
        return pages
    of_model = f"{airflow}{CONSOLE}/models/{quote(model)}"
    numbers = [int(result["version"]) for result in results.values() if isinstance(result.get("version"), int)]
    if numbers or digest:
        pages["Version"] = f"{of_model}/versions/{numbers[-1] if numbers else digest[:12]}"
    if numbers and (began := _began(store, model, numbers[-1])) is not None:
        pages["Release"] = f"{of_model}/release/{began}"
    return pages | {"Incidents": f"{of_model}/incidents", "Ledger": f"{of_model}/ledger"}


def _began(store: Store, model: str, number: int) -> int | None:
    try:
        return next((one.began for one in releases(store, model).newest_first if one.version == number), None)
    except PerennialError:
        return None  # `became` says why


# -- small readers ---------------------------------------------------------------------------------------------------------


def _checks(store: Store, model: str, digest: str) -> list[GateCheck]:
    """The checks of the gate's decision; none if it has not decided, or if its decision cannot be read."""
    try:
        read = json.loads(store.read(verdict_key(model, digest)))
    except (KeyError, ValueError):
        return []
    listed = read.get("checks") if isinstance(read, dict) else None
    return [
        GateCheck(str(one.get("name")), bool(one.get("passed")), str(one.get("sentence")))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
    ]


def _check_words(check: GateCheck) -> str:
    return f"{'passed' if check.passed else 'failed'} {check.name}: {check.sentence}"


def _minute(when: datetime | None) -> str:
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if when else "an unknown time"


def _short(value: object) -> str:
    text = (
        ", ".join(map(str, value))
        if isinstance(value, (list, tuple))
        else value
        if isinstance(value, str)
        else json.dumps(value, default=str)
    )
    return text if len(text) <= 200 else f"{text[:198]} …"
