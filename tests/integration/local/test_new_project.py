"""A project that `perennial new` made, in a folder of its own, is checked and tested by its own CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.local.project import ROOT

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("make") is None, reason="a project's CI calls make: apt-get install make"),
]
HOME = Path(sys.executable).parents[3]
SAMPLE = ["id,at,colour,weight,late"]
SAMPLE += [f"{i},2024-01-{1 + i // 20:02d} {i % 20:02d}:00:00,{'red' if i % 3 else 'blue'},{i},{i % 7 < 2}" for i in range(400)]


def does(project, *command, expect=0):
    """Run a command as a person does who set nothing but where the platform is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PERENNIAL_", "PYTHON", "MAKE", "MFLAGS"))}
    environment |= {"PERENNIAL_HOME": str(HOME), "PERENNIAL_PLATFORM": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_new_project_passes_its_own_ci(tmp_path):
    """DE-01, MO-01: With a dataset, a model, an operator and a DAG: layout, lint, types in both environments, and its tests. They fail once
    something in it is wrong, and nothing is written but what was asked for."""
    does(tmp_path, str(HOME / "venvs/workload/bin/perennial"), "new", str(tmp_path / "my-models"))
    project = tmp_path / "my-models"
    (tmp_path / "orders.csv").write_text("\n".join(SAMPLE))
    does(project, "make", "add-dataset", "NAME=orders", f"ARGS=--sample {tmp_path}/orders.csv")
    does(project, "make", "add-model", "NAME=late_orders", f"ARGS=--dataset orders --label late --sample {tmp_path}/orders.csv")
    does(project, "git", "add", ".")
    said = does(project, ".ci/run")
    assert "All environments are up to date." in said
    assert "== project my-models\n" in said
    assert said.count("Success: no issues found") == 2
    assert said.rstrip().splitlines()[-1].endswith(" passed, 0 failed, 0 skipped")
    assert "tests/unit/perennial_models/late_orders/test_late_orders_features.py" in said
    assert "tests/unit/dags/test_dags.py" in said
    assert does(project, "git", "status", "--porcelain", "--untracked-files").count("\n") == does(project, "git", "ls-files").count("\n")
    (project / "dags/second.py").write_text('"""A DAG that cannot be parsed."""\n\nimport my_models_airflow.no_such_module  # noqa: F401\n')
    assert "No module named 'my_models_airflow.no_such_module'" in does(project, "make", "test", expect=2)
