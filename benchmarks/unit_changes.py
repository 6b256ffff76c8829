"""How often a change of unit is named, and how often one is named that is none: `python benchmarks/unit_changes.py [--trials 100]`.

Flights of 2013 with the columns and meanings of the dataset `flights`. In every trial whole days are drawn at random for the
reference and for a window. Nulls: nothing is changed, and every numeric column is diagnosed; then columns are changed in ways that
are no unit: more digits, a tenth more, a shift, unknown values. Then a share of a column's rows in the window comes in another unit,
rounded as its feed would. Printed: what was named in the nulls, and for each change the share of windows in which the right unit
was named, or another one, by the share of the rows, with the share that was told.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa

from perennial import discovery
from perennial.monitoring.units import UNITS, UnitChange, diagnose, units_of
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import Profile, profile

SHARES = (0.05, 0.2, 0.5, 1.0)
CHANGES = (
    ("distance", "km", 0),
    ("temp", "°C", 1),
    ("wind_speed", "m/s", 1),
    ("visib", "km", 1),
    ("pressure", "inches of mercury", 2),
    ("scheduled_minutes", "hours", 2),
)  # column, its new unit, digits that are left


OTHERWISE: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "more digits": lambda x, rng: x + rng.uniform(-0.05, 0.05, len(x)),
    "a tenth more": lambda x, rng: np.round(1.1 * x, 1),
    "three more": lambda x, rng: x + 3,
    "unknown values": lambda x, rng: rng.choice(np.linspace(np.nanmin(x), np.nanmax(x), 41) + 0.07, len(x)),
}


def main() -> None:
    """Draw the windows, print nulls and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--reference-days", type=int, default=90)
    parser.add_argument("--window-days", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    spec = discovery.dataset("flights")
    columns = [c.name for c in spec.columns if c.type in ("int", "float") and c.name != "flight"]
    landed = discovery.dataset_module("flights").land(date(2013, 1, 1), date(2013, 12, 31))
    days = [rows.select(columns) for _, rows in landed]
    rows, day = pa.concat_tables(days), np.repeat(np.arange(len(days)), [d.num_rows for d in days])
    layout = fit_layout(rows, joint=())
    whole = profile(rows, layout, blocks=day)
    drawn = [np.random.default_rng([options.seed, t]).permutation(len(days)) for t in range(options.trials)]
    sides = [(np.sort(order[: options.reference_days]), order[options.reference_days :][: options.window_days]) for order in drawn]

    def some(of: Profile, chosen: np.ndarray) -> Profile:
        return Profile(of.layout, {i: of.blocks[i] for i in chosen.tolist()})

    def told(name: str, changed: np.ndarray | None = None) -> list[UnitChange | None]:
        """What is said of a column in every trial, after all its rows in the window came changed."""
        base = whole.only([name])
        after = base
        if changed is not None:
            after = profile(pa.table({name: pa.array(changed, from_pandas=True)}), base.layout, blocks=day)
        return [diagnose(some(base, first), some(after, second), name, spec.column(name).meaning) for first, second in sides]

    for name in columns:
        for change in filter(None, told(name)):
            print(f"Named without any change: {change.sentence}")
    print(f"No change: {len(columns)} columns in {options.trials} windows of {options.window_days} days", flush=True)
    for kind, otherwise in OTHERWISE.items():
        found = []
        for name in ("distance", "temp", "wind_speed", "visib", "pressure", "scheduled_minutes"):
            rng, values = np.random.default_rng(options.seed), rows[name].cast(pa.float64()).to_numpy()
            for share in SHARES:
                changed = np.where(rng.random(len(values)) < share, otherwise(values, rng), values)
                found += [f"{share * 100:g} % {c.sentence}" for c in told(name, changed) if c is not None]
        print(f"{kind}: {len(found)} named in {6 * len(SHARES) * options.trials} windows {found[:3]}", flush=True)

    print("\n| change | " + " | ".join(f"{share * 100:g} % of rows" for share in SHARES) + " |")
    print("| --- |" + " --- |" * len(SHARES))
    for name, new, digits in CHANGES:
        unit = next(u for u in UNITS if u.new == new and u.old in units_of(spec.column(name).meaning))
        values = rows[name].cast(pa.float64()).to_numpy()
        cells = []
        for share in SHARES:
            chosen = np.random.default_rng([options.seed, int(share * 100)]).random(len(values)) < share
            changed = np.where(chosen, np.round(values * unit.factor + unit.offset, digits), values)
            said = told(name, changed)
            right = [change for change in said if change is not None and change.unit == unit]
            wrong = sum(change is not None for change in said) - len(right)
            shares = f", told {np.mean([c.share for c in right]):.2f}" if right else ""
            cells.append(f"{len(right) / len(said):.2f}{shares}{f', wrong {wrong / len(said):.2f}' if wrong else ''}")
        print(f"| `{name}` {unit.old} → {unit.new} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
