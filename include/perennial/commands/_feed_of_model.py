"""The label feed of a model that a person asks for: which dataset it is, how its labels join the rows, and the rows with them.

>>> from perennial.commands._feed_of_model import label_spec
>>> from perennial.specs import Column, DatasetSpec
>>> patient, malignant = Column(name="patient", type="string"), Column(name="malignant", type="bool")
>>> seen, reported = Column(name="seen", type="timestamp"), Column(name="reported", type="timestamp")
>>> rows = DatasetSpec(name="biopsies", title="B", owner="o", key=("patient",), event_time="seen", columns=(patient, seen))
>>> feed = DatasetSpec(
...     name="verdicts", title="V", owner="o", key=("patient", "reported"), event_time="reported", columns=(patient, malignant, reported)
... )
>>> label_spec(rows, feed, "malignant")
LabelSpec(dataset='verdicts', key=('patient',), columns=('malignant',), known_at='reported')
"""

from __future__ import annotations

from dataclasses import replace

from perennial import discovery
from perennial.commands._sample import Sample, rows_of_table
from perennial.errors import UnknownName
from perennial.specs import DatasetSpec, GateSpec, LabelSpec, ModelSpec
from perennial.store import Store


def label_spec(dataset: DatasetSpec, feed: DatasetSpec, label: str) -> LabelSpec:
    """How labels of the feed join the rows of the dataset. Raises UnknownName where they cannot."""
    if label not in (names := [column.name for column in feed.columns]):
        raise UnknownName(f"The label feed {feed.name} has no column {label}: choose the label among {', '.join(names)}.")
    if not feed.event_time:
        raise UnknownName(
            f"The label feed {feed.name} has no event time, which says when a label became known: write event_time=... into its spec."
        )
    if label == feed.event_time or label in feed.key:
        raise UnknownName(f"{label} says which label it is, or when it became known (key and event time of {feed.name}): choose another.")
    key = tuple(name for name in feed.key or dataset.key if name in names and name != feed.event_time)
    if not key:
        raise UnknownName(
            f"The label feed {feed.name} has no column that names a row of {dataset.name} ({', '.join(dataset.key) or 'no key'}): its key "
            f"must be columns that both have, and {feed.event_time}."
        )
    labels = LabelSpec(dataset=feed.name, key=key, columns=(label,), known_at=feed.event_time)
    gate = GateSpec(floors={})
    asked = ModelSpec.model_construct(
        name="asked", title="", owner="", dataset=dataset.name, task="binary", label=label, labels=labels, inputs=(), gate=gate
    )  # not checked: it has no inputs yet
    if wrong := asked.misfit(dataset, feed):
        raise UnknownName(f"Labels of {feed.name} cannot be those of a model of {dataset.name}: {wrong[1]}.")
    return labels


def feeds_with(dataset: DatasetSpec, label: str) -> list[str]:
    """Names of the datasets that can be a label feed of the dataset, for that label."""
    fitting = []
    for name, other in discovery.datasets().items():
        if name == dataset.name:
            continue
        try:
            label_spec(dataset, other, label)
        except UnknownName:
            continue
        fitting.append(name)
    return fitting


def labelled(store: Store, sample: Sample, labels: LabelSpec, feed: DatasetSpec) -> tuple[Sample, str]:
    """A sample with the newest label of each of its rows, and a line on how many have one.

    Raises:
        UnknownName: the feed has no rows yet, or none for these rows.
    """
    known = rows_of_table(store, feed)
    if known is None:
        raise UnknownName(
            f"The label feed {feed.name} has no rows yet, and classes and floor are read from them: ingest some first "
            f"(perennial land FILE --dataset {feed.name})."
        )
    key = list(labels.key)
    newest = known.rows.sort_values(labels.known_at, kind="stable").drop_duplicates(key, keep="last")[[*key, *labels.columns]]
    own = [name for name in labels.columns if name in sample.rows.columns]
    rows = sample.rows.drop(columns=own).merge(newest, "left", on=key)
    label = labels.columns[0]
    count = int(rows[label].notna().sum())
    if not count:
        raise UnknownName(
            f"No row of {sample.path} has a label in {known.path}: look whether {', '.join(key)} {'is' if len(key) == 1 else 'are'} "
            f"written alike in {feed.name}."
        )
    columns = (*(column for column in sample.columns if column.name not in own), feed.column(label))
    how = f"by {', '.join(key)}, known at {labels.known_at}"
    told = f"labels: of {feed.name}, {how}: {count:,} of {len(rows):,} rows of {sample.path} have one"
    return replace(sample, rows=rows, columns=columns), told
