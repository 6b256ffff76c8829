"""Looks at the files of every dataset and model: a broken one stops itself alone, and is told of.

**When.** Every ten minutes, or by hand.

**What it does.** Files that cannot be imported, and a model that does not fit its dataset, are left out: their DAGs are gone until they
are mended, all others go on. Each has a DAG of its own instead, `NAME_broken` with the tag `broken`, whose manual says what is wrong in
which file and line; triggered, its task `say_broken` fails with that sentence. `look_at_specs` keeps an incident for each, ends it once
the files are mended, and tells people by mail and webhook where they are set up. A model that still serves while its folder was
renamed or removed is an incident as well: put the folder back, or `perennial retire NAME`.

| task | it fails when | what to do |
| --- | --- | --- |
| `look_at_specs` | the store does not answer; tried again | read its last line |
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

The DAGs of this name come back as soon as its files are mended; what they had done is kept.

| task | it fails when | what to do |
| --- | --- | --- |
| `say_broken` | always: it says the above | mend the file |
"""


def specs() -> DAG:
    """The DAG that looks at all specs."""
    defaults = common_defaults("perennial_specs", __doc__, {"perennial", "specs"}, owner="perennial")
    with DAG(schedule=CronTriggerTimetable(EVERY, timezone="UTC"), **defaults) as dag:
        LookAtSpecs(task_id="look_at_specs")
    return dag


def broken(name: str, mistakes: list[discovery.Broken]) -> DAG:
    """What stands for the DAGs of a dataset or model, or both of one name, whose files are broken."""
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
