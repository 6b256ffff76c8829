"""The check of how traffic is split: to the letter, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from perennial.serving.split import ALPHA, PRIOR, Mismatch, Split, add, limit, odds


def seen(split: Split, candidate: int, champion: int, *, step: int = 3, share: float | None = 0.05, steps: int = 3) -> Split:
    return add(split, step=step, share=share, candidate=candidate, champion=champion, steps=steps)


BEGUN = seen(Split(), 0, 0)


def test_the_evidence_is_that_of_all_other_shares() -> None:
    """SE-06: the mean likelihood ratio over a Beta distribution around the wanted share, here added up on a grid."""
    grid = np.linspace(0, 1, 400_001)[1:-1]
    for candidate, requests, share in ((0, 0, 0.5), (3, 10, 0.05), (40, 100, 0.25), (0, 30, 0.5), (30, 30, 0.5)):
        a, b = PRIOR * share, PRIOR * (1 - share)
        prior = (a - 1) * np.log(grid) + (b - 1) * np.log(1 - grid)
        weights = np.exp(prior - prior.max())
        ratio = candidate * np.log(grid / share) + (requests - candidate) * np.log((1 - grid) / (1 - share))
        assert odds(candidate, requests, share) == pytest.approx(math.log(float((weights * np.exp(ratio)).sum() / weights.sum())), abs=1e-4)


def test_each_step_has_its_part_of_the_alarms() -> None:
    """SE-06: a thousandth in all; a release that shares on no step has the whole for none."""
    assert (ALPHA, PRIOR) == (0.001, 100.0)
    assert [math.exp(limit(steps)) for steps in (0, 1, 3)] == pytest.approx([1000, 1000, 3000])


def test_requests_around_a_change_of_weights_count_for_neither_step() -> None:
    """SE-06: the first look at a step only begins it; the next ones add up."""
    assert seen(Split(), 40, 10) == Split(step=3)
    once = seen(BEGUN, 5, 95)
    assert once == Split(step=3, candidate=5, requests=100, evidence=odds(5, 100, 0.05))
    twice = seen(once, 6, 94)
    assert (twice.candidate, twice.requests, twice.evidence) == (11, 200, odds(11, 200, 0.05))
    assert seen(twice, 7, 7, step=4, share=0.5) == Split(step=4)


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_where_nothing_is_shared_nothing_is_checked(share: float | None) -> None:
    """SE-06: a copy of the traffic, and a candidate without or with all of it."""
    assert seen(BEGUN, 50, 50, share=share) == BEGUN


def test_a_mismatch_stays_one() -> None:
    """SE-06: from its limit on, with the counts of then, whatever comes after and on whichever step."""
    few = next(n for n in range(1, 100) if odds(n, n, 0.05) >= limit(3))
    assert seen(BEGUN, few - 1, 0).mismatch is None
    found = seen(BEGUN, few, 0)
    assert found.mismatch == Mismatch(share=0.05, candidate=few, requests=few)
    for more in (seen(found, 0, 9000), seen(found, 1, 1, step=4), seen(found, 900, 0)):
        assert more.mismatch == found.mismatch
    assert found.mismatch.sentence == (
        f"Traffic is not split as wanted: the candidate got {few} of {few} requests (100 %), 5 % were due to it."
    )


def test_a_mismatch_is_seen_at_its_limit_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: at the limit, not beyond it."""
    monkeypatch.setattr("perennial.serving.split.limit", lambda steps: odds(30, 100, 0.05))
    assert seen(BEGUN, 30, 70).mismatch
    assert not seen(BEGUN, 29, 71).mismatch


def test_a_split_as_wanted_is_rarely_doubted() -> None:
    """SE-06: in a thousand releases of three steps, looked at forty times each, at most one in a hundred."""
    rng, wrong = np.random.default_rng(8), 0
    for _ in range(1000):
        split = Split()
        for step, share in enumerate((0.05, 0.25, 0.5)):
            for ours in rng.binomial(200, share, 40).tolist():
                split = seen(split, ours, 200 - ours, step=step, share=share)
        wrong += split.mismatch is not None
    assert wrong <= 10


def test_a_split_that_is_not_as_wanted_is_seen() -> None:
    """SE-06: 10 % for 5 %, and 45 % for 50 %, within a few thousand requests."""
    rng = np.random.default_rng(9)
    for due, got in ((0.05, 0.1), (0.5, 0.45), (0.25, 0.3)):
        split = BEGUN
        for ours in rng.binomial(200, got, 30).tolist():
            split = seen(split, ours, 200 - ours, share=due)
        assert split.mismatch


def test_what_is_kept_checks_itself() -> None:
    """OP-08: it cannot be changed, takes nothing that it does not know, and begins with nothing."""
    assert Split().model_dump() == {"step": None, "candidate": 0, "requests": 0, "evidence": 0.0, "mismatch": None}
    found = {"share": 0.5, "candidate": 1, "requests": 2}
    for model, known in ((Split, {}), (Mismatch, found)):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            model(**known, more=1)
        with pytest.raises(ValidationError, match="Instance is frozen"):
            model(**known).candidate = 2
    for lacking in found:
        with pytest.raises(ValidationError, match="Field required"):
            Mismatch(**{name: value for name, value in found.items() if name != lacking})
