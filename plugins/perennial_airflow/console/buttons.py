"""What a person can start from a model's page: the model's own DAGs, as that person, by Airflow's own API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

from perennial.views.models import ModelRow


@dataclass(frozen=True)
class Button:
    """One DAG that can be started, with the question before it."""

    dag: str
    text: str
    question: str
    asks_reason: bool
    disabled: str  # why it cannot be pressed; empty if it can
    conf: str = "{}"  # JSON: what its run is started with, beside the reason


def buttons(row: ModelRow, user: Any) -> list[Button]:
    """The buttons of a model, each with the reason why this person cannot press it, if there is one.

    Args:
        row: the model, as the list shows it.
        user: who is logged in.
    """
    name = row.name
    broken = f"{row.title} has no DAGs: {row.sentence}" if row.state in ("broken", "unknown") else ""
    back = f"version {row.back_to}" if row.back_to else ""
    waits = row.state == "waiting"
    wanted: tuple[tuple[str, str, str, bool, str, dict[str, Any]], ...] = (
        ("training", "Train", f"Train {row.title} now, if anything is new since the last training?", True, "", {}),
        (
            "release",
            f"Release version {row.newest}" if waits else "Release",
            f"Begin the release of version {row.newest}? It gets traffic step by step, as the evidence allows.",
            False,
            "" if waits else "No version waits for its release.",
            {},
        ),
        (
            "rollback",
            f"Roll back to {back}" if back else "Roll back",
            f"Give all traffic to {back} at once?",
            True,
            "" if back else "There is no version to go back to.",
            {"version": row.back_to},  # to no other than the button says
        ),
        (
            "monitoring",
            "Monitor now",
            "Judge the newest whole window of live traffic now?",
            False,
            "" if row.serving else "Nothing serves, so there is no traffic to look at.",
            {},
        ),
    )
    return [
        Button(f"{name}_{dag}", text, question, asks_reason, broken or why or right(f"{name}_{dag}", user), json.dumps(conf))
        for dag, text, question, asks_reason, why, conf in wanted
    ]


def right(dag: str, user: Any) -> str:
    """Why a person cannot start a DAG; empty if the person can."""
    may = get_auth_manager().is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag), user=user)
    return "" if may else f"You may not start {dag}: ask for the right to trigger it."
