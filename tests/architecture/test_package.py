"""What a wheel holds: an installation that is not editable has nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = "import setuptools.build_meta as build; print(build.build_wheel('.'))"


def test_a_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """DE-04: Style sheets, scripts, templates and model cards too, not Python alone: they are read from beside the code."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    for name in ("include", "plugins"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    packages = [(tmp_path / "include", "perennial*/**/*"), (tmp_path / "plugins", "perennial_airflow/**/*")]
    wanted = {file.relative_to(root).as_posix() for root, pattern in packages for file in root.glob(pattern) if file.is_file()}
    assert "perennial/quality/data_docs.css" in wanted
    built = subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1]) as wheel:
        assert wanted - set(wheel.namelist()) == set()
