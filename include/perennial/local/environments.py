"""`make setup`: the virtual environments of this machine, from the lock files. Standard library only: nothing is installed yet.

Run with Python 3.11 as a script; with the argument `lock` it compiles the lock files instead. A second run finds every stamp and does
nothing; an environment without a stamp was cut short and is made anew. pip's own configuration (indexes, find-links, certificate) is
handed on to uv, which installs; the library that pages draw with comes from the npm registry, the data of examples from PyPI. What only
tests need has lock files of its own, installed on top: the images install the others alone. What projects ask for in
`requirements/<environment>.txt` comes on top too, in versions that agree with the lock files, and is noted beside the stamp.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if not __package__:  # a script, beside which nothing is installed yet
    sys.path.append(str(ROOT / "include"))

from perennial import projects  # noqa: E402

LOCKS = {
    "tools": ROOT / "include/perennial/local/requirements.txt",
    "airflow": ROOT / "requirements.txt",
    "workload": ROOT / "include/images/workload/requirements.txt",
    "serving": ROOT / "include/images/serving/requirements.txt",
}
# Bounds of seldon-core, which is kept no more.
OVERRIDES = ROOT / "include/images/serving/overrides.txt"
# Of images without an environment here; MLServer's is made where a test or a benchmark asks for it (`make_on_demand`).
IMAGE_LOCKS = {name: ROOT / f"include/images/{name}/requirements.txt" for name in ("mlserver", "single-host")}
TEST_LOCKS = {name: ROOT / f"tests/requirements/{name}.txt" for name in ("airflow", "workload")}
# What the CUDA build of torch needs and the CPU build does not: torch itself is pinned alike for both.
CUDA_LOCK = ROOT / "include/images/workload/requirements-cuda.txt"
CUDA_PACKAGES = ("cuda-", "nvidia-", "triton")
# What pages draw with, and what tests of pages use, put beside Airflow; images have the first alone.
BROWSER_LOCKS = (ROOT / "include/perennial/local/browser_library.json", ROOT / "tests/requirements/browser.json")
# What data of examples is put beside the workload.
EXAMPLE_DATA = ROOT / "include/perennial/local/example_data.json"
WITH_PROJECT = ("airflow", "workload", "serving")
STAMP = "perennial-stamp"


class SetupError(Exception):
    """A sentence for a person."""


def main() -> int:
    """Make what is missing; 0 if all is there."""
    home = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
    try:
        if sys.version_info[:2] != (3, 11):
            raise SetupError(
                f"Python 3.11 is needed and {sys.executable} is {sys.version.split()[0]}: install python3.11 (with its venv "
                "module), or name it: make setup PYTHON=/path/to/python3.11"
            )
        (home / "venvs").mkdir(parents=True, exist_ok=True)
        with open(home / "venvs" / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two set-ups at once: the second waits, then finds all done
            if sys.argv[1:] == ["lock"]:
                compile_locks(home)
                return 0
            make_all(home)
            launcher = write_launcher(home)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. `make setup` goes on with the environments that are not ready.", file=sys.stderr)
        return 130
    except OSError as error:
        print(
            f"{error.filename or home} cannot be written ({error.strerror}): free some space or set PERENNIAL_HOME to another folder.",
            file=sys.stderr,
        )
        return 1
    if shutil.which("perennial") != str(launcher):
        print(f'The command is {launcher}. To call it by its name: export PATH="{launcher.parent}:$PATH"')
    return 0


def make_all(home: Path) -> None:
    """Bring every environment to its lock file."""
    _refuse_unknown_files()
    missing = [name for name in LOCKS if not _is_done(home, name)]
    if not missing:
        print("All environments are up to date.")
        return
    print(f"Making or updating the environments {', '.join(missing)}. From nothing that takes minutes.", flush=True)
    began = time.monotonic()
    if "tools" in missing:
        _make_tools(home)
    rest = [name for name in missing if name != "tools"]
    uv = [str(home / "venvs/tools/bin/uv")]
    environment, options = uv_settings(_pip_settings(home), os.environ)
    extra = {name: _resolved(name, uv, options, environment) for name in rest}  # before anything is changed that works
    with ThreadPoolExecutor(2) as pool:
        for name, seconds in pool.map(lambda n: _make(home, n, extra[n], uv, options, environment), rest):
            print(f"  {name:<10} {seconds:.0f} s", flush=True)
    for name in rest:  # one after the other: each build writes the same metadata folder beside the source
        _run(
            [*uv, "pip", "install", "--quiet", "--python", _python(home, name), *options, "--no-deps", "--editable", str(ROOT)],
            environment,
            "the project itself",
        )
        if name == "airflow":
            command = [_python(home, name), "-m", "perennial.local.browser_library", str(home / "venvs" / name), *map(str, BROWSER_LOCKS)]
            _run(command, environment, "its pages")
        if name == "workload":
            command = [_python(home, name), "-m", "perennial.local.example_data", str(home / "venvs" / name), _python(home, "tools")]
            _run(command, environment, "the examples")
        _stamp(home, name)
    print(f"All environments are ready ({time.monotonic() - began:.0f} s).")


def make_on_demand(home: Path, name: str) -> float:
    """Bring the environment of an image to its lock file, which `make setup` leaves out.

    Returns the seconds that it took, 0 where it was up to date.

    Raises:
        SetupError: `make setup` has not made its tools, or the packages cannot be installed.
    """
    if not _is_done(home, "tools"):
        raise SetupError(f"The environment {name} is made with the tools of `make setup`, which has not run: run it first.")
    with open(home / "venvs" / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two tests at once: the second waits, then finds it done
        if _is_done(home, name):
            return 0.0
        uv = [str(home / "venvs/tools/bin/uv")]
        environment, options = uv_settings(_pip_settings(home), os.environ)
        seconds = _make(home, name, [], uv, options, environment)[1]
        packages = next((home / "venvs" / name).glob("lib/python*/site-packages"))
        (packages / "perennial.pth").write_text(f"{ROOT / 'include'}\n")  # as in images: the folder's place is all that is added
        _stamp(home, name)
    return seconds


def uv_settings(pip: dict[str, str], outer: dict[str, str] | os._Environ[str]) -> tuple[dict[str, str], list[str]]:
    """Environment and options that make uv look where pip looks. Variables of uv's own, where set, win."""
    environment, options = dict(outer), []

    def say(variable: str, option: str, values: str | None) -> None:
        if values and variable not in outer:
            for value in values.split():
                options.extend([option, value])

    say("UV_DEFAULT_INDEX", "--default-index", pip.get("index-url"))
    say("UV_INDEX", "--index", pip.get("extra-index-url"))
    say("UV_FIND_LINKS", "--find-links", pip.get("find-links"))
    say("UV_INSECURE_HOST", "--allow-insecure-host", pip.get("trusted-host"))
    if pip.get("extra-index-url") and "UV_INDEX_STRATEGY" not in outer:
        environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the best version of all indexes
    if pip.get("no-index", "false").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    if pip.get("cert"):
        environment.setdefault("SSL_CERT_FILE", pip["cert"])
    environment.setdefault("UV_HTTP_TIMEOUT", pip.get("timeout") or pip.get("default-timeout") or "60")
    if not os.access(outer.get("XDG_CACHE_HOME") or outer.get("HOME") or "/", os.W_OK):
        environment.setdefault("UV_NO_CACHE", "1")
    environment.pop("VIRTUAL_ENV", None)
    return environment, options


