"""Parts of the monitor stage that need no table; the whole is in tests/integration/monitoring."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.monitoring.drift import Bin, ColumnDrift, DriftVerdict
from perennial.monitoring.figures import Anomalies, Break, Jump, RuleFinding
from perennial.serving.route import FRESH, Arm
from perennial.settings import Settings
from perennial.stages import monitor
from perennial.stages._look import Look
from perennial.stages._window import Judged, _together
from perennial.stages._window_incidents import Findings, is_over, wrong
from perennial.stages._window_losses import slices_of
from perennial.stages.monitor import _window
from perennial.store import FolderStore
from perennial.testing import RehearsedBackend, small_model

BINARY = small_model("m")

RULE_STATES = ("kept", "open", "broken", "few")


def test_half_a_window_is_completed_by_its_length():
    """MN-01: A begin alone or an end alone gives a window of the spec's length; times without a zone are UTC."""
    first, last = datetime(2013, 2, 1), datetime(2013, 2, 3, tzinfo=timezone.utc)
    assert _window(first, None, 2) == _window(None, last, 2) == _window(first, last, 9)
    eastern = timezone(timedelta(hours=-5))
    assert _window(datetime(2013, 1, 31, 19, tzinfo=eastern), None, 2).first == first.replace(tzinfo=timezone.utc)


def test_a_window_that_runs_backwards_is_refused():
    """MN-01: The sentence says which time goes where."""
    with pytest.raises(
        UnknownName, match="from 2013-02-03 00:00 to 2013-02-01 00:00 does not run forward: give the earlier time to --from"
    ):
        _window(datetime(2013, 2, 3), datetime(2013, 2, 1), 2)


def test_the_gateways_counts_are_those_of_versions(monkeypatch, tmp_path):
    """MN-01: A window's report has the gateway's counts of each version; the champion's new process is none."""
    gateway = SimpleNamespace(observe=lambda spec: {FRESH: Arm(requests=5), 7: Arm(requests=90, errors=1)})
    monkeypatch.setattr(monitor, "open_backend", lambda settings: gateway)
    counts = monitor.gateway_counts(Settings(home=tmp_path, store=str(tmp_path)), BINARY)
    assert {version: (arm.requests, arm.errors) for version, arm in counts.versions.items()} == {"7": (90, 1)}


def finding(column="temp", kind="shift", *, drifted=True, alarms=None, p=0.01):
    """One finding of the drift test."""
    bins = (Bin(label="missing", reference=0.0, window=0.2),)
    return ColumnDrift(
        column=column,
        kind=kind,
        drifted=drifted,
        alarms=drifted if alarms is None else alarms,
        effect=0.4,
        usual=0.1,
        p_value=p,
        sentence=f"`{column}` moved.",
        bins=bins,
    )


def found(*findings, breaks=(), confirmed=(), jump=False, unusual=False, lasting=None, power="", labelled=True, few=False, rules=()):
    """What a window showed."""
    verdict = DriftVerdict(columns=findings, reference_days=30, window_days=2, labellings=400, exact=True, power=power)
    anomalies = Anomalies(
        detector="multivariate", alarms_per_day=3, sentence="Many.", unusual=unusual, threshold=1.0, found=100, scored=1000, days=1
    )
    return Findings(
        Judged(1, verdict, {1: 1000}, tuple(Break(f"unit of {c}", c, f"`{c}`: km.") for c in breaks), few),
        confirmed,
        any(f.drifted for f in findings) if lasting is None else lasting,
        Jump(jump, "It jumped." if jump else "No.", jump),
        labelled,
        anomalies,
        is_newest=True,
        rules=tuple(
            RuleFinding(name=name, state=state, rows=500, severity="critical", sentence=f"`{name}` is beyond.") for name, state in rules
        ),
    )


def test_one_alarm_for_one_change():
    """MN-09: Many columns of one season are one incident, a small change is none; what follows from a broken feed is none of its own,
    another input's drift is."""
    quiet = wrong(found(finding(drifted=False), finding("dewp", alarms=False)), 2)
    assert quiet == {}
    season = wrong(found(finding(), finding("dewp"), finding("all columns", "joint"), unusual=True), 2)
    assert season == {("drift", "inputs"): ("warning", "`temp` moved. And 2 more findings. Not confirmed yet.")}
    lasting = wrong(found(finding(), confirmed=("temp",)), 3)
    assert lasting["drift", "inputs"] == ("warning", "`temp` moved. It lasts through 3 windows.")
    broken = found(
        finding(), finding("all columns", "joint"), finding("temp, dewp", "correlation"), finding("score", "predictions"), breaks=["temp"]
    )
    assert wrong(broken, 2) == {("data quality", "unit of temp"): ("critical", "`temp`: km.")}
    besides = wrong(found(finding(), finding("dewp"), breaks=["temp"]), 2)
    assert set(besides) == {("data quality", "unit of temp"), ("drift", "inputs")}


def test_scores_loss_and_requests_have_alarms_of_their_own():
    """MN-09: Scores may drift where no input does; a jump is the worst; strange requests count where nothing drifted."""
    assert set(wrong(found(finding("score of late", "predictions")), 2)) == {("drift", "predictions")}
    assert wrong(found(jump=True), 2) == {("performance", "loss"): ("critical", "It jumped.")}
    assert wrong(found(unusual=True), 2) == {("anomaly", "requests"): ("warning", "Many.")}


