"""An experiment shares units out, decides by units, ends by itself or by a person, and excludes releases meanwhile."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from perennial.commands.ledger import line
from perennial.commands.served_at import describe
from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.lineage.experiments import Plan, experiment_record, experiments, under_way
from perennial.results import ReleaseResult
from perennial.serving import experiment
from perennial.serving.assignment import arm_of
from perennial.serving.experiment import Values, decide, estimate
from perennial.settings import Settings
from perennial.stages import experiment as stage
from perennial.stages import release as stage_release
from perennial.stages import rollback
from perennial.stages._experiment_plan import Wish
from perennial.stages._routes import route_of
from perennial.stages.experiment import Experiment, asked_for, metric_of
from perennial.stages.release import Release
from perennial.testing import World, small_dataset, small_model

SALT_AT = "small_delays-2"  # of the first experiment after the first release


class Trial:
    """A champion, another version, and callers with units."""

    def __init__(self, folder: Path, seed: int = 1, **plan: Any) -> None:
        self.world = World(folder).with_champion()
        self.world.registry.add(self.world.spec.name, "b" * 64)
        self.name, self.rng = self.world.spec.name, np.random.default_rng(seed)
        self.plan = Plan(
            champion=1,
            tried=2,
            metric=metric_of(self.world.spec, "score > 0.9"),
            unit="user_id",
            **{"least": 0.1, "look_seconds": 5, **plan},
        )
        self.requests = 0

    @property
    def last(self) -> Any:
        """The newest entry of the ledger."""
        return self.world.ledger.last()

    def look(self, action: Any = "look", **more: Any) -> ReleaseResult:
        """One look, as a new process takes it."""
        known = self.world.release()
        experiment = Experiment(known.spec, known.settings, known.store, known.backend, known.registry)
        return experiment.look_at(Wish(action, self.plan if action == "start" else None, **more))

    def begun(self) -> Trial:
        """This trial, once it has begun."""
        assert self.look("start", actor="ada").action == "started"
        return self

    def ask(self, units: range, rates: dict[int, float], each: int = 1, *, by: int | None = None, header: bool = True) -> None:
        """What servers log where these units ask, each so often, of versions that are sure so often. `by` answers for all, if given."""
        entry = self.last
        now = datetime.now(timezone.utc).isoformat()
        row = {"carrier": "AA", "origin": "JFK", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None}
        lines = []
        for number in units:
            unit = f"user-{number}"
            own = arm_of(unit, entry.salt, entry.weights, champion=entry.champion) if entry.salt else entry.champion
            for _ in range(each):
                version = by or own
                is_sure = self.rng.random() < rates[version]
                self.requests += 1
                lines.append(
                    {"id": f"r{self.requests}-0", "model": self.name, "version": version, "time": now, "event_time": now, "ms": 2.0,
                     **({"unit": unit} if header else {}), "row": row, "scores": [0.05, 0.95] if is_sure else [0.6, 0.4]}
                )  # fmt: skip
        self.world.store.write(
            f"predictions/{self.name}/{self.requests:09d}.jsonl", "".join(json.dumps(one) + "\n" for one in lines).encode()
        )


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model and its dataset, which have no files."""
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    monkeypatch.setattr(stage.discovery, "model", lambda name: small_model())


