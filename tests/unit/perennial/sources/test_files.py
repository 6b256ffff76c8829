"""Files of somebody else's folder: each taken once, again where it is written again, and never half."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources import files
from perennial.specs import Column, DatasetSpec, FilesSource
from perennial.testing.collecting import Collecting


def _inbox(tmp_path: Path, **source: Any) -> Collecting:
    (tmp_path / "in").mkdir(exist_ok=True)
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    spec = DatasetSpec(
        name="inbox", title="Inbox", owner="tests", columns=columns, key=("id",), event_time="at", max_batch_bytes=10_000,
        source=FilesSource(**{"url": f"file://{tmp_path}/in", **source}),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store")


def _put(tmp_path: Path, name: str, *ids: int, age: float = 60) -> Path:
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id,at\n" + "".join(f"{number},2026-03-01\n" for number in ids))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_each_file_is_taken_once(tmp_path: Path) -> None:
    """DM-01: With those that come later, in folders too; what is hidden, still being written or not meant stays."""
    inbox = _inbox(tmp_path, pattern="**/*.csv")
    _put(tmp_path, "a.csv", 1, 2)
    _put(tmp_path, "2026/03/a.csv", 3)
    for name in (".hidden.csv", "b.csv.part", "c.txt", ".tmp/d.csv"):
        _put(tmp_path, name, 9)
    first = inbox.collect()
    assert first.files == ("2026__03__a-00000001.csv", "a-00000001.csv")
    assert first.sentence == f"2 files of file://{tmp_path}/in/**/*.csv landed for inbox."
    assert inbox.collect().outcome == "skipped"
    _put(tmp_path, "b.csv", 4)
    assert inbox.collect().files == ("b-00000002.csv",)
    inbox.take_in()
    assert inbox.keys() == dict.fromkeys((1, 2, 3, 4), 1)


def test_a_set_of_letters_means_one_of_them(tmp_path: Path) -> None:
    """DM-01: As in a shell: one of them, or none of them, and never the border of a folder."""
    inbox = _inbox(tmp_path, pattern="part-[0-9][!x]*.csv")
    for number, name in enumerate(("part-1a.csv", "part-xa.csv", "part-1x.csv", "part-[0-9].csv", "part-2/b.csv"), 1):
        _put(tmp_path, name, number)
    assert inbox.collect().files == ("part-1a-00000001.csv",)


def test_a_file_that_is_written_again(tmp_path: Path) -> None:
    """DM-01: It is taken again, or left with a word; within its time to settle it waits."""
    inbox, leaves = _inbox(tmp_path, settle_seconds=30), _inbox(tmp_path, overwritten="leave")
    _put(tmp_path, "a.csv", 1)
    _put(tmp_path, "new.csv", 7, age=5)
    waits = inbox.collect()
    assert (waits.files, "1 file was written a moment ago and left for the next look" in waits.sentence) == (("a-00000001.csv",), True)
    _put(tmp_path, "a.csv", 2, age=40)
    assert inbox.collect().files == ("a-00000002.csv",)
    leaves = Collecting(leaves.spec, tmp_path / "other")
    leaves.collect()
    _put(tmp_path, "a.csv", 3)
    told = leaves.collect()
    assert (told.outcome, "1 file was written again and left, as the source says: a.csv" in told.sentence) == ("skipped", True)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Neither half of it lands: the next look takes the new one; one that is removed is told."""
    inbox = _inbox(tmp_path)
    _put(tmp_path, "a.csv", 1)
    _put(tmp_path, "b.csv", 2)
    fetch = files._fetch

    def meanwhile(system: Any, look: Any, file: Any, number: int) -> Path | None:
        if file.name == "a.csv":
            with monkeypatch.context() as patch:
                patch.setattr(system, "get_file", _then(system.get_file, lambda: _put(tmp_path, "a.csv", 11, 12)))
                return fetch(system, look, file, number)
        (tmp_path / "in/b.csv").unlink()
        return fetch(system, look, file, number)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_fetch", meanwhile)
        result = inbox.collect()
    assert result.outcome == "skipped"
    assert "A.csv was written again while it was read" in result.sentence
    assert "B.csv was removed while it was read" in result.sentence
    inbox.collect()
    inbox.take_in()
    assert inbox.keys() == {11: 1, 12: 1}


def _then(call: Any, after: Any) -> Any:
    def called(*arguments: Any) -> None:
        call(*arguments)
        after()

    return called


