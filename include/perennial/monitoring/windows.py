"""Windows of event time: where they begin, what they are called, which one comes before.

>>> from datetime import datetime, timezone
>>> from perennial.monitoring.windows import Window
>>> window = Window(datetime(2013, 5, 29, tzinfo=timezone.utc), datetime(2013, 6, 1, tzinfo=timezone.utc))
>>> window.name, window.before(1).name
('2013-05-29_2013-06-01', '2013-05-26_2013-05-29')
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

FEW_REQUESTS = 30  # a window of fewer tells nothing of the world: neither that it has changed nor that it is as it was


@dataclass(frozen=True)
class Window:
    """From `first` to before `last`, UTC."""

    first: datetime
    last: datetime

    def __post_init__(self) -> None:
        if self.first >= self.last:
            raise ValueError(f"the window begins at {self.first} and ends at {self.last}: it must end later than it begins")

    @property
    def name(self) -> str:
        """Name of its folder: two days, or two times where it does not begin and end with a day."""
        whole = all(when == when.replace(hour=0, minute=0, second=0, microsecond=0) for when in (self.first, self.last))
        form = "%Y-%m-%d" if whole else "%Y-%m-%dT%H%M%S"
        return f"{self.first:{form}}_{self.last:{form}}"

    @property
    def seed(self) -> int:
        """Seed of everything random about it: the same window is always judged the same."""
        return zlib.crc32(self.name.encode())

    def before(self, count: int = 1) -> Window:
        """The window of the same length that ends where this one begins, or `count` such windows back."""
        length = (self.last - self.first) * count
        return Window(self.first - length, self.last - length)


def window_of(day: date, days: int) -> Window:
    """The window that holds a day. Windows lie side by side from 1 January 1970 on, so that every day belongs to one."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    number = (day - epoch.date()).days // days
    return Window(epoch + timedelta(days=number * days), epoch + timedelta(days=(number + 1) * days))


def newest_complete(days: Sequence[date], length: int) -> Window | None:
    """The newest window that has a prediction in it and another one after it: event time alone says that it is over.

    Args:
        days: days that have predictions.
        length: of a window, days.
    """
    windows = sorted({window_of(day, length) for day in days}, key=lambda w: w.first)
    return windows[-2] if len(windows) > 1 else None


def windows_before(window: Window, days: Sequence[date], count: int, reach: timedelta = timedelta(days=7)) -> list[Window]:
    """The `count` nearest windows before this one that have predictions, the newest first.

    Empty windows (a weekend without traffic) are passed over, for at most `reach` before the window.
    """
    before: list[Window] = []
    back = 1
    while len(before) < count and (earlier := window.before(back)).last > window.first - reach - (window.last - window.first) * count:
        if any(earlier.first.date() <= day <= (earlier.last - timedelta(microseconds=1)).date() for day in days):
            before.append(earlier)
        back += 1
    return before


def report_folder(model: str, window: Window) -> str:
    """Store key of the folder with a window's report."""
    return f"reports/{model}/windows/{window.name}"
