"""The data of examples that lie in source distributions: what is put where, and what is said where it cannot be had."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from itertools import pairwise
from pathlib import Path

import pytest

from perennial.local import example_data
from perennial.local.example_data import DataUnavailable, install


def archive(**files: bytes) -> bytes:
    """A tar archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as members:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            members.addfile(entry, io.BytesIO(data))
    return content.getvalue()


class Pip:
    """Stands for pip, which gives the distribution whose hash it is told, or says why not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error = ""

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        given = dict(pairwise(command))
        self.asked.append(Path(given["--requirement"]).read_text())
        if not self.error:
            Path(given["--dest"]).mkdir()
            Path(given["--dest"], "texts-1.0.tar.gz").write_bytes(archive(licence=b"MIT", more=archive(words=b"good bad")))
        return subprocess.CompletedProcess(command, int(bool(self.error)), "", self.error)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    """The stand-in, in place."""
    found = Pip()
    monkeypatch.setattr(example_data.subprocess, "run", found)
    return found


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Pins a distribution and wants two of its files, one out of an archive in it."""
    file = tmp_path / "lock.json"
    wanted = {"licence": "texts-licence", "more!words": "texts.txt"}
    file.write_text(json.dumps([{"requirement": "texts==1.0", "sha256": "1a2b", "use": "has texts", "files": wanted}]))
    return file


def test_what_is_pinned_is_put_beside_the_workload_once(pip: Pip, lock: Path, tmp_path: Path) -> None:
    """DE-09: By the hash that is pinned, files in archives too; what lies there is not fetched again, what was lost is."""
    install(tmp_path / "venv", "python3", lock)
    folder = tmp_path / "venv/share/perennial"
    assert ((folder / "texts-licence").read_bytes(), (folder / "texts.txt").read_bytes()) == (b"MIT", b"good bad")
    assert pip.asked == ["texts==1.0 --hash=sha256:1a2b\n"]
    install(tmp_path / "venv", "python3", lock)
    assert len(pip.asked) == 1
    (folder / "texts.txt").unlink()
    install(tmp_path / "venv", "python3", lock)
    assert len(pip.asked) == 2
    assert (folder / "texts.txt").exists()


def test_a_distribution_that_cannot_be_had_is_one_sentence(pip: Pip, lock: Path, tmp_path: Path) -> None:
    """DE-09: With pip's own words; nothing of it stands as if it were whole."""
    pip.error = "WARNING: slow\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nmore"
    with pytest.raises(
        DataUnavailable, match=r"^The source distribution of texts==1\.0, which has texts, .*DO NOT MATCH THE HASHES.*make setup"
    ):
        install(tmp_path / "venv", "python3", lock)
    assert not list(tmp_path.glob("venv/share/perennial/*"))
