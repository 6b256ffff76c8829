"""Checks the files of every dataset and model; reports those that are broken, while all others go on.

**When.** Every ten minutes, or by hand.

**What it does.** A dataset or model whose files cannot be imported, or a model that does not fit its dataset, is broken: its DAGs are gone
until it is fixed, and all others go on. In their place there is the DAG `NAME_broken` with the tag `broken`, whose documentation shows the
error, the file and the line; when triggered, its task `say_broken` fails with that error. `look_at_specs` opens an incident for each, ends
it once the files are fixed, and alerts people by mail and webhook if they are set up. It is also an incident if a model still serves
after its folder was renamed or removed (put the folder back, or run `perennial retire NAME`), and if a training makes no step for
`training.told_stall_minutes`.

| task | it fails when | what to do |
| --- | --- | --- |
| `look_at_specs` | the store does not answer; retried | read the last line of its log |
"""

from __future__ import annotations

import re
from itertools import groupby

from airflow.sdk import DAG, CronTriggerTimetable

from perennial import discovery
from perennial_airflow.dag_defaults import common_defaults
from perennial_airflow.operators.look_at_specs import LookAtSpecs, SayBroken

EVERY = "*/10 * * * *"
MANUAL = """{sentences}

The DAGs of this name come back as soon as its files are fixed; their history is kept.

| task | it fails when | what to do |
| --- | --- | --- |
| `say_broken` | always: its error is the text above | fix the file |
"""


def specs() -> DAG:
    """The DAG that looks at all specs."""
    defaults = common_defaults("perennial_specs", __doc__, {"perennial", "specs"}, owner="perennial")
    with DAG(schedule=CronTriggerTimetable(EVERY, timezone="UTC"), **defaults) as dag:
        LookAtSpecs(task_id="look_at_specs")
    return dag


def broken(name: str, mistakes: list[discovery.Broken]) -> DAG:
    """The DAG that takes the place of the DAGs of a dataset or model (or both, if of one name) whose files are broken."""
    sentences = [one.sentence for one in mistakes]
    # As code: what a file's error says is shown as it stands.
    manual = MANUAL.format(sentences="\n\n".join("    " + " ".join(sentence.split()) for sentence in sentences))
    defaults = common_defaults(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}_broken", manual, {"perennial", "broken", name}, owner="perennial")
    with DAG(schedule=None, **{**defaults, "description": sentences[0]}) as dag:
        SayBroken(task_id="say_broken", sentence=" ".join(sentences))
    return dag


specs()
for name, mistakes in groupby(sorted(discovery.broken(), key=lambda one: one.name), key=lambda one: one.name):
    broken(name, list(mistakes))
