"""What the registry's pages show of a training beside its figures, put together from manifest, version folder and spec."""

from __future__ import annotations

import json
from typing import Any

from perennial import discovery, tracing
from perennial.answer_names import answer_names
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.making import making
from perennial.lineage.manifest import LabelsUsed, Manifest
from perennial.lineage.version_folder import golden_rows, read_signature
from perennial.registry.model_registry import ORCHESTRATOR, TRACE
from perennial.registry.run_facts import ROWS, ColumnShown, DatasetUsed, RunFacts
from perennial.specs import Column
from perennial.store import Store

LETTERS = 2_000  # of a value in an example: pictures and long texts are left out


def facts_of(store: Store, manifest: Manifest, record: dict[str, Any]) -> RunFacts:
    """The facts of a version.

    Args:
        store: has its folder.
        manifest: of the version.
        record: what its training measured; empty for a recalibration.
    """
    rows = record.get("rows", {}).get("train")
    signature, example = _signature(store, manifest), _example(store, manifest)
    return RunFacts(
        datasets=tuple(_datasets(store, manifest, rows)),
        source=f"include/perennial_models/{manifest.model}",
        commit=_commit(store, manifest),
        parameters=_parameters(manifest, record),
        inputs=tuple(_input(each) for each in signature.get("inputs", ())),
        outputs=_outputs(signature, manifest),
        example=example,
    )


def told_of_run(run_url: str) -> dict[str, str]:
    """What the registry's run says of who runs it: the page of the run that asked, and the trace, where there is one."""
    return {name: value for name, value in ((ORCHESTRATOR, run_url), (TRACE, tracing.trace_id())) if value}


def _datasets(store: Store, manifest: Manifest, rows: int | None) -> list[DatasetUsed]:
    used = manifest.labels
    content = used.rows_digest if used else manifest.snapshot_digest
    every = [_dataset(store, manifest.dataset, content, manifest.snapshot, rows=rows)]
    if isinstance(used, LabelsUsed):
        every.append(_dataset(store, used.feed.dataset, used.digest, used.snapshot, context="labels"))
    joined = {one.join.dataset: one for one in manifest.joined}
    every += [_dataset(store, name, one.digest, one.snapshot, context="joined") for name, one in joined.items()]
    return every


def _dataset(store: Store, name: str, digest: str, snapshot: int, *, context: str = "training", rows: int | None = None) -> DatasetUsed:
    try:
        columns: tuple[Column, ...] = discovery.dataset(name).columns
    except UnknownName:  # its file is gone; what was trained on it stays
        columns = ()
    shown = tuple(ColumnShown(one.name, one.type, str(one.of or ""), required=not one.nullable) for one in columns)
    return DatasetUsed(name, digest, store.uri(f"tables/{name}"), snapshot, shown, context, rows)


def _commit(store: Store, manifest: Manifest) -> str:
    try:
        made = making(store, manifest.model, manifest.digest)
    except StoredDataDamaged:
        return ""  # a page says it; the registry needs no commit
    if made is None:
        return ""
    return made.project_commit if discovery.project_of(manifest.model) else made.commit


def _parameters(manifest: Manifest, record: dict[str, Any]) -> dict[str, str]:
    """What made it, and what two trainings differ in though the spec is the same: their data."""
    parameters = {"learner": manifest.learner, "data.snapshot": str(manifest.snapshot), "data.dataset": manifest.dataset}
    for part, rows in record.get("rows", {}).items():
        parameters[f"data.{part}_rows"] = str(rows)
    for part, (first, end) in record.get("bounds", {}).items():
        parameters[f"data.{part}_from"], parameters[f"data.{part}_before"] = first, end
    return parameters


def _signature(store: Store, manifest: Manifest) -> dict[str, Any]:
    try:
        return read_signature(store, manifest.model, manifest.digest)
    except (StoredDataDamaged, UnknownName):
        return {}  # whoever serves it is told; the registry shows none


def _example(store: Store, manifest: Manifest) -> list[dict[str, Any]]:
    """Golden rows, as a request may send them, without what is too long to be shown."""
    rows = golden_rows(store, manifest.model, manifest.digest)
    return [row for row in rows[:ROWS] if len(json.dumps(row)) <= LETTERS]


def _input(each: dict[str, Any]) -> ColumnShown:
    return ColumnShown(each["name"], each["type"], str(each.get("of") or ""), required=not each.get("nullable"))


def _outputs(signature: dict[str, Any], manifest: Manifest) -> tuple[ColumnShown, ...]:
    """A score for each class, the value of a regression, or score and alarm."""
    if not signature:
        return ()
    names = answer_names(str(signature.get("task", "")), tuple(signature.get("classes") or ()))
    if names == ("value",):
        names = (str(manifest.parameters.get("label") or "value"),)
    return tuple(ColumnShown(str(name), "float") for name in names)
