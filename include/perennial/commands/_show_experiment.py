"""One experiment, in lines: what it is to show, what both versions have shown, and how it ended."""

from __future__ import annotations

from perennial.store import Store
from perennial.views.experiment import Arm, ExperimentView, experiment_view


def show(store: Store, name: str) -> tuple[ExperimentView, list[str]]:
    """The page of an experiment as text.

    Raises:
        UnknownName: there is no such model.
    """
    view = experiment_view(store, name)
    if view.plan is None:
        return view, [view.sentence, *view.damage]
    plan, look = view.plan, view.looks[-1]
    lines = [
        f"{name}: experiment of version {plan.tried} with the champion, version {plan.champion}: {view.state}. {view.sentence}",
        f"Compared: {plan.words}, by {plan.unit}; least difference {plan.least:g}, power {plan.power:g}, alpha {plan.alpha:g}.",
        *view.damage,
        "Versions:",
        *(f"  {_arm(arm)}" for arm in view.arms),
    ]
    if look.low is not None and look.high is not None and look.difference is not None:
        lines.append(f"Difference: {look.difference:+.4g} (from {look.low:+.4g} to {look.high:+.4g}), at all looks together.")
    if look.planned is not None:
        lines.append(f"Planned: {look.planned:,} units, of {look.champion_units + look.tried_units:,} so far.")
    lines += [sentence for sentence in (view.split, *view.left_out) if sentence]
    lines += [
        "Experiments, newest first:",
        *(f"  {one.began_at:%Y-%m-%d %H:%M}, version {one.tried} with {one.champion}: {one.end}" for one in view.past),
    ]
    return view, lines


def _arm(arm: Arm) -> str:
    mean = "" if arm.mean is None else f", mean {arm.mean:.4g}"
    return f"{arm.role} {arm.version}: {arm.came:,} units came, {arm.units:,} have a value{mean}"
