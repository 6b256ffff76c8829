"""What MLflow's pages show of a training beside its figures: the data that went in, where the code is, what a version reads and answers.

>>> columns = (ColumnShown("distance", "int"), ColumnShown("temp", "float", required=False))
>>> DatasetUsed("flights", "a" * 64, "s3://store/tables/flights", 12, columns, rows=31_000).as_input()["dataset"]["digest"]
'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIGEST = 36  # signs that MLflow keeps of a dataset's digest
ROWS = 5  # of an input example
TYPES = {"int": "long", "float": "double", "bool": "boolean", "timestamp": "datetime", "date": "datetime", "image": "binary"}


@dataclass(frozen=True)
class ColumnShown:
    """A column of a dataset, an input or an answer."""

    name: str
    type: str  # as in a spec
    of: str = ""  # of the elements of a list or an array
    required: bool = True

    def as_json(self) -> dict[str, Any]:
        """The column as MLflow's schemas have it."""
        if self.type in ("list", "array"):
            kind: dict[str, Any] = {"type": "array", "items": {"type": TYPES.get(self.of, "string")}}
        else:
            kind = {"type": TYPES.get(self.type, "string")}
        return {**kind, "name": self.name, "required": self.required}


@dataclass(frozen=True)
class DatasetUsed:
    """A snapshot that a training read."""

    name: str
    digest: str  # identity of the snapshot's content
    address: str  # of the table
    snapshot: int  # version of the table
    columns: tuple[ColumnShown, ...]
    context: str = "training"
    rows: int | None = None  # that went into the training

    def as_input(self) -> dict[str, Any]:
        """The snapshot as an input of a run."""
        return {
            "tags": [{"key": "mlflow.data.context", "value": self.context}],
            "dataset": {
                "name": self.name,
                "digest": self.digest.rpartition(":")[2][:DIGEST],
                "source_type": "delta_table",
                "source": json.dumps({"path": self.address, "delta_table_version": self.snapshot}),
                "schema": json.dumps({"mlflow_colspec": [column.as_json() for column in self.columns]}),
                "profile": json.dumps({} if self.rows is None else {"num_rows": self.rows}),
            },
        }


@dataclass(frozen=True)
class RunFacts:
    """What is shown of one training."""

    datasets: tuple[DatasetUsed, ...] = ()
    source: str = ""  # where its code is
    commit: str = ""  # of the source tree
    parameters: Mapping[str, str] = field(default_factory=dict)  # beside those of the manifest: what two trainings may differ in
    inputs: tuple[ColumnShown, ...] = ()  # what a request sends
    outputs: tuple[ColumnShown, ...] = ()  # what an answer has
    example: Sequence[Mapping[str, Any]] = ()  # rows that a request may send

    @property
    def tags(self) -> dict[str, str]:
        """The tags that MLflow's pages read as source and version of the code."""
        tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": self.source, "mlflow.source.git.commit": self.commit}
        return {name: value for name, value in tags.items() if value} if self.source else {}

    def model_files(self, run_id: str, digest: str, created: str) -> dict[str, bytes]:
        """The files by which MLflow shows what a version reads and answers, which stays in the store; none if that is not known.

        Args:
            run_id: of the training.
            digest: content address of the version folder.
            created: when it was sealed.
        """
        if not self.inputs:
            return {}
        signature = {"inputs": _schema(self.inputs), "outputs": _schema(self.outputs), "params": None}
        described: dict[str, Any] = {
            "artifact_path": "model",
            "run_id": run_id,
            "model_uuid": digest[:32],
            "utc_time_created": created,
            "flavors": {"perennial": {"digest": digest}},
            "signature": signature,
        }
        files = {}
        if self.example:
            names = [column.name for column in self.inputs]
            rows = [[row.get(name) for name in names] for row in self.example[:ROWS]]
            files["model/input_example.json"] = json.dumps({"columns": names, "data": rows}).encode()
            described["saved_input_example_info"] = {
                "artifact_path": "input_example.json",
                "type": "dataframe",
                "pandas_orient": "split",
            }
        return {**files, "model/MLmodel": json.dumps(described, indent=1).encode()}  # JSON is YAML too


def _schema(columns: Sequence[ColumnShown]) -> str:
    return json.dumps([column.as_json() for column in columns])
