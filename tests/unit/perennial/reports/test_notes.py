"""A note saves looking at reports, and no report is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.reports import notes
from perennial.store import FolderStore

DIGESTS = {name: name * 64 for name in "abc"}


def judge(store: FolderStore, name: str, verdict: bytes) -> None:
    store.write(f"reports/churn/{DIGESTS[name]}/evaluation.html", b"")
    store.write(f"reports/churn/{DIGESTS[name]}/gate.json", verdict)


def verdict(passed: bool) -> bytes:
    return json.dumps({"passed": passed, "sentence": f"It is {passed}."}).encode()


STEPS = st.lists(st.tuples(st.sampled_from(["evaluate", "judge", "forget", "garble"]), st.sampled_from("abc"), st.booleans()), max_size=10)


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_every_evaluation_is_known_whatever_became_of_the_note(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    """Evaluated, judged and judged again, the note lost or garbled between: the list has each version and what the gate said of it last."""
    store, right = FolderStore(str(tmp_path_factory.mktemp("store"))), dict[str, bool | None]()
    for step, name, passed in steps:
        if step == "evaluate":
            store.write(f"reports/churn/{DIGESTS[name]}/evaluation.html", b"")
            right.setdefault(name, None)
        elif step == "judge":
            judge(store, name, verdict(passed))
            notes.note_evaluation(store, "churn", DIGESTS[name])
            right[name] = passed
        elif step == "forget":
            store.delete("views/reports/evaluations/churn.json")
        else:
            store.write("views/reports/evaluations/churn.json", b"[" if passed else b'{"form": 1, "of": 3}')
    assert {one.digest[0]: one.passed for one in notes.evaluations(store, "churn")} == right


def test_a_noted_evaluation_is_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of many versions reads one note and one listing; versions without a page, as recalibrations are, are noted too."""
    store = FolderStore(str(tmp_path))
    for name in "ab":
        judge(store, name, verdict(True))
    store.write(f"reports/churn/{DIGESTS['c']}/gate.json", verdict(True))
    notes.note_evaluation(store, "churn", DIGESTS["a"])
    read = []
    monkeypatch.setattr(store, "read", lambda key: read.append(key) or FolderStore.read(store, key))
    monkeypatch.setattr(store, "stat", lambda key: pytest.fail(f"{key} is looked at"))
    assert sorted(one.digest[0] for one in notes.evaluations(store, "churn")) == ["a", "b"]
    assert read == ["views/reports/evaluations/churn.json"]


@pytest.mark.parametrize("damaged", [b"[]", b"{", b'{"passed": true}'])
def test_a_damaged_verdict_is_said(tmp_path: Path, damaged: bytes) -> None:
    """A verdict that cannot be read hides no report."""
    store = FolderStore(str(tmp_path))
    judge(store, "a", damaged)
    (found,) = notes.evaluations(store, "churn")
    assert found.passed is None


def test_of_batches_the_newest_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: The note has as many batches as a list may show, the newest, and a list then reads nothing else."""
    monkeypatch.setattr(notes, "KEPT", 2)
    store = FolderStore(str(tmp_path))
    for day in (1, 2, 3):
        store.write(f"reports/flights/docs/validations/{day}.csv~{day}~10~passed.html", b"")
    listed = notes.listed_batches(store, "flights")
    assert len(listed) == 3
    notes.note_batches(store, "flights", listed)
    monkeypatch.setattr(store, "list", lambda prefix: pytest.fail(f"{prefix} is listed"))
    assert notes.batches(store, "flights") == listed[:2]
