"""What was judged of a window, kept beside its report: `judged.json`, and `anomalies.json` of its strange requests.

A window is looked at many times before the next one is complete, and then as one of those before it. It is judged again only if other
predictions came in, or if it would be judged by something else: another snapshot, layout, spec or code. Both files may be deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.monitoring.drift import DriftVerdict
from perennial.monitoring.figures import Anomalies, Break
from perennial.monitoring.windows import Window, report_folder
from perennial.stages._last_look import code_digest
from perennial.stages._window import Judge, Judged
from perennial.store import Store

IDENTIFYING = ["prediction_id", "model_version", "served_at"]  # of a row, which is never written again


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str = Field(description="Digest of the predictions, and of all by which they are judged.")


class _KeptVerdict(_Kept):
    """A verdict as it is stored."""

    version: int
    verdict: DriftVerdict
    by_version: dict[int, int]
    breaks: tuple[Break, ...]
    few: bool


class _KeptAnomalies(_Kept):
    """Strange requests as they are stored."""

    anomalies: Anomalies


K = TypeVar("K", bound=_Kept)


@dataclass(frozen=True)
class JudgedWindows:
    """Judges windows as a judge does, each once.

    Args:
        judge: is asked what is not kept.
    """

    judge: Judge

    def verdict(self, window: Window, rows: pa.Table) -> Judged:
        """The drift test of a window with these predictions."""

        def make(of: str) -> _KeptVerdict:
            made = self.judge.judge(window, rows)
            return _KeptVerdict(
                of=of, version=made.version, verdict=made.verdict, by_version=dict(made.by_version), breaks=made.breaks, few=made.few
            )

        kept = self._kept(window, rows, "judged", _KeptVerdict, make)
        return Judged(kept.version, kept.verdict, kept.by_version, kept.breaks, kept.few)

    def anomalies(self, window: Window, rows: pa.Table, version: int) -> Anomalies:
        """The requests of a window that are unlike all rows of the reference of the version that answered most of it."""

        def make(of: str) -> _KeptAnomalies:
            return _KeptAnomalies(of=of, anomalies=self.judge.anomalies(version, rows, window.seed))

        return self._kept(window, rows, "anomalies", _KeptAnomalies, make).anomalies

    def _kept(self, window: Window, rows: pa.Table, what: str, kind: type[K], make: Callable[[str], K]) -> K:
        store = self.judge.references.store
        key = f"{report_folder(self.judge.references.spec.name, window)}/{what}.json"
        of = self._identity(window, rows)
        known = _read(store, key, kind)
        if known is not None and known.of == of:
            return known
        made = make(of)
        data = made.model_dump_json().encode()
        if kind.model_validate_json(data) == made:  # what is no number would come back as another
            store.write(key, data)
        return made

    def _identity(self, window: Window, rows: pa.Table) -> str:
        """A hash of everything on which it depends what is judged of a window."""
        references = self.judge.references
        spec, versions = references.spec, sorted(rows["model_version"].unique().to_pylist())
        layout = references.store.stat(f"profiles/{references.dataset.name}/layout.json")
        parts = [
            code_digest(),
            window.name,
            _rows_identity(rows),
            {str(version): references.digests.get(version, "") for version in versions},
            spec.model_dump(mode="json"),
            references.dataset.model_dump(mode="json"),
            layout.etag if layout else "",
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _rows_identity(rows: pa.Table) -> list[str]:
    """The number of some predictions, and a sum over them that is the same in any order."""
    import duckdb

    connection = duckdb.connect()
    connection.register("r", rows.select(IDENTIFYING))
    found = connection.execute(f"select count(*)::varchar, sum(hash({', '.join(IDENTIFYING)}))::varchar from r").fetchone()  # noqa: S608
    assert found is not None
    return list(found)


def _read(store: Store, key: str, kind: type[K]) -> K | None:
    """What is kept; None if there is none, or none that can be read, such as of another state of the platform."""
    try:
        return kind.model_validate_json(store.read(key))
    except (KeyError, ValidationError):
        return None
