"""The learner `onnx`: a `model.onnx` that lies in the model's folder, made elsewhere, by whatever writes ONNX.

Nothing is learned. The file is checked: its inputs are the tensors of features.py by name, kind and width, one output is `scores`, or it
has one only, and the validation rows have finite scores. What scores are is told by them: rows that sum up to 1 are probabilities, other
numbers logits; either is calibrated on the validation rows unless the hyperparameter `calibrate` is False. The file's bytes are part
of what a training depends on, so that another file is another version.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from perennial import discovery
from perennial.encoding import Encoder
from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec
from perennial.training.learners import History, Lesson, Tensors
from perennial.training.scoring import open_session, run_session

NAME = "model.onnx"
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # whose operations every ONNX Runtime has
OPSET = 13  # the oldest whose Clip and Softmax are those that calibration adds
SUM = 1e-3  # by how much the sum of a row's probabilities may miss 1


@dataclass(frozen=True)
class Brought:
    """A graph that was made elsewhere, with its output named `scores`."""

    spec: ModelSpec
    graph: bytes
    gives: Literal["logits", "probabilities", "values"]
    framework: ClassVar[str] = "the file as it was brought"
    epochs: ClassVar[int] = 0
    history: ClassVar[History] = []

    @property
    def calibrates(self) -> bool:
        """Whether its scores are calibrated."""
        return bool(self.spec.training.hyperparameters.get("calibrate", True))

    @property
    def advice(self) -> str:
        """What to do where the same file gives two results."""
        return f"let {self.spec.name}/{NAME} draw no random numbers"

    def weights(self) -> bytes:
        """None: nothing is learned."""
        return b""

    def record(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def scores(self, inputs: Tensors) -> np.ndarray:
        """[rows, classes] or [rows, 1], float64."""
        return run_session(open_session(self.graph, self.spec.compute.cpus), dict(inputs)).astype(np.float64)

    def write_onnx(self, file: Path, example: Tensors) -> None:
        """Write the bytes."""
        file.write_bytes(self.graph)


def learn(lesson: Lesson) -> Brought:
    """Check the file.

    Raises:
        TrainingRefused: there is none, or it does not fit features.py, the task or ONNX Runtime.
    """
    return _checked(lesson.spec, lesson.validation.inputs)


def sketch(spec: ModelSpec, encoder: Encoder, inputs: Tensors) -> Brought:
    """The file itself, which was fitted to other rows: its scores need not mean anything."""
    return _checked(spec, inputs)


def _checked(spec: ModelSpec, inputs: Tensors) -> Brought:
    import onnx

    file = Path(str(discovery.model_part(spec.name, "features").__file__)).with_name(NAME)
    unknown = sorted(set(spec.training.hyperparameters) - {"calibrate"})
    _require(spec, not unknown, f"its hyperparameters name {', '.join(unknown)}", "leave out all but `calibrate`")
    _require(spec, file.is_file(), f"{file.name} is not in its folder", "put it there, in one file")
    try:
        model = onnx.load(str(file), load_external_data=False)
        outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        _require(spec, not outside, f"{outside[:1]} lies in another file", "save it with save_as_external_data=False")
        onnx.checker.check_model(model)
    except TrainingRefused:
        raise
    except Exception as error:  # what the parser and the checker raise has no common class
        raise _refused(spec, f"it is no valid ONNX ({_first(error)})", "export it again") from error
    strange = sorted({opset.domain for opset in model.opset_import} - set(DOMAINS))
    strange = [domain for domain in strange if any(node.domain == domain for node in model.graph.node)]
    _require(spec, not strange, f"it has operations of {', '.join(strange)}", "use standard ones, which serving has")
    opset = next((opset.version for opset in model.opset_import if opset.domain in DOMAINS[:2]), OPSET)
    _require(spec, opset >= OPSET, f"its operations are those of opset {opset}", f"export it with opset {OPSET} or a later one")
    _name_scores(spec, model)
    _match_inputs(spec, model, inputs)
    brought = model.SerializeToString(deterministic=True)
    try:
        scores = run_session(open_session(brought, spec.compute.cpus), dict(inputs))
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise _refused(spec, f"ONNX Runtime cannot score rows with it ({_first(error)})", "export it for any number of rows") from error
    columns, rows = max(1, len(spec.classes)), len(next(iter(inputs.values())))
    _require(
        spec,
        scores.shape == (rows, columns),
        f"scores of {rows} rows have the shape {list(scores.shape)}",
        f"let its output be [rows, {columns}], {'one score for each class of the spec' if spec.classes else 'the value'}",
    )
    _require(spec, bool(np.isfinite(scores).all()), "some rows have scores that are no finite numbers", "mend the file or features.py")
    if not spec.classes:
        return Brought(spec, brought, "values")
    sums_up = bool(((scores >= 0).all(axis=1) & (np.abs(scores.sum(axis=1) - 1) <= SUM)).all())
    return Brought(spec, brought, "probabilities" if sums_up else "logits")


def _name_scores(spec: ModelSpec, model: Any) -> None:
    """Let the graph have one output that is called `scores`, float32."""
    import onnx
    from onnx import helper

    graph = model.graph
    given = next((output for output in graph.output if output.name == "scores"), graph.output[0] if len(graph.output) == 1 else None)
    if given is None:
        names = ", ".join(output.name for output in graph.output)
        raise _refused(spec, f"it has the outputs {names}", "name the one that has a score for each class `scores`")
    kind = given.type.tensor_type.elem_type
    _require(
        spec, kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE), f"its output {given.name} holds no numbers", "let it give float32"
    )
    inner = given.name
    if inner == "scores" and kind == onnx.TensorProto.FLOAT:
        del graph.output[:]
        graph.output.append(given)
        return
    taken = {name for node in graph.node for name in node.output} - {inner}
    if "scores" in taken or inner == "scores":
        raise _refused(spec, "its scores are no float32, or something inside it is called scores", "give float32 `scores` as its output")
    graph.node.append(helper.make_node("Cast", [inner], ["scores"], to=onnx.TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["rows", max(1, len(spec.classes))]))


def _match_inputs(spec: ModelSpec, model: Any, inputs: Tensors) -> None:
    from onnx import helper

    weights = {tensor.name for tensor in model.graph.initializer}
    for wanted in (value for value in model.graph.input if value.name not in weights):
        given, shape = inputs.get(wanted.name), [part.dim_value for part in wanted.type.tensor_type.shape.dim]
        if given is None:
            raise _refused(
                spec,
                f"it wants the input {wanted.name}, and features.py gives {', '.join(inputs)}",
                f"give it the name of a tensor of features.py, or let the encoder make a tensor {wanted.name}",
            )
        kind = helper.tensor_dtype_to_np_dtype(wanted.type.tensor_type.elem_type)
        _require(
            spec,
            given.dtype == kind and len(shape) == given.ndim and all(a in (0, b) for a, b in zip(shape[1:], given.shape[1:], strict=True)),
            f"its input {wanted.name} is {kind} {['rows', *shape[1:]]}, and features.py gives {given.dtype} {['rows', *given.shape[1:]]}",
            _same_shape(shape[1:], list(given.shape[1:])),
        )
        _require(spec, not shape or shape[0] == 0, f"its input {wanted.name} has {shape[:1]} rows", "export it for any number of rows")


def _same_shape(wanted: list[int], given: list[int]) -> str:
    if len(given) == 3 and wanted == [*given[1:], given[0]]:
        return f"let features.py give the tensor the shape {tuple(wanted)}: Keras and TensorFlow have colors last"
    return "make them the same"


def _require(spec: ModelSpec, holds: bool, what: str, advice: str) -> None:
    if not holds:
        raise _refused(spec, what, advice)


def _refused(spec: ModelSpec, what: str, advice: str) -> TrainingRefused:
    return TrainingRefused(f"{NAME} of {spec.name} cannot be taken: {what}. Next: {advice}.")


def _first(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
