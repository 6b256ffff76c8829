"""Tasks that a person answers, or must start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import BaseOperator

from perennial_airflow.stage_end import skip

if TYPE_CHECKING:
    from airflow.sdk import Context


class AskMayStart(ApprovalOperator):
    """Asks a person whether a candidate may take traffic; a no skips the release."""

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Who said yes or no."""
        return {"actor": person(super().execute_complete(context, event))}


class AskPromoteOrRollBack(ApprovalOperator):
    """Asks a person what the evidence left open; both answers are passed on to the next task.

    Args:
        unsettled: template that gives "True" if there is something to ask; otherwise the task is skipped.
    """

    APPROVE = "Promote"
    REJECT = "Roll back"
    template_fields: Sequence[str] = (*HITLOperator.template_fields, "unsettled")

    def __init__(self, *, unsettled: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unsettled = unsettled

    def execute(self, context: Context) -> object:
        """Ask, if there is something to ask."""
        if self.unsettled != "True":
            skip(self, "The evidence settled it: nobody needs to be asked.")
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The answer: what to do, and who said so."""
        # Not ApprovalOperator's: it would skip the next task when the answer is to roll back.
        answer = HITLOperator.execute_complete(self, context, event)
        decision = "promote" if answer["chosen_options"][0] == self.APPROVE else "roll_back"
        actor = person(answer)
        self.log.info("%s answered: %s.", actor, answer["chosen_options"][0])
        return {"decision": decision, "actor": actor}


def person(answer: Mapping[str, Any]) -> str:
    """Name of the person who gave an answer."""
    return (answer.get("responded_by_user") or {}).get("name") or "unknown"


class OnlyByHand(BaseOperator):
    """Skips what follows unless a person started the run.

    Args:
        sentence: who must do what.
    """

    template_fields: Sequence[str] = ("sentence",)

    def __init__(self, *, sentence: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sentence = sentence

    def execute(self, context: Context) -> None:
        """Look at how the run was started."""
        if context["dag_run"].run_type != "manual":
            skip(self, self.sentence)
