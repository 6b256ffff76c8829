"""docs/capabilities.md and docs/capability-tests.md say of every test what its docstring says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "capabilities.py"
PAGE = """# Rows

**0 rows.**

| id | what | state | tests | such as |
| --- | --- | --- | --- | --- |
| DM-01 | takes files | shown | 7 | `old/test_moved.py::test_second` |
| DM-02 | cleans | not yet | 7 | `old/test_gone.py::test_gone` |
"""


@pytest.fixture(name="capabilities")
def _capabilities(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("capabilities", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_rows_and_tests_agree(capabilities: ModuleType) -> None:
    """Every id that a docstring names is a row, once; no row claims to be shown without a test, or not to be with one."""
    assert capabilities.mistakes(capabilities.rows_of(capabilities.PAGE.read_text()), capabilities.all_tests()) == []


def test_every_line_of_the_table_is_a_row(capabilities: ModuleType) -> None:
    """A line that cannot be read would be checked by nobody."""
    text = capabilities.PAGE.read_text()
    assert len(capabilities.rows_of(text)) == sum(line.startswith("| ") for line in text.splitlines()) - 2 * text.count("| id | ")


def test_the_documents_are_what_the_tests_say(capabilities: ModuleType) -> None:
    """`make docs` writes them."""
    made = capabilities.documents(capabilities.PAGE.read_text(), capabilities.all_tests())
    stale = [path.name for path, text in made.items() if path.read_text() != text]
    assert not stale, f"{' and '.join(stale)}: run `make docs` and commit what it writes"


def test_ids_are_read_from_the_beginning_of_a_docstring(capabilities: ModuleType, tmp_path: Path) -> None:
    """Of functions and methods; what is named later in the text is no claim."""
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit/test_few.py").write_text(
        'class Some:\n    def test_first(self):\n        """DM-10, MO-01: Both; as in SE-01: not this."""\n\n'
        'async def test_second():\n    """A docstring of DM-10: none."""\n\ndef no_test():\n    """DM-10: none."""\n'
    )
    assert sorted((str(test), test.rows) for test in capabilities.all_tests(tmp_path)) == [
        ("unit/test_few.py::test_first", ("DM-10", "MO-01")),
        ("unit/test_few.py::test_second", ()),
    ]


def test_what_cannot_be_is_named(capabilities: ModuleType) -> None:
    """A row that is told twice, an id that is none, one named twice, a state that is none, and one that tests contradict."""
    row, test = capabilities.Row, capabilities.Test
    rows = [row("DM-01", "a", "shown"), row("DM-02", "b", "not yet: later"), row("DM-02", "c", "half")]
    wrong = capabilities.mistakes(rows, [test("unit/test_a.py", "test_a", ("DM-02", "XX-01", "DM-02"))])
    assert wrong == [
        "DM-02 stands twice in capabilities.md",
        "unit/test_a.py::test_a names XX-01, which is no row of capabilities.md",
        "unit/test_a.py::test_a names DM-02 twice",
        'DM-02 is "half": a state begins with shown, partly, not yet',
        "DM-01 is shown, and no test names it",
        "DM-02 is not yet shown, and tests name it",
    ]


def test_what_is_written_by_hand_stays(capabilities: ModuleType) -> None:
    """Texts and states; an example too, under its new place, as long as it shows the row; what a row has no more is replaced."""
    tests = [capabilities.Test("e2e/test_new.py", f"test_{name}", ("DM-01",)) for name in ("first", "second", "third", "fourth")]
    assert capabilities.page(PAGE, tests).splitlines()[2:] == [
        "**2 rows.** 1 with tests (1 shown, 0 partly), 1 without. 4 tests, of which 0 name no row.",
        "",
        *PAGE.splitlines()[4:6],
        "| DM-01 | takes files | shown | [4](capability-tests.md#dm-01) | "
        "`e2e/test_new.py::test_second`<br>`e2e/test_new.py::test_first`<br>`e2e/test_new.py::test_third` |",
        "| DM-02 | cleans | not yet | no test yet | |",
    ]


def test_telling_tests_come_first(capabilities: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that name the row first, then those that are promised, then those that start much of the platform."""
    (tmp_path / "promises.md").write_text("| it goes in once | `tests/unit/test_a.py::test_promised` | |\n")
    monkeypatch.setattr(capabilities, "PROMISES", tmp_path / "promises.md")
    tests = [
        capabilities.Test("e2e/test_loop.py", "test_second_named", ("DM-02", "DM-01")),
        capabilities.Test("unit/test_a.py", "test_small", ("DM-01",)),
        capabilities.Test("integration/test_b.py", "test_large", ("DM-01",)),
        capabilities.Test("unit/test_a.py", "test_promised", ("DM-01",)),
    ]
    (line,) = [line for line in capabilities.page(PAGE, tests).splitlines() if line.startswith("| DM-01")]
    assert [name.split("`")[0] for name in line.split("::")[1:]] == ["test_promised", "test_large", "test_small"]
