"""The store at an address."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perennial.errors import SettingMissing
from perennial.store import S3Store, open_store


def test_addresses_are_checked() -> None:
    """DM-08: Only folders and buckets are stores."""
    with pytest.raises(SettingMissing, match="begin with s3://"):
        open_store("gs://bucket")
    with pytest.raises(SettingMissing, match="names no bucket"):
        open_store("s3://")
    assert isinstance(open_store("s3://bucket"), S3Store)
    assert open_store("s3://bucket/p/").uri("k") == "s3://bucket/p/k"


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """DM-08: It would look like an empty store; so would one below a file."""
    (tmp_path / "store").write_text("no folder")
    for root in (tmp_path / "store", tmp_path / "store" / "below" / "it"):
        with pytest.raises(SettingMissing, match=rf"PERENNIAL_STORE is '{root}': .* is a file, and must be a folder. Name another place"):
            open_store(str(root))


def test_a_store_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    """DM-08: The first write makes it."""
    store = open_store(str(tmp_path / "not" / "yet"))
    assert list(store.list("landing")) == []
    store.write("a/b", b"x")
    assert store.read("a/b") == b"x"


_OPEN = """
import os, sys
from perennial.store import open_store
if os.geteuid() == 0:  # rights do not bind root
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
open_store(sys.argv[1], writes="read" not in sys.argv)
print("open")
"""


def opened(mode: int, below: str, *how: str) -> str:
    """The last line of a user without other rights who opens a store in, or below, a folder of that mode."""
    with tempfile.TemporaryDirectory(prefix="perennial-rights-", dir="/tmp") as scratch:
        Path(scratch).chmod(0o755)
        folder = Path(scratch, "store")
        folder.mkdir()
        folder.chmod(mode)
        done = subprocess.run([sys.executable, "-c", _OPEN, f"{folder}{below}", *how], capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("mode", "below", "said"),
    [
        (0o000, "", "may not be read and written by the user"),
        (0o555, "", "may not be read and written by the user"),
        (0o333, "", "may not be read and written by the user"),
        (0o555, "/new", "it is not there, and .* may not be written to make it by the user"),
        (0o777, "", "^open$"),
        (0o333, "/new", "^open$"),
    ],
)
def test_a_store_without_rights_is_refused(mode: int, below: str, said: str) -> None:
    """DM-09: Read, write and enter, or the right to make it."""
    assert re.search(said, opened(mode, below))


@pytest.mark.parametrize(
    ("mode", "below", "said"),
    [
        (0o555, "", "^open$"),
        (0o000, "", r"may not be read by the user \d+\. Give the user the rights"),
        (0o555, "/new", "it is not there, and .* may not be written to make it by the user"),
    ],
)
def test_who_only_reads_needs_no_right_to_write(mode: int, below: str, said: str) -> None:
    """DM-09: A folder that is mounted read-only can be asked; one that is not there is most likely another than was meant."""
    assert re.search(said, opened(mode, below, "read"))
