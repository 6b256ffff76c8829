"""When a release counts outcomes, and which of them are evidence."""

from datetime import datetime, timedelta, timezone

import pytest

from perennial.serving.route import FRESH, Arm
from perennial.serving.watch import OUTCOMES_SECONDS, Watch
from perennial.specs import ReleaseSpec

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
WRONG = {1: (300, 75), 2: (100, 30)}


@pytest.mark.parametrize(
    ("counted", "mark", "seconds", "wants"),
    [
        ("", "", None, False),  # nothing has happened yet
        ("", "a", None, True),
        ("a", "a", OUTCOMES_SECONDS, False),  # nothing new
        ("a", "b", OUTCOMES_SECONDS, True),
        ("a", "b", OUTCOMES_SECONDS - 1, False),  # counted a moment ago
    ],
)
def test_outcomes_are_counted_where_there_are_new_ones_and_not_all_the_time(counted, mark, seconds, wants):
    """SE-09: Counting loads much: not at every look."""
    labelled_at = None if seconds is None else NOW - timedelta(seconds=seconds)
    watch = Watch.begin(2, 1, {}).model_copy(update={"labelled_mark": counted, "labelled_at": labelled_at})
    assert watch.wants_outcomes(mark, NOW) is wants


def test_a_classifiers_outcomes_are_evidence_at_once():
    """SE-09: An answer is right or wrong, whatever was usual."""
    watch, evidence = Watch.begin(2, 1, {}).counted("a", NOW, WRONG, None, "binary")
    assert evidence == WRONG
    assert (watch.labelled, watch.labelled_mark, watch.labelled_at) == ({}, "a", NOW)


def test_a_regressions_first_outcomes_tell_what_is_usual():
    """SE-09: They are evidence for nobody: what comes after them is counted from there."""
    first, evidence = Watch.begin(2, 1, {}).counted("a", NOW, WRONG, 1.5, "regression")
    assert evidence is None
    assert (first.usual_error, first.labelled) == (1.5, WRONG)
    later = {1: (310, 76), 2: (110, 39)}
    second, evidence = first.counted("b", NOW, later, 1.5, "regression")
    assert evidence == later
    assert second.labelled == WRONG  # so that `seen` counts ten answers each, one and nine of them wrong


def test_latency_of_both_is_counted_from_the_beginning():
    """SE-09: by bucket, without those of before; what a restart set to zero goes on, and the file reads back."""

    def arm(*cumulative):
        return Arm(cumulative[-1], 0, tuple(zip((5.0, 25.0, float("inf")), cumulative, strict=True)))

    watch = Watch.begin(2, 1, {1: arm(100, 150, 160), 2: arm(0, 0, 0)})
    watch = watch.seen({1: arm(110, 165, 176), 2: arm(4, 4, 5)}, 0.05, ReleaseSpec())
    watch = watch.seen({1: arm(1, 3, 3), 2: arm(4, 6, 8)}, 0.05, ReleaseSpec())
    assert watch.latency_ms == {1: ((5.0, 11), (25.0, 7), (None, 1)), 2: ((5.0, 4), (25.0, 2), (None, 2))}
    assert Watch.model_validate_json(watch.model_dump_json()) == watch


def answered(requests, errors=0):
    """Counts of a version that answered so many."""
    return Arm(requests, errors, ((float("inf"), requests),), requests)


def test_a_fresh_baseline_is_what_the_candidate_is_compared_with():
    """SE-06, SE-09: What the champion's old process shows counts for neither; the split is that of both of its processes together."""
    release = ReleaseSpec(fresh_baseline=True)
    watch = Watch.begin(2, 1, {1: answered(5000), 2: answered(0)}).on_step(3, NOW)
    alone = watch.seen({1: answered(5900), 2: answered(100, 3), FRESH: answered(100, 3)}, 0.09, release)
    tally = alone.evidence.tallies["errors"]
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_requests, tally.champion_events) == (100, 3, 100, 3)
    assert not alone.evidence.split.mismatch
    assert alone.latency_ms == {1: ((None, 100),), 2: ((None, 100),)}
    for _ in range(12):  # half of what is compared, not a tenth: a candidate that gets its share is not silent
        watch = watch.seen({1: answered(6800), 2: answered(200, 3), FRESH: answered(200, 3)}, 0.1, release)
    assert watch.evidence.tallies["errors"].champion_requests == 200
    later = watch.seen({1: answered(6900), 2: answered(300, 3)}, 0.1, release)  # it has gone: the champion itself again
    assert later.evidence.tallies["errors"].champion_requests == 300
