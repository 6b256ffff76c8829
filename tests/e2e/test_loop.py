"""The whole loop under the real scheduler, told by the demo."""

import time

import pytest

pytestmark = pytest.mark.timeout(1800)
TOLD = (
    "The platform starts",
    "Four weeks of flights land",
    "The first version is trained",
    "It serves",
    "A broken batch is quarantined",
    "The mended batch is taken",
    "Nothing is trained for one day",
    "A worse model is refused",
    "Retraining for drift",
    "The new version takes over",
    "A version takes all traffic",
    "It begins to fail and is left",
    "A sabotaged version is rolled back",
    "The same season is quiet",
    "A feed changes its unit",
    "A person judges the incident",
    "The feed is mended, it is over",
    "The ledger proves it",
)


def test_the_story_happens_as_told(platform):
    """OP-01, MO-25, SY-04: The demo, told after an earlier one was killed in its middle, ends with 0 and every line."""
    assert platform.told.returncode == 0, platform.told.stdout[-3000:]
    for line in TOLD:
        assert f"✓ {line}" in platform.told.stdout


def test_what_served_when_can_be_asked(platform):
    """SC-03: The ledger verifies, and names the version that serves now."""
    verified = platform.perennial("ledger", "verify")
    assert verified.returncode == 0, verified.stderr
    now = platform.perennial("served-at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "--model", "flight_delays")
    assert "version 2" in now.stdout


def test_each_refusal_of_the_story_is_the_note_of_its_run(platform):
    """DE-15: Refused data, a refused model and a rolled-back canary are told apart from a crash where the run is opened."""
    for dag, said in (
        ("flights_ingestion", "Refused: 1 of 1 files were refused and lie in quarantine: "),
        ("flight_delays_training", "Refused: Candidate "),
        ("flight_delays_release", "Rolled back: Version 4 of flight_delays was rolled back"),
    ):
        notes = [platform.api.note(run) for run in platform.api.runs(dag) if run.state == "failed"]
        assert any(note.startswith(said) for note in notes), (dag, notes)
