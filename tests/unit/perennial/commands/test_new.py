"""`perennial new`: a repository of one's own, in which what `add` writes is found."""

import stat
import subprocess
from pathlib import Path

import pytest

from perennial import cli, projects
from perennial.commands import new
from perennial.commands._target import PROJECT, target
from perennial.errors import SettingMissing, UnknownName
from perennial.settings import Settings
from perennial.store import FolderStore

SETTINGS = Settings.from_environment({})


def make(folder):
    new.run(SETTINGS, FolderStore("unused"), folder)


def files_of(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file() and ".git/" not in str(file)
    }


def test_a_new_project_has_all_that_it_may_need(tmp_path, capsys):
    """DE-09: Places for datasets, models, suites, DAGs, operators, tests and packages, its checks, and the version that it was made for."""
    make(tmp_path / "my-models")
    files = files_of(tmp_path / "my-models")
    assert set(files) == {
        ".ci/run", ".gitignore", "Makefile", "README.md", "pyproject.toml", "dags/my_models_names.py",
        "great_expectations/expectations/.gitkeep", "great_expectations/great_expectations.yml", "include/my_models/__init__.py",
        "include/perennial_datasets/.gitkeep", "include/perennial_models/.gitkeep", "plugins/my_models_airflow/__init__.py",
        "plugins/my_models_airflow/operators.py", "requirements/airflow.txt", "requirements/serving.txt", "requirements/workload.txt",
        "tests/unit/dags/test_dags.py", "tests/unit/test_project.py",
    }  # fmt: skip
    assert projects.trouble(tmp_path / "my-models") == ""
    assert b'platform = "0.1.0"' in files["pyproject.toml"]
    assert f"PERENNIAL_PLATFORM ?= {PROJECT}\n".encode() in files["Makefile"]
    assert (tmp_path / "my-models/.ci/run").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "my-models/Makefile").stat().st_mode & stat.S_IXUSR
    said = capsys.readouterr().out
    assert f"  export PERENNIAL_PROJECT={tmp_path}/my-models\n" in said
    assert "kept" not in said
    assert all(f"wrote {path}\n" in said for path in files)


def test_it_becomes_a_repository_without_a_commit(tmp_path, capsys):
    """DE-09: git init is run and said; in a folder of a repository nothing is."""
    make(tmp_path / "mine")
    assert "git init was run there; nothing is committed.\n" in capsys.readouterr().out
    log = subprocess.run(["git", "-C", str(tmp_path / "mine"), "log"], capture_output=True, text=True, check=False)
    assert "does not have any commits" in log.stderr
    make(tmp_path / "mine" / "inner")
    assert "It lies in a git repository already: nothing was added to it or committed.\n" in capsys.readouterr().out
    assert not (tmp_path / "mine/inner/.git").exists()


def test_what_is_there_is_never_overwritten(tmp_path, capsys):
    """DE-09: The same command again writes what is missing and names what it kept."""
    project = tmp_path / "mine"
    (project / "include").mkdir(parents=True)
    (project / "README.md").write_text("Ours.")
    make(project)
    (project / "Makefile").unlink()
    (project / "pyproject.toml").write_text("# ours")
    before = files_of(project)
    capsys.readouterr()
    make(project)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "wrote Makefile"
    assert said[1].startswith("kept as it was: README.md, pyproject.toml, ")
    after = files_of(project)
    assert {path: text for path, text in after.items() if path != "Makefile"} == before
    assert after["README.md"] == b"Ours."


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("my models", "'my models' is no name of a project: use letters, digits, - and _, a letter first, at most 40"),
        ("7up", "is no name of a project"),
        ("import", "is no name of a project"),
        ("perennial", "perennial is a name of the platform's own"),
        ("a,b/mine", "has a comma in it, which separates the folders of PERENNIAL_PROJECT"),
        ("file/mine", "file is a file: choose another folder"),
        (f"{PROJECT}/mine", "lie in each other: choose a folder beside it, so that neither changes"),
        (f"{PROJECT.parent}", "lie in each other"),
    ],
)
def test_a_place_for_no_project_is_refused(tmp_path, folder, why):
    """MN-18: One sentence, and nothing is written."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnknownName, match=f".*{why}"):
        make(tmp_path / folder)
    assert [file.name for file in tmp_path.rglob("*")] == ["file"]


def test_the_platform_is_named_as_its_neighbour(tmp_path):
    """DE-09: A project beside the checkout, as others have it too, finds it by a relative path."""
    files = new.project_files(PROJECT.parent / "mine")
    assert f"PERENNIAL_PLATFORM ?= ../{PROJECT.name}\n" in files[Path("Makefile")]


def test_where_files_are_written_is_asked_if_it_is_not_clear(tmp_path):
    """MN-18, MO-01: Into the only project that is named, or the one that --project names; into the platform where none is."""
    for name in ("one", "two"):
        (tmp_path / name / "include").mkdir(parents=True)
    one, two = tmp_path / "one", tmp_path / "two"

    def named(*folders):
        return Settings.from_environment({"PERENNIAL_PROJECT": ",".join(map(str, folders))})

    assert target(named(), None) == PROJECT
    assert target(named(one), None) == one
    assert target(named(one, two), Path("two")) == two
    assert target(named(one, two), two) == two
    assert target(named(), two) == two
    with pytest.raises(UnknownName, match=r"^PERENNIAL_PROJECT names several projects \(one, two\): say with --project which"):
        target(named(one, two), None)
    with pytest.raises(UnknownName, match=r"^There is no project three: .* \(one\); `perennial new` makes one\.$"):
        target(named(one), Path("three"))
    with pytest.raises(SettingMissing, match=r"^There is no folder .*/gone: correct PERENNIAL_PROJECT"):
        target(named(tmp_path / "gone"), None)


def test_what_is_added_lies_in_the_project(tmp_path, capsys, monkeypatch):
    """DM-01, MO-01: From a sample to a model by the commands alone; the platform's own folder stays as it was."""
    rows = [f"{i},2024-01-{1 + i // 10:02d} 10:00:00,{'red' if i % 3 else 'blue'},{i * 0.5}" for i in range(200)]
    (tmp_path / "sales.csv").write_text("\n".join(["id,at,colour,weight", *rows]))
    project = tmp_path / "mine"
    assert cli.main(["new", str(project)]) == 0
    before = subprocess.run(["git", "-C", str(PROJECT), "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    monkeypatch.setenv("PERENNIAL_PROJECT", str(project))
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path / "store"))
    capsys.readouterr()
    assert cli.main(["add", "dataset", "sales", "--sample", str(tmp_path / "sales.csv")]) == 0
    assert capsys.readouterr().out.startswith(f"Into {project}:\nwrote include/perennial_datasets/sales.py\n")
    assert (project / "great_expectations/expectations/sales.json").is_file()
    after = subprocess.run(["git", "-C", str(PROJECT), "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    assert after == before


def test_the_folder_above_is_no_project(tmp_path, monkeypatch):
    """DE-15: Nobody means it; nothing is written."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UnknownName, match=r"\.\. is the folder above: name the project, such as my-models"):
        make(Path(".."))
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
