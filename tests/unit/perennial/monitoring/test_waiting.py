"""Outcomes that came before their prediction, or without one, are counted without a look at all predictions."""

from __future__ import annotations

import numpy as np

from perennial.monitoring.waiting import Waiting, among, still_waiting


def test_outcomes_that_wait_are_searched_in_new_files_alone():
    """OP-10, MN-03: Which file is looked for in which is decided from names; rows that may have gone with a file begin anew."""
    ids = {"o1": [1, 2, 2], "o2": [3, 4], "p1": [1], "p2": [2], "p3": [4]}
    asked = list[str]()

    def of(path):
        asked.append(path)
        return np.array(ids[path], np.uint64)

    def step(before, outcomes, predictions):
        asked.clear()
        after = still_waiting(before, outcomes, of, predictions, of)
        return after, {path: left.tolist() for path, left in after.ids.items()}, sorted(asked)

    nothing = Waiting()
    assert still_waiting(nothing, [], of, [], of) is nothing
    first, left, read = step(nothing, ["o1"], [])
    assert (left, read, first.count) == ({"o1": [1, 2, 2]}, ["o1"], 3)
    second, left, read = step(first, ["o1"], ["p1"])
    assert (left, read, set(second.seen)) == ({"o1": [2, 2]}, ["p1"], {"p1"})
    assert step(second, ["o1"], ["p1"])[0] is second
    third, left, read = step(second, ["o1", "o2"], ["p1", "p3"])
    assert (left, read) == ({"o1": [2, 2], "o2": [3]}, ["o2", "p1", "p3"])
    _, left, read = step(third, ["o1", "o2"], ["p1", "p3", "p2"])
    assert (left, read) == ({"o1": [], "o2": [3]}, ["p2"])
    _, left, read = step(third, ["o2"], ["p3", "p1"])
    assert (left, read) == ({"o2": [3]}, [])
    _, left, read = step(third, ["o1", "o2"], ["p2", "p3"])
    assert (left, read) == ({"o1": [1], "o2": [3]}, ["o1", "o2", "p2", "p3"])
    assert step(third, ["o1", "o2"], [])[1] == {"o1": [1, 2, 2], "o2": [3, 4]}
    again = Waiting.decoded(third.encoded())
    assert (set(again.seen), {path: left.tolist() for path, left in again.ids.items()}) == ({"p1", "p3"}, {"o1": [2, 2], "o2": [3]})
    assert Waiting.decoded(nothing.encoded()) == nothing or not Waiting.decoded(nothing.encoded()).ids
    lines = Waiting({"p"}, {"o1": np.array([10], np.uint64), "o2": np.zeros(0, np.uint64), "o3": np.array([7, 2570], np.uint64)})
    kept = Waiting.decoded(lines.encoded())  # though a number's bytes may be the end of a line
    assert {path: (left.tolist(), left.dtype.name) for path, left in kept.ids.items()} == {
        "o1": ([10], "uint64"), "o2": ([], "uint64"), "o3": ([7, 2570], "uint64"),
    }  # fmt: skip
    for damaged in (b"", b"{}\n", b"[]\n", third.encoded()[:-1], third.encoded().replace(b'"form": 1', b'"form": 0'), b"\xff\n"):
        assert Waiting.decoded(damaged) is None


def test_known_ids_are_found_among_sorted_ones():
    """MN-03: Below the first, between two, beyond the last, and where none is known."""
    assert among(np.array([7, 8], np.uint64), np.array([4, 6, 7], np.uint64)).tolist() == [True, False]
    some = np.array([1, 4, 6, 9], np.uint64)
    assert among(some, np.array([4, 6, 7], np.uint64)).tolist() == [False, True, True, False]
    none = among(some, np.zeros(0, np.uint64))
    assert (none.tolist(), none.dtype.name) == ([False] * 4, "bool")
