"""The libraries that run in a browser, from the npm registry: pinned, checked, put beside Airflow.

    $ python -m perennial.local.browser_library .perennial/venvs/airflow

That is what draws the console's pictures; what tests use beside it stands in tests/requirements/browser.json. npm itself is not needed.
Its configuration says which registry is asked: `npm_config_registry`, else `registry` of `~/.npmrc`.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perennial.local import pinned_files

LOCK = Path(__file__).with_name("browser_library.json")
REGISTRY = "https://registry.npmjs.org/"
TIMEOUT = 60.0  # s


class LibraryUnavailable(Exception):
    """A sentence for a person."""


def install(environment: Path, settings: Mapping[str, str], lock: Path = LOCK) -> None:
    """Put the pinned files into an environment's folder; what lies there already is not fetched again.

    Args:
        environment: the folder of the virtual environment.
        settings: environment variables.
        lock: pins the packages, and names the files of each that are wanted.

    Raises:
        LibraryUnavailable: the registry does not answer, or what it answers is not what is pinned.
    """
    asked = registry(settings)
    pinned_files.put(environment, lock, "package", lambda package: _fetched(package, asked))


def _fetched(package: dict[str, Any], asked: str) -> bytes:
    """The archive of a package, as a registry gives it and as it is pinned."""
    address = f"{asked}{package['package']}/-/{package['package']}-{package['version']}.tgz"
    what = f"{package['package']} {package['version']}, which {package['use']},"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - whose registry it is, the user says
            archive: bytes = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        raise LibraryUnavailable(
            f"{what} could not be fetched from {address} ({why}). Check the network; a registry of your own is named by "
            "npm_config_registry or in ~/.npmrc. Then run `make setup` again."
        ) from error
    if "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode() != package["integrity"]:
        raise LibraryUnavailable(
            f"{what} is not what is pinned: {address} gave something else. Ask another registry, and tell who keeps this one."
        )
    return archive


def registry(settings: Mapping[str, str]) -> str:
    """Address of the npm registry, with a slash at its end."""
    named = next((value for key, value in settings.items() if key.lower() == "npm_config_registry" and value), "")
    if not named and settings.get("HOME"):
        file = Path(settings.get("NPM_CONFIG_USERCONFIG") or Path(settings["HOME"]) / ".npmrc")
        lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
        pairs = [line.partition("=") for line in lines]
        named = next((value.strip().strip("\"'") for key, _, value in pairs if key.strip() == "registry"), "")
        named = os.path.expandvars(named)
    return (named or REGISTRY).rstrip("/") + "/"


def main() -> int:
    """Put what each lock file pins, ours unless others are named, into the environment that is named; 0 if it is there."""
    try:
        for lock in sys.argv[2:] or [str(LOCK)]:
            install(Path(sys.argv[1]), os.environ, Path(lock))
    except LibraryUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