def test_many_files_come_in_pieces(tmp_path: Path) -> None:
    """DM-01, DE-22: A look that is killed at any write goes on where it was, each file once."""
    for number in range(1, 8):
        _put(tmp_path, f"{number}.csv", number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_FILES", 3)
        before, killed = 1, True
        while killed:
            inbox = Collecting(_inbox(tmp_path).spec, tmp_path / f"store-{before}")
            killed = inbox.collect_killed(before)
            inbox.take_in()
            inbox.collect()
            assert not inbox.take_in().refused
            assert inbox.keys() == dict.fromkeys(range(1, 8), 1)
            before += 1
        assert before > 20


def test_folders_of_days(tmp_path: Path) -> None:
    """DM-01, OP-10: Only the folders of the last days are listed, and their files alone are remembered; one that is not there is none."""
    today = datetime.now(timezone.utc)
    for back in range(4):
        _put(tmp_path, f"{today - timedelta(days=back):%Y/%m/%d}/a.csv", back)
    inbox = _inbox(tmp_path, url=f"file://{tmp_path}/in/%Y/%m/%d", days=2)
    assert len(inbox.collect().files) == 2
    assert inbox.collect().outcome == "skipped"
    inbox.take_in()
    assert inbox.keys() == {0: 1, 1: 1}
    (tmp_path / f"in/{today:%Y/%m/%d}/a.csv").unlink()
    (tmp_path / f"in/{today:%Y/%m/%d}").rmdir()
    assert inbox.collect().outcome == "skipped"


def test_a_file_that_is_too_large_stays(tmp_path: Path) -> None:
    """DM-01, DM-02: Told at every look, and nothing waits for it."""
    _put(tmp_path, "large.csv", *range(1000))
    _put(tmp_path, "small.csv", 1)
    inbox = _inbox(tmp_path)
    for files_of_look in (("small-00000001.csv",), ()):
        told = inbox.collect()
        assert told.files == files_of_look
        assert "1 file is larger than max_batch_bytes of the dataset and left there: large.csv" in told.sentence


def test_names_of_all_kinds(tmp_path: Path) -> None:
    """DM-01: Blanks, accents, quotes, long ones, and two that would be one name: each lands under its own."""
    odd = ["a b.csv", "é'\".csv", "x" * 200 + ".csv", "d__e.csv", "d/e.csv", "v1.0/f.csv.gz.csv"]
    for number, name in enumerate(odd):
        _put(tmp_path, name, number)
    inbox = _inbox(tmp_path)
    landed = inbox.collect().files
    assert len(set(landed)) == len(odd)
    assert not inbox.take_in().refused
    assert inbox.keys() == dict.fromkeys(range(len(odd)), 1)


def test_what_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """DM-01, DE-15: No such folder, an address of no kind, what is not installed, nobody who answers; passwords are not shown."""
    with pytest.raises(SourceRefused, match=r"none of inbox is not there: correct its address"):
        _inbox(tmp_path, url=f"file://{tmp_path}/none").collect()
    with pytest.raises(SettingMissing, match=r"gopher://x cannot be opened .*gopher"):
        _inbox(tmp_path, url="gopher://x/y").collect()
    with pytest.raises(SettingMissing, match=r"sftp://x cannot be opened .*add what it needs to the requirements"):
        _inbox(tmp_path, url="sftp://x/y").collect()
    cloud = _inbox(tmp_path, url="s3://bucket/in", connection="cloud")
    known = {"cloud": {"login": "k", "password": "geheim", "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "x"}}}
    with pytest.raises(SourceUnreachable, match=r"s3://bucket/in cannot be read: .*check the server and the connection") as told:
        Collecting(cloud.spec, tmp_path / "s", known).collect()
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "sftp://a:b@h/d"}, "the address holds a password"),
        ({"url": "/data/in"}, "is no address"),
        ({"url": "s3://b/%Y"}, "give both or neither"),
        ({"url": "s3://b/x", "days": 3}, "give both or neither"),
    ],
)
def test_specs_that_do_not_fit(given: dict[str, Any], why: str) -> None:
    """DM-01, SC-05: A password in a spec, and settings that contradict each other."""
    with pytest.raises(ValidationError, match=why):
        FilesSource(**given)


def test_a_name_that_is_no_text_is_taken(tmp_path: Path) -> None:
    """DM-01: A disk's file names are bytes: one that is no UTF-8 is taken once like any other."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.csv"))
    path.write_text("id,at\n1,2026-03-01 08:00:00\n")
    os.utime(path, (1e9, 1e9))
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    spec = DatasetSpec(
        name="orders",
        title="Orders",
        owner="shop",
        key=("id",),
        event_time="at",
        columns=columns,
        source=FilesSource(url=f"file://{folder}"),
    )
    orders = Collecting(spec, tmp_path / "store")
    assert len(orders.collect().files) == 1
    assert orders.take_in().refused == {}
    assert orders.collect().files == ()
