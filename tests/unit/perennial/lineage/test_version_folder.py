"""Version folders: written once, addressed by content, and no changed byte goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.manifest import Manifest
from perennial.lineage.version_folder import MANIFEST, fetch, key, publish, published, read_manifest
from perennial.store import FolderStore

MANIFEST_OF_TOY = Manifest(
    model="toy", run_key="run", dataset="rows", snapshot=0, snapshot_digest="s", code_digest="c", lock_digest="l", parameters={}, seed=1,
    cause="manual", event_time_end="2013"
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a version."""
    folder = tmp_path / "version"
    (folder / "more").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "more" / "notes.txt").write_text("notes")
    return folder


def test_a_version_comes_back_as_it_was(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """MO-11: Every file, those in subfolders too, and the manifest."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    into = fetch(store, "toy", digest, tmp_path / "into")
    assert {file.relative_to(into).as_posix() for file in into.rglob("*") if file.is_file()} == {"model.onnx", "more/notes.txt", MANIFEST}
    assert (into / "model.onnx").read_bytes() == b"weights"
    assert Manifest.model_validate_json((into / MANIFEST).read_text()).digest == digest


def test_fetching_replaces_what_lay_there(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """MO-17: No file of another version stays behind."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "old.bin").write_text("old")
    assert not (fetch(store, "toy", digest, tmp_path / "into") / "old.bin").exists()


def test_publishing_again_changes_nothing(store: FolderStore, folder: Path) -> None:
    """MO-17: The first writer's manifest stays, whatever the second says of cause and time."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    before = {found.key: found.etag for found in store.list("models")}
    assert publish(store, "toy", folder, MANIFEST_OF_TOY.model_copy(update={"cause": "drift"})) == digest
    assert {found.key: found.etag for found in store.list("models")} == before
    assert read_manifest(store, "toy", digest).cause == "manual"


def test_a_run_finds_its_version(store: FolderStore, folder: Path) -> None:
    """MO-11, DE-22: By the run key, once it is sealed."""
    assert published(store, "toy", "run") is None
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    assert published(store, "toy", "run") == digest


def test_an_unfinished_version_does_not_exist(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """DE-22: Files without a manifest are nothing; publishing completes them."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    store.delete(f"{key('toy', digest)}/{MANIFEST}")
    with pytest.raises(UnknownName, match="has no version"):
        fetch(store, "toy", digest, tmp_path / "into")
    for strange in ("", "../../toy"):
        with pytest.raises(UnknownName, match="has no version"):
            read_manifest(store, "toy", strange)
    publish(store, "toy", folder, MANIFEST_OF_TOY)
    assert fetch(store, "toy", digest, tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["model.onnx", "more/notes.txt"])
def test_a_changed_file_is_found(store: FolderStore, folder: Path, tmp_path: Path, name: str) -> None:
    """MO-17: One changed byte is damage, and the sentence names the file."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    store.write(f"{key('toy', digest)}/{name}", b"Weights")
    with pytest.raises(StoredDataDamaged, match=f"{name} of toy .* was changed"):
        fetch(store, "toy", digest, tmp_path / "into")


def test_a_missing_file_is_found(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """MO-17: A file that the manifest names must be there."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    store.delete(f"{key('toy', digest)}/model.onnx")
    with pytest.raises(StoredDataDamaged, match=r"model\.onnx of toy .* is missing"):
        fetch(store, "toy", digest, tmp_path / "into")


def test_a_changed_manifest_is_found(store: FolderStore, folder: Path) -> None:
    """MO-16, MO-17: A manifest that claims another origin no longer fits its address; one that is no manifest is damage too."""
    digest = publish(store, "toy", folder, MANIFEST_OF_TOY)
    where = f"{key('toy', digest)}/{MANIFEST}"
    store.write(where, store.read(where).replace(b'"seed": 1', b'"seed": 2'))
    with pytest.raises(StoredDataDamaged, match="was changed after sealing"):
        read_manifest(store, "toy", digest)
    store.write(where, b"{}")
    with pytest.raises(StoredDataDamaged, match="cannot be read"):
        read_manifest(store, "toy", digest)
