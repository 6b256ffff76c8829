"""What nobody is told of for a time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.incidents.incidents import Incident
from perennial.incidents.silences import Silence, Silences, is_silenced
from perennial.store import FolderStore

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SILENCE = Silence(kind="drift", since=NOW, until=NOW + 4 * HOUR, by="ada", reason="The source moves.")


def _incident(**changed: object) -> Incident:
    fields = {"id": "0001-drift", "kind": "drift", "key": "a", "severity": "critical", "sentence": "A.", "evidence": {}, "opened": NOW}
    return Incident.model_validate({**fields, **changed})


@pytest.mark.parametrize(
    ("incident", "now", "silenced"),
    [
        ({}, NOW, True),
        ({}, NOW - timedelta(microseconds=1), False),
        ({}, NOW + 4 * HOUR - timedelta(microseconds=1), True),
        ({}, NOW + 4 * HOUR, False),  # still open once it is over: told then
        ({"opened": NOW - HOUR}, NOW, True),  # it opened before and was not told yet
        ({"kind": "service"}, NOW, False),
        ({"resolved": NOW + HOUR}, NOW + 5 * HOUR, True),  # it came and went meanwhile
        ({"resolved": NOW + 4 * HOUR}, NOW + 5 * HOUR, True),
        ({"resolved": NOW + 4 * HOUR + timedelta(microseconds=1)}, NOW + 5 * HOUR, False),
        ({"opened": NOW - timedelta(microseconds=1), "resolved": NOW + HOUR}, NOW + 5 * HOUR, False),
        ({"opened": NOW - 2 * HOUR, "resolved": NOW - HOUR}, NOW + 5 * HOUR, False),
    ],
)
def test_a_silence_covers_what_opens_while_it_holds(incident: dict[str, object], now: datetime, silenced: bool) -> None:
    """MN-09: To the moment; what came and went meanwhile is told never, what is still open is told once it is over."""
    assert SILENCE.covers(_incident(**incident), now) is silenced
    assert is_silenced(_incident(**incident), "mail", [SILENCE], now) is silenced


def test_a_silence_of_all_kinds_covers_every_kind() -> None:
    """MN-09: Such as one for the maintenance of a machine."""
    every = SILENCE.model_copy(update={"kind": None})
    assert every.covers(_incident(kind="service"), NOW)
    assert "silenced all kinds until 2026-03-01 16:00 UTC" in every.sentence


def test_the_end_of_what_was_told_is_told() -> None:
    """MN-09: An event that woke somebody must not stay open; other channels, which were told nothing, stay silent. One silence of many
    suffices, and none silences nothing."""
    over = _incident(told={"on_call": "opened"}, opened=NOW - HOUR, resolved=NOW + HOUR)
    others = [SILENCE.model_copy(update={"kind": "release"}), SILENCE]
    assert not is_silenced(over, "on_call", others, NOW + 2 * HOUR)
    assert is_silenced(over, "mail", others, NOW + 2 * HOUR)
    assert not is_silenced(over, "mail", [], NOW + 2 * HOUR)


def test_a_silence_is_recorded_and_ends_by_itself(tmp_path: Path) -> None:
    """MN-09, SC-08: Who, what, until when and why; of this model alone, and again from the store."""
    store = FolderStore(str(tmp_path))
    silences = Silences(store, "churn")
    assert silences.active(NOW) == []
    made = silences.add("drift", NOW, NOW + HOUR, "ada", "The source moves.")
    silences.add(None, NOW, NOW + 2 * HOUR, "grace", "A new rack.")
    assert [one.by for one in Silences(store, "churn").active(NOW)] == ["ada", "grace"]
    assert [one.by for one in silences.active(NOW + HOUR)] == ["grace"]
    assert silences.active(NOW + 2 * HOUR) == silences.active(NOW - HOUR) == []
    assert Silences(store, "churn").all()[0] == made
    assert Silences(store, "other").all() == []
    assert made.sentence == "ada silenced drift until 2026-03-01 13:00 UTC: The source moves."
