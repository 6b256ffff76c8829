"""`make images`: the images, with the builder that this machine has. Standard library only: it runs before anything is installed.

A build gets a folder that is put together for it: `project/`, the files that a running image reads, and `wheels/`, those wheels
that the lock files name and this machine keeps in a folder of its own (`find-links` of pip). The rest of the checkout stays out.
The environment variables that `docs/images.md` lists say what is built, of what, and where it is pushed.
"""

from __future__ import annotations

import hashlib
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

from perennial.local import browser_library, environments

ROOT = environments.ROOT
IMAGES = ROOT / "include" / "images"
LOCKS = {**environments.LOCKS, **environments.IMAGE_LOCKS}
BUILDERS = ("docker", "podman", "buildah")
# What the code reads from the project's folder. Whatever is below is taken but caches and metadata of installations.
PROJECT = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", "dags", "great_expectations", "include", "plugins")
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
        code = copy_project(context / "project")
        copy_wheels(context / "wheels", pip.get("find-links", ""), variant)
        copy_library(context, environment)
        common = {**common_arguments(environment, pip), "CODE_DIGEST": code}
        for name in names:
            began, tag = time.monotonic(), reference(name, environment, variant)
            print(f"Building {tag} with {builder} ...", flush=True)
            arguments = {**common, **own_arguments(name, environment, variant), "LOCK_DIGEST": lock_digest(name)}
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
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
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


def copy_wheels(folder: Path, links: str, variant: str) -> None:
    """Link the wheels that the lock files name from folders of this machine; for CUDA no CPU build."""
    folder.mkdir()
    pins = {line.strip() for lock in LOCKS.values() for line in lock.read_text().splitlines()}
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


def lock_digest(name: str) -> str:
    """SHA-256 of an image's lock file: for the workload image the lock digest that manifests record."""
    return hashlib.sha256(LOCKS[name].read_bytes()).hexdigest()


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
