"""The notifier between the outbox and the channels: real channels and servers, a clock that the test turns."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from notify.loopback import HttpServer, Reply

from revops_lite.errors import BusError, ChannelError, ConfigError
from revops_lite.models import Event, OutNotice
from revops_lite.notifier import Notifier, asked_for, lane_wait, own_wait
from revops_lite.notify.console import ConsoleChannel
from revops_lite.notify.file import FileChannel
from revops_lite.notify.slack import SlackWebhook
from revops_lite.outbox import Outbox
from revops_lite.ports import Channel
from revops_lite.values import replace

START = 1_750_000_000.0


class Desk:
    """Stands where the controller does: keeps the notices, and decides what is reported as the engine would."""

    def __init__(self, notices: list[OutNotice]) -> None:
        self.notices = {notice.id: notice for notice in notices}
        self.events: dict[str, Event] = {}
        self.away = False
        self.lock = threading.Condition()

    def due(self, now: float, limit: int) -> list[OutNotice]:
        """Every planned notice, again and again."""
        with self.lock:
            found = [one for one in self.notices.values() if one.state == "planned" and one.due <= now]
        return sorted(found, key=lambda one: one.at)[:limit]

    def report(self, event: Event) -> None:
        if self.away:
            raise BusError
        with self.lock:
            if event.id in self.events:
                return
            self.events[event.id] = event
            known = self.notices[event.data["notice"]]
            state = "sent" if event.type == "notice.sent" else "failed" if event.data["final"] else "planned"
            due = event.data["retry_at"] or 0.0
            changed = replace(known, state=state, tries=known.tries + 1, due=due, note=event.data["error"])
            self.notices[known.id] = changed
            self.lock.notify_all()
        self.changed(changed)

    def changed(self, notice: OutNotice) -> None:
        """For those who are told of changes."""

    def states(self) -> dict[str, str]:
        return {one.id: one.state for one in self.notices.values()}


class TellingDesk(Desk):
    """The same through the outbox that `revops up` uses: each notice is given once per try."""

    def __init__(self, notices: list[OutNotice]) -> None:
        super().__init__(notices)
        self.outbox = Outbox()
        self.outbox.offer(notices)

    def due(self, now: float, limit: int) -> list[OutNotice]:
        return self.outbox.due(now, limit)

    def changed(self, notice: OutNotice) -> None:
        self.outbox.offer([notice])


class Gate:
    """A channel that takes a notice when the test lets it; keeps what it was given."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.at_once = 0
        self.most_at_once = 0

    def send(self, notice: OutNotice) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.began.append(notice.id)
        self.entered.release()
        assert self.let.acquire(timeout=10)
        self.at_once -= 1

    def close(self) -> None:
        self.let.release(1000)


class Refusing:
    """A channel that refuses the notices of whom it is told, and takes the others."""

    def __init__(self, refused: Callable[[OutNotice], Exception | None]) -> None:
        self.refused = refused
        self.took: list[str] = []

    def send(self, notice: OutNotice) -> None:
        if (error := self.refused(notice)) is not None:
            raise error
        self.took.append(notice.id)

    def close(self) -> None:
        pass


def note(name: str, to: str = "sales", after: float = 0.0) -> OutNotice:
    return OutNotice(name, f"key-{name}", to, f"subject {name}", "body", START + after, "r1")


@pytest.fixture(params=[Desk, TellingDesk], ids=["given again and again", "given once a try"])
def desk_of(request: pytest.FixtureRequest) -> type[Desk]:
    kind: type[Desk] = request.param
    return kind


@pytest.fixture
def http() -> Iterator[HttpServer]:
    server = HttpServer()
    yield server
    server.stop()


class Bench:
    """A notifier, its desk, and the time."""

    def __init__(self, desk: Desk, **channels: Channel) -> None:
        self.now = START
        self.desk = desk
        self.console = io.StringIO()
        named: dict[str, Channel] = {"console": ConsoleChannel("console", self.console), **channels}
        self.notifier = Notifier(named, "console", desk.due, desk.report, lambda: self.now)

    def tick(self, after: float = 0.0) -> int:
        """One tick `after` seconds later, and what it set off."""
        self.now += after
        taken = self.notifier.tick(self.now)
        assert self.notifier.wait(10)
        return taken


