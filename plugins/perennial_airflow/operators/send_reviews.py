"""Sends the reviews of models that are due to the channels that are told of their incidents."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperator

from perennial import discovery
from perennial.errors import PerennialError
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store, open_store
from perennial_airflow.console import PREFIX
from perennial_airflow.notifiers import forms
from perennial_airflow.notifiers.channel import Channel, ChannelFailed
from perennial_airflow.notifiers.mail import Mail
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.notifiers.telling import channels
from perennial_airflow.notifiers.webhook import Target, Webhook, connection_of, form_of, post
from perennial_airflow.stage_end import give_up

if TYPE_CHECKING:
    from airflow.sdk import Context

    from perennial_airflow.notifiers.review_notice import ReviewNotice

CHATS = {"slack": forms.slack, "teams": forms.teams}  # forms of webhooks that take a text; others take incidents alone


def due(review: str, day: date) -> date | None:
    """The first day of the time whose review is due on a day; None if none is.

    Args:
        review: of the model's spec.
        day: UTC.
    """
    if review == "weekly" and day.weekday() == 0:
        return day - timedelta(days=7)
    if review == "monthly" and day.day == 1:
        return (day - timedelta(days=1)).replace(day=1)
    return None


class SendReviews(BaseOperator):
    """Sends each review that is due, once on each channel: which were told is noted, so that a retry tells the others alone.

    Args:
        day: the day as in 2026-11-01, UTC; templated.
        model: of which a review is sent though none is due: of the last thirty days; empty for all that are due. Templated.
    """

    ui_color = "#e6eefb"
    template_fields = ("day", "model")

    def __init__(self, *, day: str, model: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.day, self.model = day, model

    def execute(self, context: Context) -> dict[str, Any]:
        """Send; the answer says of which models.

        Raises:
            StageFault: the store does not answer, or a channel did not take one; retried.
        """
        del context
        sent: list[str] = []
        failures: list[str] = []
        try:
            settings = Settings.from_environment()
            store, day = open_store(settings.store), date.fromisoformat(self.day[:10])
            models = [discovery.model(self.model)] if self.model else discovery.models().values()
            for spec in models:
                since = day - timedelta(days=30) if self.model else due(spec.review, day)
                if since is not None:
                    failures += self._send(settings, store, spec, since, day)
                    sent.append(spec.name)
        except PerennialError as error:
            give_up(self, str(error))
        if failures:
            give_up(self, " ".join(dict.fromkeys(failures)))
        self.log.info("Reviews that were due: %s.", ", ".join(sent) or "none")
        return {"sent": sent}

    def _send(self, settings: Settings, store: Store, spec: ModelSpec, since: date, until: date) -> list[str]:
        """Tell the channels that do not know it yet; the sentences of those that failed."""
        # Here and not above: what a review is made of takes longer to load than a DAG file may take to be parsed.
        from perennial.views.review import review_view
        from perennial_airflow.notifiers.review_notice import ReviewNotice

        set_up, failures = channels(settings, spec), list[str]()
        view = review_view(store, spec.name, _moment(since), datetime.now(timezone.utc) if self.model else _moment(until))
        place = f"{PREFIX}/models/{spec.name}/review?days={(until - since).days}"
        notice = ReviewNotice(view, f"{settings.airflow_url.rstrip('/')}{place}" if settings.airflow_url else "")
        key = f"views/reviews/{spec.name}.json"
        told = set() if self.model else _told(store, key, until)
        if not set_up:
            self.log.info("No channel is set up: the review of %s stands in the console alone.", spec.name)
        for channel in set_up:
            if channel.name in told:
                continue
            try:
                taken = _send(channel, notice)
            except ChannelFailed as failed:
                failures.append(str(failed))
                continue
            self.log.info("%s: %s", notice.subject, f"sent on {channel.name}" if taken else f"{channel.name} takes incidents alone")
            told.add(channel.name)
            if not self.model:
                store.write(key, json.dumps({"until": str(until), "told": sorted(told)}).encode())
        return failures


def _send(channel: Channel, notice: ReviewNotice) -> bool:
    """Whether a channel took it; False if it takes incidents alone. Raises ChannelFailed."""
    told = cast("Notice", notice)  # it has all that mails and chats show
    if isinstance(channel, Mail):
        channel.send(told)
        return True
    if not isinstance(channel, Webhook) or channel.template is not None:
        return False
    connection = connection_of(channel.name)
    form = form_of(connection) if connection else "slack"
    if form not in CHATS:
        return False
    if connection is None:
        raise ChannelFailed(f"Airflow has no connection {channel.connection_id}: set it up, or take the channel out of the spec.")
    post(Target.of(connection, form, channel.connection_id), CHATS[form](told))
    return True


def _told(store: Store, key: str, until: date) -> set[str]:
    """Channels that have the review of this time."""
    try:
        noted = json.loads(store.read(key))
        return set(noted["told"]) if noted["until"] == str(until) else set()
    except (KeyError, ValueError, TypeError):  # none was sent yet, or the note is garbled: it is sent again
        return set()


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.utc)
