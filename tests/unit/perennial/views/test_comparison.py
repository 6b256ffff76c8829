"""Versions in a list, one of them whole, and two side by side: as trained, judged and registered, whatever of it is damaged or gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.errors import UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.making import Making
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import key
from perennial.lineage.version_notes import card_key, evaluation_key, note_versions, versions_newest_first
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import small_model
from perennial.views.comparison import ComparisonView, comparison_view
from perennial.views.version import SLICES, VersionView, version_view
from perennial.views.versions import PAGE, VersionsView, versions_view

from ....judged import store_judged

NAME = "small_delays"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model()}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))


class Told:
    """A store with a champion, a newer candidate that passed and one that was refused, both measured beside the champion."""

    def __init__(self, root: Path) -> None:
        self.store = FolderStore(str(root))
        self.one = store_judged(self.store, NAME, number=1, loss=0.6, parameters={"batch_size": 64, "patience": 3})
        beside = {"champion": (1, self.one), "champion_loss": 0.6}
        self.two = store_judged(self.store, NAME, number=2, loss=0.5, at=1, parameters={"batch_size": 128, "patience": 3}, **beside)
        self.bad = store_judged(self.store, NAME, passed=False, sentence="It is worse.", loss=0.9, at=2, **beside)
        facts = {"champion": 1, "weights": {1: 10_000}, "versions": {1: self.one}, "reason": "It is better.", "actor": "jo"}
        Ledger(self.store, NAME).append("released", version=1, after_seq=None, **facts)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_registered_and_refused_versions_come_newest_first(told: Told) -> None:
    """MO-10, MO-12: Number, digest, when and why trained, what the gate said, figures with their intervals, part in the route."""
    view = versions_view(told.store, NAME)
    assert [(line.number, line.gate, line.role) for line in view.versions] == [
        (None, "refused", None),
        (2, "passed", None),
        (1, "passed", "champion"),
    ]
    refused = view.versions[0]
    assert (refused.title, refused.sentence, refused.cause) == (f"candidate {told.bad[:12]}", "It is worse.", "manual")
    assert [(one.name, one.value, one.low, one.high) for one in refused.figures][1] == ("log_loss", 0.9, 0.85, pytest.approx(0.95))
    assert view.compared == ("1", told.bad[:12])
    assert VersionsView.model_validate_json(view.model_dump_json()) == view


def test_hundreds_of_versions_are_paged_and_read_from_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-10: 300 versions: a page has thirty of them, and once they are noted no document of a version is read."""
    store = FolderStore(str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for at in range(300):
        store_judged(store, NAME, number=at + 1, at=at)
    note_versions(store, NAME)
    read: list[str] = []
    plain = FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: (read.append(key), plain(self, key))[1])
    view = versions_view(store, NAME, page=2)
    assert (view.total, view.page, view.pages, len(view.versions)) == (300, 2, 10, PAGE)
    assert [view.versions[0].number, view.versions[-1].number] == [270, 241]
    assert [one for one in read if one.startswith(("models/", "reports/"))] == [f"models/{NAME}/numbers/00000300.json"]
    assert (versions_view(store, NAME, page=99).page, versions_view(store, NAME, page=-1).page) == (10, 1)


def test_a_note_changes_no_answer(told: Told) -> None:
    """What is judged or registered after the note was written is in the list; a lost or garbled note is made again."""
    without = versions_newest_first(told.store, NAME)
    note_versions(told.store, NAME)
    assert versions_newest_first(told.store, NAME) == without
    told.store.write(verdict_key(NAME, told.bad), b'{"passed": true, "sentence": "Judged again."}')
    assert versions_newest_first(told.store, NAME)[0].sentence == "Judged again."
    told.store.write(f"views/versions/{NAME}.json", b"[]")
    assert len(versions_newest_first(told.store, NAME)) == 3


