from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from perennial.local import environments

LISTING = """:env:.disable-pip-version-check='1'
:env:.find-links='/wheels'
global.cert='/certs.pem'
global.extra-index-url='https://one/simple https://two/simple'
global.find-links='/elsewhere'
global.index-url='https://main/simple'
install.timeout='180'
wheel.find-links='/not-for-install'
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a project whose locks the test may change."""
    root = tmp_path / "project"
    (root / "locks").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\n")
    locks = {name: root / "locks" / f"{name}.txt" for name in environments.LOCKS}
    tests = {name: root / "locks" / f"tests-{name}.txt" for name in environments.TEST_LOCKS}
    images = {name: root / "locks" / f"image-{name}.txt" for name in environments.IMAGE_LOCKS}
    cuda = root / "locks" / "cuda.txt"
    for lock in (*locks.values(), *tests.values(), *images.values(), cuda):
        lock.write_text("boto3==1\n")
    monkeypatch.setattr(environments, "ROOT", root)
    monkeypatch.setattr(environments, "LOCKS", locks)
    monkeypatch.setattr(environments, "TEST_LOCKS", tests)
    monkeypatch.setattr(environments, "IMAGE_LOCKS", images)
    monkeypatch.setattr(environments, "CUDA_LOCK", cuda)
    monkeypatch.setattr(sys, "argv", ["environments.py"])
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Installer:
    """Stands for every program that set-up starts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.calls: list[list[str]] = []
        self.fail_at = ""

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if self.fail_at and self.fail_at in " ".join(command):
            return subprocess.CompletedProcess(command, 1, "", "error: no route to host")
        if "venv" in command[1:3]:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "lib/python3.11/site-packages").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def installer(home: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """The stand-in, in place."""
    found = Installer(home)
    monkeypatch.setattr(environments.subprocess, "run", found)
    return found


def test_pips_settings_win_in_pips_order():
    """DE-09: The environment wins over [install], that over [global]; other sections do not count."""
    found = environments.parse_pip_settings(LISTING)
    assert found["find-links"] == "/wheels"
    assert found["timeout"] == "180"
    assert found["extra-index-url"] == "https://one/simple https://two/simple"


def test_uv_looks_where_pip_looks():
    """DE-09: Indexes, links and certificate are handed on; several indexes are weighed as pip weighs them."""
    environment, options = environments.uv_settings(environments.parse_pip_settings(LISTING), {"HOME": "/"})
    assert options == [
        *("--default-index", "https://main/simple"),
        *("--index", "https://one/simple"),
        *("--index", "https://two/simple"),
        *("--find-links", "/wheels"),
    ]
    assert environment["SSL_CERT_FILE"] == "/certs.pem"
    assert environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environment["UV_HTTP_TIMEOUT"] == "180"


def test_a_plain_machine_changes_nothing_about_uv(tmp_path):
    """DE-09: Without a configuration of pip, uv's own defaults hold."""
    environment, options = environments.uv_settings({}, {"HOME": str(tmp_path)})
    assert options == []
    assert environment == {"HOME": str(tmp_path), "UV_HTTP_TIMEOUT": "60"}


def test_uvs_own_variables_win():
    """DE-09: Who has set uv up is not overruled."""
    _, options = environments.uv_settings({"find-links": "/wheels", "no-index": "true"}, {"UV_FIND_LINKS": "/mine"})
    assert options == ["--no-index"]


def test_a_home_that_cannot_be_written_needs_no_cache():
    """DE-09: A service user without a home can set up too."""
    environment, _ = environments.uv_settings({}, {"HOME": "/nonexistent"})
    assert environment["UV_NO_CACHE"] == "1"


def test_the_second_run_does_nothing(home, installer, capsys):
    """DE-23: Stamps tell that every environment is what its lock file says."""
    assert environments.main() == 0
    installer.calls.clear()
    capsys.readouterr()
    assert environments.main() == 0
    assert installer.calls == []
    assert "up to date" in capsys.readouterr().out


def test_a_changed_lock_brings_only_its_environment_up_to_date(home, installer, capsys):
    """DE-23: The others are left alone, and the environment is not made anew."""
    environments.main()
    installer.calls.clear()
    capsys.readouterr()
    environments.LOCKS["serving"].write_text("boto3==2\n")
    assert environments.main() == 0
    assert "the environments serving." in capsys.readouterr().out
    synced = [c[-1] for c in installer.calls if "sync" in c]
    assert synced == [str(environments.LOCKS["serving"])]
    assert not any("venv" in c[1:3] for c in installer.calls)


