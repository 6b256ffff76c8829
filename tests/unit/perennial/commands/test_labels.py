"""`perennial labels import`: annotations become rows of a label feed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import labels
from perennial.data.readers import read_batch
from perennial.errors import BatchRefused, UnknownName
from perennial.labelling.answers import Target
from perennial.labelling.asked import Asked
from perennial.labelling.exports import read_export
from perennial.labelling.imports import Imports
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


def said(claim: int, choice: str, person: int | str | dict[str, Any], day: int = 1) -> dict[str, Any]:
    """A task with one person's answer."""
    return task(claim, annotation(choice, day, completed_by=person))


def test_the_labels_of_several_people(land: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-03, DM-10: What more than half say lands, what they do not agree on is held back with the reason and the key; the same export
    again changes nothing, and a later answer of the same person replaces his own."""
    ada, bob, cy = {"id": 1, "email": "ada@x.org"}, 2, 3
    first = [
        task(7, *(annotation("yes", 1, completed_by=who) for who in (ada, bob)), annotation("no", 1, completed_by=cy)),
        task(8, annotation("yes", 1, completed_by=ada), annotation("no", 1, completed_by=bob)),
    ]
    rows = land("first.json", json.dumps(first))
    assert [(row["claim"], row["fraud"]) for row in rows] == [(7, "yes")]
    told = capsys.readouterr().out
    assert "5 labels are new, and 1 agreed one was handed on. verdicts has labels of 2 rows by 3 people: 1 agreed on" in told
    assert "held back: claim 8: fraud: no, yes: none has more than half" in told
    assert land("first.json", json.dumps(first)) == rows
    assert "Nothing is new." in capsys.readouterr().out
    assert [(row["claim"], row["fraud"]) for row in land("second.json", json.dumps([said(8, "yes", 2, day=2)]))] == [(8, "yes")]
    assert "0 held back" in capsys.readouterr().out
    with pytest.raises(OSError, match="No such file"):  # an older answer of his that comes later changes nothing
        land("third.json", json.dumps([said(8, "no", 2, day=1)]))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><task><updated>2024-02-01 22:30:00.5</updated><assignee><username>ada</username></assignee></task></meta>
<image id="0" name="scans/7.png" width="4" height="4"><tag label="yes" source="manual"><attribute name="sure">4</attribute></tag></image>
<image id="1" name="8.png" width="4" height="4"></image></annotations>"""
COCO = {
    "info": {"date_created": "2024-02-01 22:30:00.5"}, "categories": [{"id": 1, "name": "yes"}],
    "images": [{"id": 5, "file_name": "scans/7.png"}, {"id": 6, "file_name": "8.png"}],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 4, 4]}],
}  # fmt: skip
PLAIN = "claim;fraud;sure;_person;known\n7;yes;4;ada;2024-02-01 22:30:00.5\n8;;;ada;2024-02-01 22:30\n"