def test_a_better_version_wins_and_is_told(tmp_path: Path) -> None:
    """SE-09: start, looks, an end by evidence; the champion serves on, and the release of the winner goes its own way."""
    trial = Trial(tmp_path).begun()
    assert trial.world.backend.route(trial.world.spec) == route_of(trial.last)
    assert (trial.last.kind, trial.last.weights, trial.last.salt) == ("experiment_weights", {1: 5000, 2: 5000}, SALT_AT)
    assert [entry.kind for entry in trial.world.ledger.entries()] == ["started", "released", "experiment", "experiment_weights"]
    held = trial.look()
    assert (held.action, held.look_again_seconds) == ("hold", 5)
    assert "Nothing is decided before each has 100" in held.sentence
    trial.ask(range(1000), {1: 0.2, 2: 0.5}, each=2)
    ended = trial.look()
    assert (ended.action, ended.verdict, ended.version, ended.champion) == ("ended", "better", 2, 1)
    assert "--version 2 --again --actor YOU" in ended.sentence
    assert (trial.last.kind, trial.last.champion, trial.last.weights, trial.last.salt) == ("experiment_ended", 1, {1: 10_000}, None)
    assert trial.last.evidence["experiment"]["verdict"] == "better"
    assert trial.world.backend.route(trial.world.spec) == route_of(trial.last)
    assert trial.world.ledger.verify() == []
    assert experiments(trial.world.store, trial.name) == [2]
    record = experiment_record(trial.world.store, trial.name, 2)
    assert record is not None
    assert record.looks[-1].low is not None
    assert record.looks[-1].low > 0
    again = trial.look()
    assert (again.action, again.verdict) == ("ended", "better")


def test_a_winner_is_promoted_where_that_is_wished(tmp_path: Path) -> None:
    """SE-09: the champion of before stays the last good one, and the registry follows."""
    trial = Trial(tmp_path, promote=True).begun()
    trial.ask(range(1000), {1: 0.2, 2: 0.5})
    ended = trial.look()
    assert (ended.action, ended.verdict, ended.champion, ended.weight) == ("ended", "better", 2, 100)
    assert (trial.last.kind, trial.last.good, trial.last.weights) == ("promoted", (1,), {2: 10_000, 1: 0})
    assert (trial.world.alias("champion"), trial.world.alias("last_good")) == (2, 1)


def test_a_worse_version_is_not_released_by_itself_afterwards(tmp_path: Path) -> None:
    """SE-09, SE-10: it was tried and lost, which is no failed release: nobody is alarmed, and a person may release it all the same."""
    trial = Trial(tmp_path).begun()
    trial.ask(range(1000), {1: 0.5, 2: 0.2})
    ended = trial.look()
    assert (ended.action, ended.verdict) == ("ended", "worse")
    assert (trial.last.kind, trial.last.weights, trial.last.lost) == ("experiment_ended", {1: 10_000}, True)
    skipped = trial.world.look(2)
    assert skipped.outcome == "skipped"
    assert "Version 2 of small_delays lost an experiment on" in skipped.sentence
    assert trial.look().verdict == "worse"
    assert trial.world.look(2, actor="jo", again=True).action == "started"


def test_units_that_come_back_are_one_piece_of_evidence(tmp_path: Path) -> None:
    """SE-09: a few units with many requests decide nothing, however many requests there are."""
    trial = Trial(tmp_path).begun()
    trial.ask(range(60), {1: 0.1, 2: 0.9}, each=50)
    held = trial.look()
    assert held.action == "hold"
    look = experiment_record(trial.world.store, trial.name, 2).looks[-1]  # type: ignore[union-attr]
    assert look.champion_units + look.tried_units == 60
    assert look.low is None


def test_no_difference_is_shown_at_the_planned_number_of_units(tmp_path: Path) -> None:
    """SE-09: the number follows from power and the least difference; before it the experiment goes on and says how many are wanted."""
    trial = Trial(tmp_path, least=0.15).begun()
    trial.ask(range(300), {1: 0.5, 2: 0.5})
    held = trial.look()
    assert held.action == "hold"
    assert "units show a difference of 0.15, or none" in held.sentence
    trial.ask(range(300, 1200), {1: 0.5, 2: 0.5})
    ended = trial.look()
    assert (ended.action, ended.verdict) == ("ended", "no_difference")
    assert (trial.last.kind, trial.last.weights) == ("experiment_ended", {1: 10_000})


