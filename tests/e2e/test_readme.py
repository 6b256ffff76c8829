"""The README tells the truth: every command in it runs on a platform on which the demo was told."""

import re
import shlex
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

from perennial.local.demo import MODEL

pytestmark = pytest.mark.timeout(900)
README = (Path(__file__).parents[2] / "README.md").read_text()
SHOWN = [*re.findall(r"`(perennial [a-z][^`]*)`", README), *re.findall(r"^\$ (perennial [^#\n]*)", README, re.MULTILINE)]


def test_the_readme_shows_commands():
    """The expressions above still find what is shown."""
    assert len(SHOWN) >= 12


def test_the_readme_shows_no_command_that_nothing_runs():
    """Blocks show `perennial`, which runs below, and `make`, which `.ci/run` runs; commands for a cluster or a Docker host are on their own
    pages."""
    prompts = re.findall(r"^\$ (\S+)", README, re.MULTILINE)
    blocks = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert set(prompts) == {"make", "perennial"}
    assert all(line.startswith("$ ") for block in blocks for line in block.splitlines())


@pytest.fixture(scope="module")
def own_data(tmp_path_factory):
    """A file of somebody's, and the column that is to be predicted."""
    file = tmp_path_factory.mktemp("own") / "flowers.csv"
    flowers = load_iris(as_frame=True).frame
    flowers.assign(target=flowers["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"})).to_csv(file, index=False)
    return {"FILE": str(file), "COLUMN": "target"}


@pytest.mark.parametrize("shown", SHOWN)
def test_a_command_of_the_readme_runs(platform, own_data, shown):
    """OP-01: It does what the README says: a refusal would be none, however well worded."""
    (trained,) = [
        platform.api.result(run, "evaluate")
        for run in platform.api.runs(f"{MODEL}_training")
        if run.state == "success" and platform.api.tasks(run)["register"] == "success"
    ][:1]
    words = {"DIGEST": trained["digest"], "RUN": trained["run_id"], "KEY": trained["evaluation"], **own_data}
    arguments = [words.get(word, word) for word in shlex.split(shown)[1:]]
    done = platform.perennial(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "usage:" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).strip()


def test_every_make_target_of_the_readme_exists():
    """`make x` is a line of the Makefile."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    targets = set(re.findall(r"make ([a-z-]+)", README))
    assert {"demo", "test", "down", "up"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []
