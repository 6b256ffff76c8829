"""Sends each channel the alerts that it has not had yet: at least once each, and recorded, so that none is repeated for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from perennial.incidents.incidents import Incidents, due
from perennial.settings import Settings
from perennial.specs import Named
from perennial_airflow.notifiers.channel import Channel, ChannelFailed, NoticeRefused
from perennial_airflow.notifiers.mail import Mail
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.notifiers.webhook import Webhook, is_set_up


def channels(settings: Settings) -> list[Channel]:
    """The channels that are set up."""
    set_up: list[Channel] = []
    if settings.alert_mail_to:
        set_up.append(Mail(settings.alert_mail_to, settings.alert_mail_severity))
    if is_set_up():
        set_up.append(Webhook(settings.alert_webhook_severity))
    return set_up


def tell(incidents: Incidents, spec: Named, settings: Settings, on: Sequence[Channel], now: datetime, log: Any) -> list[str]:
    """Tell the channels what is due.

    A channel that fails is not tried again at this look, one that refuses an alert for what it says is told the others; what it does not
    know is noted in the log of incidents and due at the next. One killed between sending and noting sends the same again.

    Returns:
        The sentences of channels that failed, and of those that refused an alert, each once.
    """
    failures: list[str] = []
    for channel in on:
        failed = ""  # why it is given up
        said: dict[str, None] = {}
        for incident in incidents.all():
            news = due(incident, channel.name, channel.least, now)
            if news is None:
                continue
            notice = Notice(spec.name, spec.title, incident, news, settings.runbook_url, incidents.alarm_rate(now).sentence, spec.owner)
            refused = ""
            if not failed:
                failed, refused = _failure(channel, notice, log)
            if failure := failed or refused:
                said[failure] = None
                incidents.missed(incident.id, channel.name, failure)
            else:
                incidents.told(incident.id, channel.name, news)
                log.info("Told on %s: %s", channel.name, notice.subject)
        for failure in said:
            log.error("%s It is told at the next look.", failure)
        failures += said
    return failures


def _failure(channel: Channel, notice: Notice, log: Any) -> tuple[str, str]:
    """Why the channel took nothing, and why it did not take this one; both are empty if it did."""
    try:
        channel.send(notice)
    except NoticeRefused as refused:
        return "", str(refused)
    except ChannelFailed as failed:
        return str(failed), ""
    except Exception as error:  # a defect, maybe at this one only: the others are told all the same
        log.exception("The channel %s broke.", channel.name)
        return "", f"The channel {channel.name} broke ({type(error).__name__}): the log of the task shows where."
    return "", ""