def test_it_ends_after_its_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: an experiment that nobody sends units to does not stay for ever."""
    trial = Trial(tmp_path, days=2).begun()
    trial.ask(range(50), {1: 0.5, 2: 0.5})
    assert trial.look().action == "hold"

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=2)

    monkeypatch.setattr(stage_release, "datetime", Clock)
    ended = trial.look()
    assert (ended.action, ended.verdict) == ("ended", "no_difference")
    assert "2 days have passed" in ended.sentence


def test_harm_ends_it_at_once(tmp_path: Path) -> None:
    """SE-09, SE-10: the release's own signals guard an experiment, whatever its metric says."""
    trial = Trial(tmp_path).begun()
    trial.ask(range(400), {1: 0.2, 2: 0.2})
    trial.world.backend.serve(2000, errors={2: 0.2})
    ended = trial.look()
    assert (ended.action, ended.verdict) == ("ended", "harm")
    assert "requests of the version that is tried failed" in ended.sentence
    assert (trial.last.kind, trial.last.weights) == ("rolled_back", {1: 10_000})
    trial.world.agrees()


def test_failing_requests_of_one_unit_are_no_harm(tmp_path: Path) -> None:
    """SE-09: all its requests go to one version, whatever is wrong with them: they count as one."""
    trial = Trial(tmp_path).begun()
    trial.ask(range(400), {1: 0.2, 2: 0.2})
    trial.ask(range(1000, 1001), {1: 0.2, 2: 0.2}, each=600)
    trial.world.backend.serve(1000, unreadable={2: 0.03})
    assert trial.look().action == "hold"


def test_units_that_are_not_shared_out_as_wanted_end_it(tmp_path: Path) -> None:
    """SE-09: a version whose answers get lost cannot be compared with the other."""
    trial = Trial(tmp_path).begun()
    units = [n for n in range(2000) if n % 3 or arm_of(f"user-{n}", SALT_AT, {1: 5000, 2: 5000}, champion=1) == 1]
    for unit in units[:1500]:
        trial.ask(range(unit, unit + 1), {1: 0.2, 2: 0.2})
    ended = trial.look()
    assert (ended.action, ended.verdict) == ("ended", "split")
    assert "Units are not shared out as wanted" in ended.sentence
    assert trial.last.kind == "experiment_ended"


def test_what_another_version_answered_is_no_evidence(tmp_path: Path) -> None:
    """SE-09: where a unit's version failed the gateway asked the other; neither has shown anything by it. Requests without a unit are not
    in the experiment."""
    trial = Trial(tmp_path).begun()
    trial.ask(range(300), {1: 0.5, 2: 0.5})
    trial.ask(range(300), {1: 1.0, 2: 1.0}, by=1)
    trial.ask(range(70), {1: 1.0, 2: 1.0}, header=False)
    trial.look()
    look = experiment_record(trial.world.store, trial.name, 2).looks[-1]  # type: ignore[union-attr]
    of_tried = sum(arm_of(f"user-{n}", SALT_AT, {1: 5000, 2: 5000}, champion=1) == 2 for n in range(300))
    assert (look.crossed, look.without_unit, look.tried_units) == (of_tried, 70, of_tried)
    assert look.tried_mean == pytest.approx(0.5, abs=0.15)


def test_shares_move_and_units_that_change_count_no_more(tmp_path: Path) -> None:
    """SE-09: a change of shares is an entry; who has seen both versions says nothing of either."""
    trial = Trial(tmp_path, share=0.1).begun()
    trial.ask(range(1000), {1: 0.2, 2: 0.2})
    trial.look()
    moved = trial.look("weigh", share=0.5, reason="nothing speaks against it", actor="ada")
    assert (moved.action, moved.weight) == ("reweighed", 50)
    assert (trial.last.kind, trial.last.weights, trial.last.salt) == ("experiment_weights", {1: 5000, 2: 5000}, SALT_AT)
    assert trial.look("weigh", share=0.5).action == "hold", "the same again changes nothing"
    assert len(under_way(trial.world.ledger, trial.world.ledger.last())) == 3
    trial.ask(range(2000), {1: 0.2, 2: 0.2})
    trial.look()
    look = experiment_record(trial.world.store, trial.name, 2).looks[-1]  # type: ignore[union-attr]
    places = {
        n: [arm_of(f"user-{n}", SALT_AT, weights, champion=1) for weights in ({1: 9000, 2: 1000}, {1: 5000, 2: 5000})] for n in range(1000)
    }
    assert look.changed == sum(before != after for before, after in places.values())
    assert look.champion_units + look.tried_units == 2000 - look.changed
    assert [(share, units) for share, _, units in look.arrived] == [(0.1, 1000), (0.5, 1000)]


