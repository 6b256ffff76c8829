"""Where a version comes from: the manifest in its folder, and the digests of code, lock file and run that it names.

Light: the serving environment reads manifests too.

    >>> from perennial import discovery
    >>> from perennial.lineage.manifest import training_parameters
    >>> sorted(training_parameters(discovery.model("flight_delays")))[:3]
    ['batch_size', 'classes', 'cpus']
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from datetime import date, datetime, timezone
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

import perennial
import perennial_models
from perennial import discovery
from perennial.errors import SettingMissing, SpecBroken, TrainingRefused
from perennial.lineage.imported import imports, unpinned
from perennial.projects import EXTRA
from perennial.specs import Cause, JoinSpec, LabelSpec, ModelSpec

Parameter = str | int | float | bool | None

# The code between a snapshot and the files of a version folder: a change here asks for a new training, one elsewhere does not.
TRAINING_CODE = (
    "alarms.py",
    "clock.py",
    "encoding.py",
    "data/label_feed.py",
    "data/labelled_rows.py",
    "data/ordered_rows.py",
    "data/served_rows.py",
    "data/snapshots.py",
    "data/splits.py",
    "training/calibration.py",
    "training/encoded.py",
    "training/export.py",
    "training/fitting.py",
    "training/graph.py",
    "training/learners/__init__.py",
    "training/refits.py",
    "training/row_weights.py",
)
# What trains a model besides: its own learner's files alone.
LEARNER_CODE: dict[str, tuple[str, ...]] = {
    "lightning": (
        "training/adapter.py",
        "training/batches.py",
        "training/checkpoints.py",
        "training/learners/lightning.py",
        "training/module.py",
        "training/parts.py",
        "training/pretrained.py",
        "training/processes.py",
        "training/trainer.py",
        "training/warm_start.py",
        "training/watchdog.py",
    ),
    "boosted": ("training/learners/boosted.py", "training/learners/trees.py"),
    "sklearn": ("training/learners/forest.py", "training/learners/sklearn.py", "training/learners/trees.py"),
    "onnx": ("training/learners/onnx.py",),
}
JOIN_CODE = ("data/joins.py", "data/past_rows.py")  # what finds the values of other tables, for models that join some
_SPEC_FILES = ("spec.py", "__init__.py", "fallback.py")  # of a model's folder, which no training runs: a spec counts by its parameters
_PACKAGE = Path(perennial.__file__).parent
_LOCK = _PACKAGE.parent / "images" / "workload" / "requirements.txt"


class LaterLabels(BaseModel):
    """Labels of a training that came after their rows: from which table, and up to when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: int = Field(description="Version of the table that they came from; 0 if it was not there.")
    digest: str = Field(description="Identity of that version's content; empty if there was none.")
    rows_digest: str = Field(description="Identity of the content of the dataset's rows, without labels.")
    known_by: datetime = Field(description="The moment: what became known later did not count.")
    delay_days: float = Field(description="Labels of rows that were younger at that moment did not count.")
    newest_day: date | None = Field(description="Newest day of event time that had a label; none if no row had one.")


class LabelsUsed(LaterLabels):
    """The labels of a training whose model has a label feed."""

    feed: LabelSpec = Field(description="The label feed, as the spec had it.")


class OutcomesUsed(LaterLabels):
    """The predictions and their outcomes that a training learned from. The moment is UTC."""

    predictions: int = Field(description="Version of the table of predictions; 0 if there were none.")
    predictions_digest: str = Field(description="Identity of that version's content; empty if there were none.")
    since: date | None = Field(description="First day whose rows were predictions; if none, the key told them from the dataset's rows.")


