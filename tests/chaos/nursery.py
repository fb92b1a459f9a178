"""`revops` processes within milliseconds: one process has imported everything, and forks itself for each of them.

What is forked is a process like any other: it has its own memory, threads and connections, and dies by SIGKILL. Only
the second that Python needs to import is spared, so that thousands of crashes fit into minutes. In the child the names
in `bugs` (see planted.py) are applied first, and waiting times that a person would not notice are cut short.

    with Nursery() as nursery:
        child = nursery.fork(folder, ["up", "--until-idle"])
        assert child.wait() == 0
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
SETTLE = 0.4  # seconds until a call of unknown outcome is read back; the product's own is 5


@dataclass(slots=True)
class Child:
    nursery: Nursery
    pid: int
    out: Path
    code: int | None = None  # as of Popen: -9 where it was killed

    def wait(self, timeout: float = 30.0) -> int | None:
        """Its exit code, or None where it still runs after `timeout` seconds."""
        if self.code is None:
            handle = os.pidfd_open(self.pid)
            try:
                ended, _, _ = select.select([handle], [], [], timeout)
            finally:
                os.close(handle)
            if ended:
                self.code = self.nursery.ask(reap=self.pid)
        return self.code

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def said(self) -> str:
        return self.out.read_text("utf-8", "replace")


class Nursery:
    """A context manager; what it has forked dies with it."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(HERE), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"},
            text=True,
        )
        self.ask(hello=True)

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def fork(
        self,
        folder: Path,
        words: Sequence[str],
        *,
        bugs: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        out: str = "out",
        clock: float = 0.0,
    ) -> Child:
        """`revops WORDS` in `folder`, with both of its outputs in the file `out` there."""
        path = folder / out
        asked = {"folder": str(folder), "words": list(words), "bugs": list(bugs), "env": dict(env or {})}
        pid = self.ask(fork={**asked, "out": str(path), "clock": clock})
        return Child(self, pid, path)

    def script(self, folder: Path, file: Path, *words: str, out: str = "script.out") -> Child:
        """A Python file of the harness instead of `revops`."""
        path = folder / out
        asked = {"folder": str(folder), "file": str(file), "words": list(words), "out": str(path), "env": {}}
        return Child(self, self.ask(fork=asked), path)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# ---- the process that forks ----------------------------------------------------------------------------------------


def _main() -> None:
    _preload()
    for line in sys.stdin:
        request = json.loads(line)
        match request:
            case {"fork": asked}:
                answer: Any = os.fork()
                if answer == 0:
                    _child(asked)
            case {"reap": pid}:
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            case _:
                answer = True
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _preload() -> None:
    import rich.console
    import rich.live
    import rich.table

    import planted
    import revops_lite.bootstrap
    import revops_lite.cli.app
    import revops_lite.cli.live
    import revops_lite.cli.overview
    import revops_lite.config.tables

    del planted, rich, revops_lite


def _child(asked: dict[str, Any]) -> None:
    """Become the program that was asked for. Never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # dies with the nursery
        _redirect(asked["out"])
        os.chdir(asked["folder"])
        os.environ.update(asked["env"])
        code = _script(asked) if "file" in asked else _revops(asked)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(path: str) -> None:
    into = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(into, 1)
    os.dup2(into, 2)


def _revops(asked: dict[str, Any]) -> int:
    import crash_points
    import planted
    from revops_lite.cli import main

    planted.hurry(SETTLE)
    if asked["clock"]:
        planted.shift_clock(asked["clock"])
    for name in asked["bugs"]:
        planted.BUGS[name]()
    if point := os.environ.get(crash_points.VARIABLE):
        crash_points.crash_at(point)
    sys.argv = ["revops", *asked["words"]]
    sys.path.insert(0, asked["folder"])
    started = time.time()
    main()
    print(f"ended after {time.time() - started:.3f} s")
    return 0


def _script(asked: dict[str, Any]) -> int:
    import runpy

    sys.argv = [asked["file"], *asked["words"]]
    runpy.run_path(asked["file"], run_name="__main__")
    return 0


if __name__ == "__main__":
    _main()
