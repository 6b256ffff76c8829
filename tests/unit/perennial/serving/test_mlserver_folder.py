"""What MLServer is told: two files that survive Seldon's agent."""

import json

import pytest

from perennial.serving.mlserver_folder import Told
from perennial.store import open_store

TOLD = Told("churn", 7, "ab" * 32)


def test_what_is_written_is_read_back(tmp_path):
    """SC-01: Written once, and read from the copy that a server has; a second writing changes nothing."""
    store = open_store(str(tmp_path / "store"))
    TOLD.write(store)
    TOLD.write(store)
    assert TOLD.prefix == "mlserver/churn/v7-abababababab"
    (tmp_path / "version.json").write_bytes(store.read(f"{TOLD.prefix}/version.json"))
    assert Told.read(tmp_path / "version.json") == TOLD
    assert json.loads(store.read(f"{TOLD.prefix}/model-settings.json")) == {
        "name": "churn",
        "implementation": "perennial.serving.mlserver_runtime.runtime.VersionRuntime",
        "parameters": {"uri": "./version.json"},
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}", "KeyError: 'model'"),
        ("no JSON", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"model": "m", "version": "x", "digest": "d"}', "ValueError"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_file_that_says_something_else_is_one_sentence(tmp_path, text, why):
    """DE-09: Which file, what is wrong with it, and how it must be."""
    file = tmp_path / "version.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=rf"version\.json does not say which version to serve \({why}.*as Perennial writes it"):
        Told.read(file)