def test_a_person_stops_it(tmp_path: Path) -> None:
    """SE-09: with who and why in the ledger; a second stop says that there is none."""
    trial = Trial(tmp_path).begun()
    ended = trial.look("stop", reason="the campaign is over", actor="ada")
    assert (ended.action, ended.verdict) == ("ended", "stopped")
    assert (trial.last.kind, trial.last.reason, trial.last.actor) == ("experiment_ended", "ada ended it: the campaign is over", "ada")
    with pytest.raises(ReleaseRefused, match="No experiment of small_delays is under way"):
        trial.look("stop", actor="ada")


def test_a_rollback_ends_it_at_once(tmp_path: Path) -> None:
    """SE-11, SE-09: the champion serves everything; a second wish is the same wish."""
    trial = Trial(tmp_path).begun()
    result = rollback.go_back(trial.world.release(), "callers complain", "jo")
    assert (result.action, result.version, result.champion) == ("rolled_back", 2, 1)
    assert "The experiment of small_delays with version 2 was ended" in result.sentence
    assert (trial.last.kind, trial.last.weights, trial.last.salt) == ("rolled_back", {1: 10_000}, None)
    assert "already" in rollback.go_back(trial.world.release(), "callers complain", "jo").sentence
    trial.world.agrees()


def test_a_rollback_to_the_last_good_version_ends_it_too(tmp_path: Path) -> None:
    """SE-11, SE-09: the champion itself may be what is wrong: the watch goes back behind it, with one entry."""
    trial = Trial(tmp_path)
    trial.world.candidate("c" * 64)
    assert trial.world.until_end().action == "promoted"
    trial.plan = trial.plan.model_copy(update={"champion": 3})
    trial.begun()
    assert trial.last.weights == {3: 5000, 2: 5000, 1: 0}
    result = rollback.go_back(trial.world.release(), "it fails", "perennial", 1)
    assert (result.action, result.champion) == ("rolled_back", 1)
    assert (trial.last.version, trial.last.weights, trial.last.salt) == (3, {1: 10_000}, None)


def test_a_release_and_an_experiment_exclude_each_other(tmp_path: Path) -> None:
    """SE-09, SE-06: a sentence says which waits for what."""
    trial = Trial(tmp_path).begun()
    trial.world.candidate("c" * 64)
    held = trial.world.look()
    assert held.action == "hold"
    assert held.look_again_seconds >= 60
    assert "while its experiment between versions 1 and 2 is under way" in held.sentence
    for wish in ((3, None, "ada"), (3, "roll_back", "ada"), (2, "promote", "perennial")):
        with pytest.raises(ReleaseRefused, match="perennial experiment stop"):
            trial.world.look(*wish)
    trial.look("stop", actor="ada")
    assert trial.world.look().action == "started"
    with pytest.raises(ReleaseRefused, match="is being released: the experiment can begin once that has ended"):
        trial.look("start")


def test_the_version_that_was_tried_can_be_released_afterwards(tmp_path: Path) -> None:
    """SE-09, SE-06: an experiment is no word against a version, and none that it was released."""
    trial = Trial(tmp_path).begun()
    trial.look("stop", actor="ada")
    assert trial.world.look(2, actor="ada", again=True).action == "started"
    assert trial.world.until_end().action == "promoted"
    trial.world.agrees()


