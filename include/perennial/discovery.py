"""Finds models and datasets by walking their packages: adding one is adding a folder, no list to extend.

What is found is sound. A file that cannot be imported, or a model that does not fit its dataset, is *broken*: it stops itself
alone. Commands on its name refuse with the sentence that says what is wrong and where; everything else goes on without it.

The projects that `PERENNIAL_PROJECT` names are looked through first, then the platform. Of two files of one name the first is used, so that
no other project and no release of the platform takes a name away; the second is left out with a sentence.

An example is found only where the setting `PERENNIAL_EXAMPLES` names it: each model costs Airflow seven DAGs.

    >>> from perennial import discovery
    >>> discovery.model("flight_delays").dataset
    'flights'
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

import perennial_datasets
import perennial_models
from perennial import projects
from perennial.errors import SpecBroken, UnknownName
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec, brought_by

SpecKind = Literal["dataset", "model"]
Kind = SpecKind | Literal["project"]
_Spec = TypeVar("_Spec", DatasetSpec, ModelSpec)
INIT = "__init__.py"
EXAMPLES = "PERENNIAL_EXAMPLES"  # the setting
FEATURES = ("label", "fit", "encode")  # what a model's features.py must define, without `label` where its spec names none
MODEL = {"lightning": "Model", "sklearn": "estimator"}  # what its model.py must define, by learner; the others need none


@dataclass(frozen=True)
class Broken:
    """A dataset or a model whose files do not give a valid spec, or something of a project that cannot be used."""

    kind: Kind
    name: str
    why: str
    place: str  # file, and the line where that is known

    @property
    def sentence(self) -> str:
        """A sentence on what is wrong, where, and what to do."""
        if self.kind == "project":
            return f"The project {self.name} is not used whole: {self.why} ({self.place}). All else goes on without it."
        return f"The {self.kind} {self.name} is broken: {self.why} ({self.place}). Mend that file; all others go on without it."


@dataclass(frozen=True)
class _File:
    """The file that holds one spec."""

    kind: SpecKind
    name: str
    top: Path  # folder of the package that it lies in

    @property
    def home(self) -> Path:
        """The folder `include` that it lies in."""
        return self.top.parent

    @property
    def module(self) -> str:
        return f"perennial_{self.kind}s.{self.name}{'.spec' if self.kind == 'model' else ''}"

    @property
    def path(self) -> Path:
        return self.top / (f"{self.name}/spec.py" if self.kind == "model" else f"{self.name}.py")

    def broken(self, why: str, path: Path | None = None, line: int | None = None) -> Broken:
        path = path or self.path
        shown = self.shown(path) if path.is_relative_to(self.top) else str(path)
        return Broken(self.kind, self.name, why, shown if line is None else f"{shown}, line {line}")

    def broken_by(self, error: BaseException) -> Broken:
        """Broken by what happened while it, or what it imports, was run."""
        if isinstance(error, SyntaxError) and error.filename:
            return self.broken(f"{error.msg}", Path(error.filename), error.lineno)
        own = self.path.parent if self.kind == "model" else self.path
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(own)]
        return self.broken(_words(error), *((Path(frames[-1].filename), frames[-1].lineno) if frames else ()))

    def shown(self, path: Path) -> str:
        """The path of a file below its folder, as sentences show it."""
        project = projects.of(path, Settings.from_environment().projects)
        below = f"perennial_{self.kind}s/{path.relative_to(self.top).as_posix()}"
        return f"{project.name}/include/{below}" if project else below

    @property
    def is_example(self) -> bool:
        """Whether its text says so; its module cannot be asked where another one has its name."""
        return bool(re.search(r"^\s+example=True\b", self.path.read_text(), re.MULTILINE)) if self.path.is_file() else False

    def line_of(self, word: str) -> int | None:
        """The first line that has this word in quotes."""
        lines = self.path.read_text().splitlines()
        return next((number for number, line in enumerate(lines, 1) if re.search(rf"[\"']{re.escape(word)}[\"']", line)), None)


def datasets() -> dict[str, DatasetSpec]:
    """Every valid dataset, by name."""
    return _datasets()[0]


def models() -> dict[str, ModelSpec]:
    """Every valid model of a valid dataset, by name."""
    return _models()[0]


def broken() -> list[Broken]:
    """Every dataset and model that is left out, and why; datasets first, and last what cannot be used of projects."""
    return [*_datasets()[1].values(), *_models()[1].values(), *_of_projects()]


def dataset(name: str) -> DatasetSpec:
    """The dataset of that name. Raises UnknownName; SpecBroken."""
    return _pick(name, datasets(), "dataset")


def model(name: str) -> ModelSpec:
    """The model of that name. Raises UnknownName; SpecBroken."""
    return _pick(name, models(), "model")


def dataset_of(spec: ModelSpec) -> DatasetSpec:
    """The dataset of a model, with the columns that its joins bring. Raises UnknownName; SpecBroken."""
    return dataset(spec.dataset).joined_with(brought_by(spec.joins, {join.dataset: dataset(join.dataset) for join in spec.joins}))


def models_asked_about(name: str | None, stored: Iterable[str]) -> list[str]:
    """Names of the models that a command is about; they may be broken or gone, since the store still knows them.

    Args:
        name: the one that is asked about; all if None.
        stored: models of which the store knows something.

    Raises:
        UnknownName: neither a folder nor the store has that name.
    """
    left_out = {broken_spec.name for broken_spec in broken() if broken_spec.kind == "model"}
    if name is None:
        return sorted({*models(), *left_out, *stored})
    return [name] if name in {*left_out, *stored} else [model(name).name]


@contextmanager
def also_in(project: Path) -> Iterator[None]:
    """Meanwhile, what lies in another project is found too: its `include/perennial_datasets` and `include/perennial_models`."""
    packages = (perennial_datasets, perennial_models)
    before, loaded = [list(package.__path__) for package in packages], set(sys.modules)
    for package in packages:
        package.__path__ = [str(project / "include" / package.__name__), *package.__path__]
    try:
        yield
    finally:
        for package, path in zip(packages, before, strict=True):
            package.__path__ = path
        for name in [name for name in set(sys.modules) - loaded if name.startswith(tuple(f"{p.__name__}." for p in packages))]:
            del sys.modules[name]
        importlib.invalidate_caches()


def homes() -> list[Path]:
    """The folders that hold `include/perennial_datasets`: the projects, the platform, and any that is meanwhile found too."""
    return [Path(top).resolve().parents[1] for top in perennial_datasets.__path__]


def dataset_home(name: str) -> Path | None:
    """That of these folders which has the file of a dataset; None if none has."""
    return next((home for home in homes() if (home / "include" / perennial_datasets.__name__ / f"{name}.py").is_file()), None)


def model_folder(name: str) -> Path:
    """The folder of a model, in whichever project it lies; where it would lie in the platform if there is none."""
    folders = [Path(top, name) for top in perennial_models.__path__]
    return next((folder for folder in folders if folder.is_dir()), folders[-1])


def project_of(name: str) -> Path | None:
    """The project that a model lies in; None if it is the platform's."""
    return projects.of(model_folder(name), Settings.from_environment().projects)


