"""DAG files, parsed as Airflow parses them."""

from __future__ import annotations

import os
import tempfile

# Airflow makes its folder and a configuration when it is imported: not in anybody's home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="perennial-airflow-"))
