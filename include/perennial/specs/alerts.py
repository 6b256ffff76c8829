"""Who is told of incidents: the channels of a dataset's or a model's owner."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from perennial.specs.base import NAME, Spec

# What an alert's template may name, and what each stands for.
TEMPLATE_FIELDS = {
    "subject": "one line: severity, model, kind and what was seen",
    "text": "the whole alert as plain text",
    "sentence": "what was seen",
    "state": "`opened`, or `resolved` once it is over",
    "severity": "`info`, `warning` or `critical`",
    "kind": "kind of the incident, such as `drift`",
    "model": "name of the model",
    "title": "the model, as people say it",
    "owner": "person or team that answers for it",
    "incident": "id of the incident",
    "opened": "when it opened, ISO 8601",
    "resolved": "when it was over, ISO 8601; empty while it is open",
    "resolution": "why it is over; empty while it is open",
    "link": "address of the incident in the console",
    "runbook": "address of the runbook's section, or its file",
}
FIELD = re.compile(r"\{([^{}\s]*)\}")
_OWN = ("smtp",)  # connections `perennial_…` that are no channel


class AlertSpec(Spec):
    """A channel that is told of incidents, from a severity on."""

    channel: str = Field(
        description="Name of the channel: `mail` and `webhook` are those of the whole platform; any other `NAME` is Airflow's connection "
        "`perennial_NAME`."
    )
    severity: Literal["info", "warning", "critical"] = Field(default="warning", description="Lowest severity that the channel is told of.")
    template: JsonValue = Field(
        default=None,
        description="JSON body that is posted instead of the form of the connection; its texts may name fields of the alert in braces, "
        'such as `{"message": "{subject}", "url": "{link}"}`.',
    )

    @field_validator("channel")
    @classmethod
    def _is_a_channel(cls, name: str) -> str:
        if not NAME.fullmatch(name) or name in _OWN:
            raise ValueError(f"{name!r} is no channel: give `mail`, `webhook`, or NAME of a connection `perennial_NAME` of Airflow")
        return name

    @field_validator("template")
    @classmethod
    def _names_fields(cls, template: JsonValue) -> JsonValue:
        if template is not None and not isinstance(template, dict):
            raise ValueError('the template is no JSON object: give one such as {"message": "{subject}"}')
        named = [name for text in _texts(template) for name in FIELD.findall(text)]
        if unknown := sorted(set(named) - set(TEMPLATE_FIELDS)):
            raise ValueError(f"the template names {', '.join(unknown)}, which an alert does not have: {', '.join(TEMPLATE_FIELDS)}")
        if template is not None and not named:
            raise ValueError('the template names no field of the alert, so all alerts would be the same: write one such as "{subject}"')
        return template

    @model_validator(mode="after")
    def _is_posted(self) -> AlertSpec:
        if self.channel == "mail" and self.template is not None:
            raise ValueError("the channel mail has a template, and a mail is not posted as JSON: leave the template out")
        return self


def _each_once(alerts: tuple[AlertSpec, ...]) -> tuple[AlertSpec, ...]:
    """The same; raises ValueError where a channel is named twice: it would be told once and nobody knew from which severity on."""
    names = [alert.channel for alert in alerts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"alerts name the channel {', '.join(twice)} twice: name it once, with its lowest severity")
    return alerts


Alerts = Annotated[tuple[AlertSpec, ...], AfterValidator(_each_once)]


def _texts(value: JsonValue) -> Iterator[str]:
    """Every text of a template; a key of an object is none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
