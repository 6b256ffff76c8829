"""What other drift detectors say of pairs of tables, each at its own defaults. Run by `drift_detection.py`, in the peer's own environment:

    python drift_peers.py NAME FOLDER

FOLDER holds folders with `reference.parquet` and `window.parquet`. Prints one JSON object: folder -> rule -> whether it raised an alarm.
A rule is the library's own verdict on the whole table where it has one; where it judges columns only, "any column".
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

Verdicts = dict[str, bool]
ALPHA = 0.05
LARGEST_KERNEL = 1000  # rows of each side: a kernel matrix of all of them does not fit into memory


def numbers_of(table: pd.DataFrame) -> list[str]:
    """Names of the numeric columns."""
    return [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]


def codes(reference: pd.DataFrame, window: pd.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Categories as numbers, the same ones on both sides; missing is a category."""
    before, after = [], []
    for name in names:
        known = pd.factorize(pd.concat([reference[name], window[name]]).astype(object).fillna("missing"))[0]
        before.append(known[: len(reference)])
        after.append(known[len(reference) :])
    return np.array(before, dtype=float).T.reshape(len(reference), -1), np.array(after, dtype=float).T.reshape(len(window), -1)


def evidently(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Its preset: a method by type and size of the data; the dataset drifts if half of the columns do."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    result = Report([DataDriftPreset()]).run(window, reference).dict()
    share = next(m["value"]["share"] for m in result["metrics"] if "DriftedColumnsCount" in m["metric_name"])
    return {"Evidently, half of the columns": share >= 0.5, "Evidently, any column": share > 0}


def nannyml(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Univariate drift at its defaults (Jensen-Shannon), chunks of a size that gives ten of the reference; any alert."""
    import nannyml as nml

    names = list(reference.columns)
    numeric = set(numbers_of(reference))
    calculator = nml.UnivariateDriftCalculator(
        column_names=names,
        treat_as_categorical=[n for n in names if n not in numeric],
        chunk_size=max(min(len(reference) // 10, len(window)), 1),
    )
    calculator.fit(reference)
    found = calculator.calculate(window).filter(period="analysis").to_df()
    alerts = found.loc[:, [c for c in found.columns if c[-1] == "alert"]].astype(bool)
    return {"NannyML, any column": bool(alerts.to_numpy().any())}


def deepchecks(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Feature drift with its default condition (score below .2 for every column)."""
    from deepchecks.tabular import Dataset
    from deepchecks.tabular.checks import FeatureDrift

    numeric = set(numbers_of(reference))
    categories = [n for n in reference.columns if n not in numeric]
    check = FeatureDrift().add_condition_drift_score_less_than()
    result = check.run(Dataset(reference, cat_features=categories), Dataset(window, cat_features=categories))
    return {"deepchecks, any column": not all(c.is_pass() for c in result.conditions_results)}


def alibi_detect(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Kolmogorov-Smirnov and chi-square with Bonferroni, and the maximum mean discrepancy of the scaled numbers."""
    from alibi_detect.cd import MMDDrift, TabularDrift

    numeric = numbers_of(reference)
    categories = [n for n in reference.columns if n not in numeric]
    middle, spread = reference[numeric].median(), reference[numeric].std()
    filled = [table[numeric].fillna(middle).to_numpy(dtype=float) for table in (reference, window)]
    coded = codes(reference, window, categories)
    both = [np.column_stack([f, c]) for f, c in zip(filled, coded, strict=True)]
    every = {len(numeric) + i: list(range(int(max(c[:, i].max() for c in coded)) + 1)) for i in range(len(categories))}
    tabular = TabularDrift(both[0], p_val=ALPHA, categories_per_feature=every).predict(both[1])
    rng = np.random.default_rng(0)
    scaled = [(f - middle.to_numpy()) / np.maximum(spread.to_numpy(), 1e-9) for f in filled]
    some = [s[rng.choice(len(s), min(len(s), LARGEST_KERNEL), replace=False)].astype(np.float32) for s in scaled]
    kernel = MMDDrift(some[0], backend="pytorch", p_val=ALPHA).predict(some[1])
    return {"alibi-detect, KS and chi-square": bool(tabular["data"]["is_drift"]), "alibi-detect, MMD": bool(kernel["data"]["is_drift"])}


def whylogs(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Column drift of two profiles at its defaults (Kolmogorov-Smirnov or chi-square of the sketches); any column that it calls drift."""
    import whylogs as why
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    views = [why.log(table).view() for table in (reference, window)]
    scores = calculate_drift_scores(target_view=views[1], reference_view=views[0], with_thresholds=True)
    return {"whylogs, any column": any(s is not None and s.get("drift_category") == "DRIFT" for s in scores.values())}


def frouros(reference: pd.DataFrame, window: pd.DataFrame) -> Verdicts:
    """Kolmogorov-Smirnov test of each number and chi-square test of each category, with Bonferroni."""
    from frouros.detectors.data_drift import ChiSquareTest, KSTest

    p_values = []
    for name in reference.columns:
        before, after = reference[name].dropna().to_numpy(), window[name].dropna().to_numpy()
        if not len(before) or not len(after):
            continue
        detector = KSTest() if pd.api.types.is_numeric_dtype(reference[name]) else ChiSquareTest()
        detector.fit(X=before)
        p_values.append(detector.compare(X=after)[0].p_value)
    return {"frouros, KS and chi-square": min(p_values) < ALPHA / len(p_values)}


PEERS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Verdicts]] = {
    "evidently": evidently,
    "nannyml": nannyml,
    "deepchecks": deepchecks,
    "alibi-detect": alibi_detect,
    "whylogs": whylogs,
    "frouros": frouros,
}


def main() -> None:
    """Judge every pair."""
    warnings.filterwarnings("ignore")
    name, folder = sys.argv[1], Path(sys.argv[2])
    said = {}
    for pair in sorted(p for p in folder.iterdir() if p.is_dir()):
        said[pair.name] = {
            rule: bool(alarm)
            for rule, alarm in PEERS[name](pd.read_parquet(pair / "reference.parquet"), pd.read_parquet(pair / "window.parquet")).items()
        }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
