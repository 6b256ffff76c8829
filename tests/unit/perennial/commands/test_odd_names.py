"""A name that somebody typed may be anything: each command that takes one answers with a sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from perennial import cli
from perennial.store import FolderStore

NAMES = ("../x", "../../etc/passwd", "a/../../b", "/etc", ".", "..", "a\0b", "a\nb", "x" * 300, "*", "")
QUESTIONS = (
    *(f"show {what} @" for what in ("model", "versions", "compare", "release", "drift", "data", "lineage", "incidents", "reports")),
    "show compare small_delays @", "show lineage small_delays --batch @", "show lineage @ --batch x", "drift table:@ table:@",
    "drift table:flights@@ table:flights", "served-at --model @", "served-at --model @ --prediction x", "ledger show --model @",
    "ledger verify --model @", "incidents --model @", "remove-batch @ x --reason r", "remove-batch flights @ --reason r", "retire @",
    "land @", "outcomes @ x.csv", "reproduce @", "reproduce @/1", "labels import x.csv --dataset @", "labels choose x.csv --model @",
    "labels report --model @", "suite suggest --dataset @", "replay --model @", "registry rebuild --model @",
)  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_odd_name_is_a_sentence(
    question: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """DM-10: Whatever a name is, also one that leads out of the store or that no file can have: no trace, and no fault of the command's."""
    store = tmp_path / "deep" / "store"
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PERENNIAL_STORE", str(store))
    FolderStore(str(store)).write("ledger/x", b"")
    for name in NAMES if "--batch @" not in question else NAMES[:-1]:  # without a batch it asks for the version's lineage
        words = [
            word.replace("@@", f"@{name}").replace("@", name) if "@@" not in word else f"table:flights@{name}" for word in question.split()
        ]
        with caplog.at_level(logging.ERROR):
            code = cli.main(words)
        said = capsys.readouterr()
        assert code in (1, 2), (name, said.out)
        assert not caplog.records, name
        assert "broke" not in said.err
        assert said.err.strip()
