"""Imports what every DAG file imports once in each of Airflow's programs: a DAG file and a task run in a process that such a program forks.

Without it each of them would import it anew, many times a minute (docs/decisions/0053-imported-once.md). Models and datasets are not
here: they are looked for at each parse. A file of its own, so that one that cannot be imported takes nothing from the other plugin.
"""

from perennial import discovery, specs  # noqa: F401
from perennial_airflow import assets, dag_defaults, sightings, stage_task  # noqa: F401
from perennial_airflow.operators import (  # noqa: F401
    announce_retraining,
    ask_person,
    ask_verdict,
    look_at_specs,
    send_reviews,
    share_out,
    tell_incidents,
    tell_refused,
)
from perennial_airflow.sensors import landing_sensor  # noqa: F401
