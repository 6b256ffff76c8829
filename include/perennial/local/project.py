"""The folder of this checkout, the secrets of a home, and the programs of its environments."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import perennial
from perennial.errors import Fault
from perennial.settings import Settings

ROOT = Path(perennial.__file__).resolve().parents[2]


def secret(settings: Settings, name: str, size: int = 32) -> str:
    """A random value that is made at first use and kept in `<home>/secrets/<name>`, readable by its owner only."""
    folder = settings.home / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / name
    unfinished = folder / f".{name}.{os.getpid()}"
    if not file.exists():
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(size))
        try:
            os.link(unfinished, file)  # the first of several writers wins
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    return file.read_text()


def executable(settings: Settings, venv: str, name: str) -> str:
    """A program of one of the environments.

    Raises:
        Fault: it is not installed.
    """
    path = settings.home / "venvs" / venv / "bin" / name
    if not path.exists():
        raise Fault(f"{path} does not exist: run `make setup` first.")
    return str(path)
