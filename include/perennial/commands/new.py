"""`perennial new`: write a small repository of your own for datasets, models, suites, DAGs and tests, beside the platform.

The platform stays as it was released and is upgraded by itself; `PERENNIAL_PROJECT` names the folder. What is there already is never
overwritten: the same command in an older folder adds what is missing.

    $ perennial new my-models
    $ export PERENNIAL_PROJECT=$PWD/my-models
    $ perennial add dataset rides --sample rides.csv
"""

from __future__ import annotations

import keyword
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from perennial.commands._target import PROJECT
from perennial.commands._template import fill
from perennial.errors import EXIT_DONE, UnknownName
from perennial.local.images import version
from perennial.projects import ENVIRONMENTS, VARIABLE
from perennial.settings import Settings
from perennial.store import Store

FOLDERS = ("include/perennial_datasets", "include/perennial_models", "great_expectations/expectations")  # that begin empty
NEEDS = {
    "workload": "training and all other stages",
    "airflow": "the DAGs and operators in here",
    "serving": "a served version's features.py",
}


def run(settings: Settings, store: Store, folder: Path) -> int:
    """Write the files that are missing and say what to do next.

    Raises:
        UnknownName: no project can be made there.
    """
    del store
    if folder.name == "..":
        raise UnknownName(f"{folder} is the folder above: name the project, such as {folder.with_name('my-models')}.")
    project = Path(os.path.normpath(folder.expanduser().absolute()))
    refuse_place(project)
    files = project_files(project)
    kept = [path for path in files if (project / path).exists()]
    for path, text in files.items():
        if path not in kept:
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text)
            (project / path).chmod(0o755 if path == Path(".ci/run") else 0o644)
            print(f"wrote {path}")
    if kept:
        print(f"kept as it was: {', '.join(map(str, kept))}")
    print(_git(project), *_next(settings, project), sep="\n")
    return EXIT_DONE


def refuse_place(project: Path) -> None:
    """Raises UnknownName where no project can lie."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", project.name) or keyword.iskeyword(package_of(project)):
        raise UnknownName(f"{project.name!r} is no name of a project: use letters, digits, - and _, a letter first, at most 40.")
    if package_of(project) in ("perennial", "perennial_airflow", "perennial_datasets", "perennial_models", "tests"):
        raise UnknownName(f"{project.name} is a name of the platform's own: choose another one.")
    if "," in str(project):
        raise UnknownName(f"{project} has a comma in it, which separates the folders of {VARIABLE}: choose another place.")
    if project.is_relative_to(PROJECT) or PROJECT.is_relative_to(project):
        raise UnknownName(
            f"{project} and the platform's checkout {PROJECT} lie in each other: choose a folder beside it, so that neither changes."
        )
    above = next(place for place in (project, *project.parents) if place.exists())
    if not above.is_dir():
        raise UnknownName(f"{above} is a file: choose another folder.")


def package_of(project: Path) -> str:
    """The Python package of what its models share."""
    return project.name.lower().replace("-", "_")


def project_files(project: Path) -> dict[Path, str]:
    """All files of a new project."""
    package = package_of(project)
    values = {
        "package": package,
        "title": re.sub(r"[-_]+", " ", project.name).capitalize(),
        "version": version(),
        "platform": os.path.relpath(PROJECT, project) if project.parent == PROJECT.parent else str(PROJECT),
    }
    plain = {
        "README.md": "README.md",
        "Makefile": "Makefile",
        "pyproject.toml": "pyproject.toml",
        ".gitignore": "gitignore",
        ".ci/run": "ci_run",
        f"include/{package}/__init__.py": "shared.py",
        f"plugins/{package}_airflow/__init__.py": "airflow_init.py",
        f"plugins/{package}_airflow/operators.py": "operators.py",
        f"dags/{package}_names.py": "dag.py",
        "tests/unit/test_project.py": "test_project.py",
        "tests/unit/dags/test_dags.py": "test_dags.py",
    }
    files = {Path(path): fill(f"project/{template}", values) for path, template in plain.items()}
    files |= {Path("requirements", f"{name}.txt"): fill("project/requirements.txt", {"what": NEEDS[name]}) for name in ENVIRONMENTS}
    files |= {Path(folder, ".gitkeep"): "" for folder in FOLDERS}  # git keeps no empty folder
    files[Path("great_expectations/great_expectations.yml")] = (PROJECT / "great_expectations" / "great_expectations.yml").read_text()
    return files


def _git(project: Path) -> str:
    """Make it a repository, if git is here and it lies in none; what was done."""
    git = shutil.which("git")
    if git is None:
        return "There is no git here, so it is no repository yet: git init there makes it one."
    if subprocess.run([git, "-C", str(project), "rev-parse", "--git-dir"], capture_output=True, check=False).returncode == 0:
        return "It lies in a git repository already: nothing was added to it or committed."
    done = subprocess.run([git, "-C", str(project), "init", "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"git init did not work there ({done.stderr.strip()}): it is no repository yet."
    return "git init was run there; nothing is committed."


def _next(settings: Settings, project: Path) -> list[str]:
    named = [*settings.projects, *([] if project in settings.projects else [project])]
    export = [] if project in settings.projects else [f"  export {VARIABLE}={shlex.quote(','.join(map(str, named)))}"]
    return [
        "Next, to have it found, to describe your data, to check what you wrote and to start the platform with it:",
        *export,
        "  perennial add dataset NAME --sample FILE",
        "  perennial add model NAME --dataset DATASET --label COLUMN --sample FILE",
        f"  make -C {shlex.quote(str(project))} setup check test",
        "  perennial up",
    ]
