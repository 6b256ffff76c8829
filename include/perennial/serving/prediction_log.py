"""Records every answer and every outcome in the store. Predictions off the request path, outcomes before they are acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import orjson

from perennial.errors import StoreUnreachable
from perennial.online_values import Found
from perennial.serving.segments import SegmentWriter
from perennial.store import Store

_ROW_OVERHEAD = 400  # bytes of Python objects and of the line's own fields for one row, roughly


class PredictionLog:
    """`predictions/<model>/<segment>.jsonl`: one line per scored row, of a served answer or of a shadow's.

    A line: `{"id", "model", "version", "time", "event_time", "row": {...}, "scores": [...], "ms"}` and `"shadow": true` where nobody
    saw the answer, `"fallback": "constant"` where it stands in for one that failed; `"unit"` where the caller named the unit that an
    experiment would share out; `"trace"` with the identity of the request's trace where spans are sent; where the server looked for what
    joins bring, `"joined": {"<join>": {"state", "age_seconds"}}`. A kill -9 loses what was answered in the last second.
    """

    def __init__(self, store: Store, model: str, version: int, **limits: Any) -> None:
        self.model, self.version = model, version
        self.segments = SegmentWriter(store, f"predictions/{model}", f"v{version}", **limits)

    def record(
        self,
        puid: str,
        rows: Sequence[Mapping[str, Any]],
        scores: np.ndarray,
        milliseconds: float,
        *,
        body_bytes: int,
        event_time: str | None = None,
        shadow: bool = False,
        found: Mapping[int, Mapping[str, Found]] | None = None,
        unit: str | None = None,
        trace: str = "",
        fallback: str = "",
    ) -> bool:
        """Hand one answer over; row i gets the id `<puid>-<i>`. Never waits; False if the log is full and the answer was dropped."""
        now = datetime.now(timezone.utc).isoformat()

        def lines() -> bytes:
            fixed: dict[str, Any] = {
                "model": self.model,
                "version": self.version,
                "time": now,
                "event_time": event_time or now,
                "ms": round(milliseconds, 3),
            }
            if shadow:
                fixed["shadow"] = True
            if unit is not None:
                fixed["unit"] = unit
            if trace:
                fixed["trace"] = trace
            if fallback:
                fixed["fallback"] = fallback
            return _lines(puid, fixed, rows, scores, found or {})

        return self.segments.put(body_bytes + scores.nbytes + _ROW_OVERHEAD * len(rows), lines)


def _lines(
    puid: str, fixed: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], scores: np.ndarray, found: Mapping[int, Mapping[str, Found]]
) -> bytes:
    """The lines of an answer; `fixed` is the same in all, and written once."""
    first = next(iter(fixed))
    same = orjson.Fragment(orjson.dumps(fixed)[len(f'{{"{first}":') : -1])  # all that follows the first name
    lines = bytearray()  # which grows: thousands of lines that wait to be joined cost several times as much memory and time
    for place, (row, row_scores) in enumerate(zip(rows, scores.tolist(), strict=True)):
        line: dict[str, Any] = {"id": f"{puid}-{place}", first: same, "row": row, "scores": row_scores}
        if found:
            line |= _joined(found.get(place))
        lines += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    return bytes(lines)


def _joined(found: Mapping[str, Found] | None) -> dict[str, Any]:
    """What joins found for a row, as its line says it; nothing where they were not asked."""
    if not found:
        return {}
    ages = {name: {} if one.age is None else {"age_seconds": one.age.total_seconds()} for name, one in found.items()}
    return {"joined": {name: {"state": one.state, **ages[name]} for name, one in found.items()}}


class OutcomeLog:
    """`outcomes/<model>/<segment>.jsonl`: one line `{"id", "outcome", "time"}` per outcome, stored before the caller hears that it was."""

    def __init__(self, store: Store, model: str, version: int, *, wait_seconds: float = 5.0) -> None:
        self.wait_seconds = wait_seconds
        self.segments = SegmentWriter(store, f"outcomes/{model}", f"v{version}")

    def record(self, prediction_id: str, outcome: float) -> None:
        """Store one outcome. Outcomes that arrive together share a segment.

        Raises:
            StoreUnreachable: the store did not take it in time; sending it again is safe.
        """
        line = {"id": prediction_id, "outcome": outcome, "time": datetime.now(timezone.utc).isoformat()}
        if not self.segments.put_and_wait(300, lambda: orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE), self.wait_seconds):
            raise StoreUnreachable(f"The outcome of {prediction_id} could not be stored in {self.wait_seconds:g} s: send it again.")
