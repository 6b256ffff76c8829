"""docs/promises.md: each promise names a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| `(tests/[^`:]+)::(test_\w+)` \|", (ROOT / "docs/promises.md").read_text(), re.MULTILINE)


def test_every_row_is_read():
    """A row without a test would pass unseen."""
    rows = [line for line in (ROOT / "docs/promises.md").read_text().splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(rows) - 2  # the head and the line below it


@pytest.mark.parametrize(("promise", "file", "name"), ROWS, ids=[name for _, _, name in ROWS])
def test_a_promise_has_its_test(promise, file, name):
    """It may be renamed or moved, not lost."""
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), promise
