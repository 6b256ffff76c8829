"""Flights of a window as live traffic, their outcomes, and a run of the monitoring DAG over it. Prints the result as one line of JSON.

As a program of the workload environment: FIRST [celsius]
"""

from __future__ import annotations

import json
import sys
from datetime import date

from perennial.local import airflow_programs
from perennial.local.airflow_api import AirflowApi
from perennial.local.demo import Story, celsius, look_at_window
from perennial.settings import Settings
from perennial.store import open_store

if __name__ == "__main__":
    settings = Settings.from_environment()
    story = Story(settings, open_store(settings.store), AirflowApi(settings.airflow_url, *airflow_programs.login(settings)))
    print(json.dumps(look_at_window(story, date.fromisoformat(sys.argv[1]), celsius if "celsius" in sys.argv else dict)))