class JoinUsed(BaseModel):
    """A join of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    join: JoinSpec = Field(description="The join, as the spec had it.")
    snapshot: int = Field(description="Version of the joined dataset's table.")
    digest: str = Field(description="Identity of the join and of all that the table had up to that version.")


class Manifest(BaseModel):
    """Everything needed to train a version again, and why it was trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Name of the model.")
    run_key: str = Field(description="Identity of the training: equal keys train the same version.")
    dataset: str = Field(description="Dataset it was trained on.")
    snapshot: int = Field(description="Table version.")
    snapshot_digest: str = Field(description="Identity of the snapshot's content, labels of a feed and what joins read included.")
    labels: LabelsUsed | OutcomesUsed | None = Field(
        default=None, description="Labels that came after the rows; none if the rows had their label."
    )
    joined: list[JoinUsed] = Field(default_factory=list, description="Joins, each with the version of its table.")
    scores: dict[str, dict[int, str]] = Field(
        default_factory=dict, description="Versions of other models whose scores were among the rows: by model, number and digest."
    )
    code_digest: str = Field(description="Identity of the training code.")
    lock_digest: str = Field(description="Identity of the lock file of the workload environment.")
    parameters: dict[str, Parameter] = Field(description="What the spec and the run asked for, flat.")
    seed: int = Field(description="Seed of every random choice.")
    cause: Cause = Field(description="Why it was trained.")
    reason: str = Field(default="", description="A person's words for the record.")
    request: str = Field(default="", description="Key of the retraining request that it answers.")
    parents: list[str] = Field(default_factory=list, description="Digests of the versions that it followed: the champion of that time.")
    created: datetime = Field(default_factory=lambda: datetime.now(timezone.utc), description="When it was sealed, UTC.")
    event_time_end: str = Field(description="Newest event time of the training split, ISO 8601.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 of each other file of the folder.")

    def labels_of(self, dataset: str) -> int | None:
        """Version of that dataset's table from which its labels came; None if it is not the label feed."""
        return self.labels.snapshot if isinstance(self.labels, LabelsUsed) and self.labels.feed.dataset == dataset else None

    @property
    def learner(self) -> str:
        """What made it; the networks' name is in no manifest, since they were there before the others."""
        return str(self.parameters.get("learner", "lightning"))

    @property
    def digest(self) -> str:
        """Content address: over the files and what made them, not over when, why and after whom."""
        identity = self.model_dump(mode="json", exclude={"snapshot", "cause", "reason", "request", "parents", "created"})
        if not self.joined:
            del identity["joined"]  # as in versions from before there were joins
        for used in identity.get("joined", ()):
            del used["snapshot"]
        if not self.scores:
            del identity["scores"]  # as in versions from before models could read scores
        if self.labels is None:
            del identity["labels"]  # as in versions from before there were label feeds
        else:
            for number in ("snapshot", "predictions"):
                identity["labels"].pop(number, None)
        return _sha256(_canonical(identity))


def training_parameters(spec: ModelSpec, max_epochs: int | None = None, begins_with: str = "") -> dict[str, Parameter]:
    """Everything in a spec that shapes the weights, as flat text and numbers.

    Args:
        spec: of the model.
        max_epochs: overrides the spec's.
        begins_with: with `training.warm_start`, digest of the version whose weights the training begins with; empty if there is none.
    """
    training = spec.training
    return {
        **({} if spec.learner == "lightning" else {"learner": spec.learner}),
        "task": spec.task,
        "inputs": ",".join(spec.inputs),
        "label": spec.label,
        **({} if spec.labels is None else {"labels": spec.feed.model_dump_json() if spec.feed else "outcomes"}),
        **({"served_since": spec.served_since.isoformat()} if spec.served_since else {}),
        **({"joins": _canonical([join.model_dump(mode="json") for join in spec.joins])} if spec.joins else {}),
        "classes": ",".join(spec.classes),
        **spec.split.parameters(),
        "cpus": spec.compute.cpus,
        "gpus": spec.compute.gpus,
        "nodes": spec.compute.nodes,
        "max_epochs": max_epochs or training.max_epochs,
        "patience": training.patience,
        "batch_size": training.batch_size,
        **training.parameters(),
        **({"anomaly.budget": spec.anomaly.budget, "anomaly.refits": spec.anomaly.refits} if spec.anomaly else {}),
        **({"warm_start": begins_with} if training.warm_start else {}),
        **{f"hyperparameters.{name}": value for name, value in sorted(training.hyperparameters.items())},
    }


def code_digest(model: str) -> str:
    """Identity of the code that training runs: comments, docstrings and layout apart. The spec counts by its parameters instead.

    Raises SpecBroken.
    """
    return _sha256(_canonical(_training_code(model)))


def code_files(model: str) -> dict[str, str]:
    """Identity of each file of the code that training runs, by its path; `code_digest` is over all of them. Raises SpecBroken."""
    return {path: _sha256(meaning) for path, meaning in _training_code(model).items()}