def test_it_does_not_begin_where_it_cannot(tmp_path: Path) -> None:
    """SE-09: what is wrong, and what to give instead."""
    trial = Trial(tmp_path)
    trial.plan = trial.plan.model_copy(update={"champion": 5})
    with pytest.raises(ReleaseRefused, match=r"Version 1 of small_delays is the champion.*--versions 1,2"):
        trial.look("start")
    nobody = Trial.__new__(Trial)
    nobody.world, nobody.plan = World(tmp_path / "empty"), trial.plan
    with pytest.raises(ReleaseRefused, match="serves nothing"):
        nobody.look("start")
    trial.plan = trial.plan.model_copy(update={"champion": 1})
    trial.begun()
    assert trial.look("start").action == "hold", "the same again goes on"
    trial.plan = trial.plan.model_copy(update={"least": 0.3})
    with pytest.raises(ReleaseRefused, match="An experiment of small_delays between versions 1 and 2 is under way"):
        trial.look("start")


def test_a_version_that_does_not_come_up_is_not_tried(tmp_path: Path) -> None:
    """SE-09: the champion serves on, and the ledger says why."""
    trial = Trial(tmp_path)
    trial.world.backend.refusals[2] = ReleaseRefused("Version 2 must not serve: golden row 0 differs.")
    with pytest.raises(ReleaseRefused, match="golden row 0"):
        trial.look("start")
    assert [entry.kind for entry in trial.world.ledger.entries()][2:] == ["experiment", "experiment_ended"]
    assert (trial.last.evidence["experiment"]["verdict"], trial.last.weights) == ("failed", {1: 10_000})
    assert trial.world.backend.route(trial.world.spec) == route_of(trial.last)


def test_a_look_that_was_killed_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: before the version had any unit, and before the traffic moved at the end."""
    trial = Trial(tmp_path)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(trial.world.backend, "wait_ready", dies)
        with pytest.raises(KeyboardInterrupt):
            trial.look("start")
    assert trial.last.kind == "experiment"
    assert trial.look().action == "started"
    assert trial.last.kind == "experiment_weights"
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(trial.world.backend, "apply", dies)
        with pytest.raises(KeyboardInterrupt):
            trial.look("stop", actor="ada")
    assert trial.last.kind == "experiment_ended"
    assert trial.world.backend.route(trial.world.spec).salt == SALT_AT
    assert trial.look().action == "ended"
    assert trial.world.backend.route(trial.world.spec) == route_of(trial.last)


def test_the_gateway_that_does_not_answer_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: nothing is decided by it."""
    trial = Trial(tmp_path).begun()

    def gone(*_: Any) -> None:
        raise ServiceUnreachable("The gateway does not answer.")

    monkeypatch.setattr(trial.world.backend, "observe", gone)
    with pytest.raises(ServiceUnreachable):
        trial.look()
    assert trial.last.kind == "experiment_weights"


def test_ledger_and_served_at_tell_of_it(tmp_path: Path) -> None:
    """SE-09, DE-20: shares of units are told as such, and the chain holds with and without a salt."""
    trial = Trial(tmp_path).begun()
    said = describe(trial.name, datetime.now(timezone.utc), trial.last)
    assert "version 1 (aaaaaaaaaaaa) 50 %, version 2 (bbbbbbbbbbbb) 50 % of the units of an experiment" in said
    assert "experiment_weights version 2    1:50% 2:50%" in line(trial.last)
    stored = [json.loads(trial.world.store.read(f"ledger/{trial.name}/{seq:08d}.json")) for seq in range(4)]
    assert [entry.get("salt") for entry in stored] == [None, None, SALT_AT, SALT_AT]
    assert "salt" not in stored[1]
    assert trial.world.ledger.verify() == []
    assert trial.world.ledger.served_at(datetime.now(timezone.utc)) == trial.last


def test_a_metric_is_a_signal_or_a_column() -> None:
    """SE-09: bounds are known where the column has them, and asked for where it has none."""
    spec = small_model()
    error = metric_of(spec, "error")
    assert (error.source, error.low, error.high, error.direction) == ("outcomes", 0, 1, "lower")
    sure = metric_of(spec, "score > 0.9")
    assert (sure.source, sure.event, sure.low, sure.direction) == ("predictions", "> 0.9", None, "higher")
    assert metric_of(spec, "milliseconds", low=0, high=50).direction == "lower"
    assert metric_of(spec, "milliseconds", better="higher", low=0, high=50).direction == "higher"
    with pytest.raises(ReleaseRefused, match="'colour' is no metric of small_delays"):
        metric_of(spec, "colour")
    with pytest.raises(ReleaseRefused, match="needs one of: event; quantile; low and high"):
        metric_of(spec, "milliseconds")


