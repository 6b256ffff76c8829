"""What came of a trial, as lines for a person."""

from __future__ import annotations

from perennial.commands._trial import Trial
from perennial.counted import counted
from perennial.specs import HIGHER_IS_BETTER

MOST_WARNINGS = 3
_SHOWN = {
    "regression": ("rmse", "mae"),
    "binary": ("log_loss", "roc_auc", "accuracy", "precision", "recall"),
    "multiclass": ("log_loss", "roc_auc", "accuracy", "f1"),
}
_FEW_ROWS, _RARE, _MANY_NULLS = 200, 0.02, 0.5


def result_lines(trial: Trial) -> list[str]:
    """The result: what was read and chosen, figures beside the simplest rule's, the strongest warnings, some scored rows."""
    model = trial.model
    what = "a number" if model.task == "regression" else f"one of {len(model.classes)} classes"
    warned = [*(f"Warning: {line}." for line in warnings(trial)), ""]
    return [
        f"{trial.dataset.name}: {counted(len(trial.sample.rows), 'row')}, {counted(len(trial.sample.columns), 'column')}; "
        f"{model.label} is predicted, {what} ({model.task}), from {counted(len(model.inputs), 'column')}.",
        "",
        f"Taken in: {trial.taken}",
        "",
        "Chosen:",
        *(f"  {line}" for line in trial.chosen),
        "",
        *_figures(trial),
        "",
        *(warned if len(warned) > 1 else []),
        "Test rows, scored as serving does:",
        *_scored(trial),
    ]


def warnings(trial: Trial) -> list[str]:
    """The strongest reasons not to trust the figures, at most three."""
    model, rows = trial.model, trial.sample.rows
    test = trial.test
    metric = model.gate.metric
    value, rule = test["candidate"]["metrics"][metric], test["rule"]["metrics"][metric]
    best_case = test["candidate"]["intervals"][metric][1]
    lines = []
    if value >= rule:
        lines.append(f"the model is no better than the simplest rule ({metric.replace('_', ' ')} {figure(value)} against {figure(rule)})")
    elif best_case >= rule:
        lines.append(f"that the model beats the simplest rule may be chance: the interval of {metric.replace('_', ' ')} reaches beyond it")
    lines += [line.removeprefix("left out: ") for line in trial.chosen if line.startswith("left out: ") and ": suspicious" in line]
    unknown = int(rows[model.label].isna().sum())
    if unknown:
        lines.append(f"{model.label} is missing in {unknown:,} of {len(rows):,} rows, which train and test nothing")
    if model.task != "regression":
        shares = rows[model.label].value_counts(normalize=True)
        if shares.iloc[-1] < _RARE:
            rare = f"{model.label} is {shares.index[-1]} in {100 * shares.iloc[-1]:.2g} % of the rows only"
            lines.append(f"{rare}: look at recall, not at accuracy")
    if test["rows"] < _FEW_ROWS:
        line = "test_share" if model.split.by != "time" else "test_days"
        lines.append(
            f"there are {test['rows']} test rows only, so that the figures are rough: for more write split=SplitSpec({line}=…) into spec.py"
        )
    if model.split.by == "random":
        lines.append("rows were split at random: if later rows differ from earlier ones, the figures are too good")
    gaps = [name for name in model.inputs if rows[name].isna().mean() > _MANY_NULLS]
    if gaps:
        lines.append(f"{', '.join(gaps)} {'has' if len(gaps) == 1 else 'have'} no value in most rows")
    return lines[:MOST_WARNINGS]


def _figures(trial: Trial) -> list[str]:
    """The table of metrics: the model with its interval, the simplest rule beside it."""
    test = trial.test
    candidate = test["candidate"]
    table = [(f"On {test['rows']:,} test rows", "model", "95 % interval", "simplest rule")]
    for name in _SHOWN[trial.model.task]:
        if name not in candidate["metrics"]:
            continue
        low, high = candidate["intervals"][name]
        direction = "higher" if name in HIGHER_IS_BETTER else "lower"
        label = f"{name.replace('_', ' ')} ({direction} is better)"
        rule = test["rule"]["metrics"].get(name)
        shown = "" if rule is None else figure(rule)
        table.append((label, figure(candidate["metrics"][name]), f"{figure(low)} to {figure(high)}", shown))
    wide = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return [f"{a:<{wide[0]}} | {b:>{wide[1]}} | {c:<{wide[2]}} | {d:>{wide[3]}}" for a, b, c, d in table]


def figure(value: float) -> str:
    """A number in four digits, as people write it.

    >>> figure(78400.123), figure(0.12345), figure(12.3456), figure(2.5e-7), figure(0.0)
    ('78,400', '0.1235', '12.35', '2.5e-07', '0')
    """
    if 1000 <= abs(value) < 1e15:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.4g}"


def _scored(trial: Trial) -> list[str]:
    lines = []
    for outcome, scores in zip(trial.outcomes, trial.scores.tolist(), strict=True):
        if trial.model.task == "regression":
            lines.append(f"  predicted {scores[0]:,.6g}, was {outcome}")
        else:
            best = max(range(len(scores)), key=scores.__getitem__)
            lines.append(f"  {trial.model.classes[best]} with probability {scores[best]:.2f}, was {outcome}")
    return lines