def run_code(spec: ModelSpec) -> str:
    """Identity of all that a run reads of a model: its folder, the spec included, what that imports from its project, and the files of
    its datasets; comments, docstrings and layout apart."""
    roots = _roots()
    files_of = {name: [file for root in roots if (file := root / "perennial_datasets" / f"{name}.py").is_file()] for name in spec.datasets}
    datasets = [file for files in files_of.values() for file in files[:1]]  # the first that is found is the one that is used
    own = sorted(discovery.model_folder(spec.name).rglob("*.py"))
    files = [*own, *imports([*own, *datasets], roots).files, *_brought(spec.name), *datasets]
    return _sha256(_canonical({_name(file): _meaning(file) for file in files}))


def require_code(spec: ModelSpec, began_with: str) -> None:
    """Let no stage of a run work on other files than the run began with: its parts would not fit together.

    Args:
        spec: the model as it is now.
        began_with: what `run_code` gave when the run began; empty where nobody noted it.

    Raises:
        TrainingRefused: they were changed since.
    """
    if began_with and run_code(spec) != began_with:
        raise TrainingRefused(
            f"The files of {spec.name} or of its dataset {' or '.join(spec.datasets)} changed while this run was under way, "
            "and it uses the code that it began with: "
            f"start another training, which takes them as they are now."
        )


def lock_digest() -> str:
    """Identity of the workload environment's lock file, and of what projects added to that environment.

    Raises SettingMissing if the file is not where the source tree and the image have it.
    """
    return hashlib.sha256(_lock()).hexdigest()


def locked_packages() -> dict[str, str]:
    """Version of each package of the workload environment's lock file, and of those that projects added.

    Raises SettingMissing as `lock_digest` does.
    """
    return {name: version for name, _, version in (line.partition("==") for line in _lock().decode().splitlines()) if version}


def run_key(model: str, snapshot_digest: str, code: str, lock: str, parameters: dict[str, Parameter], seed: int) -> str:
    """24 hexadecimal digits that are the same for the same training, on any machine at any time."""
    return _sha256(_canonical([model, snapshot_digest, code, lock, parameters, seed]))[:24]


def unpinned_imports(model: str) -> list[str]:
    """A clause for each package that the code of a model imports and that no digest covers."""
    return unpinned(imports(_own_code(model), _roots()).packages, locked_packages())


def _training_code(model: str) -> dict[str, str]:
    spec = discovery.model(model)
    files = [_PACKAGE / name for name in (*TRAINING_CODE, *(JOIN_CODE if spec.joins else ()), *LEARNER_CODE[spec.learner])]
    own = _own_code(model)
    others = [file for file in imports(own, _roots()).files if file.name not in _SPEC_FILES or "perennial_models" not in file.parts]
    return {_name(file): _meaning(file) for file in (*files, *own, *others, *_brought(model))}


def _own_code(model: str) -> list[Path]:
    return sorted(file for file in discovery.model_folder(model).rglob("*.py") if file.name not in _SPEC_FILES)


def _brought(model: str) -> list[Path]:
    """Other files in a model's folder, such as weights and graphs of ONNX, whose bytes count as code does."""
    folder = discovery.model_folder(model)
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and file.suffix not in (".py", ".pyc", ".md")
        and not any(part.startswith((".", "__pycache__")) for part in file.relative_to(folder).parts)
        and file.relative_to(folder).parts[0] != "contracts"  # what others count on makes no other model
    )


def _roots() -> list[Path]:
    """Folders in which packages lie: `include` of the projects, in their order, and of the platform."""
    return list(dict.fromkeys([*(Path(top).parent for top in perennial_models.__path__), _PACKAGE.parent]))


def _name(file: Path) -> str:
    """The path of a file below the folder that Python finds its package in."""
    return file.relative_to(next(root for root in _roots() if file.is_relative_to(root))).as_posix()


def _lock() -> bytes:
    if not _LOCK.is_file():
        raise SettingMissing(
            f"The lock file {_LOCK} is missing: install Perennial from its source tree (pip install -e) or from the workload image."
        )
    extra = Path(sys.prefix) / EXTRA  # of this process, which is one of the workload environment
    return _LOCK.read_bytes() + (extra.read_bytes() if extra.is_file() else b"")


def _meaning(file: Path) -> str:
    if file.suffix != ".py":
        found = file.stat()
        return _bytes_digest(file, found.st_size, found.st_mtime_ns)
    try:
        tree = ast.parse(file.read_text())
    except SyntaxError as error:
        raise SpecBroken(f"{_name(file)} cannot be read: {error.msg} (line {error.lineno}). Mend that file.") from error
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


@lru_cache(maxsize=64)
def _bytes_digest(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, which may be large: of one state of it worked out once."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
