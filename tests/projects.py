"""Checks the projects that PERENNIAL_PROJECT names with the platform's tools: layout, lint and types. Standard library only.

`check` says what is wrong and exits with 1; `format` mends what ruff can mend. Each project's own `pyproject.toml` has the rules.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "include"))

from perennial import projects  # noqa: E402

HOME = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
# Folders of a project, by the environment that their types are looked up in.
TYPED = {"workload": ("include",), "airflow": ("plugins", "dags")}


def main(what: str) -> int:
    """Check or format every project; 0 if all is well."""
    named = projects.folders(os.environ.get(projects.VARIABLE, ""))
    if wrong := [why for project in named if (why := projects.trouble(project))]:
        print(*(f"{why[0].upper()}{why[1:]}." for why in wrong), sep="\n", file=sys.stderr)
        return 1
    return max([0, *(run(project, what) for project in named)])


def run(project: Path, what: str) -> int:
    """Check or format one project; 0 if all is well."""
    print(f"== project {project.name}{made_for(project)}", flush=True)
    codes = []
    for command in commands(project, what):
        environment = {**os.environ, "MYPYPATH": os.pathsep.join(str(ROOT / part) for part in projects.IMPORTED)}
        codes.append(subprocess.run(command, cwd=project, env=environment, check=False).returncode)
    if any(codes):
        print(f"The project {project.name} is not as its checks want it: the lines above say what.", file=sys.stderr)
    return int(any(codes))


def commands(project: Path, what: str) -> Iterator[list[str]]:
    """The commands, each of which runs in the project's folder."""
    tools = HOME / "venvs" / "tools" / "bin"
    if what == "format":
        yield from ([str(tools / "ruff"), "check", "--fix-only", "."], [str(tools / "ruff"), "format", "."])
        return
    yield [str(tools / "ruff"), "format", "--check", "--quiet", "."]
    yield [str(tools / "ruff"), "check", "--quiet", "."]
    for environment, parts in TYPED.items():
        typed = [part for part in parts if any((project / part).rglob("*.py"))]
        python = HOME / "venvs" / environment / "bin" / "python"
        if typed:
            yield [str(tools / "mypy"), "--python-executable", str(python), "--cache-dir", f".mypy_cache/{environment}", *typed]


def made_for(project: Path) -> str:
    """A remark where a project was made for another version of the platform than this one."""
    try:
        wanted = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["perennial"]["platform"]
    except (FileNotFoundError, KeyError):
        return ""
    here = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return "" if wanted == here else f", which was made for Perennial {wanted} and is checked by {here}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "check"))
