"""`revops` commands without the wait for their imports: one process has imported everything and forks itself for each.

    commands = Forked()
    code, out, err = commands.run(["run", "list"], folder, environment, "", 60.0)

What is forked is a process like any other, with the environment and the folder that it is given, and ends as any
Python program does. Only the imports are spared, which take longer than most commands do.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class Forked:
    """Ends with the process that has made it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            text=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
    ) -> tuple[int, str, str]:
        """Exit code, stdout and stderr. Raises TimeoutExpired, as `subprocess.run` does; the command is dead then."""
        into, *outs = (Path(self._folder.name) / name for name in ("in", "out", "err"))
        into.write_text(stdin, "utf-8")
        asked = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
        pid = self._ask(fork={**asked, "files": [str(into), *map(str, outs)]})
        handle = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([handle], [], [], timeout)
        finally:
            os.close(handle)
        if not ended:
            os.kill(pid, 9)
        code = self._ask(reap=pid)
        out, err = (file.read_text("utf-8", "replace") for file in outs)
        if not ended:
            raise subprocess.TimeoutExpired(list(words), timeout, out, err)
        return code, out, err

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@cache
def commands() -> Forked:
    """One for all tests of this process."""
    return Forked()


# ---- the process that forks ------------------------------------------------------------------------------------------


def _main() -> None:
    _preload()
    for line in sys.stdin:
        match json.loads(line):
            case {"fork": asked}:
                answer = os.fork()
                if answer == 0:
                    _become(**asked)
            case {"reap": pid}:
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _preload() -> None:
    from revops_lite.cli.app import app

    assert app
    from typer.main import get_command

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command, f"{name} has not been imported"
    import rich.table

    import revops_lite.installation

    del rich, revops_lite


def _become(words: Sequence[str], folder: str, environment: Mapping[str, str], files: Sequence[str]) -> None:
    """The command. Leaves by SystemExit, or by what the command raises, and so as any Python program ends."""
    from revops_lite.cli import main

    for number, (file, flags) in enumerate(zip(files, (os.O_RDONLY, OUT, OUT), strict=True)):
        opened = os.open(file, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - what was read ahead is of the requests
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv = ["revops", *words]
    main()
    sys.exit(0)


OUT = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

if __name__ == "__main__":
    _main()
