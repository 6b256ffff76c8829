from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perennial.local import environments, images

PIP = """:env:.find-links='{wheels}'
global.extra-index-url='file:///local/simple https://one/simple'
global.index-url='https://main/simple'
"""


class Machine:
    """Stands for every program that building starts."""

    def __init__(self, wheels: Path) -> None:
        self.wheels = wheels
        self.there: set[str] = {"docker", "podman", "buildah"}
        self.broken: set[str] = set()  # first two words of commands that fail
        self.calls: list[list[str]] = []
        self.context: dict[str, list[str]] = {}  # image -> names of the files that its build was given

    def which(self, name: str) -> str | None:
        return f"/bin/{name}" if name in self.there else None

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if "--file" in command:
            context = Path(command[-1])
            name = Path(command[command.index("--file") + 1]).parent.name
            self.context[name] = sorted(f.relative_to(context).as_posix() for f in context.rglob("*") if f.is_file())
        output = PIP.format(wheels=self.wheels) if "pip" in command else ""
        return subprocess.CompletedProcess(command, 1 if " ".join(command[:2]) in self.broken else 0, output, "")

    def started(self, *words: str) -> list[list[str]]:
        return [call for call in self.calls if tuple(call[: len(words)]) == words]


def install(folder: Path, _: object) -> None:
    """Stands for the npm registry."""
    (folder / "share/perennial").mkdir(parents=True)
    (folder / "share/perennial/echarts.min.js").write_text("draw()")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with all three builders and no setting."""
    (tmp_path / "wheels").mkdir()
    found = Machine(tmp_path / "wheels")
    monkeypatch.setattr(images.subprocess, "run", found.run)
    monkeypatch.setattr(images.shutil, "which", found.which)
    monkeypatch.setattr(images.browser_library, "install", install)
    for name in ("IMAGES", "VARIANT", "IMAGE_BUILDER", "IMAGE_OPTIONS", "TAG", "REGISTRY", "PUSH", "PUSH_OPTIONS", "BASE", "TORCH_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return found


def arguments(command: list[str]) -> dict[str, str]:
    """The build arguments of a builder's command line."""
    return dict(command[i + 1].split("=", 1) for i, word in enumerate(command) if word == "--build-arg")


def test_every_image_is_built_with_the_first_builder(machine, capsys):
    """DE-04, SY-26: docker goes before podman, that before buildah; the version is the tag."""
    assert images.main() == 0
    built = machine.started("docker", "build")
    assert [c[c.index("--tag") + 1] for c in built][:4] == [
        f"perennial/{n}:{images.version()}" for n in ("airflow", "mlserver", "serving", "workload")
    ]
    assert "Built perennial/workload" in capsys.readouterr().out
    assert not machine.started("docker", "push")


def test_a_client_without_a_daemon_is_no_builder(machine):
    """DE-04: buildah needs none, and keeps layers and health checks when told to."""
    machine.broken = {"docker info", "podman info"}
    assert images.main() == 0
    built = machine.started("buildah", "bud")
    assert built
    assert all("--layers" in call and call[call.index("--format") + 1] == "docker" for call in built)


