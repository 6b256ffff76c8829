"""Archives of pictures: a row for each one with the name of its folder, or for each row of the table that names it."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from perennial.data.readers import read_batch
from perennial.errors import BatchRefused
from perennial.pictures import as_png
from perennial.specs import Column, DatasetSpec, FileForm

ONE, TWO = (as_png(np.full((4, 4), value, np.uint8)) for value in (1, 2))
FORM = FileForm(fields={"digit": "image", "label": "folder", "name": "file"})


def dataset(*columns, form=FORM):
    names = {"digit", *(column.name for column in columns)}
    form = form.model_copy(update={"fields": {name: called for name, called in form.fields.items() if name in names}})
    return DatasetSpec(
        name="digits", title="Digits", owner="tests", row_id="content", event_time="", files=form,
        columns=(Column(name="digit", type="image", shape=(4, 4), mode="L", nullable=True), *columns),
    )  # fmt: skip


LABEL, NAME = Column(name="label", type="string", nullable=True), Column(name="name", type="string")


@pytest.fixture
def land(tmp_path):
    def land(file, members):
        out = io.BytesIO()
        if file.endswith(".zip"):
            with zipfile.ZipFile(out, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        else:
            with tarfile.open(fileobj=out, mode="w:gz" if file.endswith("gz") else "w") as archive:
                for name, content in members.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        (tmp_path / file).write_bytes(out.getvalue())
        return tmp_path / file

    return land


@pytest.mark.parametrize("file", ["a.zip", "a.tar", "a.tgz"])
def test_the_folder_of_a_picture_is_its_label(land, file):
    """DM-01: In order of name, whatever the order in the archive; hidden files count for nothing."""
    archive = land(file, {"all/seven/b.png": TWO, "all/one/a.PNG": ONE, "c.png": ONE, "__MACOSX/all/x.png": b"x", "all/.DS_Store": b"x"})
    rows = read_batch(archive, dataset(LABEL, NAME)).to_pylist()
    assert rows == [
        {"digit": ONE, "label": "one", "name": "all/one/a.PNG"},
        {"digit": TWO, "label": "seven", "name": "all/seven/b.png"},
        {"digit": ONE, "label": None, "name": "c.png"},
    ]
    assert read_batch(archive, dataset(LABEL)).column_names == ["digit", "label"]


@pytest.mark.parametrize("manifest", ["labels.csv", "labels.jsonl", "all/labels.json"])
def test_a_table_names_the_pictures(land, manifest):
    """DM-01: By their place in the archive or beside the table, as often as it likes; what it does not name is left out with a word."""
    rows = [{"digit": "one/a.png", "label": "1"}, {"digit": "all/one/a.png", "label": "also 1"}, {"digit": None, "label": "lost"}]
    lines = "digit,label\n" + "".join(f"{row['digit'] or ''},{row['label']}\n" for row in rows)
    if not manifest.startswith("all/"):
        rows, lines = rows[1:], lines.replace("one/a.png,1\n", "", 1)
    kinds = {"csv": lines, "json": json.dumps(rows), "jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    archive = land("a.zip", {manifest: kinds[manifest.rpartition(".")[2]].encode(), "all/one/a.png": ONE, "all/b.png": TWO})
    remarks = []
    read = read_batch(archive, dataset(LABEL, form=FileForm()), remarks=remarks).to_pylist()
    assert read == [{"digit": ONE if row["digit"] else None, "label": row["label"]} for row in rows]
    assert remarks == [f"a.zip: 1 picture that no row of {manifest} names left out"]


REFUSED = {  # members, and the sentence
    "another file": ({"a.png": ONE, "note.txt": b"x"}, "a.zip holds pictures and note.txt, which no reader knows: put pictures into it"),
    "two tables": ({"a.png": ONE, "a.csv": b"x", "b.csv": b"x"}, r"holds pictures and several tables \(a.csv, b.csv\)"),
    "a picture that is none": ({"one/a.png": ONE, "one/b.png": b"x"}, r"digit is no PNG or JPEG picture \(row 2\)"),
    "a picture that is cut": ({"one/a.png": ONE, "one/b.png": ONE[:50]}, r"digit is cut or damaged .*\(row 2\)"),
    "a picture that is not there": (
        {"one/a.png": ONE, "a.csv": b"digit,label\none/a.png,1\none/b.png,1\none/c.png,1\n"},
        "digit is 'one/b.png' in row 2 of a.csv, and no such picture lies in the archive, and so in 1 more row",
    ),
    "one above the archive": (
        {"one/a.png": ONE, "a.csv": b"digit,label\n../../etc/a.png,1\n"}, "is '../../etc/a.png' in row 1 of a.csv, and no such picture",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_archive_of_pictures_is_refused(land, what):
    """DM-10: With the file, or the row that names it."""
    members, said = REFUSED[what]
    form = FileForm() if "a.csv" in members else FORM
    with pytest.raises(BatchRefused, match=said):
        read_batch(land("a.zip", members), dataset(LABEL, form=form))


def test_few_pictures_that_many_rows_name_count_as_often(land):
    """DM-10: A small archive does not become a large table."""
    manifest = "digit\n" + "a.png\n" * 1000
    spec = dataset(form=FileForm()).model_copy(update={"max_batch_bytes": 50_000})
    with pytest.raises(BatchRefused, match=r"a.zip, unpacked, is larger than 50,000 bytes"):
        read_batch(land("a.zip", {"a.png": ONE, "a.csv": manifest.encode()}), spec)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"d\udce9/a.png": ONE}, r"a.tar holds d\?/a.png, a name that is not UTF-8: call its files and folders by names in UTF-8"),
        ({"./one/a.png": ONE, "one/a.png": TWO}, "holds several files of the name one/a.png: put each into it once"),
    ],
    ids=["bytes of another encoding", "one name in two spellings"],
)
def test_names_in_an_archive_say_which_file_is_meant(land, members, said):
    """DM-10: Before a label is made of one that cannot be read, or a row names one of two pictures."""
    with pytest.raises(BatchRefused, match=said) as refusal:
        read_batch(land("a.tar", members), dataset(LABEL, NAME))
    assert str(refusal.value).isprintable()


def test_a_table_that_cannot_be_read_is_named_with_its_archive(land):
    """DM-10: The archive itself is whole."""
    with pytest.raises(BatchRefused, match=r"a.zip: one/names.xlsx is cut short or damaged"):
        read_batch(land("a.zip", {"one/a.png": ONE, "one/names.xlsx": b"x"}), dataset(LABEL, form=FileForm()))


def test_folders_are_folders_whoever_packed_them(land):
    """DM-01: Some programs of Windows part them by backslashes in a zip, and name the folders themselves, too."""
    archive = land("a.zip", {"all\\": b"", "all\\one\\": b"", "all\\one\\a.png": ONE, "all\\two\\b.png": TWO})
    assert read_batch(archive, dataset(LABEL, NAME)).to_pylist() == [
        {"digit": ONE, "label": "one", "name": "all/one/a.png"},
        {"digit": TWO, "label": "two", "name": "all/two/b.png"},
    ]
    rows = b"digit,label\nall\\one\\a.png,1\nall/two/b.png,2\n"
    named = land("b.zip", {"all\\one\\a.png": ONE, "all\\two\\b.png": TWO, "names.csv": rows})
    assert read_batch(named, dataset(LABEL, form=FileForm())).to_pylist() == [{"digit": ONE, "label": "1"}, {"digit": TWO, "label": "2"}]
