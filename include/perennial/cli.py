"""The command `perennial`: one subcommand for each stage and each tool. No logic.

A stage is `perennial.stages.<name>` with `run(settings, store, **arguments) -> Result`;
a question is `perennial.commands.<name>` with `run(settings, store, **arguments) -> int`. `options.py` holds their arguments.

    $ perennial monitor --model flight_delays
    $ perennial status
"""

from __future__ import annotations

import argparse
import errno
import importlib
import keyword
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from perennial import log_lines, options, tracing
from perennial.errors import EXIT_DONE, EXIT_FAULT, CodeBroken, PerennialError
from perennial.results import Result, on_terminal
from perennial.settings import Settings
from perennial.store import open_store

WRITES_SOURCES = ("add", "docs", "dvc", "new", "suite", "try")  # into a checkout, with the rights that its owner gives to files
SPEC_FOLDERS = ("perennial_models", "perennial_datasets")  # what people write, of the platform or of a project of theirs
STAGES_SERVICE = "perennial-stage"
SUBJECTS = ("model", "dataset", "version", "snapshot", "digest", "run_id", "action", "weight")  # of a stage, as its span names them
log = logging.getLogger("perennial")


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit code: 0 done or skipped, 2 refused, 1 fault; a question may have one of its own."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    for word, value in ((word, value) for word, values in given.items() for value in (values if isinstance(values, list) else [values])):
        if isinstance(value, str) and not value.isascii() and value != value.encode(errors="ignore").decode():
            parser.error(f"--{word.replace('_', '-')} holds bytes that are no text in UTF-8: {value!r}")
    kind, name = given.pop("package"), given.pop("module")
    result_file: Path | None = given.pop("result", None)
    broke = ""
    if name not in WRITES_SOURCES:
        os.umask(0o077)  # of the libraries too that write the tables, the models and the logs
    ids = {word: given.get(word) for word in ("model", "dataset", "version")} | ({"stage": name} if kind == "stages" else {})
    log_lines.write_lines(f"perennial {name}", text="%(asctime)s %(levelname)s %(message)s", times="%H:%M:%S", ids=ids)
    logging.getLogger("botocore").setLevel("WARNING")  # it tells at every start where it found credentials
    _begin_span(kind, name, given)
    try:
        settings = Settings.from_environment()
        logging.getLogger("perennial").setLevel(settings.log_level)
        store = open_store(settings.store, writes=kind == "stages")  # questions are asked of a store mounted read-only too
        module = importlib.import_module(f"perennial.{kind}.{_file_name(name)}")
        if kind == "commands":
            code: int = module.run(settings, store, **given)
            sys.stdout.flush()
            return code
        result: Result = module.run(settings, store, **given)
        code = EXIT_DONE
    except PerennialError as error:
        log.debug("where it happened", exc_info=error)
        code, result = (
            error.exit_code,
            Result(
                outcome="fault" if error.exit_code == EXIT_FAULT else "refused",
                sentence=str(error),
                fault=type(error).__name__,
                links=getattr(error, "links", {}),
            ),
        )
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if kind == "commands" and isinstance(error, BrokenPipeError):  # `perennial ledger show | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_FAULT
        if not (_is_disk_full(error) or (kind == "commands" and _names_a_file(error))):
            log.exception("%s broke.", _subject(kind, name))
        code, result = EXIT_FAULT, Result(outcome="fault", sentence=_sentence(_subject(kind, name), error), fault=_class_of(error))
        broke = f"{_subject(kind, name)} broke: {type(error).__name__}. Its log shows where."  # what the error says may be of a row
    if kind == "stages":
        result = result.model_copy(update={"seconds": round(time.time() - _process_start(), 3), "links": _with_trace(result.links)})
        try:
            if result_file:
                result_file.write_text(result.model_dump_json())
        except OSError as error:
            _tell(kind, result, EXIT_FAULT)
            code, result = (
                EXIT_FAULT,
                Result(sentence=f"The result cannot be written to {result_file} ({error.strerror}): name another --result FILE."),
            )
        tracing.end(result.outcome if code != EXIT_FAULT else "fault", broke or result.sentence, _named(SUBJECTS, vars(result)))
    _tell(kind, result, code)
    return code