def test_two_versions_measured_on_the_same_rows_are_compared(told: Told) -> None:
    """MO-10, MO-13: Figures of the same rows with the interval of their difference, the verdict of both, what differs in parameters and
    data; turned round it says the same the other way."""
    view = comparison_view(told.store, NAME, "1", "2")
    assert (view.a.line.sentence, view.same_rows) == ("It is good enough.", True)
    assert view.measured == "Both were measured on the same 200 test rows of 2026-02-08 to 2026-02-14."
    loss = next(line for line in view.figures if line.name == "log_loss")
    assert loss.a is not None
    assert loss.b is not None
    assert (loss.a.value, loss.b.value, loss.better) == (0.6, 0.5, "b")
    assert (loss.difference, loss.low, loss.high) == (pytest.approx(-0.1), pytest.approx(-0.12), pytest.approx(-0.08))
    assert [(line.value, line.rows_a, line.metric.better) for line in view.slices] == [("AA", 120, "b"), ("UA", 80, "unknown")]
    assert [(pair.name, pair.a, pair.b) for pair in view.parameters if pair.differs] == [("batch_size", "64", "128"), ("seed", "0", "1")]
    assert [pair.name for pair in view.parameters][-1] == "patience"
    assert ("train rows", "1,000", "1,001") in [(pair.name, pair.a, pair.b) for pair in view.data]
    turned = comparison_view(told.store, NAME, "2", "1")
    line = next(line for line in turned.figures if line.name == "log_loss")
    assert (line.difference, line.low, line.better) == (pytest.approx(0.1), pytest.approx(0.08), "a")
    assert ComparisonView.model_validate_json(view.model_dump_json()) == view


def test_a_refused_candidate_is_compared_by_its_digest(told: Told) -> None:
    """MO-13: It has no number; without any choice the champion is compared with what is newest, here that candidate."""
    view = comparison_view(told.store, NAME, "1", told.bad[:8])
    assert (view.b.line.gate, view.b.line.sentence, view.b.checks[0].passed) == ("refused", "It is worse.", False)
    assert next(line.better for line in view.figures if line.name == "log_loss") == "a"
    assert comparison_view(told.store, NAME) == view


@pytest.mark.parametrize(
    ("a", "b", "compared"),
    [("2", "", ("2", "bad")), ("1", "", ("1", "bad")), ("bad", "", ("bad", "1")), ("", "2", ("1", "2")), ("", "1", ("bad", "1"))],
)
def test_one_version_is_compared_with_the_champion_or_the_newest(told: Told, a: str, b: str, compared: tuple[str, str]) -> None:
    """MO-12: Whoever names one version gets that one, with what is newest or, where it is that itself, with the champion."""
    view = comparison_view(told.store, NAME, *(told.bad[:8] if which == "bad" else which for which in (a, b)))
    assert tuple("bad" if side.line.number is None else str(side.line.number) for side in (view.a, view.b)) == compared
    with pytest.raises(UnknownName, match=r"has no version \.\./\.\./x"):
        comparison_view(told.store, NAME, "../../x")


def test_versions_of_different_rows_say_so(told: Told) -> None:
    """MO-07: Neither was measured beside the other: the figures stand side by side, and nothing is said to be better."""
    view = comparison_view(told.store, NAME, "2", told.bad)
    assert not view.same_rows
    assert "a difference may be the rows' and not the versions'" in view.measured
    assert {line.better for line in view.figures} == {"unknown"}
    document = json.loads(told.store.read(evaluation_key(NAME, told.two)))
    assert document["champion"]["version"] == 1


