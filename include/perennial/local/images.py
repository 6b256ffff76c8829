"""`make images`: the images, with the builder that this machine has. Standard library only: it runs before anything is installed.

A build gets a folder that is put together for it: `project/`, the files that a running image reads, and `wheels/`, those wheels
that the lock files name and this machine keeps in a folder of its own (`find-links` of pip); and `projects/`, what PERENNIAL_PROJECT names,
with what these add to the environments in `extra/`. The rest of the checkout stays out.
The environment variables that `docs/images.md` lists say what is built, of what, and where it is pushed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from perennial import projects
from perennial.local import browser_library, environments

ROOT = environments.ROOT
IMAGES = ROOT / "include" / "images"
LOCKS = {**environments.LOCKS, **environments.IMAGE_LOCKS}
BUILDERS = ("docker", "podman", "buildah")
# What the code reads from the project's folder. Whatever is below is taken but caches and metadata of installations.
PROJECT = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", "dags", "great_expectations", "include", "plugins")
# What is taken of a project of a team's.
OF_PROJECTS = ("README.md", "pyproject.toml", "dags", "great_expectations", "include", "plugins", "requirements")
PLACE = "/opt/perennial/projects"  # of projects in an image
LEFT_OUT = ("__pycache__", "*.pyc", "*.egg-info", "uncommitted")
LAST, PARTS = "single-host", ("airflow", "serving", "workload")  # the last is put together from the others
EPOCH = 1_000_000_000  # every file's time: the same files make the same layers


class ImagesError(Exception):
    """A sentence for a person."""


def main() -> int:
    """Build what is named by IMAGES, or every image; push with PUSH=1. 0 if all went well."""
    try:
        build_all(os.environ)
    except ImagesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_all(environment: Mapping[str, str]) -> None:
    """Build, tag and push.

    Raises:
        ImagesError: there is no builder, no such image, or a build or push failed.
    """
    names = wanted(environment.get("IMAGES", ""))
    variant = environment.get("VARIANT") or "cpu"
    if variant not in ("cpu", "cuda"):
        raise ImagesError(f"VARIANT is {variant!r}: name cpu or cuda.")
    builder = find_builder(environment.get("IMAGE_BUILDER", ""))
    pip = pip_settings()
    with tempfile.TemporaryDirectory(prefix="perennial-images-") as folder:
        context = Path(folder)
        named = projects.folders(environment.get(projects.VARIABLE, ""))
        code = copy_project(context / "project")
        code = copy_projects(context / "projects", named, code)
        extra = {name: resolve_extra(context / "extra", name, named) for name in (*projects.ENVIRONMENTS, "mlserver")}
        copy_wheels(context / "wheels", pip.get("find-links", ""), variant, "".join(extra.values()))
        copy_library(context, environment)
        places = ",".join(f"{PLACE}/{project.name}" for project in named)
        common = {**common_arguments(environment, pip), "CODE_DIGEST": code, "PROJECTS": places}
        for name in names:
            began, tag = time.monotonic(), reference(name, environment, variant)
            print(f"Building {tag} with {builder} ...", flush=True)
            arguments = {**common, **own_arguments(name, environment, variant), "LOCK_DIGEST": lock_digest(name, extra.get(name, ""))}
            command = build_command(builder, name, tag, context, arguments, shlex.split(environment.get("IMAGE_OPTIONS", "")))
            _run(
                command,
                f"{tag} could not be built; the lines above say why. Correct that, then run `make images` again: finished layers are kept.",
            )
            print(f"Built {tag} ({time.monotonic() - began:.0f} s).", flush=True)
            if environment.get("PUSH") in ("1", "true", "yes"):
                push = [builder, "push", *shlex.split(environment.get("PUSH_OPTIONS", "")), tag]
                _run(
                    push,
                    f"{tag} could not be pushed; the lines above say why. REGISTRY names the registry, "
                    "PUSH_OPTIONS what the builder needs to reach it.",
                )
                print(f"Pushed {tag}.", flush=True)


def wanted(names: str) -> list[str]:
    """The images named, in the order in which they need each other; all if none is.

    Raises:
        ImagesError: there is no such image.
    """
    there = sorted((f.parent.name for f in IMAGES.glob("*/Dockerfile")), key=lambda name: (name == LAST, name))
    unknown = [name for name in names.split() if name not in there]
    if unknown:
        raise ImagesError(f"There is no image {unknown[0]!r}: IMAGES names one or more of {', '.join(there)}.")
    return [name for name in there if name in names.split() or not names.split()]


def find_builder(name: str) -> str:
    """The builder named, or the first that works: a client whose daemon does not answer builds nothing.

    Raises:
        ImagesError: none works.
    """
    if name and name not in BUILDERS:
        raise ImagesError(f"IMAGE_BUILDER is {name!r}: name docker, podman or buildah.")
    for builder in [name] if name else BUILDERS:
        if shutil.which(builder) and not subprocess.run([builder, "info"], capture_output=True, check=False).returncode:
            return builder
    if name:
        raise ImagesError(f"{name} does not work here (`{name} info` fails): start or install it, or unset IMAGE_BUILDER.")
    raise ImagesError(
        "Nothing here builds images: install docker, podman or buildah (Debian: apt-get install buildah), then run `make images` again."
    )


def build_command(builder: str, name: str, tag: str, context: Path, arguments: Mapping[str, str], options: Iterable[str]) -> list[str]:
    """The builder's command line. Podman and buildah must be told to keep layers, and the format that has health checks."""
    own = [] if builder == "docker" else ["--layers", "--format", "docker"]
    given = [part for key, value in sorted(arguments.items()) if value for part in ("--build-arg", f"{key}={value}")]
    return [
        builder,
        "bud" if builder == "buildah" else "build",
        *own,
        *given,
        *options,
        "--file",
        str(IMAGES / name / "Dockerfile"),
        "--tag",
        tag,
        str(context),
    ]


