"""What stands in for a version: a constant, a rule, and how the gateway comes to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perennial.local.metrics_server import of_fallback
from perennial.serving import envoy
from perennial.serving.backends.local import _fallback_wanted
from perennial.serving.fallback import FallbackScorer, rule_of
from perennial.serving.open_inference import OpenInferenceForm
from perennial.serving.route import Route
from perennial.serving.scorer import ScoringFailed
from perennial.serving.wire_form import Scored, SeldonForm
from perennial.specs import GateSpec, ModelSpec, ServingSpec
from perennial.testing import small_model, small_version

COLUMNS = {"carrier": np.array(["AA", "UA"])}
DIGESTS = {1: "a" * 64, 2: "b" * 64, 3: "c" * 64}
SCORES = {"late": 0.2, "on_time": 0.8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version whose graph is gone: a fallback needs none."""
    made = small_version(tmp_path / "version")
    (made / "model.onnx").unlink()
    return made


def test_a_constant_answers_every_row_in_the_order_of_the_names(folder: Path) -> None:
    """SC-07: By the names of the version, whatever the order in the spec."""
    scorer = FallbackScorer(folder, SCORES)
    assert (scorer.names, scorer.score(COLUMNS).tolist()) == (["on_time", "late"], [[0.8, 0.2], [0.8, 0.2]])
    assert scorer.replay() is None


def test_arule_of_answers_by_the_columns(folder: Path, tmp_path: Path) -> None:
    """SC-07: The function `scores` of a file: columns in, a row of scores for each out."""
    file = tmp_path / "fallback.py"
    file.write_text(
        "import numpy as np\n\n\ndef scores(columns):\n    aa = columns['carrier'] == 'AA'\n    return np.stack([1 - aa, aa], axis=1)\n"
    )
    assert FallbackScorer(folder, rule_of(file)).score(COLUMNS).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def scores(columns):\n    return [[0.5]]\n", r"fallback.py gave no finite numbers of shape \[2, 2\]"),
        ("def scores(columns):\n    return [[0.5, float('nan')]] * 2\n", "no finite numbers"),
        ("def scores(columns):\n    return 1 / 0\n", "fallback.py failed on this request: ZeroDivisionError"),
        ("import sys\ndef scores(columns):\n    sys.exit(1)\n", "fallback.py failed on this request: SystemExit"),
        ("import sys\nsys.exit(1)\n", "fallback.py failed on this request: SystemExit"),
        ("nothing = 1\n", "fallback.py failed on this request: AttributeError"),
        ("def scores(:\n", "fallback.py failed on this request: SyntaxError"),
    ],
)
def test_arule_of_that_cannot_answer_says_so(folder: Path, tmp_path: Path, source: str, words: str) -> None:
    """SC-07: The request fails with a sentence, as a version's would; the fallback itself comes up."""
    file = tmp_path / "fallback.py"
    file.write_text(source)
    with pytest.raises(ScoringFailed, match=words):
        FallbackScorer(folder, rule_of(file)).score(COLUMNS)


def test_arule_of_of_a_regression_may_give_a_flat_list(folder: Path) -> None:
    """SC-07: One value for each row."""
    signature = json.loads((folder / "signature.json").read_text())
    (folder / "signature.json").write_text(json.dumps({**signature, "task": "regression", "classes": []}))
    assert FallbackScorer(folder, lambda columns: [1, 2]).score(COLUMNS).tolist() == [[1], [2]]
    (folder / "signature.json").write_text("{")
    with pytest.raises(ScoringFailed, match="signature of version cannot be read"):
        FallbackScorer(folder, SCORES)


def limited(**serving: Any) -> ModelSpec:
    """The small model served so."""
    return small_model(**serving)


def test_which_fallback_is_wanted() -> None:
    """SC-07: None unless the spec says so; the last good version where one is warm; a program of its own else, for the champion's form."""
    route = Route({1: 0, 2: 10_000}, None, DIGESTS, champion=2)
    assert _fallback_wanted(limited(), route) is None
    assert _fallback_wanted(limited(fallback="last_good"), route) == {
        "kind": "last_good", "version": 1, "digest": DIGESTS[1], "scores": "", "rule": "",
    }  # fmt: skip
    assert _fallback_wanted(limited(fallback="last_good"), Route({2: 10_000}, None, DIGESTS, champion=2)) is None
    constant = _fallback_wanted(limited(fallback="constant", fallback_scores=SCORES), route)
    assert constant is not None
    assert (json.loads(constant["scores"]), constant["rule"], constant["version"], constant["digest"]) == (SCORES, "", 2, DIGESTS[2])
    rule = _fallback_wanted(limited(fallback="rule"), route)
    assert rule is not None
    assert (rule["scores"], rule["rule"].endswith("small_delays/fallback.py")) == ("", True)


def served(route: Route, fallback: bool) -> envoy.Served:
    """The small model as the gateway sees it."""
    sockets = {version: Path(f"/run/{version}") for version in route.versions}
    return envoy.Served("m", "/m/", 6, sockets, route, fallback=Path("/run/f") if fallback else None)


