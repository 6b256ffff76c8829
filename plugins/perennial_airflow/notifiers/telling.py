"""Sends each channel the alerts that it has not had yet: at least once each, and recorded, so that none is repeated for ever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import Incident, Incidents, due
from perennial.incidents.silences import Silence, Silences, is_silenced
from perennial.settings import Settings
from perennial.specs import AlertSpec, ModelSpec, Named
from perennial_airflow.console import PREFIX
from perennial_airflow.notifiers.channel import Channel, ChannelFailed, NoticeRefused
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.notifiers.webhook import Webhook, connection_of, form_of, is_set_up

WEBHOOK = "webhook"


def channels(settings: Settings, spec: Named | None = None, datasets: Sequence[Named] = ()) -> list[Channel]:
    """The channels that are told of a model's incidents: those of its spec, or those of the whole platform that are set up.

    Args:
        settings: they say which those of the platform are.
        spec: the model's; one that names no channel has those of the platform.
        datasets: that the model learns from; their channels are told of what concerns the data.
    """
    if spec is None or not spec.alerts:
        least = {"mail": settings.alert_mail_severity, WEBHOOK: settings.alert_webhook_severity}
        own = [_channel(settings, AlertSpec(channel=name, severity=least[name])) for name in least if _is_set_up(name, settings)]
    else:
        own = [_channel(settings, alert) for alert in spec.alerts]
    names = {channel.name for channel in own}
    of_data = {alert.channel: alert for dataset in datasets for alert in dataset.alerts if alert.channel not in names}
    return [*own, *(_channel(settings, alert, data_only=True) for alert in of_data.values())]


def _channel(settings: Settings, alert: AlertSpec, *, data_only: bool = False) -> Channel:
    """A channel by its name; one whose connection cannot be read says so when something is sent."""
    from perennial_airflow.notifiers.mail import Mail  # imported late: no parse of a DAG file needs Airflow's provider of mail

    if alert.channel == "mail":
        return Mail(settings.alert_mail_to, alert.severity, data_only=data_only)
    try:
        connection = None if alert.template is not None else connection_of(alert.channel)
    except ChannelFailed:
        connection = None
    if connection is not None and form_of(connection) == "mail":
        return Mail(str(connection.extra_dejson.get("to") or ""), alert.severity, alert.channel, data_only=data_only)
    return Webhook(alert.severity, alert.channel, alert.template, data_only=data_only)


def _is_set_up(name: str, settings: Settings) -> bool:
    return bool(settings.alert_mail_to) if name == "mail" else is_set_up(name)


def _former(incidents: Sequence[Incident], on: Sequence[Channel], settings: Settings) -> list[Channel]:
    """Channels that were told when something opened and are named no more: they are told the end, and of nothing else."""
    names = {name for incident in incidents if not incident.is_open for name, news in incident.told.items() if news == "opened"}
    gone = sorted(names - {channel.name for channel in on})
    return [_channel(settings, AlertSpec(channel=name, severity="info")) for name in gone if _is_set_up(name, settings)]


def _concerns_data(incident: Incident) -> bool:
    return incident.kind == "data quality" or (incident.kind, incident.key) in (("service", "ingestion"), ("pipeline", "profile"))


def tell(incidents: Incidents, spec: Named, settings: Settings, on: Sequence[Channel], now: datetime, log: Any) -> list[str]:
    """Tell the channels what is due, and nobody silenced.

    A channel that fails is not tried again at this look, one that refuses an alert for what it says is told the others; what it does not
    know is noted in the log of incidents and due at the next. One killed between sending and noting sends the same again.

    Returns:
        The sentences of channels that failed, and of those that refused an alert, each once; and that silences cannot be read.
    """
    failures: list[str] = []
    silences: list[Silence] = []
    try:
        silences = Silences(incidents.store, incidents.model).all()
    except StoredDataDamaged as damaged:  # what cannot be read keeps nobody from hearing of what is wrong
        failures.append(f"{damaged} Until then nothing of {spec.name} is silenced.")
        log.error("%s", failures[0])
    former = _former(incidents.all(), on, settings)
    rate = incidents.alarm_rate(now).sentence
    for channel in [*on, *former]:
        failed = ""  # why it is given up
        said: dict[str, None] = {}
        for incident in incidents.all():
            news = due(incident, channel.name, channel.least, now)
            if news is None or (channel.data_only and not _concerns_data(incident)):
                continue
            if is_silenced(incident, channel.name, silences, now):
                continue
            if channel in former and incident.told.get(channel.name) is None:
                continue
            notice = Notice(
                spec.name,
                spec.title,
                incident,
                news,
                settings.runbook_url,
                rate,
                spec.owner,
                incident_url(settings, spec, incident),
            )
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


def incident_url(settings: Settings, spec: Named, incident: Incident) -> str:
    """Address of an incident in the console; that of a dataset stands on the page of all."""
    place = f"/models/{spec.name}" if isinstance(spec, ModelSpec) else ""
    return f"{settings.airflow_url.rstrip('/')}{PREFIX}{place}/incidents#{spec.name}-{incident.id}" if settings.airflow_url else ""


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