def test_a_notice_is_sent_once_and_reported(desk_of: type[Desk], tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    bench = Bench(desk_of([note("n1")]), sales=FileChannel("sales", path))
    assert [bench.tick(), bench.tick(), bench.tick()] == [1, 0, 0]
    assert len(path.read_text().splitlines()) == 1
    [event] = bench.desk.events.values()
    assert (event.type, event.subject, event.source, event.run) == ("notice.sent", "n1", "notifier", "r1")
    assert event.data == {"notice": "n1", "tries": 1, "error": "", "retry_at": None, "final": False}
    assert bench.notifier.idle()


def test_whoever_has_no_channel_of_that_name_is_served_by_the_default(desk_of: type[Desk]) -> None:
    bench = Bench(desk_of([note("n1", "owner"), note("n2", "person:ann"), note("n3", "saels")]))
    bench.tick()
    assert [f"to {name}:" in bench.console.getvalue() for name in ("owner", "person:ann", "saels")] == [True] * 3


def test_a_report_goes_to_the_reports(desk_of: type[Desk]) -> None:
    reports = Refusing(lambda _: None)
    bench = Bench(desk_of([note("n1", "report:forecast")]), **{"report:": reports})
    bench.tick()
    assert reports.took == ["n1"]


def test_a_default_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"add \[notify.channels.opz\]"):
        Notifier({}, "opz", Desk([]).due, Desk([]).report)


def test_a_slow_channel_holds_up_no_other(desk_of: type[Desk], tmp_path: Path) -> None:
    slow, path = Gate(), tmp_path / "ops.jsonl"
    desk = desk_of([*(note(f"s{n:03}", "slow", n) for n in range(600)), note("o1", "ops", 9999)])
    bench = Bench(desk, slow=slow, ops=FileChannel("ops", path))
    try:
        bench.notifier.tick(bench.now)
        assert slow.entered.acquire(timeout=10)
        for _ in range(5):
            bench.notifier.tick(bench.now)
        with desk.lock:
            assert desk.lock.wait_for(lambda: desk.states()["o1"] == "sent", 10)
        assert slow.began == ["s000"]
    finally:
        slow.close()
        bench.notifier.close(10)


def test_one_at_a_time_and_in_their_order(desk_of: type[Desk]) -> None:
    slow = Gate()
    desk = desk_of([note(f"n{n}", "slow", n) for n in range(6)])
    bench = Bench(desk, slow=slow)
    for _ in range(6):
        bench.notifier.tick(bench.now)
        assert slow.entered.acquire(timeout=10)
        bench.notifier.tick(bench.now)
        slow.let.release()
    assert bench.notifier.wait(10)
    assert slow.began == [f"n{n}" for n in range(6)]
    assert slow.most_at_once == 1
    assert set(desk.states().values()) == {"sent"}


def test_slack_down_and_up_again_gets_every_notice_once_and_in_order(desk_of: type[Desk]) -> None:
    down = HttpServer()
    down.stop()
    desk = desk_of([note(f"n{n}", after=n) for n in range(3)])
    slack = SlackWebhook("sales", down.url)
    bench = Bench(desk, sales=slack)
    for _ in range(20):
        bench.tick(after=1.0)
    assert set(desk.states().values()) == {"planned"}
    assert all("sales" in event.data["error"] for event in desk.events.values())
    assert {event.subject for event in desk.events.values()} == {"n0"}  # none passes the first one yet
    up = HttpServer(down.port)
    try:
        for _ in range(130):
            bench.tick(after=1.0)
        told = [json.loads(request.body)["text"] for request in up.requests]
    finally:
        up.stop()
        slack.close()
    assert told == ["subject n0", "subject n1", "subject n2"]
    assert set(desk.states().values()) == {"sent"}


