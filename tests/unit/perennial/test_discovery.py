"""Models and datasets are found by walking their packages; a broken file stops itself alone."""

import sys

import pytest

import perennial_datasets
import perennial_models
from perennial import cli, discovery
from perennial.errors import SettingMissing, SpecBroken, UnknownName

FILE = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name={name!r}, title="T", owner="o", columns=(Column(name="at", type="timestamp"),), key=("at",), event_time="at")
"""
SPEC = """
from perennial.specs import GateSpec, ModelSpec
MODEL = ModelSpec(
    name="extra_m",
    title="M",
    owner="o",
    dataset="flights",
    task="regression",
    inputs=("carrier",),
    label="arr_delay",
    gate=GateSpec(metric="rmse", floors={"rmse": 1.0}),
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A second folder of datasets, and one of models below `models`, beside the project's own."""
    (tmp_path / "models" / "extra_m").mkdir(parents=True)
    (tmp_path / "models" / "extra_m" / "__init__.py").touch()
    monkeypatch.setattr(perennial_datasets, "__path__", [*perennial_datasets.__path__, str(tmp_path)])
    monkeypatch.setattr(perennial_models, "__path__", [*perennial_models.__path__, str(tmp_path / "models")])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "models" / "extra_m" / "spec.py").write_text(SPEC)
    yield tmp_path
    for name in [m for m in sys.modules if m.startswith(("perennial_datasets.extra", "perennial_models.extra"))]:
        del sys.modules[name]


def test_a_new_file_is_a_new_dataset(folder):
    """DM-01: No list is extended."""
    (folder / "extra_a.py").write_text(FILE.format(name="extra_a"))
    assert "extra_a" in discovery.datasets()
    assert discovery.dataset_module("extra_a").DATASET.name == "extra_a"
    assert "extra_m" in discovery.models()
    assert discovery.broken() == []


@pytest.mark.parametrize(
    ("text", "why", "line"),
    [
        ("import os\nDATASET = DatasetSpec(", "'(' was never closed", ", line 2"),
        ("\nimport no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", ", line 2"),
        ("import sys\nsys.exit(0)", "it ends the program that reads it (sys.exit)", ", line 2"),
        ("class Panic(BaseException):\n    pass\nraise Panic('of a library')", "Panic: of a library", ", line 3"),
        ("1 / 0", "ZeroDivisionError: division by zero", ", line 1"),
        ("SET = 1", "it defines no DATASET = DatasetSpec(...)", ""),
        ("DATASET = 1", "it defines no DATASET = DatasetSpec(...)", ""),
        (FILE.format(name="other"), "its spec is named 'other', and its place says 'extra_b': make them the same", ", line 3"),
        (FILE.format(name="extra_b").replace('"timestamp"', '"int"'), "event_time at must be a timestamp column", ", line 3"),
        (FILE.format(name="extra_b").replace('title="T", ', ""), "DatasetSpec lacks title", ", line 3"),
        (
            FILE.format(name="extra_b").replace('title="T"', 'titel="T"'),
            "DatasetSpec lacks title; DatasetSpec has no field titel: did you mean title?",
            ", line 3",
        ),
        (
            FILE.format(name="extra_b").replace('"timestamp"', '"time"'),
            "type must be 'int', 'float', 'string', 'timestamp', 'bool', 'list', 'text', 'array' or 'image'",
            ", line 3",
        ),
    ],
)
def test_a_broken_dataset_stops_itself_alone(folder, text, why, line):
    """OP-08, MN-18: Whatever its file does: it is left out and said with file and line; only its own name refuses, with the same
    sentence."""
    (folder / "extra_b.py").write_text(text)
    (broken,) = discovery.broken()
    assert (broken.kind, broken.name, broken.why, broken.place) == ("dataset", "extra_b", why, f"perennial_datasets/extra_b.py{line}")
    assert {"flights", "digits"} <= set(discovery.datasets())
    with pytest.raises(SpecBroken, match=r"^The dataset extra_b is broken: .* Mend that file; all others go on without it\.$") as refused:
        discovery.dataset("extra_b")
    assert str(refused.value) == broken.sentence


@pytest.mark.parametrize(
    ("old", "new", "why", "line"),
    [
        ('"carrier"', '"nonexistent"', "its inputs name nonexistent, which the dataset flights does not have", 9),
        ('"arr_delay"', '"arr_dly"', "its label is arr_dly, which the dataset flights does not have", 10),
        ("label=", 'slices=("hour", "state"),\n    label=', "its slices name state, which the dataset flights does not have", 10),
        ('"rmse": 1', '"rmsee": 1', "the gate's floors name rmsee, which is no metric of a regression model: mse, rmse, mae", 3),
        ("label=", 'classes=("a", "b"),\n    label=', "a regression model has no classes", 3),
        ('"flights"', '"flihgts"', "there is no dataset 'flihgts'. Did you mean flights?", 7),
        ('"flights"', '"extra_d"', "its dataset extra_d is broken, see perennial_datasets/extra_d.py, line 1", 7),
        (
            'task="regression",',
            'task="regression", retrain={"schedule": "0 25 * * *"},',
            "retrain.schedule '25' in the cron line '0 25 * * *' is no hour: numbers go from 0 to 23, such as 5, 1-5, */15",
            3,
        ),
    ],
)
def test_a_model_that_cannot_work_is_broken(folder, old, new, why, line):
    """MO-01: Found before anything is trained: a name that its dataset does not have, a metric that no evaluation gives, a schedule that is
    none."""
    (folder / "extra_d.py").write_text("1 / 0")
    (folder / "models" / "extra_m" / "spec.py").write_text(SPEC.replace(old, new))
    broken = next(found for found in discovery.broken() if found.kind == "model")
    assert (broken.name, broken.why, broken.place) == ("extra_m", why, f"perennial_models/extra_m/spec.py, line {line}")
    assert {"flight_delays", "digits"} <= set(discovery.models())


