"""Log files whose lines match a declared pattern: rows, refusals by line, growth and rotation."""

from __future__ import annotations

import gzip
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.data.readers import read_batch
from perennial.errors import BatchRefused
from perennial.specs import Column, DatasetSpec, FileForm, FilesSource, SqlSource
from perennial.testing.collecting import Collecting

NGINX = (
    r'(?P<address>\S+) - (?P<user>\S+) \[(?P<at>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status>\d{3}) (?P<bytes>\d+|-)'
    r'(?: "[^"]*" "(?P<agent>[^"]*)")?'
)
LINE = '10.0.0.{n} - - [10/Oct/2026:13:55:{n:02d} +0000] "GET /a/{n} HTTP/1.1" 200 {n}00 "-" "curl/8"\n'


def _requests(**form: Any) -> DatasetSpec:
    return DatasetSpec(
        name="requests", title="Requests to the shop", owner="web", row_id="content", event_time="at",
        columns=(
            Column(name="address", type="string"), Column(name="user", type="string", nullable=True), Column(name="at", type="timestamp"),
            Column(name="method", type="string"), Column(name="path", type="string"), Column(name="status", type="int"),
            Column(name="bytes", type="int", nullable=True), Column(name="agent", type="string", nullable=True),
        ),
        files=FileForm(**{"lines": NGINX, "times": ("%d/%b/%Y:%H:%M:%S %z",), "nulls": ("-",), **form}),
    )  # fmt: skip


def _file(tmp_path: Path, text: str, name: str = "access.log") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_groups_are_columns(tmp_path: Path) -> None:
    """DM-16: Each line of an access log is a row, its values in the types of the spec; a group that is not there is null."""
    text = LINE.format(n=1) + "\n" + '::1 - ann [10/Oct/2026:15:55:36 +0200] "POST / HTTP/2" 500 -\n'
    rows = read_batch(_file(tmp_path, text), _requests()).to_pylist()
    assert rows[0] == {
        "address": "10.0.0.1", "user": None, "at": datetime(2026, 10, 10, 13, 55, 1), "method": "GET", "path": "/a/1", "status": 200,
        "bytes": 100, "agent": "curl/8",
    }  # fmt: skip
    assert (rows[1]["user"], rows[1]["at"], rows[1]["bytes"], rows[1]["agent"]) == ("ann", datetime(2026, 10, 10, 13, 55, 36), None, None)


def test_lines_that_do_not_match_are_told_by_number(tmp_path: Path) -> None:
    """DM-16, DM-02: The first three with their numbers, and how many more; nothing of the file is taken."""
    good = LINE.format(n=1)
    with pytest.raises(BatchRefused) as told:
        read_batch(_file(tmp_path, good + "oops\n\n" + good + "".join(f"bad {n}\n" for n in range(4))), _requests())
    assert str(told.value).startswith(
        "access.log has lines that do not match the pattern of requests: line 2 ('oops'); line 5 ('bad 0'); line 6 ('bad 1'); and 2 more "
        "lines. Correct files.lines in the spec if logs are written so, or leave such lines out."
    )
    with pytest.raises(BatchRefused, match=r"line 1 \('oops'\)\. Correct"):
        read_batch(_file(tmp_path, "oops\n"), _requests())
    with pytest.raises(BatchRefused, match=r"line 4 \('x'\)\. Correct") as three:
        read_batch(_file(tmp_path, good + "a\nb\nx\n"), _requests())
    assert "more" not in str(three.value).split("Correct")[0]


def test_a_value_that_does_not_fit_is_told_by_row(tmp_path: Path) -> None:
    """DM-16, DM-02: Lines may match and not fit the columns."""
    with pytest.raises(BatchRefused, match=r"at is '31/Feb/2026:13:55:36 .0000' in row 2"):
        read_batch(
            _file(tmp_path, LINE.format(n=1) + LINE.format(n=2).replace("10/Oct/2026:13:55:02", "31/Feb/2026:13:55:36")), _requests()
        )


def test_a_pattern_that_is_not_there(tmp_path: Path) -> None:
    """DM-16, SC-05: A log without a pattern says what to write; a pattern without groups, or none at all, is a fault of the spec."""
    with pytest.raises(BatchRefused, match=r"access.log has lines of a log, and the spec of requests does not say how.*FileForm\(lines="):
        read_batch(_file(tmp_path, "a\n"), _requests(lines=""))
    with pytest.raises(ValidationError, match="lines is no regular expression"):
        FileForm(lines="(?P<a>")
    with pytest.raises(ValidationError, match="no named group"):
        FileForm(lines=".*")


def test_half_a_line_waits(tmp_path: Path) -> None:
    """DM-16: The last line of a log that is being written may be half of one: it is left out and told."""
    remarks: list[str] = []
    rows = read_batch(_file(tmp_path, LINE.format(n=1) + LINE.format(n=2)[:60]), _requests(), remarks=remarks)
    assert rows.num_rows == 1
    assert remarks == ["access.log: the last line has no line break at its end and was left out until it has one"]
    assert read_batch(_file(tmp_path, "﻿" + LINE.format(n=1).replace("\n", "\r\n"), "b.log"), _requests()).num_rows == 1


def test_logs_that_were_put_aside_with_a_day_are_a_source(tmp_path: Path) -> None:
    """DM-16, DM-01: Each is taken once, packed or not, and the one that is written is left alone."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "access.log").write_text(LINE.format(n=9))
    (folder / "access.log-20261009").write_text(LINE.format(n=1) + LINE.format(n=2))
    (folder / "access.log-20261010.gz").write_bytes(gzip.compress(LINE.format(n=3).encode()))
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    source = FilesSource(url=f"file://{folder}", pattern="access.log-*")
    requests = Collecting(_requests().model_copy(update={"source": source}), tmp_path / "store")
    assert len(requests.collect().files) == 2
    assert requests.collect().outcome == "skipped"
    assert not requests.take_in().refused
    assert sorted(row["path"] for row in requests.rows()) == ["/a/1", "/a/2", "/a/3"]


def test_logs_grow_and_are_put_aside(tmp_path: Path) -> None:
    """DM-16, DE-22: A log is taken while it grows, in the middle of a line, renamed with a number or a day, and begun anew: each line is a
    row once."""
    spec = _requests().model_copy(update={"source": SqlSource(url="sqlite://", table="none")})
    requests = Collecting(spec, tmp_path / "store")
    landing = tmp_path / "store/landing/requests"
    landing.mkdir(parents=True)
    lines = [LINE.format(n=n) for n in range(1, 9)]

    def take_in() -> list[str]:
        assert not requests.take_in().refused
        return sorted(row["path"] for row in requests.rows())

    (landing / "access.log").write_text("".join(lines[:2]) + lines[2][:40])
    assert take_in() == ["/a/1", "/a/2"]
    (landing / "access.log").write_text("".join(lines[:4]))
    assert take_in() == [f"/a/{n}" for n in range(1, 5)]
    (landing / "access.log.1").write_text("".join(lines[:5]))  # what was written before it was put aside
    (landing / "access.log").write_text(lines[5])
    assert take_in() == [f"/a/{n}" for n in range(1, 7)]
    (landing / "access.log.2").write_text("".join(lines[:5]))
    (landing / "access.log-20261010").write_text("".join(lines[5:7]))
    (landing / "access.log.1").unlink()
    (landing / "access.log").write_text(lines[7])
    assert take_in() == [f"/a/{n}" for n in range(1, 9)]