def parse_pip_settings(listing: str) -> dict[str, str]:
    """What `pip config list` shows, by option; the environment wins over `[install]`, that over `[global]`."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in sections:
            sections[section][option] = " ".join(shlex.split(value)).replace("\\n", " ")
    return {**sections["global"], **sections["install"], **sections[":env:"]}


def compile_locks(home: Path) -> None:
    """Compile every `requirements.in` into the lock file beside it, then what tests add to it."""
    environment, options = uv_settings(_pip_settings(home), os.environ)
    plain = ["--quiet", "--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url", *options]
    inputs: list[tuple[Path, list[str]]] = [(lock, []) for lock in LOCKS.values()]
    beside = {"single-host": ["--constraint", str(LOCKS["tools"])]}  # installed with these
    inputs += [(lock, beside.get(name, [])) for name, lock in IMAGE_LOCKS.items()]
    inputs += [(lock, ["--constraint", str(LOCKS[name])]) for name, lock in TEST_LOCKS.items()]
    for lock, constraint in inputs:
        override = ["--override", str(OVERRIDES)] if lock == LOCKS["serving"] else []
        uv = [str(home / "venvs/tools/bin/uv"), "pip", "compile", *plain, *constraint, *override]
        command = [*uv, str(lock.with_suffix(".in")), "-o", str(lock)]
        _run(command, environment, lock.name)
        lines = (
            lock.read_text().replace("+cpu", "").splitlines(keepends=True)
        )  # the lock fits machines that offer another build of the same version
        cuda = [line for line in lines if line.startswith(CUDA_PACKAGES)]
        lock.write_text("".join(line for line in lines if line not in cuda))
        if cuda:
            CUDA_LOCK.write_text("".join(cuda))
        print(f"Compiled {lock.relative_to(ROOT)}.")


def write_launcher(home: Path) -> Path:
    """The command `perennial` for this home."""
    launcher = home / "bin" / "perennial"
    launcher.parent.mkdir(exist_ok=True)
    launcher.write_text(
        f'#!/bin/sh\n: "${{PERENNIAL_HOME:={home}}}"\nexport PERENNIAL_HOME\nexec '
        f'{shlex.quote(str(home / "venvs/workload/bin/perennial"))} "$@"\n'
    )
    launcher.chmod(0o755)
    return launcher


def _make_tools(home: Path) -> None:
    began, folder = time.monotonic(), home / "venvs/tools"
    shutil.rmtree(folder, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise SetupError(
            f"{sys.executable} cannot make environments: install its venv module (Debian: python3.11-venv), then run `make setup` again."
        )
    _run(
        [_python(home, "tools"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(LOCKS["tools"])],
        dict(os.environ),
        "the tools",
    )
    _stamp(home, "tools")
    print(f"  {'tools':<10} {time.monotonic() - began:.0f} s", flush=True)


def extra_packages(resolved: str, locks: Iterable[str]) -> list[str]:
    """What is added to an environment: the resolved packages of which no lock file has the name, sorted.

    Args:
        resolved: `name==version` or `name @ address`, one a line.
        locks: texts of the environment's lock files.
    """
    names = {_plain(line) for lock in locks for line in lock.splitlines() if line}
    lines = {line.strip() for line in resolved.splitlines() if line.strip() and not line.lstrip().startswith(("#", "--"))}
    return sorted(line for line in lines if _plain(line) not in names and not line.startswith(CUDA_PACKAGES))


def disagreement(said: str) -> str:
    """What a resolver says of two wishes that exclude each other, in a clause; empty if it was another trouble."""
    found = re.search(r"Because (.+?),\s+we can conclude", said, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _plain(line: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s=@\[;<>!~]", line.strip(), maxsplit=1)[0]).lower()


def _named() -> list[Path]:
    return projects.folders(os.environ.get(projects.VARIABLE, ""))


def _refuse_unknown_files() -> None:
    """Raises SetupError where a project asks for packages of an environment that there is none of."""
    for project in _named():
        for file in sorted((project / "requirements").glob("*.txt")):
            if file.stem not in projects.ENVIRONMENTS:
                raise SetupError(f"{file} is of no environment: packages go into {', '.join(projects.ENVIRONMENTS)}.txt beside it.")


def _locks(name: str) -> list[Path]:
    return [locks[name] for locks in (TEST_LOCKS, LOCKS, IMAGE_LOCKS) if name in locks]


def _resolved(name: str, uv: list[str], options: list[str], environment: dict[str, str]) -> list[str]:
    """The packages that projects add to an environment. Raises SetupError where they do not fit what the platform's lock has."""
    files = projects.requirements(_named(), name)
    for file in files:
        if line := projects.refused_line(file):
            raise SetupError(f"{file}, {line}, is no package: write one a line, such as holidays==0.60, or name @ address.")
    if not files:
        return []
    locks = [*_locks(name), *([CUDA_LOCK] if name == "workload" else [])]
    constraints = [part for lock in locks for part in ("--constraint", str(lock))]
    plain = ["--quiet", "--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-strip-extras"]
    command = [*uv, "pip", "compile", *plain, *options, *constraints, *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        asked = " and ".join(map(str, files))
        if why := disagreement(done.stderr):
            raise SetupError(
                f"What {asked} asks for cannot be put beside the platform's lock {LOCKS[name]}: {why}. Change it there, then run "
                "`make setup` again; nothing was changed."
            )
        print(done.stderr.strip(), file=sys.stderr)
        raise SetupError(f"What {asked} asks for cannot be found; the lines above say why. Correct it there, then run `make setup` again.")
    return extra_packages(done.stdout, [lock.read_text() for lock in locks])


def _make(home: Path, name: str, extra: list[str], uv: list[str], options: list[str], environment: dict[str, str]) -> tuple[str, float]:
    began, folder = time.monotonic(), home / "venvs" / name
    if not (folder / STAMP).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], environment, name)
    for file in (STAMP, projects.EXTRA):
        (folder / file).unlink(missing_ok=True)
    locks = [str(lock) for lock in _locks(name)]
    if extra:
        (folder / projects.EXTRA).write_text("".join(f"{line}\n" for line in extra))
        locks.append(str(folder / projects.EXTRA))
    sync = [*uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", _python(home, name), *options]
    _run([*sync, *locks], environment, f"the environment {name}")
    if name == "workload" and _torch_is_for_cuda(folder):
        _run([*sync, str(CUDA_LOCK), *locks], environment, f"the environment {name}")
    return name, time.monotonic() - began


def _torch_is_for_cuda(folder: Path) -> bool:
    """Whether the package index gave torch's CUDA build, which a package index has for Linux where nothing offers the CPU build."""
    versions = folder.glob("lib/python*/site-packages/torch/version.py")
    return any(re.search(r"^cuda\b.*= *['\"]", file.read_text(), re.MULTILINE) for file in versions)


def _run(command: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        raise SetupError(
            f"Packages of {what} could not be installed; the lines above say why. Check the network and pip's own configuration "
            "(`pip config list`), then run `make setup` again."
        )


def _pip_settings(home: Path) -> dict[str, str]:
    listing = subprocess.run(
        [_python(home, "tools"), "-m", "pip", "--disable-pip-version-check", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    return parse_pip_settings(listing)


def _python(home: Path, name: str) -> str:
    return str(home / "venvs" / name / "bin" / "python")


def _wanted(home: Path, name: str) -> str:
    locks = [*reversed(_locks(name)), *([CUDA_LOCK] if name == "workload" else [])]
    locks += BROWSER_LOCKS if name == "airflow" else [EXAMPLE_DATA] if name == "workload" else ()
    parts = [*(lock.read_bytes() for lock in locks), str(home).encode(), sys.version.encode()]
    if files := projects.requirements(_named(), name):
        parts += [file.read_bytes() for file in files]
    if name in WITH_PROJECT:
        parts += [(ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _is_done(home: Path, name: str) -> bool:
    stamp = home / "venvs" / name / STAMP
    return stamp.exists() and stamp.read_text() == _wanted(home, name)


def _stamp(home: Path, name: str) -> None:
    (home / "venvs" / name / STAMP).write_text(_wanted(home, name))


if __name__ == "__main__":
    sys.exit(main())
