"""Generates the files of a new dataset from a sample of its rows: spec, suite and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perennial.commands._sample import Sample, lines_of_form
from perennial.commands._template import fill, listed, quoted, titled
from perennial.data.readers.proposals import declaration
from perennial.errors import UnknownName
from perennial.specs import DatasetSpec, FileForm


def dataset_files(name: str, sample: Sample | None, key: str | None, event_time: str | None) -> tuple[dict[Path, str], list[str]]:
    """The files of a new dataset, and a line for each thing that was decided. Raises UnknownName: something must be said."""
    if sample is None:
        raise UnknownName("Give a sample file, `--sample FILE` (CSV, JSON lines or Parquet): the columns are read from it.")
    times = [c.name for c in sample.columns if c.type == "timestamp"]
    if not (event_time or times):
        raise UnknownName(f"No column of {sample.path} is a time: say which one rows are ordered by with --event-time.")
    order = event_time or times[0]
    keys = key.split(",") if key else _key(sample, order)
    if not keys:
        raise UnknownName(f"No column of {sample.path} alone names a row: say which ones together do, --key a,b.")
    missing = [n for n in (*keys, order) if n not in sample.names]
    if missing:
        raise UnknownName(f"{sample.path} has no column {missing[0]}: its columns are {', '.join(sample.names)}.")
    title = titled(name)
    try:
        spec = DatasetSpec(
            name=name, title=title, owner="nobody yet", key=tuple(keys), event_time=order, columns=sample.columns, files=sample.files
        )
    except ValidationError as error:
        raise UnknownName(f"{sample.path} makes no dataset: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None
    values = {
        "name": name,
        "title": title,
        "owner": spec.owner,
        "key": listed(keys),
        "event_time": quoted(order),
        "files": f"\n    files={declaration(spec.files)}," if spec.files != FileForm() else "",
        "imports": "Column, DatasetSpec, FileForm" if spec.files != FileForm() else "Column, DatasetSpec",
        "columns": "\n".join(
            f'        Column(name={quoted(c.name)}, type="{c.type}"{", nullable=True" if c.nullable else ""}, meaning=""),'
            for c in spec.columns
        ),
    }
    files = {
        Path("include/perennial_datasets", f"{name}.py"): fill("dataset/dataset.py", values),
        Path("great_expectations/expectations", f"{name}.json"): json.dumps(_suite(name, keys), indent=2) + "\n",
        Path("tests/unit/perennial_datasets", f"test_{name}.py"): fill("dataset/test_dataset.py", values),
    }
    return files, _dataset_words(sample, spec, times, key, event_time)


def _key(sample: Sample, event_time: str) -> list[str]:
    """The first column of whole numbers or words that names each row, else any column that does."""
    unique = [c for c in sample.columns if c.name != event_time and sample.rows[c.name].is_unique and sample.rows[c.name].notna().all()]
    first = sorted(unique, key=lambda column: column.type not in ("int", "string"))
    return [first[0].name] if first else []


def _dataset_words(sample: Sample, spec: DatasetSpec, times: list[str], key: str | None, event_time: str | None) -> list[str]:
    """A line for each decision that the sample left open."""
    said = lines_of_form(sample)
    if key is None:
        said.append(
            f"key: {spec.key[0]}, which has {len(sample.rows):,} different values in {len(sample.rows):,} rows; --key says otherwise"
        )
    if event_time is None and len(times) > 1:
        said.append(f"event time: {spec.event_time}, the first of the times {', '.join(times)}; --event-time says otherwise")
    whole = [c.name for c in spec.columns if not c.nullable]
    said.append(f"not nullable, since the sample has no gap: {', '.join(whole)}; add nullable=True where later rows may lack a value")
    return said


def _suite(name: str, key: list[str]) -> dict[str, Any]:
    """The suite that any new dataset gets: expectations on its rows and its key.

    Ranges and sets are for its people to add; columns, types and nulls are the spec's.
    """

    def expect(kind: str, why: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
        return {"type": kind, "kwargs": kwargs, "severity": severity, "meta": {"why": why}}

    unique = (
        expect("expect_column_values_to_be_unique", "the key names a row", column=key[0])
        if len(key) == 1
        else expect("expect_compound_columns_to_be_unique", "the key names a row", column_list=key)
    )
    return {
        "name": name,
        "expectations": [
            expect("expect_table_row_count_to_be_between", "a file without rows is a mistake of its sender", min_value=1),
            unique,
        ],
    }
