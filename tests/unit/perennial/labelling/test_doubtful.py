"""Labels that are probably wrong."""

from __future__ import annotations

import numpy as np

from perennial.labelling.doubtful import find_doubtful


def test_planted_mistakes_are_found() -> None:
    """DM-10: Of a hundred labels in a thousand that were changed more than half are named, and no others; it is reckoned how many are
    wrong, rather too few than too many."""
    rng = np.random.default_rng(8)
    truth = rng.choice(3, 1000, p=[0.7, 0.25, 0.05])
    scores = rng.dirichlet([0.4, 0.4, 0.4], 1000) * 0.3
    scores[np.arange(1000), truth] += 0.7
    changed = rng.choice(1000, 100, replace=False)
    given = truth.copy()
    given[changed] = (truth[changed] + 1) % 3
    doubt = find_doubtful(given, scores)
    hits = set(doubt.places) & set(changed.tolist())
    assert len(hits) == len(doubt.places) > 50
    assert [truth[place] for place in doubt.places[:50]] == list(doubt.classes[:50])
    assert 0.05 <= doubt.wrong <= 0.1


def test_a_class_has_its_own_bar() -> None:
    """DM-10: A rare class that the model always scores low is no mistake for that, and by its own bar it can be the likelier one."""
    scores = np.array([[0.95, 0.05]] * 20 + [[0.7, 0.3]] * 5 + [[0.68, 0.32]])
    given = np.array([0] * 20 + [1] * 5 + [0])
    doubt = find_doubtful(given, scores)
    assert (doubt.places, doubt.classes) == ((25,), (1,))
    assert doubt.joint == ((20, 1), (0, 5))


def test_nothing_is_doubtful_without_a_reason() -> None:
    """DM-10: Of right labels none; a class that no label has is never confident."""
    scores = np.array([[0.9, 0.05, 0.05], [0.1, 0.85, 0.05]] * 10)
    doubt = find_doubtful(np.array([0, 1] * 10), scores)
    assert (doubt.places, doubt.wrong) == ((), 0.0)
