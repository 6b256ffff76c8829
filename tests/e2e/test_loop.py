"""The whole loop under the real scheduler, told by the demo."""

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from .conftest import has_prometheus

DASHBOARDS = sorted((Path(__file__).parents[2] / "helm/perennial/dashboards").glob("*.json"))
# Panels that the demo has nothing for: no GPU, no release under way, no failed answer or outcome a moment ago, no shadow.
EMPTY = ("GPUs", "Evidence against a candidate")
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


def test_each_fault_of_the_story_is_named_by_the_explanation_of_its_run(platform):
    """MN-18: Of every run that failed, by the command: a broken batch, a worse model, a candidate that fails under traffic; where, and what
    to do. A version leads to the run that made it, which says why it ran, and that it serves; a wrong name to the nearest runs."""
    for dag, names, where in (
        ("flights_ingestion", {"Broken batch"}, "tell_refused"),
        ("flight_delays_training", {"Worse than the champion", "Below a floor"}, "register"),
        ("flight_delays_release", {"The candidate failed under traffic"}, "move_traffic"),
    ):
        failed = [run for run in platform.api.runs(dag) if run.state == "failed"]
        assert failed, dag
        for run in failed:
            told = json.loads(platform.perennial("explain-run", f"{dag}/{run.id}", "--json").stdout)["explanation"]
            assert any(name.lower() in told["fault"]["name"].lower() for name in names), (dag, told)  # it may name several
            assert (told["where"], bool(told["fault"]["do"]), bool(told["why"])) == (where, True, True)
    second = platform.perennial("explain-run", "flight_delays/2")
    assert second.returncode == 0, second.stderr
    for said in (
        "cause drift",
        "It answers the retraining request",
        "passed golden",
        "It serves 100% of the traffic now.",
        "MLflow run: http",
    ):
        assert said in second.stdout, second.stdout
    assert "flight_delays_training/" in second.stdout
    assert "No run in Airflow's records made it" in platform.perennial("explain-run", "flight_delays/3").stdout
    wrong = platform.perennial("explain-run", "flight_dalays_training")
    assert (wrong.returncode, "Near to it are flight_delays_training/" in wrong.stderr) == (2, True), wrong.stderr


def asked(platform, query: str) -> list[dict]:
    """What the platform's Prometheus answers."""
    address = f"{platform.settings.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        found: list[dict] = json.load(answer)["data"]["result"]
    return found


@pytest.mark.skipif(not has_prometheus(), reason="Prometheus is not installed: apt-get install prometheus prometheus-alertmanager")
def test_prometheus_knows_who_serves_and_what_runs(platform):
    """MN-04, MN-15, SY-07: Started with the platform, it has the champion, the machine, Airflow and the rules; each panel of the dashboards
    finds what it asks for."""
    (champion,) = asked(platform, 'perennial_version_share{model="flight_delays",role="champion"} == 1')
    assert champion["metric"]["version"] == "2"
    assert {one["metric"]["component"] for one in asked(platform, "perennial_airflow_healthy == 1")} >= {"scheduler", "triggerer"}
    assert len(asked(platform, "perennial_program_memory_bytes > 1e6")) >= 8
    with urllib.request.urlopen(f"{platform.settings.prometheus_url}/api/v1/rules", timeout=30) as answer:
        rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
    assert len(rules) >= 13
    assert {rule["health"] for rule in rules} == {"ok"}
    assert not [rule for rule in rules if rule["name"] in ("PerennialNoFigures", "PerennialProgramDown") and rule["state"] == "firing"]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            if panel["title"] not in EMPTY:
                queries = [target["expr"].replace("$__rate_interval", "1m") for target in panel["targets"]]
                for name in ("model", "version", "cluster"):
                    queries = [query.replace(f"${name}", ".*") for query in queries]
                assert any(asked(platform, query) for query in queries), (file.name, panel["title"], queries)
