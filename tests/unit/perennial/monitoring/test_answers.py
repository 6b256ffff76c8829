"""When a look at a release has new outcomes or predictions to count."""

from __future__ import annotations

import pyarrow as pa

from perennial.data.tables import Table
from perennial.monitoring.answers import newest_mark
from perennial.served_log import Batch, batch_key, growing_name
from perennial.store import FolderStore


def test_the_mark_changes_whenever_something_is_logged_or_taken_in(tmp_path):
    """SE-13: A line behind others in the same segment, another segment, a commit, whether or not batches were taken before; predictions
    only where they are asked for."""
    store = FolderStore(str(tmp_path))
    marks = [newest_mark(store, "m")]

    def changed() -> bool:
        marks.append(newest_mark(store, "m"))
        return marks[-1] not in marks[:-1]

    assert marks == [""]
    for key, data in (
        (growing_name("v1", 1), b"1\n"),
        (growing_name("v1", 1), b"1\n2\n"),
        (growing_name("v1", 2), b"3\n"),
    ):
        store.write(f"outcomes/m/{key}", data)
        assert changed()
        store.write(batch_key("outcomes/m", 1), Batch(1).encoded())
    Table(store, "m_outcomes").append(pa.table({"prediction_id": ["a"]}), "1f" * 32)
    assert changed()
    assert newest_mark(store, "m") == marks[-1]
    key = f"predictions/m/{growing_name('v1', 1)}"
    store.write(key, b"1\n")
    assert not changed()
    whole = newest_mark(store, "m", with_predictions=True)
    assert whole.endswith(f" {growing_name('v1', 1)}@{store.stat(key).etag}")
    store.write(key, b"1\n2\n")
    assert newest_mark(store, "m", with_predictions=True) != whole
