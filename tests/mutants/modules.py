"""The modules that decide, and the unit tests that must notice when one of them decides otherwise. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("include/perennial")
TESTS = Path("tests/unit/perennial")


@dataclass(frozen=True)
class Module:
    """One module of `include/perennial` and the tests that mirror it; paths from the root of the project."""

    source: Path
    tests: tuple[Path, ...]
    slow_tests: tuple[str, ...] = ()  # names of those that are too slow to be run on every mutant, so kill none

    @property
    def name(self) -> str:
        """As it is imported."""
        return ".".join(self.source.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def _mirrored(place: str, *more_tests: str, slow_tests: tuple[str, ...] = ()) -> Module:
    """The module at `place`, like `serving/canary`, with the test of the same name and others that show what it decides."""
    mirror = TESTS / Path(place).parent / f"test_{Path(place).name}.py"
    return Module(PACKAGE / f"{place}.py", (mirror, *(TESTS / test for test in more_tests)), slow_tests)


def _of_drift(file: str, test: str) -> Module:
    """A file of the drift test: its own test, and that of the whole."""
    slow_tests = (
        "test_without_drift_about_alpha_of_windows_alarm",
        "test_a_window_of_small_days_is_no_drift",
        "test_a_tiny_shift_is_no_drift",
    )
    tests = TESTS / f"monitoring/drift/test_{test}.py", TESTS / "monitoring/test_drift.py"
    return Module(PACKAGE / f"monitoring/drift/{file}.py", tests, slow_tests)


def _of_readers(file: str) -> Module:
    """A file of the readers: the tests of all of them."""
    tests = ("test_file_forms", "test_readers_at_borders", "test_readers")
    return Module(PACKAGE / f"data/readers/{file}.py", tuple(TESTS / f"data/{test}.py" for test in tests))


MODULES = {
    "spec_changes": _mirrored("spec_changes"),
    "offsets": _mirrored("sources/offsets"),
    "records": _mirrored("sources/records"),
    "served_log": _mirrored("served_log"),
    "canary": _mirrored("serving/canary", slow_tests=("test_arms_that_are_alike_are_rarely_parted",)),
    "signals": _mirrored("serving/signals", slow_tests=("test_arms_that_are_alike_are_rarely_parted",)),
    "signal_values": _mirrored("monitoring/signal_values"),
    "asked": _mirrored("serving/asked"),
    "gateway_api": _mirrored("serving/backends/gateway_api"),
    "mlserver_folder": _mirrored("serving/mlserver_folder"),
    "kserve": _mirrored("serving/backends/kserve"),
    "split": _mirrored("serving/split", slow_tests=("test_a_split_as_wanted_is_rarely_doubted",)),
    "steady": _mirrored("serving/steady"),
    "contracts": _mirrored("registry/contracts"),
    "fallback": _mirrored("serving/fallback"),
    "limits": _mirrored("registry/limits"),
    "probe": _mirrored("serving/probe"),
    "generated_inputs": _mirrored("serving/generated_inputs"),
    "delivery": _mirrored("lineage/delivery"),
    "log_lines": _mirrored("log_lines", slow_tests=("test_a_stage_ends_with_its_sentence_in_the_form_that_is_asked_for",)),
    "run_faults": _mirrored("views/run_faults"),
    "answers": _mirrored("sources/answers"),
    "deadlines": _mirrored("monitoring/deadlines"),
    "score_datasets": _mirrored("score_datasets"),
    "score_readers": _mirrored("registry/readers"),
    "rules": _mirrored("monitoring/rules", slow_tests=("test_chance_seldom_breaks_a_rule",)),
    "silences": _mirrored("incidents/silences"),
    "live_metrics": _mirrored("monitoring/live_metrics", slow_tests=("test_the_intervals_cover_the_truth_where_days_differ",)),
    "promotion": _mirrored(
        "registry/promotion",
        slow_tests=(
            "test_a_candidate_at_the_margin_seldom_passes",
            "test_drawing_rows_would_promise_too_much",
            "test_many_equal_slices_seldom_refuse",
        ),
    ),
    "alarms": _mirrored("registry/alarms"),
    "policy": _mirrored("monitoring/policy", slow_tests=("test_whatever_the_night_finds", "test_whatever_is_seen_one_reason_asks")),
    "drift": _of_drift("__init__", "compare"),
    "drift.bins": _of_drift("bins", "bins"),
    "drift.blocks": _of_drift("blocks", "blocks"),
    "drift.columns": _of_drift("columns", "columns"),
    "drift.effects": _of_drift("effects", "effects"),
    "drift.together": _of_drift("together", "together"),
    "permutation": _mirrored("monitoring/permutation"),
    "anomalies": _mirrored(
        "monitoring/anomalies",
        "monitoring/test_anomalies_at_borders.py",
        slow_tests=("test_each_detector_catches_what_it_is_for", "test_the_budget_holds", "test_the_same_rows_are_always_judged_the_same"),
    ),
    "units": _mirrored(
        "monitoring/units",
        "monitoring/test_units_at_borders.py",
        slow_tests=("test_the_weather_of_the_window_need_not_be_the_mean_weather",),
    ),
    "incidents": _mirrored(
        "incidents/incidents",
        "incidents/test_incidents_at_borders.py",
        "incidents/test_listing.py",
        slow_tests=("test_in_any_history_no_incident_is_lost_and_none_doubled", "test_without_kills_nothing_is_told_twice"),
    ),
    "inbox": _mirrored(
        "incidents/inbox",
        "incidents/test_inbox_at_borders.py",
        slow_tests=("test_of_ten_thousand_histories_none_loses_or_doubles_a_request", "test_real_writers_race_on_a_real_store"),
    ),
    "ledger": _mirrored(
        "lineage/ledger",
        slow_tests=("test_any_history_is_sound", "test_every_edit_loss_or_swap_is_found", "test_a_cut_end_shows_against_what_was_noted"),
    ),
    "request": _mirrored("serving/request"),
    "tensors": _mirrored("serving/tensors"),
    "calibration": _mirrored("training/calibration"),
    "readers": _of_readers("values"),
    "readers.columns": _of_readers("columns"),
    "readers.encodings": _of_readers("encodings"),
    "readers.packing": _of_readers("packing"),
    "freezes": _mirrored("lineage/freezes"),
    "overlap": _mirrored("sources/overlap"),
    "cursors": _mirrored("sources/cursors"),
    "assignment": _mirrored("serving/assignment"),
    "experiment": _mirrored("serving/experiment", slow_tests=("test_arms_that_are_alike_rarely_have_a_winner",)),
    "waiting": _mirrored("monitoring/waiting"),
    "experiment_units": Module(PACKAGE / "stages/_experiment_units.py", (TESTS / "stages/test_experiment_units.py",)),
    "release_plan": Module(PACKAGE / "stages/_release_plan.py", (TESTS / "stages/test_release_plan.py",)),
}