def test_the_gateway_asks_the_fallback_last() -> None:
    """SC-07: After the version and its stand-in; on an error of the server too, each with its share of the time, and however many."""
    alone, both = Route({1: 10_000}, None, DIGESTS), Route({1: 9_000, 2: 1_000}, None, DIGESTS)
    chains = {"m-v1-or-fallback": ["m-v1", "m-fallback"]}
    pairs = {
        "m-v1-then-v2-or-fallback": ["m-v1", "m-v2-aside", "m-fallback"],
        "m-v2-then-v1-or-fallback": ["m-v2", "m-v1-aside", "m-fallback"],
    }
    for route, wanted, seconds in ((alone, chains, "3s"), (both, pairs, "2s")):
        made = {cluster["name"]: cluster for cluster in envoy.clusters([served(route, True)])}
        asked = {name: made[name]["cluster_type"]["typed_config"]["clusters"] for name in wanted}
        assert asked == wanted
        assert made[next(iter(wanted))]["circuit_breakers"]["thresholds"][0]["retry_budget"]["budget_percent"] == {"value": 100}
        (policy,) = [
            one["route"]["retry_policy"]
            for one in envoy._model_routes(served(route, True))
            if "weighted_clusters" in one.get("route", {}) and one["match"].get("path") == "/m/"
        ]
        assert (policy["num_retries"], policy["per_try_timeout"]) == (len(next(iter(wanted.values()))) - 1, seconds)
        assert "5xx" in policy["retry_on"].split(",")
        assert "/run/f" in json.dumps(made["m-fallback"])


def test_requests_without_a_unit_have_the_fallback_too() -> None:
    """SC-07, SE-09: While an experiment is under way, who names no unit is answered by the fallback where both versions fail."""
    route = Route({1: 5_000, 2: 5_000}, None, DIGESTS, champion=1, salt="s")
    made = {cluster["name"]: cluster for cluster in envoy.clusters([served(route, True)])}
    name = "m-v1-without-unit-then-v2-or-fallback"
    assert made[name]["cluster_type"]["typed_config"]["clusters"] == ["m-v1-without-unit", "m-v2-aside", "m-fallback"]
    (way,) = [one["route"] for one in envoy._model_routes(served(route, True)) if one.get("route", {}).get("cluster") == name][:1]
    assert way["retry_policy"]["num_retries"] == 2
    assert "5xx" in way["retry_policy"]["retry_on"].split(",")


def test_without_a_fallback_nothing_changes_and_the_one_before_stays_until_traffic_moved() -> None:
    """SC-07: Routes of before name its clusters until the gateway has the new ones."""
    route = Route({1: 10_000}, None, DIGESTS)
    assert "fallback" not in json.dumps(envoy.clusters([served(route, False)]))
    names = {cluster["name"] for cluster in envoy.clusters([served(route, False)], {"m": served(route, True)})}
    assert {"m-fallback", "m-v1-or-fallback"} < names


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"fallback": "constant"}, 'fallback_scores belong to fallback="constant"'),
        ({"fallback_scores": SCORES}, 'fallback_scores belong to fallback="constant"'),
        ({"fallback": "constant", "fallback_scores": {"late": 1}}, "fallback_scores must name on_time, late and nothing else"),
        ({"fallback": "constant", "fallback_scores": {"on_time": 1, "late": 0.5}}, "fallback_scores add up to 1.5: those of classes"),
        ({"fallback": "constant", "fallback_scores": {"on_time": 2, "late": -1}}, "none below 0"),
    ],
)
def test_a_constant_must_name_every_score(serving: dict[str, Any], words: str) -> None:
    """SC-07: Said when the spec is read."""
    with pytest.raises(ValueError, match=words):
        limited(**serving)


def test_a_regression_has_a_value() -> None:
    """SC-07: And that alone."""
    spec = ModelSpec(
        name="m", title="M", owner="o", dataset="d", task="regression", inputs=("a",), label="b", gate=GateSpec(metric="rmse", floors={}),
        serving=ServingSpec(fallback="constant", fallback_scores={"value": 3}),
    )  # fmt: skip
    assert spec.serving.fallback_scores == {"value": 3}


def test_an_answer_that_stands_in_says_so_in_both_protocols() -> None:
    """SC-07: In the tags of Seldon's form and the parameters of the Open Inference Protocol; another answer has neither."""
    plain = Scored("m", 1, ["value"], "id", np.array([[1.0]]))
    marked = replace(plain, fallback="rule", ignored=("x",))
    assert json.loads(SeldonForm().write(marked))["meta"]["tags"] == {"model": "m", "version": 1, "ignored": ["x"], "fallback": "rule"}
    assert json.loads(OpenInferenceForm().write(marked))["parameters"] == {"ignored": "x", "fallback": "rule"}
    assert "fallback" not in json.loads(SeldonForm().write(plain))["meta"]["tags"]
    assert "parameters" not in json.loads(OpenInferenceForm().write(plain))


def test_of_a_fallback_its_own_figures_are_told() -> None:
    """SC-07: The others have the labels of the version that it stands in for."""
    own = 'perennial_fallback_answers_total{kind="constant"} 3.0'
    assert of_fallback(f"perennial_predictions_total 4.0\n{own}\n") == f"{own}\n"
    assert of_fallback(None) is None
