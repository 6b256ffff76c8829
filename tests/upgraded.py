"""A second checkout of the platform, of a later version, with environments that take Perennial from there and all else from here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from perennial.local.images import PROJECT
from perennial.local.project import ROOT

LATER = "0.1.1"
MANUAL = "Returns {title} to its last good version at once."  # in a DAG file: by it one sees which checkout runs


def later_checkout(folder: Path) -> Path:
    """Copy this checkout, with another version, another manual of a DAG and a new example of a name that nobody had."""
    checkout = folder / "perennial"
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            checkout.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    for name, old, new in (
        ("pyproject.toml", 'version = "0.1.0"', f'version = "{LATER}"'),
        ("dags/rollback.py", MANUAL, MANUAL.replace("at once", f"at once, as of {LATER}")),
    ):
        text = (checkout / name).read_text()
        assert old in text
        (checkout / name).write_text(text.replace(old, new))
    return checkout


def environments_of(checkout: Path, venvs: Path, folder: Path) -> Path:
    """Environments like those in `venvs`, in which Perennial is the checkout's: what `make setup` would make there, without the minutes."""
    folder.mkdir()
    (folder / "tools").symlink_to(venvs / "tools")  # Perennial is not in it
    for name in ("workload", "airflow", "serving"):
        old, new = venvs / name, folder / name
        subprocess.run([str(old / "bin/python"), "-m", "venv", "--without-pip", str(new)], check=True)
        site = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        for part in (old / site).iterdir():
            if not part.name.startswith("__editable__"):
                (new / site / part.name).symlink_to(part)
        (new / site / "later.pth").write_text(f"{checkout}/include\n{checkout}/plugins\n")
        for script in (old / "bin").iterdir():
            if not (new / "bin" / script.name).exists():
                data = script.read_bytes()
                (new / "bin" / script.name).write_bytes(data.replace(str(old).encode(), str(new).encode()) if data[:2] == b"#!" else data)
                (new / "bin" / script.name).chmod(0o755)
        for part in old.iterdir():
            if not (new / part.name).exists():
                (new / part.name).symlink_to(part)
    return folder
