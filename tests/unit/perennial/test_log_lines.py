"""Lines of JSON: their form, the ids in them, and what they never show."""

import io
import json
import logging
import logging.config
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perennial import log_lines
from perennial.log_line import LogLine
from perennial.log_lines import JsonLines, during, hide, ids_of_run, ids_of_trace, read_line, without_secrets, write_lines

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Ids and secrets of a test are its own, and so is the process' logging."""
    known, secrets = dict(log_lines._of_process), set(log_lines._secrets)
    log_lines._of_process.clear()
    log_lines._secrets.clear()
    for name in (*log_lines.RUN_VARIABLES.values(), log_lines.TRACEPARENT_VARIABLE, *log_lines.SECRET_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    log_lines._of_process.update(known)
    log_lines._secrets.clear()
    log_lines._secrets.update(secrets)


def _line(message="Trained.", level=logging.INFO, error=None, **more):
    record = logging.LogRecord("perennial.x", level, "", 0, message, (), error)
    vars(record).update(more)
    return json.loads(JsonLines().format(record))


def _logged(monkeypatch, form, log, **ids):
    monkeypatch.setenv(log_lines.VARIABLE, form)
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []  # those of pytest
    write_lines("perennial train", text="%(levelname)s %(message)s", stream=stream, ids=ids)
    log()
    return stream.getvalue().splitlines()


def test_a_line_is_text_unless_json_is_asked_for(monkeypatch):
    """MN-12: The default form is for a person; JSON is one object a line, of the documented form, with what the process knows of itself."""

    def log():
        logging.getLogger("perennial.stages").warning("Row %d is odd.\nIt is.", 3)

    assert _logged(monkeypatch, "text", log) == ["WARNING Row 3 is odd.", "It is."]
    (line,) = _logged(monkeypatch, "json", log, model="churn", stage="train", dataset=None, version="7")
    parsed = LogLine.model_validate_json(line)
    assert (parsed.level, parsed.logger, parsed.message) == ("WARNING", "perennial.stages", "Row 3 is odd.\nIt is.")
    assert (parsed.program, parsed.model, parsed.stage, parsed.version) == ("perennial train", "churn", "train", 7)
    assert "dataset" not in json.loads(line)


@pytest.mark.parametrize(("given", "wants"), [("json", True), ("JSON", True), ("text", False), ("", False), ("jason", False)])
def test_json_is_written_where_the_setting_says_so(given, wants):
    """MN-12: Only `json` changes the form; a wrong value is told by the settings as any other."""
    assert log_lines.wants_json({"PERENNIAL_LOG_FORMAT": given}) is wants
    assert not log_lines.wants_json({})


def test_lines_have_the_ids_of_run_and_trace(monkeypatch):
    """MN-12: A stage that Airflow started has the ids of its run, task and try in each line, and those of its trace, as OpenTelemetry
    has them."""
    monkeypatch.setenv("AIRFLOW_CTX_DAG_ID", "churn_training")
    monkeypatch.setenv("AIRFLOW_CTX_DAG_RUN_ID", "manual__1")
    monkeypatch.setenv("AIRFLOW_CTX_TASK_ID", "train")
    monkeypatch.setenv("AIRFLOW_CTX_TRY_NUMBER", "2")
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    (line,) = _logged(monkeypatch, "json", lambda: logging.getLogger("x").info("Go."))
    read = json.loads(line)
    ids = {"dag": "churn_training", "run": "manual__1", "task": "train", "try": 2, "trace_id": TRACE, "span_id": SPAN}
    assert {name: read[name] for name in ids} == ids
    LogLine.model_validate_json(line)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01x",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_gives_no_ids(given):
    """MN-12: A header of another form, or of zeros, is left out: the line is written all the same."""
    assert ids_of_trace(given) == {}
    assert ids_of_run({"TRACEPARENT": given, "AIRFLOW_CTX_TRY_NUMBER": "second"}) == {}


def test_a_trace_is_read_as_w3c_has_it():
    """MN-12: In lower or upper case, with blanks around it, and with what later versions of the form add."""
    for given in (f" 00-{TRACE}-{SPAN}-00 ", f"00-{TRACE.upper()}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-more"):
        assert ids_of_trace(given) == {"trace_id": TRACE, "span_id": SPAN}


def test_nearer_ids_count_before_those_of_the_process(monkeypatch):
    """MN-12: What a line is about is told by the line first, then by the block it is in, then by the process; a block's ids end with it."""
    monkeypatch.setattr(log_lines, "_of_process", {"model": "process", "program": "server"})
    with during(model="block", prediction="p1", version=None, unknown="x"):
        with during(version=3):
            ids = {"model": "block", "prediction": "p2", "version": 3, "program": "server"}
            assert _line(prediction="p2").items() >= ids.items()
            assert "unknown" not in _line()
        assert "version" not in _line()
    assert _line()["model"] == "process"
    assert "prediction" not in _line(prediction="")
    assert "version" not in _line(version="seven")


def test_an_exception_is_one_line():
    """MN-12: A traceback is a field of its line, however many lines it has."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "It broke.", (), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    read = LogLine.model_validate_json(line)
    assert read.message == "It broke."
    assert read.exception.startswith("Traceback")
    assert read.exception.endswith("ValueError: two\nlines")
    assert "exception" not in _line(error=(None, None, None))


@pytest.mark.parametrize(
    ("number", "level"),
    [
        (5, "DEBUG"),
        (10, "DEBUG"),
        (19, "DEBUG"),
        (20, "INFO"),
        (25, "INFO"),
        (30, "WARNING"),
        (40, "ERROR"),
        (50, "CRITICAL"),
        (60, "CRITICAL"),
    ],
)
def test_a_level_is_one_of_five(number, level):
    """MN-12: A library's own level is told as the nearest one below that all know."""
    assert _line(level=number)["level"] == level


def test_a_line_is_no_longer_than_shippers_take():
    """MN-12: What is longer is cut, and shows that it was."""
    longest = "x" * log_lines.LINE
    assert _line(longest)["message"] == longest
    cut = _line(longest + "x")["message"]
    assert (len(cut), cut[-3:]) == (log_lines.LINE, "x …")


def test_no_line_shows_a_secret(monkeypatch):
    """SC-04, MN-12: Known secrets and passwords of addresses are stars, in both forms, in messages and in exceptions."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-1")

    def log():
        hide("abc", "hush-hush", "hush-hush-2")
        try:
            raise ValueError("hush-hush-2 of postgresql://ada:pass@db/x, not http://db:80/a or ada@example.com")
        except ValueError:
            logging.getLogger("x").exception("With %s and abc.", "aws-secret-1")

    for form in ("json", "text"):
        text = "\n".join(_logged(monkeypatch, form, log))
        assert "With *** and abc." in text
        assert "*** of postgresql://ada:***@db/x, not http://db:80/a or ada@example.com" in text
        for secret in ("aws-secret-1", "hush-hush", "ada:pass"):
            assert secret not in text
    assert without_secrets("//:pw@host and //u:p@ss@host") == "//:***@host and //u:***@host"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
    ],
)
def test_what_the_environment_holds_is_no_line(monkeypatch, name):
    """SC-04: Of each variable with a secret that a program of the platform is given."""
    monkeypatch.setenv(name, "s3cr3t-of-environment")
    assert _logged(monkeypatch, "text", lambda: logging.getLogger("x").warning("It is s3cr3t-of-environment.")) == ["WARNING It is ***."]


def test_a_secret_within_another_leaves_no_part_of_it():
    """SC-04: The longest is replaced first; what is shorter than four letters would star out words, and is left."""
    hide("zz-hush", "a-zz-hush", "four", "abc")
    assert without_secrets("a-zz-hush zz-hush four abc") == "*** *** *** abc"


def test_a_connection_that_is_read_is_a_secret_from_then_on(tmp_path):
    """SC-04: A library may log what it was given; password, keys among the further settings and an address with a password are stars."""
    from perennial.sources.connections import read_connection

    file = tmp_path / "connections.json"
    known = {"shop": {"password": "pw-of-shop", "extra": {"sasl.password": "pw-of-kafka", "region_name": "eu-west-1", "api_key": 12345}}}
    file.write_text(
        json.dumps({**known, "cars": {"url": "https://cars.example/?token=t0k3n-of-cars"}, "open": {"url": "http://open.example"}})
    )
    file.chmod(0o600)
    for name in ("shop", "cars", "open"):
        read_connection(str(file), name)
    shown = without_secrets("pw-of-shop pw-of-kafka eu-west-1 https://cars.example/?token=t0k3n-of-cars http://open.example")
    assert shown == "*** *** eu-west-1 *** http://open.example"


@pytest.mark.parametrize(
    "line", ["", "text", '{"schema": 1}', '{"schema": 1, "level": "INFO", "mess', '{"level": "INFO", "message": "x"}', '{"schema": [1']
)
def test_what_is_no_line_of_this_form_is_left_as_it_is(line):
    """MN-12: Lines of libraries, and lines that were cut short, are text."""
    assert read_line(line) is None


def test_a_line_is_read_as_it_was_written():
    """MN-12: What a program wrote, another one reads."""
    record = logging.LogRecord("x", logging.ERROR, "", 0, "Ünï", (), None)
    assert read_line(JsonLines().format(record))["message"] == "Ünï"


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_stage_ends_with_its_sentence_in_the_form_that_is_asked_for(tmp_path, form):
    """MN-12: Every line of a real stage is an object where JSON is asked for, and the last one says how it ended; else it is text."""
    environment = {
        "PERENNIAL_HOME": str(tmp_path),
        "PERENNIAL_LOG_FORMAT": form,
        "PERENNIAL_LOG_LEVEL": "DEBUG",
        "AIRFLOW_CTX_DAG_RUN_ID": "manual__7",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "perennial.cli", "rollback", "--model", "digits"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert not done.stdout
    if form == "text":
        assert lines[-1].startswith("digits has never served")
        return
    read = [LogLine.model_validate_json(line) for line in lines]
    assert (read[-1].outcome, read[-1].level, read[-1].stage, read[-1].model, read[-1].run) == (
        "refused",
        "ERROR",
        "rollback",
        "digits",
        "manual__7",
    )
    assert read[-1].program == "perennial rollback"


def test_ids_are_those_of_the_form():
    """MN-12: What may be given to a line as an id is a field of the form, and the other way round: all but what a line itself says."""
    own = {"schema", "time", "level", "logger", "message", "exception", "outcome", "status", "milliseconds"}
    assert set(log_lines.IDS) == {field.alias or name for name, field in LogLine.model_fields.items()} - own


def test_the_page_on_logs_has_the_limits_of_the_code():
    """MN-12: docs/logs.md names the version of the form and where a line is cut."""
    page = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()
    assert f"Version {log_lines.SCHEMA}." in page
    assert f"{log_lines.LINE:,} characters" in page


@pytest.mark.parametrize(("program", "own", "shown"), [("mlflow", "", "mlflow"), ("", "server", "server"), ("", "", None)])
def test_a_program_that_sets_up_logging_itself_is_told_the_form(monkeypatch, capsys, program, own, shown):
    """MN-12: As MLflow's and the servers' are: all loggers, those of before too, from INFO on, by the program's name or the process'."""
    early = logging.getLogger("of before")
    if own:
        _logged(monkeypatch, "json", lambda: None, program=own)
    logging.config.dictConfig(log_lines.logging_form(program))
    logging.getLogger().debug("Too quiet.")
    early.info("Told.")
    (line,) = capsys.readouterr().err.splitlines()
    read = LogLine.model_validate_json(line)
    assert (read.program, read.message, read.logger) == (shown, "Told.", "of before")


def test_a_line_of_text_has_its_time_in_the_form_that_is_asked_for(monkeypatch):
    """MN-12: As stages have: hours, minutes and seconds alone."""
    monkeypatch.setenv(log_lines.VARIABLE, "text")
    stream = io.StringIO()
    logging.getLogger().handlers[:] = []
    write_lines("p", text="%(asctime)s %(message)s", times="at %H", stream=stream)
    logging.getLogger("x").warning("Go.")
    assert re.fullmatch(r"at \d\d Go\.\n", stream.getvalue())


@pytest.mark.parametrize("form", ["json", "text"])
def test_warnings_of_libraries_are_lines_where_all_are_objects(monkeypatch, form):
    """MN-12: In JSON a warning of Python would be text between objects; in text it is as Python has it."""
    _logged(monkeypatch, form, lambda: None)
    assert (logging._warnings_showwarning is not None) is (form == "json")


def test_how_a_stage_ended_is_in_its_last_line_alone():
    """MN-12: As a field, from the record."""
    assert _line(outcome="refused")["outcome"] == "refused"
    assert "outcome" not in _line()


def test_a_line_is_in_utf_8():
    """MN-12: Letters of all languages stay readable in the file."""
    assert '"message": "Ünï"' in JsonLines().format(logging.LogRecord("x", logging.ERROR, "", 0, "Ünï", (), None))
