"""Which agent hosts an installation has, and how one is started: with a scrubbed environment, to wait for its task.

A host reads its libraries before it is told what to do. So the first are started as soon as the configuration is
known, and have read theirs by the time the orchestrator has read its own.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct, json

from revops_lite.config import Settings
from revops_lite.errors import RevopsError
from revops_lite.store.keys import digest

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Fleet(Struct, frozen=True):
    """What to run: `groups` maps a queue to the environment variables its agents may see, `agents` names to entries."""

    config: Path
    url: str
    node: str
    groups: Mapping[str, Sequence[str]]
    agents: Mapping[str, str]
    processes: int  # hosts per queue
    threads: int  # slots per host
    logs: Path  # folder; one file per queue
    memory_mb: int = 0  # a host that holds more is replaced; 0: never
    python: str = sys.executable


def fleet_of(settings: Settings, url: str) -> Fleet:
    """Which hosts serve which agents: those with the same `env` share a queue and its hosts."""
    agents = settings.rulebook.agents
    return Fleet(
        config=settings.path,
        url=url,
        node=node(settings),
        groups={policy.queue: policy.env for policy in agents.values()},
        agents={name: policy.entry for name, policy in agents.items()},
        processes=settings.workers.processes,
        threads=settings.workers.threads,
        memory_mb=settings.workers.memory_mb,
        logs=settings.root / "var" / "logs",
    )


def node(settings: Settings) -> str:
    """Names this installation on this machine: hosts of an earlier life are recognised by it."""
    return digest(f"{socket.gethostname()}|{settings.root}")[:8]


def start(fleet: Fleet, queue: str, allowed: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A host that waits for its task. The kernel kills it as soon as the thread that calls this has ended.

    Raises RevopsError where the machine does not let it start.
    """
    try:
        with _log(fleet, queue) as out:
            return subprocess.Popen(
                [fleet.python, "-m", "revops_lite.host"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(environ, allowed),
                process_group=0,  # what its agents start is found by it
            )
    except OSError as error:
        mend = "see to that place, or to how many processes and open files this user may have"
        raise RevopsError(f"an agent host for queue {queue!r} cannot be started: {error}. Mend: {mend}") from error


def hand(process: subprocess.Popen[bytes], task: Mapping[str, Any]) -> None:
    """Tell a host what to do. Where it has died already, that is found as with any other."""
    assert process.stdin is not None
    try:
        with process.stdin as line:
            line.write(json.encode(task) + b"\n")
    except BrokenPipeError:
        pass


def log_of(fleet: Fleet, queue: str) -> Path:
    return fleet.logs / f"{queue}.log"


class Reserve:
    """Hosts started ahead, at most one less than there are cores, and at least one where there are to be any."""

    def __init__(self, fleet: Fleet, environ: Mapping[str, str] = os.environ) -> None:
        self._hosts: dict[str, list[subprocess.Popen[bytes]]] = defaultdict(list)
        wanted = [queue for queue in fleet.groups for _ in range(fleet.processes)]
        try:
            for queue in wanted[: max(1, (os.cpu_count() or 1) - 1)]:
                self._hosts[queue].append(start(fleet, queue, fleet.groups[queue], environ))
        except BaseException:
            self.close()
            raise

    def take(self, queue: str) -> subprocess.Popen[bytes] | None:
        waiting = self._hosts[queue]
        return waiting.pop() if waiting else None

    def close(self) -> None:
        """Whom nobody took ends. Twice is once."""
        for host in (host for waiting in self._hosts.values() for host in waiting):
            host.kill()
            host.communicate()
        self._hosts.clear()


def _environment(environ: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
    """What a host may see: how to run at all, and the variables its agents were granted by `env`."""
    scrubbed = {
        name: value for name, value in environ.items() if name in PASSED_ON or name.startswith("LC_") or name in allowed
    }
    if path := environ.get("PYTHONPATH"):
        scrubbed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep))
    return scrubbed | {"PYTHONUNBUFFERED": "1"}


def _log(fleet: Fleet, queue: str) -> BinaryIO:
    path = log_of(fleet, queue)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("ab")
