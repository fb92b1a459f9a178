"""The clock is set while leads are worked on, two hours forward and two hours back: all goes on, and nothing is
done twice.

The clock of `up`, its hosts and all commands is Python's, plus what stands in a file. That of Redis stays as it is.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from chaos_report import LONG, sized, tell
from installation import Installation, Up, until
from revops_lite.store import keys
from revops_lite.store.views import Views
from worked_leads import check_books, leads

pytestmark = pytest.mark.real

LEADS = sized(24, 300)
HOURS = 3600.0
PATIENCE = sized(180, 600)

CLOCK = """
import time
from pathlib import Path

_real, _file, _known = time.time, Path(__file__).with_name("offset"), [0.0, 0.0]


def jumping():
    now = time.monotonic()
    if now - _known[0] > 0.02:
        try:
            _known[:] = now, float(_file.read_text())
        except (OSError, ValueError):
            pass  # being written
    return _real() + _known[1]


time.time = jumping
"""

# Every half an hour, one owner, nothing to write: what counts is which slots have fired.
NIGHTLY = """
[agents.counting]
entry = "agents.counting:count"
[workflows.counted]
cron = "*/30 * * * *"
missed = "all"
over = { kind = "owner" }
steps = [{ agent = "counting" }]
"""

COUNTING = """
from revops_lite import Snapshot, agent


@agent(writes=None)
def count(owner: Snapshot) -> None:
    return None
"""


class Clock:
    """Sets the clock of an installation that has not been started yet, and from then on."""

    def __init__(self, site: Installation) -> None:
        self._offset = site.file("clock/offset", "0")
        site.file("clock/sitecustomize.py", CLOCK)
        repository = str(Path(__file__).resolve().parents[2])
        site.env["PYTHONPATH"] = os.pathsep.join([str(site.root / "clock"), repository])

    def set(self, hours: float) -> None:
        """So far from the right time."""
        draft = self._offset.with_name("draft")
        draft.write_text(str(hours * HOURS))
        draft.replace(self._offset)


def more(site: Installation, share: float) -> None:
    """Until so much of all work has been done."""
    until(lambda: site.audited() > LEADS * 12 * share, f"{share:.0%} of the work is done", PATIENCE)


def heartbeat(site: Installation) -> float:
    with site.redis() as client:
        return float(client.hget(keys.CONTROLLER, "heartbeat") or 0)


def slots(site: Installation) -> Counter[str]:
    """Cron slots that have started a run."""
    with site.redis() as client:
        runs = Views(client).runs(lambda run: run.workflow == "counted" and run.part_of is None, None)
    return Counter(run.trigger.id for run in runs)


@pytest.mark.parametrize("processes", [1, 0] if LONG else [1])
def test_a_clock_that_is_set_forward_and_back_loses_nothing_and_doubles_nothing(
    site: Installation, processes: int
) -> None:
    clock = Clock(site)
    site.agent("counting", COUNTING)
    leads(site, LEADS, pause=0.1, processes=processes, extra=NIGHTLY)
    site.crm("owner", {"o-1": {"name": "Ana"}})
    with site.up() as up:
        hosts = up.hosts()
        for share, hours in ((0.1, 2.0), (0.4, 0.0), (0.7, -2.0)):
            more(site, share)
            clock.set(hours)
            until(
                lambda: len(slots(site)) >= 3,
                "two hours forward are four slots, or three and one that has come",
                PATIENCE,
            )
        until(lambda: site.run_states("new_lead") == {"finished": LEADS}, "all runs have ended", PATIENCE)
        assert processes == 0 or set(hosts) <= set(up.hosts()), "no host was taken for silent"
        goes_on(site, up, processes)
        fired = slots(site)
        assert set(fired.values()) == {1}
        ended(site, up, len(fired))


def goes_on(site: Installation, up: Up, processes: int) -> None:
    """With a clock that shows an earlier time than it has shown: hearts beat, hosts are replaced, leads are found."""
    before = heartbeat(site)
    if processes:
        host = up.hosts()[0]
        os.kill(host, signal.SIGKILL)
        until(lambda: up.hosts() and host not in up.hosts(), "another host has taken its place", PATIENCE)
    until(lambda: heartbeat(site) != before, "the controller shows that it lives")
    site.crm("lead", {f"lead-{LEADS}": {"number": LEADS}})
    until(lambda: site.run_states("new_lead") == {"finished": LEADS + 1}, "a new lead is found", PATIENCE)


def ended(site: Installation, up: Up, fired: int) -> None:
    until(lambda: set(site.settled()) == {"finished"}, "all runs have ended, those of the slots as well", PATIENCE)
    writes = check_books(site, LEADS + 1)
    figures = {"clock set forward": 1, "clock set back": 2, "cron slots": fired}
    tell(suite="clock jumps", runs=LEADS + 1, fired=figures, writes=writes, lost=0, duplicated=0, unexplained=0)
    assert up.stop() == 0
    assert "Traceback" not in up.err
    assert "ok" in site.revops("audit", "verify").out
    until(lambda: not site.processes(), "no process is left over")
