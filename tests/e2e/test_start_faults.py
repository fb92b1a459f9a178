"""Faults of the ground it stands on: a wrong configuration, a torn or damaged file of Redis, a full disk, no memory.

What is refused says why; what was accepted is there once the fault is mended.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from installation import ENRICH, Installation, until
from own_server import OwnServer
from revops_lite.errors import BusError
from revops_lite.models import Event
from revops_lite.queue import names
from revops_lite.server.aof import last_file
from revops_lite.store import keys
from revops_lite.store.client import Clients
from revops_lite.store.store import Store
from revops_lite.store.views import Views

pytestmark = pytest.mark.real
slow = pytest.mark.skipif(not os.environ.get("REVOPS_LONG"), reason="takes long; REVOPS_LONG=1 runs it")


@pytest.fixture
def made(site: Installation) -> Installation:
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]}, adapter="none", durability="always")
    site.agent("enrichment", ENRICH)
    return site


def send(url: str, names: range, padding: int = 0) -> list[str]:
    """Events, one after the other; the records of those that were accepted."""
    accepted = []
    with Clients(url) as clients:
        store = Store(clients.commands)
        for name in names:
            event = Event(f"e{name}", "lead.created", f"lead:{name}", "cli", time.time(), {"pad": "x" * padding})
            with contextlib.suppress(BusError):
                if store.append([event]) == ["new"]:
                    accepted.append(event.subject)
    return accepted


def all_finished(site: Installation, records: list[str]) -> bool:
    states = site.states()
    return all(states.get(record) == "finished" for record in records)


# ---- the configuration -------------------------------------------------------------------------------------------


def test_a_configuration_that_goes_wrong_while_up_runs_changes_nothing_and_is_refused_at_the_next_start(
    made: Installation,
) -> None:
    path = made.root / "config.toml"
    good = path.read_text("utf-8")
    lines = good.splitlines()
    wrong = {
        "half-written": (good[: good.index("poll =") + 8], "half-written.toml:6"),
        "an unknown key": (good.replace("[workers]\n", "[workers]\nprocess = 1\n"), "workers.process"),
        "a wrong type": (good.replace("threads = 4", 'threads = "four"'), "workers.threads"),
        "an agent that is not there": (good.replace('agent = "enrichment"', 'agent = "enrichmant"'), "enrichmant"),
        "nothing": ("", "timezone"),
    }
    assert lines[5].startswith("poll =")
    with made.up() as up:
        for number, (text, _) in enumerate(wrong.values()):
            path.write_text(text, "utf-8")
            assert send(made.address, range(number, number + 1)) == [f"lead:{number}"]
            until(partial(all_finished, made, [f"lead:{number}"]))
        assert up.stop() == 0
    audited = {file: file.read_bytes() for file in (made.root / "var" / "audit").iterdir()}
    for name, (text, _) in wrong.items():
        made.file(f"{name}.toml", text)
    starts = made.many([["-c", f"{name}.toml", "up", "--until-idle"] for name in wrong])
    for (name, (_, named)), told in zip(wrong.items(), starts, strict=True):
        assert (told.code, "Traceback" in told.err) == (4, False), told
        assert f"{name}.toml" in told.err
        assert named in told.err
    assert {file: file.read_bytes() for file in audited} == audited  # none of these starts has begun anything
    path.write_text(good, "utf-8")
    made.revops("up", "--until-idle")


# ---- the append-only file ----------------------------------------------------------------------------------------


@pytest.fixture
def killed(made: Installation) -> tuple[Installation, Path, list[str]]:
    """Three leads done, `up` and its server killed; and the file that the server wrote to."""
    with made.up() as up:
        accepted = send(made.address, range(3))
        until(lambda: all_finished(made, accepted))
        up.kill()
    made.end()
    path = last_file(made.root / "var" / "redis")
    assert path is not None
    return made, path, accepted


@slow
def test_a_torn_tail_is_cut_off_and_kept_beside(killed: tuple[Installation, Path, list[str]]) -> None:
    site, path, accepted = killed
    tail = b"*3\r\n$3\r\nSET\r\n$11\r\nrevops:run:\r\n$900\r\n{half of"
    with path.open("ab") as file:
        file.write(tail)
    with site.up() as up:
        more = send(site.address, range(10, 12))
        until(lambda: all_finished(site, [*accepted, *more]))
        up.stop()
    (kept,) = (site.root / "var" / "redis").glob("torn-at-*")
    assert kept.read_bytes() == tail
    assert site.revops("audit", "verify", "--json").json()["ok"]


@slow
def test_a_flipped_bit_in_the_middle_is_refused_and_nothing_is_repaired(
    killed: tuple[Installation, Path, list[str]],
) -> None:
    site, path, accepted = killed
    whole = path.read_bytes()
    for sign in (b"\r\n*", b"\r\n$"):
        at = whole.index(sign, len(whole) // 2) + 2
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        path.write_bytes(damaged)
        for told in site.many([["up", "--until-idle"], ["run", "list"]]):
            assert (told.code, "Traceback" in told.err) == (1, False)
            assert "the embedded Redis" in told.err
            assert "Nothing was repaired or removed. Mend:" in told.err
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    with site.up():
        assert all_finished(site, accepted)


# ---- no room -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(made: Installation) -> Iterator[Path]:
    """`var` of the installation on a file system of 12 MB."""
    var = made.root / "var"
    var.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(var)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here (needs root)")
    try:
        yield var
    finally:
        made.end()
        subprocess.run(["umount", "-l", str(var)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return ballast


def test_a_full_disk_loses_nothing_that_was_accepted(made: Installation, small_disk: Path) -> None:
    with made.up() as up:
        accepted = send(made.address, range(5))
        until(lambda: all_finished(made, accepted))
        ballast = fill(small_disk)
        tried = range(10, 40)
        accepted += send(made.address, tried, padding=20_000)
        assert len(accepted) < 5 + len(tried)  # the disk did get full
        until(lambda: "trying again" in up.err, "`up` says that Redis takes nothing")
        assert up.alive()
        ballast.unlink()
        until(lambda: send(made.address, range(50, 51)) or "lead:50" in made.states(), patience=60)
        until(lambda: all_finished(made, [*accepted, "lead:50"]), patience=60)
        assert up.stop() == 0
    assert made.revops("audit", "verify", "--json").json()["ok"]


@slow
def test_a_start_on_a_full_disk_says_so_and_works_once_there_is_room(made: Installation, small_disk: Path) -> None:
    with made.up() as up:
        accepted = send(made.address, range(3))
        until(lambda: all_finished(made, accepted))
        up.stop()
    ballast = fill(small_disk)
    told = made.revops("up", "--until-idle", code=1)
    assert "No space left on device" in told.err or "disk" in told.err
    ballast.unlink()
    with made.up():
        assert all_finished(made, accepted)


def test_memory_used_up_refuses_events_and_up_goes_on_once_there_is_some(
    made: Installation, program: Path, tmp_path: Path
) -> None:
    with OwnServer(tmp_path / "own", program) as server:
        server.serve(made)
        with made.up(ready=False) as up:
            until(lambda: server.client.hget(keys.CONTROLLER, "owner") and server.client.scard(names.WORKERS))
            accepted = send(server.url, range(3))
            until(lambda: done(server, accepted))
            server.client.config_set("maxmemory", "1")
            told = made.revops("emit", "lead.created", "lead:full", "--id", "full", code=1)
            assert "takes no commands now: " in told.err
            assert "maxmemory" in told.err
            until(lambda: "takes no commands now" in up.err, "`up` says so")
            assert up.alive()
            server.client.config_set("maxmemory", "0")
            made.revops("emit", "lead.created", "lead:full", "--id", "full")
            until(lambda: done(server, [*accepted, "lead:full"]))
            assert up.stop() == 0


def done(server: OwnServer, records: list[str]) -> bool:
    states = {run.record: str(run.state) for run in Views(server.client).runs(lambda _: True, None)}
    return all(states.get(record) == "finished" for record in records)