def test_an_incident_is_over_only_where_it_could_have_been_seen():
    """MN-09: No verdict ends nothing; drift ends once the windows before are quiet too; what others opened is theirs to end."""
    calm, blind = found(finding(drifted=False)), found(power="Nothing can be found.")
    assert is_over("drift", "inputs", calm)
    assert not is_over("drift", "inputs", blind)
    assert not is_over("drift", "inputs", found(finding(drifted=False), lasting=True))
    assert is_over("data quality", "unit of temp", calm)
    assert is_over("anomaly", "requests", calm)
    assert not is_over("anomaly", "requests", found(finding(), unusual=True))
    assert not is_over("data quality", "unit of temp", blind)
    assert not is_over("data quality", "refused files", calm)
    assert not is_over("service", "gateway", calm)
    assert not is_over("release", "7", calm)
    assert is_over("anomaly", "requests", calm)
    assert is_over("performance", "loss", calm)
    assert not is_over("performance", "loss", found(finding(drifted=False), labelled=False))
    assert not is_over("performance", "loss", found(finding(drifted=False), jump=True))


def test_a_rule_on_the_answers_opens_and_ends_by_evidence():
    """MN-02, MN-17: An incident of its own severity where the answers are beyond; it ends where they are within, not where nobody can tell
    or too few were asked; one whose rule is gone ends too."""
    assert wrong(found(rules=[("bad news", "broken"), ("b", "open"), ("c", "few"), ("d", "kept")]), 2) == {
        ("answers", "bad news"): ("critical", "`bad news` is beyond.")
    }
    ends = {state: is_over("answers", "bad news", found(rules=[("bad news", state), ("other", "broken")])) for state in RULE_STATES}
    assert ends == {"kept": True, "open": False, "broken": False, "few": False}
    assert is_over("answers", "gone", found(rules=[("bad news", "broken")]))
    assert is_over("answers", "gone", found())


@pytest.mark.parametrize(
    ("kind", "key"),
    [("drift", "inputs"), ("data quality", "unit of temp"), ("performance", "loss"), ("anomaly", "requests"), ("answers", "gone")],
)
def test_too_few_requests_end_no_incident(kind, key):
    """MN-09: Of no kind: that nothing was seen among so few says nothing."""
    assert is_over(kind, key, found(finding(drifted=False)))
    assert not is_over(kind, key, found(finding(drifted=False), few=True))


def test_two_tests_share_one_false_alarm_rate():
    """MN-01, MN-02: p-values are doubled, so that either alone must be twice as sure; findings are in one order."""
    inputs = found(finding(p=0.02), finding("dewp", drifted=False, p=0.7)).judged.verdict.model_copy(update={"p_value": 0.02})
    scores = found(finding("score", "predictions", p=0.001)).judged.verdict.model_copy(update={"p_value": 0.001})
    both = _together(inputs, scores, 0.05)
    assert [(f.column, f.p_value) for f in both.columns] == [("score", 0.002), ("temp", 0.04), ("dewp", 1.0)]
    assert (both.p_value, both.significant, both.drifted) == (0.002, True, ("score", "temp"))
    assert not _together(inputs, found().judged.verdict, 0.03).significant


def test_slices_are_inputs_or_made_from_the_time():
    """MO-21: A null is a slice of its own; a column that requests do not carry is none."""
    spec = BINARY.model_copy(update={"slices": ("carrier", "hour", "weekday", "dest")})
    when = [datetime(2013, 2, 4, 17, 30, tzinfo=timezone.utc)] * 2
    given = pa.table({"event_time": pa.array(when, pa.timestamp("us", "UTC")), "input_carrier": ["AA", None]})
    assert {name: names.tolist() for name, names in slices_of(spec, given).items()} == {
        "carrier": ["AA", "missing"],
        "hour": ["17", "17"],
        "weekday": ["0", "0"],
    }
    assert slices_of(spec, given.slice(0, 0)) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"reach": "yesterday"}', b'{"reach": 3}'])
def test_what_was_the_newest_window_is_known_or_said_to_be_unreadable(tmp_path, content):
    """MO-17: A sentence with the place and what to do."""
    store = FolderStore(str(tmp_path))
    traffic: Any = SimpleNamespace(store=store, spec=BINARY)
    nothing: Any = None
    look = Look(nothing, traffic, nothing, nothing, nothing)
    assert look._reaches_farthest(datetime(2013, 2, 1))
    store.write("reports/m/newest_window.json", content)
    with pytest.raises(StoredDataDamaged, match=r"^reports/m/newest_window.json cannot be read. Restore it .* or delete it"):
        look._reaches_farthest(datetime(2013, 2, 1))


def test_the_gateway_s_counts_are_of_versions(monkeypatch):
    """MN-04: A new process of the champion, with which a candidate is compared, is no version of its own in a report."""
    backend = RehearsedBackend()
    monkeypatch.setattr(backend, "observe", lambda model: {FRESH: Arm(5), 1: Arm(7, 2)})
    monkeypatch.setattr(monitor, "open_backend", lambda settings: backend)
    counts = monitor.gateway_counts(Settings.from_environment({}), small_model())
    assert {version: (one.requests, one.errors) for version, one in counts.versions.items()} == {"1": (7, 2)}