@pytest.mark.parametrize(
    ("there", "environment", "sentence"),
    [
        (set(), {}, "install docker, podman or buildah"),
        ({"buildah"}, {"IMAGE_BUILDER": "podman"}, "podman does not work here"),
        ({"buildah"}, {"IMAGE_BUILDER": "kaniko"}, "name docker, podman or buildah"),
        ({"buildah"}, {"IMAGES": "workload trainer"}, "no image 'trainer'"),
        ({"buildah"}, {"VARIANT": "rocm"}, "name cpu or cuda"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(machine, monkeypatch, capsys, there, environment, sentence):
    """DE-04: The sentence says what to install or correct, and nothing was started to build."""
    machine.there = there
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert images.main() == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not machine.context


def test_a_build_that_fails_ends_it(machine, monkeypatch, capsys):
    """DE-05: What is not built is not pushed."""
    machine.broken = {"docker build"}
    monkeypatch.setenv("PUSH", "1")
    assert images.main() == 1
    assert "could not be built" in capsys.readouterr().err
    assert len(machine.started("docker", "build")) == 1
    assert not machine.started("docker", "push")


def test_a_push_names_the_registry_and_takes_its_own_options(machine, monkeypatch):
    """DE-05: The tag carries the registry's host, as builders want it."""
    for name, value in {
        "IMAGES": "serving",
        "REGISTRY": "registry.example/team/",
        "TAG": "t1",
        "PUSH": "1",
        "PUSH_OPTIONS": "--quiet",
    }.items():
        monkeypatch.setenv(name, value)
    assert images.main() == 0
    assert machine.started("docker", "push") == [["docker", "push", "--quiet", "registry.example/team/perennial/serving:t1"]]


def test_a_push_that_fails_is_said(machine, monkeypatch, capsys):
    """DE-05: The registry's own words stand above the sentence."""
    machine.broken = {"docker push"}
    monkeypatch.setenv("PUSH", "1")
    assert images.main() == 1
    assert "could not be pushed" in capsys.readouterr().err


def test_a_build_is_given_the_project_and_no_test_cache_or_data(machine):
    """SC-08: Neither this machine's home nor its tests reach an image."""
    assert images.main() == 0
    given = machine.context["workload"]
    for file in (
        "project/pyproject.toml",
        "project/dags/training.py",
        "project/plugins/perennial_beforehand.py",
        "project/plugins/perennial_plugin.py",
        "project/include/perennial/cli.py",
        "project/include/perennial/quality/data_docs.css",
        "project/include/images/workload/requirements.txt",
        "project/great_expectations/great_expectations.yml",
    ):
        assert file in given
    assert not [f for f in given if "__pycache__" in f or "egg-info" in f or "/tests/" in f or "uncommitted" in f]
    assert [f for f in given if "/." in f] == ["project/plugins/.airflowignore"]


def test_the_code_digest_changes_with_names_contents_and_nothing_else(tmp_path, monkeypatch):
    """DE-04, DE-23: Two builds of the same files carry the same label, and their layers are the same."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in images.PROJECT:
        if (images.ROOT / name).is_dir():
            (root / name).mkdir()
        else:
            (root / name).write_text("one\n")
    (root / "dags" / "a.py").write_text("a\n")
    monkeypatch.setattr(images, "ROOT", root)
    first = images.copy_project(tmp_path / "first")
    (root / "dags" / "a.py").touch()
    (root / "dags" / "__pycache__").mkdir()
    (root / "dags" / "__pycache__" / "a.pyc").write_text("cache")
    assert images.copy_project(tmp_path / "second") == first
    assert (tmp_path / "second/dags/a.py").stat().st_mtime == images.EPOCH
    (root / "dags" / "a.py").rename(root / "dags" / "b.py")
    assert images.copy_project(tmp_path / "third") != first


def test_labels_name_the_lock_file_that_manifests_record(machine):
    """MO-16, DE-23: A version's manifest says which image trained it."""
    from perennial.lineage.manifest import lock_digest

    assert images.main() == 0
    by_name = {Path(c[c.index("--file") + 1]).parent.name: arguments(c) for c in machine.started("docker", "build")}
    assert by_name["workload"]["LOCK_DIGEST"] == lock_digest()
    assert by_name["airflow"]["LOCK_DIGEST"] != by_name["workload"]["LOCK_DIGEST"]
    assert by_name["airflow"]["CODE_DIGEST"] == by_name["workload"]["CODE_DIGEST"]


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """A project with a file of each kind, which the variable names."""
    read = ("include/perennial_datasets/rides.py", "dags/own.py", "requirements/workload.txt")
    for name in (*read, "tests/test_it.py", ".git/config", "Makefile"):
        (tmp_path / "ours" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ours" / name).write_text("# one\n")
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path / "ours"))
    return tmp_path / "ours"


def test_a_project_is_part_of_every_image(machine, ours, monkeypatch):
    """DE-04, DE-23: What is read at run time, in a folder of its name that the image's PERENNIAL_PROJECT names; labels cover it and what it
    adds to the environment. Without a project nothing of them is there, and the digest is that of the platform."""
    monkeypatch.setattr(images, "_resolved", lambda name, files: ["holidays==0.60"] if files == [ours / f"requirements/{name}.txt"] else [])
    (machine.wheels / "holidays-0.60-py3-none-any.whl").touch()
    (ours / "requirements/workload.txt").write_text("holidays\n")
    assert images.main() == 0
    given = machine.context["workload"]
    assert [file for file in given if file.startswith(("projects/", "extra/", "wheels/"))] == [
        "extra/airflow.txt", "extra/mlserver.txt", "extra/serving.txt", "extra/workload.txt", "projects/ours/dags/own.py",
        "projects/ours/include/perennial_datasets/rides.py", "projects/ours/requirements/workload.txt",
        "wheels/holidays-0.60-py3-none-any.whl",
    ]  # fmt: skip
    calls = machine.started("docker", "build")
    built = {Path(call[call.index("--file") + 1]).parent.name: arguments(call) for call in calls}
    assert {each["PROJECTS"] for each in built.values()} == {"/opt/perennial/projects/ours"}
    lock = environments.LOCKS["workload"].read_bytes()
    assert built["workload"]["LOCK_DIGEST"] == hashlib.sha256(lock + b"holidays==0.60\n").hexdigest()
    assert built["serving"]["LOCK_DIGEST"] == hashlib.sha256(environments.LOCKS["serving"].read_bytes()).hexdigest()
    codes = {built["workload"]["CODE_DIGEST"]}
    (ours / "dags/own.py").write_text("# two\n")
    assert images.main() == 0
    codes.add(arguments(machine.calls[-1])["CODE_DIGEST"])
    monkeypatch.delenv("PERENNIAL_PROJECT")
    assert images.main() == 0
    plain = arguments(machine.calls[-1])
    assert len({*codes, plain["CODE_DIGEST"]}) == 3
    assert "PROJECTS" not in plain
    assert [file for file in machine.context["workload"] if file.startswith("projects/")] == []


def test_a_project_that_is_none_builds_nothing(machine, ours, monkeypatch, capsys):
    """DE-04: One sentence, before any image."""
    monkeypatch.setenv("PERENNIAL_PROJECT", f"{ours}-gone")
    assert images.main() == 1
    assert capsys.readouterr().err.startswith(f"There is no folder {ours}-gone: correct PERENNIAL_PROJECT")
    assert not machine.context


def test_what_pip_cannot_put_together_is_a_clause(ours, monkeypatch, capsys):
    """DE-04: The two that disagree, as pip names them, beside the project's file and the lock."""
    said = (
        "ERROR: Cannot install numba because these package versions have conflicting dependencies.\n\nThe conflict is caused by:\n"
        "    numba 0.57.0 depends on numpy<1.25\n    The user requested (constraint) numpy==2.4.6\n\nTo fix this you could try to:\n"
    )
    monkeypatch.setattr(images.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, said, "no luck\n"))
    with pytest.raises(
        images.ImagesError, match=r"numba 0.57.0 depends on numpy<1.25 and The user requested \(constraint\) numpy==2.4.6\. "
    ):
        images._resolved("workload", [ours / "requirements/workload.txt"])
    said = "ERROR: no route to host\n"
    with pytest.raises(images.ImagesError, match="cannot be found; the lines above say why"):
        images._resolved("workload", [ours / "requirements/workload.txt"])
    assert "no luck" in capsys.readouterr().err


def test_airflow_s_image_tells_airflow_of_projects(tmp_path):
    """DE-04, DE-09: Whatever Airflow runs, its entrypoint hands on the bundles: ours, and those of the projects that are named."""
    (tmp_path / "ours" / "dags").mkdir(parents=True)
    name = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    entrypoint = ["sh", str(images.IMAGES / "airflow/entrypoint.sh"), "sh", "-c", f'echo "${{{name}:-none}}"']

    def told(**variables):
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return subprocess.run(entrypoint, env={"PATH": path, **variables}, capture_output=True, text=True, check=True).stdout.strip()

    assert [bundle["name"] for bundle in json.loads(told(PERENNIAL_PROJECT=f"{tmp_path}/ours"))] == ["dags-folder", "project-ours"]
    assert told(PERENNIAL_PROJECT=f"{tmp_path}/ours", **{name: "[]"}) == "[]"
    assert [bundle["name"] for bundle in json.loads(told())] == ["dags-folder"]


def test_pip_in_the_build_looks_where_pip_looks_here(machine):
    """DE-04: Indexes go along; a folder of this machine is not there in a build, so its wheels go along instead."""
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "torch-2.12.0-cp311-cp311-linux_x86_64.whl", "other-1-py3-none-any.whl"):
        (machine.wheels / name).touch()
    assert images.main() == 0
    given = arguments(machine.started("docker", "build")[0])
    assert given["PIP_INDEX_URL"] == "https://main/simple"
    assert given["PIP_EXTRA_INDEX_URL"] == "https://one/simple"
    assert "PIP_FIND_LINKS" not in given
    assert [f for f in machine.context["workload"] if f.startswith("wheels/")] == ["wheels/torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"]


