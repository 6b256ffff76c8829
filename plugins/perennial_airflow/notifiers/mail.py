"""Sends alerts by mail, over Airflow's connection `perennial_smtp`."""

from __future__ import annotations

import smtplib
from functools import cached_property
from typing import Any

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk.exceptions import AirflowException

from perennial.incidents.kinds import Severity
from perennial_airflow.notifiers.channel import ChannelFailed, NoticeRefused, one_line
from perennial_airflow.notifiers.notice import Notice

CONNECTION = "perennial_smtp"
SECONDS = 15
TRIES = 2


class _Hook(SmtpHook):
    """Airflow's hook waits three minutes for a dead server unless the connection says otherwise: too long, since other tasks wait."""

    @property
    def timeout(self) -> int:
        """Longest wait for an answer, s."""
        return int(self.conn.extra_dejson.get("timeout", SECONDS))

    @property
    def smtp_retry_limit(self) -> int:
        """Tries after the first over the same connection: of no use where the server has hung up, so `Mail` tries anew."""
        return 0

    def _build_client(self) -> smtplib.SMTP_SSL | smtplib.SMTP:
        """A client that tells which addresses a server did not take while it took others: Airflow's hook passes over them."""
        client = super()._build_client()
        send = client.sendmail

        def sendmail(*arguments: Any, **options: Any) -> Any:
            refused = send(*arguments, **options)
            for address, (code, text) in refused.items():
                self.log.warning("The mail server did not take the address %s: %d %s.", address, code, _text(text))
            return refused

        client.sendmail = sendmail  # type: ignore[method-assign]
        return client

    def get_conn(self) -> SmtpHook:
        """Connect and log in; a refused login leaves no connection open."""
        try:
            return super().get_conn()
        except Exception:
            if self._smtp_client:
                self._smtp_client.close()
            raise


class MailNotifier(SmtpNotifier):
    """One notice as one mail.

    Args:
        notice: what is told.
        to: addresses, with commas between.
    """

    template_fields = ()  # type: ignore[assignment] # a notice holds what callers sent: it is never a template

    def __init__(self, *, notice: Notice, to: str, **kwargs: Any) -> None:
        super().__init__(to=to, subject=notice.subject, html_content=notice.page(), smtp_conn_id=CONNECTION, **kwargs)

    @cached_property
    def hook(self) -> SmtpHook:
        """The server."""
        return _Hook(smtp_conn_id=CONNECTION)


class Mail:
    """The channel.

    Args:
        to: addresses, with commas between.
        least: severity from which on people are told.
        name: of the channel.
        data_only: whether it is told only of what concerns the data.
    """

    def __init__(self, to: str, least: Severity, name: str = "mail", *, data_only: bool = False) -> None:
        self.to, self.least, self.name, self.data_only = to, least, name, data_only

    def send(self, notice: Notice) -> None:
        """Send a mail; returns once the server took it. Raises ChannelFailed, NoticeRefused."""
        why, kind = "", ChannelFailed
        for _ in range(TRIES):
            try:
                MailNotifier(notice=notice, to=self.to).notify({})
                return
            except (OSError, AirflowException, ValueError) as error:
                why, is_final = _reason(error)
                kind = NoticeRefused if is_final and isinstance(error, smtplib.SMTPDataError) else ChannelFailed
            if is_final:
                break
        raise kind(
            f"The mail to {self.to} was not taken ({one_line(why)}): look at Airflow's connection {CONNECTION}, its server and "
            f"{'PERENNIAL_ALERT_MAIL_TO' if self.name == 'mail' else f'the addresses of perennial_{self.name}'}."
        )


def _reason(error: Exception) -> tuple[str, bool]:
    """Why a server did not take a mail, in its words, and whether it says so for good (a code from 500 on)."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}", error.smtp_code >= 500
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        refused = "; ".join(f"{address}: {code} {_text(text)}" for address, (code, text) in error.recipients.items())
        return refused, all(code >= 500 for code, _ in error.recipients.values())
    return str(error) or type(error).__name__, not isinstance(error, OSError)


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
