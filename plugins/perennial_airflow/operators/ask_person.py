"""Tasks that a person answers, or must start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator

from perennial.errors import PerennialError
from perennial.lineage.ledger import Ledger
from perennial.settings import Settings
from perennial.store import open_store
from perennial_airflow.plain_text import plain
from perennial_airflow.stage_end import RefusalsAreFinal, give_up, refuse, skip

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"
PROMOTE, ROLL_BACK = "Promote", "Roll back"


class AskPerson(HITLOperator):
    """Asks a person, for as long as it takes, and passes the answer on to the next task, whatever it is.

    The task waits in the state `awaiting_input`, which holds no worker, no triggerer and no slot. A limit that a site sets for
    all tasks (`execution_timeout`) is meant for work: Airflow would end the question by it, so it does not apply.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs, "execution_timeout": None})

    def _answered(self, context: Context, event: dict[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
        """The chosen option, who chose it, and what they wrote into the form."""
        answer: Mapping[str, Any] = super().execute_complete(context, event)
        chosen, by = str(answer["chosen_options"][0]), person(answer)
        self.log.info("%s answered: %s.", by, chosen)
        return chosen, by, answer["params_input"]


class AskMayStart(AskPerson):
    """Asks a person whether one version may take traffic: the answer holds for that version, whatever is registered meanwhile.

    Args:
        model: name of the model.
        version: number of a version that a person named, else empty; templated.
        again: "True" if it is asked although a release has decided on this version; templated.
        title: the model, as people say it.
        steps: what the release would do.
    """

    template_fields: Sequence[str] = ("version", "again")

    def __init__(self, *, model: str, version: str, again: str, title: str, steps: str, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "subject": f"May a candidate of {title} take traffic?", "options": [APPROVE, REJECT]})
        self.model = model
        self.version = version
        self.again = again
        self.title = title
        self.steps = steps

    def execute(self, context: Context) -> object:
        """Ask, unless a release has decided on the version, as where an event comes twice.

        Raises:
            TaskAwaitingInput: the task waits for the answer.
            NothingToDo: it was released, rolled back or rejected before.
            StageRefused: nobody said which version.
            StageFault: the store does not answer; retried.
        """
        version, said = self._which(context)
        try:
            entries = Ledger(open_store(Settings.from_environment().store), self.model).entries()
        except PerennialError as error:
            give_up(self, str(error))
        decided = next((entry for entry in reversed(entries) if entry.version == version and entry.candidate is None), None)
        if decided and self.again != "True":
            end = decided.kind.replace("_", " ")
            skip(
                self,
                f"Version {version} of {self.model} was {end} on {decided.time:%Y-%m-%d %H:%M} UTC: {decided.reason} Nobody is asked again.",
            )
        self.subject = f"May version {version} of {self.title} take traffic?"
        self.body = "\n\n".join(filter(None, (plain(said), self.steps)))
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The version, what to do with it, and who said so."""
        chosen, actor, _ = self._answered(context, event)
        return {"version": self._which(context)[0], "decision": "" if chosen == APPROVE else "roll_back", "actor": actor}

    def _which(self, context: Context) -> tuple[int, str]:
        """The version that is asked about, and what its registration said of it: the newest of those whose registration started the run."""
        if self.version:
            return int(self.version), ""
        registered = [
            event.extra for events in context["triggering_asset_events"].values() for event in events if event.extra.get("version")
        ]
        if not registered:
            refuse(
                self, "Nobody said which version may take traffic, and a yes holds for one: trigger it again with its number as *Version*."
            )
        newest = max(registered, key=lambda extra: int(extra["version"]))
        return int(newest["version"]), str(newest.get("sentence", ""))


class AskPromoteOrRollBack(AskPerson):
    """Asks a person what the evidence left open; or, where callers must change what they send, whether a release may begin at all.

    Args:
        unsettled: template that gives "True" if there is something to ask; otherwise the task is skipped.
        before_start: template that gives "True" if no traffic has moved yet: a yes then lets the release begin, and its evidence decides.
        title: the model, as people say it.
    """

    template_fields: Sequence[str] = (*HITLOperator.template_fields, "unsettled", "before_start")

    def __init__(self, *, unsettled: str, before_start: str, title: str, **kwargs: Any) -> None:
        subject = f"Promote the candidate of {title}, or roll it back?"
        super().__init__(**{**kwargs, "subject": subject, "options": [PROMOTE, ROLL_BACK]})
        self.unsettled = unsettled
        self.before_start = before_start
        self.title = title

    def execute(self, context: Context) -> object:
        """Ask, if there is something to ask."""
        if self.unsettled != "True":
            skip(self, "The evidence settled it: nobody needs to be asked.")
        self._choose_words()
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The answer: what to do, and who said so."""
        self._choose_words()
        chosen, actor, _ = self._answered(context, event)
        return {"decision": {PROMOTE: "promote", APPROVE: ""}.get(chosen, "roll_back"), "actor": actor}

    def _choose_words(self) -> None:
        if self.before_start == "True":
            self.subject = f"May the candidate of {self.title} take traffic, though it breaks callers?"
            self.options = [APPROVE, REJECT]


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
