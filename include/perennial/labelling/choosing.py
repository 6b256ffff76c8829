"""Chooses the rows that are worth a label: those that rank highest by a reason, and a share at random to estimate rates by.

The ranked rows are chosen for certain (probability 1). From all others a simple random sample is drawn, each with the same known
probability. Every row weighted by one over its probability, all answers together give unbiased means over all rows that could have been
chosen (Horvitz and Thompson 1952, "A Generalization of Sampling Without Replacement From a Finite Universe").

Rows that the model is unsure of: Lewis and Gale 1994, "A Sequential Algorithm for Training Text Classifiers".

    >>> import numpy as np
    >>> from perennial.labelling.choosing import choose, entropy
    >>> scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.99, 0.01], [0.8, 0.2]])
    >>> rows = choose([("a",), ("b",), ("c",), ("d",)], {"unsure": entropy(scores)}, 2, random_share=0.5)
    >>> [(row.place, row.reason, round(row.probability, 2)) for row in rows][0], rows[1].reason
    ((0, 'unsure', 1.0), 'random')
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.labelling.answers import Key

Floats = NDArray[np.float64]
RANDOM = "random"
NEVER = -np.inf  # rank of a row that a reason does not speak for


@dataclass(frozen=True)
class Chosen:
    """A row that is worth a label.

    Attributes:
        place: among the rows that could have been chosen.
        reason: what ranked it, or `random`.
        probability: with which it was chosen.
    """

    place: int
    reason: str
    probability: float


def choose(keys: Sequence[Key], ranks: Mapping[str, Floats], count: int, *, random_share: float = 0.2, seed: int = 0) -> list[Chosen]:
    """The rows that are worth a label, the same for the same rows, ranks and seed, whatever the order of the rows.

    Args:
        keys: of the rows, all different.
        ranks: for each reason a number for each row, larger for those that are more worth a label, `NEVER` for those it does not speak for.
            Several reasons take turns.
        count: how many rows; fewer if there are no more.
        random_share: of these that are drawn at random; all of them where there are no reasons, and what the reasons leave over.
        seed: of the random ones and of the order of rows with equal ranks.
    """
    wanted = count - math.ceil(count * random_share) if ranks else 0
    ties = [_hash("ties", seed, key) for key in keys]
    chosen: dict[int, str] = {}
    turns = [_ranked(reason, values, ties) for reason, values in ranks.items()]
    while turns and len(chosen) < wanted:
        turn = turns.pop(0)
        first = next(((reason, place) for reason, place in turn if place not in chosen), None)
        if first is not None:
            chosen[first[1]] = first[0]
            turns.append(turn)
    others = sorted((place for place in range(len(keys)) if place not in chosen), key=lambda place: _hash("draw", seed, keys[place]))
    drawn = others[: count - len(chosen)]
    ranked = [Chosen(place, reason, 1.0) for place, reason in chosen.items()]
    return ranked + [Chosen(place, RANDOM, len(drawn) / len(others)) for place in drawn]


def _ranked(reason: str, values: Floats, ties: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Places in the order of their ranks, one after the other."""
    places = [place for place in range(len(values)) if values[place] > NEVER]
    return iter([(reason, place) for place in sorted(places, key=lambda place: (-values[place], ties[place]))])


def entropy(scores: Floats) -> Floats:
    """How unsure a model is of each row: the entropy of its scores [rows, classes], in nats."""
    shares = np.clip(scores, np.finfo(np.float64).tiny, 1.0)
    nats: Floats = -(shares * np.log(shares)).sum(axis=1)
    return nats


def within(members: NDArray[np.bool_], ranks: Floats | None = None) -> Floats:
    """Ranks for the members of a slice alone; equal ones if none are given."""
    return np.where(members, np.zeros(len(members)) if ranks is None else ranks, NEVER)


def _hash(what: str, seed: int, key: Key) -> str:
    """A random number of a row for each purpose. Ties and draws must not share one: a row that lost a tie would be drawn less often."""
    return hashlib.sha256(f"{what}|{seed}|{json.dumps(key)}".encode()).hexdigest()
