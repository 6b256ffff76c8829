"""Asks a person for a verdict on an incident."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from perennial import discovery
from perennial.errors import PerennialError, UnknownName
from perennial.incidents.incidents import Incident, Incidents
from perennial.settings import Settings
from perennial.specs import VERDICTS
from perennial.store import open_store
from perennial_airflow.notifiers.notice import runbook
from perennial_airflow.operators.ask_person import AskPerson
from perennial_airflow.plain_text import plain
from perennial_airflow.stage_end import give_up, refuse, skip

if TYPE_CHECKING:
    from airflow.sdk import Context

CHOICES = {verdict.capitalize(): verdict for verdict in VERDICTS}
NOTE_CHARACTERS = 500


class AskVerdict(AskPerson):
    """Waits for a person's verdict on one incident, with the evidence before their eyes.

    Args:
        model: name of the model.
        incident: id of the incident; templated.
        again: "True" if a person asked for it, so that it is asked although it was judged before; templated.
        verdict: what the person who started the run says it was, so that nobody is asked; empty otherwise; templated.
        by: who that is; templated.
        note: their words; templated.
        silence_hours: for how long the incident's kind is silenced, so that nobody is asked either; empty otherwise; templated.
    """

    longest_sleep = timedelta(hours=6)  # many may wait, and nothing waits behind them
    template_fields: Sequence[str] = (
        "incident",
        "again",
        "verdict",
        "by",
        "note",
        "silence_hours",
    )  # not the body: an incident holds what callers sent

    def __init__(
        self,
        *,
        model: str,
        incident: str,
        again: str,
        verdict: str = "",
        by: str = "",
        note: str = "",
        silence_hours: str = "",
        **kwargs: Any,
    ) -> None:
        words = Param("", type="string", maxLength=NOTE_CHARACTERS, title="Note", description="Why; kept with the incident.")
        own = {"subject": f"What was it? An incident of {model}", "options": list(CHOICES), "params": {"note": words}}
        super().__init__(**{**kwargs, **own})  # the DAG's Params, which Airflow puts into kwargs, are no fields of the form
        self.model = model
        self.incident = incident
        self.again = again
        self.verdict = verdict
        self.by = by
        self.note = note
        self.silence_hours = silence_hours

    def execute(self, context: Context) -> object:
        """Ask, unless the incident was judged, another run asks, or the run was started with a verdict, which is the answer then.

        Raises:
            TaskAwaitingInput: the task waits for the answer.
            StageRefused: there is no such incident.
            StageFault: the store does not answer; retried.
        """
        try:
            settings = Settings.from_environment()
            incidents = Incidents(open_store(settings.store), self.model)
            if self.silence_hours:
                said = {"id": incidents.get(self.incident).id, "by": self.by, "note": self.note}
                return {**said, "silence": "its kind", "hours": self.silence_hours}
            if self.verdict:
                return {"id": incidents.get(self.incident).id, "verdict": self.verdict, "by": self.by, "note": self.note}
            if self.again == "True":
                incident = incidents.get(self.incident)
            else:
                asks = incidents.ask(self.incident, context["ti"].run_id)
                if asks is None:
                    skip(self, _why_not(incidents.get(self.incident)))
                incident = asks
            rate = incidents.alarm_rate(datetime.now(timezone.utc)).sentence
            known = discovery.models().get(self.model)  # its files may be broken since
            title = known.title if known else self.model
        except UnknownName as unknown:
            refuse(self, str(unknown))
        except PerennialError as error:
            give_up(self, str(error))
        self.subject = f"{title}: {incident.kind} incident {incident.id}: what was it?"
        self.body = body(incident, settings.runbook_url, rate)
        self._wait(context, datetime.now(timezone.utc).isoformat())

    def _given(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The answer: the incident, the verdict, who gave it and why. It asks nothing of the store: a try that failed here would ask the
        person anew."""
        chosen, by, form = self._answered(context, event)
        return {"id": self.incident, "verdict": CHOICES[chosen], "by": by, "note": form.get("note") or ""}

    def _decided_elsewhere(self, context: Context, asked: str) -> dict[str, Any] | None:
        del context
        incident = Incidents(open_store(Settings.from_environment().store), self.model).get(self.incident)
        if incident.judged and incident.judged > datetime.fromisoformat(asked):
            skip(self, f"{incident.by} judged {incident.id} elsewhere: {incident.verdict}. Nobody needs to answer any more.")
        return None


def body(incident: Incident, runbook_url: str, rate: str) -> str:
    """What a person reads before they answer, in Markdown; no part of an incident is taken for Markdown."""
    lines = [f"**{incident.severity}**, since {incident.opened:%Y-%m-%d %H:%M} UTC: {plain(incident.sentence)}"]
    if incident.resolved:
        lines.append(f"Over since {incident.resolved:%Y-%m-%d %H:%M} UTC: {plain(incident.resolution)}")
    lines += [f"[{plain(title)}](<{_target(address)}>)" for title, address in incident.links.items()]
    if incident.figures:
        figures = json.dumps(incident.figures, indent=2, ensure_ascii=False)
        lines.append("\n".join(f"    {line}" for line in figures.split("\n")))  # indented code has no end that a value could hold
    section = runbook(incident.kind, runbook_url)
    lines.append(f"What it means and what to do: {f'[runbook](<{_target(section)}>)' if runbook_url else section}")
    lines.append(
        "**Real**: something was wrong. **False alarm**: nothing was. **Known**: it was expected, such as a holiday or a planned change."
    )
    lines.append(f"So far: {rate}")
    return "\n\n".join(lines)


def _why_not(incident: Incident) -> str:
    if incident.verdict:
        return f"{incident.by} judged {incident.id} already: {incident.verdict}."
    return f"The run {incident.asked} asks about {incident.id} already."


def _target(address: str) -> str:
    return address.replace("<", "%3C").replace(">", "%3E").replace("\n", "")