@pytest.mark.parametrize(("name", "content"), [("a.xml", CVAT), ("a.json", json.dumps(COCO)), ("a.csv", PLAIN)])
def test_exports_of_other_tools(land: Any, name: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-03: A tag or a category is the label of its image, whose name is the key; images without one are left out and counted."""
    (row,) = land(name, content)
    assert (row["claim"], row["fraud"], str(row["known"])) == (7, "yes", "2024-02-01 22:30:00.500000")
    assert row["sure"] == (None if name == "a.json" else 4)
    assert "1 annotations without a value are left out" in capsys.readouterr().out


def test_archives(tmp_path: Path) -> None:
    """DM-03: CVAT gives an archive with the pictures beside the one file that counts."""
    target = Target("scans", (Column(name="file", type="string"),), (Column(name="finding", type="string"),), "known")
    for names, keys in ((["annotations.xml", "images/8.png"], [("scans/7.png",)]), (["annotations.xml", "b.json"], []), ([], [])):
        with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
            for name in names:
                archive.writestr(name, CVAT)
        if keys:
            assert [answer.key for answer in read_export(tmp_path / "task.zip", target).answers] == keys
        else:
            with pytest.raises(BatchRefused, match="should have one"):
                read_export(tmp_path / "task.zip", target)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.xml", "<annotations>", "a.xml is no XML"),
        ("a.xml", "<pascal><image/></pascal>", "is no export 'CVAT for images 1.1'"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "declares entities"),
        ("a.xml", CVAT.replace('<tag label="yes"', '<tag label="no"/><tag label="yes"'), "image scans/7.png of a.xml has several tags"),
        ("a.json", json.dumps({**COCO, "categories": []}), "a.json is no COCO export: 1 is missing or unknown"),
        ("a.csv", PLAIN.replace("2024-02-01 22:30:00.5", "soon"), "its known is 'soon', which is no time like"),
        ("a.csv", PLAIN.replace("7;yes", ";yes"), "Annotation 1 of a.csv has no claim"),
    ],
)
def test_exports_that_are_refused(land: Any, name: str, content: str, why: str) -> None:
    """DM-03: One sentence, and nothing is taken in."""
    with pytest.raises(BatchRefused, match=why):
        land(name, content)


def test_an_export_without_times_counts_from_now(land: Any) -> None:
    """DM-03: Its labels became known when they were imported; the same file again brings nothing."""
    undated = json.dumps({**COCO, "info": {}})
    assert land("a.json", undated) == land("a.json", undated)


def test_what_was_not_handed_on_is_made_up_for(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03: Killed between the record and the landing: the next import, of whatever, lands what is missing, once."""
    with monkeypatch.context() as killed:
        killed.setattr("perennial.commands._labels_import.land_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            land("a.csv", PLAIN)
    (row,) = land("a.csv", PLAIN)
    assert row["claim"] == 7


@pytest.mark.parametrize("named", [{"_key": {"id": 7}}, {"_key": '{"id": 7}'}, {}])
def test_the_tools_own_number_is_no_key(tmp_path: Path, named: dict[str, Any]) -> None:
    """DM-03: Flat exports of Label Studio have the task's number in the place of a column `id`: our tasks carry their key twice, and
    without that such a file is refused."""
    target = Target("verdicts", (Column(name="id", type="int"),), (Column(name="fraud", type="string"),), "known")
    file = tmp_path / "min.json"
    file.write_text(json.dumps([{"id": 1, "annotator": 3, "fraud": "yes", "updated_at": "2024-02-01T22:30:00Z", **named}]))
    if named:
        assert [answer.key for answer in read_export(file, target).answers] == [("7",)]
    else:
        with pytest.raises(BatchRefused, match="id in a flat export is Label Studio's own"):
            read_export(file, target)


def test_two_imports_at_a_time(land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-03: The one that comes second sees what the first brought: nothing is lost, nothing is there twice."""
    add, others = Imports.add, [json.dumps([said(7, "yes", 1)])]

    def slower(imports: Imports, new: Any) -> bool:
        if others:
            land("other.json", others.pop())
        return add(imports, new)

    monkeypatch.setattr(Imports, "add", slower)
    rows = land("mine.json", json.dumps([said(7, "yes", 1), said(8, "no", 2)]))
    assert [(row["claim"], row["fraud"]) for row in rows] == [(8, "no")]
    answers = Imports(FolderStore(str(tmp_path / "store")), "verdicts").answers
    assert [(answer.key, answer.person) for answer in answers] == [(("7",), "1"), (("8",), "2")]


def test_labels_of_rows_that_nobody_was_asked_about(land: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """DM-10: A key that no task had is taken and named: perhaps a table program wrote it in its own way."""
    Asked(FolderStore(str(tmp_path / "store")), "verdicts").add({"keys": [["7"]]})
    land("a.json", json.dumps([said(7, "yes", 1), said(8, "no", 2)]))
    assert "1 of the rows were never written as tasks; the first has claim 8." in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"key": ("known",)}, {"columns": FEED.columns[:2]}, {"event_time": "", "key": ("claim",)}])
def test_what_is_no_label_feed(land: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """DM-03: Without the key of a row all labels would be of one: refused, with what a label feed needs."""
    monkeypatch.setattr(discovery, "dataset", lambda name: FEED.model_copy(update=changes))
    with pytest.raises(UnknownName, match="verdicts is no label feed: it needs the key columns"):
        land("a.csv", PLAIN)


def coco(name: Any, **changes: Any) -> str:
    """A COCO export with one image."""
    return json.dumps({**COCO, "images": [{"id": 5, "file_name": name}], **changes})


HEAD = "claim,fraud,sure,_person,known\n"
THEN = "2024-02-01T10:00:00Z"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", json.dumps([{**task(7), "annotations": 5}]), "Task 1 of a.json: its annotations should be a list"),
        ("a.json", json.dumps([{**task(7), "annotations": [5]}]), "Task 1 of a.json: its annotations: each should be an object"),
        ("a.json", json.dumps([{"data": [1], "annotations": [annotation("yes", 1)]}]), "Task 1 of a.json: its data should be an object"),
        ("a.json", json.dumps([{"data": None, "annotations": [annotation("yes", 1)]}]), "Annotation 1 of a.json has no claim"),
        ("a.json", json.dumps([task(7, annotation("yes", 1, result="yes"))]), "Annotation 1 of a.json: its result should be a list"),
        ("a.json", json.dumps([task(7, annotation("yes", 1, result=[{"from_name": [], "value": 1}]))]), "has a result without a name"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "a.json is no JSON"),
        ("a.json", coco(None), "its claim is 'None', and verdicts takes a whole number"),
        (
            "a.json",
            coco("7.png", images=[{"id": 5, "file_name": "7.png"}, {"id": 5, "file_name": "8.png"}]),
            "Two images of a.json have the",
        ),
        ("a.json", json.dumps([{"_key": {"claim": [7]}, "fraud": "x", "updated_at": THEN}]), "its claim is .7., and verdicts takes one"),
        ("a.json", json.dumps([{"claim": 7, "fraud": "\ud800", "updated_at": THEN}]), "its fraud is .* and verdicts takes text"),
        ("a.csv", f"{HEAD}seven,yes,,ada,{THEN}\n", "its claim is 'seven', and verdicts takes a whole number there"),
        ("a.csv", f"{HEAD}+-7,yes,,ada,{THEN}\n", "its claim is '.-7', and verdicts takes a whole number there"),
        ("a.csv", f"{HEAD}{'9' * 5000},yes,,ada,{THEN}\n", "its claim is '9.*, and verdicts takes a whole number there"),
        ("a.csv", f"{HEAD}7,yes,very,ada,{THEN}\n", "its sure is 'very', and verdicts takes a whole number there"),
        ("a.csv", f"{HEAD}7,y\0es,,ada,{THEN}\n", "its fraud is .* and verdicts takes text there"),
        ("a.csv", f"{HEAD}7,yes, of course,4,ada,{THEN}\n", "a.csv, line 2: it has not as many fields as the header"),
        ("a.csv", f'{HEAD}7,"yes,4,ada,{THEN}\n', "a.csv is no CSV"),
        ("a.csv", f"claim,{HEAD}7,8,yes,4,ada,{THEN}\n", "header of a.csv has 'claim' twice"),
        ("a.csv", f"{HEAD}7,yes,,ada,2999-01-01T00:00:00Z\n", "its known is '2999-01-01T00:00:00Z', which is yet to come"),
        ("a.csv", f"{HEAD}7,yes,,ada,{THEN}\n7,no,,ada,{THEN}\n", "two labels of claim 7 by ada at the same time, 'yes' and 'no'"),
        ("a.csv", "claim,fraud,_person\n7,yes,\n7,no,\n", "two labels of claim 7 by a person without a name at the same time"),
    ],
)
def test_what_ingestion_would_refuse_is_refused_before_it_is_stored(land: Any, tmp_path: Path, name: str, content: str, why: str) -> None:
    """DM-03: One value that cannot land would take the labels of the whole export with it: one sentence, and nothing is kept."""
    with pytest.raises(BatchRefused, match=why):
        land(name, content)
    assert not Imports(FolderStore(str(tmp_path / "store")), "verdicts").all


@pytest.mark.parametrize(
    ("kind", "written"), [("float", "nan"), ("float", "-inf"), ("float", "1_0"), ("bool", "maybe"), ("timestamp", "soon")]
)
def test_values_that_are_none_of_their_type(tmp_path: Path, kind: Any, written: str) -> None:
    """DM-03: A label that ingestion takes for none, or for another, is refused where it is read."""
    target = Target("verdicts", (Column(name="claim", type="int"),), (Column(name="fraud", type=kind),), "known")
    (tmp_path / "a.csv").write_text(f"claim,fraud,_person\n7,{written},ada\n")
    with pytest.raises(BatchRefused, match=f"its fraud is '{written}', and verdicts takes"):
        read_export(tmp_path / "a.csv", target)


def test_an_archive_that_cannot_be_read(tmp_path: Path) -> None:
    """DM-03: One that is encrypted, or packed in a way that Python does not know, is refused with a sentence."""
    target = Target("scans", (Column(name="file", type="string"),), (Column(name="finding", type="string"),), "known")
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations.xml", CVAT)
    whole = (tmp_path / "task.zip").read_bytes()
    entry = whole.index(b"PK\x01\x02")
    for place, value in ((entry + 8, 1), (entry + 10, 99)):  # the flag of encryption, the number of the method
        (tmp_path / "task.zip").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        with pytest.raises(BatchRefused, match=r"task\.zip cannot be read"):
            read_export(tmp_path / "task.zip", target)


@pytest.mark.parametrize(
    ("name", "landed"), [(".json", "json.csv"), (".a.json", "a.csv"), ("a\nb.json", "a_b.csv"), ("a" * 200 + ".json", "a" * 90 + ".csv")]
)
def test_the_landed_file_can_be_seen(land: Any, tmp_path: Path, name: str, landed: str) -> None:
    """DM-03: Ingestion leaves hidden files alone: whatever the export is called, the agreed labels land under a name that it takes."""
    with pytest.raises(OSError, match="No such file"):  # the fixture reads the name of the export
        land(name, json.dumps([said(7, "yes", 1)]))
    assert [file.name for file in (tmp_path / "store/landing/verdicts").iterdir()] == [landed]


def test_names_that_are_taken(land: Any, tmp_path: Path) -> None:
    """DM-03: Exports of all names land side by side: none takes the place of another that still waits."""
    for name, claim in (("a-3.json", 7), ("a.json", 8), ("a.json", 9)):
        (tmp_path / name).write_text(json.dumps([said(claim, "yes", 1)]))
        assert labels.run(Settings(), FolderStore(str(tmp_path / "store")), "import", tmp_path / name, "verdicts") == 0
    files = sorted((tmp_path / "store/landing/verdicts").iterdir())
    assert sorted(row["claim"] for file in files for row in read_batch(file, FEED).to_pylist()) == [7, 8, 9]


def test_a_word_for_a_missing_value_stays_a_label(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03: `NA` is a choice like any other, though files of the feed write NA where a value is missing."""
    feed = FEED.model_copy(update={"files": FileForm(nulls=("NA",))})
    monkeypatch.setattr(discovery, "dataset", lambda name: feed)
    monkeypatch.setitem(land.__globals__, "FEED", feed)
    (row,) = land("a.json", json.dumps([said(7, "NA", 1)]))
    assert row["fraud"] == "NA"


def test_a_label_that_the_files_of_its_feed_cannot_hold(land: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-03: It is refused before anything is stored: a stored one would make every later import fail."""
    monkeypatch.setattr(discovery, "dataset", lambda name: FEED.model_copy(update={"files": FileForm(encoding="latin-1")}))
    with pytest.raises(BatchRefused, match=r"labels of a\.json cannot be written as a file of verdicts, so none was taken in"):
        land("a.json", json.dumps([said(7, "żółty", 1)]))
    assert not Imports(FolderStore(str(tmp_path / "store")), "verdicts").all


def test_a_label_column_that_nobody_filled_in(land: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-03: A row whose label must not be missing and is waits: landed, it would make ingestion refuse the labels of all rows."""
    columns = tuple(column.model_copy(update={"nullable": False}) for column in FEED.columns)
    monkeypatch.setattr(discovery, "dataset", lambda name: FEED.model_copy(update={"columns": columns}))
    half = json.dumps([{"claim": 8, "fraud": "no", "updated_at": THEN}, {"claim": 7, "fraud": "yes", "sure": 4, "updated_at": THEN}])
    assert [row["claim"] for row in land("a.json", half)] == [7]
    assert "held back: claim 8: sure: nobody gave one, and it must not be missing" in capsys.readouterr().out