def test_the_cuda_variant_is_given_no_cpu_build(machine, monkeypatch):
    """OP-04: One build argument chooses, and the tag says which it is."""
    (machine.wheels / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    monkeypatch.setenv("VARIANT", "cuda")
    assert images.main() == 0
    assert not [f for f in machine.context["workload"] if f.startswith("wheels/")]
    call = next(c for c in machine.started("docker", "build") if str(images.IMAGES / "workload/Dockerfile") in c)
    assert call[call.index("--tag") + 1].endswith("-cuda")
    assert arguments(call)["VARIANT"] == "cuda"


def test_one_container_for_all_is_made_of_the_images_built_with_it(machine, monkeypatch):
    """OP-07: It is built last, of the same tag and variant."""
    for name, value in {"VARIANT": "cuda", "REGISTRY": "registry.example", "TAG": "t1"}.items():
        monkeypatch.setenv(name, value)
    assert images.main() == 0
    last = machine.started("docker", "build")[-1]
    assert last[last.index("--tag") + 1] == "registry.example/perennial/single-host:t1-cuda"
    assert {k: v for k, v in arguments(last).items() if k.startswith("IMAGE_")} == {
        "IMAGE_AIRFLOW": "registry.example/perennial/airflow:t1",
        "IMAGE_SERVING": "registry.example/perennial/serving:t1",
        "IMAGE_WORKLOAD": "registry.example/perennial/workload:t1-cuda",
    }


def test_the_cuda_lock_holds_no_package_of_the_other_locks():
    """OP-04: The CUDA image installs both files together."""
    cuda = environments.CUDA_LOCK.read_text().splitlines()
    assert cuda
    assert all(line.startswith(environments.CUDA_PACKAGES) for line in cuda)
    assert not set(cuda) & set(environments.LOCKS["workload"].read_text().splitlines())


def test_no_image_has_what_only_tests_need():
    """DE-23: Test dependencies have lock files of their own, which agree with the images' where both name a package."""
    for name, lock in environments.TEST_LOCKS.items():
        image = dict(line.split("==") for line in environments.LOCKS[name].read_text().splitlines())
        tests = dict(line.split("==") for line in lock.read_text().splitlines())
        assert not {"pytest", "coverage", "hypothesis", "moto"} & set(image)
        assert {"pytest", "coverage", "hypothesis"} <= set(tests)
        assert not {p: (v, image[p]) for p, v in tests.items() if image.get(p, v) != v}


def slim(*given: str) -> None:
    """Run the script of the builds."""
    done = subprocess.run([sys.executable, str(images.IMAGES / "slim.py"), *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_environment_loses_what_no_program_loads(tmp_path):
    """DE-04: Tests of packages and torch's headers go; the rest is compiled, since an image's file system is read-only."""
    packages = tmp_path / "lib/python3.11/site-packages"
    for file in ("pandas/tests/test_a.py", "pandas/core.py", "torch/include/torch.h", "torch/bin/test_api", "torch/bin/torch_shm_manager"):
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).write_text("")
    slim(str(tmp_path))
    left = {f.relative_to(packages).as_posix() for f in packages.rglob("*") if f.is_file()}
    assert left == {"pandas/core.py", "pandas/__pycache__/core.cpython-311.pyc", "torch/bin/torch_shm_manager"}


DOCKERFILES = sorted(images.IMAGES.glob("*/Dockerfile"))
each_dockerfile = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda f: f.parent.name)


def final_stage(file: Path) -> str:
    """What stands behind the last FROM: the instructions that the image itself is made by."""
    return file.read_text().rpartition("\nFROM ")[2]


@each_dockerfile
def test_an_image_runs_as_its_own_user_and_says_what_is_in_it(file):
    """SC-01, SC-08: Nobody has to set that in a manifest, and a registry shows where an image comes from."""
    stage = final_stage(file)
    assert "\nUSER 50000:50000\n" in stage[stage.rindex("\nUSER ") :]
    for label in ("image.title", "image.licenses", "image.version", "image.revision", "perennial.code-digest", "perennial.lock-digest"):
        assert label in stage


@each_dockerfile
def test_nothing_of_the_building_machine_reaches_an_image(file):
    """SC-04: pip's settings and the machine's wheels stay in a stage that is left behind."""
    assert "PIP_" not in final_stage(file)
    assert "wheels" not in final_stage(file)
    assert len(file.read_text().split("\nFROM ")) > 2


@each_dockerfile
def test_a_change_of_the_code_keeps_the_layer_of_the_environment(file):
    """DE-04: The project comes after the environment: what changes daily lies on what does not."""
    before_project = file.read_text().partition("COPY project /opt/perennial/project")[0]
    copied = [line.split()[1:-1] for line in before_project.splitlines() if line.startswith("COPY ")]
    given = {source for sources in copied for source in sources if not source.startswith("--from")}
    assert not {s for s in given if s.startswith("project/") and not s.endswith((".txt", "slim.py"))}


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers /live with the code of its server."""

    def do_GET(self):
        self.send_response(self.server.code if self.path == "/live" else 404)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.parametrize(("code", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_asks_the_port_of_the_arguments(tmp_path, code, healthy):
    """OP-08: A container is healthy while its process answers /live; the reason stands in the check's output otherwise."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    server.code = code
    port = server.server_port
    if code is None:
        server.server_close()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    arguments = tmp_path / "cmdline"
    arguments.write_text("\0".join(["python", "-m", "perennial.serving.server", "--port", str(port), ""]))
    done = subprocess.run(
        [sys.executable, str(images.IMAGES / "serving/health.py"), str(arguments)], capture_output=True, text=True, check=False
    )
    if code is not None:
        server.shutdown()
        server.server_close()
    assert (done.returncode == 0) == healthy, done.stderr
    assert healthy or f"/live on port {port} does not answer" in done.stdout


def test_what_scores_is_the_same_in_both_servers_images():
    """SE-01, DE-01: MLServer's lock has the serving lock's versions of what encodes and scores, so that both give the same bits."""
    ours, theirs = (dict(line.split("==") for line in images.LOCKS[name].read_text().splitlines()) for name in ("serving", "mlserver"))
    scoring = ("numpy", "onnxruntime", "orjson", "pillow")
    assert {name: theirs[name] for name in scoring} == {name: ours[name] for name in scoring}
    assert theirs["mlserver"] == "1.7.1"
