"""`perennial labels import`: annotations become rows of a label feed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import labels
from perennial.data.readers import read_batch
from perennial.errors import BatchRefused
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, FileForm
from perennial.store import FolderStore

FEED = DatasetSpec(
    name="verdicts", title="Verdicts", owner="tests", key=("claim", "known"), event_time="known",
    columns=(
        Column(name="claim", type="int"), Column(name="known", type="timestamp"), Column(name="fraud", type="string"),
        Column(name="sure", type="int", nullable=True),
    ),
)  # fmt: skip


def task(claim: int | None, *annotations: dict[str, Any]) -> dict[str, Any]:
    """A task as Label Studio exports it."""
    return {"id": 9, "data": {"text": "hit a wall", **({} if claim is None else {"claim": claim})}, "annotations": list(annotations)}


def annotation(choice: str | list[str] | None, day: int, **more: Any) -> dict[str, Any]:
    """An annotation with a choice, and a rating where there is a choice."""
    result = [
        {
            "from_name": "fraud",
            "to_name": "text",
            "type": "choices",
            "value": {"choices": choice if isinstance(choice, list) else [choice]},
        },
        {"from_name": "sure", "to_name": "text", "type": "rating", "value": {"rating": 4}},
    ]
    times = {"created_at": "2024-01-01T00:00:00.5Z", "updated_at": f"2024-02-0{day}T23:30:00.250000+01:00"}
    return {"id": 1, "completed_by": 3, "result": result if choice else [], "was_cancelled": False, **times, **more}


def twice(*choices: str) -> dict[str, Any]:
    """An annotation of several regions, each with its choice, and a relation between them."""
    results = [result for choice in choices for result in annotation(choice, 1)["result"]]
    return annotation("", 1, result=[{"type": "relation", "from_id": "a", "to_id": "b"}, *results])


@pytest.fixture
def land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`land(name, content)`: import a file; the rows as ingestion reads them."""
    monkeypatch.setattr(discovery, "dataset", lambda name: FEED)
    store = FolderStore(str(tmp_path / "store"))

    def land(name: str, content: str) -> list[dict[str, Any]]:
        file = tmp_path / name
        file.write_text(content)
        assert labels.run(Settings(), store, "import", file, "verdicts") == 0
        rows: list[dict[str, Any]] = read_batch(Path(store.root, f"landing/verdicts/{file.stem}.csv"), FEED).to_pylist()
        return rows

    return land


def test_annotations_become_rows(land: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-03: Each answer is a row of the moment when it was last changed; skipped and empty ones are left out and counted."""
    export = [
        task(7, annotation("yes", 1), annotation("no", 2)),
        task(8, annotation(None, 1), annotation("yes", 1, was_cancelled=True)),
        task(9),
    ]
    rows = land("export.json", json.dumps(export))
    assert [(row["claim"], str(row["known"]), row["fraud"], row["sure"]) for row in rows] == [
        (7, "2024-02-01 22:30:00.250000", "yes", 4),
        (7, "2024-02-02 22:30:00.250000", "no", 4),
    ]
    assert "2 labels in export.json; 2 annotations without a value are left out." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("min.json", json.dumps([{"id": 1, "claim": 7, "fraud": "yes", "annotator": 3, "updated_at": "2024-02-01T22:30:00Z"}])),
        ("flat.csv", "annotator,claim,created_at,fraud,id,updated_at\n3,7,2024-01-01T00:00:00Z,yes,1,2024-02-01T22:30:00Z\n"),
    ],
)
def test_flat_exports_are_read_too(land: Any, name: str, content: str) -> None:
    """DM-03: JSON-MIN and CSV; a label column that is not in the export is missing."""
    (row,) = land(name, content)
    assert (row["claim"], str(row["known"]), row["fraud"], row["sure"]) == (7, "2024-02-01 22:30:00", "yes", None)


def test_the_file_is_written_as_those_of_its_feed(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03: What a feed declares of its files holds for this one too; two equal answers of one annotation are one."""
    feed = FEED.model_copy(update={"files": FileForm(separator=";", encoding="utf-16")})
    monkeypatch.setattr(discovery, "dataset", lambda name: feed)
    monkeypatch.setitem(land.__globals__, "FEED", feed)
    (row,) = land("export.json", json.dumps([task(7, twice("ýes; no", "ýes; no"))]))
    assert (row["claim"], row["fraud"]) == (7, "ýes; no")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is no JSON"),
        ("{}", "is no export of Label Studio: it should be a list of tasks"),
        (json.dumps([task(None, annotation("yes", 1))]), "Annotation 1 of a.json has no claim, which verdicts needs"),
        (json.dumps([task(7, annotation(["yes", "no"], 1))]), "its fraud is .*one value"),
        (json.dumps([task(7, twice("yes", "no"))]), "Annotation 1 of a.json has several values of fraud, and a label is one value"),
        (json.dumps([{**task(7), "annotations": None}]), "has no label for verdicts"),
        (json.dumps([task(7, annotation(None, 1))]), "has no label for verdicts: nothing was landed"),
    ],
)
def test_what_is_no_label_is_refused(land: Any, content: str, why: str) -> None:
    """DM-03: Nothing is landed by half; the sentence names the annotation and what it lacks."""
    with pytest.raises(BatchRefused, match=why):
        land("a.json", content)
