"""Sends alerts to webhooks: each is a connection of Airflow, `perennial_webhook` or `perennial_NAME`, whose extra says which form it takes.

Whoever knows a webhook's address or key may write to it, so both are secrets: no log, sentence or task field shows them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import tenacity
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret
from pydantic import JsonValue

from perennial.incidents.kinds import Severity
from perennial_airflow.notifiers import forms
from perennial_airflow.notifiers.channel import ChannelFailed, NoticeRefused, one_line
from perennial_airflow.notifiers.notice import Notice

if TYPE_CHECKING:
    from airflow.sdk import Connection

_KEYED = ("pagerduty", "jira")  # forms that show who posts otherwise than by the address
_OF_THE_FORM = ("form", "project", "issue_type", "to")  # fields of a connection's extra that are no part of an address
SECONDS = 10.0
PAUSES = (1.0, 3.0)  # before the second and the third try
LONGEST_PAUSE = 30.0  # that a server may ask for
AGAIN = (408, 425, 429)  # and all from 500 on
CONTENT = (400, 413, 422)  # what was posted is not liked; the other codes are about the address or who posts


class Webhook:
    """A channel that posts.

    Args:
        least: severity from which on people are told.
        name: of the channel; its connection is `perennial_<name>`.
        template: body of a team's own, in the place of the connection's form.
        data_only: whether it is told only of what concerns the data.
    """

    def __init__(self, least: Severity, name: str = "webhook", template: JsonValue = None, *, data_only: bool = False) -> None:
        self.least, self.name, self.template, self.data_only = least, name, template, data_only
        self.connection_id = connection_id(name)

    def send(self, notice: Notice) -> None:
        """Post it; returns once the server took it. Raises ChannelFailed, NoticeRefused."""
        connection = connection_of(self.name)
        if connection is None:
            raise ChannelFailed(f"Airflow has no connection {self.connection_id}: set {_variable(self.connection_id)}.")
        form = "template" if self.template is not None else form_of(connection)
        where = Target.of(connection, form, self.connection_id)
        is_new = self.name not in notice.incident.told
        if self.template is not None:
            posts = [forms.filled(self.template, notice)]
        else:
            posts = [*forms.bodies(form, notice, where.key, connection.extra_dejson, is_new=is_new, connection=self.connection_id)]
        for body in posts:
            post(where, body)


@dataclass(frozen=True, repr=False)
class Target:
    """Where alerts are posted to; never shown."""

    url: httpx.URL
    connection: str  # its name
    takes: str  # what it takes, for a sentence
    key: str = ""
    auth: tuple[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: Connection, form: str, name: str) -> Target:
        """Where a connection leads to, and how one shows who one is there. Raises ChannelFailed."""
        key = connection.password or ""
        auth = (connection.login, key) if connection.login else None
        headers = {"Authorization": f"Bearer {key}"} if form == "jira" and key and not auth else {}
        url = address(connection, name, ends_with_password=not auth and form not in _KEYED)
        for secret in (str(url), url.raw_path.decode(), key):
            if len(secret) > 1:
                mask_secret(secret)
        return cls(url, name, forms.FORMS.get(form, "the template's JSON"), key, auth, headers)


def connection_id(channel: str) -> str:
    """Airflow's connection of a channel."""
    return f"perennial_{channel}"


def form_of(connection: Connection) -> str:
    """The form that a connection takes: Slack's, unless its extra says otherwise."""
    return str(connection.extra_dejson.get("form") or "slack")


def is_set_up(channel: str = "webhook") -> bool:
    """Whether Airflow has a connection for a channel; one that cannot be read counts, and fails when something is sent."""
    try:
        return connection_of(channel) is not None
    except ChannelFailed:
        return True


def connection_of(channel: str) -> Connection | None:
    """Airflow's connection for a channel; None if there is none.

    Raises:
        ChannelFailed: there is one, and it cannot be read; the sentence does not show what it says.
    """
    name = connection_id(channel)
    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        variable = _variable(name)
        if os.environ.get(variable):  # Airflow passes over what it cannot read, as if it were not there
            raise ChannelFailed(f"{variable} is set, and Airflow cannot read it: give the webhook's own address.") from None
        return None
    except Exception as error:  # noqa: BLE001 - whatever a secrets backend raises
        raise ChannelFailed(
            f"Airflow does not give out its connection {name} ({type(error).__name__}): look at its secrets backend."
        ) from None


