"""Small version folders that serve, made in milliseconds, and a saboteur of one.

>>> import tempfile, pathlib
>>> from perennial.testing import small_rows, small_version
>>> folder = small_version(pathlib.Path(tempfile.mkdtemp()) / "version")
>>> sorted(file.name for file in folder.iterdir())
['encoder.json', 'features.py', 'golden.json', 'model.onnx', 'signature.json']
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perennial import encoding
from perennial.lineage import version_folder
from perennial.lineage.manifest import Manifest
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec, ServingSpec
from perennial.store import Store

TIME_ZONE = "America/New_York"  # of the flights
CARRIERS = ("AA", "B6", "DL", "UA")
INPUTS: tuple[dict[str, Any], ...] = (
    {"name": "carrier", "type": "string", "nullable": False},
    {"name": "origin", "type": "string", "nullable": False, "values": ["EWR", "JFK", "LGA"]},
    {"name": "scheduled_departure", "type": "timestamp", "nullable": False},
    {"name": "distance", "type": "int", "nullable": False, "min": 1, "max": 20_000},
    {"name": "temp", "type": "float", "nullable": True},
)
FEATURES = '''"""Columns in, tensors out."""


def encode(encoder, columns):
    """The tensors of every row."""
    return encoder.encode(columns)
'''


def small_model(name: str = "small_delays", **serving: Any) -> ModelSpec:
    """The spec of the model whose versions `small_version` makes."""
    inputs = tuple(field["name"] for field in INPUTS)
    return ModelSpec(
        name=name, title="Small delays", owner="tests", dataset="flights", task="binary", inputs=inputs, label="late",
        classes=("on_time", "late"),
        gate=GateSpec(floors={"log_loss": 0.9}), serving=ServingSpec(**serving),
    )  # fmt: skip


def small_dataset() -> DatasetSpec:
    """The spec of the dataset that the small model's inputs and label are columns of."""
    columns = (
        Column(name="carrier", type="string"),
        Column(name="origin", type="string"),
        Column(name="scheduled_departure", type="timestamp"),
        Column(name="distance", type="int"),
        Column(name="temp", type="float"),
        Column(name="late", type="bool"),
    )
    return DatasetSpec(name="flights", title="Flights", owner="tests", columns=columns, key=("carrier",), event_time="scheduled_departure")


