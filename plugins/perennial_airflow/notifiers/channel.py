"""The interface of every alert channel."""

from __future__ import annotations

from typing import Protocol

from perennial.incidents.kinds import Severity
from perennial_airflow.notifiers.notice import Notice


class ChannelFailed(Exception):
    """A channel did not take an alert; the message is a sentence for a person, without a webhook's address and without any password."""


class NoticeRefused(ChannelFailed):
    """A channel answers and does not take this one alert, for what it says: it may take others."""


class Channel(Protocol):
    """A way to tell people."""

    name: str
    least: Severity
    data_only: bool  # whether it is told only of what concerns the data

    def send(self, notice: Notice) -> None:
        """Tell it; returns once the other side took it. Raises ChannelFailed, NoticeRefused."""


def one_line(text: str, most: int = 200) -> str:
    """What a server answered, on one short line."""
    return " ".join(text.split())[:most]
