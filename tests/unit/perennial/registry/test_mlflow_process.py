"""The process that becomes MLflow's server."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def test_the_command_becomes_its_server(tmp_path):
    """OP-06: No process waits beside it with all that it has loaded: what MLflow would start takes this one's place and id."""
    (tmp_path / "fake.py").write_text("import os, sys; print(os.getpid(), os.environ['MORE'], *sys.argv[1:])")
    program = (
        "import os, sys\nfrom perennial.registry.mlflow_process import become\nprint(os.getpid(), flush=True)\n"
        f"become([sys.executable, {str(tmp_path / 'fake.py')!r}, 'a b'], extra_env={{'MORE': 'x'}}, synchronous=False)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[1] == f"{said[0]} x a b"


def test_mlflow_s_own_command_comes_as_far_as_its_server(tmp_path):
    """OP-06: With the arguments that it was given, and what it says itself in variables."""
    program = (
        "import json, sys\nfrom perennial.registry import mlflow_process\n"
        "def stop(command, *, extra_env, **kept):\n    print(json.dumps([command, extra_env]))\n    sys.exit(0)\n"
        "mlflow_process.become = stop\nmlflow_process.main(sys.argv[1:])\n"
    )
    given = ["--host", "127.0.0.1", "--port", "1234", "--workers", "1", "--artifacts-destination", str(tmp_path)]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *given],
        env={**os.environ, **variables, "DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    command, extra = json.loads(done.stdout.splitlines()[-1])
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "1234"
    assert "uvicorn" in command
    assert str(tmp_path) in extra.values()
