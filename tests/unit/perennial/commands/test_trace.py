"""`perennial trace`."""

import pytest

from perennial.commands import trace
from perennial.errors import UnknownName
from perennial.local.span_receiver import SpanFiles, folder
from perennial.settings import Settings

FIRST, SECOND = "ab" * 16, "ac" * 16


def span(trace_id, name, identity, parent="", start=0, **attributes):
    return {
        "trace": trace_id,
        "span": identity,
        "parent": parent,
        "service": "perennial-stage",
        "name": name,
        "start": start * 10**9,
        "end": (start + 2) * 10**9,
        "error": attributes.get("perennial.outcome") == "fault",
        "attributes": attributes,
        "links": [SECOND] if trace_id == FIRST else ["ee" * 16],
    }


@pytest.fixture
def settings(tmp_path):
    """A home in which two traces are kept."""
    made = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    SpanFiles(folder(made)).add(
        [
            span(FIRST, "dag_run.digits_training", "1", start=100, **{"airflow.dag_run.run_id": "manual__1"}),
            span(FIRST, "stage train", "2", "1", 101, **{"perennial.outcome": "fault", "perennial.sentence": "It\x1b broke."}),
            span(FIRST, "stage register", "3", "1", 102, **{"perennial.outcome": "refused", "perennial.sentence": "Not better."}),
            span(SECOND, "predict", "4", start=200, **{"perennial.prediction": "6f1a-4b", "perennial.model": "digits"}),
        ]
    )
    return made


def test_the_newest_traces_are_listed(settings, capsys):
    """MN-13: One a line, the newest first, with when, how long, how many parts and whether some broke."""
    assert trace.run(settings, None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [SECOND, FIRST]
    assert "1970-01-01 00:03:20 UTC" in lines[0]
    assert lines[0].endswith("1 parts  predict digits")
    assert "4.0 s" in lines[1]
    assert "3 parts with errors  dag_run.digits_training" in lines[1]


@pytest.mark.parametrize("which", ["abab", FIRST, FIRST.upper(), "manual__1"])
def test_a_trace_is_drawn_by_its_identity_or_its_run(settings, capsys, tmp_path, which):
    """MN-13: With the sentences of what broke or was refused, other traces that it has to do with, and a picture where one is asked for."""
    assert trace.run(settings, None, which=which, svg=tmp_path / "trace.svg") == 0
    said = capsys.readouterr().out
    assert f"Trace {FIRST}, 1970-01-01 00:01:40 UTC, 4.0 s" in said
    assert "stage train: fault: It\\x1b broke." in said
    assert "stage register: refused: Not better." in said
    assert f"Has to do with trace {SECOND}.\n" in said
    assert (tmp_path / "trace.svg").read_text().startswith("<svg")


@pytest.mark.parametrize("which", ["6f1a-4b", "6f1a-4b-0"])
def test_a_trace_is_found_by_a_prediction_of_it(settings, capsys, which):
    """MN-13: By the request's id, and by that of one of its rows."""
    trace.run(settings, None, which=which)
    assert f"Has to do with trace {'ee' * 16} (not kept here)." in capsys.readouterr().out


def test_what_is_not_there_is_a_sentence(settings, tmp_path):
    """MN-13: No such trace, several that begin so, or no spans at all: each says what to do."""
    with pytest.raises(UnknownName, match="No trace 'ff' is kept, and none of a run"):
        trace.run(settings, None, which="ff")
    with pytest.raises(UnknownName, match="2 traces are meant by 'a', such as ababababa, acacacaca: give more"):
        trace.run(settings, None, which="a")
    with pytest.raises(UnknownName, match="set PERENNIAL_TRACES=1, run `perennial up`"):
        trace.run(Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "empty")}), None)
