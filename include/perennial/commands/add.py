"""`perennial add dataset|model NAME`: writes the files of a new dataset or model; discovery does the rest.

A dataset is described after a sample file (`--sample`), a model after its dataset. What cannot be known from these is
asked for in one sentence. Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from perennial import discovery
from perennial.errors import EXIT_DONE, UnknownName
from perennial.settings import Settings
from perennial.specs import NAME, Column, ColumnType, DatasetSpec
from perennial.store import Store

PROJECT = Path(__file__).parents[3]
TEMPLATES = Path(__file__).parents[1] / "templates"
MOST_CLASSES = 50


def run(
    settings: Settings,
    store: Store,
    kind: str,
    name: str,
    dataset: str | None = None,
    sample: Path | None = None,
    key: str | None = None,
    event_time: str | None = None,
    label: str | None = None,
    task: str | None = None,
    project: Path = PROJECT,
) -> int:
    """Write the files and say what to edit next.

    Raises:
        UnknownName: the name is malformed or taken, or something that must be said was not.
    """
    if not NAME.fullmatch(name):
        raise UnknownName(f"{name!r} is not a name: use lower-case letters, digits and underscores, a letter first, at most 40.")
    files = _dataset_files(name, sample, key, event_time) if kind == "dataset" else _model_files(name, dataset, label, task, sample)
    taken = [path for path in files if (project / path).exists()]
    if taken:
        raise UnknownName(f"{taken[0]} exists already: choose another name than {name}, or edit that file.")
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
        print(f"wrote {path}")
    print(_next(kind, name))
    return EXIT_DONE


def _next(kind: str, name: str) -> str:
    if kind == "dataset":
        return f"Edit these, then land a file in landing/{name}/ of the store: the DAG {name}_ingestion is there."
    return f"Edit these; the DAGs {name}_training, _release, _monitoring and _rollback are there."


def _fill(template: str, values: Mapping[str, str]) -> str:
    return Template((TEMPLATES / f"{template}.tmpl").read_text()).substitute(values)


def _tuple(names: list[str]) -> str:
    return ", ".join(json.dumps(n, ensure_ascii=False) for n in names) + ("," if len(names) == 1 else "")


# -- a dataset -------------------------------------------------------------------------------------------------------


def _dataset_files(name: str, sample: Path | None, key: str | None, event_time: str | None) -> dict[Path, str]:
    if sample is None:
        raise UnknownName("Give a sample file, `--sample FILE` (CSV, JSON lines or Parquet): the columns are read from it.")
    rows = _read_sample(sample)
    columns = _columns(rows)
    names = [c.name for c in columns]
    event_time = event_time or next((c.name for c in columns if c.type == "timestamp"), None)
    if event_time is None:
        raise UnknownName(f"No column of {sample} is a time: say which one rows are ordered by with --event-time.")
    keys = key.split(",") if key else next(([n] for n in names if n != event_time and rows[n].is_unique and rows[n].notna().all()), [])
    if not keys:
        raise UnknownName(f"No column of {sample} alone names a row: say which ones together do, --key a,b.")
    missing = [n for n in (*keys, event_time) if n not in names]
    if missing:
        raise UnknownName(f"{sample} has no column {missing[0]}: its columns are {', '.join(names)}.")
    values = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "owner": "nobody yet",
        "key": _tuple(keys),
        "event_time": json.dumps(event_time, ensure_ascii=False),
        "columns": "\n".join(
            f'        Column(name={json.dumps(c.name, ensure_ascii=False)}, type="{c.type}"{", nullable=True" if c.nullable else ""}, meaning=""),'
            for c in columns
        ),
    }
    return {
        Path("include/perennial_datasets", f"{name}.py"): _fill("dataset/dataset.py", values),
        Path("great_expectations/expectations", f"{name}.json"): json.dumps(_suite(name, columns, keys), indent=2) + "\n",
        Path("tests/unit/perennial_datasets", f"test_{name}.py"): _fill("dataset/test_dataset.py", values),
    }


def _read_sample(sample: Path) -> Any:
    import duckdb

    if not sample.is_file():
        raise UnknownName(f"There is no file {sample}: give the path of a sample.")
    try:
        with duckdb.connect() as connection:
            read = (
                connection.read_parquet
                if ".parquet" in sample.suffixes
                else connection.read_json
                if ".jsonl" in sample.suffixes
                else connection.read_csv
            )
            rows = read(str(sample)).df()
    except duckdb.Error as error:
        raise UnknownName(f"{sample} cannot be read as CSV, JSON lines or Parquet: {str(error).splitlines()[0]}") from None
    if rows.empty:
        raise UnknownName(f"{sample} has no rows: give a sample that has some.")
    return rows


def _columns(rows: Any) -> list[Column]:
    kinds: dict[str, ColumnType] = {"i": "int", "u": "int", "f": "float", "M": "timestamp", "b": "bool"}
    return [Column(name=str(n), type=kinds.get(rows[n].dtype.kind, "string"), nullable=bool(rows[n].isna().any())) for n in rows.columns]


def _suite(name: str, columns: list[Column], key: list[str]) -> dict[str, Any]:
    """What any dataset is owed: its columns, its rows and its key. Ranges and sets are for its people to add; nulls are the spec's."""

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
            expect(
                "expect_table_columns_to_match_set", "the source changed its schema", column_set=[c.name for c in columns], exact_match=True
            ),
            expect("expect_table_row_count_to_be_between", "a file without rows is a mistake of its sender", min_value=1),
            unique,
        ],
    }


