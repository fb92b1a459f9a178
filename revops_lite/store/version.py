"""Which format the data in Redis have, and how data of an older one become today's.

The number stands in Redis (`keys.VERSION`), beside the version of the program that first wrote it. It grows whenever
a program of before could not read what one of today writes: keys, documents, events, jobs, audit entries. Data without
a number were made before there was one; they are of the first version.

| the number is | `up`                                         | every other command             |
|---------------|----------------------------------------------|---------------------------------|
| today's       | goes on                                      | goes on                         |
| older         | upgrades step by step, or says why it cannot | is refused: `up` comes first    |
| newer         | is refused                                   | is refused                      |

An upgrade (`store/upgrade.py`) runs after the controller has taken over: nobody else decides meanwhile, and each of its
transactions is fenced by the epoch as every commit is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from redis import Redis

from revops_lite.errors import DataVersion
from revops_lite.store import keys
from revops_lite.store.client import bus_errors

FIRST = 1
CURRENT = 2  # of 1, Redis holds all documents; of 2, those that have ended may be in the archive alone

# A step from one version to the next. It reads what is there and yields commands, as many at a time as belong into one
# transaction. It may be killed between any two of them and begins again from the start: what it has changed already
# must be recognised. Where it cannot go on it raises DataVersion with the reason and the mend.
Step = Callable[[Redis], Iterator[list[tuple[Any, ...]]]]
STEPS: dict[int, Step] = {1: lambda _: iter(())}  # the version a step begins at -> the step


def program() -> str:
    """The version of this program."""
    try:
        return metadata.version("revops-lite")
    except metadata.PackageNotFoundError:
        return "of an unknown version"


def admit(client: Redis, *, upgrades: bool) -> None:
    """Refuse data that this program would misread. Raises DataVersion. `upgrades`: for `up`, which mends older ones."""
    number, writer = found(client)
    if number is None and not _begun(client):
        return
    number = number or FIRST
    if number > CURRENT:
        raise DataVersion(
            f"the data in Redis have version {number} (revops-lite {writer}); this is revops-lite {program()}, which "
            f"knows versions up to {CURRENT}. Nothing was changed. Mend: install revops-lite {writer} or newer, or "
            "restore the backup from before the upgrade"
        )
    if number < CURRENT and not upgrades:
        raise DataVersion(
            f"the data in Redis have version {number}, this program's is {CURRENT}. Mend: start `revops up` of this "
            "program, which upgrades them (make a backup first)"
        )
    for at in range(number, CURRENT):
        if at not in STEPS:
            raise DataVersion(
                f"the data in Redis have version {number}, and this program cannot upgrade from version {at}. Nothing "
                "was changed. Mend: start `revops up` of a release in between once (CHANGELOG.md names it)"
            )


def begin(client: Redis) -> None:
    """Where there are no data yet, they will be today's: before a command brings the first event."""
    if not _none_yet(client):
        return
    with bus_errors():
        pipe: Any = client.pipeline(transaction=True)
        pipe.hsetnx(keys.VERSION, "data", CURRENT).hsetnx(keys.VERSION, "program", program())
        pipe.execute()


def _begun(client: Any) -> bool:
    """Whether a controller has ever been here; where only events are, they may have come behind an emptying."""
    with bus_errors():
        return bool(client.exists(keys.CONTROLLER))


def _none_yet(client: Any) -> bool:
    with bus_errors():
        return not client.exists(keys.CONTROLLER, keys.EVENTS)


def found(client: Any) -> tuple[int | None, str]:
    """The number (None where there is none) and the program that wrote it."""
    with bus_errors():
        data, writer = client.hmget(keys.VERSION, "data", "program")
    if data is None:
        return None, ""
    if not data.isdigit() or int(data) < FIRST:
        raise DataVersion(
            f"Redis: {keys.VERSION} does not hold a version but {data[:40]!r}. Nothing was changed. Mend: restore var/ "
            "from a backup, or find out who else writes into this Redis"
        )
    return int(data), (writer or b"of an unknown version").decode("utf-8", "replace")