def dataset_module(name: str) -> ModuleType:
    """The module of a dataset, for functions other than its spec (`land`)."""
    dataset(name)
    return importlib.import_module(f"perennial_datasets.{name}")


def function_of(name: str, function: str) -> Callable[..., Any] | None:
    """A function of a dataset's file, such as `parse`; None if it defines none. Its spec must have been found before."""
    found: Callable[..., Any] | None = getattr(sys.modules.get(f"perennial_datasets.{name}"), function, None)
    return found


def clean_of(name: str) -> Callable[..., Any] | None:
    """The function `clean` of a dataset's file; None if it defines none. Its spec must have been found before."""
    return function_of(name, "clean")


def model_part(name: str, part: str) -> ModuleType:
    """One file of a model's folder: `features` or `model`. Heavy ones load only here. Raises SpecBroken if it cannot be."""
    spec = model(name)
    file = _File("model", name, model_folder(name).parent)
    path = file.path.with_name(f"{part}.py")
    try:
        module = importlib.import_module(f"perennial_models.{name}.{part}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = file.broken_by(error) if path.is_file() else file.broken(f"there is no {part}.py", path.parent)
        raise SpecBroken(where.sentence) from error
    wanted = [name for name in FEATURES if name != "label" or spec.label] if part == "features" else [MODEL[spec.learner]]
    if missing := [name for name in wanted if not hasattr(module, name)]:
        raise SpecBroken(file.broken(f"it defines no {missing[0]}", path).sentence)
    return module


@dataclass(frozen=True)
class _Found:
    """What all files give: specs, by name, of which a model need not fit its dataset yet, and what is broken."""

    datasets: dict[str, DatasetSpec]
    broken_datasets: dict[str, Broken]
    models: dict[str, ModelSpec]
    broken_models: dict[str, Broken]

    @property
    def examples(self) -> set[str]:
        """Names of all examples."""
        return {spec.name for spec in (*self.datasets.values(), *self.models.values()) if spec.example}

    def switched_on(self) -> _Found:
        """The same without the examples that the setting does not name. What it names and is nowhere is broken, and stops itself alone."""
        names = Settings.from_environment().example_names
        known = {*self.datasets, *self.models, *self.broken_datasets, *self.broken_models}
        wrong = {
            name: Broken("model", name, f"the setting names it, and there is no such example. {hint(name, self.examples)}", EXAMPLES)
            for name in sorted(names - known)
        }
        models = {name: spec for name, spec in self.models.items() if not spec.example or name in names}
        names |= {name for spec in models.values() for name in spec.datasets}
        datasets = {name: spec for name, spec in self.datasets.items() if not spec.example or name in names}
        return _Found(datasets, self.broken_datasets, models, {**self.broken_models, **wrong}).with_columns_of_scores()

    def with_columns_of_scores(self) -> _Found:
        """The same with the columns of datasets whose rows are scores. Where they cannot be told, the dataset is broken."""
        datasets, left_out = dict(self.datasets), dict(self.broken_datasets)
        for name in [name for name, spec in self.datasets.items() if spec.scores_of]:
            try:
                datasets[name] = self._with_scores(name, ())
            except (_NoScores, ValidationError) as error:
                del datasets[name]
                left_out[name] = _file_of(name).broken(_words(error), line=_file_of(name).line_of(self.datasets[name].scores_of))
        return _Found(datasets, left_out, self.models, self.broken_models)

    def _with_scores(self, name: str, way: tuple[str, ...]) -> DatasetSpec:
        """A dataset with all of its columns. Raises _NoScores if its rows are scores, and which columns these have cannot be told.

        Args:
            name: of the dataset.
            way: the datasets whose rows follow from it.
        """
        spec = self.datasets.get(name)
        if spec is None:
            raise _NoScores(f"dataset {name}, which {'is broken' if name in self.broken_datasets else 'is not there'}")
        if not spec.scores_of:
            return spec
        if name in way:
            circle = [*way[way.index(name) :], name]
            steps = (f"{one} has the scores of {self.datasets[one].scores_of}, which reads {other}" for one, other in pairwise(circle))
            raise _NoScores(f"its rows follow from themselves: {'; '.join(steps)}. Let one of these models read something else")
        model = self.models.get(spec.scores_of)
        if model is None:
            if wrong := self.broken_models.get(spec.scores_of):
                raise _NoScores(f"its rows are the scores of {spec.scores_of}, which is broken, see {wrong.place}")
            raise _NoScores(
                f"there is no model {spec.scores_of!r}, whose scores were its rows. {hint(spec.scores_of, self.models).rstrip('.')}"
            )
        from perennial.score_datasets import with_scores

        for other in model.datasets:
            try:
                read = self._with_scores(other, (*way, name))
            except _NoScores as error:
                if other == name or not str(error).startswith("dataset "):
                    raise
                raise _NoScores(f"its rows are the scores of {model.name}, which reads the {error}") from None
            if other == model.dataset:
                rows = read
        return with_scores(spec, model, rows)


class _NoScores(Exception):
    """Which columns the scores of a model have cannot be told; the message is a clause on why."""


def _file_of(dataset: str) -> _File:
    return next(file for file in _first("dataset") if file.name == dataset)


def _all_found() -> _Found:
    return _Found(
        *_read("dataset", DatasetSpec),
        *_read("model", ModelSpec),
    )


def _datasets() -> tuple[dict[str, DatasetSpec], dict[str, Broken]]:
    found = _all_found().switched_on()
    return found.datasets, found.broken_datasets


def _models() -> tuple[dict[str, ModelSpec], dict[str, Broken]]:
    found = _all_found().switched_on()
    specs, left_out = found.models, found.broken_models
    hidden = {(file.home, file.name): file for file, _ in _hidden("dataset")}
    for file in _first("model"):
        spec = specs.get(file.name)
        own = next((hidden[file.home, name] for name in spec.datasets if (file.home, name) in hidden), None) if spec and hidden else None
        if own and spec:
            del specs[file.name]
            left_out[file.name] = file.broken(
                f"its dataset {own.name} is hidden by another of that name: rename one of them", line=file.line_of(own.name)
            )
        elif spec and (wrong := _misfit(spec, found.datasets, found.broken_datasets)):
            word, why = wrong
            del specs[file.name]
            left_out[file.name] = file.broken(why, line=file.line_of(word))
    return specs, left_out


def _read(kind: SpecKind, wanted: type[_Spec]) -> tuple[dict[str, _Spec], dict[str, Broken]]:
    specs: dict[str, _Spec] = {}
    left_out: dict[str, Broken] = {}
    for file in _first(kind):
        spec = _load(file, wanted)
        if isinstance(spec, Broken):
            left_out[file.name] = spec
        else:
            specs[file.name] = spec
    return specs, left_out


def _first(kind: SpecKind) -> list[_File]:
    """The file that is used of each name."""
    return [next(files) for _, files in groupby(_files(kind), key=lambda file: file.name)]


def _hidden(kind: SpecKind) -> list[tuple[_File, _File]]:
    """Files that are not used, since another one has their name, and that one; without examples that are switched off."""
    pairs: list[tuple[_File, _File]] = []
    if len(perennial_datasets.__path__) == 1:  # the platform alone: nothing to look for at each parse
        return pairs
    for _, files in groupby(_files(kind), key=lambda file: file.name):
        first, *others = files
        pairs += [(file, first) for file in others if not file.is_example or file.name in Settings.from_environment().example_names]
    return pairs


def _of_projects() -> list[Broken]:
    """What cannot be used of projects: all of one that is none, and what another one, the platform or a library has the name of."""
    named = Settings.from_environment().projects
    wrong = [Broken("project", folder.name, why, projects.VARIABLE) for folder in named if (why := projects.trouble(folder))]
    for hidden, used in [*_hidden("dataset"), *_hidden("model")] if named else ():
        owner, other = projects.of(hidden.path, named), projects.of(used.path, named)
        if owner and other:
            why = f"its {hidden.kind} {hidden.name} has the name of one of the project {other.name}, which is used: rename it"
            wrong.append(Broken("project", owner.name, why, hidden.shown(hidden.path)))
        elif other:
            why = f"its {used.kind} {used.name} has the name of one of the platform, which is left out: rename it"
            wrong.append(Broken("project", other.name, why, used.shown(used.path)))
    for folder in named:
        for module in projects.modules(folder):
            if place := projects.hidden_by(module):
                why = f"its module {module.stem} cannot be imported, as {place} has its name: rename it"
                wrong.append(Broken("project", folder.name, why, f"{folder.name}/{module.relative_to(folder).as_posix()}"))
    return wrong


def _files(kind: SpecKind) -> list[_File]:
    """The files of all names; of one name those of the first project first."""
    tops = [Path(top) for top in (perennial_datasets if kind == "dataset" else perennial_models).__path__]
    files = [_File(kind, m.name, top) for top in tops for m in pkgutil.iter_modules([str(top)]) if m.ispkg == (kind == "model")]
    if kind == "model":  # Python would not find them, and nobody would say so
        files += [
            _File(kind, spec.parent.name, top) for top in tops for spec in top.glob("*/spec.py") if not spec.with_name(INIT).is_file()
        ]
    return sorted((file for file in files if not file.name.startswith("_")), key=lambda file: file.name)


def _load(file: _File, wanted: type[_Spec]) -> _Spec | Broken:
    if file.kind == "model" and not file.path.with_name(INIT).is_file():
        return file.broken(f"there is no {INIT}", file.path.parent)
    try:
        spec: Any = getattr(importlib.import_module(file.module), file.kind.upper(), None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - one file's mistake, whatever it is (sys.exit, a panic of a library), must not stop the others
        return file.broken_by(error) if file.path.is_file() else file.broken(f"there is no {file.path.name}", file.path.parent)
    if not isinstance(spec, wanted):
        return file.broken(f"it defines no {file.kind.upper()} = {wanted.__name__}(...)")
    if spec.name != file.name:
        why = f"its spec is named {spec.name!r}, and its place says {file.name!r}: make them the same"
        return file.broken(why, line=file.line_of(spec.name))
    return spec


def _misfit(spec: ModelSpec, known: dict[str, DatasetSpec], left_out: dict[str, Broken]) -> tuple[str, str] | None:
    """The first name in a model's spec that its datasets do not have, and why; None if the spec fits."""
    wanted = [("dataset", spec.dataset), *([("label feed", spec.feed.dataset)] if spec.feed else [])]
    wanted += [("joined dataset", join.dataset) for join in spec.joins]
    for role, name in wanted:
        if name in left_out:
            return name, f"its {role} {name} is broken, see {left_out[name].place}"
        if name not in known:
            return name, f"there is no dataset {name!r}. {hint(name, known).rstrip('.')}"
    return spec.misfit(known[spec.dataset], known[spec.feed.dataset] if spec.feed else None, known)


def _words(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        from perennial.spec_faults import fault_words

        return fault_words(error)
    if isinstance(error, _NoScores):
        return str(error)
    if isinstance(error, SystemExit):
        return "it ends the program that reads it (sys.exit)"
    return f"{type(error).__name__}: {error}"


def _pick(name: str, known: dict[str, _Spec], kind: Kind) -> _Spec:
    if name in known:
        return known[name]
    for left_out in broken():
        if (left_out.kind, left_out.name) == (kind, name):
            raise SpecBroken(left_out.sentence)
    if name in _all_found().examples:
        raise UnknownName(f"The {kind} {name} is an example, and switched off: set PERENNIAL_EXAMPLES={name}.")
    raise UnknownName(f"There is no {kind} {name!r}. {hint(name, known)}")


def hint(name: str, known: Iterable[str]) -> str:
    """Which of the known names may have been meant, or all of them: a sentence."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known)) or 'none'}."
