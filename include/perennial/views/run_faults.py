"""Names what ended a task of a run, and says what to do: pure functions of what the task left. Light.

A stage's result has the class of what ended it (`fault`), a gate's refusal the check that failed. A result from before that was
recorded, or of a task that runs no stage, is named by the task.

>>> from perennial.views.run_story import TaskEnd
>>> left = {"outcome": "fault", "sentence": "MLflow at http://127.0.0.1:5000 does not answer.", "fault": "ServiceUnreachable"}
>>> fault_of(TaskEnd("train", "failed", left)).name
'A server does not answer'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from perennial.views.run_story import AGAINST, TaskEnd, word_of
from perennial.views.view import View

RUNBOOK = "docs/runbook.md"


class Fault(View):
    """What ended a task."""

    name: str = Field(description="What it is, in a few words: one of a fixed list.")
    do: str = Field(description="What to do, for a person.")
    runbook: str = Field(description="The section of docs/runbook.md that says more.")


@dataclass(frozen=True)
class GateCheck:
    """One check of the gate, as its decision has it."""

    name: str
    passed: bool
    sentence: str


AGAIN = "Clear the task, or wait for its next try: it goes on from what is stored."
WORSE = (
    "Nothing, if it is rightly refused: the champion serves on. Otherwise compare both versions on their page, and mend data, features or "
    "model; the next training is judged anew."
)
OF_CLASS: dict[str, tuple[str, str, str]] = {  # class of what ended it -> its name, what to do, section of the runbook
    "BatchRefused": (
        "Broken batch",
        "Open Data Docs to see which rows and why; correct the files and land them again. They lie in quarantine; the table is as before.",
        "Data quality",
    ),
    "DataRefused": (
        "Rows to train on were refused",
        "Open Data Docs; take the wrong batch out (`perennial remove-batch`) or correct the suite, then start the training again.",
        "A batch was wrong",
    ),
    "TrainingRefused": ("Training may not start", "Read the sentence: it says what is missing or has changed.", "Pipeline"),
    "CodeBroken": ("A fault in the model's code", "Mend the file and line that the sentence names, then start the run again.", "Pipeline"),
    "CandidateRefused": ("The gate refused the candidate", WORSE, "Pipeline"),
    "ReleaseRefused": ("Traffic may not move", "Do what the sentence says; traffic is as it was.", "Release"),
    "SourceRefused": ("A source is not as its spec says", "Correct the source's spec or the source; nothing was lost.", "Pipeline"),
    "SourceUnreachable": ("A source does not answer", f"See whether the server runs and its connection is right. {AGAIN}", "Pipeline"),
    "RegistryDiffers": (
        "The registry is not the one of the ledger",
        "`perennial registry rebuild`, or correct the setting that the sentence names.",
        "Something stored is damaged",
    ),
    "UnknownName": ("No such name", "Correct the name that the sentence tells.", "Pipeline"),
    "SpecBroken": ("A broken spec", "Mend the file and line that the sentence names; the DAGs come back by themselves.", "Spec"),
    "SettingMissing": (
        "A setting is wrong",
        "Correct the variable that the sentence names (docs/settings.md), then start again.",
        "Service",
    ),
    "StoreUnreachable": (
        "The store does not answer",
        f"See whether it runs, has room and accepts the keys. {AGAIN}",
        "Service",
    ),
    "ServiceUnreachable": (
        "A server does not answer",
        f"`perennial status` says which program does not run, `perennial up` starts it. {AGAIN}",
        "Service",
    ),
    "QuestionRefused": ("A server refuses a question", f"Read its own words in the sentence. {AGAIN}", "Service"),
    "StoredDataDamaged": (
        "Stored bytes are damaged",
        "`perennial verify` finds all of them; restore them from a copy.",
        "Something stored is damaged",
    ),
    "LedgerConflict": ("Another writer was quicker", AGAIN, "Release"),
    "MemoryError": ("Out of memory", "Raise compute.memory_gb in the spec, or let it work on less at a time.", "Pipeline"),
    "OutOfMemory": ("Out of memory", "Raise compute.memory_gb in the spec, or let it work on less at a time.", "Pipeline"),
    "Killed": (
        "Killed from outside",
        f"If nobody ended it, the machine had no memory left: see the kernel's log, and lower what it needs. {AGAIN}",
        "Pipeline",
    ),
    "Ended": ("Ended from outside", AGAIN, "Pipeline"),
    "OverTime": (
        "It took too long",
        "See in its log what it waited for. Clear the task to go on, or raise compute.longest_hours in the spec.",
        "Pipeline",
    ),
    "NotStarted": ("Its pod could not start", "Do what the sentence says in the cluster, then clear the task.", "Service"),
    "DiskFull": ("The disk is full", f"Free some space. {AGAIN}", "Service"),
    "Refused": ("It was refused", "Read the sentence: it says why and what to do.", "Pipeline"),
    "Fault": ("It broke", f"Read the sentence and the log above it. {AGAIN}", "Pipeline"),
}
OF_CHECK: dict[str, tuple[str, str, str]] = {  # a check of the gate that failed, the first in this order to be mended first
    "golden": (
        "Golden rows score otherwise where it would serve",
        "The environments of training and serving differ: `make setup`, or build the images again, then train again.",
        "Pipeline",
    ),
    "generated inputs": (
        "It fails on an input that its signature allows",
        "Mend features.py or the model for the input named.",
        "Pipeline",
    ),
    "contract": (
        "It breaks the contract of a consumer",
        "Keep what the consumer relies on, or agree with the owner named on another contract.",
        "Contract",
    ),
    "limit": ("Beyond an absolute limit", "Make it smaller or faster, or ask the owner named whether the requirement stands.", "Pipeline"),
    "floors": ("Below a floor", WORSE, "Pipeline"),
    "signature": ("It breaks what callers rely on", "Keep what it means, or give the model a new name.", "Pipeline"),
    "champion": ("Worse than the champion", WORSE, "Pipeline"),
    "old_context": ("Worse on older data", WORSE, "Pipeline"),
    "alarms": ("Its alarms are over their budget", WORSE, "Pipeline"),
    "anomalies": ("It finds fewer anomalies than the champion", WORSE, "Pipeline"),
    "stability": ("Refits of it do not agree", WORSE, "Pipeline"),
}
UNDER_TRAFFIC = (
    "The candidate failed under traffic",
    "Nothing at once: the champion has all traffic again. The page of the release shows which signal decided; mend the model, and train "
    "again.",
    "Release",
)
BY_A_PERSON = ("A person took traffic back", "Nothing, if it was meant so: the ledger has who and why.", "Release")
TURNED_DOWN = ("A person turned the version down", "Nothing: that version is not released again by itself.", "Release")
HELD_BACK = (
    "Training is held back",
    "Mend the feed that the sentence names, or give the verdict `known` on its incident; what is found in mended data asks anew. A person "
    "may force a training.",
    "Data quality",
)
UNSEEN = ("Killed before it had a result", f"Its log shows how far it came. {AGAIN}", "Pipeline")
OF_TASK = {  # where a result has no class: the class of what such a task tells
    "tell_refused": "BatchRefused",
    "ingest": "BatchRefused",
    "validate": "TrainingRefused",
    "register": "CandidateRefused",
    "move_traffic": "ReleaseRefused",
    "settle": "ReleaseRefused",
    "rollback": "ReleaseRefused",
    "say_broken": "SpecBroken",
}


def fault_of(end: TaskEnd, checks: Sequence[GateCheck] = ()) -> Fault | None:
    """What ended a task, or kept it from what was asked of it; None if it ended well, runs or was not reached.

    Args:
        end: what it left.
        checks: of the gate, where it is the gate's task and they are known.
    """
    word, result = word_of(end), end.result or {}
    if word == "Skipped" and result.get("fault") == "HeldBack":
        return _fault(HELD_BACK)
    if word not in AGAINST:
        return None
    if word == "Rejected":
        return _fault(TURNED_DOWN)
    if word == "Rolled back":
        return _fault(UNDER_TRAFFIC if end.state == "failed" else BY_A_PERSON)
    if not result.get("outcome"):
        return _fault(UNSEEN)
    name = _class_of(end.task, result)
    failed = {_kind(check.name) for check in checks if not check.passed} if name == "CandidateRefused" else set()
    return _of_all([words for check, words in OF_CHECK.items() if check in failed] or [OF_CLASS[name]])


def _kind(check: str) -> str:
    """The check without the limit or the consumer that it is of."""
    first = check.partition(" ")[0]
    return first if first in ("limit", "contract") else check


def _of_all(found: Sequence[tuple[str, str, str]]) -> Fault:
    """One fault that names all that was found, with what to do about each; the section is that of the first."""
    first, *others = [name for name, _, _ in found]
    names = "; ".join([first, *(name[0].lower() + name[1:] for name in others)])
    return _fault((names, " ".join(dict.fromkeys(do for _, do, _ in found)), found[0][2]))


def _class_of(task: str, result: Mapping[str, object]) -> str:
    """A class of which something can be said: the one that was recorded, else the task's, else whether it was a decision."""
    recorded = str(result.get("fault"))
    if recorded in OF_CLASS:
        return recorded
    if result.get("outcome") == "refused":
        return OF_TASK.get(task, "Refused")
    return "OverTime" if result.get("over_time") else "Fault"


def _fault(words: tuple[str, str, str]) -> Fault:
    name, do, section = words
    return Fault(name=name, do=do, runbook=f"{RUNBOOK}, {section}")
