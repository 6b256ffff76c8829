"""Tasks that a person answers, or must start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskAwaitingInput

from perennial import discovery
from perennial.errors import PerennialError
from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import QUESTION
from perennial.incidents.news import announce
from perennial.lineage.ledger import AGAINST, Entry, Ledger
from perennial.settings import Settings
from perennial.store import open_store
from perennial_airflow.plain_text import plain
from perennial_airflow.sightings import answered, in_question
from perennial_airflow.stage_end import NothingToDo, RefusalsAreFinal, give_up, refuse, skip

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REJECT = "Approve", "Reject"
PROMOTE, ROLL_BACK = "Promote", "Roll back"
SHORTEST_SLEEP = timedelta(minutes=1)


class AskPerson(HITLOperator):
    """Asks a person, for as long as it takes, and passes the answer on to the next task, whatever it is.

    The task waits in the state `awaiting_input`, which holds no worker, no triggerer and no slot. A limit that a site sets for
    all tasks (`execution_timeout`) is meant for work: Airflow would end the question by it, so it does not apply.

    Now and again the task wakes for a moment and looks whether the question was answered elsewhere, by a command: it then ends by
    itself, so that nothing waits behind it. The older the question, the longer it sleeps.
    """

    longest_sleep = timedelta(minutes=10)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs, "execution_timeout": None})

    def execute_complete(self, context: Context, event: dict[str, Any], asked: str = "", since: float = 0.0) -> Any:
        """The answer; or, where only the time to look has come, what was decided elsewhere. `asked` and `since`: what was known at asking,
        and when that was.

        Raises:
            TaskAwaitingInput: nobody has answered yet.
            NothingToDo: it was decided elsewhere, and nothing is left to be done.
        """
        if event.get("error_type") != "timeout":
            self._no_more("It was answered.")
            return self._given(context, event)
        try:
            decided = self._decided_elsewhere(context, asked)
        except PerennialError as error:
            self.log.warning("Whether the question was answered elsewhere could not be looked up: %s", error)
            decided = None
        except NothingToDo as nothing:
            self._no_more(str(nothing))
            raise
        if decided is None:
            self._tell(context, since)
            raise self._waits(asked, since)
        self._no_more("It was decided elsewhere.")
        return decided

    def _tell(self, context: Context, since: float) -> None:
        """Tell people that the question waits; this base tells nobody. `since`: when it was asked, `time.time`."""

    def _no_more(self, sentence: str) -> None:
        """Tell those who were told that it waits no more."""

    def _given(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """What a person's answer means for the next task."""
        raise NotImplementedError

    def _decided_elsewhere(self, context: Context, asked: str) -> dict[str, Any] | None:
        """What was decided by a command since the question was asked, as `_given` has it; None if nothing was. Raises NothingToDo and
        PerennialError."""
        raise NotImplementedError

    def _wait(self, context: Context, asked: str) -> NoReturn:
        """Put the question and wait. Raises TaskAwaitingInput."""
        try:
            super().execute(context)
        except TaskAwaitingInput:
            self._tell(context, time.time())
            raise self._waits(asked, time.time()) from None
        raise AssertionError("a question waits")

    def _waits(self, asked: str, since: float) -> TaskAwaitingInput:
        sleep = min(max(timedelta(seconds=(time.time() - since) / 10), SHORTEST_SLEEP), self.longest_sleep)
        return TaskAwaitingInput(method_name="execute_complete", kwargs={"asked": asked, "since": since}, timeout=sleep)

    def _answered(self, context: Context, event: dict[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
        """The chosen option, who chose it, and what they wrote into the form."""
        answer: Mapping[str, Any] = super().execute_complete(context, event)
        chosen, by = str(answer["chosen_options"][0]), person(answer)
        self.log.info("%s answered: %s.", by, chosen)
        return chosen, by, answer["params_input"]


class AskOfRelease(AskPerson):
    """Asks about a release, tells people on the channels of the model that a question waits, and tells them again after a time.

    It is kept as an incident of the kind `release`, which is no alarm. How the question ends does not hang on it.
    """

    model: str

    def _tell(self, context: Context, since: float) -> None:
        waits = timedelta(seconds=time.time() - since)
        try:
            settings, spec = Settings.from_environment(), discovery.models().get(self.model)
            reminds = spec is not None and waits > timedelta(hours=spec.release.remind_hours)
            store = open_store(settings.store)
            seen = in_question(self._version_asked(context), self._question(), _page(settings, context), reminds=reminds)
            incidents = Incidents(store, self.model)
            if incidents.find(seen.kind, seen.key) is None:
                seen.note(incidents)
                announce(store, datetime.now(timezone.utc))
        except PerennialError as error:
            self.log.warning("Nobody is told that the question waits: %s", error)

    def _no_more(self, sentence: str) -> None:
        try:
            store = open_store(Settings.from_environment().store)
            incidents = Incidents(store, self.model)
            if any(incident.key.startswith(QUESTION) for incident in incidents.open_ones()):
                answered(incidents, sentence)
                announce(store, datetime.now(timezone.utc))
        except PerennialError as error:
            self.log.warning("The note that the question waits stays open: %s", error)

    def _version_asked(self, context: Context) -> str:
        """Number of the version that is asked about."""
        raise NotImplementedError

    def _question(self) -> str:
        """The question, for a message."""
        return f"{self.subject} {' or '.join(self.options)}: nothing moves until somebody answers."


class AskMayStart(AskOfRelease):
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
            ledger = _ledger(self.model)
            decided = next((entry for entry in ledger.about(version) if entry.candidate is None), None)
            newest = _newest(ledger)
        except PerennialError as error:
            give_up(self, str(error))
        if decided and self.again != "True":
            end = decided.kind.replace("_", " ")
            skip(
                self,
                f"Version {version} of {self.model} was {end} on {decided.time:%Y-%m-%d %H:%M} UTC: {decided.reason} Nobody is asked "
                "again.",
            )
        self.subject = f"May version {version} of {self.title} take traffic?"
        self.body = "\n\n".join(filter(None, (plain(said), self.steps)))
        self._wait(context, newest)

    def _given(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The version, what to do with it, and who said so."""
        chosen, actor, _ = self._answered(context, event)
        return {"version": self._which(context)[0], "decision": "" if chosen == APPROVE else "roll_back", "actor": actor}

    def _version_asked(self, context: Context) -> str:
        version = str(self._which(context)[0])
        self.subject = f"May version {version} of {self.title} take traffic?"  # the object is a new one each time that the task wakes
        return version

    def _decided_elsewhere(self, context: Context, asked: str) -> dict[str, Any] | None:
        version = self._which(context)[0]
        entry, _ = _since(self.model, version, asked)
        if entry is None:
            return None
        if entry.candidate is None:
            skip(self, _settled(entry))
        self.log.info("%s began the release of version %s of %s meanwhile.", entry.actor, version, self.model)
        return {"version": version, "decision": "", "actor": entry.actor}

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


class AskPromoteOrRollBack(AskOfRelease):
    """Asks a person what the evidence left open; or, where callers must change what they send, whether a release may begin at all.

    Args:
        model: name of the model.
        version: template of the version that is asked about.
        unsettled: template that gives "True" if there is something to ask; otherwise the task is skipped.
        before_start: template that gives "True" if no traffic has moved yet: a yes then lets the release begin, and its evidence decides.
        title: the model, as people say it.
    """

    template_fields: Sequence[str] = (*HITLOperator.template_fields, "version", "unsettled", "before_start")

    def __init__(self, *, model: str, version: str, unsettled: str, before_start: str, title: str, **kwargs: Any) -> None:
        subject = f"Promote the candidate of {title}, or roll it back?"
        super().__init__(**{**kwargs, "subject": subject, "options": [PROMOTE, ROLL_BACK]})
        self.model = model
        self.version = version
        self.unsettled = unsettled
        self.before_start = before_start
        self.title = title

    def execute(self, context: Context) -> object:
        """Ask, if there is something to ask.

        Raises:
            TaskAwaitingInput: the task waits for the answer.
            NothingToDo: there is nothing to ask.
            StageFault: the store does not answer; retried.
        """
        if self.unsettled != "True":
            skip(self, "The evidence settled it: nobody needs to be asked.")
        self._choose_words()
        try:
            asked = _newest(_ledger(self.model))
        except PerennialError as error:
            give_up(self, str(error))
        self._wait(context, asked)

    def _given(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The answer: what to do, and who said so."""
        self._choose_words()
        chosen, actor, _ = self._answered(context, event)
        return {"decision": {PROMOTE: "promote", APPROVE: ""}.get(chosen, "roll_back"), "actor": actor}

    def _version_asked(self, context: Context) -> str:
        self._choose_words()
        return self.version

    def _decided_elsewhere(self, context: Context, asked: str) -> dict[str, Any] | None:
        """What holds now; the next task then finds it come true and tells of it."""
        entry, is_last = _since(self.model, int(self.version), asked)
        if entry is None:
            return None
        if entry.candidate is None and not is_last:
            skip(self, _settled(entry))
        self.log.info("%s", _settled(entry))
        decision = "" if entry.candidate is not None else "roll_back" if entry.kind in AGAINST else "promote"
        return {"decision": decision, "actor": entry.actor}

    def _choose_words(self) -> None:
        if self.before_start == "True":
            self.subject = f"May the candidate of {self.title} take traffic, though it breaks callers?"
            self.options = [APPROVE, REJECT]


def _page(settings: Settings, context: Context) -> str:
    """Address at which a person who is logged in answers the question of a task."""
    ti = context["ti"]
    return f"{settings.airflow_url}/dags/{ti.dag_id}/runs/{quote(ti.run_id, safe='')}/tasks/{ti.task_id}/required_actions"


def _ledger(model: str) -> Ledger:
    return Ledger(open_store(Settings.from_environment().store), model)


def _newest(ledger: Ledger) -> str:
    last = ledger.last()
    return str(last.seq if last else -1)


def _since(model: str, version: int, asked: str) -> tuple[Entry | None, bool]:
    """The newest entry on a version that was written after a question about it, and whether the ledger ends with it."""
    since = list(takewhile(lambda entry: entry.seq > int(asked), _ledger(model).newest_first()))
    entry = next((entry for entry in since if entry.version == version), None)
    return entry, entry is not None and entry is since[0]


def _settled(entry: Entry) -> str:
    end = "is being released" if entry.candidate is not None else f"was {entry.kind.replace('_', ' ')}"
    return (
        f"{entry.actor} decided elsewhere: version {entry.version} of {entry.model} {end} since {entry.time:%Y-%m-%d %H:%M} UTC "
        f"({entry.reason.rstrip('.')}). Nobody needs to answer any more."
    )


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
