"""Which version a unit of an experiment gets: equal to what the gateway does (`integration/serving/test_experiment_traffic.py`)."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise

import pytest

from perennial.serving.assignment import UNIT, arm_of, bucket, in_order, is_unit, salted, unit_of, xxhash64

DIGEST = "1faea75b73a2f8d6450f5f09142ea7a86cb119b55b5193ef54698b656ba2562d"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_the_hash_is_xxhash64(data: bytes, wanted: int) -> None:
    """SE-09: published values, of fewer and of more than 32 bytes; the gateway's own are compared in the integration test."""
    assert xxhash64(data) == wanted


def test_the_hash_holds_for_every_length() -> None:
    """SE-09: all of them were compared with the package xxhash 3, whose hashes together have this digest."""
    hashes = (xxhash64(bytes(n * 37 % 256 for n in range(length))) for length in range(300))
    assert hashlib.sha256(b"".join(one.to_bytes(8, "big") for one in hashes)).hexdigest() == DIGEST
    assert UNIT == "x-perennial-unit"


def test_a_key_is_visible_and_has_no_comma() -> None:
    """SE-09: what is no key is in no experiment; one that is too long to be kept is not logged."""
    for key in ("a", "anna@example.org", "!", "+", "-", ".", "~", "0", "x" * 200):
        assert is_unit(key)
        assert unit_of(key) == key
    for text in ("", " ", "a b", "a,b", ",", "zo\u00eb", "a\x7f", "a\n"):
        assert not is_unit(text)
        assert unit_of(text) is None
    assert unit_of(None) is None
    assert is_unit("x" * 201)
    assert unit_of("x" * 201) is None


def test_the_champion_stands_first_on_the_line() -> None:
    """SE-09: then the others by number, however the weights are written; so borders alone move."""
    assert in_order({9: 1, 7: 2, 8: 3}, champion=8) == [8, 7, 9]
    places = {unit: bucket(unit, "s-1") for unit in map(str, range(500))}
    assert {unit: arm_of(unit, "s-1", {9: 3_000, 7: 0, 8: 7_000}, champion=8) for unit in places} == {
        unit: 8 if place < 7_000 else 9 for unit, place in places.items()
    }
    assert salted("s-1") == "s-1/"
    assert bucket("7", "s-1") == xxhash64(b"s-1/7") % 10_000


def test_a_unit_at_a_border_is_on_its_right() -> None:
    """SE-09: as the gateway has it: the first of a share belongs to it, the first of the next does not."""
    place = bucket("anna", "s-1")
    assert arm_of("anna", "s-1", {1: place, 2: 10_000 - place}, champion=1) == 2
    assert arm_of("anna", "s-1", {1: place + 1, 2: 9_999 - place}, champion=1) == 1


def test_weights_that_lack_something_are_told() -> None:
    """SE-09: a unit without a version is a mistake of who asks."""
    with pytest.raises(ValueError, match="must add up to 10000"):
        arm_of("anna", "s-1", {1: 0}, champion=1)


def test_units_are_spread_evenly_and_anew_by_each_salt() -> None:
    """SE-09: each share has its part, and one experiment says nothing of the next."""
    units = [f"user-{number}" for number in range(8_000)]
    shares = Counter(arm_of(unit, "churn-4", {1: 9_000, 2: 1_000}, champion=1) for unit in units)
    assert abs(shares[2] - 800) < 110
    both = Counter((bucket(unit, "churn-4") >= 5_000, bucket(unit, "churn-9") >= 5_000) for unit in units)
    assert all(abs(count - 2_000) < 200 for count in both.values())


def test_a_unit_changes_once_while_shares_move_one_way() -> None:
    """SE-09: when the border passes it, and back if the border goes back."""
    units = [f"user-{number}" for number in range(2_000)]
    weights = [{1: 10_000 - share, 2: share} for share in (0, 100, 2_500, 2_500, 6_000, 10_000)]
    for unit in units:
        arms = [arm_of(unit, "churn-4", given, champion=1) for given in weights]
        assert sum(before != after for before, after in pairwise(arms)) == 1
