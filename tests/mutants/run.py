"""`make mutants`: how many small wrong versions of the modules that decide do their unit tests notice?

Draws 200 mutants of each module (all, where there are fewer) by a fixed seed, runs the module's tests on each and says how many were
killed, and which survived. Fails where fewer than 90 % are killed, or where a survivor is not listed, with the reason why it may stay,
in `survivors.toml`. `--changed` tries only mutants of lines that differ from main, few and for a short time: a part of `make check`.

Runs in the environment `workload`; writes only below PERENNIAL_HOME.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("PERENNIAL_HOME") or ROOT / ".perennial").expanduser().absolute()
WORK = HOME / "mutants"
LISTED = Path(__file__).with_name("survivors.toml")
DRAWN, LEAST_KILLED = 200, 0.9  # of a module
MOST_CHANGED, MOST_SECONDS = 30, 90  # of `--changed`, over all modules
HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")

signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt while the libraries below load ends without a traceback
os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": str(WORK / "hypothesis"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
for name in [name for name in os.environ if name.startswith(("PERENNIAL_", "AIRFLOW", "MLFLOW_", "PYTHON"))]:
    del os.environ[name]  # the tests are to meet what `make test` gives them
sys.pycache_prefix, sys.dont_write_bytecode = str(WORK / "compiled"), False  # what is compiled once need not be for every mutant

from changes import Mutant, draw, mutants_of  # noqa: E402
from libcst import ParserSyntaxError  # noqa: E402
from modules import MODULES  # noqa: E402
from trials import TrialError, Trials, Verdict  # noqa: E402


@dataclass(frozen=True)
class Survivor:
    """A mutant that may stay."""

    module: str
    function: str
    diff: str
    reason: str


def main() -> int:
    """0 if enough mutants are killed and every survivor is listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"some of {', '.join(MODULES)}; all by default")
    parser.add_argument("--changed", action="store_true", help="only mutants of lines that differ from main")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time")
    given = parser.parse_args()
    if unknown := [name for name in given.modules if name not in MODULES]:
        print(f"There is no module {unknown[0]!r} to mutate: name some of {', '.join(MODULES)}.", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = given.modules or list(MODULES)
    try:
        require_files(names)
        listed = read_survivors(LISTED)
        return try_changed(names, listed, given.jobs) if given.changed else try_all(names, listed, given.jobs)
    except TrialError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: a module counts where its line was printed; the next run begins all others anew.", file=sys.stderr)
        return 130


def require_files(names: Iterable[str]) -> None:
    """Raises TrialError where a module or a test of it is not where `modules.py` says: it was moved or renamed."""
    for name in names:
        for path in (MODULES[name].source, *MODULES[name].tests):
            if not (ROOT / path).is_file():
                raise TrialError(f"{name}: there is no {path}. If it was moved, say so in tests/mutants/modules.py.")


def read_survivors(file: Path) -> list[Survivor]:
    """The list of mutants that may stay, each with its reason. Raises TrialError where it is none, or names a module that is none."""
    try:
        tables = tomllib.loads(file.read_text())
        survivors = [Survivor(name, e["in"], e["diff"].strip("\n"), e["reason"]) for name, entries in tables.items() for e in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise TrialError(f"{file.name} cannot be read ({error}): each entry has `in`, `diff` and `reason`.") from error
    if unknown := {survivor.module for survivor in survivors} - set(MODULES):
        raise TrialError(f"{file.name} lists mutants of {min(unknown)}, which is no module of modules.py: name it anew, or take them out.")
    return survivors


def parsed(name: str, text: str) -> list[Mutant]:
    """Every mutant of a module. Raises TrialError where it is no Python."""
    try:
        return mutants_of(text)
    except ParserSyntaxError as error:
        raise TrialError(f"{MODULES[name].source} is no Python: line {error.raw_line}: {error.message}") from error


def try_all(names: list[str], listed: list[Survivor], jobs: int) -> int:
    """Draw, try and report module by module."""
    faults: list[str] = []
    print(f"{'module':<14}{'drawn':>6}{'killed':>8}{'survived':>10}{'%':>7}{'s':>6}", flush=True)
    for name in names:
        began = time.monotonic()
        text = (ROOT / MODULES[name].source).read_text()
        mutants = parsed(name, text)
        drawn = draw(mutants, DRAWN)
        trials = Trials(MODULES[name], WORK / name, text)
        verdicts = []
        for verdict in trials.of(drawn, jobs):
            verdicts.append(verdict)
            if sys.stderr.isatty():
                print(f"{name}: {len(verdicts)} of {len(drawn)}", end="\r", file=sys.stderr, flush=True)
        killed = sum(verdict.killed for verdict in verdicts)
        share = killed / len(drawn) if drawn else 1.0
        row = f"{name:<14}{len(drawn):>6}{killed:>8}{len(drawn) - killed:>10}{share:>7.1%}{time.monotonic() - began:>6.0f}"
        print(row, flush=True)
        if share < LEAST_KILLED:
            faults.append(f"{name}: {share:.1%} of the mutants are killed, and at least {LEAST_KILLED:.0%} must be.")
        faults += complaints(name, mutants, verdicts, listed)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def try_changed(names: list[str], listed: list[Survivor], jobs: int) -> int:
    """Try a few mutants of the lines that differ from main."""
    base = common_ancestor()
    if not base:
        print("No mutants were tried: this clone knows no commit before its own, and nothing differs from that.")
        return 0
    changed = changed_lines(base)
    candidates: dict[Mutant, str] = {}
    texts, every = {}, {}
    for name in names:
        if lines := changed.get(MODULES[name].source):
            texts[name] = (ROOT / MODULES[name].source).read_text()
            every[name] = parsed(name, texts[name])
            candidates |= {mutant: name for mutant in every[name] if lines & set(mutant.lines)}
    drawn, deadline = draw(candidates, MOST_CHANGED), time.monotonic() + MOST_SECONDS
    faults, tried, killed = [], 0, 0
    for name in dict.fromkeys(candidates[mutant] for mutant in drawn):
        trials = Trials(MODULES[name], WORK / f"{name}-changed", texts[name])
        verdicts = list(trials.of([mutant for mutant in drawn if candidates[mutant] == name], jobs, deadline))
        tried, killed = tried + len(verdicts), killed + sum(verdict.killed for verdict in verdicts)
        faults += complaints(name, every[name], verdicts, listed, changed=True)
    for fault in faults:
        print(fault, file=sys.stderr)
    late = f" {len(drawn) - tried} more were drawn and not tried within {MOST_SECONDS} s." if tried < len(drawn) else ""
    if candidates:
        print(f"Mutants of the lines that differ from commit {base[:12]}: {killed} of {tried} killed.{late}")
    else:
        print(f"No line that can be mutated differs from commit {base[:12]}.")
    return 1 if faults else 0


def complaints(
    name: str, mutants: Iterable[Mutant], verdicts: Iterable[Verdict], listed: Iterable[Survivor], *, changed: bool = False
) -> list[str]:
    """Survivors that are not listed, and entries of the list that are none; writes the first as entries to be filled in."""
    known = {(entry.function, entry.diff): entry for entry in listed if entry.module == name}
    fates: dict[tuple[str, str], bool] = defaultdict(bool)  # whether one of several alike survives
    for verdict in verdicts:
        fates[verdict.mutant.function, verdict.mutant.diff] |= not verdict.killed
    told = []
    unlisted = [key for key, survives in fates.items() if survives and key not in known]
    entries = WORK / f"{name}.toml"
    table = f'"{name}"' if "." in name else name  # a dot would nest it
    entries.write_text(
        "\n".join(f"[[{table}]]\nin = \"{function}\"\ndiff = '''\n{diff}\n'''\nreason = \"\"\n" for function, diff in unlisted)
    )
    there = {(mutant.function, mutant.diff): mutant.lines[0] for mutant in mutants}
    for function, diff in unlisted:
        place = f"{MODULES[name].source}:{there[function, diff]}" if (function, diff) in there else str(MODULES[name].source)
        told.append(f"{place}, {function or 'at the top'}: no test fails with\n{diff}")
    if unlisted:
        command = "make check-mutants" if changed else f"make mutants MODULES={name}"
        told.append(
            f"For each of these write a test in {MODULES[name].tests[0]} that fails on it; where one decides nothing, list it with the "
            f"reason in {LISTED.relative_to(ROOT)} ({entries} has them). Then: {command}"
        )
    for (function, diff), entry in known.items():
        if (function, diff) not in there:
            told.append(
                f"{name}, {function or 'at the top'}: {LISTED.name} lists a mutant that the module no longer has: take it out.\n{diff}"
            )
        elif not fates.get((function, diff), True):
            told.append(f"{name}, {function or 'at the top'}: {LISTED.name} lists a mutant that a test now kills: take it out.\n{diff}")
        elif not entry.reason:
            told.append(f"{name}, {function or 'at the top'}: {LISTED.name} gives no reason for\n{diff}")
    return told


def common_ancestor() -> str:
    """The commit that the working tree is compared with: where it left main, or the one before where it is main.

    Where none is known, as in a shallow clone, its own, if the working tree differs from it; else empty.
    """
    head = _git("rev-parse", "HEAD")
    for main_branch in ("origin/main", "main"):
        if (base := _git("merge-base", "HEAD", main_branch)) and base != head:
            return base
    return _git("rev-parse", "--verify", "HEAD~1") or (head if _git("diff", "--name-only", "HEAD", "--", "include") else "")


def changed_lines(base: str) -> dict[Path, set[int]]:
    """Lines of files in the working tree that differ from a commit; a file that only moved differs in none."""
    lines: dict[Path, set[int]] = defaultdict(set)
    file = Path()
    plain = ("--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")  # whatever the user's git is told to do
    for line in _git("diff", "--unified=0", "--find-renames", *plain, base, "--", "include").splitlines():
        if line.startswith("+++ "):
            file = Path(line.removeprefix("+++ ").removeprefix("b/"))
        elif hunk := HUNK.match(line):
            begin, count = int(hunk[1]), int(hunk[2] or 1)
            lines[file] |= set(range(begin, begin + count))
    return lines


def _git(*arguments: str) -> str:
    """What git says, empty where it cannot."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