def reference(name: str, environment: Mapping[str, str], variant: str = "cpu") -> str:
    """`[REGISTRY/]perennial/<name>:<TAG or version>`, with `-cuda` behind where the CUDA build of torch is in it."""
    registry = environment.get("REGISTRY", "").rstrip("/")
    suffix = "-cuda" if variant == "cuda" and name in ("workload", LAST) else ""
    return f"{registry}{'/' if registry else ''}perennial/{name}:{environment.get('TAG') or version()}{suffix}"


def common_arguments(environment: Mapping[str, str], pip: Mapping[str, str]) -> dict[str, str]:
    """Build arguments of every image. pip in the build looks where pip here looks, but for folders of this machine."""
    remote = {
        key: " ".join(v for v in pip.get(option, "").split() if "://" in v and not v.startswith("file:"))
        for key, option in (("PIP_INDEX_URL", "index-url"), ("PIP_EXTRA_INDEX_URL", "extra-index-url"), ("PIP_FIND_LINKS", "find-links"))
    }
    return {
        **remote,
        "PIP_TRUSTED_HOST": pip.get("trusted-host", ""),
        "BASE": environment.get("BASE", ""),
        "VERSION": version(),
        "REVISION": revision(),
    }


def own_arguments(name: str, environment: Mapping[str, str], variant: str) -> dict[str, str]:
    """Build arguments of one image: which torch is in the workload image, and which images the last one is made of."""
    if name == "workload":
        return {"VARIANT": variant, "TORCH_INDEX": environment.get("TORCH_INDEX", "")}
    if name == LAST:
        return {f"IMAGE_{part.upper()}": reference(part, environment, variant) for part in PARTS}
    return {}


def copy_project(folder: Path) -> str:
    """Put the project's files together; returns their digest: SHA-256 over names and contents."""
    _copy(ROOT, PROJECT, folder)
    return _sealed(folder)


def copy_projects(folder: Path, named: Iterable[Path], code: str) -> str:
    """Put the files of projects together, each in a folder of its name; returns the digest of all code, that of the platform among it.

    Raises:
        ImagesError: one of them is no project.
    """
    folder.mkdir()
    digests = [code]
    for project in named:
        if why := projects.trouble(project):
            raise ImagesError(f"{why[0].upper()}{why[1:]}.")
        _copy(project, [name for name in OF_PROJECTS if (project / name).exists()], folder / project.name)
        digests.append(_sealed(folder / project.name))
    os.utime(folder, (EPOCH, EPOCH))
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if len(digests) > 1 else code


