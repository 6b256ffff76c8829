"""What a docstring says of arguments is said of arguments that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DESCRIBED = re.compile(r"^    (\w+(?:, \w+)*): ", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_described_arguments_are_arguments() -> None:
    """A function or class whose argument got another name says so in its docstring too."""
    unknown = []
    for path in sorted(file for room in ("include", "plugins") for file in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function | ast.ClassDef):
                described = (ast.get_docstring(node) or "").partition("\nArgs:\n")[2]
                names = [name for line in DESCRIBED.findall(re.split(r"\n\w+:\n", described)[0]) for name in line.split(", ")]
                unknown += [f"{path.relative_to(ROOT)}: {node.name}({name})" for name in names if name not in _arguments(node)]
    assert unknown == []


def _arguments(node: Function | ast.ClassDef) -> set[str]:
    if isinstance(node, Function):
        given = node.args
        rest = (argument for argument in (given.vararg, given.kwarg) if argument)
        return {argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, *rest)}
    fields = {field.target.id for field in node.body if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)}
    made = (method for method in node.body if isinstance(method, Function) and method.name == "__init__")
    return fields.union(*map(_arguments, made))
