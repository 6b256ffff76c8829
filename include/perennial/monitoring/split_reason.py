"""Which requests one of two versions gets too few of: the value of an input, or the hour, whose share differs most between them.

>>> rows = {"model_version": [1] * 900 + [2] * 100, "input_site": ["a"] * 450 + ["b"] * 450 + ["a"] * 100}
>>> import pyarrow as pa
>>> reason(pa.table(rows), candidate=2, champion=1)
'Most of it is where site is b: 0 of 100 logged answers of the candidate, 450 of 900 of the champion.'
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perennial.served_tables import INPUT

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUES = 50  # a column with more different values tells nobody which requests they are
CERTAIN = 4.0  # standard deviations; more where many values are compared
UNKNOWN = "No input and no hour of the logged answers tells which requests they are."


def reason(answers: pa.Table, *, candidate: int, champion: int) -> str:
    """A sentence on the value whose share of the logged answers differs most between both versions.

    Args:
        answers: logged predictions: `model_version`, inputs, and `served_at` if there is one.
        candidate: the version that wants traffic.
        champion: the other one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    totals = {version: pc.sum(pc.equal(answers["model_version"], version)).as_py() or 0 for version in (candidate, champion)}
    if not all(totals.values()):
        return UNKNOWN
    columns = {name.removeprefix(INPUT): answers[name] for name in answers.column_names if name.startswith(INPUT)}
    if "served_at" in answers.column_names:
        columns["the hour (UTC)"] = pc.hour(answers["served_at"])
    found, compared = [], 0
    for name, values in columns.items():
        if not (pa.types.is_string(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type)):
            continue
        counted = (
            pa.table({"value": values, "version": answers["model_version"]}).group_by(["value", "version"]).aggregate([([], "count_all")])
        )
        counts = dict[object, dict[int, int]]()
        for row in counted.to_pylist():
            counts.setdefault(row["value"], {})[row["version"]] = row["count_all"]
        if len(counts) > MOST_VALUES:
            continue
        compared += len(counts)
        for value, of in counts.items():
            ours, theirs = of.get(candidate, 0), of.get(champion, 0)
            found.append((_distance(ours, totals[candidate], theirs, totals[champion]), name, value, ours, theirs))
    distance, name, value, ours, theirs = max(found, key=lambda one: (round(one[0], 6), one[1], str(one[2])), default=(0.0, "", "", 0, 0))
    if distance < CERTAIN + math.log10(max(1, compared)):
        return UNKNOWN
    said = "missing" if value is None else str(value)
    return (
        f"Most of it is where {name} is {said}: {ours:,} of {totals[candidate]:,} logged answers of the candidate, "
        f"{theirs:,} of {totals[champion]:,} of the champion."
    )


def _distance(ours: int, of_ours: int, theirs: int, of_theirs: int) -> float:
    """Difference of two shares in standard deviations, as if both were one."""
    pooled = (ours + theirs) / (of_ours + of_theirs)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / of_ours + 1 / of_theirs))
    return abs(ours / of_ours - theirs / of_theirs) / spread if spread else 0.0
