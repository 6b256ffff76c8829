"""How a version was made is noted once, beside the version folder and not in it: a training made again has the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial import tracing
from perennial.errors import StoredDataDamaged
from perennial.lineage import making as module
from perennial.lineage.making import making, note_making
from perennial.lineage.manifest import code_digest, code_files, lock_digest, locked_packages
from perennial.lineage.version_folder import made_key, trained_in
from perennial.store import FolderStore
from perennial.testing.spans import Spans


def test_seconds_files_and_packages_are_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16, MO-23: Seconds, commit, files and packages; whoever comes later, such as a repeated stage, changes nothing."""
    monkeypatch.setattr(module, "source_commit", lambda: "c0ffee")
    store = FolderStore(str(tmp_path))
    assert making(store, "digits", "a" * 64) is None
    note_making(store, "digits", "a" * 64, seconds=12.5)
    note_making(store, "digits", "a" * 64)
    made = making(store, "digits", "a" * 64)
    assert made is not None
    assert (made.seconds, made.commit, made.packages["onnx"][:1]) == (12.5, "c0ffee", "1")
    assert {"perennial_models/digits/model.py", "perennial/training/trainer.py"} <= set(made.code)
    assert "perennial_models/digits/spec.py" not in made.code
    store.write(f"models/digits/made/{'a' * 64}.json", b"[]")
    with pytest.raises(StoredDataDamaged, match="how long aaaaaaaaaaaa of digits was trained"):
        making(store, "digits", "a" * 64)


def test_the_trace_of_the_stage_is_noted_and_older_notes_open(tmp_path: Path) -> None:
    """MN-13: Servers link to the trace in which their version was made; of notes from before that, and damaged ones, none is known."""
    store = FolderStore(str(tmp_path))
    with Spans() as spans:
        tracing.begin("stage train", "perennial-stage", {}, environment=spans.variables())
        said = tracing.headers()["traceparent"]
        note_making(store, "digits", "a" * 64)
        tracing.end("done", "trained")
    note_making(store, "digits", "b" * 64)
    known = {letter: trained_in(store, "digits", letter * 64) for letter in "abc"}
    assert known == {"a": said, "b": "", "c": ""}
    older = json.loads(store.read(made_key("digits", "b" * 64)))
    del older["trace"]
    store.write(made_key("digits", "d" * 64), json.dumps(older).encode())
    made = making(store, "digits", "d" * 64)
    assert made is not None
    assert made.trace == trained_in(store, "digits", "d" * 64) == ""
    for damaged in (b"[]", b"{", b'{"trace": 7}'):
        store.write(made_key("digits", "e" * 64), damaged)
        assert trained_in(store, "digits", "e" * 64) == ""


def test_files_and_packages_are_those_of_the_digests() -> None:
    """MO-16: What tells two versions apart by digest is what is listed by file and package."""
    assert len(code_digest("digits")) == len(lock_digest()) == 64
    assert code_files("digits") != code_files("flight_delays")
    assert len(locked_packages()) > 50
    assert all(version and " " not in version for version in locked_packages().values())


def test_a_checkout_says_its_commit_and_an_image_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16: The commit of the source tree; empty, and no error, where there is none or no git."""
    assert len(module.source_commit()) in (0, 40)
    monkeypatch.setattr(module.perennial, "__file__", str(tmp_path / "project" / "include" / "perennial" / "__init__.py"))
    assert module.source_commit() == ""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    assert module.source_commit() == ""  # a folder of that name that is no repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.source_commit() == ""
