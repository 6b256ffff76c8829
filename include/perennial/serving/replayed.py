"""What a version answered when recent requests were sent to it once more, before it gets any of a caller's.

>>> Replayed(200, 10, 0, "500: division by zero", 12.5).share
0.05
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Replayed:
    """Answers to replayed requests."""

    requests: int
    failed: int  # answered with a 5xx, or not at all
    unreadable: int  # answered with a 4xx
    first: str  # the first answer that failed; empty if none did
    p95_ms: float  # 95th percentile of the time to answer, ms

    @property
    def share(self) -> float:
        """The share of requests that failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def words(self) -> str:
        """The same in words."""
        unread = f", could not read {self.unreadable:,}" if self.unreadable else ""
        return f"{self.requests:,} recent requests, of which it failed {self.failed:,}{unread}; p95 {self.p95_ms:.1f} ms"