# -- a model ---------------------------------------------------------------------------------------------------------


def _model_files(name: str, dataset: str | None, label: str | None, task: str | None, sample: Path | None) -> dict[Path, str]:
    if dataset is None or label is None:
        raise UnknownName("Say what the model learns from and what it predicts: --dataset NAME --label COLUMN.")
    spec = discovery.dataset(dataset)
    if label not in [c.name for c in spec.columns]:
        raise UnknownName(f"The dataset {dataset} has no column {label}: choose the label among {', '.join(c.name for c in spec.columns)}.")
    task = task or ("regression" if spec.column(label).type == "float" else "multiclass")
    classes = [] if task == "regression" else _classes(spec, label, sample)
    if task != "regression" and len(classes) == 2:
        task = "binary"
    inputs = [c for c in spec.columns if c.name != label and c.type in ("int", "float", "bool", "string") and c.name not in spec.key]
    numbers = [c.name for c in inputs if c.type != "string"]
    categories = [c.name for c in inputs if c.type == "string"]
    if not inputs:
        raise UnknownName(f"The dataset {dataset} has no columns beside its key, its times and the label: there is nothing to learn from.")
    metric, floor = ("rmse", "1.0") if task == "regression" else ("log_loss", f"{_uniform_loss(len(classes)):.2f}")
    values = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "owner": spec.owner,
        "dataset": dataset,
        "task": task,
        "label": label,
        "metric": metric,
        "floor": floor,
        "classes": _tuple(classes),
        "inputs": _tuple([c.name for c in inputs]),
        "numbers": _tuple(numbers),
        "categories": _tuple(categories),
        "row": repr({c.name: "a" if c.type == "string" else 1.0 for c in inputs}),
        **_code(task, label, classes, spec.column(label).type, bool(numbers), bool(categories)),
    }
    folder, tests = Path("include/perennial_models", name), Path("tests/unit/perennial_models", name)
    return {
        folder / "__init__.py": f'"""{values["title"]}."""\n',
        **{folder / f: _fill(f"model/{f}", values) for f in ("spec.py", "features.py", "model.py", "README.md")},
        tests / f"test_{name}_features.py": _fill("model/test_features.py", values),
    }


def _uniform_loss(classes: int) -> float:
    import math

    return math.log(classes)


def _classes(spec: DatasetSpec, label: str, sample: Path | None) -> list[str]:
    if sample is None:
        raise UnknownName(f"Give a sample file of {spec.name}, `--sample FILE`: the classes of {label} are read from it.")
    rows = _read_sample(sample)
    if label not in rows.columns:
        raise UnknownName(
            f"{sample} has no column {label}: give a sample of {spec.name}; its columns are {', '.join(map(str, rows.columns))}."
        )
    found = sorted(rows[label].dropna().unique().tolist())
    if not 2 <= len(found) <= MOST_CLASSES:
        raise UnknownName(f"{label} has {len(found)} values in {sample}, which are no classes: give a fuller sample, or --task regression.")
    return [str(v) for v in found]


def _code(task: str, label: str, classes: list[str], label_type: str, numbers: bool, categories: bool) -> dict[str, str]:
    """The parts of `features.py` and `model.py` that depend on what the columns are."""
    by_name = task != "regression" and label_type == "string"
    as_number = [f'    return numbers(columns["{label}"])'] if classes in ([], [str(i) for i in range(len(classes))]) else []
    places = [
        f"    places = {{name: float(place) for place, name in enumerate({classes!r})}}",
        f'    return np.array([places.get(text(value) or "", np.nan) for value in columns["{label}"].tolist()])',
    ]
    body = as_number if as_number and not by_name else places
    uses = [
        "Columns",
        "Encoder",
        *(["Number"] if numbers else []),
        *(["Category"] if categories else []),
        "numbers" if body is as_number else "text",
    ]
    tensors = [
        *(['"numbers": [Number.fit(columns, name, nulls=True) for name in NUMBERS]'] if numbers else []),
        *(['"categories": [Category.fit(columns, name) for name in CATEGORIES]'] if categories else []),
    ]
    widths = [
        *(['encoder.width("numbers")'] if numbers else []),
        *(["sum(e.embedding_dim for e in self.embeddings)"] if categories else []),
    ]
    embeddings = (
        ['        self.embeddings = nn.ModuleList(nn.Embedding(size, min(8, size // 2 + 1)) for size in encoder.sizes("categories"))']
        if categories
        else []
    )
    parts = [*(["numbers"] if numbers else []), *(["*(e(categories[:, i]) for i, e in enumerate(self.embeddings))"] if categories else [])]
    joined = "numbers" if parts == ["numbers"] else f"torch.cat([{', '.join(parts)}], dim=1)"
    return {
        "imports": ", ".join(sorted(uses, key=lambda w: (w.islower(), w))),
        "label_words": "the number itself" if task == "regression" else "the place of the class in the spec's `classes`",
        "label_body": "\n".join(body),
        "tensors": ", ".join(tensors),
        "init": "\n".join([*embeddings, f"        width = {' + '.join(widths)}"]),
        "arguments": ", ".join(f"{n}: torch.Tensor" for n, there in (("numbers", numbers), ("categories", categories)) if there),
        "forward": f"        logits: torch.Tensor = self.layers({joined})\n        return logits",
    }
