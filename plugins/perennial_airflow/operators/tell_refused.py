"""Makes refused files and rows visible: the run fails although the good ones were ingested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial_airflow.stage_end import RefusalsAreFinal, refuse

if TYPE_CHECKING:
    from airflow.sdk import Context


class TellRefused(BaseOperator):
    """Fails with the sentences of the refused files and rows of an ingestion, if there are any.

    Args:
        ingested_by: task whose result is looked at.
    """

    def __init__(self, *, ingested_by: str, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs})
        self.ingested_by = ingested_by

    def execute(self, context: Context) -> None:
        """Tell each refused file on a line of its own."""
        result = context["ti"].xcom_pull(task_ids=self.ingested_by)
        refused: dict[str, str] = result["refused"]
        taken = len(result["appended"]) + len(result["duplicates"])
        rows: dict[str, int] = result.get("refused_rows", {})
        if not refused and not rows:
            self.log.info("No file was refused.")
            return
        files = f"{len(refused)} of {len(refused) + taken} files were refused and lie in quarantine: {', '.join(sorted(refused))}."
        said = [files, next(iter(refused.values()))] if refused else []
        if rows:
            of_files = ", ".join(f"{count:,} of {name}" for name, count in sorted(rows.items()))
            said.append(f"Rows were refused one by one and lie in quarantine with the reasons: {of_files}.")
        for sentence in refused.values():
            self.log.error("%s", sentence)
        if rows or len(refused) > 1 or not said[-1].endswith(" land it again."):  # the sentence of a single file may have said so
            said.append("Correct them and land them again.")
        refuse(self, " ".join(said))
