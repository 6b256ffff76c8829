"""Whether what reads a model's scores may go on with those of a candidate."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.registry import readers
from perennial.registry.promotion import SLICE_ROWS, Check, Excess, Losses
from perennial.registry.readers import Reading, all_go_on, goes_on
from perennial.specs import GateSpec

GATE = GateSpec(floors={}, margin=0.1, alpha=0.05, resamples=500)
DAYS = np.repeat(np.arange(10), SLICE_ROWS // 10)


def reading(**changed) -> Reading:
    return Reading(
        **{
            "model": "refunds",
            "version": 3,
            "rows": 200,
            "unread": 0,
            "shift": 0.05,
            "losses": None,
            "gate": GATE,
            "why_none": "",
            **changed,
        }
    )


def losses(now: float, before: float = 1.0, rows: int = SLICE_ROWS, noise: float = 0.05) -> Losses:
    """Losses with these means, exactly."""
    rng = np.random.default_rng(0)
    spread = rng.normal(0, noise, rows)
    spread -= spread.mean()
    return Losses(now + spread, np.full(rows, before), DAYS[:rows])


@pytest.mark.parametrize(("shift", "passed"), [(0.05, True), (0.1, True), (0.1001, False), (float("nan"), False)])
def test_without_labels_the_answers_must_not_move_far(shift, passed):
    """DE-11: What is no number passes nothing."""
    word = "goes on" if passed else "answers otherwise"
    said = f"refunds (version 3) {word}: its answers move by {shift:.3f} on average on 200 rows, and 0.1 is allowed"
    numbers = {"version": 3, "rows": 200, "unread": 0, "shift": pytest.approx(shift, nan_ok=True), "allowed": 0.1}
    assert goes_on(reading(shift=shift), 0.1) == Check("refunds", passed, said, numbers)


def test_with_labels_its_own_gate_decides():
    """DE-11: However far the answers move: a loss that is worse by more than its margin, and beyond chance, is against it."""
    good = goes_on(reading(shift=9.0, losses=losses(1.09)), 0.1)
    assert good.passed
    assert good.sentence == (
        "refunds (version 3) goes on: its loss is 1.0900 instead of 1.0000 on 200 rows with a known label; "
        "0.1000 more is allowed by its gate"
    )
    bad = goes_on(reading(losses=losses(1.2)), 0.1)
    assert not bad.passed
    assert bad.sentence.startswith("refunds (version 3) gets worse: its loss is 1.2000 instead of 1.0000 on 200 rows")
    assert bad.numbers["low"] > 0
    expected = {"loss": pytest.approx(1.2), "loss_before": 1.0, "labelled": 200, "allowed": pytest.approx(0.1), "shift": 0.05, "rows": 200}
    assert bad.numbers == {**expected, "low": bad.numbers["low"], "version": 3, "unread": 0}


@pytest.mark.parametrize(
    ("value", "low", "passed"), [(0.1, 0.05, True), (0.1001, 0.05, False), (0.3, 0.0, True), (0.3, 1e-9, False), (-1.0, -2.0, True)]
)
def test_at_the_limit_it_goes_on(monkeypatch, value, low, passed):
    """DE-11: Worse by the allowed loss exactly, or by nothing beyond chance, at the gate's own chance and draws and without a margin."""
    asked = []

    def excess(*arguments):
        asked.append(arguments)
        return Excess(value, low, 1.0, "rows")

    monkeypatch.setattr(readers, "excess", excess)
    of = losses(1.5)
    check = goes_on(reading(losses=of, gate=GATE.model_copy(update={"margin": 0.1})), 0.1)
    assert (check.name, check.passed, asked) == ("refunds", passed, [(of, 0.0, GATE.alpha, GATE.resamples)])


def test_what_chance_may_do_is_not_against_it():
    """DE-11: Worse by more than the margin, and not shown to be: few days that differ much."""
    check = goes_on(reading(losses=losses(1.2, noise=5.0)), 0.1)
    assert check.passed
    assert check.numbers["low"] <= 0


def test_the_allowed_loss_is_that_of_the_readers_loss():
    """DE-11: A margin of the mean loss, of a root on its square."""
    rmse = GateSpec(metric="rmse", floors={}, margin=0.1, alpha=0.05, resamples=500)
    assert goes_on(reading(losses=losses(2.4, 2.0), gate=rmse), 0.1).numbers["allowed"] == pytest.approx(0.42)
    assert goes_on(reading(losses=losses(2.4, 2.0), gate=rmse), 0.1).passed
    assert not goes_on(reading(losses=losses(2.4, 2.0)), 0.1).passed


def test_few_labels_decide_nothing():
    """DE-11: Then the answers do."""
    check = goes_on(reading(losses=losses(9.0, rows=SLICE_ROWS - 1)), 0.1)
    assert (check.passed, "answers move" in check.sentence) == (True, True)


def test_rows_that_it_could_not_read_any_more_are_against_it():
    """DE-11: One is enough."""
    check = goes_on(reading(unread=1, losses=losses(0.5)), 0.1)
    said = "refunds (version 3) refuses 1 of 201 rows with its scores, and none with the champion's"
    assert check == Check("refunds", False, said, {"version": 3, "rows": 200, "unread": 1, "shift": 0.05})


def test_who_cannot_be_asked_is_told():
    """DE-11: And holds nothing back."""
    check = goes_on(reading(rows=0, unread=5, why_none="it has no rows"), 0.1)
    said = "refunds (version 3) could not be asked: it has no rows"
    assert check == Check("refunds", True, said, {"version": 3, "rows": 0, "unread": 5, "shift": 0.05})


def test_one_that_is_against_it_is_enough():
    """DE-11: Those against are told alone; if none is, all are."""
    against, well = reading(shift=0.5), reading(model="calls", version=1)
    verdict = all_go_on([well, against], 0.1)
    assert not verdict.passed
    assert verdict.sentence == goes_on(against, 0.1).sentence + "."
    assert [check.name for check in verdict.checks] == ["calls", "refunds"]
    both = all_go_on([well, well], 0.1)
    assert (both.passed, both.sentence) == (True, "; ".join([goes_on(well, 0.1).sentence] * 2) + ".")
    assert all_go_on([], 0.1).sentence == "no model that serves reads its scores."
