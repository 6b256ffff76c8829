"""The file of connections: read only if others cannot, and its secrets are shown to nobody."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perennial.errors import SettingMissing
from perennial.sources.connections import read_connection


def _file(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "connections.json"
    path.write_text(text)
    os.chmod(path, mode)
    return str(path)


def test_a_connection_is_found_by_name(tmp_path: Path) -> None:
    """SC-05: And printing it shows no secret."""
    path = _file(tmp_path, json.dumps({"shop": {"host": "db", "password": "geheim", "extra": {"sslmode": "require"}}}))
    found = read_connection(path, "shop")
    assert (found.host, found.password.get_secret_value(), found.extra) == ("db", "geheim", {"sslmode": "require"})
    assert "geheim" not in repr(found) + str(found) + found.model_dump_json()


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("{}", 0o600, r"no connection shop in .*; it has none"),
        ('{"car": {}}', 0o600, "it has car"),
        ("[]", 0o600, "no JSON object of connections by name"),
        ("{", 0o600, "no JSON object"),
        ('{"shop": {"pasword": "geheim"}}', 0o600, r"not of its form \(pasword"),
        ('{"shop": {"port": "geheim"}}', 0o600, r"not of its form \(port"),
        ("{}", 0o604, "Others may read .* chmod 600"),
        ("{}", 0o640, "Others may read .* chmod 600"),
    ],
)
def test_what_is_wrong_is_a_sentence_without_secrets(tmp_path: Path, text: str, mode: int, why: str) -> None:
    """SC-05, DE-15: What, where, and what to do."""
    with pytest.raises(SettingMissing, match=why) as told:
        read_connection(_file(tmp_path, text, mode), "shop")
    assert "geheim" not in str(told.value)


def test_no_file(tmp_path: Path) -> None:
    """SC-05: The setting is named."""
    with pytest.raises(SettingMissing, match="PERENNIAL_CONNECTIONS is empty"):
        read_connection("", "shop")
    with pytest.raises(SettingMissing, match=r"cannot be read.*check PERENNIAL_CONNECTIONS"):
        read_connection(str(tmp_path / "none.json"), "shop")
