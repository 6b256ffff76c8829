"""Writes `.env` beside docker-compose.yaml: example.env with a random secret for every value left empty. Standard library only."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from pathlib import Path

EXAMPLE = Path(__file__).with_name("example.env")
TARGET = Path(__file__).parents[2] / ".env"


def main(target: Path = TARGET) -> int:
    """Write the file, readable by its owner only; 1 with a sentence if there is one already."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(
            f"{target} is there already and stays as it is: its secrets belong to the volumes. Remove it only with them.", file=sys.stderr
        )
        return 1
    with os.fdopen(descriptor, "w") as stream:
        stream.write(filled(EXAMPLE.read_text()))
    print(f"Wrote {target}. Airflow's user is admin; the password is AIRFLOW_ADMIN_PASSWORD in it.")
    return 0


def filled(example: str) -> str:
    """The example with a secret behind every `NAME=`. All fit into an address: letters, digits, `-` and `_`."""
    return re.sub(r"^([A-Z0-9_]+)=$", lambda found: f"{found[1]}={_secret(found[1])}", example, flags=re.MULTILINE)


def _secret(name: str) -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() if name.endswith("FERNET_KEY") else secrets.token_hex(20)


if __name__ == "__main__":
    sys.exit(main())
