"""Trees of LightGBM as an ONNX graph that takes a model's tensors by their names.

Converters round each threshold to the nearest float32, and a row that lies between the two is then on the other side. Here thresholds are
rounded down, so that every float32 is on the side where LightGBM has it, and only the sums differ, by rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Tree = Mapping[str, Any]  # as `Booster.dump_model` has it

_OPSETS = {"": 18, "ai.onnx.ml": 3}
_IR = 9  # of the file's form: ONNX Runtime of any serving environment reads it


def write_graph(file: Path, document: Mapping[str, Any], example: Mapping[str, np.ndarray], targets: int, *, exponent: bool) -> None:
    """Write the graph: tensors side by side as one matrix of float32, the trees, and `scores`.

    Args:
        file: to write.
        document: what `Booster.dump_model` gave.
        example: some rows of each tensor, in the order of the matrix.
        targets: columns of the scores: 1 for a regression. Of two classes the first one's are zeros.
        exponent: whether scores are `exp` of what the trees sum up to.
    """
    import onnx
    from onnx import helper

    nodes, constants, inputs, parts = [], [], [], []
    for name, values in example.items():
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), ["rows", *values.shape[1:]]))
        part = name
        if values.ndim != 2:
            wide = f"trees_shape_{name}"
            constants.append(helper.make_tensor(wide, onnx.TensorProto.INT64, [2], [-1, int(np.prod(values.shape[1:], dtype=int))]))
            nodes.append(helper.make_node("Reshape", [part, wide], [f"trees_flat_{name}"]))
            part = f"trees_flat_{name}"
        if values.dtype != np.float32:
            nodes.append(helper.make_node("Cast", [part], [f"trees_float_{name}"], to=onnx.TensorProto.FLOAT))
            part = f"trees_float_{name}"
        parts.append(part)
    nodes.append(helper.make_node("Concat", parts, ["trees_matrix"], axis=1))
    sums = "trees_sums" if exponent else "scores"
    nodes.append(
        helper.make_node(
            "TreeEnsembleRegressor", ["trees_matrix"], [sums], domain="ai.onnx.ml", n_targets=targets, **_attributes(document, targets)
        )
    )
    if exponent:
        nodes.append(helper.make_node("Exp", [sums], ["scores"]))
    output = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["rows", targets])
    graph = helper.make_graph(nodes, "trees", inputs, [output], constants)
    opsets = [helper.make_opsetid(domain, number) for domain, number in _OPSETS.items()]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="perennial"), str(file))


def _attributes(document: Mapping[str, Any], targets: int) -> dict[str, Any]:
    """The attributes of TreeEnsembleRegressor, of opset 3 of ai.onnx.ml."""
    of_round = int(document["num_tree_per_iteration"])
    rounds = len(document["tree_info"]) // of_round
    share = 1.0 / rounds if document.get("average_output") else 1.0  # a random forest's trees are averaged
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true",
        )
    }  # fmt: skip
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, tree in enumerate(document["tree_info"]):
        target = number % of_round if of_round > 1 else targets - 1
        for place, row, value in _nodes(tree["tree_structure"]):
            for name, entry in zip(columns, (number, place, *row), strict=True):
                columns[name].append(entry)
            if value is not None:
                for name, entry in zip(leaves, (number, place, target, value * share), strict=True):
                    leaves[name].append(entry)
    return {f"nodes_{name}": values for name, values in columns.items()} | {f"target_{name}": values for name, values in leaves.items()}


def _nodes(root: Tree) -> Iterator[tuple[int, tuple[int, float, str, int, int, int], float | None]]:
    """Each node of a tree: its number; feature, threshold, mode, numbers of the true and the false branch, whether NaN goes to the true
    one; and its value if it is a leaf. A set of categories is a chain of equalities that lead to one branch."""
    waiting, made = [(0, root)], 1
    while waiting:
        place, node = waiting.pop()
        if "split_feature" not in node:
            yield place, (0, 0.0, "LEAF", 0, 0, 0), float(node["leaf_value"])
            continue
        left, right, made = made, made + 1, made + 2
        waiting += [(right, node["right_child"]), (left, node["left_child"])]
        feature = int(node["split_feature"])
        if node["decision_type"] == "==":
            values = [float(value) for value in str(node["threshold"]).split("||")]
            chain = [place, *range(made, made + len(values) - 1)]
            made += len(values) - 1
            for link, (here, value) in enumerate(zip(chain, values, strict=True)):
                beyond = chain[link + 1] if link + 1 < len(chain) else right
                yield here, (feature, value, "BRANCH_EQ", left, beyond, 0), None
        else:
            threshold = float(node["threshold"])
            # Where the rows of the training had no null, one counts as zero.
            lost = int(node["default_left"]) if node["missing_type"] == "NaN" else int(threshold >= 0)
            yield place, (feature, rounded_down(threshold), "BRANCH_LEQ", left, right, lost), None


def rounded_down(threshold: float) -> float:
    """The largest float32 that is not above it."""
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near)