def test_what_code_and_packages_differ_in(told: Told) -> None:
    """MO-16: Files and packages that differ, with seconds and commit; for versions from before that was noted a sentence."""
    assert comparison_view(told.store, NAME, "1", "2").unknown == ()  # their digests of code and lock file are equal
    for digest, numpy, seconds in ((told.one, "1.26.4", 12.5), (told.two, "2.0.0", None)):
        made = Making(
            seconds=seconds, commit="c0ffee", code={"features.py": numpy, "model.py": "same"}, packages={"numpy": numpy, "onnx": "1"}
        )
        told.store.write(f"models/{NAME}/made/{digest}.json", made.model_dump_json().encode())
    view = comparison_view(told.store, NAME, "1", "2")
    assert [(pair.name, pair.a, pair.b) for pair in view.packages] == [("numpy", "1.26.4", "2.0.0")]
    assert [pair.name for pair in view.code] == ["features.py"]
    assert ("seconds", "12.5", "") in [(pair.name, pair.a, pair.b) for pair in view.making]
    manifest = json.loads(told.store.read(f"{key(NAME, told.bad)}/manifest.json"))
    assert manifest["lock_digest"] == view.a.lock_digest


def test_one_version_has_card_checks_curves_and_data(told: Told) -> None:
    """MO-12: What the gate looked at, learning and calibration curves, what it learned from, its card as it was written then."""
    told.store.write(card_key(NAME, told.two), b"# Delays\n\nNumber 2.")
    view = version_view(told.store, NAME, "2")
    assert [check.name for check in view.checks] == ["champion"]
    assert [epoch["validation_loss"] for epoch in view.history] == [1.5, 0.75]
    assert view.curve == ((0.2, 0.25, 0.5), (0.8, 0.7, 0.5))
    assert view.data
    assert (view.data.rows["train"], view.data.days("train"), view.data.snapshot) == (1001, 31, 2)
    assert (view.card, view.card_is_of_today) == ("# Delays\n\nNumber 2.", False)
    assert version_view(told.store, NAME, "1").card_is_of_today
    assert VersionView.model_validate_json(view.model_dump_json()) == view