def test_a_link_that_leads_nowhere_is_named(folder):
    """MN-18: The file that is missing is the dataset's own."""
    (folder / "extra_b.py").symlink_to(folder / "gone.py")
    (broken,) = discovery.broken()
    assert broken.why == "there is no extra_b.py"


@pytest.mark.parametrize("file", ["spec.py", "__init__.py"])
def test_a_model_that_lacks_a_file_is_broken(folder, file):
    """MO-01: A folder that was begun, or emptied, is not passed over in silence."""
    (folder / "models" / "extra_m" / file).unlink()
    with pytest.raises(SpecBroken, match=rf"there is no {file} \(perennial_models/extra_m\)"):
        discovery.model("extra_m")
    assert "extra_m" not in discovery.models()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def label(:", r"invalid syntax \(perennial_models/extra_m/features\.py, line 1\)"),
        ("\nimport no_such", r"No module named 'no_such' \(perennial_models/extra_m/features\.py, line 2\)"),
        ("label = fit = 1", r"it defines no encode \(perennial_models/extra_m/features\.py\)"),
        (None, r"there is no features\.py \(perennial_models/extra_m\)"),
    ],
)
def test_a_heavy_file_is_read_late(folder, text, why):
    """DE-15, MN-18: What is wrong in it matters to nobody who reads the spec; the stage that needs it says it in a sentence, and is not
    tried again."""
    if text is not None:
        (folder / "models" / "extra_m" / "features.py").write_text(text)
    assert "extra_m" in discovery.models()
    assert discovery.broken() == []
    with pytest.raises(SpecBroken, match=why):
        discovery.model_part("extra_m", "features")


def test_a_stage_on_a_broken_name_refuses(folder, tmp_path, monkeypatch, capsys):
    """DE-15: Exit code 2 and the sentence alone: a repeated try would find the same."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    (folder / "models" / "extra_m" / "spec.py").write_text("MODEL = None")
    assert cli.main(["validate", "--model", "extra_m"]) == 2
    assert capsys.readouterr().err.strip() == discovery.broken()[0].sentence


def test_an_unknown_name_suggests_the_nearest():
    """MO-01: A typo in a name gets a suggestion."""
    with pytest.raises(UnknownName, match="Did you mean flights"):
        discovery.dataset("flihgts")
    with pytest.raises(UnknownName, match="no model 'zzz'"):
        discovery.model("zzz")


def test_questions_are_answered_for_what_the_store_knows(folder):
    """SC-03: Also of a model whose files are broken or gone; a name that nobody knows is refused."""
    (folder / "models" / "extra_m" / "spec.py").write_text("MODEL = None")
    everything = ["digits", "extra_m", "flight_delays", "gone"]
    assert discovery.models_asked_about(None, ["gone", "digits"]) == everything
    assert [discovery.models_asked_about(name, ["gone"]) for name in everything] == [[name] for name in everything]
    with pytest.raises(UnknownName, match="no model 'zzz'"):
        discovery.models_asked_about("zzz", ["gone"])


EXAMPLE = FILE.replace("title=", "example=True, title=")


@pytest.mark.parametrize(
    ("switched", "datasets", "models"),
    [("", [], []), ("extra_m", ["extra_a"], ["extra_m"]), (" extra_m, extra_a", ["extra_a"], ["extra_m"]), ("extra_a", ["extra_a"], [])],
)
def test_an_example_is_there_once_it_is_switched_on(folder, monkeypatch, switched, datasets, models):
    """MO-25: With the datasets of its model; switched off, only a command on its name knows of it, and says what to do."""
    (folder / "extra_a.py").write_text(EXAMPLE.format(name="extra_a"))
    text = SPEC.replace('"flights"', '"extra_a"').replace('"carrier"', '"at"').replace('"arr_delay"', '"at"')
    (folder / "models" / "extra_m" / "spec.py").write_text(text.replace("title=", "example=True, title="))
    monkeypatch.setenv("PERENNIAL_EXAMPLES", switched)
    always = {"digits", "flights", "flight_delays"}
    assert (sorted({*discovery.datasets()} - always), sorted({*discovery.models()} - always)) == (datasets, models)
    assert discovery.broken() == []
    if not models:
        with pytest.raises(UnknownName, match=r"^The model extra_m is an example, and switched off: set PERENNIAL_EXAMPLES=extra_m\.$"):
            discovery.model("extra_m")


def test_an_example_that_there_is_not_stops_itself_alone(monkeypatch):
    """MO-25: It is told as broken, with the nearest one that there is; a model that is no example does no harm there; a word that can be no
    name is refused as a setting."""
    monkeypatch.setenv("PERENNIAL_EXAMPLES", "hourly_delay,digits")
    assert {"digits", "flight_delays"} <= set(discovery.models())
    (wrong,) = discovery.broken()
    assert (wrong.name, wrong.place) == ("hourly_delay", "PERENNIAL_EXAMPLES")
    assert "there is no such example. Did you mean hourly_delays" in wrong.why
    monkeypatch.setenv("PERENNIAL_EXAMPLES", "Hourly")
    with pytest.raises(SettingMissing, match="'Hourly' is no name"):
        discovery.models()
