"""Buttons of a task in the web UI that lead to what its stage wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

TITLES = ("MLflow run", "Data Docs", "Evaluation", "Report", "Model version", "Serving route", "Trace")


@attrs.define()
class StageLink(BaseOperatorLink):
    """One page, known by its title in the result's `links`."""

    title: str
    address: str = ""

    @property
    def name(self) -> str:
        """Text of the button."""
        return self.title

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address for the web UI."""
        return f"_link_{self.title.lower().replace(' ', '_')}"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address found by this try."""
        return self.address


ALL_LINKS = tuple(StageLink(title) for title in TITLES)


def links_of(pages: Mapping[str, str]) -> tuple[StageLink, ...]:
    """The buttons for the pages that a result names; the web UI hides the others."""
    return tuple(StageLink(title, pages[title]) for title in TITLES if pages.get(title))
