"""Each document of a store, and each note of it, garbled in turn: every view answers, or says in a sentence what is damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from perennial.data.batches import note_batches
from perennial.errors import PerennialError
from perennial.incidents.incidents import Incidents
from perennial.lineage.learned import note_learned
from perennial.lineage.ledger import Ledger
from perennial.lineage.release_record import Limits, Plan, begin_record
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_notes import evaluation_key, note_versions
from perennial.reports.notes import note_evaluation
from perennial.store import FolderStore
from perennial.views.comparison import comparison_view
from perennial.views.data import batch_view, data_view
from perennial.views.drift import drift_view
from perennial.views.incidents import incidents_view
from perennial.views.ledger import ledger_view, moment_view
from perennial.views.lineage import lineage_view
from perennial.views.model import model_view
from perennial.views.models import models
from perennial.views.release import release_view
from perennial.views.reports import reports
from perennial.views.version import version_view
from perennial.views.versions import versions_view

from .test_data import BEGIN, DATASET, NAME, known, store

__all__ = ["known", "store"]
GARBLED = (b"", b"null", b'[{"of": [1], "time": 1}]', b"\xff\xfe{")
VIEWS: tuple[Callable[[FolderStore], Any], ...] = (
    lambda store: model_view(store, NAME),
    lambda store: release_view(store, NAME),
    lambda store: drift_view(store, NAME),
    lambda store: versions_view(store, NAME),
    lambda store: version_view(store, NAME, "1"),
    lambda store: comparison_view(store, NAME, "1", "2"),
    lambda store: data_view(store, NAME),
    lambda store: batch_view(store, NAME, "f1"),
    lambda store: lineage_view(store, NAME),
    lambda store: incidents_view(store, [NAME]),
    lambda store: ledger_view(store, NAME),
    lambda store: moment_view(store, NAME, BEGIN),
    lambda store: reports(store, [NAME], [DATASET]),
)


@pytest.fixture
def whole(store: FolderStore) -> FolderStore:
    """The store with everything noted that is noted anywhere."""
    digest = Ledger(store, NAME).entries()[-1].versions[2]
    for day in (1, 2):
        Incidents(store, NAME).open("drift", f"column {day}", "warning", "It drifted.")
    store.write(verdict_key(NAME, digest), json.dumps({"passed": True, "sentence": "Better.", "checks": []}).encode())
    part = {"rows": 9, "days": ["2013-01-04", "2013-01-06"], "candidate": {"metrics": {"rmse": 1.5}}}
    store.write(evaluation_key(NAME, digest), json.dumps({"parts": {"test": part}}).encode())
    store.write(evaluation_key(NAME, digest).replace(".json", ".html"), b"<p>")
    store.write(f"reports/{NAME}/windows/2013-01-04_2013-01-05/report.json", b"{}")
    store.write(f"tables/{DATASET}/_delta_log/00000000000000000000.json", b'{"commitInfo": {"perennial.batch": "f1"}}')
    begin_record(store, NAME, 1, Plan(candidate=2, champion=1, steps=(10,), limits=Limits(requests=9, seconds=9, longest_seconds=9)), BEGIN)
    note_versions(store, NAME)
    note_learned(store, NAME)
    note_evaluation(store, NAME, digest)
    note_batches(store, DATASET, "sched_dep")
    store.write(f"views/batches/{DATASET}/owed/f2~0", b"2026-03-02")
    return store


def test_each_document_garbled_in_turn_is_a_sentence(whole: FolderStore) -> None:
    """DM-09: No view fails otherwise than with a sentence, and the list of models always answers."""
    keys = sorted(str(path.relative_to(whole.path)) for path in whole.path.rglob("*") if path.is_file())
    kinds = {re.sub(r"[0-9a-f]{24,}|\d{4,}|f\d", "#", key): key for key in keys if not key.endswith((".onnx", ".py"))}
    assert len(kinds) > 20
    for key in kinds.values():
        before = whole.read(key)
        for garbled in GARBLED:
            whole.write(key, garbled)
            models(whole)
            for view in VIEWS:
                try:
                    view(whole)
                except PerennialError:
                    continue
                except Exception as error:
                    error.add_note(f"with {garbled!r} at {key}")
                    raise
        whole.write(key, before)


def test_a_mark_that_was_garbled_stops_no_ingestion(whole: FolderStore) -> None:
    """DM-02: The receipt it is of is noted anew all the same."""
    whole.write(f"views/batches/{DATASET}/owed/f3~0", b"\xff")
    note_batches(whole, DATASET, "sched_dep")
    assert not list(whole.list(f"views/batches/{DATASET}/owed"))
    assert "f3" in {batch.id for batch in data_view(whole, NAME).batches}
