"""The notebook of the documentation does what it says."""

from __future__ import annotations

import json
import re

import pytest

from .. import notebook

pytestmark = pytest.mark.timeout(1800)
DOCUMENT = json.loads(notebook.NOTEBOOK.read_text())
PROSE = " ".join("".join(cell["source"]) for cell in DOCUMENT["cells"] if cell["cell_type"] == "markdown")
CODE = [cell for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"]


def kinds(outputs):
    """What a cell printed, answered or raised."""
    return [(output["output_type"], output.get("ename")) for output in outputs]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The notebook, run from its top to its end."""
    with notebook.platform(tmp_path_factory.mktemp("notebook")):
        yield notebook.run(DOCUMENT)


def test_every_cell_still_does_what_is_shown(ran):
    """SY-18: From rows to outcomes in one process: each cell prints, answers or is refused as on the page, and none fails."""
    assert len(ran.outputs) == len(CODE)
    for cell, outputs in zip(CODE, ran.outputs, strict=True):
        assert kinds(outputs) == kinds(cell["outputs"]), "".join(cell["source"])


def test_what_the_prose_says_is_so(ran):
    """Its figures are those of the run."""
    names = ran.names
    assert "1,000 images of 10 days" in PROSE
    assert (len(names["frame"]), names["frame"]["written"].dt.date.nunique()) == (1000, 10)
    assert "the newest three are to test on, the two before to validate" in PROSE
    assert names["test"]["written"].dt.date.nunique() == 3
    assert "More than four in five" in PROSE
    assert (names["answers"]["predicted"] == names["test"]["digit"]).mean() > 0.8
    assert "every answer has an id" in PROSE
    assert names["answers"]["prediction_id"].is_unique
    assert names["judged"].version == 1
    assert names["judged"].frame["passed"].all()


def test_it_shows_nothing_of_the_machine_that_ran_it():
    """No folder, no address of a server, no cell without its outputs; small enough to be read."""
    text = notebook.NOTEBOOK.read_text()
    assert not re.findall(r"/(?:tmp|home|root|work|usr|var)/|127\.0\.0\.1|localhost", text)
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert len(text) < 60_000