DAMAGES = {
    "no evaluation": lambda told: told.store.delete(evaluation_key(NAME, told.two)),
    "an evaluation of another form": lambda told: told.store.write(evaluation_key(NAME, told.two), b'{"parts": {"test": [1]}}'),
    "an evaluation cut short": lambda told: told.store.write(evaluation_key(NAME, told.two), b'{"parts": '),
    "a manifest cut short": lambda told: told.store.write(f"{key(NAME, told.two)}/manifest.json", b"{"),
    "a manifest that was changed": lambda told: told.store.write(
        f"{key(NAME, told.two)}/manifest.json", told.store.read(f"{key(NAME, told.one)}/manifest.json")
    ),
    "no folder": lambda told: [told.store.delete(f"{key(NAME, told.two)}/{name}.json") for name in ("manifest", "training")],
    "a training record of another form": lambda told: told.store.write(
        f"{key(NAME, told.two)}/training.json", b'{"rows": 3, "bounds": {"train": "x"}, "history": 7, "epochs": "many"}'
    ),
    "no verdict": lambda told: told.store.delete(verdict_key(NAME, told.two)),
    "a verdict of another form": lambda told: told.store.write(verdict_key(NAME, told.two), b"[1]"),
    "a garbled note of its making": lambda told: told.store.write(f"models/{NAME}/made/{told.two}.json", b"{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("noted", [False, True])
def test_what_is_damaged_or_gone_hides_nothing_else(told: Told, damage: str, noted: bool) -> None:
    """OP-08: The list, the version and the comparison still answer, with the other versions whole."""
    if noted:
        note_versions(told.store, NAME)
    whole = versions_view(told.store, NAME).versions[2]
    DAMAGES[damage](told)
    lines = versions_view(told.store, NAME).versions
    assert whole in lines
    assert {line.number for line in lines} == {1, 2, None}
    view = comparison_view(told.store, NAME, "1", "2")
    assert view.a.line == whole
    assert view.a.damage == ()
    if damage not in ("no verdict", "no evaluation", "an evaluation of another form"):
        assert bool(view.b.damage) == (damage != "a training record of another form")


def test_a_receipt_that_cannot_be_read_is_one_line(told: Told) -> None:
    """OP-08: Its number is there with a sentence; what the gate said of that version stays, all others too."""
    told.store.write(f"models/{NAME}/numbers/00000002.json", b"{}")
    lines = versions_view(told.store, NAME).versions
    assert len(lines) == 4
    assert "numbers/00000002.json cannot be read" in next(line.damage for line in lines if line.number == 2)
    assert next(line.gate for line in lines if line.digest == told.two) == "passed"


def test_what_there_is_not_is_named(told: Told, tmp_path: Path) -> None:
    """MN-18: An unknown number, signs that fit nothing or are too few, a model with one version or none."""
    for which in ("7", "ffffff", told.two[:3], "../../etc", ""):
        with pytest.raises(UnknownName, match="give a number or 6 signs of a digest"):
            version_view(told.store, NAME, which)
    with pytest.raises(UnknownName):
        versions_view(told.store, "nobody")
    empty = FolderStore(str(tmp_path / "empty"))
    assert versions_view(empty, NAME).compared is None
    with pytest.raises(UnknownName, match="has no versions yet"):
        comparison_view(empty, NAME)
    store_judged(empty, NAME, number=1)
    with pytest.raises(UnknownName, match="has 1 version yet"):
        comparison_view(empty, NAME)


def test_versions_of_another_model_are_not_taken_for_its_own(told: Told) -> None:
    """MO-11: Two models in one store: each has its own versions."""
    store_judged(told.store, "another", number=9, at=9)
    assert {line.number for line in versions_view(told.store, NAME).versions} == {1, 2, None}


def test_many_slices_and_epochs_are_cut_and_counted(told: Told) -> None:
    """A column with 400 values shows the first; how many more there are is said."""
    document = json.loads(told.store.read(evaluation_key(NAME, told.two)))
    values = {f"v{place:03d}": {"rows": 30, "log_loss": 0.5} for place in range(400)}
    document["parts"]["test"]["candidate"]["slices"] = {"carrier": values}
    told.store.write(evaluation_key(NAME, told.two), json.dumps(document).encode())
    history = [{"epoch": epoch, "train_loss": 1.0} for epoch in range(5000)]
    told.store.write(f"{key(NAME, told.two)}/training.json", json.dumps({"history": history}).encode())
    view = version_view(told.store, NAME, "2")
    assert (len(view.slices), view.more_slices) == (SLICES, 400 - SLICES)
    assert len(view.history) <= 500


def test_a_terminal_shows_the_same(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-12, SC-03: `perennial show versions` and `show compare` say what the pages do; `--json` gives the view."""
    settings = Settings()
    show.run(settings, told.store, what="versions", name=NAME, page=None, a=None, b=None)
    assert f"candidate {told.bad[:12]} refused" in capsys.readouterr().out
    show.run(settings, told.store, what="compare", name=NAME, a="1", b="2")
    out = capsys.readouterr().out
    assert "B less A -0.1 (-0.12 to -0.08); B is better" in out
    assert "batch_size: A 64, B 128" in out
    assert "1 are the same" in out
    show.run(settings, told.store, what="compare", name=NAME, a="1", b="2", json=True)
    assert ComparisonView.model_validate_json(capsys.readouterr().out) == comparison_view(told.store, NAME, "1", "2")
    with pytest.raises(UnknownName, match="has no --page"):
        show.run(settings, told.store, what="models", page=2)


def test_candidates_of_one_snapshot_have_the_same_rows(told: Told) -> None:
    """MO-07: Two trainings on one snapshot, split alike, are measured on the same rows even if neither was measured beside the other."""
    digests = [store_judged(told.store, NAME, passed=False, at=5, seed=seed, loss=loss) for seed, loss in ((50, 0.8), (51, 0.7))]
    view = comparison_view(told.store, NAME, *digests)
    assert (view.same_rows, view.measured.partition(" of ")[0]) == (True, "Both were measured on the same 200 test rows")
    assert {line.better for line in view.figures} == {"unknown"}