def _tell(kind: str, result: Result, code: int) -> None:
    """Print the sentence; where all lines of a stage are objects, it is the last of them."""
    if kind == "stages" and log_lines.wants_json():
        level = logging.ERROR if code else logging.INFO
        log.handle(log.makeRecord(log.name, level, "", 0, "%s", (result.sentence,), None, extra={"outcome": result.outcome}))
    else:
        print(on_terminal(result.sentence), file=sys.stderr if code else sys.stdout, flush=True)


BEGIN = (
    "With data of your own: `perennial try --data FILE --label COLUMN` needs nothing set up. To go on, `new` makes a repository of yours, "
    "in which `add dataset` and `add model` describe them; `land` hands files in and `up` starts the platform, which does the rest: the "
    "first commands, up to `rollback`, are its stages, each of which can be run by hand. `perennial COMMAND --help` says what one takes; "
    "docs/how-to.md what to do when."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="perennial", description="Keeps machine-learning models fresh.", epilog=BEGIN)
    subcommands = parser.add_subparsers(metavar="COMMAND", required=True)
    for kind, table in (("stages", options.STAGES), ("commands", options.COMMANDS)):
        for name, (summary, wanted) in table.items():
            sub = subcommands.add_parser(name, help=summary, description=summary)
            sub.set_defaults(package=kind, module=name)
            for option in wanted:
                option.add_to(sub)
            if kind == "stages":
                sub.add_argument("--result", type=Path, metavar="FILE", help="write the result there as JSON")
    return parser


def _file_name(command: str) -> str:
    """`remove-batch` is in remove_batch.py, `try`, a word of Python, in try_.py."""
    return f"{command}_" if keyword.iskeyword(command) else command.replace("-", "_")


def _subject(kind: str, name: str) -> str:
    return f"The {kind.removesuffix('s')} {name}"


def _is_disk_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _names_a_file(error: Exception) -> bool:
    return isinstance(error, OSError) and bool(error.filename and error.strerror)


def _sentence(subject: str, error: Exception) -> str:
    if isinstance(error, OSError) and _is_disk_full(error):
        return (
            f"The disk is full at {error.filename or 'an unnamed file'}: free some space, then run {subject[0].lower()}{subject[1:]} again."
        )
    if isinstance(error, OSError) and _names_a_file(error):
        return f"{subject} cannot use {error.filename} ({error.strerror}): check that it is there, and its rights."
    if isinstance(error, MemoryError):
        return f"{subject} ran out of memory: give it more (the spec's compute.memory_gb) or less data."
    if own := _in_own_code(error):
        return f"{subject} broke in {own}: {type(error).__name__}: {error}. Mend that file; the log above shows how it came there."
    return f"{subject} broke: {type(error).__name__}: {error}. The log above shows where."


def _class_of(error: Exception) -> str:
    """The class of an error that nobody raised on purpose: of a full disk and of a model's own code it is not Python's."""
    if isinstance(error, MemoryError) or not (_is_disk_full(error) or _in_own_code(error)):
        return type(error).__name__
    return "DiskFull" if _is_disk_full(error) else CodeBroken.__name__


def _in_own_code(error: Exception) -> str:
    """The file of a model or a dataset, and its line, in which an error happened or that cannot be read; empty if it is in none."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    for path, line in reversed([(Path(name), line) for name, line in places]):
        folder = next((place for place, part in enumerate(path.parts) if part in SPEC_FOLDERS), None)
        if folder is not None:
            return f"{'/'.join(path.parts[folder:])}, line {line}"
    return ""


def _process_start() -> float:
    """When this process was started, seconds since the epoch."""
    if sys.platform == "linux":  # psutil counts from the second in which the machine was started
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    import psutil

    return float(psutil.Process().create_time())


def _with_trace(links: Mapping[str, str]) -> dict[str, str]:
    """The pages of a result, and that of its trace where there is one."""
    page = tracing.page(os.environ.get("PERENNIAL_TRACE_URL", ""))
    return {**links, "Trace": page} if page else dict(links)


def _begin_span(kind: str, name: str, given: Mapping[str, object]) -> None:
    """Begin the span of a stage; a question that a person asks has none."""
    if kind == "stages":
        tracing.begin(f"stage {name}", STAGES_SERVICE, {"stage": name, **_named(SUBJECTS, given)}, since=_process_start())


def _named(names: Sequence[str], values: Mapping[str, object]) -> dict[str, str | int]:
    """Those of the values that a span can say."""
    return {name: value for name in names if isinstance(value := values.get(name), str | int) and value != ""}


if __name__ == "__main__":
    sys.exit(main())
