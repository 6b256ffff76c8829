"""What is exported is DVC's own to DVC itself, and what DVC keeps is taken in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import dvc
from perennial.data.landing import listing
from perennial.data.snapshots import table_of
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.store import FolderStore

PROGRAM = shutil.which("dvc")
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="dvc is not installed: pip install dvc in an environment of its own, on the PATH"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed: apt-get install git"),
]
SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("id",), event_time="",
    columns=(Column(name="id", type="int"), Column(name="amount", type="float", nullable=True)),
)  # fmt: skip
SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def the_dataset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(discovery, "dataset", lambda name: SPEC)
    return


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A table of two snapshots."""
    store = FolderStore(str(tmp_path / "store"))
    landed = pa.array([0, 1], pa.timestamp("us"))
    for number in (1, 2):
        rows = pa.table({"id": [number * 2, number * 2 + 1], "amount": [1.5, None], "_landed": landed})
        table_of(store, SPEC).append(rows, f"{number}f" * 32, key=SPEC.key)
    return store


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with DVC in it and a remote that is a folder."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "config", "core.analytics", "false")
    run(folder, "dvc", "remote", "add", "-d", "shelf", str(tmp_path / "shelf"))
    return folder


def run(folder: Path, *command: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GIT_"))}
    done = subprocess.run(command, cwd=folder, env={**clean, "DVC_NO_ANALYTICS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dvc_takes_a_snapshot_as_its_own(store: FolderStore, repository: Path, tmp_path: Path) -> None:
    """SY-17: Nothing differs for `dvc status`; `dvc push` sends it; with workspace and cache gone `dvc pull` brings it back, and
    `dvc checkout` goes back to an earlier snapshot."""
    dvc.run(SETTINGS, store, "export", "sales", snapshot=1, folder=repository / "data")
    older = (repository / "data/sales.dvc").read_text()
    assert "up to date" in run(repository, "dvc", "status")
    assert run(repository, "git", "status", "--porcelain", "--untracked-files=all", "data").split() == [
        "??", "data/.gitignore", "??", "data/sales.dvc",
    ]  # fmt: skip
    first = files_of(repository)
    dvc.run(SETTINGS, store, "export", "sales", folder=repository / "data")
    second = files_of(repository)
    assert "up to date" in run(repository, "dvc", "status")
    run(repository, "dvc", "push")
    newer = (repository / "data/sales.dvc").read_text()
    (repository / "data/sales.dvc").write_text(older)
    run(repository, "dvc", "checkout")
    assert files_of(repository) == first != second
    (repository / "data/sales.dvc").write_text(newer)
    shutil.rmtree(repository / "data/sales")
    shutil.rmtree(repository / ".dvc/cache")
    run(repository, "dvc", "pull")
    assert files_of(repository) == second
    run(repository, "dvc", "commit", "-f", "data/sales.dvc")
    assert (repository / "data/sales.dvc").read_text() == newer


def files_of(repository: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (repository / "data/sales").iterdir()}


def test_what_dvc_keeps_is_taken_in(store: FolderStore, repository: Path, tmp_path: Path) -> None:
    """SY-17: From its cache once the workspace is gone, and from its remote once the cache is."""
    (repository / "rides/d").mkdir(parents=True)
    (repository / "rides/d/1.csv").write_bytes(b"id,amount\r\n10,1\r\n")
    (repository / "rides/2.csv").write_bytes(b"id,amount\n11,1\n")
    run(repository, "dvc", "add", "-q", "rides")
    run(repository, "dvc", "push", "-q")
    shutil.rmtree(repository / "rides")
    dvc.run(SETTINGS, store, "import", str(repository / "rides.dvc"), dataset="sales")
    assert [item.name for item in listing(store, "sales")] == ["rides/2.csv", "rides/d/1.csv"]
    assert store.read("landing/sales/rides/d/1.csv") == b"id,amount\r\n10,1\r\n"
    shutil.rmtree(repository / ".dvc/cache")
    other = FolderStore(str(tmp_path / "other"))
    dvc.run(SETTINGS, other, "import", str(repository / "rides.dvc"), dataset="sales", remote=tmp_path / "shelf")
    assert [item.name for item in listing(other, "sales")] == ["rides/2.csv", "rides/d/1.csv"]