def test_what_is_made_is_said_before_it_is_made(home, monkeypatch, capsys):
    """DE-23: The first minute of a set-up is not silent."""
    said: list[str] = []
    monkeypatch.setattr(environments, "_make_tools", lambda home: said.append(capsys.readouterr().out) or sys.exit())
    with pytest.raises(SystemExit):
        environments.main()
    assert said[0].startswith("Making or updating the environments tools, airflow, workload, serving.")


def test_a_half_made_environment_is_made_anew(home, installer):
    """DE-23: A kill leaves no stamp, so nothing of it is trusted."""
    environments.main()
    (home / "venvs/workload/perennial-stamp").unlink()
    (home / "venvs/workload/half-written").touch()
    assert environments.main() == 0
    assert not (home / "venvs/workload/half-written").exists()
    assert (home / "venvs/workload/perennial-stamp").exists()


@pytest.mark.parametrize("fail_at", ["pip install --quiet --disable", "pip sync", "--editable"])
def test_a_network_that_fails_is_said_in_one_sentence(home, installer, capsys, fail_at):
    """DE-09: The sentence says what to check; the next run begins where this one ended."""
    installer.fail_at = fail_at
    assert environments.main() == 1
    assert "Check the network" in capsys.readouterr().err
    installer.fail_at = ""
    assert environments.main() == 0


def test_a_person_who_stops_it_gets_a_sentence(home, installer, monkeypatch, capsys):
    """DE-09: No traceback; the sentence says how to go on."""
    with monkeypatch.context() as stopped:
        stopped.setattr(environments, "_run", Mock(side_effect=KeyboardInterrupt))
        assert environments.main() == 130
    assert "`make setup` goes on" in capsys.readouterr().err
    assert environments.main() == 0


def test_a_python_without_venv_is_said_in_one_sentence(home, installer, capsys):
    """DE-09: Debian packs the module separately."""
    installer.fail_at = "-m venv"
    assert environments.main() == 1
    assert "python3.11-venv" in capsys.readouterr().err


def test_another_python_is_refused(home, installer, monkeypatch, capsys):
    """DE-23: The locks are for one version of Python."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert environments.main() == 1
    assert "Python 3.11 is needed" in capsys.readouterr().err
    assert installer.calls == []


def test_a_home_that_is_a_file_is_said_in_one_sentence(home, installer, capsys):
    """DE-09: No traceback for a path that cannot be."""
    home.write_text("")
    assert environments.main() == 1
    assert "PERENNIAL_HOME" in capsys.readouterr().err


def test_the_launcher_knows_its_home(home, installer):
    """The command works from any folder; a home that is set wins."""
    environments.main()
    launcher = home / "bin" / "perennial"
    assert launcher.stat().st_mode & stat.S_IXUSR
    assert f"PERENNIAL_HOME:={home}" in launcher.read_text()


def test_locks_fit_machines_with_another_build(home, installer, monkeypatch):
    """DE-23: A local build's suffix would tie the lock to this machine."""
    environments.LOCKS["workload"].write_text("torch==2.13.0+cpu\n")
    monkeypatch.setattr(sys, "argv", ["environments.py", "lock"])
    assert environments.main() == 0
    assert environments.LOCKS["workload"].read_text() == "torch==2.13.0\n"
    compiled = [call for call in installer.calls if "compile" in call]
    assert len(compiled) == len(environments.LOCKS) + len(environments.IMAGE_LOCKS) + len(environments.TEST_LOCKS)


def test_what_tests_add_is_compiled_with_the_environment_it_is_added_to(home, installer, monkeypatch):
    """DE-23: A test dependency moves no version that an image has."""
    monkeypatch.setattr(sys, "argv", ["environments.py", "lock"])
    assert environments.main() == 0
    for name, lock in environments.TEST_LOCKS.items():
        call = next(c for c in installer.calls if "compile" in c and c[-1] == str(lock))
        assert call[call.index("--constraint") + 1] == str(environments.LOCKS[name])


