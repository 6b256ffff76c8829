"""`make capabilities`: which tests show what the platform owes. Standard library only.

    python tests/capabilities.py                  print each row of docs/capabilities.md with its tests, and the counts
    python tests/capabilities.py DM-01 MO-13      these rows alone
    python tests/capabilities.py --write          write what is made of the tests into the two documents
    python tests/capabilities.py --check          exit 1 if one of them is not what the tests say

A test names the rows that it shows at the beginning of its docstring, most telling first: DM-10, DM-11: Bad files are refused.
Id, text and state of a row are written by hand in docs/capabilities.md; its counts and examples are made here, and so is
docs/capability-tests.md.
"""

from __future__ import annotations

import ast
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "capabilities.md"
LIST = ROOT / "docs" / "capability-tests.md"
PROMISES = ROOT / "docs" / "promises.md"
STATES = ("shown", "partly", "not yet")
# Where a test stands -> how much of the platform it starts: the more, the more its row is shown by it.
PARTS = ("e2e", "integration", "kubernetes", "unit", "architecture")
EXAMPLES = 3
COUNTS = re.compile(r"^\*\*[^\n]* rows\.\*\*[^\n]*$", re.MULTILINE)
HEAD = "<!-- Made by `make docs` from the docstrings of the tests; edit those. -->\n\n"
_ID = r"[A-Z]{2}-\d\d"
_NAMED = re.compile(rf"({_ID}(?:, {_ID})*):\s")
_ROW = re.compile(rf"^\| ({_ID}) \| ([^|]+) \| ([^|]+) \|[^|\n]*\|([^|\n]*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One capability: its id, what is owed, and its state with what is missing behind a colon."""

    id: str
    text: str
    state: str


@dataclass(frozen=True)
class Test:
    """One test function, where it stands, and the rows that its docstring names."""

    file: str
    name: str
    rows: tuple[str, ...]

    @property
    def part(self) -> str:
        """The first folder below tests/."""
        return self.file.split("/")[0]

    def __str__(self) -> str:
        """As pytest names it, below tests/."""
        return f"{self.file}::{self.name}"


def rows_of(page: str) -> list[Row]:
    """All rows of docs/capabilities.md, in its order."""
    return [Row(match[1], match[2].strip(), match[3].strip()) for match in _ROW.finditer(page)]


def rows_named(docstring: str) -> tuple[str, ...]:
    """The ids at the beginning of a docstring; none if it names none."""
    named = _NAMED.match(docstring)
    return tuple(named[1].split(", ")) if named else ()


def all_tests(folder: Path = TESTS) -> list[Test]:
    """Every test function below a folder, read without importing it, by file and line."""
    return [
        Test(str(file.relative_to(folder)), function.name, rows_named(ast.get_docstring(function) or ""))
        for file in sorted(folder.rglob("test_*.py"))
        for function in _functions(ast.parse(file.read_text()))
    ]


def mistakes(rows: list[Row], tests: list[Test]) -> list[str]:
    """What cannot be: an id that is told twice, a test of no row, a state that the tests contradict."""
    ids = [row.id for row in rows]
    shown = {name for test in tests for name in test.rows}
    return [
        *(f"{name} stands twice in {PAGE.name}" for name in sorted({name for name in ids if ids.count(name) > 1})),
        *(f"{test} names {name}, which is no row of {PAGE.name}" for test in tests for name in test.rows if name not in ids),
        *(f"{test} names {name} twice" for test in tests for name in sorted(set(test.rows)) if test.rows.count(name) > 1),
        *(f'{row.id} is "{row.state}": a state begins with {", ".join(STATES)}' for row in rows if _state(row) not in STATES),
        *(f"{row.id} is {_state(row)}, and no test names it" for row in rows if _state(row) != "not yet" and row.id not in shown),
        *(f"{row.id} is not yet shown, and tests name it" for row in rows if _state(row) == "not yet" and row.id in shown),
    ]


def documents(text: str, tests: list[Test]) -> dict[Path, str]:
    """Both documents as the tests say, where the text of the first is `text`: file -> content."""
    return {PAGE: page(text, tests), LIST: list_page(rows_of(text), tests)}


def page(text: str, tests: list[Test]) -> str:
    """docs/capabilities.md with counts and examples as the tests say; what is written by hand stays, and so do examples that still hold."""
    promised = set(re.findall(r"`tests/([^`]+::test_\w+)`", PROMISES.read_text()))
    with_cells = _ROW.sub(lambda row: f"| {row[1]} | {row[2]} | {row[3]} | {_cells(row[1], tests, _named_in(row[4]), promised)} |", text)
    return COUNTS.sub(lambda _: counts(rows_of(text), tests), with_cells)


def list_page(rows: list[Row], tests: list[Test]) -> str:
    """docs/capability-tests.md: the tests of every row, file by file, and those that name none."""
    parts = ["# The tests of every capability\n\nBelow `tests/`; [capabilities.md](capabilities.md) says what the rows mean.\n"]
    for row in rows:
        shown_by = [test for test in tests if row.id in test.rows]
        parts.append(f"## {row.id}\n\n{row.text}\n\n{_by_file(shown_by) if shown_by else 'No test yet.'}\n")
    parts.append(f"## Tests that name no row\n\n{_by_file([test for test in tests if not test.rows])}\n")
    return HEAD + "\n".join(parts)


def counts(rows: list[Row], tests: list[Test]) -> str:
    """One line: how many rows there are and are shown, and how many tests show none."""
    shown = {name for test in tests for name in test.rows}
    with_tests = sum(row.id in shown for row in rows)
    whole, part, _ = (sum(_state(row) == state for row in rows) for state in STATES)
    return (
        f"**{len(rows)} rows.** {with_tests} with tests ({whole} shown, {part} partly), {len(rows) - with_tests} without. "
        f"{len(tests)} tests, of which {sum(not test.rows for test in tests)} name no row."
    )


def main(words: list[str]) -> int:
    """Print, write or check; 1 if a row or a document is not what it should be."""
    text, tests = PAGE.read_text(), all_tests()
    rows = rows_of(text)
    wrong = mistakes(rows, tests)
    for sentence in wrong:
        print(sentence)
    stale = {path: made for path, made in documents(text, tests).items() if not path.exists() or path.read_text() != made}
    if words == ["--write"]:
        for path, made in stale.items():
            path.write_text(made)
            print(f"Wrote {path.relative_to(ROOT)}.")
        return bool(wrong)
    if words == ["--check"]:
        if stale:
            print(f"Out of date: {', '.join(str(path.relative_to(ROOT)) for path in stale)}. Run `make docs` and commit what it writes.")
        return bool(wrong or stale)
    words = [word.upper() for word in words]
    if unknown := sorted(set(words) - {row.id for row in rows}):
        print(f"No row is called {', '.join(unknown)}: docs/capabilities.md has those that there are.")
        return 1
    for row in rows:
        if words and row.id not in words:
            continue
        shown_by = [test for test in tests if row.id in test.rows]
        print(f"{row.id}  {row.text}\n       {row.state}; {len(shown_by) or 'no'} {'test' if len(shown_by) == 1 else 'tests'}")
        for test in shown_by:
            print(f"         {test}")
    if not words:
        print(counts(rows, tests).replace("*", ""))
    return bool(wrong)


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    return sorted(functions, key=lambda function: function.lineno)


def _state(row: Row) -> str:
    return row.state.split(":")[0]


def _size(test: Test) -> int:
    return PARTS.index(test.part) if test.part in PARTS else len(PARTS)


def _named_in(cell: str) -> list[str]:
    return re.findall(r"`[^`]*::(test_\w+)`", cell)


def _cells(name: str, tests: list[Test], chosen: list[str], promised: set[str]) -> str:
    shown_by = [test for test in tests if name in test.rows]
    if not shown_by:
        return "no test yet |"
    examples = _examples(name, shown_by, chosen, promised)
    return f"[{len(shown_by)}](capability-tests.md#{name.lower()}) | {'<br>'.join(f'`{test}`' for test in examples)}"


def _examples(name: str, shown_by: list[Test], chosen: list[str], promised: set[str]) -> list[Test]:
    """Those that stood there, wherever they are now; then others: about the row above all, promised, and starting much of the platform."""
    others = sorted(shown_by, key=lambda test: (test.rows[0] != name, str(test) not in promised, _size(test)))
    by_name = {test.name: test for test in reversed(others)}
    kept = [by_name[one] for one in dict.fromkeys(chosen) if one in by_name]
    return [*kept, *(test for test in others if test not in kept)][: max(EXAMPLES, len(kept))]


def _by_file(tests: list[Test]) -> str:
    files = dict.fromkeys(test.file for test in tests)
    return "\n".join(f"* `{file}`: {', '.join(f'`{test.name}`' for test in tests if test.file == file)}" for file in files)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` takes what it wants
    sys.exit(main(sys.argv[1:]))
