"""A trace as a waterfall."""

from xml.etree import ElementTree

import pytest

from perennial.views.trace import SAID, picture_of, text_of, took, waterfall

TRACE = "ab" * 16


def span(name, identity, parent="", begins=0.0, seconds=1.0, service="stage", **more):
    """A span as it is kept."""
    start = int(begins * 1e9)
    return {
        "trace": TRACE,
        "span": identity,
        "parent": parent,
        "service": service,
        "name": name,
        "start": start,
        "end": start + int(seconds * 1e9),
        "error": False,
        "attributes": {},
        "links": [],
        **more,
    }


def test_parts_stand_below_what_they_are_within():
    """MN-13: In the order in which they began, however they came."""
    trace = waterfall(
        [
            span("learn", "3", "2", 12, 5),
            span("train", "2", "1", 11, 8),
            span("validate", "4", "1", 10.5, 0.25),
            span("run", "1", "", 10, 10, service="airflow"),
            span("export", "5", "2", 17, 1),
        ]
    )
    assert [(part.depth, part.name) for part in trace.parts] == [(0, "run"), (1, "validate"), (1, "train"), (2, "learn"), (2, "export")]
    assert [(part.begins, part.seconds) for part in trace.parts][1:3] == [(0.5, 0.25), (1.0, 8.0)]
    assert (trace.trace_id, trace.seconds, trace.services, trace.began_ns) == (TRACE, 10.0, ("airflow", "stage"), 10 * 10**9)


def test_a_part_whose_surrounding_one_never_came_is_shown_all_the_same():
    """MN-13: A caller's own span is at the caller's receiver, and one may be lost: no part is left out for it."""
    trace = waterfall([span("gateway", "2", "callers", 1), span("predict", "3", "2", 1.1), span("odd", "9", "9", 3)])
    assert [(part.depth, part.name) for part in trace.parts] == [(0, "gateway"), (1, "predict"), (0, "odd")]
    assert len(waterfall([span("once", "1"), span("once", "1")]).parts) == 1


def test_a_part_says_what_it_says_of_itself():
    """MN-13: The outcome with its sentence, cut where it is long; else model, version, weights, or the version that the gateway asked."""
    told = {"perennial.outcome": "refused", "perennial.sentence": "s" * 500, "perennial.model": "churn"}
    parts = waterfall(
        [
            span("a", "1", attributes=told, error=True, links=["cd" * 16, TRACE]),
            span("b", "2", "1", attributes={"perennial.model": "churn", "perennial.version": 7}),
            span("c", "3", "1", attributes={"upstream_cluster.name": "churn-v7"}),
            span("d", "4", "1", seconds=-1, error=True, attributes={"airflow.task_instance.state": "skipped"}),
        ]
    ).parts
    assert parts[0].said == f"refused: {'s' * (SAID - 10)}…"
    assert len(parts[0].said) == SAID
    assert (parts[0].error, parts[1].said, parts[2].said, parts[3].said) == (True, "churn 7", "churn-v7", "")
    assert (parts[3].seconds, parts[3].error) == (0, False)
    assert waterfall([span("a", "1", links=["cd" * 16, TRACE])]).links == ("cd" * 16,)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 µs"), (0.00085, "850 µs"), (0.012, "12 ms"), (1, "1.0 s"), (99.9, "99.9 s"), (125.4, "2 min 5 s")]
)
def test_times_are_said_in_their_own_unit(seconds, words):
    """MN-13: A prediction takes a millisecond and a training an hour: both can be read."""
    assert took(seconds) == words


def test_the_text_fits_its_width():
    """MN-13: Every bar begins and ends where its part did; long names are cut, and one that broke is marked."""
    trace = waterfall([span("run " * 30, "1", seconds=10), span("half", "2", "1", 5, 5, error=True), span("last", "3", "1", 10, 0)])
    lines = text_of(trace, 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("run run")
    assert "…" in lines[0]
    assert lines[1].lstrip().startswith("✗ half")
    bars = [(line.index("█"), line.count("█")) for line in lines]
    assert bars[0][1] == pytest.approx(2 * bars[1][1], abs=1)
    assert bars[2] == (bars[0][0] + bars[0][1] - 1, 1)
    assert text_of(waterfall([span("none", "1", seconds=0)]), 80).endswith("█")


def test_the_picture_is_svg_with_a_bar_for_each_part():
    """MN-13: What parts say is text and never markup; an error is red; the services have a legend."""
    trace = waterfall(
        [
            span("run", "1", service="<airflow>", seconds=10),
            span("train & test", "2", "1", 5, 5, error=True, attributes={"perennial.outcome": "fault", "perennial.sentence": "<script>"}),
        ]
    )
    picture = picture_of(trace)
    root = ElementTree.fromstring(picture)
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [f"Trace {TRACE}", "<airflow>", "stage", "run", "10.0 s", "train & test", "5.0 s"]
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [f"Trace {TRACE}", "run (<airflow>)", "train & test (stage): fault: <script>"]
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("rx")]
    assert float(bars[0].get("width")) == pytest.approx(2 * float(bars[1].get("width")), abs=0.2)
    assert bars[1].get("fill") == "#b3001b"
    assert picture_of(waterfall([span("a", "1", seconds=0)]), "Mine").count("Mine") == 2


def test_spans_within_one_another_are_drawn_all_the_same():
    """MN-13: A sender that names a ring of parents, or a span as its own, costs no part and no picture."""
    ring = [span("a", "1", "2"), span("b", "2", "1", 1), span("self", "3", "3", 2), span("run", "4"), span("within", "5", "4")]
    assert [(part.name, part.depth) for part in waterfall(ring).parts] == [("run", 0), ("within", 1), ("a", 0), ("b", 1), ("self", 0)]
    assert text_of(waterfall(ring[:2])).count("\n") == 1


def test_signs_that_move_a_cursor_are_not_shown():
    """MN-13: Names of a sender may have any sign: a terminal and a picture show none that is no text. (What parts say is escaped where
    it is printed.)"""
    trace = waterfall([span("a\x1b[31m\nb\x00", "1", service="s\x07", attributes={"perennial.model": "m\x1b"})])
    assert [(part.name, part.service, part.said) for part in trace.parts] == [("a [31m b ", "s ", "m\x1b")]
    ElementTree.fromstring(picture_of(trace))