def _variable(name: str) -> str:
    return f"AIRFLOW_CONN_{name.upper()}"


def address(connection: Connection, name: str = "perennial_webhook", *, ends_with_password: bool = True) -> httpx.URL:
    """Address that a connection stands for.

    Its URI is the webhook's own address (`https://hooks.slack.com/services/…`), or its host is one without the secret end,
    which is then its password, as in Airflow's form for Slack. What its extra says of the form is no part of the address.

    Raises:
        ChannelFailed: it is no address.
    """
    host = connection.host or ""
    if "://" not in host:
        port = f":{connection.port}" if connection.port else ""
        # A connection of the type http keeps the scheme in `schema`, where a URI keeps its path.
        is_scheme = connection.schema in ("http", "https")
        scheme = connection.schema if is_scheme else "https" if connection.conn_type == "https" else "http"
        host = f"{scheme}://{host}{port}/{'' if is_scheme else connection.schema or ''}"
    if connection.password and ends_with_password:
        host = f"{host.rstrip('/')}/{connection.password.lstrip('/')}"
    asked = {key: value for key, value in connection.extra_dejson.items() if key not in _OF_THE_FORM}
    query = urlencode(asked) if asked and "://" not in (connection.host or "") else ""
    try:
        url = httpx.URL(f"{host}?{query}" if query else host)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ChannelFailed(f"Airflow's connection {name} is no web address: give the webhook's own as its URI.")
    return url


class _NotTaken(Exception):
    """A try that another one may mend: why, and the seconds that the server asked to wait."""

    def __init__(self, why: str, asked_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.asked_seconds = asked_seconds


def post(where: Target, message: JsonValue) -> None:
    """Post a message, again after a pause where that may help.

    Raises:
        NoticeRefused: the server does not like what it says.
        ChannelFailed: the server refuses all, or does not take it at any try.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the address of every request
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_NotTaken),
        stop=tenacity.stop_after_attempt(len(PAUSES) + 1),
        wait=_pause,
        sleep=time.sleep,
        reraise=True,
    )
    with httpx.Client(timeout=SECONDS, auth=where.auth, headers=where.headers) as client:
        try:
            tries(_post_once, client, where, message)
        except _NotTaken as failure:
            raise ChannelFailed(
                f"The webhook at {where.url.host} did not take the alert ({failure}) at {len(PAUSES) + 1} tries: look whether it is up."
            ) from None


def _post_once(client: httpx.Client, where: Target, message: JsonValue) -> None:
    try:
        answer = client.post(where.url, json=message)
    except httpx.HTTPError as error:
        raise _NotTaken(f"{type(error).__name__}: {_without(where, str(error))}") from None
    if answer.is_success:
        return
    why = f"{answer.status_code} {_without(where, answer.text)}".strip()
    if answer.status_code in CONTENT:
        raise NoticeRefused(
            f"The webhook at {where.url.host} refuses an alert ({why}): "
            f"look whether what Airflow's connection {where.connection} leads to takes {where.takes}."
        )
    if answer.status_code < 500 and answer.status_code not in AGAIN:
        raise ChannelFailed(
            f"The webhook at {where.url.host} refuses alerts ({why}): correct Airflow's connection {where.connection}, or allow it there."
        )
    raise _NotTaken(why, _seconds(answer.headers.get("Retry-After", "")))


def _pause(tried: tenacity.RetryCallState) -> float:
    """Seconds before the next try: ours, or what the server asked for if that is longer, up to a limit."""
    failure = tried.outcome.exception() if tried.outcome else None
    asked_seconds = failure.asked_seconds if isinstance(failure, _NotTaken) else 0.0
    own_seconds = (*PAUSES, 0.0)[tried.attempt_number - 1]  # tenacity asks after the last try too
    return min(max(own_seconds, asked_seconds), LONGEST_PAUSE)


def _seconds(asked: str) -> float:
    return float(asked) if asked.isdecimal() else 0.0


def _without(where: Target, text: str) -> str:
    """What a server or httpx said, without the address and the key."""
    for secret in (str(where.url), where.url.raw_path.decode(), where.key):
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return one_line(text)