def resolve_extra(folder: Path, name: str, named: Iterable[Path]) -> str:
    """Write the packages that projects add to an environment, one a line with its version; returns that text.

    Raises:
        ImagesError: they do not agree with the lock, or cannot be found.
    """
    folder.mkdir(exist_ok=True)
    files = projects.requirements(named, "serving" if name == "mlserver" else name)  # both run the code that versions bring
    lines = _resolved(name, files) if files else []
    text = "".join(f"{line}\n" for line in lines)
    (folder / f"{name}.txt").write_text(text)
    for path in (folder / f"{name}.txt", folder):
        os.utime(path, (EPOCH, EPOCH))
    return text


def _resolved(name: str, files: list[Path]) -> list[str]:
    lock, asked = LOCKS[name], " and ".join(map(str, files))
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--constraint", str(lock), *(part for file in files for part in ("-r", str(file)))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            found = [_pinned(each) for each in json.loads(report.read_text())["install"]]
            return environments.extra_packages("\n".join(found), [lock.read_text()])
    if why := disagreement(done.stdout + done.stderr):
        raise ImagesError(f"What {asked} asks for cannot be put beside the platform's lock {lock}: {why}. Change it there.")
    print(done.stderr.strip(), file=sys.stderr)
    raise ImagesError(f"What {asked} asks for cannot be found; the lines above say why. Correct it, then run `make images` again.")


def _pinned(found: Mapping[str, Any]) -> str:
    """A package that pip found, as a requirement that names it and no other."""
    name = found["metadata"]["name"].lower()
    return f"{name} @ {found['download_info']['url']}" if found.get("is_direct") else f"{name}=={found['metadata']['version']}"


def disagreement(said: str) -> str:
    """What pip says of two wishes that exclude each other, in a clause; empty if it was another trouble."""
    found = re.search(r"The conflict is caused by:\n((?: +\S.*\n)+)", said)
    return " and ".join(line.strip() for line in found[1].splitlines()) if found else ""


def _copy(source: Path, names: Iterable[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copy(source / name, folder / name)


def _sealed(folder: Path) -> str:
    """Give all files of a folder their rights and their time; returns the digest of names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)  # whoever built it, user 50000 can read it
            digest.update(f"{path.relative_to(folder).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        else:
            path.chmod(0o755)
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (EPOCH, EPOCH))
    return digest.hexdigest()


def copy_wheels(folder: Path, links: str, variant: str, extra: str = "") -> None:
    """Link the wheels that the lock files name, and those that projects add, from folders of this machine; for CUDA no CPU build."""
    folder.mkdir()
    pins = {line.strip() for text in (*(lock.read_text() for lock in LOCKS.values()), extra) for line in text.splitlines()}
    for link in links.split():
        for wheel in sorted(Path(link.removeprefix("file://")).glob("*.whl")) if "://" not in link.removeprefix("file://") else ():
            name, build = wheel.name.split("-")[:2]
            public, _, local = build.partition("+")
            if f"{re.sub(r'[-_.]+', '-', name).lower()}=={public}" in pins and not (variant == "cuda" and local == "cpu"):
                shutil.copy2(wheel, folder / wheel.name)
                os.utime(folder / wheel.name, (EPOCH, EPOCH))
    os.utime(folder, (EPOCH, EPOCH))


def copy_library(context: Path, environment: Mapping[str, str]) -> None:
    """Fetch the library that the console draws with.

    Raises:
        ImagesError: it cannot be fetched.
    """
    try:
        browser_library.install(context, environment)
    except browser_library.LibraryUnavailable as error:
        raise ImagesError(str(error).replace("`make setup`", "`make images`")) from error
    for path in sorted((context / "share").rglob("*"), reverse=True):
        os.utime(path, (EPOCH, EPOCH))


def pip_settings() -> dict[str, str]:
    """Where pip of this Python looks."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    return environments.parse_pip_settings(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def lock_digest(name: str, extra: str = "") -> str:
    """SHA-256 of an image's lock file and of what projects add: for the workload image the lock digest that manifests record."""
    return hashlib.sha256(LOCKS[name].read_bytes() + extra.encode()).hexdigest()


def version() -> str:
    """The project's version."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def revision() -> str:
    """The commit, with `-changed` behind where the checkout differs from it; empty outside a checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        return "" if done.returncode else done.stdout.strip()

    commit = git("rev-parse", "HEAD") if shutil.which("git") else ""
    return f"{commit}-changed" if commit and git("status", "--porcelain", "--", *PROJECT) else commit


def _run(command: list[str], sentence: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise ImagesError(sentence)


if __name__ == "__main__":
    sys.exit(main())
