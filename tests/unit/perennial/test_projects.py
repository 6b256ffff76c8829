"""Projects beside the platform: found together with it, in the order in which they are named; what cannot be used is said, once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import perennial_datasets
import perennial_models
from perennial import discovery, projects
from perennial.errors import SpecBroken, UnknownName
from perennial.lineage.making import project_commit
from perennial.lineage.manifest import code_digest, code_files, run_code
from perennial.quality import suites
from perennial.settings import Settings
from perennial.stages.register import readme

DATASET = """
from perennial.specs import Column, DatasetSpec

DATASET = DatasetSpec(
    name="{name}", title="{title}", owner="o", key=("id",), event_time="at",{more}
    columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="far", type="float")),
)
"""
SPEC = """
from perennial.specs import GateSpec, ModelSpec

MODEL = ModelSpec(
    name="{name}", title="{title}", owner="o", dataset="{dataset}", task="regression", label="far", learner="boosted", inputs=("id",),
    gate=GateSpec(metric="rmse", floors={{"rmse": 1.0}}),{more}
)
"""
FEATURES = """
from {shared} import SCALE

def label(columns): ...
def fit(columns): ...
def encode(encoder, columns): return SCALE
"""
OWN = ("perennial_datasets.", "perennial_models.", "ours")
INIT = Path(perennial_datasets.__file__)


class Named:
    """Projects in a folder, which the setting names."""

    def __init__(self, top, monkeypatch):
        self.top, self.monkeypatch = top, monkeypatch

    def name(self, *given, examples=""):
        self.monkeypatch.setenv("PERENNIAL_PROJECT", ",".join(str(self.top / one) for one in given))
        self.monkeypatch.setenv("PERENNIAL_EXAMPLES", examples)
        for package in (perennial_datasets, perennial_models):
            self.monkeypatch.setattr(package, "__path__", projects.joined(package.__name__, [str(INIT.parents[1] / package.__name__)]))

    def dataset(self, project, name, more="", title="T"):
        file = self.top / project / "include/perennial_datasets" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(DATASET.format(name=name, more=more, title=title))
        return file

    def model(self, project, name, dataset, more="", title="M"):
        folder = self.top / project / "include/perennial_models" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "spec.py").write_text(SPEC.format(name=name, dataset=dataset, more=more, title=title))
        return folder

    def shared(self, project, package, text="SCALE = 2.0\n"):
        folder = self.top / project / "include" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(text)
        return folder


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Nothing named yet; afterwards all is as it was."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(OWN)}
    yield Named(tmp_path, monkeypatch)
    for name in [name for name in sys.modules if name.startswith(OWN)]:
        del sys.modules[name]
    sys.modules.update(loaded)


def sentences():
    return [broken.sentence for broken in discovery.broken()]


def test_the_setting_is_a_list_of_folders(tmp_path, monkeypatch):
    """DE-09: Folders with commas between; each once, absolute, and in the order in which they are named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert projects.folders(" a,~/b/ , ,a/../a,/c ") == [tmp_path / "a", Path("/home/ada/b"), Path("/c")]
    settings = Settings.from_environment({"PERENNIAL_PROJECT": "a, /c"})
    assert settings.project == f"{tmp_path}/a,/c"
    assert settings.environment()["PERENNIAL_PROJECT"] == settings.project
    assert settings.projects == (tmp_path / "a", Path("/c"))
    assert "PERENNIAL_PROJECT" not in Settings.from_environment({}).environment()


def test_what_several_projects_describe_is_found_beside_the_platform_s(named):
    """DM-01, MO-01: A model may read the dataset of another project, and the platform's own stay."""
    named.dataset("one", "ours_rides")
    named.model("one", "ours_far", "ours_rides")
    named.model("two", "ours_farther", "ours_rides")
    named.model("two", "ours_late", "flights", more="\n    example=False,")
    named.name("one", "two")
    assert {"ours_rides", "flights", "digits"} <= set(discovery.datasets())
    assert {"ours_far", "ours_farther", "flight_delays"} <= set(discovery.models())
    # Where a file lies is said by its project.
    assert sentences() == [
        "The model ours_late is broken: its inputs name id, which the dataset flights does not have (two/include/perennial_models/"
        "ours_late/spec.py, line 5). Mend that file; all others go on without it."
    ]
    assert discovery.project_of("ours_far") == named.top / "one"
    assert discovery.project_of("flight_delays") is None
    assert discovery.dataset_home("ours_rides") == named.top / "one"


