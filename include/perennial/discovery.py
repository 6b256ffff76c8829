"""Finds models and datasets by walking their packages: adding one is adding a folder, no list to extend."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

from perennial.errors import UnknownName
from perennial.specs import DatasetSpec, ModelSpec

_Spec = TypeVar("_Spec", DatasetSpec, ModelSpec)


def datasets() -> dict[str, DatasetSpec]:
    """Every dataset, by name. A mistake inside a dataset file raises its own error."""
    import perennial_datasets

    found = {
        name: importlib.import_module(f"perennial_datasets.{name}").DATASET for name in _names(perennial_datasets.__path__, packages=False)
    }
    for file, spec in found.items():
        _same_name(f"perennial_datasets/{file}.py", file, spec.name)
    return found


def models() -> dict[str, ModelSpec]:
    """Every model, by name. A mistake inside a spec raises its own error."""
    import perennial_models

    found = {
        name: importlib.import_module(f"perennial_models.{name}.spec").MODEL for name in _names(perennial_models.__path__, packages=True)
    }
    for folder, spec in found.items():
        _same_name(f"perennial_models/{folder}/spec.py", folder, spec.name)
    return found


def dataset(name: str) -> DatasetSpec:
    """The dataset of that name. Raises UnknownName."""
    return _pick(name, datasets(), "dataset")


def model(name: str) -> ModelSpec:
    """The model of that name. Raises UnknownName."""
    return _pick(name, models(), "model")


def dataset_module(name: str) -> ModuleType:
    """The file of a dataset, for the functions beside its spec (`land`)."""
    dataset(name)
    return importlib.import_module(f"perennial_datasets.{name}")


def model_part(name: str, part: str) -> ModuleType:
    """One file of a model's folder: `features` or `model`. Heavy ones load only here."""
    model(name)
    return importlib.import_module(f"perennial_models.{name}.{part}")


def _names(path: list[str], *, packages: bool) -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(path) if m.ispkg == packages and not m.name.startswith("_"))


def _same_name(where: str, expected: str, name: str) -> None:
    if expected != name:
        raise ValueError(f"{where}: the spec is named {name!r}; its place says {expected!r}. Make them the same.")


def _pick(name: str, known: dict[str, _Spec], kind: str) -> _Spec:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."
    raise UnknownName(f"There is no {kind} {name!r}. {hint}")
