"""Which training was the last, and which versions came of the same one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perennial.errors import StoredDataDamaged
from perennial.lineage.trainings import judged, kin, last_training, refused_in_a_row, verdict_key
from perennial.lineage.version_folder import publish
from perennial.store import FolderStore
from perennial.testing import small_manifest


class House:
    """Versions in a store, numbered as they come."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, FolderStore(str(root / "store"))
        self.digests: dict[int, str] = {}

    def version(self, training: str, content: str, *, gate: bool = True, recalibrates: int | None = None) -> int:
        """Seal a version that came of a training; returns its number."""
        number = len(self.digests) + 1
        folder = self.root / f"{number}"
        folder.mkdir()
        (folder / "model.onnx").write_text(content)
        more = {"cause": "recalibration", "parents": [self.digests[recalibrates]]} if recalibrates else {}
        manifest = small_manifest("m", run_key=training * 24, **more)
        self.digests[number] = publish(self.store, "m", folder, manifest)
        if gate:
            self.store.write(verdict_key("m", self.digests[number]), b"{}")
        return number

    def kin(self, number: int) -> frozenset[int]:
        """Numbers of the versions that came of the same training."""
        return kin(self.store, "m", self.digests, number)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_recalibrations_are_kin_to_their_training(house: House) -> None:
    """MO-16: Whichever of them is asked about; not to a training before, between or after."""
    house.version("a", "weights")
    first = house.version("b", "weights")
    second = house.version("b", "weights, recalibrated", recalibrates=first)
    house.version("c", "weights")
    third = house.version("b", "weights, recalibrated again", recalibrates=second)
    assert house.kin(first) == house.kin(second) == house.kin(third) == {first, second, third}
    assert (house.kin(1), house.kin(4)) == ({1}, {4})


def test_a_version_that_is_not_in_the_store_is_kin_to_itself_alone(house: House) -> None:
    """MO-16: Its folder is gone, or nobody told its digest; the others are not disturbed."""
    first = house.version("a", "weights")
    house.digests[7] = "f" * 64
    assert (house.kin(7), house.kin(9), house.kin(first)) == ({7}, {9}, {first})


def test_a_training_that_is_not_asked_about_joins_its_recalibrations_all_the_same(house: House) -> None:
    """MO-16: The ledger's newest entry need not name the trained version any more."""
    first = house.version("a", "weights")
    second = house.version("a", "recalibrated", recalibrates=first)
    third = house.version("a", "recalibrated again", recalibrates=second)
    del house.digests[first]
    assert house.kin(third) == {second, third}


def test_a_recalibration_is_no_training(house: House) -> None:
    """MO-19: The last training stays the one that sealed the weights, though the gate judged both."""
    first = house.version("a", "weights")
    recalibrated = house.version("a", "recalibrated", recalibrates=first)
    assert judged(house.store, "m", house.digests[recalibrated])
    last = last_training(house.store, "m")
    assert last is not None
    assert (last[0], last[1].cause) == (house.digests[first], "manual")


def test_a_training_that_the_gate_has_not_judged_does_not_count(house: House) -> None:
    """DE-22: It must be taken up again."""
    first = house.version("a", "weights")
    house.version("b", "weights", gate=False)
    last = last_training(house.store, "m")
    assert last is not None
    assert last[0] == house.digests[first]
    assert last_training(house.store, "nothing") is None


def _judge(house: House, verdicts: str) -> None:
    """Versions that the gate passed (p), refused (r) or has not judged (-), oldest first."""
    for place, said in enumerate(verdicts):
        number = house.version(f"{place:02d}", f"weights {place}", gate=False)
        made = next((house.root / "store" / "models" / "m" / "by_run").glob(f"{place:02d}" * 24 + "*"))
        os.utime(made, (1_000 + place, 1_000 + place))
        if said != "-":
            verdict = {"passed": said == "p", "sentence": f"Candidate {place} is {said}."}
            house.store.write(verdict_key("m", house.digests[number]), json.dumps(verdict).encode())


@pytest.mark.parametrize(
    ("verdicts", "most", "counted"),
    [
        ("", 3, (0, "")),
        ("p", 3, (0, "")),
        ("pr", 3, (1, "Candidate 1 is r.")),
        ("rrr", 3, (3, "Candidate 2 is r.")),
        ("rrrrr", 3, (3, "Candidate 4 is r.")),
        ("prrpr", 3, (1, "Candidate 4 is r.")),
        ("prr-r-", 3, (3, "Candidate 4 is r.")),
        ("rrrp", 3, (0, "")),
        ("rr", 1, (1, "Candidate 1 is r.")),
    ],
)
def test_refusals_in_a_row_are_counted(house: House, verdicts: str, most: int, counted: tuple[int, str]) -> None:
    """MN-09: From the newest back to the last one that passed; a training that was not judged yet is left out."""
    _judge(house, verdicts)
    assert refused_in_a_row(house.store, "m", most) == counted


def test_a_decision_that_cannot_be_read_is_said(house: House) -> None:
    """DE-22: Neither a pass nor a refusal."""
    number = house.version("a", "weights")
    for damaged in (b"{", b"[]"):
        house.store.write(verdict_key("m", house.digests[number]), damaged)
        with pytest.raises(StoredDataDamaged, match=r"The gate's decision on .* of m cannot be read: restore reports/m/"):
            refused_in_a_row(house.store, "m", 3)