def test_a_folder_that_is_no_project_is_said(named):
    """OP-08, MN-18: One that is gone, or holds nothing of a project, is named by where it should be; all else is found."""
    (named.top / "empty").mkdir()
    named.dataset("one", "ours_rides")
    named.name("gone", "one", "empty")
    assert "ours_rides" in discovery.datasets()
    assert [(broken.kind, broken.name) for broken in discovery.broken()] == [("project", "gone"), ("project", "empty")]
    assert sentences() == [
        f"The project gone is not used whole: there is no folder {named.top}/gone: correct PERENNIAL_PROJECT, or make it with "
        f"`perennial new {named.top}/gone` (PERENNIAL_PROJECT). All else goes on without it.",
        f"The project empty is not used whole: the folder {named.top}/empty has neither include/ nor dags/, so it is no project: correct "
        "PERENNIAL_PROJECT, or make one with `perennial new` (PERENNIAL_PROJECT). All else goes on without it.",
    ]
    (named.top / "empty" / "dags").mkdir()
    assert [broken.name for broken in discovery.broken()] == ["gone"]


def test_of_one_name_the_first_is_used(named):
    """MO-01: Of two projects the one that is named first; what the other one has is left out with a sentence, and so is a model of its own
    that means it."""
    named.dataset("one", "ours_rides", title="of one")
    named.dataset("two", "ours_rides", title="of two")
    named.dataset("two", "ours_others")
    named.model("one", "ours_far", "ours_rides", title="of one")
    named.model("two", "ours_far", "ours_others", title="of two")
    named.model("two", "ours_third", "ours_rides")
    named.name("one", "two")
    assert (discovery.dataset("ours_rides").title, discovery.model("ours_far").title) == ("of one", "of one")
    assert "ours_others" in discovery.datasets()
    assert sentences() == [
        "The model ours_third is broken: its dataset ours_rides is hidden by another of that name: rename one of them "
        "(two/include/perennial_models/ours_third/spec.py, line 5). Mend that file; all others go on without it.",
        "The project two is not used whole: its dataset ours_rides has the name of one of the project one, which is used: rename it "
        "(two/include/perennial_datasets/ours_rides.py). All else goes on without it.",
        "The project two is not used whole: its model ours_far has the name of one of the project one, which is used: rename it "
        "(two/include/perennial_models/ours_far/spec.py). All else goes on without it.",
    ]
    with pytest.raises(SpecBroken, match="ours_third is broken"):
        discovery.model("ours_third")


def test_no_release_of_the_platform_takes_a_name(named):
    """DE-09, MO-01: An example that is switched off is as though it was not there; one that is on is left out, and that is said."""
    named.dataset("one", "remarks", title="Ours")
    named.model("one", "bad_news", "remarks", title="Ours")
    named.name("one")
    assert (discovery.dataset("remarks").title, discovery.model("bad_news").title) == ("Ours", "Ours")
    assert sentences() == []
    named.name("one", examples="bad_news")
    assert discovery.model("bad_news").title == "Ours"
    assert sentences() == [
        "The project one is not used whole: its model bad_news has the name of one of the platform, which is left out: rename it "
        "(one/include/perennial_models/bad_news/spec.py). All else goes on without it."
    ]


def test_a_model_of_the_platform_does_not_learn_from_a_project_s_rows(named):
    """MO-01: Where a project has a dataset of its name, the platform's model is left out: these would be other rows."""
    named.dataset("one", "digits")
    named.name("one")
    assert "digits" not in discovery.models()
    assert sentences()[0] == (
        "The model digits is broken: its dataset digits is hidden by another of that name: rename one of them "
        "(perennial_models/digits/spec.py, line 8). Mend that file; all others go on without it."
    )
    assert "flight_delays" in discovery.models()


def test_examples_of_the_platform_say_so_in_a_line_of_their_own(named):
    """MO-01: By that line a name that a project has, too, is known to be free."""
    said = {file.name for kind in ("dataset", "model") for file in discovery._files(kind) if file.is_example}
    named.name(examples="bad_news,hourly_delays")
    everything = [*discovery.datasets().values(), *discovery.models().values()]
    assert said == {spec.name for spec in everything if spec.example}
    assert said


