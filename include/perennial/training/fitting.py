"""An encoder fitted to rows of which memory holds a piece: the same parts, to the last bit, as if it were given all rows at once.

A model's `fit` is run on each piece. What its parts find in a piece (counts by name, or the numbers of a column) is gathered; in a last run
each part is made of all that was gathered for it. Numbers lie in files, and are looked at one column at a time.

>>> from types import SimpleNamespace
>>> from perennial.encoding import Category, Number
>>> features = SimpleNamespace(fit=lambda columns: Encoder({"x": [Number.fit(columns, "x")], "c": [Category.fit(columns, "c", 2)]}))
>>> pieces = [{"x": np.array([1.0, 5.0]), "c": np.array(["a", "b"])}, {"x": np.array([3.0]), "c": np.array(["b"])}]
>>> fit_in_pieces(features, pieces, Room(0, ".")).tensors["x"][0].mean
3.0
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from perennial.encoding import GATHERING, Columns, Encoder
from perennial.engine.room import Room
from perennial.training.encoded import GrowingFile

Fitted = TypeVar("Fitted")

_PARTS = frozenset({"Category", "Number", "Steps", "Series", "Words", "Tensor"})


def fits_in_pieces(source: str) -> bool:
    """Whether the `fit` of a model's features.py may be run on pieces of the rows, for it does nothing with its columns but what does not
    depend on other rows: it hands them to the `fit` of parts, or to functions that its `encode`, too, applies to any rows.
    """
    tree = ast.parse(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    fit, encode = functions.get("fit"), functions.get("encode")
    if fit is None or encode is None or len(fit.args.args) != 1 or len(encode.args.args) != 2:
        return False
    parts = {
        name.asname or name.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "perennial.encoding"
        for name in node.names
        if name.name in _PARTS
    }
    parts -= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    by_row = {name for name in functions if name not in ("fit", "encode", "label")} & {
        call.func.id for call in _calls(encode) if isinstance(call.func, ast.Name) and _first_is(call, {encode.args.args[1].arg})
    }
    columns, allowed = {fit.args.args[0].arg}, set[int]()

    def handed_on(node: ast.AST) -> list[int]:
        """The place of the columns' name where they, or what a function makes of each row of them, are all that a node is."""
        if isinstance(node, ast.Call) and _named(node.func, by_row) and len(node.args) == 1 and not node.keywords:
            return handed_on(node.args[0])
        return [id(node)] if _named(node, columns) else []

    for statement in fit.body:
        for call in _calls(statement):
            if isinstance(call.func, ast.Attribute) and call.func.attr == "fit" and _named(call.func.value, parts) and call.args:
                allowed.update(handed_on(call.args[0]))
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call) and (found := handed_on(statement.value)):
            if not all(isinstance(target, ast.Name) for target in statement.targets):
                return False
            allowed.update(found)
            columns |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    used = [node for node in ast.walk(fit) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in columns]
    return all(id(node) in allowed for node in used)


def fit_in_pieces(features: ModuleType | Any, pieces: Iterable[Columns], room: Room) -> Encoder:
    """The encoder that `features.fit` gives of all rows.

    Args:
        features: whose `fit` fits in pieces.
        pieces: the columns of all rows, some rows at a time.
        room: says where files lie.
    """
    gathering, last = _Gathering(room), None
    for last in pieces:
        gathering.run(features, last)
    assert last is not None, "there are rows"
    gathering.is_whole = True
    return gathering.run(features, last)


class _Gathering:
    """What the parts of an encoder found, in the order in which `fit` asks for them."""

    def __init__(self, room: Room) -> None:
        self.room, self.is_whole, self.place = room, False, 0
        self.found: list[Counter[Any] | GrowingFile] = []

    def run(self, features: ModuleType | Any, columns: Columns) -> Encoder:
        """Fit to some rows."""
        self.place = 0
        token = GATHERING.set(self)
        try:
            encoder: Encoder = features.fit(columns)
        finally:
            GATHERING.reset(token)
        return encoder

    def fitted(self, gather: Callable[[], Any], of: Callable[[Any], Fitted]) -> Fitted:
        """The next part: of this piece, or at last of all rows."""
        place, self.place = self.place, self.place + 1
        if self.is_whole:
            found = self.found[place]
            return of(found if isinstance(found, Counter) else np.asarray(found.mapped()))
        more = gather()
        if place == len(self.found):
            self.found.append(Counter() if isinstance(more, Counter) else GrowingFile(self.room))
        known = self.found[place]
        if isinstance(known, Counter):
            known.update(more)
        else:
            known.add(more)
        return of(more)


def _calls(node: ast.AST) -> list[ast.Call]:
    return [found for found in ast.walk(node) if isinstance(found, ast.Call)]


def _named(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _first_is(call: ast.Call, names: set[str]) -> bool:
    """Whether the first argument is one of these names."""
    return bool(call.args) and _named(call.args[0], names)