def test_slack_is_left_alone_for_as_long_as_it_asks(desk_of: type[Desk], http: HttpServer) -> None:
    http.replies.append(Reply(429, b"rate_limited", {"Retry-After": "30"}))
    desk = desk_of([note("n1"), note("n2", after=1)])
    slack = SlackWebhook("sales", http.url)
    bench = Bench(desk, sales=slack)
    for _ in range(29):
        bench.tick(after=1.0)
    assert len(http.requests) == 1
    for _ in range(3):
        bench.tick(after=1.0)
    slack.close()
    assert [json.loads(request.body)["text"][-2:] for request in http.requests] == ["n1", "n1", "n2"]


def test_a_notice_that_is_refused_for_good_fails_at_once_and_the_next_one_goes(
    desk_of: type[Desk], http: HttpServer
) -> None:
    http.replies.append(Reply(400, b"invalid_payload"))
    desk = desk_of([note("n1"), note("n2", after=1)])
    slack = SlackWebhook("sales", http.url)
    bench = Bench(desk, sales=slack)
    bench.tick()
    slack.close()
    assert desk.states() == {"n1": "failed", "n2": "sent"}
    assert "invalid_payload" in desk.notices["n1"].note


def test_a_notice_that_keeps_failing_lets_the_others_pass(desk_of: type[Desk]) -> None:
    channel = Refusing(lambda one: ChannelError("poisoned") if one.id == "n1" else None)
    desk = desk_of([note("n1"), note("n2", after=1), note("n3", after=2)])
    bench = Bench(desk, sales=channel)
    for _ in range(300):
        bench.tick(after=1.0)
    assert channel.took == ["n2", "n3"]
    assert desk.notices["n1"].state == "planned"


def test_a_channel_that_is_away_is_asked_about_once_a_minute_however_many_wait(desk_of: type[Desk]) -> None:
    desk = desk_of([note(f"n{n}", after=n) for n in range(50)])
    bench = Bench(desk, sales=Refusing(lambda _: ChannelError("away")))
    for _ in range(1800):
        bench.tick(after=2.0)
    assert 50 <= len(desk.events) <= 75


def test_a_notice_is_given_up_after_a_day(desk_of: type[Desk]) -> None:
    channel = Refusing(lambda _: ChannelError("away"))
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=channel)
    while desk.states()["n1"] == "planned":
        assert bench.now < START + 2 * 86_400
        bench.tick(after=60.0)
    assert desk.states()["n1"] == "failed"
    assert 86_400 <= bench.now - START < 86_400 + 700
    assert [event.data["final"] for event in desk.events.values()].count(True) == 1


def test_a_notice_made_long_ago_still_gets_its_tries(desk_of: type[Desk]) -> None:
    left = [ChannelError("away")] * 3
    channel = Refusing(lambda _: left.pop() if left else None)
    desk = desk_of([note("n1", after=-3 * 86_400)])
    bench = Bench(desk, sales=channel)
    for _ in range(60):
        bench.tick(after=1.0)
    assert channel.took == ["n1"]


def test_a_channels_own_mistake_is_a_failure_like_any_other(desk_of: type[Desk]) -> None:
    left: list[Exception] = [KeyError("boom\x1b[2J")]
    channel = Refusing(lambda _: left.pop() if left else None)
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=channel)
    bench.tick()
    assert "\x1b" not in desk.notices["n1"].note
    assert "KeyError" in desk.notices["n1"].note
    bench.tick(after=10.0)
    assert desk.states() == {"n1": "sent"}


def test_while_redis_is_away_nothing_is_sent_twice(desk_of: type[Desk], tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=FileChannel("sales", path))
    desk.away = True
    bench.tick()
    for _ in range(3):
        with pytest.raises(BusError):
            bench.notifier.tick(bench.now)
    assert not bench.notifier.idle()
    desk.away = False
    bench.tick()
    assert len(path.read_text().splitlines()) == 1
    assert desk.states() == {"n1": "sent"}


def test_a_report_that_is_decided_late_sends_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "notices.jsonl"
    undecided: list[Event] = []
    desk = Desk([note("n1")])
    notifier = Notifier({"sales": FileChannel("sales", path)}, "sales", desk.due, undecided.append, lambda: START)
    for _ in range(5):
        notifier.tick(START)
        assert notifier.wait(10)
    assert len(path.read_text().splitlines()) == 1
    assert len(undecided) == 1


