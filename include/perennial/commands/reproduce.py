"""`perennial reproduce`: train a version again from its manifest, in a scratch folder, and compare the result.

A recalibrated version is trained as the version was whose weights it has; then its scale and shift, which came from live
traffic and are in its folder, are applied as they were.

    $ perennial reproduce flight_delays/3
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from perennial import discovery
from perennial.data.snapshots import Snapshot, sentence_case
from perennial.engine.room import room_of
from perennial.errors import EXIT_DONE, EXIT_FAULT, StoredDataDamaged, UnknownName
from perennial.lineage.making import Making, making
from perennial.lineage.manifest import Manifest, code_digest, code_files, lock_digest, training_parameters, unpinned_imports
from perennial.lineage.version_folder import MANIFEST, fetch, read_manifest, seal
from perennial.registry.model_registry import ModelRegistry
from perennial.settings import Settings
from perennial.specs import ModelSpec, brought_by
from perennial.stages._snapshots import snapshot_of
from perennial.stages.train import RECORD, begun_with, fill_version_folder
from perennial.store import Store


def run(settings: Settings, store: Store, version: str) -> int:
    """Print what came out; 0 if every file is the same to the last bit, else 1.

    Raises:
        UnknownName: there is no such version or snapshot.
        StoredDataDamaged: the snapshot is no longer what the version was trained on.
    """
    model, number = named(version)
    registered = ModelRegistry(settings).version(model, number)
    if registered is None:
        raise UnknownName(f"There is no version {number} of {model}: the registry at {settings.mlflow_url} lists them.")
    spec, manifest = discovery.model(model), read_manifest(store, model, registered.digest)
    joined = brought_by(joins := [used.join for used in manifest.joined], {join.dataset: discovery.dataset(join.dataset) for join in joins})
    dataset = discovery.dataset(manifest.dataset).joined_with(joined)
    source = snapshot_of(store, dataset, manifest)
    if manifest.snapshot_digest not in source.digests:
        raise StoredDataDamaged(
            f"{sentence_case(source.words)} is not what {model}/{number} was trained on: "
            f"restore the table{'s' if source.labels or source.joins else ''} from a backup."
        )
    source.refuse_damaged()
    for line in unknown_before(source, manifest):
        print(line)
    for difference in differences(spec, manifest, making(store, model, registered.digest)):
        print(f"Not the same as then: {difference}.")
    for package in unpinned_imports(model):
        print(
            f"Not known to be the same as then: {package}. Put it into include/, the lock file, or requirements/workload.txt of a project."
        )
    from perennial.training.checkpoints import Checkpoints
    from perennial.training.recalibration import read_recalibration, recalibrate

    with tempfile.TemporaryDirectory(prefix="perennial-reproduce-") as scratch:
        then, now = fetch(store, model, registered.digest, Path(scratch) / "then"), Path(scratch) / "now"
        asked, record = manifest.parameters["max_epochs"], json.loads((then / RECORD).read_text())
        fill_version_folder(
            now,
            spec,
            dataset,
            source,
            checkpoints=Checkpoints(Path(scratch) / "run"),
            max_epochs=int(asked) if asked else None,
            begins_with=begun_with(store, manifest),
            halved="accumulate" in record,
            room=room_of(settings.home / "rows", settings.rows_gb),
        )
        if recalibrated := read_recalibration(then):
            recalibrate(now, *recalibrated)
        files = seal(now, manifest).files
        changed = sorted(name for name in {*files, *manifest.files} if files.get(name) != manifest.files.get(name))
        if not changed:
            print(f"{model}/{number} was trained again and is bit-equal: {', '.join(name for name in files if name != MANIFEST)}.")
            return EXIT_DONE
        print(f"{model}/{number} was trained again and differs in {', '.join(changed)}.")
        print(f"Weights: {weights_apart(then / 'model.onnx', now / 'model.onnx')}.")
        before, after = (json.loads((folder / RECORD).read_text())["metrics"] for folder in (then, now))
        for name in sorted(before):
            print(
                f"Validation {name.replace('_', ' ')}: {before[name]:.6f} then, {after[name]:.6f} now, "
                f"{abs(after[name] - before[name]):.2g} apart."
            )
    return EXIT_FAULT


def unknown_before(source: Snapshot, manifest: Manifest) -> list[str]:
    """A sentence for each reason why the data cannot be vouched for.

    The bytes of files that were written before their hashes were kept are known since a later day only.
    """
    tables = [(source.table, source.version), *(source.labels.tables if source.labels else ())]
    tables += source.joins.tables if source.joins else ()
    late = {f"{table.name}/{path}": when for table, version in tables for path, when in table.hashes(version).late.items()}
    since = max((when for when in late.values() if when > manifest.created), default=None)
    if since is None:
        return []
    return [
        f"{len(late)} files of the snapshot were written before the hashes of their bytes were kept: "
        f"from the training until {since:%Y-%m-%d %H:%M} UTC their names and sizes alone are known to be the same."
    ]


def named(version: str) -> tuple[str, int]:
    """Model and number of `<model>/<number>`, or of a number where there is one model only. Raises UnknownName."""
    model, _, number = version.rpartition("/")
    known = discovery.models()
    if not model and len(known) == 1:
        model = next(iter(known))
    if not model or not (number.isascii() and number.isdigit() and len(number) < 19):
        raise UnknownName(f"{version!r} names no version: write it like {next(iter(known), 'model')}/7.")
    return discovery.model(model).name, int(number)


def differences(spec: ModelSpec, manifest: Manifest, made: Making | None = None) -> list[str]:
    """The differences from when the version was trained: code, lock file, parameters, seed.

    Args:
        spec: of the model as it is now.
        manifest: of the version.
        made: how it was made, which names the files of its code.
    """
    asked = manifest.parameters.get("max_epochs")
    begins_with = str(manifest.parameters.get("warm_start", ""))
    parameters = training_parameters(spec, int(asked) if asked else None, begins_with)
    sentences = [
        f"{what} (was {before[:12]}, is {now[:12]})"
        for what, before, now in (
            ("the code", manifest.code_digest, code_digest(spec.name)),
            ("the lock file", manifest.lock_digest, lock_digest()),
        )
        if before != now
    ]
    if made and manifest.code_digest != code_digest(spec.name) and (files := other_files(made.code, code_files(spec.name))):
        sentences.append(f"of the files {files}")
    if manifest.seed != spec.training.seed:
        sentences.append(f"the seed (was {manifest.seed}, is {spec.training.seed})")
    for name in sorted({*parameters, *manifest.parameters}):
        before, after = manifest.parameters.get(name), parameters.get(name)
        if before != after:
            sentences.append(f"{name} (was {before}, is {after})")
    return sentences


def other_files(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files are not as they were: names, and what became of each."""
    became = {
        "changed": [name for name in sorted(then) if name in now and now[name] != then[name]],
        "new": sorted({*now} - {*then}),
        "gone": sorted({*then} - {*now}),
    }
    return "; ".join(f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {what}" for what, names in became.items() if names)


def weights_apart(then: Path, now: Path) -> str:
    """The largest difference between the weights of two ONNX files."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    first, second = (
        {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(str(file)).graph.initializer} for file in (then, now)
    )
    if {name: value.shape for name, value in first.items()} != {name: value.shape for name, value in second.items()}:
        return "of other shapes"
    apart = max(
        (
            float(np.abs(value.astype(np.float64) - second[name]).max())
            for name, value in first.items()
            if value.size and value.dtype.kind == "f"
        ),
        default=0.0,
    )
    return f"at most {apart:.2g} apart"