def test_an_end_that_comes_between_is_no_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: Who ends an experiment while a look reads the ledger is told as the one who did; the look does not take shares for the end."""
    trial = Trial(tmp_path).begun()
    before = Release.known

    def known(self: Release) -> Any:
        found = before(self)
        if trial.last.tried is not None:
            monkeypatch.setattr(Release, "known", before)
            trial.look("stop", actor="ada", reason="enough")
        return found

    monkeypatch.setattr(Release, "known", known)
    result = trial.look()
    assert "golden rows match" not in result.sentence
    assert trial.last.kind == "experiment_ended"
    assert trial.world.backend.route(trial.world.spec) == route_of(trial.last)
    assert under_way(trial.world.ledger, trial.last) == under_way(trial.world.ledger, None) == []
    assert len(under_way(trial.world.ledger, trial.world.ledger.entry(trial.last.seq - 1))) == 2


@pytest.mark.parametrize("least", [1e-12, 1e100])
def test_a_plan_at_its_borders_can_be_reckoned(tmp_path: Path, least: float) -> None:
    """SE-09: No number that a plan may have breaks a look; those that would are refused when it is made."""
    plan = Trial(tmp_path).plan
    extreme = Plan.model_validate({**plan.model_dump(), "least": least, "alpha": 1e-9, "days": 3_650, "look_seconds": 86_400})
    values = Values((0.0, 1.0) * 120, (False, False, True, True) * 60, (0.5,) * 240)
    found = decide(experiment.Plan(extreme.alpha, extreme.power, extreme.least), estimate(values), higher=True)
    assert found.low is not None
    assert found.high is not None
    assert timedelta(days=extreme.days) > timedelta(0)
    for wrong in ({"alpha": 1e-300}, {"days": math.inf}, {"days": 1e12}, {"look_seconds": math.inf}, {"look_seconds": 1e9}):
        with pytest.raises(ValidationError):
            Plan.model_validate({**plan.model_dump(), **wrong})


def test_arguments_that_cannot_be_are_told() -> None:
    """SE-09: one sentence each."""
    spec, given = small_model(), {"better": None, "low": None, "high": None}
    asked = {"versions": "1,2", "metric": "error", "unit": "user_id", "share": None, "least": 0.1, **given}
    assert asked_for(spec, **asked).champion == 1
    for change, said in (
        ({"versions": "1,2,3"}, "between two versions"),
        ({"versions": "1,1"}, "between two versions"),
        ({"versions": None, "unit": ""}, "lacks --versions, --unit"),
        ({"least": 0.0}, "least: Input should be greater than or equal to 0.000000000001"),
        ({"least": math.inf}, "least: Input should be a finite number"),
        ({"least": math.nan}, "least: Input should be a finite number"),
        ({"share": 1.0}, "share: Input should be less than 1"),
    ):
        with pytest.raises(ReleaseRefused, match=said):
            asked_for(spec, **{**asked, **change})


def test_where_no_gateway_shares_out_by_key_it_is_refused(tmp_path: Path) -> None:
    """SE-09: with what that backend lacks."""
    world = World(tmp_path)
    for serving, dialect, said in (
        ("seldon", "v1", "Seldon Core 1 shares out requests by weight alone"),
        ("seldon", "v2", "x-seldon-route"),
        ("kserve", "v1", "KServe's HTTPRoute shares out requests by weight alone"),
    ):
        settings = Settings.from_environment({"PERENNIAL_SERVING": serving, "PERENNIAL_SELDON_DIALECT": dialect})
        with pytest.raises(ReleaseRefused, match=said):
            stage.run(settings, world.store, action="look", model=world.spec.name)