def test_bounds_of_what_is_kept_no_more_are_lifted(home, installer, monkeypatch):
    """DE-23: seldon-core asks for libraries of 2022: its lock is compiled without its bounds, all others with theirs."""
    monkeypatch.setattr(sys, "argv", ["environments.py", "lock"])
    assert environments.main() == 0
    with_override = [call for call in installer.calls if "--override" in call]
    assert [call[-1] for call in with_override] == [str(environments.LOCKS["serving"])]
    assert with_override[0][with_override[0].index("--override") + 1] == str(environments.OVERRIDES)
    assert "seldon-core==1.17.1" in environments.OVERRIDES.with_name("requirements.txt").read_text().split()


def test_cuda_libraries_have_a_lock_of_their_own(home, installer, monkeypatch):
    """OP-04, DE-23: Compiled where only the CUDA build of torch is on offer, the workload lock still fits its CPU build."""
    environments.LOCKS["workload"].write_text("nvidia-nccl-cu13==2.29.7\ntorch==2.13.0\ntriton==3.7.1\n")
    monkeypatch.setattr(sys, "argv", ["environments.py", "lock"])
    assert environments.main() == 0
    assert environments.LOCKS["workload"].read_text() == "torch==2.13.0\n"
    assert environments.CUDA_LOCK.read_text() == "nvidia-nccl-cu13==2.29.7\ntriton==3.7.1\n"


def test_locks_without_cuda_libraries_leave_their_lock_alone(home, installer, monkeypatch):
    """OP-04, DE-23: A machine that offers torch's CPU build cannot tell what the CUDA build needs."""
    environments.CUDA_LOCK.write_text("triton==3.7.1\n")
    monkeypatch.setattr(sys, "argv", ["environments.py", "lock"])
    assert environments.main() == 0
    assert environments.CUDA_LOCK.read_text() == "triton==3.7.1\n"


@pytest.mark.parametrize(("built_for", "more"), [("None", 0), ("'13.0'", 1)])
def test_a_cuda_build_of_torch_gets_its_libraries(home, installer, monkeypatch, built_for, more):
    """OP-04, DE-23: Without an index of CPU builds the package index gives the CUDA build, which does not load without them."""

    def install(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if "sync" in command and str(environments.LOCKS["workload"]) in command:
            torch = home / "venvs/workload/lib/python3.11/site-packages/torch"
            torch.mkdir(parents=True, exist_ok=True)
            (torch / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {built_for}\n")
        return installer(command, **options)

    monkeypatch.setattr(environments.subprocess, "run", install)
    assert environments.main() == 0
    assert sum("sync" in c and str(environments.CUDA_LOCK) in c for c in installer.calls) == more


def test_changed_test_dependencies_bring_their_environment_up_to_date(home, installer):
    """DE-23: Both lock files of an environment are installed together."""
    environments.main()
    installer.calls.clear()
    environments.TEST_LOCKS["airflow"].write_text("pytest==10\n")
    assert environments.main() == 0
    synced = [c[-2:] for c in installer.calls if "sync" in c]
    assert synced == [[str(environments.TEST_LOCKS["airflow"]), str(environments.LOCKS["airflow"])]]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project's own packages, which the setting names."""
    folder = tmp_path / "ours" / "requirements"
    folder.mkdir(parents=True)
    for name in ("workload", "airflow", "serving"):
        (folder / f"{name}.txt").write_text("# Packages that we need, such as `holidays==0.60`.\n")
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path / "ours"))
    return folder


def resolving(installer: Installer, monkeypatch: pytest.MonkeyPatch, said: str, *, fails: bool = False) -> None:
    """From then on the resolver says this."""

    def run(command: list[str], **given: object) -> subprocess.CompletedProcess[str]:
        done = installer(command, **given)
        if command[1:3] == ["pip", "compile"]:
            return subprocess.CompletedProcess(command, int(fails), "" if fails else said, said if fails else "")
        return done

    monkeypatch.setattr(environments.subprocess, "run", run)


def noted(home: Path, name: str) -> str:
    file = home / "venvs" / name / "perennial-extra-requirements.txt"
    return file.read_text() if file.exists() else ""


