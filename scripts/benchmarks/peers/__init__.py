"""One file per peer: how it is set up as its documentation advises, durable, and how W is given to it.

A peer is a class `Peer` with what `Base` has. Its workers are processes of their own where it has such, and import the
same file; what they have to know comes in the environment (`Place.environment`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
PAUSE = float(os.environ.get("BENCH_PAUSE", "0"))  # seconds that an agent takes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs, and how."""

    folder: Path  # empty, on the disk that is measured; of a short name, for sockets
    server: str  # the Redis server's program
    durability: str = "everysec"  # appendfsync, where there is a Redis
    slots: int = 0  # so many agents at once; 0: what the peer advises for agents that return at once
    pause: float = 0.0
    detail: str = ""  # a variant of the peer, by its own words

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    def environment(self) -> dict[str, str]:
        return {
            "BENCH_PAUSE": str(self.pause),
            "BENCH_SOCKET": str(self.socket),
            "BENCH_FOLDER": str(self.folder),
            "PYTHONPATH": str(HERE),
        }


class Base:
    """What the benchmark asks of a peer. `in_process`: agents run in the program that submits."""

    warm_up = 50  # workflows before anything is measured
    in_process = False

    def __init__(self, place: Place) -> None:
        self.place = place
        self.own_trips = 0  # requests to the Redis server by which the benchmark itself submitted or looked
        self.own_commands = 0  # commands by which it looked
        self.children: list[subprocess.Popen[bytes]] = []

    def prepare(self, leads: Sequence[dict[str, Any]]) -> None:
        """What a user does once, before the start: files, tables. `leads` is all that will ever be submitted."""

    def start(self) -> None:
        """Everything that has to run runs, or is about to."""
        raise NotImplementedError

    def submit(self, leads: Sequence[dict[str, Any]]) -> None:
        raise NotImplementedError

    def submit_in_batches(self, leads: Sequence[dict[str, Any]]) -> None:
        """As fast as very many can be submitted, for the growth."""
        self.submit(leads)

    def commands(self) -> dict[str, float]:
        """Seconds that its own commands take."""
        return {}

    def wait(self, count: int) -> None:
        """Until `count` more workflows have ended."""
        raise NotImplementedError

    def looked(self, commands: int = 1) -> None:
        self.own_trips += 1
        self.own_commands += commands

    def redis(self) -> Any:
        """A client of the Redis server it works on; None where it has none."""
        return None

    def cold(self, first: dict[str, Any]) -> float:
        """Start, and the seconds until `first` is finished."""
        began = time.perf_counter()
        self.start()
        self.submit([first])
        self.wait(1)
        return time.perf_counter() - began

    def processes(self) -> list[int]:
        """All that belong to it; their children are found."""
        return [*([os.getpid()] if self.in_process else []), *(child.pid for child in self.children)]

    def stop(self) -> None:
        for child in reversed(self.children):
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def spawn(self, *command: str, cwd: Path = HERE, log: str = "worker.log") -> subprocess.Popen[bytes]:
        """A process of the peer."""
        with (self.place.folder / log).open("ab") as file:
            child = subprocess.Popen(
                [installed(command[0]), *command[1:]],
                cwd=cwd,
                env=os.environ | self.place.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.children.append(child)
        return child


def installed(program: str) -> str:
    """A program of the peer's environment by its name, any other by its path."""
    own = Path(sys.executable).parent / program
    return str(own) if own.exists() else program
