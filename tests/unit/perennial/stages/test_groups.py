"""Groups that a dataset's spec names: in a batch, in what a training would use, and in an evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pandas
import pyarrow as pa
import pytest

from perennial.data.snapshots import table_of
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.profiles.store import ProfileStore
from perennial.quality.groups import MISSING, counts_of
from perennial.quality.validation import validate, validate_snapshot
from perennial.specs import DatasetSpec, GroupSpec
from perennial.stages._groups import groups_of_snapshot, usual_groups
from perennial.store import FolderStore
from perennial.training.group_section import sections
from perennial_datasets.flights import DATASET

from .test_evaluate_page import HOSTILE, model

January = Callable[[int, int], pa.Table]
GROUPED = DATASET.model_copy(update={"groups": (GroupSpec(column="origin", severity="critical"), GroupSpec(column="engines"))})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, january: January) -> FolderStore:
    """Six days of January, a batch each, without profiles."""
    store = FolderStore(str(tmp_path_factory.mktemp("groups") / "store"))
    for day in range(2, 8):
        digest = hashlib.sha256(str(day).encode()).hexdigest()
        table_of(store, DATASET).append(
            january(day, day), digest, label=f"{day} ({digest[:12]})", key=DATASET.key, event_time=DATASET.event_time
        )
    return store


def test_what_is_usual_is_the_same_from_profiles_and_from_rows(filled: FolderStore, january: January) -> None:
    """DM-10: A column of words and one of few whole numbers with gaps; by batch."""
    usual = usual_groups(filled, GROUPED)
    rows = pa.concat_tables([january(day, day) for day in range(2, 8)])
    assert usual["origin"].rows == counts_of(rows["origin"].to_pylist())
    assert usual["engines"].rows[MISSING] == rows["engines"].null_count
    kept, layout = ProfileStore(filled, "flights"), fit_layout(rows, ["origin", "engines"])
    kept.keep_layout(layout)
    for day in range(2, 8):
        kept.write(hashlib.sha256(str(day).encode()).hexdigest(), profile(january(day, day), layout, day="scheduled_departure"))
    profiled = usual_groups(filled, GROUPED)
    for column, counts in usual.items():
        assert profiled[column].rows == counts.rows
        assert sorted(map(str, (dict(sorted(b.items())) for b in profiled[column].by_batch))) == sorted(
            map(str, (dict(sorted(b.items())) for b in counts.by_batch))
        )
    assert usual_groups(filled, DATASET) == {}


def test_a_batch_without_one_of_the_groups_is_refused(filled: FolderStore, january: January) -> None:
    """DM-10: The suite's verdict has the group's sentence, its page the table of groups; a usual day passes, and so does a snapshot."""
    usual = usual_groups(filled, GROUPED)
    whole = january(8, 8).to_pandas()
    day = whole[whole["origin"] != "LGA"]
    verdict = validate(day, GROUPED, "day.csv", store=filled, usual=usual)
    said = [f.sentence for f in verdict.failures if f.expectation == "groups_are_represented"]
    assert not verdict.passed
    assert (
        f"origin has no row of LGA, of which about {round(usual['origin'].rows['LGA'] / sum(usual['origin'].rows.values()) * len(day))}"
        in said[0]
    )
    assert "<h3>origin</h3>" in filled.read(verdict.report_key).decode()
    of_groups = [f for f in validate(whole, GROUPED, "day.csv", usual=usual).failures if f.expectation == "groups_are_represented"]
    assert not [f for f in of_groups if f.column == "origin"]
    snapshot = validate_snapshot(day, GROUPED, "snapshot 3", usual=usual)
    assert [f.sentence for f in snapshot.failures if f.expectation == "groups_are_represented"] == said


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (("nowhere",), "which is no column"),
        (("temp",), "which is of type float"),
        ((GroupSpec(column="scheduled_departure"),), "timestamp"),
    ],
)
def test_only_columns_of_few_values_have_groups(groups: tuple, said: str) -> None:
    """DM-10: The spec says what may be named; a name alone stands for the column."""
    with pytest.raises(ValueError, match=said):
        DatasetSpec.model_validate({**DATASET.model_dump(), "groups": groups})
    assert DatasetSpec.model_validate({**DATASET.model_dump(), "groups": ("origin",)}).groups == (GroupSpec(column="origin"),)


class _Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data + " "


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_an_evaluation_shows_labels_and_gaps_by_group(task: str) -> None:
    """DM-10, SC-01: Rows of each group in training and test, label rate with interval, gaps that differ; markup in a group is text."""
    spec = model(task)
    dataset = GROUPED.model_copy(
        update={"groups": (GroupSpec(column="origin"), GroupSpec(column="dest"), GroupSpec(column="gone")), "columns": DATASET.columns}
    )

    def rows(origins: list[str]) -> pandas.DataFrame:
        drawn = np.resize(origins, 300)
        return pandas.DataFrame({"origin": drawn, "dest": [str(i) for i in range(300)], "temp": np.where(drawn == "JFK", np.nan, 1.0)})

    parts = {"train": rows(["EWR", "JFK", HOSTILE]), "test": rows(["EWR", "JFK"])}
    labels = {part: (frame["origin"] == "EWR").to_numpy().astype(float) for part, frame in parts.items()}
    origin, dest = json.loads(json.dumps(groups_of_snapshot(spec, dataset, parts["train"], parts["test"], labels), allow_nan=False))
    assert dest == {"column": "dest", "too_many": 300}
    assert {line["group"]: line["state"] for line in origin["shares"]} == {HOSTILE: "vanished", "EWR": "more", "JFK": "more"}
    rates = {line["group"]: line["rates"] for line in origin["labels"]["groups"]}
    assert (rates["EWR"][0][0], rates["JFK"][0][0]) == ((0.0, 1.0) if task == "multiclass" else (1.0, 0.0))
    assert [(gap["column"], gap["most"], gap["most_share"]) for gap in origin["gaps"]] == [("temp", "JFK", 1.0)]
    page = _Text("".join(sections([origin, dest])))
    assert f"{HOSTILE}" in page.text
    assert "b" not in page.tags
    assert task == "regression" or "differs from the others" in page.text  # values without scatter are not tested
    assert "not in the test rows" in page.text
    assert "300 different values are too many to be groups" in page.text
