"""The command line: exit codes, sentences and result files."""

import errno
import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from perennial import cli, options
from perennial.errors import BatchRefused, ServiceUnreachable
from perennial.results import Result


@pytest.fixture
def stage(monkeypatch, tmp_path):
    """Replaces the stage `rollback` by a function and runs it through the command line."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))

    def run_with(function):
        module = ModuleType("perennial.stages.rollback")
        module.run = lambda settings, store, **arguments: function()
        monkeypatch.setitem(sys.modules, "perennial.stages.rollback", module)
        file = tmp_path / "result.json"
        code = cli.main(["rollback", "--model", "any", "--result", str(file)])
        return code, json.loads(file.read_text())

    return run_with


def raiser(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "code", "outcome", "words"),
    [
        (lambda: Result(sentence="Back."), 0, "done", "Back."),
        (lambda: Result(outcome="skipped", sentence="Nothing new."), 0, "skipped", "Nothing new."),
        (raiser(BatchRefused("Bad batch.")), 2, "refused", "Bad batch."),
        (raiser(ServiceUnreachable("MLflow is away.")), 1, "fault", "MLflow is away."),
        (raiser(OSError(errno.ENOSPC, "no space", "/data/x")), 1, "fault", "disk is full at /data/x"),
        (raiser(MemoryError()), 1, "fault", "ran out of memory"),
        (raiser(ZeroDivisionError("by zero")), 1, "fault", "ZeroDivisionError: by zero"),
    ],
)
def test_every_end_has_its_exit_code_and_sentence(stage, capsys, function, code, outcome, words):
    """DE-15: Done and skipped exit 0, refused 2, fault 1; the sentence is in the result and on the terminal."""
    got, result = stage(function)
    assert (got, result["outcome"]) == (code, outcome)
    assert words in result["sentence"]
    assert result["seconds"] > 0
    shown = capsys.readouterr()
    assert words in (shown.err if code else shown.out)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("def build():\n    return 1 / 0", "model.py, line 2", "ZeroDivisionError: division by zero"),
        ("def build():\n  x = (", "model.py, line 2", "SyntaxError: '(' was never closed"),
        ("import json\ndef build():\n    json.loads('')", "model.py, line 3", "JSONDecodeError: Expecting value"),
    ],
)
def test_a_fault_in_the_code_of_a_model_names_its_line(stage, tmp_path, text, place, words):
    """MN-18: Not that of the library which it called, nor that of the platform which called it."""
    file = tmp_path / "include" / "perennial_models" / "churn" / "model.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)

    def run():
        names = {}
        exec(compile(file.read_text(), str(file), "exec"), names)
        names["build"]()

    _, result = stage(run)
    assert result["sentence"].startswith(f"The stage rollback broke in perennial_models/churn/{place}: {words}")
    assert result["sentence"].endswith("Mend that file; the log above shows how it came there.")


@pytest.mark.parametrize("error", [BatchRefused("Bad."), ServiceUnreachable("Away.")])
def test_an_expected_error_shows_no_traceback(stage, capsys, error):
    """DE-15: A person sees one sentence, not where in the code it was raised."""
    stage(raiser(error))
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_setting_is_one_sentence(monkeypatch, capsys):
    """DE-09: A mistyped setting ends the command with exit 1 before anything is done."""
    monkeypatch.setenv("PERENNIAL_STORRE", "x")
    assert cli.main(["rollback", "--model", "any"]) == 1
    assert "PERENNIAL_STORRE is no setting" in capsys.readouterr().err


def test_words_that_are_no_text_are_refused(capsys):
    """A note in another encoding could be kept nowhere: it is told, and nothing breaks half-way."""
    with pytest.raises(SystemExit):
        cli.main(["incident", "--model", "any", "--id", "1", "--verdict", "real", "--note", os.fsdecode(b"caf\xe9")])
    assert "--note holds bytes that are no text in UTF-8: 'caf\\udce9'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["yesterday", "2013-13-01"])
def test_a_wrong_time_is_explained(capsys, text):
    """argparse says what a time looks like."""
    with pytest.raises(SystemExit):
        cli.main(["monitor", "--model", "any", "--from", text])
    assert "write it like" in capsys.readouterr().err


def test_times_without_zone_are_utc():
    """A bare date is midnight UTC."""
    assert options.moment("2013-02-01").isoformat() == "2013-02-01T00:00:00+00:00"


def test_a_wrong_day_is_explained(capsys):
    """The sentence shows the form of a date."""
    with pytest.raises(SystemExit):
        cli.main(["land", "flights", "--from", "1 May", "--to", "2013-01-02"])
    assert "write it like 2013-01-31" in capsys.readouterr().err


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Replaces the command `status` by a function and runs it through the command line."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))

    def run_with(function):
        module = ModuleType("perennial.commands.status")
        module.run = lambda settings, store: function()
        monkeypatch.setitem(sys.modules, "perennial.commands.status", module)
        return cli.main(["status"])

    return run_with


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "no space", "/data/x"), "disk is full at /data/x: free some space, then run the command status again"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "The command status cannot use /data/x (Permission denied)"),
    ],
)
def test_a_command_without_disk_or_rights_is_one_sentence(command, capsys, error, words):
    """DE-15: Not a traceback, and exit 1."""
    assert command(raiser(error)) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_a_broken_command_is_a_fault(command, capsys, caplog):
    """DE-15: What nobody foresaw ends with exit 1, a last line that says so, and the place in the log."""
    assert command(raiser(ZeroDivisionError("by zero"))) == 1
    assert "The command status broke: ZeroDivisionError: by zero" in capsys.readouterr().err
    assert "raise error" in caplog.text


def test_a_reader_that_has_read_enough_is_no_fault_to_tell(tmp_path):
    """`perennial ledger show | head` says nothing on standard error."""
    program = "import sys; from perennial import cli; sys.exit(cli.main(['ledger', 'show']))"
    environment = {**os.environ, "PERENNIAL_HOME": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 1


def test_a_result_that_cannot_be_written_is_a_fault(monkeypatch, tmp_path, capsys):
    """DE-15: The orchestrator would wait for it in vain: exit 1, with the stage's own sentence and what to do."""
    module = ModuleType("perennial.stages.rollback")
    module.run = lambda settings, store, **arguments: Result(sentence="Back.")
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "perennial.stages.rollback", module)
    assert cli.main(["rollback", "--model", "any", "--result", str(tmp_path / "none" / "result.json")]) == 1
    shown = capsys.readouterr().err
    assert "Back." in shown
    assert "cannot be written to" in shown


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--limit", "0", "is no count"), ("--limit", "-3", "is no count"), ("--rate", "-2", "is no rate"), ("--rate", "nan", "is no rate")],
)
def test_a_number_that_means_nothing_is_refused(capsys, option, value, words):
    """It is not taken for "all" or for "no rows"."""
    with pytest.raises(SystemExit) as end:
        cli.main(["traffic", "--model", "any", "--from", "2013-01-01", "--to", "2013-01-02", f"{option}={value}"])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def open_umask():
    """A shell that lets all others read what its programs write."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_a_stage_writes_only_its_user_can_read(stage, tmp_path, open_umask):
    """DM-09: Tables and models are written by libraries that ask the process for their rights."""
    stage(lambda: (tmp_path / "table.parquet").touch() or Result(sentence="Written."))
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("table.parquet", "result.json")} == {0o600}


def test_what_is_written_into_the_checkout_has_its_owners_rights(monkeypatch, tmp_path, open_umask):
    """DE-04: An image is built from it, in which another user reads it."""
    module = ModuleType("perennial.commands.docs")
    module.run = lambda settings, store, **arguments: int((tmp_path / "commands.md").touch() or 0)
    monkeypatch.setitem(sys.modules, "perennial.commands.docs", module)
    assert cli.main(["docs"]) == 0
    assert (tmp_path / "commands.md").stat().st_mode & 0o777 == 0o644
