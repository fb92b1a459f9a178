"""Redis that does not answer for longer than a command waits, answers slowly, or drops its connections in a loop."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from chaos_report import LONG, sized, tell
from installation import Installation, Up, until
from revops_lite.server.process import EmbeddedServer
from revops_lite.store import keys
from shared_redis import Shared
from slow_line import SlowLine
from worked_leads import check_books, ended, leads, until_ended

pytestmark = pytest.mark.real

LEADS = sized(24, 300)
AWAY = sized(6, 30)  # seconds; a command waits for five
DELAY = 0.5 if LONG else 0.05
DROPS = sized(5, 100)  # rounds at least; each drops a dozen connections
MORE = 20  # leads, where those that were there have ended too soon
PATIENCE = sized(180, 900)


def on_its_way(site: Installation) -> bool:
    return site.audited() > LEADS


def finished(site: Installation, up: Up, suite: str, fired: dict[str, int], count: int = LEADS, **more: object) -> None:
    """All runs have ended and the books are right; then an orderly stop."""
    until_ended(site, count, PATIENCE)
    writes = check_books(site, count)
    assert all(fired.values())
    tell(
        **{
            "suite": suite,
            "runs": count,
            "fired": fired,
            "writes": writes,
            "lost": 0,
            "duplicated": 0,
            "unexplained": 0,
            **more,
        }
    )
    assert up.stop() == 0
    assert "Traceback" not in up.err
    until(lambda: not site.processes(), "no process is left over")


def test_a_server_that_is_stopped_for_longer_than_a_command_waits_loses_nothing(site: Installation) -> None:
    leads(site, LEADS, pause=0.1)
    with site.up() as up:
        until(lambda: on_its_way(site), "leads are worked on")
        assert not ended(site, LEADS)
        server, hosts = up.server(), up.hosts()
        os.kill(server, signal.SIGSTOP)
        began = time.monotonic()
        try:
            until(lambda: "does not answer" in up.err, "a command has waited in vain", PATIENCE)
            until(lambda: time.monotonic() - began > AWAY, "it is away for long enough", PATIENCE)
        finally:
            os.kill(server, signal.SIGCONT)
        away = time.monotonic() - began
        until_ended(site, LEADS, PATIENCE)
        assert (up.server(), up.hosts()) == (server, hosts), "whoever is silent because Redis is, is not replaced"
        finished(site, up, "redis stopped", {"stop redis": 1}, note=f"for {away:.0f} s")


@contextmanager
def own_server(folder: Path, program: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(folder / "redis", "everysec", program)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def distant(folder: Path, program: Path) -> Iterator[tuple[Shared, SlowLine]]:
    """An installation whose way to Redis is slow."""
    with own_server(folder, program) as server, SlowLine(folder / "line", server.socket, DELAY) as line:
        site = Shared(folder / "site", server, line.at)
        leads(site, LEADS)
        site.shared()
        try:
            yield site, line
        finally:
            site.end()


def test_a_slow_line_to_redis_makes_everything_slow_and_nothing_wrong(tmp_path: Path, program: Path) -> None:
    with distant(tmp_path, program) as (site, line), site.up() as up:
        until_ended(site, LEADS, PATIENCE)
        finished(site, up, "slow line", {"answers delayed": line.carried}, note=f"each by {DELAY * 1000:.0f} ms")


def test_connections_that_are_dropped_in_a_loop_lose_nothing_and_double_nothing(site: Installation) -> None:
    leads(site, LEADS, pause=0.2)
    with site.up() as up:
        fired, count = drop_again_and_again(site)
        finished(site, up, "connections dropped", dict(fired), count)


def drop_again_and_again(site: Installation) -> tuple[Counter[str], int]:
    """Each time something has been done, all connections go: those of programs that listen, and all others. Leads come
    until there were enough rounds; returns how many."""
    fired: Counter[str] = Counter()
    count = LEADS
    with site.redis() as killer, site.redis() as listener, listener.pubsub() as heard:
        seen = 0
        while fired["rounds"] < DROPS or not ended(site, count):
            if ended(site, count):
                site.crm("lead", {f"lead-{n}": {"number": n} for n in range(count, count + MORE)})
                count += MORE
            until(
                lambda before=seen, all_=count: site.audited() > before or ended(site, all_), "more is done", PATIENCE
            )
            seen = site.audited()
            listen(heard)
            fired["rounds"] += 1
            fired["drop subscribers"] += kill(killer, "pubsub")
            fired["drop connections"] += kill(killer, "normal")
    return fired, count


def kill(killer: Redis, kind: str) -> int:
    return int(killer.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"))


def listen(heard: Redis) -> None:
    """As a program outside that shows events: it subscribes anew after each loss."""
    try:
        heard.subscribe(keys.CHANNEL)
        heard.get_message(timeout=1.0)
    except (OSError, ConnectionError):
        heard.reset()
        heard.subscribe(keys.CHANNEL)
