"""The folder by which MLServer is told which version to serve, as Seldon Core 2 fetches it from the store.

Two small files: MLServer's own settings of a model, of which Seldon's agent rewrites the name and drops what it does not know, and
`version.json`, which it leaves alone. The version itself is fetched by its digest, and verified, by the server.

>>> from perennial.serving.mlserver_folder import Told
>>> told = Told("churn", 7, "0" * 64)
>>> told.prefix, sorted(told.files())
('mlserver/churn/v7-000000000000', ['model-settings.json', 'version.json'])
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from perennial.store import Store

RUNTIME = "perennial.serving.mlserver_runtime.runtime.VersionRuntime"
VERSION_FILE, SETTINGS_FILE = "version.json", "model-settings.json"


@dataclass(frozen=True)
class Told:
    """Which version."""

    model: str
    version: int
    digest: str  # content address of its folder

    @property
    def prefix(self) -> str:
        """Where the folder is in the store."""
        return f"mlserver/{self.model}/v{self.version}-{self.digest[:12]}"

    def files(self) -> dict[str, bytes]:
        """What is in it, by name."""
        settings = {"name": self.model, "implementation": RUNTIME, "parameters": {"uri": f"./{VERSION_FILE}"}}
        return {SETTINGS_FILE: json.dumps(settings).encode(), VERSION_FILE: json.dumps(asdict(self)).encode()}

    def write(self, store: Store) -> None:
        """Put the folder into the store, unless it is there."""
        for name, content in self.files().items():
            store.put_if_absent(f"{self.prefix}/{name}", content)

    @classmethod
    def read(cls, file: Path) -> Told:
        """What a `version.json` says.

        Raises:
            ValueError: it says something else; the message is one sentence.
        """
        try:
            document = json.loads(file.read_bytes())
            return cls(str(document["model"]), int(document["version"]), str(document["digest"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} does not say which version to serve ({type(error).__name__}: {error}): it must be as Perennial writes it into the "
                "store, beside model-settings.json."
            ) from error
