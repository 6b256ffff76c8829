"""Nodes at the end of an ONNX graph: scale and shift of its scores, by which probabilities are calibrated and recalibrated.

Scores of classes become `softmax(scale * log(scores) + shift)`, logits `softmax(scale * logits + shift)`, and the values of a
regression `scale * value + shift`. All that is added bears a prefix, by which it is found and taken away again.

    >>> from onnx import TensorProto, helper
    >>> wide = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "scores")]
    >>> graph = helper.make_graph([helper.make_node("Identity", ["x"], ["scores"])], "toy", wide[:1], wide[1:])
    >>> model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    >>> append(model, "calibration_", "logits", 1.5, (0.0, 0.2))
    >>> [node.op_type for node in model.graph.node]
    ['Identity', 'Mul', 'Add', 'Softmax']
    >>> strip(model, "calibration_")
    >>> [node.op_type for node in model.graph.node]
    ['Identity']
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from perennial.training.calibration import SMALLEST

if TYPE_CHECKING:
    import onnx

Gives = Literal["logits", "probabilities", "values"]


def append(model: onnx.ModelProto, prefix: str, gives: Gives, scale: float, shift: Sequence[float]) -> None:
    """Add nodes behind the output `scores`, which then gives what they make of it.

    Args:
        model: its output `scores` gives `gives`.
        prefix: of the names of everything that is added.
        gives: what the scores are: `values` stay values, of all else probabilities come.
        scale: of the scores.
        shift: one for each column of the scores.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    output = next(value for value in graph.output if value.name == "scores")
    kind = helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
    given = f"{prefix}given"
    _rename(graph, "scores", given)
    constants: dict[str, float | Sequence[float]] = {"scale": scale, "shift": tuple(shift)}
    steps: list[tuple[str, list[str]]] = [("Mul", ["scale"]), ("Add", ["shift"])]
    if gives == "probabilities":
        constants |= {"smallest": SMALLEST, "one": 1.0}
        steps = [("Clip", ["smallest", "one"]), ("Log", []), *steps]
    if gives != "values":
        steps.append(("Softmax", []))
    value = given
    for place, (operation, wanted) in enumerate(steps):
        result = "scores" if place == len(steps) - 1 else f"{prefix}{operation.lower()}"
        inputs = [value, *(f"{prefix}{name}" for name in wanted)]
        graph.node.append(helper.make_node(operation, inputs, [result], name=f"{prefix}{place}"))
        value = result
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(number, dtype=kind), f"{prefix}{name}") for name, number in constants.items()
    )


def strip(model: onnx.ModelProto, prefix: str) -> None:
    """Remove what was added with a prefix, if there is any."""
    graph = model.graph
    for field in (graph.node, graph.initializer):
        kept = [part for part in field if not part.name.startswith(prefix)]
        del field[:]
        field.extend(kept)
    _rename(graph, f"{prefix}given", "scores")


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value of the graph, wherever it is made or used; the graph's output keeps its own."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