def test_what_a_project_shares_can_be_imported(named):
    """MO-16, DE-03: A package beside datasets and models counts as code of the model that imports it, under its own name."""
    package = named.shared("one", "ours_shared")
    named.dataset("one", "ours_rides")
    folder = named.model("one", "ours_far", "ours_rides")
    (folder / "features.py").write_text(FEATURES.format(shared="ours_shared"))
    named.name("one")
    assert discovery.model_part("ours_far", "features").encode(None, None) == 2.0
    assert sentences() == []
    before, runs = code_digest("ours_far"), run_code(discovery.model("ours_far"))
    assert {"perennial_models/ours_far/features.py", "ours_shared/__init__.py"} <= set(code_files("ours_far"))
    (package / "__init__.py").write_text("SCALE = 3.0\n")
    assert code_digest("ours_far") != before
    assert run_code(discovery.model("ours_far")) != runs


@pytest.mark.parametrize("module", ["ours_shared", "numpy", "json"])
def test_a_module_that_another_hides_is_said(named, module):
    """MN-18: Another project, a library or Python itself has its name: what would be imported is not what the project wrote."""
    named.shared("two", module)
    named.dataset("one", "ours_rides")
    if module == "ours_shared":
        named.shared("one", module)
    named.name("one", "two")
    (broken,) = discovery.broken()
    assert (broken.kind, broken.name, broken.place) == ("project", "two", f"two/include/{module}")
    assert broken.why.startswith(f"its module {module} cannot be imported, as /")
    assert broken.why.endswith(" has its name: rename it")


