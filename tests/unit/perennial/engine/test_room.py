"""How much memory rows may take."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from perennial.engine import room
from perennial.engine.room import Room, room_of, usable_memory


def test_rows_fit_up_to_the_last_byte() -> None:
    """MO-23: Not with one more."""
    assert Room(1000, ".").holds(rows=10, row_bytes=100)
    assert not Room(999, ".").holds(rows=10, row_bytes=100)


def test_a_file_has_no_name(tmp_path: Path) -> None:
    """MO-23: So nothing is left of it, however its process ends; its folder is made, and it is closed with what it belongs to."""

    class Owner:
        pass

    owner = Owner()
    file = Room(1, tmp_path / "a/b").file(owner)
    file.write(b"rows")
    assert list((tmp_path / "a/b").iterdir()) == []
    assert not file.closed
    del owner
    assert file.closed
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("files", "limits", "usable"),
    [
        ({}, {}, 8_000_000),
        ({"memory.max": "5000000\n"}, {}, 5_000_000),
        ({"memory.max": "max\n"}, {}, 8_000_000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, {}, 8_000_000),
        ({"memory/memory.limit_in_bytes": "4000000"}, {}, 4_000_000),
        ({"memory.max": "5000000"}, {resource.RLIMIT_DATA: 3_000_000}, 3_000_000),
        ({"memory.max": "5000000"}, {resource.RLIMIT_AS: 2_000_000}, 2_000_000),
    ],
)
def test_the_least_of_all_limits_counts(
    files: dict[str, str], limits: dict[int, int], usable: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-23: Of the machine, of its container and of the process itself."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(room.os, "sysconf", {"SC_PAGE_SIZE": 4000, "SC_PHYS_PAGES": 2000}.__getitem__)
    monkeypatch.setattr(room.resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY), resource.RLIM_INFINITY))
    assert usable_memory(tmp_path) == usable


def test_rows_take_a_quarter_of_it_or_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-23: Gigabytes of the setting, if there are any."""
    monkeypatch.setattr(room, "usable_memory", lambda: 8_000_000)
    assert room_of(tmp_path) == Room(2_000_000, tmp_path)
    assert room_of(tmp_path, 1.5) == Room(1_500_000_000, tmp_path)
