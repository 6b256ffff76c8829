"""Sends alerts to a webhook that understands Slack's messages, at Airflow's connection `perennial_webhook`.

Whoever knows a webhook's address may write to it, so the address is a secret: no log, sentence or task field shows it.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

import httpx
import tenacity
from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from perennial.incidents.kinds import Severity
from perennial_airflow.notifiers.channel import ChannelFailed, NoticeRefused, one_line
from perennial_airflow.notifiers.notice import Notice

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

CONNECTION = "perennial_webhook"
VARIABLE = f"AIRFLOW_CONN_{CONNECTION.upper()}"
SECONDS = 10.0
PAUSES = (1.0, 3.0)  # before the second and the third try
LONGEST_PAUSE = 30.0  # that a server may ask for
AGAIN = (408, 425, 429)  # and all from 500 on
CONTENT = (400, 413, 422)  # what was posted is not liked; the other codes are about the address or who posts


class WebhookNotifier(BaseNotifier):
    """One notice as one POST.

    Args:
        notice: what is told.
    """

    def __init__(self, *, notice: Notice, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.notice = notice

    def notify(self, context: Context) -> None:
        """Post it; returns once the server took it. Raises ChannelFailed."""
        connection = _connection()
        if connection is None:
            raise ChannelFailed(f"Airflow has no connection {CONNECTION}: set {VARIABLE}.")
        url = address(connection)
        mask_secret(str(url))
        mask_secret(url.raw_path.decode())
        post(url, {"text": self.notice.text(), "blocks": self.notice.blocks()})


class Webhook:
    """The channel.

    Args:
        least: severity from which on people are told.
    """

    name: ClassVar[str] = "webhook"

    def __init__(self, least: Severity) -> None:
        self.least = least

    def send(self, notice: Notice) -> None:
        """Post it; returns once the server took it. Raises ChannelFailed."""
        WebhookNotifier(notice=notice).notify({})


def is_set_up() -> bool:
    """Whether Airflow has a connection to a webhook; one that cannot be read counts, and fails when something is sent."""
    try:
        return _connection() is not None
    except ChannelFailed:
        return True


def _connection() -> Connection | None:
    """Airflow's connection to the webhook; None if there is none.

    Raises:
        ChannelFailed: there is one, and it cannot be read; the sentence does not show what it says.
    """
    try:
        return BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        if os.environ.get(VARIABLE):  # Airflow passes over what it cannot read, as if it were not there
            raise ChannelFailed(f"{VARIABLE} is set, and Airflow cannot read it: give the webhook's own address.") from None
        return None
    except Exception as error:  # noqa: BLE001 - whatever a secrets backend raises
        raise ChannelFailed(
            f"Airflow does not give out its connection {CONNECTION} ({type(error).__name__}): look at its secrets backend."
        ) from None


def address(connection: Connection) -> httpx.URL:
    """Address that a connection stands for.

    Its URI is the webhook's own address (`https://hooks.slack.com/services/…`), or its host is one without the secret end,
    which is then its password, as in Airflow's form for Slack.

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
    if connection.password:
        host = f"{host.rstrip('/')}/{connection.password.lstrip('/')}"
    query = urlencode(connection.extra_dejson) if connection.extra_dejson and "://" not in (connection.host or "") else ""
    try:
        url = httpx.URL(f"{host}?{query}" if query else host)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ChannelFailed(f"Airflow's connection {CONNECTION} is no web address: give the webhook's own as its URI.")
    return url


class _NotTaken(Exception):
    """A try that another one may mend: why, and the seconds that the server asked to wait."""

    def __init__(self, why: str, asked_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.asked_seconds = asked_seconds


def post(url: httpx.URL, message: dict[str, Any]) -> None:
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
    with httpx.Client(timeout=SECONDS) as client:
        try:
            tries(_post_once, client, url, message)
        except _NotTaken as failure:
            raise ChannelFailed(
                f"The webhook at {url.host} did not take the alert ({failure}) at {len(PAUSES) + 1} tries: look whether it is up."
            ) from None


def _post_once(client: httpx.Client, url: httpx.URL, message: dict[str, Any]) -> None:
    try:
        answer = client.post(url, json=message)
    except httpx.HTTPError as error:
        raise _NotTaken(f"{type(error).__name__}: {_without(url, str(error))}") from None
    if answer.is_success:
        return
    why = f"{answer.status_code} {_without(url, answer.text)}".strip()
    if answer.status_code in CONTENT:
        raise NoticeRefused(
            f"The webhook at {url.host} refuses an alert ({why}): "
            f"look whether what Airflow's connection {CONNECTION} leads to takes Slack's messages."
        )
    if answer.status_code < 500 and answer.status_code not in AGAIN:
        raise ChannelFailed(
            f"The webhook at {url.host} refuses alerts ({why}): correct Airflow's connection {CONNECTION}, or allow it there."
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


def _without(url: httpx.URL, text: str) -> str:
    """What a server or httpx said, without the address."""
    for secret in (str(url), url.raw_path.decode()):
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return one_line(text)
