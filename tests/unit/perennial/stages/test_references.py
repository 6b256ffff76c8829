"""References of windows: what is kept of them can be made again."""

from __future__ import annotations

from types import SimpleNamespace

import pyarrow as pa

from perennial.stages._references import References
from perennial.store import FolderStore
from perennial.testing import small_model


def test_a_sample_that_cannot_be_read_is_drawn_again(tmp_path, caplog, monkeypatch):
    """MO-17: It is made of the snapshot, so nothing is lost with it; the log names it."""
    rows = pa.table({"distance": [1.0, 2.0, 3.0]})
    monkeypatch.setattr(References, "snapshot", lambda self, version: (None, "d" * 64))
    monkeypatch.setattr(References, "_newest_rows", lambda self, source, columns: rows)
    store = FolderStore(str(tmp_path))
    references = References(store, small_model(), SimpleNamespace(), {})
    assert references.sampled(1, ["distance"]) == rows
    (sample,) = store.list("profiles")
    store.write(sample.key, b"x")
    assert references.sampled(1, ["distance"]) == rows
    assert f"The sample {sample.key} cannot be read" in caplog.text
    monkeypatch.setattr(References, "_newest_rows", None)
    assert references.sampled(1, ["distance"]) == rows