def test_a_project_s_packages_are_put_on_top(home, installer, ours, monkeypatch):
    """DE-09, MO-16: They are resolved within the lock files, installed with them in one go, and noted; the next set-up does nothing, and
    one without them takes them away."""
    assert environments.main() == 0
    assert not [command for command in installer.calls if command[1:3] == ["pip", "compile"]]  # comments ask for nothing
    (ours / "workload.txt").write_text("holidays==0.60  # a remark\n")
    installer.calls.clear()
    resolving(installer, monkeypatch, "holidays==0.60\nboto3==1\nsix==1.17.0\n")
    assert environments.main() == 0
    (resolve,) = (command for command in installer.calls if command[1:3] == ["pip", "compile"])
    constraints = [resolve[place + 1] for place, part in enumerate(resolve) if part == "--constraint"]
    assert constraints == [str(environments.TEST_LOCKS["workload"]), str(environments.LOCKS["workload"]), str(environments.CUDA_LOCK)]
    assert resolve[-1] == str(ours / "workload.txt")
    (sync,) = (command for command in installer.calls if command[1:3] == ["pip", "sync"])  # the others are as they were
    assert sync[-1] == str(home / "venvs/workload/perennial-extra-requirements.txt")
    assert noted(home, "workload") == "holidays==0.60\nsix==1.17.0\n"
    installer.calls.clear()
    assert environments.main() == 0
    assert installer.calls == []
    monkeypatch.delenv("PERENNIAL_PROJECT")
    assert environments.main() == 0
    assert noted(home, "workload") == ""
    assert [command for command in installer.calls if command[1:3] == ["pip", "sync"]]


def test_packages_that_disagree_with_the_lock_are_named(home, installer, ours, monkeypatch, capsys):
    """DE-09: One sentence names the two, and the environment stays as it was."""
    assert environments.main() == 0
    (ours / "workload.txt").write_text("numba==0.57.0\n")
    said = "  cause: Because numba==0.57.0 depends on numpy>=1.21,<1.25\n  and numpy==2.4.6, we can conclude that numba cannot be used.\n"
    resolving(installer, monkeypatch, said, fails=True)
    installer.calls.clear()
    assert environments.main() == 1
    assert capsys.readouterr().err == (
        f"What {ours}/workload.txt asks for cannot be put beside the platform's lock {environments.LOCKS['workload']}: numba==0.57.0 "
        "depends on numpy>=1.21,<1.25 and numpy==2.4.6. Change it there, then run `make setup` again; nothing was changed.\n"
    )
    assert not [command for command in installer.calls if command[1:3] == ["pip", "sync"]]
    assert (home / "venvs/workload/perennial-stamp").exists()
    resolving(installer, monkeypatch, "error: no route to host", fails=True)
    assert environments.main() == 1
    assert "cannot be found; the lines above say why" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("workload.txt", "a==1\n-r other.txt\n", "workload.txt, line 2, '-r other.txt', is no package: write one a line"),
        ("serving.txt", "./wheels/a.whl\n", "serving.txt, line 1, './wheels/a.whl', is no package"),
        ("worklaod.txt", "a==1\n", "worklaod.txt is of no environment: packages go into workload, airflow, serving.txt"),
    ],
)
def test_what_is_no_package_is_refused(home, installer, ours, capsys, file, text, why):
    """DE-09: A file that would change unseen, or that nothing reads."""
    (ours / file).write_text(text)
    assert environments.main() == 1
    assert why in capsys.readouterr().err


def test_what_is_added_is_told_apart_from_the_lock():
    """MO-16: By the name, however it is written; the build of torch for GPUs stays out."""
    resolved = "holidays==0.60\nScikit_Learn==1.5\nnvidia-cublas-cu12==1\nours @ git+https://example.org/ours@0123\n# via\ntorch[x]==2\n"
    assert environments.extra_packages(resolved, ["scikit-learn==1.5\n\ntorch==2\n"]) == [
        "holidays==0.60",
        "ours @ git+https://example.org/ours@0123",
    ]


def test_the_environment_of_an_image_is_made_where_it_is_asked_for(home: Path, installer: Installer) -> None:
    """DE-09, SC-01: `make setup` leaves MLServer's out; it is made from its lock when asked for, once, and again when that changes."""
    environments.main()
    assert not (home / "venvs/mlserver").exists()

    def asked() -> int:
        installer.calls.clear()
        environments.make_on_demand(home, "mlserver")
        return sum("sync" in call for call in installer.calls)

    assert [asked(), asked()] == [1, 0]
    environments.IMAGE_LOCKS["mlserver"].write_text("mlserver==2\n")
    assert [asked(), asked()] == [1, 0]
    site = home / "venvs/mlserver/lib/python3.11/site-packages"
    assert (site / "perennial.pth").read_text() == f"{environments.ROOT / 'include'}\n"
    (home / "venvs/tools" / environments.STAMP).unlink()
    with pytest.raises(environments.SetupError, match="made with the tools of `make setup`, which has not run"):
        environments.make_on_demand(home, "mlserver")
