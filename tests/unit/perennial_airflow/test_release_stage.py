"""A release goes on, look by look."""

from __future__ import annotations

import time

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from perennial_airflow.operators.release_stage import ReleaseStage
from perennial_airflow.stage_end import StageFault, StageRefused

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

# A stage whose state lies in a file, as the real one's lies in the ledger: each call takes one look.
LEDGER = """
file = os.environ["PERENNIAL_HOME"] + "/looks"
looks = int(open(file).read()) if os.path.exists(file) else 0
open(file, "w").write(str(looks + 1))
actions = {actions}
end(
    0, outcome="done", sentence=f"Look {{looks}}: {{actions[looks]}}.", action=actions[looks], version=7, evidence={{"errors": looks}},
    look_again_seconds=3, given=given,
)
"""


def _task(**arguments):
    return ReleaseStage(task_id="move_traffic", stage="release", arguments={"model": "m", **arguments})


def _follow(context, **arguments):
    """Run as Airflow does, with a new operator for every resumption; returns the result and the pauses, in seconds."""
    pauses: list[float] = []
    result = None
    resume = {}
    while result is None:
        task = _task(**arguments)
        try:
            result = task.resume_execution(resume["method"], resume["kwargs"], context) if resume else task.execute(context)
        except TaskDeferred as deferred:
            pauses.append(deferred.trigger.at - time.time())
            resume = {"method": deferred.method_name, "kwargs": {**deferred.kwargs, "event": deferred.trigger.at}}
    return result, pauses


def test_it_looks_until_promotion(stages, task_log, task_instance):
    """OP-10, SE-06: Between two looks it waits in the triggerer; every look's sentence is in the log."""
    stages.do(LEDGER.format(actions=["started", "hold", "advance", "hold", "promoted"]))
    result, pauses = _follow({"ti": task_instance()})
    assert result["action"] == "promoted"
    assert [round(pause) for pause in pauses] == [3, 3, 3, 3]
    told = [text for _, text in task_log.lines if text.startswith("Look ")]
    assert told == [
        *(f"Look {i}: {a}. Looking again in 3 seconds." for i, a in enumerate(["started", "hold", "advance", "hold"])),
        "Look 4: promoted.",
    ]


def test_while_releases_are_frozen_it_looks_for_the_candidate_of_then(stages, task_log, task_instance):
    """SE-10: A look that names no version is followed by one that names none, so that the newest candidate begins."""
    ledger = LEDGER.replace("version=7", "version=[None, 7, 7][looks]").replace("Look {{looks}}", "Given {{given[2:]}}")
    stages.do(ledger.format(actions=["hold", "started", "promoted"]))
    assert _follow({"ti": task_instance()})[0]["version"] == 7
    told = [text for _, text in task_log.lines if text.startswith("Given ")]
    assert [text.split(":")[0] for text in told] == ["Given []", "Given []", "Given ['--version=7']"]


def test_a_new_try_goes_on_where_the_release_stands(stages, task_log, task_instance):
    """DE-22: Killed between two looks, it takes the next look: the first is not repeated."""
    stages.do(LEDGER.format(actions=["started", "advance", "promoted"]))
    with pytest.raises(TaskDeferred):
        _task().execute({"ti": task_instance()})
    assert _follow({"ti": task_instance()})[0]["action"] == "promoted"
    assert (stages.home / "looks").read_text() == "3"


def test_a_rollback_fails_the_task_for_good(stages, task_log, task_instance):
    """SE-10: The candidate was turned down: red, not tried again, with the evidence in the result."""
    stages.do(LEDGER.format(actions=["rolled_back"]))
    ti = task_instance()
    with pytest.raises(StageRefused, match="rolled_back"):
        _task().execute({"ti": ti})
    assert ti.pushed["return_value"]["action"] == "rolled_back"
    assert ti.pushed["return_value"]["evidence"] == {"errors": 0}


def test_a_rollback_that_a_person_asked_for_is_no_failure(stages, task_log, task_instance):
    """DE-02: The task did as it was told."""
    stages.do(LEDGER.format(actions=["rolled_back"]))
    assert _follow({"ti": task_instance()}, decision="roll_back")[0]["action"] == "rolled_back"


def test_a_rollback_against_a_persons_word_fails_the_task(stages, task_log, task_instance):
    """DE-02: They said promote, and the candidate could not take its traffic: not what was decided, so it is red."""
    stages.do(LEDGER.format(actions=["rolled_back"]))
    with pytest.raises(StageRefused, match="rolled_back"):
        _task(decision="promote").execute({"ti": task_instance()})


def test_a_rejected_version_is_no_failure(stages, task_log, task_instance):
    """DE-02: A person turned it down before it took traffic."""
    stages.do(LEDGER.format(actions=["rejected"]))
    assert _follow({"ti": task_instance()}, decision="roll_back")[0]["action"] == "rejected"


def test_an_open_question_is_passed_on(stages, task_log, task_instance):
    """DE-02: The next task asks a person."""
    stages.do(LEDGER.format(actions=["hold", "ask"]))
    assert _follow({"ti": task_instance()})[0]["action"] == "ask"


def test_nothing_to_release_is_skipped(stages, task_log, task_instance):
    """DE-15: No candidate is no failure."""
    stages.do(LEDGER.format(actions=["nothing"]))
    with pytest.raises(AirflowSkipException):
        _task().execute({"ti": task_instance()})


def test_a_fault_ends_the_try(stages, task_log, task_instance):
    """DE-22: Airflow tries again; the ledger knows how far the release is."""
    stages.do('end(1, outcome="fault", sentence="The gateway does not answer.")')
    with pytest.raises(StageFault, match="gateway"):
        _task().look({"ti": task_instance()}, 1.0, 7)


def test_again_counts_for_the_first_look_alone(stages, task_log, task_instance):
    """DE-02: What a person said once does not start a version anew that was rolled back since."""
    stages.do(LEDGER.format(actions=["started", "promoted", "promoted"]))
    result, _ = _follow({"ti": task_instance()}, again="True")
    assert result["given"] == ["release", "--model=m", "--version=7"]
    assert any("--again" in text for _, text in task_log.lines)
    assert _task(again="True").execute({"ti": task_instance(try_number=2)})["given"] == ["release", "--model=m"]