def test_the_same_notice_may_go_out_again_once_it_has_been_made_again(desk_of: type[Desk]) -> None:
    channel = Refusing(lambda _: None)
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=channel)
    bench.tick()
    desk.notices["n1"] = note("n1", after=31 * 86_400)
    desk.changed(desk.notices["n1"])
    bench.tick(after=31 * 86_400)
    assert channel.took == ["n1", "n1"]
    assert len(desk.events) == 2


CRASHING = """
import os, sys
from pathlib import Path
from revops_lite.models import OutNotice
from revops_lite.notifier import Notifier
from revops_lite.notify.file import FileChannel
one = OutNotice("n1", "key-n1", "sales", "subject n1", "body", 1750000000.0, "r1")
channel = FileChannel("sales", Path(sys.argv[1]))
notifier = Notifier({"sales": channel}, "sales", lambda *_: [one], lambda _: os._exit(9), lambda: 1750000000.0)
notifier.tick(1750000000.0)
notifier.wait(10)
"""


def test_a_crash_between_sending_and_report_repeats_the_notice_at_most_once(
    desk_of: type[Desk], tmp_path: Path
) -> None:
    path = tmp_path / "notices.jsonl"
    crashed = subprocess.run([sys.executable, "-c", CRASHING, str(path)], check=False, timeout=60)
    assert crashed.returncode == 9
    assert len(path.read_text().splitlines()) == 1
    bench = Bench(desk_of([note("n1")]), sales=FileChannel("sales", path))
    for _ in range(3):
        bench.tick(after=600.0)
    assert len(path.read_text().splitlines()) == 2
    assert bench.desk.states() == {"n1": "sent"}


def test_closing_begins_no_other_sending(desk_of: type[Desk]) -> None:
    slow = Gate()
    desk = desk_of([note("n1"), note("n2", after=1)])
    bench = Bench(desk, sales=slow)
    bench.notifier.tick(bench.now)
    assert slow.entered.acquire(timeout=10)
    bench.notifier.close(0.0)
    slow.let.release()
    assert bench.notifier.wait(10)
    assert desk.states() == {"n1": "sent", "n2": "planned"}
    assert bench.notifier.tick(bench.now) == 0


def test_closing_lets_a_sending_come_to_its_end(desk_of: type[Desk]) -> None:
    slow = Gate()
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=slow)
    bench.notifier.tick(bench.now)
    assert slow.entered.acquire(timeout=10)
    letting = threading.Thread(target=slow.let.release)
    letting.start()
    bench.notifier.close(10.0)
    letting.join()
    assert desk.states() == {"n1": "sent"}


def test_a_clock_set_back_does_not_silence_a_channel(desk_of: type[Desk]) -> None:
    channel = Refusing(lambda one: ChannelError("away") if one.id == "n1" else None)
    desk = desk_of([note("n1")])
    bench = Bench(desk, sales=channel)
    bench.now += 10 * 86_400
    bench.tick()
    bench.now = START
    desk.notices["n2"] = note("n2")
    desk.changed(desk.notices["n2"])
    bench.tick()
    assert channel.took == ["n2"]


def test_waits_grow_from_seconds_to_minutes_and_differ_between_notices() -> None:
    waits = [own_wait("n1", tries) for tries in range(1, 200)]
    assert 5.0 <= waits[0] <= 6.25
    assert all(5.0 <= wait <= 600.0 for wait in waits)
    assert all(later > earlier for earlier, later in pairwise(waits[:7]))
    assert len({own_wait(f"n{n}", 1) for n in range(100)}) > 90
    assert own_wait("n1", 3) == own_wait("n1", 3)


def test_a_channel_pauses_at_most_a_minute_unless_it_asks_for_more() -> None:
    assert lane_wait(0, None) == 0.0
    assert [lane_wait(n, ChannelError()) for n in (1, 2, 3, 9, 5000)] == [5.0, 10.0, 20.0, 60.0, 60.0]
    assert lane_wait(1, ChannelError(retry_after=0.0)) == 1.0
    assert asked_for(ChannelError(retry_after=1e12)) == 3600.0
