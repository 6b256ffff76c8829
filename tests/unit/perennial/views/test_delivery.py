"""Delivery figures from what is stored, on the list of models, in `perennial show`, and as metrics."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.making import note_making
from perennial.lineage.registrations import note_registration
from perennial.lineage.version_folder import read_manifest
from perennial.store import FolderStore
from perennial.testing import publish_small_version, small_model
from perennial.views.delivery import delivery_of, in_short
from perennial.views.gauges import of_models, text
from perennial.views.model import model_view

NAME = "small_delays"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A first version, one that took over, one that was rolled back on the way, and a service that was silent."""
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model()}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    store = FolderStore(str(tmp_path / "store"))
    digest = publish_small_version(store, tmp_path / "made", model=NAME)
    note_making(store, NAME, digest, seconds=600)
    note_registration(store, NAME, 2, digest, {})
    sealed = read_manifest(store, NAME, digest).created
    versions = {1: "1" * 64, 2: digest, 3: "3" * 64}
    told = {"versions": versions, "reason": "r", "actor": "perennial"}
    for kind, version, champion, minutes in (
        ("started", 1, None, -90), ("released", 1, 1, -80), ("started", 2, 1, 10), ("promoted", 2, 2, 20),
        ("started", 3, 2, 30), ("rolled_back", 3, 2, 36),
    ):  # fmt: skip
        ledger = Ledger(store, NAME)
        last = ledger.last()
        ledger.append(
            kind, version=version, champion=champion, weights={champion: 10_000} if champion else {}, after_seq=last.seq if last else None,
            now=sealed + timedelta(minutes=minutes), **told,
        )  # fmt: skip
    Incidents(store, NAME).open("service", "gateway", "critical", "Silent.")
    return store


def test_the_figures_of_a_model(store: FolderStore) -> None:
    """DE-20, OP-11: Half an hour from the training's beginning to all traffic, a third of the releases failed, six minutes to restore; an
    incident that is open is not restored yet."""
    found = delivery_of(store, NAME, until=datetime.now(timezone.utc) + timedelta(days=1))
    assert (found.promoted, found.ended, found.failed) == (2, 3, 1)
    assert found.lead_seconds == pytest.approx(30 * 60, abs=1)
    assert (found.restores, found.restore_seconds) == (1, 360)
    Incidents(store, NAME).resolve("1", "It answers.")
    assert delivery_of(store, NAME, until=datetime.now(timezone.utc) + timedelta(days=1)).restores == 2
    short = in_short(store, [NAME], datetime.now(timezone.utc) + timedelta(days=1))[NAME]
    assert (short.promoted, short.failed, short.lead_seconds) == (2, 1, None)


def test_they_are_shown_and_measured(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-20, OP-11: On the model's page, in `perennial show model`, and as metrics of each model that serves."""
    later = datetime.now(timezone.utc) + timedelta(hours=2)
    monkeypatch.setattr("perennial.views.delivery.datetime", type("Clock", (datetime,), {"now": classmethod(lambda cls, zone: later)}))
    assert model_view(store, NAME).delivery.promoted == 2
    _, lines = show.shown(store, "model", NAME)
    assert any("1 of 3 releases failed" in line for line in lines)
    samples = text(of_models(store))
    assert f'perennial_delivery_promoted{{model="{NAME}"}} 2\n' in samples
    assert f'perennial_delivery_lead_seconds{{model="{NAME}"}} 1800' in samples
    assert f'perennial_delivery_failure_ratio{{model="{NAME}"}} 0.3333' in samples


def test_what_cannot_be_read_is_said(store: FolderStore) -> None:
    """MN-18, DE-20: A damaged ledger entry leaves the figures of the others and a sentence."""
    store.write(f"ledger/{NAME}/00000003.json", b"no")
    damage: list[str] = []
    delivery_of(store, NAME, damage=damage)
    assert any("Entry 3" in sentence for sentence in damage)
