"""The code of a new model that depends on its learner: what its features.py makes of the columns, and its model.py."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from perennial import encoding
from perennial.commands._template import fill, listed, quoted
from perennial.encoding import Category, Columns, Cycle, Encoder, Grams, Number, Part, Pixels, Series, Tensor
from perennial.errors import UnknownName
from perennial.pictures import MODES
from perennial.specs import Column

if TYPE_CHECKING:
    from perennial.commands._new_model import Plan

ELEMENTS = 32  # of a list of numbers that a new model reads
WORD_WIDTH = 16  # numbers by which a new network describes a word
MOST_WORDS = 500  # of a text, each of which is a column where no network reads it
MOST_PLACES = 4096  # of an array or a picture, each of which is a column where no network reads it
MOST_CODES = 200  # of a category that stands in features.py
MOST_NARROW = 8  # width of the narrow layer of a new autoencoder

_Scaled = TypeVar("_Scaled", Number, Series, Tensor)


@dataclass(frozen=True)
class Features:
    """The parts of a features.py."""

    uses: tuple[str, ...]  # names of perennial.encoding
    constants: str
    made: tuple[tuple[str, str], ...]  # columns that a row does not come with: name, expression
    fit_words: str
    fit_body: str
    encode_words: str
    encode_body: str
    helpers: str = ""
    nulls_are_kept: bool = False  # whether a tensor may hold NaN, and words


def features_of(plan: Plan, rows: Columns) -> Features:
    """What a new model's features.py does.

    Args:
        plan: of the model.
        rows: the inputs in the sample, of which constants are made.

    Raises:
        UnknownName: the learner cannot take one of the inputs.
    """
    if plan.learner == "onnx":
        return _constant(plan, encoder_of(plan, rows))
    if plan.learner == "lightning":
        return _fitted(plan)
    for column in plan.grids:
        if (places := _places(column)) > MOST_PLACES:
            raise UnknownName(
                f"{column.name} holds {places:,} numbers, and {plan.learner} takes each as a column of its own, {MOST_PLACES:,} at most: "
                "--learner lightning has layers for it."
            )
    if plan.learner == "boosted":
        return _flat(plan)
    return _raw(plan) if _is_raw(plan) else _matrix(plan)


def encoder_of(plan: Plan, rows: Columns) -> Encoder:
    """The encoder of these rows, by constants: nothing of it changes when other rows come."""
    tensors: dict[str, list[Part]] = {}
    if plan.numbers or plan.cycles:
        numbers = [_rounded(Number.fit(rows, name, nulls=True)) for name in plan.numbers]
        tensors["numbers"] = [*numbers, *(Cycle(f"{plan.clock}_{what}", period) for what, period in plan.cycles)]
    if plan.categories:
        tensors["categories"] = [_most_frequent(rows, name) for name in plan.categories]
    tensors |= {f"text_{i}": [Grams(name)] for i, name in enumerate(plan.texts)}
    tensors |= {f"series_{i}": [_rounded(Series.fit(rows, name, ELEMENTS))] for i, name in enumerate(plan.series)}
    for i, column in enumerate(plan.grids):
        part = Pixels(column.name, column.shape, column.mode) if column.type == "image" else Tensor.fit(rows, column.name, column.shape)
        tensors[f"grid_{i}"] = [part if isinstance(part, Pixels) else _rounded(part)]
    return Encoder(tensors)


def shapes_of(plan: Plan, encoder: Encoder, rows: Columns) -> dict[str, str]:
    """What each tensor of that encoder is, as a sentence says it: float32 [rows, 3]."""
    first = {name: values[:1] for name, values in rows.items()}
    times = {f"{plan.clock}_{what}": getattr(encoding, f"{what}s")(first[plan.clock]) for what, _ in plan.cycles}
    encoded = encoder.encode({**first, **times})
    return {name: f"{values.dtype} [{', '.join(['rows', *map(str, values.shape[1:])])}]" for name, values in encoded.items()}


def network_of(plan: Plan) -> dict[str, str]:
    """The parts of a model.py that is a network."""
    numbers, categories = bool(plan.numbers or plan.cycles), bool(plan.categories)
    texts, series = [f"text_{i}" for i in range(len(plan.texts))], [f"series_{i}" for i in range(len(plan.series))]
    widths = [
        *(['encoder.width("numbers")'] if numbers else []),
        *(["sum(e.embedding_dim for e in embeddings)"] if categories else []),
        *([f"{len(texts)} * {WORD_WIDTH}"] if texts else []),
        *(f'encoder.width("{name}")' for name in series),
        *(str(_places(column)) for column in plan.grids),
    ]
    init = []
    if categories:
        init = [
            '        embeddings = [nn.Embedding(size, min(8, size // 2 + 1)) for size in encoder.sizes("categories")]',
            "        self.embeddings = nn.ModuleList(embeddings)",
        ]
    if texts:
        init.append(
            f"        self.texts = nn.ModuleList(nn.Embedding(encoder.sizes(n)[0], {WORD_WIDTH}, padding_idx=0) for n in ({listed(texts)}))"
        )
    init.append(f"        width = {' + '.join(widths)}")
    if plan.centre:  # a network that begins far from its target spends its epochs on the way there
        init.append('        self.mean, self.scale = float(self.options["target_mean"]), float(self.options["target_scale"])')
    parts = [*(["numbers"] if numbers else []), *(["*(e(categories[:, i]) for i, e in enumerate(self.embeddings))"] if categories else [])]
    if texts:
        parts.append(f"*(mean_of_codes(e, codes) for e, codes in zip(self.texts, ({', '.join(texts)},), strict=True))")
    grids = [f"grid_{place}" for place in range(len(plan.grids))]
    parts += [f"{name}.flatten(1)" for name in (*series, *grids)]
    joined = "numbers" if parts == ["numbers"] else f"torch.cat([{', '.join(parts)}], dim=1)"
    answer = [f"        logits: torch.Tensor = self.layers({joined})", "        return logits"]
    if plan.centre:
        answer = [f"        scaled: torch.Tensor = self.layers({joined})", "        return self.mean + self.scale * scaled"]
    return {
        "init": "\n".join(init),
        "arguments": _arguments(plan),
        "module_imports": "TaskModule, mean_of_codes" if texts else "TaskModule",
        "forward": "\n".join(answer),
        "hyperparameters": "hidden, learning_rate, weight_decay" + (", target_mean, target_scale" if plan.centre else ""),
    }


def autoencoder_of(plan: Plan) -> dict[str, str]:
    """The parts of a model.py that is an autoencoder. Raises UnknownName: the inputs have no number."""
    others = [*(f"series_{i}" for i in range(len(plan.series))), *(f"grid_{i}" for i in range(len(plan.grids)))]
    if not (plan.numbers or plan.cycles or others):
        raise UnknownName(
            f"{', '.join(plan.categories)} of {plan.dataset.name} hold{'s' if len(plan.categories) == 1 else ''} words alone, and an "
            "autoencoder needs a number beside them: --learner sklearn takes them."
        )
    first = ["numbers"] if plan.numbers or plan.cycles else []
    parts = [*first, *(f"{name}.flatten(1)" for name in others)]
    widths = [*(f'encoder.width("{name}")' for name in [*first, *others[: len(plan.series)]]), *(str(_places(c)) for c in plan.grids)]
    columns = len(plan.inputs) + 2 * len(plan.cycles)
    return {
        "narrow": str(min(MOST_NARROW, max(1, columns // 3))),  # as wide as the columns it would let everything through
        "widths": " + ".join(widths) + (', encoder.sizes("categories")' if plan.categories else ""),
        "arguments": _arguments(plan),
        "numbers": (parts[0] if len(parts) == 1 else f"torch.cat([{', '.join(parts)}], dim=1)")
        + (", categories" if plan.categories else ""),
    }


def _arguments(plan: Plan) -> str:
    """The tensors of features.py, as `forward` of a network takes them."""
    names = [
        *(["numbers"] if plan.numbers or plan.cycles else []),
        *(["categories"] if plan.categories else []),
        *(f"text_{place}" for place in range(len(plan.texts))),
        *(f"series_{place}" for place in range(len(plan.series))),
        *(f"grid_{place}" for place in range(len(plan.grids))),
    ]
    return ", ".join(f"{name}: torch.Tensor" for name in names)


_ESTIMATORS = {  # by task; the others are classifiers
    "regression": ("linear_model", "Ridge", "Ridge()"),
    "anomaly": ("ensemble", "IsolationForest", "IsolationForest(n_estimators=200)"),
}


def estimator_of(plan: Plan) -> dict[str, str]:
    """The parts of a model.py that gives an estimator of scikit-learn."""
    classifier = ("linear_model", "LogisticRegression", "LogisticRegression(max_iter=1000)")
    where, made, last = _ESTIMATORS.get(plan.task, classifier)
    imports, own = [f"from sklearn.{where} import {made}"], ""
    numbers = bool(plan.numbers or plan.cycles)
    if not _is_raw(plan):
        lines = [f"    return {last}"]
    else:
        imports += ["from sklearn.compose import ColumnTransformer", "from sklearn.pipeline import make_pipeline"]
        parts = []
        if numbers:
            imports += ["from sklearn.impute import SimpleImputer"]
            parts.append('("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(NUMBERS))')
        if plan.categories:
            parts.append('("words", OneHotEncoder(handle_unknown="ignore"), list(CATEGORIES))')
        kinds = [*(["OneHotEncoder"] if plan.categories else []), *(["StandardScaler"] if numbers else [])]
        imports.append(f"from sklearn.preprocessing import {', '.join(kinds)}")
        names = [*(["CATEGORIES"] if plan.categories else []), *(["NUMBERS"] if numbers else [])]
        own = f"from perennial_models.{plan.name}.features import {', '.join(names)}\n"
        lines = [f"    columns = ColumnTransformer([{', '.join(parts)}])", f"    return make_pipeline(columns, {last})"]
    return {
        "sklearn_imports": "\n".join(sorted(imports)),
        "own_imports": own,
        "estimator_body": "\n".join(lines),
        "estimator_words": f"`{made}` of scikit-learn on {'columns that keep their names' if _is_raw(plan) else 'one matrix of numbers'}.",
    }


def _is_raw(plan: Plan) -> bool:
    """Whether an estimator gets columns by their names, rather than one matrix: one that finds outliers takes no words."""
    columns = len(plan.numbers) + len(plan.categories) + 2 * len(plan.cycles)
    return plan.task != "anomaly" and columns > 1 and not (plan.texts or plan.series or plan.grids)


def label_of(plan: Plan) -> tuple[str, set[str]]:
    """The function `label` of a features.py, and what it uses of perennial.encoding; nothing of a model without label."""
    if not plan.label:
        return "", set()
    label, classes = plan.label.name, list(plan.told or plan.classes)
    what, words = (
        "What is to be predicted",
        "the number itself" if plan.task == "regression" else "the place of the class in the spec's `classes`",
    )
    if plan.told:
        what, words = "What measures the model and never trains it", "1 where a row was an anomaly, else 0"
    if not classes or (plan.label.type in ("int", "float") and classes == [str(i) for i in range(len(classes))]):
        return fill("model/label.py", {"what": what, "words": words, "body": f"    return numbers(columns[{quoted(label)}])"}), {"numbers"}
    body = [
        f"    places = {{name: float(place) for place, name in enumerate([{listed(classes)}])}}",
        f'    return np.array([places.get(text(value) or "", np.nan) for value in columns[{quoted(label)}].tolist()])',
    ]
    return fill("model/label.py", {"what": what, "words": words, "body": "\n".join(body)}), {"text"}


def _fitted(plan: Plan, words: str = "") -> Features:
    """An encoder that learns from the training rows: what a network gets."""
    tensors, uses = [], []
    if plan.numbers or plan.cycles:
        parts = ["*(Number.fit(found, name, nulls=True) for name in NUMBERS)"] if plan.numbers else []
        parts += [f"Cycle({quoted(f'{plan.clock}_{what}')}, {period})" for what, period in plan.cycles]
        tensors.append(f'"numbers": [{", ".join(parts)}]')
        uses += [*(["Number"] if plan.numbers else []), *(["Cycle"] if plan.cycles else [])]
    if plan.categories:
        tensors.append('"categories": [Category.fit(found, name) for name in CATEGORIES]')
        uses.append("Category")
    if plan.texts:
        tensors.append(f'**{{f"text_{{i}}": [Words.fit(found, name{words})] for i, name in enumerate(TEXTS)}}')
        uses.append("Words")
    if plan.series:
        tensors.append('**{f"series_{i}": [Series.fit(found, name, ELEMENTS)] for i, name in enumerate(SERIES)}')
        uses.append("Series")
    tensors += [f'"grid_{place}": [{_part_of(column)}]' for place, column in enumerate(plan.grids)]
    uses += sorted({"Pixels" if column.type == "image" else "Tensor" for column in plan.grids})
    finds = plan.numbers or plan.categories or plan.texts or plan.series or any(column.type == "array" for column in plan.grids)
    derived = "derive(columns)" if plan.cycles else "columns"
    return Features(
        uses=(*uses, *(f"{what}s" for what, _ in plan.cycles)),
        constants=f"NUMBERS = ({listed(plan.numbers)})\nCATEGORIES = ({listed(plan.categories)})\n{_constants(plan)}",
        made=tuple((f"{plan.clock}_{what}", f"{what}s(columns[{quoted(plan.clock)}])") for what, _ in plan.cycles),
        fit_words="The encoder of these rows: the training split alone.",
        fit_body=(f"    found = {derived}\n" if finds else "") + f"    return Encoder({{{', '.join(tensors)}}})",
        encode_words="The network's inputs by name.",
        encode_body=f"    return encoder.encode({derived})",
    )


_COUNTS = '''def counts(codes: np.ndarray, size: int) -> np.ndarray:
    """How often each code comes in a row, float32 [rows, size]; 0 stands for no word."""
    found = np.zeros((len(codes), size), dtype=np.float32)
    np.add.at(found, (np.arange(len(codes))[:, None], codes), 1)
    found[:, 0] = 0
    return found


'''


def _flat(plan: Plan) -> Features:
    """What trees get: numbers and codes as a network does, and of a text how often each word comes."""
    fitted = _fitted(plan, ", most=WORDS")
    if not plan.texts:
        return dataclasses.replace(fitted, encode_words="The columns of the trees: numbers, and categories as whole numbers.")
    return dataclasses.replace(
        fitted,
        constants=f"{fitted.constants}WORDS = {MOST_WORDS}  # of a text that count, the most frequent ones\n",
        helpers=_COUNTS,
        encode_words="The columns of the trees: numbers, categories as whole numbers, and how often each word comes.",
        encode_body=fitted.encode_body.replace("    return", "    tensors =")
        + '\n    words = {name: encoder.sizes(name)[0] for name in tensors if name.startswith("text_")}'
        + "\n    return {name: counts(values, words[name]) if name in words else values for name, values in tensors.items()}",
    )


def _matrix(plan: Plan) -> Features:
    """One matrix of numbers, for an estimator that takes nothing else."""
    flat = _flat(plan)
    pieces = ["    pieces: list[np.ndarray] = []", "    for name, values in tensors.items():"]
    if plan.categories:
        pieces += [
            '        if name == "categories":',
            "            sizes = encoder.sizes(name)",
            "            pieces += [np.eye(size, dtype=np.float32)[values[:, place]] for place, size in enumerate(sizes)]",
            "            continue",
        ]
    if plan.texts:
        pieces += [
            '        if name.startswith("text_"):',
            "            pieces.append(counts(values, encoder.sizes(name)[0]))",
            "            continue",
        ]
    pieces.append("        pieces.append(values.reshape(len(values), -1))")
    encoded = f"    tensors = encoder.encode({'derive(columns)' if plan.cycles else 'columns'})\n"
    return dataclasses.replace(
        flat,
        encode_words="One matrix: numbers, categories as zeros and ones, and how often each word comes.",
        encode_body=encoded + "\n".join(pieces) + '\n    return {"x": np.concatenate(pieces, axis=1)}',
    )


def _raw(plan: Plan) -> Features:
    """Columns as they are, for a Pipeline that names them."""
    names = {name: _tensor_name(name, place) for place, name in enumerate([*plan.numbers, *plan.categories])}
    made = [(alias, f"columns[{quoted(name)}]") for name, alias in names.items() if alias != name]
    circles = []
    for what, period in plan.cycles:
        for wave in ("sin", "cos"):
            circles.append(f"time_{what}_{wave}")
            angle = f"2 * np.pi / {period} * {what}s(columns[{quoted(plan.clock)}])"
            made.append((circles[-1], f"np.{wave}({angle})"))
    numbers = [*(names[name] for name in plan.numbers), *circles]
    tensors = []
    if numbers:
        tensors.append("**{name: [Raw(name)] for name in NUMBERS}")
    if plan.categories:
        tensors.append("**{name: [Raw(name, words=True)] for name in CATEGORIES}")
    return Features(
        uses=("Raw", *(f"{what}s" for what, _ in plan.cycles)),
        constants=f"NUMBERS = ({listed(numbers)})\nCATEGORIES = ({listed([names[name] for name in plan.categories])})\n",
        made=tuple(made),
        fit_words="Columns as they are: the Pipeline of model.py learns what there is to learn of them.",
        fit_body=f"    return Encoder({{{', '.join(tensors)}}})",
        encode_words="Each column by its name.",
        encode_body=f"    return encoder.encode({'derive(columns)' if made else 'columns'})",
        nulls_are_kept=True,
    )


def _constant(plan: Plan, encoder: Encoder) -> Features:
    """Constants, for a file that was made for them."""
    fitted = _fitted(plan)
    tensors = ", ".join(f"{quoted(name)}: [{', '.join(map(repr, parts))}]" for name, parts in encoder.tensors.items())
    return dataclasses.replace(
        fitted,
        uses=(*sorted({type(part).__name__ for parts in encoder.tensors.values() for part in parts}), *(f"{w}s" for w, _ in plan.cycles)),
        constants=(
            "# What model.onnx is given. Constants, since the file was made for them: newer rows must not move them. Make it of what\n"
            f"# `encode(ENCODER, columns)` gives.\nENCODER = Encoder({{{tensors}}})\n"
        ),
        fit_words="The encoder that the file was made for, whatever the rows are.",
        fit_body="    return ENCODER",
        encode_words="The file's inputs by name.",
    )


def _rounded(part: _Scaled) -> _Scaled:
    """The same with a mean and a deviation that are short to write."""
    return dataclasses.replace(part, mean=float(f"{part.mean:.6g}"), deviation=float(f"{part.deviation:.6g}"))


def _most_frequent(rows: Columns, name: str) -> Category:
    counts: dict[str, int] = {}
    for value in map(encoding.text, rows[name].tolist()):
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    return Category(name, tuple(sorted(sorted(counts, key=lambda value: (-counts[value], value))[:MOST_CODES])))


def _tensor_name(column: str, place: int) -> str:
    """A name that skl2onnx keeps as it is."""
    taken = column.startswith(("scores", "time_"))  # scores are the output, and of the time we make some
    return column if re.fullmatch(r"[A-Za-z_]\w*", column, re.ASCII) and not taken else f"column_{place}"


def _places(column: Column) -> int:
    return math.prod(column.shape) * MODES.get(column.mode, 1)


def _part_of(column: Column) -> str:
    """The part of an encoder that reads an array or a picture."""
    if column.type == "image":
        return f'Pixels({quoted(column.name)}, {column.shape}, "{column.mode}")'
    return f"Tensor.fit(found, {quoted(column.name)}, {column.shape})"


def _constants(plan: Plan) -> str:
    """Lines of `features.py` on inputs of words and lists, if there are some."""
    lines = [f"TEXTS = ({listed(plan.texts)})  # free text, or lists of words"] if plan.texts else []
    lines += (
        [f"SERIES = ({listed(plan.series)})  # lists of numbers", f"ELEMENTS = {ELEMENTS}  # of a list that count"] if plan.series else []
    )
    return "".join(f"{line}\n" for line in lines)


def derive_of(features: Features) -> str:
    """The function of `features.py` that makes columns which a row does not come with; nothing without any."""
    if not features.made:
        return ""
    pairs = ", ".join(f"{quoted(name)}: {expression}" for name, expression in features.made)
    words = "The inputs, and what the time of a row says." if {"hours", "weekdays"} & {*features.uses} else "The inputs, by plain names."
    return f'def derive(columns: Columns) -> dict[str, np.ndarray]:\n    """{words}"""\n    return {{**columns, {pairs}}}\n\n\n'
