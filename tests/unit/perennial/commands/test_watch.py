"""The watch goes on whatever one model's state is, says once what keeps it from looking, and begins anew with a changed spec."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import pytest

from perennial.commands import watch
from perennial.errors import StoredDataDamaged
from perennial.incidents import news
from perennial.lineage.ledger import Ledger
from perennial.local.heartbeat import beats
from perennial.settings import Settings
from perennial.store import FolderStore


class Looked:
    """In the place of the watch of one model: notes that it was looked at, or breaks."""

    broken: ClassVar[dict[str, str]] = {}
    looked: ClassVar[list[str]] = []

    def __init__(self, settings: Settings, store: FolderStore, name: str, *others: object) -> None:
        del settings, store, others
        self.name = name

    def look(self, now: datetime) -> bool:
        """Note it; whether there is news."""
        del now
        if self.name in self.broken:
            raise StoredDataDamaged(self.broken[self.name])
        self.looked.append(self.name)
        return self.name == "told"

    def keep(self) -> None:
        """Note it."""
        self.looked.append(f"{self.name} kept")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, FolderStore]:
    """A store in which three models have served."""
    monkeypatch.setattr(Looked, "broken", {})
    monkeypatch.setattr(Looked, "looked", [])
    monkeypatch.setattr(watch, "SteadyWatch", Looked)
    store = FolderStore(str(tmp_path / "store"))
    for name in ("quiet", "told", "well"):
        Ledger(store, name).append(
            "released", version=1, champion=1, weights={1: 10_000}, versions={1: "a" * 64}, reason="first", actor="jo", after_seq=None
        )
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_WATCH_SECONDS": "0.01"}), store


def test_what_is_wrong_with_one_model_keeps_no_other_waiting(world: tuple[Settings, FolderStore], caplog: pytest.LogCaptureFixture) -> None:
    """SE-10, DE-22: All others are looked at, the sentence is in the log, the exit code says it; news is announced, the heart beats."""
    settings, store = world
    assert not beats(settings)
    Looked.broken = {"quiet": "Entry 0 cannot be read."}
    assert watch.run(settings, store, once=True) == 1
    assert sorted(Looked.looked) == ["told", "well"]
    assert caplog.messages == ["Entry 0 cannot be read."]
    assert news.newest(store)
    assert beats(settings)
    Looked.broken = {}
    assert watch.run(settings, store, once=True) == 0


def test_it_goes_on_until_a_spec_is_changed(
    world: tuple[Settings, FolderStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SE-10: A trouble is said once and so is its end; with a changed spec the evidence is kept and the program ends, to begin anew."""
    settings, store = world
    caplog.set_level(logging.WARNING, logger="perennial.watch")
    specs = {"a": 1}
    monkeypatch.setattr(watch, "_specs", lambda: dict(specs))
    Looked.broken = {"well": "Entry 0 cannot be read."}
    ended = list[int]()
    thread = threading.Thread(target=lambda: ended.append(watch.run(settings, store)), daemon=True)
    thread.start()
    _until(lambda: Looked.looked.count("quiet") >= 3)
    Looked.broken = {}
    _until(lambda: Looked.looked.count("well") >= 3)
    specs["a"] = 2
    thread.join(30)
    assert ended == [0]
    assert caplog.messages == ["Entry 0 cannot be read.", "well is looked at again.", caplog.messages[-1]]
    assert "A spec was changed" in caplog.messages[-1]
    assert Looked.looked[-3:] == ["quiet kept", "told kept", "well kept"]


def _until(come: object) -> None:
    """Wait until something has come true."""
    from perennial.testing import wait_until

    wait_until(come, 30)
