"""The number of the data's format: written once, checked always, raised step by step, never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from revops_lite.errors import DataVersion, Fenced
from revops_lite.store import codec, keys, version
from revops_lite.store.commit import Command
from revops_lite.store.store import Lead, Store
from revops_lite.store.upgrade import upgrade

NOW = 2000.0
RUNS = 5


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Two steps over five documents of an invented older form; `left` transactions, then the process is killed."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.changed: list[str] = []

    def renamed(self, redis: Any) -> Iterator[list[Command]]:
        """old:<n> becomes mid:<n>."""
        yield from self._moved(redis, "old", "mid")

    def counted(self, redis: Any) -> Iterator[list[Command]]:
        """mid:<n> becomes new:<n>."""
        yield from self._moved(redis, "mid", "new")

    def _moved(self, redis: Any, before: str, after: str) -> Iterator[list[Command]]:
        for number in range(RUNS):
            raw = redis.get(f"{before}:{number}")
            if raw is None:
                continue  # done before we were killed
            if not self.left:
                raise Killed
            self.left -= 1
            self.changed.append(f"{before}:{number}")
            yield [("SET", f"{after}:{number}", raw, "EX", 60), ("DEL", f"{before}:{number}")]


def third(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> None:
    """This program's data have version 3."""
    monkeypatch.setattr(version, "CURRENT", 3)
    monkeypatch.setattr(version, "STEPS", {1: steps.renamed, 2: steps.counted})


def number(redis: Any) -> int:
    return int(redis.hget(keys.VERSION, "data") or 0)


def audited(redis: Any) -> list[Any]:
    return [codec.load("audit", fields[b"a"]) for _, fields in redis.xrange(keys.AUDIT)]


def old_data(redis: Any) -> None:
    for each in range(RUNS):
        redis.set(f"old:{each}", f"value {each}", ex=60)


def test_data_that_are_just_begun_get_todays_number(store: Store) -> None:
    version.admit(store.redis, upgrades=False)
    assert number(store.redis) == 0  # a command that only looks changes nothing
    version.begin(store.redis)
    assert number(store.redis) == version.CURRENT
    assert store.redis.hget(keys.VERSION, "program").decode() == version.program()


def test_data_without_a_number_are_of_the_first_version_and_get_it_from_up(store: Store, lead: Lead) -> None:
    version.begin(store.redis)
    assert number(store.redis) == 0  # a command does not say of what it finds that it is today's
    upgrade(store, lead, NOW)
    assert number(store.redis) == version.CURRENT
    steps = [(entry.before, entry.after) for entry in audited(store.redis) if entry.what == "data.upgraded"]
    assert steps == [(at, at + 1) for at in range(version.FIRST, version.CURRENT)]
    before = store.redis.hgetall(keys.VERSION)
    upgrade(store, lead, NOW)
    assert store.redis.hgetall(keys.VERSION) == before


@pytest.mark.parametrize("upgrades", [True, False])
def test_newer_data_are_refused_with_both_versions_and_the_mend(store: Store, upgrades: bool) -> None:
    store.redis.hset(keys.VERSION, mapping={"data": version.CURRENT + 6, "program": "7.8.9"})
    before = store.redis.hgetall(keys.VERSION)
    with pytest.raises(DataVersion) as refused:
        version.admit(store.redis, upgrades=upgrades)
    for word in (f"version {version.CURRENT + 6}", f"up to {version.CURRENT}", "install revops-lite 7.8.9 or newer"):
        assert word in str(refused.value)
    assert version.program() in str(refused.value)
    assert store.redis.hgetall(keys.VERSION) == before


@pytest.mark.parametrize("nonsense", [b"", b"x", b"0", b"-1", b"1.5", b"\xff\x00"])
def test_a_number_that_is_none_is_refused(store: Store, nonsense: bytes) -> None:
    store.redis.hset(keys.VERSION, "data", nonsense)
    with pytest.raises(DataVersion, match=r"does not hold a version.*Mend: restore"):
        version.admit(store.redis, upgrades=True)


def test_older_data_are_upgraded_step_by_step(store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    old_data(store.redis)
    steps = Steps(99)
    third(monkeypatch, steps)
    upgrade(store, lead, NOW)
    assert [store.redis.get(f"new:{each}").decode() for each in range(RUNS)] == [f"value {each}" for each in range(5)]
    assert number(store.redis) == 3
    assert len(steps.changed) == 2 * RUNS
    told = [(entry.before, entry.after) for entry in audited(store.redis) if entry.what == "data.upgraded"]
    assert told == [(1, 2), (2, 3)]


def test_an_upgrade_killed_before_any_transaction_comes_to_the_same_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in range(2 * RUNS):
        store.redis.flushall()
        held = store.begin("host:1:a", NOW, True)
        old_data(store.redis)
        steps = Steps(left)
        third(monkeypatch, steps)
        with pytest.raises(Killed):
            upgrade(store, held, NOW)
        assert number(store.redis) == (0 if left < RUNS else 2)
        steps.left = 99
        upgrade(store, store.begin("host:2:b", NOW, True), NOW)
        assert sorted(store.redis.keys("new:*")) == [f"new:{each}".encode() for each in range(RUNS)]
        assert store.redis.keys("old:*") + store.redis.keys("mid:*") == []
        assert len(steps.changed) == 2 * RUNS  # nothing was done twice
        assert [e.after for e in audited(store.redis) if e.what == "data.upgraded"] == [2, 3]


def test_a_controller_that_has_been_replaced_upgrades_nothing(
    store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_data(store.redis)
    third(monkeypatch, Steps(99))
    store.begin("host:2:b", NOW, True)
    with pytest.raises(Fenced):
        upgrade(store, lead, NOW)
    assert len(store.redis.keys("old:*")) == RUNS


def test_a_step_that_is_not_there_any_more_is_a_reason_to_refuse(
    store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(99)
    third(monkeypatch, steps)
    monkeypatch.delitem(version.STEPS, 1)
    with pytest.raises(DataVersion, match=r"cannot upgrade from version 1\. Nothing was changed\. Mend: start"):
        upgrade(store, lead, NOW)
    assert steps.changed == []


def test_commands_leave_older_data_to_up(store: Store, lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    del lead
    third(monkeypatch, Steps(99))
    with pytest.raises(DataVersion, match=r"have version 1, this program's is 3\. Mend: start `revops up`"):
        version.admit(store.redis, upgrades=False)


def test_every_version_up_to_todays_can_be_upgraded() -> None:
    assert set(version.STEPS) == set(range(version.FIRST, version.CURRENT))
