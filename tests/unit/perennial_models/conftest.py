"""Examples are switched on here."""

import pytest


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that have tests of their own."""
    monkeypatch.setenv("PERENNIAL_EXAMPLES", "bad_news,hourly_delays")
