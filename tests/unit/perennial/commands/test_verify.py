"""`perennial verify`: what is sound, what is damaged, in one pass."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.commands import verify
from perennial.data import compaction
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import key
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import publish_small_version

SOUND = "Every file of the tables, their logs and the version folders has the bytes it was written with, every ledger an unbroken chain.\n"
BEFORE = Path(__file__).parent.parent / "data" / "stored"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A store with a compacted table, predictions, a version and a ledger."""
    store = FolderStore(str(tmp_path / "store"))
    monkeypatch.setattr(compaction, "MANY", 3)
    for day in range(4):
        Table(store, "sales").append(pa.table({"sold": [datetime(2013, 1, 1) + timedelta(days=day)]}), f"batch {day}")
    Table(store, "small_delays/predictions").append(pa.table({"id": ["a"]}), "one")
    digest = publish_small_version(store, tmp_path / "version")
    for seq in (None, 0):
        Ledger(store, "small_delays").append(
            "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=seq
        )
    return store


def change_a_byte(store: FolderStore, place: str) -> Path:
    file = Path(store.root, place)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


def said(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = verify.run(Settings(), store)
    return code, capsys.readouterr().out


def test_all_is_sound(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17: A line for each table, the versions and the ledger; nothing is written."""
    before = {item.key: item.etag for item in store.list("tables")}
    code, out = said(store, capsys)
    assert code == 0
    for name in (
        "The table sales: 5 files, ",
        "The table small_delays/predictions: 1 file, ",
        "The versions of small_delays: 1 folder, sound.",
        "The ledger of small_delays: 2 entries, sound.",
    ):
        assert name in out
    assert out.endswith(SOUND)
    assert {item.key: item.etag for item in store.list("tables")} == before


def test_a_changed_byte_anywhere_is_told(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17: In any file of a table, also one that a compaction replaced, in a version folder, in the ledger; the exit code is 1."""
    files = [item.key for item in store.list("tables") if not item.key.endswith("/_last_checkpoint")]
    files += [item.key for item in store.list("models") if "/versions/" in item.key]
    files += [item.key for item in store.list("ledger")]
    assert len(files) > 10
    for place in files:
        whole = Path(store.root, place).read_bytes()
        change_a_byte(store, place)
        code, out = said(store, capsys)
        assert (code, out.count(" damaged.")) == (1, 1), place
        assert "Something is damaged: restore what is named above from a backup, then verify again." in out
        Path(store.root, place).write_bytes(whole)
    assert said(store, capsys)[0] == 0


def test_what_is_missing_is_told(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17: A file of a table, a commit of its log, a file of a version: each by name."""
    path = Table(store, "sales").files()[0]["path"]
    store.delete(f"tables/sales/{path}")
    store.delete(f"tables/sales/_delta_log/{1:020}.json")
    digest = next(store.list("models/small_delays/versions")).key.split("/")[3]
    store.delete(f"{key('small_delays', digest)}/model.onnx")
    code, out = said(store, capsys)
    assert code == 1
    assert f"Commit 1 of the table sales is missing: restore tables/sales/_delta_log/{1:020}.json from a backup." in out
    assert f"model.onnx of small_delays {digest[:12]} is missing from the store" in out
    assert "The table sales" in out


def test_a_table_from_before_hashes_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17: What is not known is said and noted, and since when it is; a file of another size is damaged all the same."""
    shutil.copytree(BEFORE, tmp_path / "old")
    store = FolderStore(str(tmp_path / "old"))
    path = Table(store, "sales").files()[0]["path"]
    file = Path(store.root, "tables/sales", path)
    whole = file.read_bytes()
    file.write_bytes(whole + b"x")
    assert said(store, capsys)[0] == 1
    file.write_bytes(whole)
    code, out = said(store, capsys)
    assert code == 0
    assert "Of 2 files from before hashes were kept names and sizes alone were known until now." in out
    assert out.endswith(f"As far as it is known (see above): {SOUND}")
    code, out = said(store, capsys)
    assert (code, "The bytes of 2 files are known since 20" in out) == (0, True)
    assert out.endswith(f"As far as it is known (see above): {SOUND}")
    change_a_byte(store, f"tables/sales/{path}")
    assert said(store, capsys)[0] == 1


def test_an_empty_store_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17: Nothing stored, nothing damaged."""
    assert said(FolderStore(str(tmp_path / "none")), capsys) == (0, SOUND)
