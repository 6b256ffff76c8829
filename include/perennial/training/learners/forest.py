"""An isolation forest as one ensemble of trees in ONNX.

skl2onnx writes dozens of nodes for each tree: 200 trees take a minute to convert, and a server needs 40 seconds to load them. Here all
trees are one node, whose leaves hold the depth at which a row is isolated; one formula makes the score of their sum. Liu et al., "Isolation
Forest" (2008).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from perennial.training.learners.trees import rounded_down


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a fitted IsolationForest to a graph: 1 or -1, and the `decision_function`, as skl2onnx asks for them."""
    from onnx import TensorProto
    from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]

    forest, (given,), (label, scores) = operator.raw_operator, operator.inputs, operator.outputs

    def added(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or str(scope.get_unique_variable_name(f"forest_{kind.lower()}"))
        domain = {"op_domain": "ai.onnx.ml"} if kind.startswith("Tree") else {"op_version": 13}
        container.add_node(kind, inputs, output, name=scope.get_unique_operator_name(kind), **domain, **attributes)
        return output

    def constant(value: float, of: int = TensorProto.FLOAT) -> str:
        name = str(scope.get_unique_variable_name("forest_constant"))
        container.add_initializer(name, of, [1], [value])
        return name

    rows = given.full_name if isinstance(given.type, FloatTensorType) else added("Cast", [given.full_name], to=TensorProto.FLOAT)
    depths = added("TreeEnsembleRegressor", [rows], n_targets=1, **_attributes(forest))
    usual = len(forest.estimators_) * float(mean_depth(np.array([forest.max_samples_]))[0])
    powers = added("Pow", [constant(2.0), added("Mul", [depths, constant(-1.0 / (usual or 1.0))])])
    found = added("Sub", [constant(-float(forest.offset_)), powers], scores.full_name)
    below = added("Less", [found, constant(0.0)])
    added("Where", [below, constant(-1, TensorProto.INT64), constant(1, TensorProto.INT64)], label.full_name)


def shapes(operator: Any) -> None:
    """Say what `convert` gives."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type, operator.outputs[1].type = Int64TensorType([rows, 1]), FloatTensorType([rows, 1])


def mean_depth(rows: np.ndarray) -> np.ndarray:
    """How many more cuts isolate one of so many rows, on average: equation 1 of the paper.

    >>> mean_depth(np.array([1, 2, 256])).round(3).tolist()
    [0.0, 1.0, 10.245]
    """
    several = np.maximum(rows, 3).astype(np.float64)
    depths: np.ndarray = 2 * (np.log(several - 1) + np.euler_gamma) - 2 * (several - 1) / several
    return np.where(rows > 2, depths, rows == 2).astype(np.float64)


def _attributes(forest: Any) -> dict[str, Any]:
    """The attributes of TreeEnsembleRegressor, of opset 3 of ai.onnx.ml: nodes and leaves of every tree."""
    columns: dict[str, list[Any]] = {}
    for number, (estimator, features) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        depths = np.zeros(tree.node_count)
        for node in np.flatnonzero(~is_leaf):  # a node comes before what is below it
            depths[[tree.children_left[node], tree.children_right[node]]] = depths[node] + 1
        places, leaves = np.arange(tree.node_count), np.flatnonzero(is_leaf)
        nothing = np.zeros(tree.node_count, np.int64)
        made = {
            "nodes_treeids": nothing + number,
            "nodes_nodeids": places,
            "nodes_featureids": np.where(is_leaf, 0, np.asarray(features)[np.maximum(tree.feature, 0)]),
            "nodes_values": np.array([0.0 if leaf else rounded_down(cut) for leaf, cut in zip(is_leaf, tree.threshold, strict=True)]),
            "nodes_modes": np.where(is_leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(is_leaf, 0, tree.children_left),
            "nodes_falsenodeids": np.where(is_leaf, 0, tree.children_right),
            "nodes_missing_value_tracks_true": np.where(is_leaf, 0, tree.missing_go_to_left),
            "target_treeids": nothing[leaves] + number,
            "target_nodeids": leaves,
            "target_ids": nothing[leaves],
            "target_weights": depths[leaves] + mean_depth(tree.n_node_samples[leaves]),
        }
        for name, values in made.items():
            columns.setdefault(name, []).extend(values.tolist())
    return columns
