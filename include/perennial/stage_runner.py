"""Runs stages in processes that are forked off one that has already imported what they need.

    python -m perennial.stage_runner SOCKET  # `perennial up` starts it in the workload environment

Half a second of CPU goes into the imports of a stage that has little to do. This process imports what each stage asked for imports, then
forks: the stage is a process of its own, as if `python -m perennial.cli` had been started, with its own environment, arguments, output and
process group. After a while without stages the process begins anew with nothing imported; so it does when a file that it has imported was
changed, or when it is asked with other variables than those it was started with. Beginning anew is an `exec`: stages that run go on.

A client sends a request (see `Request`) with the file that takes the output, and gets lines of JSON: `{"pid": 1}`, or `{"again": true}`
where it must ask once more; and `{"code": 0}` once the stage has ended, negative for a signal. The stage is not buried before the client
has closed the connection, so that its process id means nothing else meanwhile; and the stage is killed if it is still running then.

Standard library only: a process that waits for stages shall hold little.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

SOCKET = "stages.sock"  # in the folder of this machine's sockets
COLD_AFTER_SECONDS = 300.0  # without stages
PATIENCE_SECONDS = 10.0  # for the whole of a request
LARGEST_REQUEST = 4 << 20  # bytes
# Variables that are a task's own and are read when they are needed; all others must be those with which the imports were made.
OF_A_TASK = ("AIRFLOW_CTX_", "_AIRFLOW", "TRACEPARENT", "TRACESTATE", "PERENNIAL_CONNECTIONS", "SUPERVISOR_PROCESS_NAME")
# Room in which a stage's command stands once it has one: what `ps` shows is the memory of a process's first arguments.
ROOM = " " * 4000
_PR_SET_PDEATHSIG = 1
# Loaded here, since nothing may be loaded between fork and exec.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process as soon as the thread that started it has ended (Linux only).

    Args:
        parent: process id of the parent; if it has already gone, this process ends at once.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Request:
    """A stage that is to be run: arguments of `perennial`, all variables, the folder it works in, and its umask."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    umask: int

    def sent(self) -> bytes:
        """As it is sent: its length in eight bytes, then JSON."""
        body = json.dumps(asdict(self)).encode()
        return len(body).to_bytes(8, "big") + body


