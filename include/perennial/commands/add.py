"""`perennial add dataset|model NAME`: writes the files of a new dataset or model; discovery does the rest.

A dataset is described after a sample file (`--sample`), a model after its dataset and a sample of it, or its table where none is given.
What cannot be known from these is asked for in one sentence; what was left out or decided is said, a line each. Nothing that exists is
ever overwritten.

    $ perennial add dataset rides --sample rides.csv
    $ perennial add dataset orders --table orders --connection shop --cursor changed    # rows of a database, which come by themselves
    $ perennial add model late_rides --dataset rides --label late --sample rides.csv
    $ perennial add model late_rides --dataset rides --label late    # once rows of rides are ingested
    $ perennial add model late_rides --dataset rides --label late --labels arrivals    # the label comes later, in another dataset
    $ perennial add model late_rides --dataset rides --label late --learner boosted    # trees of LightGBM in place of a network
    $ perennial add model odd_rides --dataset rides --task anomaly    # how unusual a ride is; no label
"""

from __future__ import annotations

import keyword
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from perennial import discovery
from perennial.commands._feed_of_model import label_spec, labelled
from perennial.commands._new_dataset import dataset_files
from perennial.commands._new_model import asked_dataset, model_files
from perennial.commands._sample import read_sample, rows_of_table
from perennial.commands._sample_of_table import asked_source, sample_of_table
from perennial.commands._target import PROJECT, target
from perennial.commands._wrongs import Wrongs
from perennial.data.landing import folder
from perennial.errors import EXIT_DONE, UnknownName
from perennial.projects import VARIABLE
from perennial.settings import Settings
from perennial.specs import NAME, Learner, SqlSource
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    kind: str,
    name: str,
    dataset: str | None = None,
    sample: Path | None = None,
    table: str | None = None,
    connection: str | None = None,
    database: str | None = None,
    cursor: str | None = None,
    key: str | None = None,
    event_time: str | None = None,
    label: str | None = None,
    task: str | None = None,
    labels: str | None = None,
    learner: Learner | None = None,
    project: Path | None = None,
) -> int:
    """Write the files, into a project if one is named, and say what to edit next.

    Raises:
        UnknownName: the name is malformed or taken, or something that must be said was not; a line for each thing that is wrong.
    """
    wrongs = Wrongs()
    home = target(settings, project)
    spec, given, source, joined, files, said = None, None, None, None, dict[Path, str](), list[str]()
    with wrongs:
        require_name(name)
    usable = name if not wrongs.sentences else "added"  # by which the rest can be checked
    with wrongs:
        if kind == "model":
            spec = asked_dataset(dataset, label, task, labels, learner or "lightning")
            joined = label_spec(spec, discovery.dataset(labels), label) if labels and label else None
    with wrongs:
        known = discovery.datasets().get(dataset) if kind == "model" and dataset else None
        source = asked_source(kind, sample, table, connection, database, cursor)
        given = sample_of_table(settings, source) if source else None if sample is None else read_sample(sample, known)
        if sample is None and spec:
            given = rows_of_table(store, spec)
        if kind == "dataset":
            files, said = dataset_files(usable, given, key, event_time, source=source)
        elif spec:
            told = []
            if given and joined:
                given, line = labelled(store, given, joined, discovery.dataset(joined.dataset))
                told.append(line)
            files, said = model_files(usable, dataset, label, task, given, labels=joined, learner=learner or "lightning")
            said = [*told, *said]
    with wrongs:
        own = Path("include/perennial_datasets", f"{name}.py") if kind == "dataset" else Path("include/perennial_models", name, "spec.py")
        if taken := [path for path in (own, *files) if (home / path).exists()]:
            raise UnknownName(f"{taken[0]} exists already: choose another name than {name}, or edit that file.")
    wrongs.refuse()
    if home != PROJECT:
        print(f"Into {home}:" if home in settings.projects else f"Into {home}, where it is found once {VARIABLE} names that folder:")
    for path in write_files(files, home, settings):
        print(f"wrote {path}")
    if kind == "dataset":
        store.make_folder(folder(name))  # who looks for it finds it before the platform starts again
    print(*said, _next(kind, name, store, learner, source), sep="\n")
    return EXIT_DONE


def require_name(name: str) -> None:
    """Raises UnknownName where a dataset or model cannot be called that."""
    if not NAME.fullmatch(name):
        raise UnknownName(f"{name!r} is not a name: use lower-case letters, digits and underscores, a letter first, at most 40.")
    if keyword.iskeyword(name):
        raise UnknownName(f"{name!r} is a word of Python, and nothing could import it: choose another name.")


def write_files(files: Mapping[Path, str], project: Path, settings: Settings) -> Iterator[Path]:
    """Write the files of a new dataset or model into a project; yields the path of each, once it is written."""
    for path, text in files.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(_formatted(text, path, project, settings))
        yield path


def _formatted(text: str, path: Path, project: Path, settings: Settings) -> str:
    """Python code formatted as by `make format`; unchanged if the tools are not installed, as in an image."""
    ruff = settings.venv("tools") / "bin" / "ruff"
    if path.suffix != ".py" or not ruff.exists():
        return text
    configuration = next(file for home in (project, PROJECT) if (file := home / "pyproject.toml").is_file())
    command = [str(ruff), "format", "--config", str(configuration), "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _next(kind: str, name: str, store: Store, learner: Learner | None, source: SqlSource | None) -> str:
    if source:
        connection = f", once Airflow has the connection {source.connection}" if source.connection else ""
        return (
            f"Edit these (docs/sources.md says how a source is read, and when by itself), then trigger {name}_ingestion{connection}; "
            f"by hand: perennial collect --dataset {name}"
        )
    if kind == "dataset":
        return (
            f"Edit these, then put a file into {store.uri(folder(name))}/ (perennial land FILE --dataset {name}): "
            f"the DAG {name}_ingestion is there."
        )
    if learner == "onnx":
        return (
            f"Put model.onnx into include/perennial_models/{name}/ (README.md there says what its inputs are): each training checks, "
            f"calibrates and measures it, and is refused while it is not there. The DAGs {name}_training, _release, _monitoring and "
            "_rollback are there."
        )
    return (
        f"Edit these; the DAGs {name}_training, _release, _monitoring and _rollback are there. While the platform is up, the first "
        "training begins by itself within a minute if the dataset has rows enough, else once they are ingested. What you edit afterwards "
        f"trains again with the next rows or at night (retrain.schedule); to train at once, trigger {name}_training in Airflow's web UI."
    )