def small_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Request rows that `small_version` understands."""
    rng = np.random.default_rng(seed)
    return [
        {
            "carrier": str(rng.choice(CARRIERS)),
            "origin": str(rng.choice(["EWR", "JFK", "LGA"])),
            "scheduled_departure": f"2013-02-{1 + int(rng.integers(28)):02d}T{int(rng.integers(5, 23)):02d}:00:00",
            "distance": int(rng.integers(100, 3000)),
            "temp": None if rng.random() < 0.1 else round(float(rng.normal(40, 10)), 1),
        }
        for _ in range(count)
    ]


def small_version(folder: Path, *, model: str = "small_delays", seed: int = 0) -> Path:
    """Write a version folder without its manifest: a logistic regression with random weights, as ONNX. Needs `onnx`."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    golden = small_rows(16, seed=1000 + seed)
    names = [field["name"] for field in INPUTS]
    columns = encoding.columns_from_rows(small_rows(200, seed=seed), names)
    encoder = encoding.Encoder(
        {
            "numbers": [encoding.Number.fit(columns, "distance"), encoding.Number.fit(columns, "temp", nulls=True)],
            "categories": [encoding.Category.fit(columns, "carrier"), encoding.Category.fit(columns, "origin")],
        }
    )
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {
        "w": rng.normal(size=(3, 2)).astype(np.float32),
        "carrier": rng.normal(size=(encoder.sizes("categories")[0], 2)).astype(np.float32),
        "first": np.array([0], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["numbers", "w"], ["linear"]),
            helper.make_node("Gather", ["categories", "first"], ["place"], axis=1),
            helper.make_node("Squeeze", ["place", "one"], ["places"]),
            helper.make_node("Gather", ["carrier", "places"], ["embedded"], axis=0),
            helper.make_node("Add", ["linear", "embedded"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        model,
        [
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("categories", TensorProto.INT64, ["rows", 2]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 2])],
        [
            *(numpy_helper.from_array(value, name) for name, value in weights.items()),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "one"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    scores = session.run(None, encoder.encode(encoding.columns_from_rows(golden, names)))[0]
    signature = {"model": model, "task": "binary", "classes": ["on_time", "late"], "inputs": INPUTS, "time_zone": TIME_ZONE}
    for name, document in (
        ("encoder", encoder.to_json()),
        ("signature", signature),
        ("golden", {"rows": golden, "scores": scores.tolist(), "tolerance": 1e-4}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(document))
    (folder / "features.py").write_text(FEATURES)
    return folder


def small_manifest(model: str = "small_delays", **changes: Any) -> Manifest:
    """A manifest that lets a small version be published."""
    fields: dict[str, Any] = {
        "model": model, "run_key": "0" * 24, "dataset": "flights", "snapshot": 1, "snapshot_digest": "s", "code_digest": "c",
        "lock_digest": "l",
        "parameters": {}, "seed": 0, "cause": "manual", "event_time_end": "2013-01-31T23:00:00",
    }  # fmt: skip
    return Manifest(**{**fields, **changes})


def publish_small_version(store: Store, folder: Path, *, model: str = "small_delays", seed: int = 0) -> str:
    """Make a small version and publish it; returns its digest."""
    return version_folder.publish(
        store, model, small_version(folder, model=model, seed=seed), small_manifest(model, seed=seed, run_key=f"{seed:024d}")
    )


def sabotage(
    store: Store,
    model: str,
    digest: str,
    folder: Path,
    *,
    share: float = 0.3,
    seconds: float = 0.0,
    begins: Path | None = None,
    spared: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Publish a copy of a version that fails part of its live traffic though every check before passes; returns the copy's digest.

    Its `features.py` raises for about `share` of all rows but the golden ones, those that inspections generate and those that are `spared`,
    always the same ones, after `seconds` of delay for every request with others: a version that only live traffic can convict. With the
    path of a file it is well until there is one, as a version is that fails long after its release.
    """
    from perennial.serving.generated_inputs import generated
    from perennial.serving.request import read_signature

    source = version_folder.fetch(store, model, digest, folder)
    manifest = version_folder.read_manifest(store, model, digest)
    golden = json.loads((source / "golden.json").read_text())["rows"]
    signature = json.loads((source / "signature.json").read_text())
    names = [field["name"] for field in signature["inputs"] if field["type"] != "timestamp"]
    passing = [*golden, *spared, *(row for _, rows in generated(read_signature(signature), golden) for row in rows)]
    shutil.copyfile(source / "features.py", source / "features_before_sabotage.py")
    (source / "features.py").write_text(
        _SABOTAGED.format(names=names, golden=sorted(set(_keys(names, passing))), share=share, seconds=seconds, begins=str(begins or ""))
    )
    return version_folder.publish(
        store,
        model,
        source,
        manifest.model_copy(
            update={"run_key": f"{manifest.run_key[:18]}{'1a7bad' if begins else 'badbad'}", "parents": [digest], "files": {}}
        ),
    )


def _keys(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Identity of each row's values; the saboteur below computes the same from columns."""
    return [zlib.crc32("|".join(encoding.text(row.get(name)) or "" for name in names).encode()) for row in rows]


_SABOTAGED = '''"""Fails part of the live traffic, on purpose."""

import importlib.util
import pathlib
import time
import zlib

from perennial import encoding

NAMES = {names!r}
GOLDEN = frozenset({golden!r})
SHARE = {share!r}
SECONDS = {seconds!r}
BEGINS = {begins!r}

_found = importlib.util.spec_from_file_location("features_before_sabotage", pathlib.Path(__file__).with_name("features_before_sabotage.py"))
_features = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_features)


def _keys(columns):
    texts = [[encoding.text(value) or "" for value in columns[name].tolist()] for name in NAMES]
    return [zlib.crc32("|".join(row).encode()) for row in zip(*texts)]


def encode(encoder, columns):
    """As before the sabotage, except for the rows that fail."""
    is_well = BEGINS and not pathlib.Path(BEGINS).exists()
    strangers = [] if is_well else [key for key in _keys(columns) if key not in GOLDEN]
    if strangers and SECONDS:
        time.sleep(SECONDS)
    for key in strangers:
        if zlib.crc32(b"%d" % key) % 1000 < SHARE * 1000:
            raise ZeroDivisionError("division by zero in a feature that the golden rows do not reach")
    return _features.encode(encoder, columns)
'''
