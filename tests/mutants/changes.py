"""Small wrong versions of a module: mutmut's operators on its whole text, without what only words or types hold.

mutmut itself changes the bodies of functions alone: the limits that stand at the top of a module, and the defaults of its classes,
would never be tried. Left out here are sentences (a string with a space, `description=`), annotations, decorators, imports, aliases
of types and `strict=`, which only guards against a mistake of ours: the type checker and the reader watch over those.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider, WhitespaceInclusivePositionProvider
from mutmut.mutation import mutators
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_CALLS

WORDS_ONLY = ("description", "strict")  # keywords whose values decide nothing
NOT_ENTERED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.Assert)
SEED = "perennial"


@dataclass(frozen=True)
class Mutant:
    """A module with one place changed."""

    function: str  # where: `decide`, `Gate.read`, or empty at the top of the module
    diff: str  # the changed lines without their indentation, `- before` and `+ after`
    lines: range  # of the statement that is changed, in the unchanged text
    text: str  # of the whole module

    @property
    def rank(self) -> str:
        """Its place in the draw, which changes elsewhere do not move."""
        return hashlib.sha256(f"{SEED}|{self.function}|{self.diff}".encode()).hexdigest()

    @property
    def is_python(self) -> bool:
        """Whether the text can be compiled: what cannot be tells nothing of the tests."""
        try:
            compile(self.text, "mutant", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        return True


def draw(mutants: Iterable[Mutant], most: int) -> list[Mutant]:
    """As many mutants as wanted, by a fixed seed, in the order of the text."""
    by_chance = (mutant for mutant in sorted(mutants, key=lambda mutant: mutant.rank) if mutant.is_python)
    return sorted(itertools.islice(by_chance, most), key=lambda mutant: (mutant.lines.start, mutant.rank))


def mutants_of(text: str) -> list[Mutant]:
    r"""Every mutant of a module's text, each text once; a few are no Python, which `draw` leaves out.

    >>> print(*(mutant.diff for mutant in mutants_of("LIMIT = 8.5")), sep="\n")
    - LIMIT = 8.5
    + LIMIT = None
    - LIMIT = 8.5
    + LIMIT = 9.5
    - LIMIT = 8.5
    + LIMIT = 17.0
    - LIMIT = 8.5
    + LIMIT = 4.25
    """
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    visitor = _Visitor(text)
    wrapper.visit(visitor)
    return list({mutant.text: mutant for mutant in visitor.mutants if mutant.text != text}.values())


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider, WhitespaceInclusivePositionProvider)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.lines = text.splitlines(keepends=True)
        self.offsets = [0]
        for line in self.lines:
            self.offsets.append(self.offsets[-1] + len(line))
        self.mutants: list[Mutant] = []
        self.names: list[str] = []
        self.statements: list[range] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, NOT_ENTERED) or _is_docstring(node) or _is_alias(node) or _decides_nothing(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self.names.append(node.name.value)
        if isinstance(node, cst.BaseStatement):
            self.statements.append(self._header(node))
        for changed in _changes(node):
            self._add(node, changed)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, NOT_ENTERED) or _is_docstring(original_node) or _is_alias(original_node):
            return
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self.names.pop()
        if isinstance(original_node, cst.BaseStatement):
            self.statements.pop()

    def _header(self, statement: cst.BaseStatement) -> range:
        """The lines of a statement without the block below it."""
        where: CodeRange = self.get_metadata(PositionProvider, statement)
        body = getattr(statement, "body", None)
        if isinstance(body, cst.BaseSuite):
            begin: CodeRange = self.get_metadata(PositionProvider, body)
            return range(where.start.line, max(where.start.line, begin.start.line - 1) + 1)
        return range(where.start.line, where.end.line + 1)

    def _add(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        where: CodeRange = self.get_metadata(WhitespaceInclusivePositionProvider, node)
        begin, end = (self.offsets[place.line - 1] + place.column for place in (where.start, where.end))
        empty = cst.Module([])
        if "".join(self.text[begin:end].split()) != "".join(empty.code_for_node(node).split()):
            raise AssertionError(f"libcst places {empty.code_for_node(node)!r} wrongly, at line {where.start.line}")
        text = self.text[:begin] + empty.code_for_node(changed) + self.text[end:]
        before = [line.strip() for line in self.lines[where.start.line - 1 : where.end.line]]
        rest = len(self.lines) - where.end.line  # lines below, which are the same
        after = [line.strip() for line in text.splitlines()[where.start.line - 1 :]]
        after = after[: len(after) - rest]
        moved = [op for op in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if op[0] != "equal"]
        gone = [f"- {line}" for _, i, j, _, _ in moved for line in before[i:j]]
        come = [f"+ {line}" for _, _, _, i, j in moved for line in after[i:j]]
        self.mutants.append(Mutant(".".join(self.names), "\n".join(gone + come), self.statements[-1], text))


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in _OPERATORS:
        if isinstance(node, kind):
            yield from operator(node)


def _scaled(node: cst.BaseNumber) -> Iterator[cst.CSTNode]:
    """Limits that are twice as high or half as high: one more is little to many of them."""
    if isinstance(node, cst.Float) or (isinstance(node, cst.Integer) and node.evaluated_value > 3):
        value = node.evaluated_value
        yield node.with_changes(value=repr(value * 2))
        yield node.with_changes(value=repr(value / 2 if isinstance(node, cst.Float) else value // 2))


def _another_string(node: cst.BaseString) -> Iterator[cst.CSTNode]:
    """A key, name or format that is another one; a string with a space is a sentence."""
    if not _is_sentence(node):
        yield from list(mutators.operator_string(node))[:1]


def _other_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    """A call with None in the place of an argument, and without it."""
    for place, argument in enumerate(node.args):
        if argument.star or _is_sentence(argument.value) or (argument.keyword and argument.keyword.value in WORDS_ONLY):
            continue
        before, after = node.args[:place], node.args[place + 1 :]
        if not m.matches(argument.value, m.Name("None")):
            yield node.with_changes(args=[*before, argument.with_changes(value=cst.Name("None")), *after])
        if len(node.args) > 1:
            yield node.with_changes(args=[*before, *after])


_OPERATORS: Sequence[tuple[type, Callable[..., Iterable[cst.CSTNode]]]] = [
    *(
        (kind, operator)
        for kind, operator in mutators.mutation_operators
        if operator not in (mutators.operator_string, mutators.operator_arg_removal)
    ),
    (cst.BaseNumber, _scaled),
    (cst.BaseString, _another_string),
    (cst.Call, _other_arguments),
]


def _is_sentence(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.ConcatenatedString):
        return True
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    return isinstance(node, cst.SimpleString) and " " in node.value


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)


def _is_alias(node: cst.CSTNode) -> bool:
    """`Action = Literal[...]` or `Group: TypeAlias = ...`: a type."""
    if isinstance(node, cst.AnnAssign):
        return m.matches(node.annotation.annotation, m.Name("TypeAlias"))
    return isinstance(node, cst.Assign) and m.matches(node.value, m.Subscript(value=m.Name("Literal") | m.Name("Annotated")))


def _decides_nothing(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Arg) and node.keyword:
        return node.keyword.value in WORDS_ONLY
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in NEVER_MUTATE_FUNCTION_CALLS
