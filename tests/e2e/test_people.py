"""Releases that wait for a person, on the real scheduler: the person answers by Airflow's REST API.

The first version of `digits` serves already (conftest.py).
"""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import pytest

import perennial_models
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, publish, read_manifest
from perennial.local.airflow_programs import USER, home
from perennial.local.supervisor import Supervisor
from perennial.registry.model_registry import CANDIDATE, COMPARED_WITH, ModelRegistry
from perennial.testing import wait_until

from .conftest import MODEL

pytestmark = pytest.mark.timeout(1800)
MAY_START, OPEN = "may_start", ("ask_person", "settle")  # the latter run where the evidence leaves it open
# Half of the traffic for two seconds: nobody asks for predictions here, so the evidence leaves it open.
SPEC = """
from perennial.specs import ReleaseSpec

MODEL = MODEL.model_copy(update={{"release": ReleaseSpec(mode="{mode}", steps={steps}, min_seconds=1, max_seconds=2, observe_seconds=1)}})
"""


class People:
    """The platform with another spec of the model: the repository's, and a release mode."""

    def __init__(self, story) -> None:
        self.settings, self.api, self.story = story.settings, story.api, story
        self.registry, self.ledger = ModelRegistry(self.settings), Ledger(self.story.store, MODEL)
        # Stages and servers find packages in their working folder, Airflow in the folder for its own configuration.
        self.models = self.settings.home / "perennial_models"
        self.config = home(self.settings) / "config"

    def begin(self) -> None:
        """Put a copy of all models where this platform finds it before the repository's."""
        shutil.copytree(Path(perennial_models.__file__).parent, self.models)
        self.config.mkdir(exist_ok=True)
        (self.config / "perennial_models").symlink_to(self.models)
        self.restart_airflow()

    def end(self) -> None:
        """Leave the repository's models. No process remembers a folder that is gone: none need be restarted."""
        shutil.rmtree(self.models)
        shutil.rmtree(self.config)

    def restart_airflow(self) -> None:
        """Its processes remember which folders there were."""
        supervisor = Supervisor(self.settings)
        for name in ("airflow-dag-processor", "airflow-scheduler"):
            supervisor.restart(name)

    def has_mode(self, mode: str, steps: tuple[int, ...], operator: str) -> None:
        """Give the model's spec a release mode, and wait until Airflow has the DAG that follows from it."""
        spec = Path(perennial_models.__file__).parent / MODEL / "spec.py"
        (self.models / MODEL / "spec.py").write_text(spec.read_text() + SPEC.format(mode=mode, steps=steps))
        dag = self.story.dag("release")

        def known() -> bool:
            found = {t["task_id"]: t["class_ref"]["class_name"] for t in self.api._ask("GET", f"/dags/{dag}/tasks")["tasks"]}
            return found.get(MAY_START) == operator

        until = time.monotonic() + 120
        while not known() and time.monotonic() < until:
            self.api.parse_again(dag)
            time.sleep(1)
        assert known()

    def candidate(self) -> int:
        """Register a copy of the champion as the model's candidate; its number."""
        champion = self.registry.version(MODEL, "champion")
        manifest = read_manifest(self.story.store, MODEL, champion.digest)
        changes = {"run_key": f"{manifest.run_key[:18]}{champion.number:06d}", "parents": [champion.digest], "files": {}}
        with tempfile.TemporaryDirectory() as folder:
            copy = fetch(self.story.store, MODEL, champion.digest, Path(folder))
            digest = publish(self.story.store, MODEL, copy, manifest.model_copy(update=changes))
        run_id = self.registry.record_run(read_manifest(self.story.store, MODEL, digest), {"log_loss": 0.0}, [], digest)
        number = self.registry.register(MODEL, run_id, digest, {COMPARED_WITH: str(champion.number)}).number
        self.registry.set_alias(MODEL, CANDIDATE, number)
        return number

    def asked(self, run, task: str) -> None:
        """Wait until a task waits for a person."""
        wait_until(lambda: self.api.tasks(run)[task] == "awaiting_input", 120, f"{task} to ask")

    def answer(self, run, task: str, option: str) -> None:
        """Answer until the answer has arrived."""

        def arrived() -> bool:
            state = self.api.tasks(run)[task]
            if state == "awaiting_input":
                with contextlib.suppress(FileExistsError):
                    self.api.answer(run, task, option)
            return state == "success"

        wait_until(arrived, 240, f"{task} to end")

    def told(self, version: int) -> list[tuple[str, str]]:
        """What the ledger says of a version: kind and actor of each entry."""
        return [(entry.kind, entry.actor) for entry in self.ledger.entries() if entry.version == version]


@pytest.fixture(scope="module")
def people(digits, first_loop):
    """The platform, on which the model's spec may be another."""
    people = People(digits)
    people.begin()
    try:
        yield people
    finally:
        people.end()


def test_a_release_waits_for_approval_and_goes_on_with_the_answer(people):
    """DE-02: Mode approval. A refusal releases nothing and is kept; an approval lets the release begin; what the evidence leaves open a
    person decides. The ledger names who."""
    people.has_mode("approval", (50, 100), "AskMayStart")
    version = people.candidate()

    run = people.story.trigger("release", version=version)
    people.asked(run, MAY_START)
    people.answer(run, MAY_START, "Reject")
    run = people.story.ended(run, "success")
    assert people.api.tasks(run) == {**dict.fromkeys((MAY_START, "move_traffic", "alert"), "success"), **dict.fromkeys(OPEN, "skipped")}
    assert people.told(version) == [("rejected", USER)]
    assert people.registry.version(MODEL, CANDIDATE) is None

    run = people.story.trigger("release", version=version, again=True)
    people.asked(run, MAY_START)
    assert people.told(version) == [("rejected", USER)]
    people.answer(run, MAY_START, "Approve")
    people.asked(run, "ask_person")
    assert [kind for kind, _ in people.told(version)] == ["rejected", "started", "weights", "paused"]
    people.answer(run, "ask_person", "Promote")
    run = people.story.ended(run, "success")
    assert people.api.result(run, "settle")["action"] == "promoted"
    assert people.told(version)[1] == ("started", USER)
    assert people.told(version)[-1] == ("promoted", USER)
    assert people.ledger.last().champion == version


def test_a_release_by_hand_is_left_to_a_person(people):
    """DE-02: Mode manual. The event of a candidate releases nothing and says who must act; a person's run releases it."""
    people.has_mode("manual", (100,), "OnlyByHand")
    version = people.candidate()
    people.story.expect("release")
    people.api.announce(f"{MODEL}_candidate")
    event, _ = people.story.next("release", "move_traffic")
    assert event.state == "success"
    assert people.api.tasks(event) == {**dict.fromkeys((MAY_START, "move_traffic", *OPEN), "skipped"), "alert": "success"}
    assert any("must trigger the DAG digits_release" in line for line in people.api.log(event, MAY_START))
    assert people.told(version) == []

    run = people.story.ended(people.story.trigger("release"), "success")
    assert people.api.result(run, "move_traffic")["action"] == "promoted"
    assert people.told(version)[0] == ("started", USER)
    assert people.ledger.last().champion == version