def test_what_can_be_imported_is_named_without_running_it(tmp_path, monkeypatch):
    """MN-18: Packages and modules of `include` and `plugins`, but neither datasets and models nor what is no module; hidden is one whose
    name leads elsewhere."""
    for folder in ("include/ours_a", "include/perennial_models", "include/_private", "include/not-one", "plugins/ours_b", "dags/ours_c"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("include/ours_d.py", "include/ours_e.txt", "include/_f.py", "plugins/sys.py"):
        (tmp_path / file).touch()
    found = projects.modules(tmp_path)
    assert [module.relative_to(tmp_path).as_posix() for module in found] == [
        "include/ours_a",
        "include/ours_d.py",
        "plugins/ours_b",
        "plugins/sys.py",
    ]
    assert [projects.hidden_by(module) for module in found] == ["", "", "", "built-in"]  # of none that is on no path
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "include"), str(tmp_path / "plugins")])
    assert [projects.hidden_by(module) for module in found] == ["", "", "", "built-in"]
    (tmp_path / "first").mkdir()
    (tmp_path / "first/ours_d.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), *sys.path])
    assert projects.hidden_by(found[1]) == f"{tmp_path}/first/ours_d.py"


def test_operators_can_be_imported_too(named):
    """DE-01: What lies in `plugins` of a project, as DAG files import it."""
    (named.top / "one/plugins/ours_airflow").mkdir(parents=True)
    (named.top / "one/plugins/ours_airflow/__init__.py").write_text("HERE = 1\n")
    named.name("one")
    named.name("one")  # each place is on the path once
    assert [place for place in sys.path if place.startswith(str(named.top))] == [f"{named.top}/one/include", f"{named.top}/one/plugins"]
    assert __import__("ours_airflow").HERE == 1
    assert projects.joined("perennial_models", ["/platform"]) == [f"{named.top}/one/include/perennial_models", "/platform"]
    named.monkeypatch.delenv("PERENNIAL_PROJECT")
    assert projects.joined("perennial_models", ["/platform"]) == ["/platform"]


def test_packages_that_projects_ask_for(tmp_path):
    """DE-09, MO-16: Files with a package in them, of the environments that there are; comments and the ends of addresses are told apart."""
    assert projects.ENVIRONMENTS == ("workload", "airflow", "serving")
    assert projects.EXTRA == "perennial-extra-requirements.txt"  # images and environments of before have it under this name
    one, two = tmp_path / "one", tmp_path / "two"
    for project in (one, two):
        (project / "requirements").mkdir(parents=True)
    (one / "requirements/workload.txt").write_text("# é\n\nholidays==0.60 # ours\n", encoding="utf-8")
    (one / "requirements/airflow.txt").write_text("  # nothing\n")
    (one / "requirements/tools.txt").write_text("holidays\n")
    (two / "requirements/workload.txt").write_text("ours @ git+https://example.org/ours#egg=ours\n")
    assert projects.requirements([one, two], "workload") == [one / "requirements/workload.txt", two / "requirements/workload.txt"]
    assert projects.requirements([one, two], "airflow") == []
    assert projects.requirements([one, two], "tools") == []
    assert projects.requirements([], "workload") == []
    assert list(projects._asked(one / "requirements/workload.txt")) == [(3, "holidays==0.60")]
    assert list(projects._asked(two / "requirements/workload.txt")) == [(1, "ours @ git+https://example.org/ours#egg=ours")]


@pytest.mark.parametrize("line", ["-r more.txt", "./here", "/there/ours.whl", "--index-url x"])
def test_a_line_that_is_no_package_is_named(tmp_path, line):
    """DE-09: By its number and its text."""
    file = tmp_path / "workload.txt"
    file.write_text(f"holidays\n# more\n{line}\n-e another\n")
    assert projects.refused_line(file) == f"line 3, {line!r}"
    file.write_text("holidays\n")
    assert projects.refused_line(file) == ""


def test_airflow_s_option_names_a_bundle_for_each_project(tmp_path):
    """DE-01, DE-09: As Airflow reads it, and as a container's start asks for it."""
    for folder in ("ours/dags", "without/include"):
        (tmp_path / folder).mkdir(parents=True)
    classpath = "perennial_airflow.dag_bundle.SpecBundle"
    wanted = [
        {"name": "dags-folder", "classpath": classpath, "kwargs": {}},
        {"name": "project-ours", "classpath": classpath, "kwargs": {"path": f"{tmp_path}/ours/dags"}},
    ]
    assert projects.BUNDLES == "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    assert projects.bundles([tmp_path / "ours", tmp_path / "without"]) == wanted
    for named, told in ((f"{tmp_path}/ours,{tmp_path}/without", wanted), (None, wanted[:1])):
        environment = {name: value for name, value in os.environ.items() if name != "PERENNIAL_PROJECT"}
        environment |= {"PERENNIAL_PROJECT": named} if named else {}
        command = [sys.executable, "-m", "perennial.projects"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == told


def test_where_a_model_lies_does_not_change_what_it_is(named):
    """DE-03, MO-16: A model that moves from the checkout into a project is not trained again: its code digest stays."""
    before = code_digest("flight_delays"), run_code(discovery.model("flight_delays"))
    for place in ("perennial_models/flight_delays", "perennial_datasets/flights.py"):
        there, here = INIT.parents[1] / place, named.top / "one/include" / place
        for file in [there] if there.is_file() else there.glob("*.*"):
            copy = here if there.is_file() else here / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    named.name("one")
    assert discovery.project_of("flight_delays") == named.top / "one"
    assert (code_digest("flight_delays"), run_code(discovery.model("flight_delays"))) == before


def test_suite_and_card_are_the_project_s(named):
    """DM-06, MO-18: They lie beside what they are about; a dataset without a suite is told where to write it."""
    named.dataset("one", "ours_rides")
    folder = named.model("one", "ours_far", "ours_rides")
    (folder / "README.md").write_text("# Our card\n")
    named.name("one")
    assert readme(discovery.model("ours_far")) == "# Our card"
    assert suites.file_of("ours_rides") == named.top / "one/great_expectations/expectations/ours_rides.json"
    with pytest.raises(UnknownName, match="ours_rides has no suite"):
        suites.load_suite("ours_rides")
    suite = suites.file_of("ours_rides")
    suite.parent.mkdir(parents=True)
    (suite.parents[1] / "great_expectations.yml").write_bytes((suites.folder() / "great_expectations.yml").read_bytes())
    rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    suite.write_text(json.dumps({"name": "ours_rides", "expectations": [rows]}))
    assert len(suites.load_suite("ours_rides").expectations) == 1


def test_the_commit_is_the_project_s(named):
    """MO-16: The platform's source tree is another one, with a commit of its own."""
    named.dataset("one", "ours_rides")
    named.model("one", "ours_far", "ours_rides")
    named.name("one")
    assert project_commit("ours_far") == ""
    git = ["git", "-C", str(named.top / "one"), "-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Rides."]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert project_commit("ours_far") == head
    assert project_commit("flight_delays") == ""


def test_every_process_finds_them_from_the_variable_alone(named):
    """DE-09: A stage, a test or a shell imports datasets, models and what they share by their names, without asking anybody first."""
    named.shared("one", "ours_shared")
    named.dataset("one", "ours_rides")
    code = "import perennial_datasets.ours_rides as rides, ours_shared; print(rides.DATASET.name, ours_shared.SCALE)"
    environment = {**os.environ, "PERENNIAL_PROJECT": str(named.top / "one")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ours_rides", "2.0"]