def digest_of(environment: Mapping[str, str]) -> str:
    """A digest of the variables that the interpreter and imports may have read: of all but those that are a task's own."""
    read = sorted((name, value) for name, value in environment.items() if not name.startswith(OF_A_TASK))
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def files_of(modules: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The files of modules, with time and size, as they are now; 0 where one is gone."""
    return {file: _state(file) for module in list(modules.values()) if (file := getattr(module, "__file__", None))}


def _state(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@dataclass(frozen=True)
class Stage:
    """What a forked process is to be: the request, the descriptor of its output, its parent, and sockets that are not its own."""

    request: Request
    output: int
    parent: int
    others: tuple[socket.socket, ...]

    def become(self) -> None:
        """Be the process of a stage: what a shell does before it starts one."""
        die_with_parent(self.parent)
        for each in self.others:
            each.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, stream in ((nothing, 0), (self.output, 1), (self.output, 2)):
            os.dup2(descriptor, stream)
        os.close(nothing)
        os.close(self.output)
        os.environ.clear()
        os.environ.update(self.request.environment)
        os.umask(self.request.umask)
        os.chdir(self.request.folder)
        if "numpy.random" in sys.modules:  # Python's own generator begins anew by itself in a forked process
            sys.modules["numpy.random"].seed()
        _show([sys.executable, "-m", "perennial.cli", *self.request.arguments])
        sys.argv = ["perennial", *self.request.arguments]  # last: from here on it is the command


class Runner:
    """The process that forks.

    Args:
        listener: listens on the socket.
        stages: connections of the clients whose stages run, by process id.
        variables: digest of the variables with which this process was started.
    """

    def __init__(self, listener: socket.socket, stages: dict[int, socket.socket], variables: str) -> None:
        self.listener, self.stages, self.variables = listener, stages, variables
        self.told: set[int] = set()  # whose end was told
        self.files: dict[str, tuple[int, int]] = {}

    def serve(self) -> Stage:
        """Serve until SIGTERM. It returns in forked processes alone: with the stage that such a process is."""
        ended, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            waited: list[socket.socket | int] = [self.listener, ended, *self.stages.values()]
            ready = select.select(waited, [], [], COLD_AFTER_SECONDS if self.files and not self.stages else None)[0]
            if not ready:
                self.begin_anew()
            if ended in ready:
                os.read(ended, 1024)
            self.tell_ends()
            for pid, connection in list(self.stages.items()):
                if connection in ready:  # a client says nothing more: it has left
                    self.bury(pid)
            if self.listener in ready and (stage := self.take(self.listener.accept()[0])):
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                for descriptor in (ended, wakes):
                    os.close(descriptor)
                return stage

    def take(self, connection: socket.socket) -> Stage | None:
        """Take a request and fork; the stage in the forked process, in this one None."""
        connection.settimeout(PATIENCE_SECONDS)
        try:
            output, request = received(connection)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            if not isinstance(error, EOFError):  # who only looks whether it is there
                print(f"A request could not be taken ({type(error).__name__}: {error}).", file=sys.stderr, flush=True)
            connection.close()
            return None
        if self.is_stale(request):
            os.close(output)
            _tell(connection, {"again": True})
            connection.close()
            self.begin_anew(request.environment)
        self.warm(request)
        parent = os.getpid()
        if select.select([connection], [], [], 0)[0]:  # the client would not wait
            os.close(output)
            connection.close()
            return None
        leads, led = os.pipe()
        pid = os.fork()
        if not pid:
            os.setsid()
            os.close(leads)
            os.close(led)
            return Stage(request, output, parent, (self.listener, connection, *self.stages.values()))
        os.close(led)
        os.read(leads, 1)  # it leads its group now, so that whoever knows its id can end it
        os.close(leads)
        os.close(output)
        self.stages[pid] = connection
        _tell(connection, {"pid": pid})
        return None

    def is_stale(self, request: Request) -> bool:
        """Whether what was imported is no more what the stage would import."""
        return digest_of(request.environment) != self.variables or any(_state(file) != then for file, then in self.files.items())

    def warm(self, request: Request) -> None:
        """Import what the stage imports. What cannot be imported the stage itself says."""
        for module in ("perennial.cli", f"perennial.stages.{request.arguments[0]}"):
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        gc.freeze()  # what is shared with the forked processes stays so
        self.files |= {file: state for file, state in files_of(sys.modules).items() if file not in self.files}

    def tell_ends(self) -> None:
        """Tell the clients of stages that have ended."""
        for pid in set(self.stages) - self.told:
            if found := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                self.told.add(pid)
                _tell(self.stages[pid], {"code": code})

    def bury(self, pid: int) -> None:
        """End what is left of a stage whose client has left."""
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.stages.pop(pid).close()
        self.told.discard(pid)

    def begin_anew(self, environment: Mapping[str, str] | None = None) -> None:
        """Replace this program by itself with nothing imported; clients and stages stay."""
        kept = {pid: connection.fileno() for pid, connection in self.stages.items()}
        for descriptor in (self.listener.fileno(), *kept.values()):
            os.set_inheritable(descriptor, True)
        variables = self.variables if environment is None else digest_of(environment)
        _replace({"listener": self.listener.fileno(), "stages": kept, "variables": variables}, environment or os.environ)


def answers(path: Path) -> bool:
    """Whether a runner listens on a socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
    except OSError:
        return False
    return True


def received(connection: socket.socket) -> tuple[int, Request]:
    """A request, and the descriptor of the file for its output.

    Raises:
        EOFError: nothing was asked.
        OSError, ValueError, KeyError, TypeError: it is no request.
    """
    body, descriptors, _, _ = socket.recv_fds(connection, 65536, 1)
    if not body:
        raise EOFError
    try:
        length = int.from_bytes(body[:8], "big")
        if len(body) < 8 or length > LARGEST_REQUEST or not descriptors:
            raise ValueError("it has no length, no output, or is too long")
        while len(body) < length + 8:
            more = connection.recv(min(65536, length + 8 - len(body)))
            if not more:
                raise ValueError("it was cut short")
            body += more
        return descriptors[0], Request(**json.loads(body[8:]))
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


def _tell(connection: socket.socket, said: dict[str, Any]) -> None:
    """Send a line to a client; one that has left is found out by the next look."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(said).encode() + b"\n")


def _show(command: Sequence[str]) -> None:
    """Have `ps` show the command of this process, as far as there is room; where that cannot be, the runner's is shown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        text = b"\0".join(map(os.fsencode, command))[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def main(arguments: Sequence[str]) -> int:
    """Listen on a socket, or go on where the program left off that this one replaced."""
    if arguments[0].startswith("{"):  # this program replaced itself
        state = json.loads(arguments[0])
        listener = socket.socket(fileno=state["listener"])
        stages = {int(pid): socket.socket(fileno=descriptor) for pid, descriptor in state["stages"].items()}
    else:
        listener, stages = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), {}
        path = Path(arguments[0])
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()  # of one that was killed
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
        listener.set_inheritable(True)
        _replace({"listener": listener.fileno(), "stages": {}, "variables": digest_of(os.environ)}, os.environ)  # there is room then
    for each in (listener, *stages.values()):
        each.set_inheritable(False)
    Runner(listener, stages, state["variables"]).serve().become()
    code: int = importlib.import_module("perennial.cli").main()
    return code


def _replace(state: dict[str, Any], environment: Mapping[str, str]) -> NoReturn:
    os.execve(sys.executable, [sys.executable, "-m", "perennial.stage_runner", json.dumps(state), ROOM], dict(environment))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
