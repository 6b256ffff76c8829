"""What windows before a window showed is known from their reports, or judged again."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from perennial.monitoring.windows import Window, report_folder
from perennial.stages._lasting import _drifted_before
from perennial.store import FolderStore
from perennial.testing import small_model


@pytest.mark.parametrize("content", [b'{"requests": 12', b"[]", b'{"requests": 12, "version": 1}'])
def test_a_report_that_cannot_be_read_is_no_report(tmp_path, caplog, content):
    """MO-17: A look does not end there, now and every night: the window is judged again, and the log names the report."""
    window = Window(datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 3, tzinfo=timezone.utc))
    store, spec = FolderStore(str(tmp_path)), small_model()
    store.write(f"{report_folder(spec.name, window)}/report.json", content)
    rows = SimpleNamespace(num_rows=12)
    verdict = SimpleNamespace(version=1, verdict=SimpleNamespace(alarming=("carrier",)))
    traffic: Any = SimpleNamespace(store=store, spec=spec, predictions=lambda _: rows)
    windows: Any = SimpleNamespace(judge=None, verdict=lambda _, given: verdict if given is rows else None)
    assert _drifted_before(traffic, windows, window, 1, frozenset({1})) == {"carrier"}
    assert "report.json is no report of a window" in caplog.text
