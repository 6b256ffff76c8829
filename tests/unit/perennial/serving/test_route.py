"""What a route may be."""

import pytest

from perennial.serving.route import Route

DIGESTS = {1: "a", 2: "b", 3: "c"}


def test_versions_and_stable_follow_from_the_weights():
    """SE-08: All that has a place runs; the champion stands in, or the greatest weight where none is named, or the lower number at a
    tie."""
    route = Route({2: 5000, 1: 5000}, 3, DIGESTS)
    assert route.versions == (1, 2, 3)
    assert route.stable == 1
    assert Route({1: 2500, 2: 7500}, None, DIGESTS).stable == 2
    assert Route({1: 0, 2: 10_000}, None, DIGESTS, champion=1).stable == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (({1: 9999}, None, DIGESTS), "add up to 10000"),
        (({1: 10_001, 2: -1}, None, DIGESTS), "must not be negative"),
        (({}, None, DIGESTS), "add up to 10000"),
        (({1: 10_000}, None, {}), "version 1 is in the route without the digest"),
        (({1: 10_000}, 2, {1: "a"}), "version 2 is in the route without the digest"),
        (({1: 5000, 2: 5000}, 2, DIGESTS), "version 2 is the shadow and has a weight"),
        (({1: 10_000}, None, DIGESTS, 2), "version 2 is the champion and not in the weights"),
    ],
)
def test_a_route_that_cannot_be_is_refused(arguments, sentence):
    """SE-08: Weights, digests, shadow and champion that contradict one another never reach a gateway."""
    with pytest.raises(ValueError, match=sentence):
        Route(*arguments)
