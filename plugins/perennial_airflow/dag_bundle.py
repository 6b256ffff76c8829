"""The folder of DAG files as Airflow's DAG processor watches it: DAGs of new and edited specs appear seconds later, and what nobody
changed is parsed rarely (docs/decisions/0107-what-runs-while-nothing-happens.md)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

import perennial_datasets
import perennial_models
from perennial import projects, spec_changes
from perennial.settings import Settings


class SpecBundle(LocalDagBundle):
    """A folder of DAG files that are made from specs.

    Airflow parses a DAG file when it has changed, and otherwise at intervals. What is in a spec changes the DAGs of a file without changing
    the file: at each refresh the processor asks here, and where a spec changed, requests the parse that the button in the web UI requests.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._seen: spec_changes.Seen | None = None

    def refresh(self) -> None:
        """Request a parse of what has changed since the last refresh. Called by the DAG processor alone."""
        seen, wanted = spec_changes.look(self._seen, spec_changes.python_files(self._folders()), self._gone(), time.monotonic())
        if wanted != spec_changes.Wanted():
            self._request(wanted)
        self._seen = seen  # last: what could not be requested is requested at the next refresh

    def _folders(self) -> list[Path]:
        own = [part for project in Settings.from_environment().projects for part in (project / inner for inner in projects.IMPORTED)]
        return [*map(Path, (*perennial_datasets.__path__, *perennial_models.__path__)), *own, self.path]

    def _gone(self) -> spec_changes.Dags:
        from airflow.models.dag import DagModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            rows = session.execute(
                select(DagModel.dag_id, DagModel.relative_fileloc).where(DagModel.bundle_name == self.name, DagModel.is_stale)
            )
            return frozenset((str(dag), str(file)) for dag, file in rows)

    def _request(self, wanted: spec_changes.Wanted) -> None:
        from airflow.models.dagbag import DagPriorityParsingRequest
        from airflow.utils.file import list_py_file_paths
        from airflow.utils.session import create_session
        from sqlalchemy import select

        there = {str(Path(file).relative_to(self.path)) for file in list_py_file_paths(self.path)}
        files = there if wanted.everything else there & wanted.files
        with create_session() as session:
            asked = select(DagPriorityParsingRequest.relative_fileloc).where(DagPriorityParsingRequest.bundle_name == self.name)
            files -= set(session.scalars(asked))
            session.add_all(DagPriorityParsingRequest(self.name, file) for file in sorted(files))
