"""The sealer: everything once, in order, whatever happens to it; and when it has to refuse."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from bench import DAY, JANUARY, KEY, Bench
from installation import until
from revops_lite.audit.chain import Head
from revops_lite.audit.folder import Trail, anchors, entries, locked, read_key
from revops_lite.audit.seal import BATCH, RETRY, Sealer
from revops_lite.audit.verify import verify
from revops_lite.errors import AuditError, BusError, CredentialError
from revops_lite.server.lease import Lease
from revops_lite.store import keys
from revops_lite.store.audit import AuditStream
from revops_lite.store.client import Clients
from revops_lite.store.store import Store


def all_sealed(bench: Bench) -> bool:
    """The files hold the stream, entry by entry, and nothing else; the chain is whole."""
    found = [(id_, raw) for _, id_, raw in entries(bench.folder)]
    report = verify(bench.folder, KEY, [], bench.raw(), 0.0)
    return found == bench.raw() and report.ok and report.unsealed == 0


# ---- following the stream ----------------------------------------------------------------------------------------


def test_what_was_committed_is_sealed_once_and_in_order(bench: Bench) -> None:
    sealer = bench.sealer()
    bench.commit(50)
    bench.seal(sealer)
    bench.commit(7, JANUARY + 100, name="deal")
    bench.seal(sealer)
    bench.seal(sealer)
    assert all_sealed(bench)
    assert len(bench.raw()) == 57


def test_a_backlog_is_sealed_batch_by_batch(bench: Bench) -> None:
    bench.commit(BATCH * 2 + 3, step=0.01)
    sealer = bench.sealer()
    assert sealer.tick(bench.now) == 1
    bench.seal(sealer)
    assert all_sealed(bench)


def test_a_new_sealer_goes_on_where_the_files_end(bench: Bench) -> None:
    for round_ in range(5):
        bench.commit(10, JANUARY + round_ * 100)
        bench.seal(bench.sealer())
    assert all_sealed(bench)


def test_the_chain_goes_on_over_months(bench: Bench) -> None:
    bench.commit(120, step=DAY)
    bench.seal(bench.sealer())
    assert list(bench.files()) == ["2026-01.jsonl", "2026-02.jsonl", "2026-03.jsonl", "2026-04.jsonl"]
    assert all_sealed(bench)


def test_a_month_that_begins_in_the_middle_of_a_batch_may_be_killed_between_its_files(bench: Bench) -> None:
    bench.commit(60, step=DAY)
    bench.seal(bench.sealer())
    whole = bench.files()
    (bench.folder / "2026-02.jsonl").write_bytes(b"")
    (bench.folder / "2026-03.jsonl").unlink()
    bench.seal(bench.sealer())
    assert bench.files() == whole


def test_two_sealers_on_one_folder_double_nothing(bench: Bench) -> None:
    one, other = bench.sealer(), bench.sealer()
    for round_ in range(10):
        bench.commit(5, JANUARY + round_ * 100)
        sealers = [one, other] if round_ % 3 else [other, one]
        for sealer in sealers:
            bench.seal(sealer)
    assert all_sealed(bench)


def test_an_entry_that_nobody_of_us_wrote_is_sealed_as_it_is(bench: Bench) -> None:
    bench.commit(2)
    for number, fields in enumerate([{"a": b"not json"}, {"b": b"\n\xff"}, {"a": b'{"at":1}', "b": b"2"}]):
        bench.redis.xadd(keys.AUDIT, fields, id=f"{int(JANUARY * 1000) + 5000 + number}-0")
    bench.seal(bench.sealer())
    assert all_sealed(bench)
    assert all(json.loads(line) for line in bench.bytes().splitlines())


def test_a_stream_id_from_the_end_of_time_is_sealed(bench: Bench) -> None:
    bench.commit(3)
    bench.redis.xadd(keys.AUDIT, {"a": b"{}"}, id=f"{2**63}-0")
    bench.seal(bench.sealer())
    assert all_sealed(bench)


# ---- kills -------------------------------------------------------------------------------------------------------


def test_a_last_line_torn_anywhere_is_written_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.commit(6)
    bench.seal(bench.sealer())
    path = bench.folder / "2026-01.jsonl"
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for cut in range(start, len(whole)):
        path.write_bytes(whole[:cut])
        bench.redis.delete(keys.SEALED)  # whoever was killed here had not come to noting it
        caplog.clear()
        bench.seal(bench.sealer())
        assert path.read_bytes() == whole, cut
        assert ("last write was cut off" in caplog.text) == (cut > start), cut


def test_zeros_that_a_power_cut_left_behind_are_cut_off(bench: Bench) -> None:
    bench.commit(3)
    bench.seal(bench.sealer())
    path = bench.folder / "2026-01.jsonl"
    whole = path.read_bytes()
    for torn in (whole + b"\0" * 4096, whole[:-30] + b"\0" * 30, whole[:-1] + b"\0" * 5):
        path.write_bytes(torn)
        bench.seal(bench.sealer())
        assert path.read_bytes() == whole


def test_a_tail_that_no_sealer_wrote_is_left_alone_and_told(bench: Bench) -> None:
    bench.commit(3)
    bench.seal(bench.sealer())
    path = bench.folder / "2026-01.jsonl"
    foreign = path.read_bytes() + b'{"seq":9,"id":"1'
    path.write_bytes(foreign)
    bench.commit(1, JANUARY + 50)
    with pytest.raises(AuditError, match=r"2026-01\.jsonl: behind sequence 3 .* what no sealer wrote"):
        bench.sealer().check(redis_is_new=False)
    sealer = bench.sealer()
    assert sealer.tick(bench.now) == 0
    assert path.read_bytes() == foreign
    assert [event.type for event in bench.events] == ["audit.alarm"]
    assert "no sealer wrote" in bench.events[0].data["why"]


CHILD = """
import sys
from pathlib import Path
from redis import Redis
from revops_lite.audit.folder import Trail
from revops_lite.audit.seal import Sealer
from revops_lite.store.audit import AuditStream
from revops_lite.store.client import Clients
sealer = Sealer(Trail(Path(sys.argv[1]), sys.argv[2].encode()), AuditStream(Redis.from_url(sys.argv[3])), print)
print("ready", flush=True)
while True:
    sealer.tick(1767225600.0)
"""


@pytest.mark.real
def test_a_sealer_that_is_killed_again_and_again_loses_and_doubles_nothing(
    real_redis: Redis, server: Lease, tmp_path: Path
) -> None:
    bench, dice = Bench(real_redis, tmp_path / "audit"), random.Random(7)
    for round_ in range(12):
        words = [sys.executable, "-c", CHILD, str(bench.folder), KEY.decode(), server.url]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ)
        try:
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            before, pipe = len(bench.bytes()), real_redis.pipeline(transaction=False)
            for number in range(dice.randrange(50, 400)):
                stamp = int((JANUARY + round_ * 3 * DAY) * 1000) + number
                entry = {"a": json.dumps({"at": number, "note": "x" * dice.randrange(2000)})}
                pipe.xadd(keys.AUDIT, entry, f"{stamp}-0")
            pipe.execute()
            until(partial(bench.longer_than, before + dice.randrange(20_000)))
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()
    bench.seal(bench.sealer())
    assert all_sealed(bench)


def test_a_full_disk_is_told_and_nothing_is_lost(bench: Bench) -> None:
    sealer = bench.sealer()
    bench.commit(20)
    bench.seal(sealer)
    bench.commit(50, JANUARY + 100)
    before, (soft, hard) = bench.bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000, hard))
    try:
        assert sealer.tick(bench.now) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bench.bytes() == before
    assert [event.type for event in bench.events] == ["audit.alarm"]
    assert sealer.tick(bench.now + 1) == 0  # it does not try again at once
    assert bench.bytes() == before
    bench.now += 60
    bench.seal(sealer)
    assert all_sealed(bench)


def test_trouble_is_told_once_a_day(bench: Bench) -> None:
    bench.commit(1)
    bench.seal(bench.sealer())
    (bench.folder / "2026-01.jsonl").write_bytes(b"nonsense\n")
    for minutes in (0, 1, 2, 24 * 60):
        bench.sealer().tick(JANUARY + minutes * 60)
    ids = [event.id for event in bench.events]
    assert len(ids) == 4
    assert len(set(ids[:3])) == 1
    assert ids[0] != ids[3]


# ---- Redis and its memory ----------------------------------------------------------------------------------------


def test_what_is_not_sealed_is_never_trimmed(bench: Bench) -> None:
    store, later = Store(bench.redis), JANUARY + 400 * DAY
    bench.commit(500)
    store.trim(later)
    assert len(bench.raw()) == 500
    sealer = bench.sealer()
    bench.seal(sealer)
    bench.commit(10, JANUARY + 1000)
    store.trim(later)
    left = [id_ for id_, _ in bench.raw()]
    assert len(left) < 510  # the server trims in blocks, so some may stay
    assert sealer._head is not None
    assert sealer._head.id in left
    bench.seal(sealer)
    report = verify(bench.folder, KEY, [], bench.raw(), later - 90 * DAY)
    assert (report.ok, report.entries) == (True, 510)


def test_where_enough_has_come_since_what_is_sealed_goes_whatever_its_age(bench: Bench) -> None:
    store, now = Store(bench.redis), JANUARY + 500
    ids = bench.commit(500)
    store.trim(now, ids[400])
    assert len(bench.raw()) == 500, "nothing is sealed"
    bench.seal(bench.sealer())
    store.trim(now, ids[400])
    left = [id_ for id_, _ in bench.raw()]
    assert left[-100:] == ids[400:]
    assert len(left) < 500
    must_hold = bench.stream.must_hold(now)
    report = verify(bench.folder, KEY, [], bench.raw(), must_hold)
    assert (report.ok, report.entries, report.compared) == (True, 500, len(left))
    bench.redis.xtrim(keys.AUDIT, maxlen=99, approximate=False)
    (lost,) = verify(bench.folder, KEY, [], bench.raw(), must_hold).findings
    assert lost.kind == "stream"
    assert ids[400] in lost.what, "the youngest that nobody had leave to take away"
    store.trim(now, ids[300])
    assert bench.stream.must_hold(now) == must_hold, "what has gone does not come back"


def test_a_note_in_redis_that_makes_no_sense_allows_no_trimming(bench: Bench) -> None:
    bench.commit(300)
    for nonsense in (b"", b"x", b"[]", b'{"id":"9999999999999-0"}', b'{"chain":"a","seq":1,"id":"x","mac":"b"}'):
        bench.redis.set(keys.SEALED, nonsense)
        Store(bench.redis).trim(JANUARY + 400 * DAY)
        assert len(bench.raw()) == 300


def test_entries_that_redis_has_lost_stay_in_the_files_and_it_is_told(bench: Bench) -> None:
    sealer = bench.sealer()
    ids = bench.commit(20)
    bench.seal(sealer)
    bench.redis.xdel(keys.AUDIT, *ids[15:])  # as after a crash that took the last second
    bench.commit(5, JANUARY + 100, name="deal")
    bench.seal(sealer)
    report = verify(bench.folder, KEY, [], bench.raw(), 0.0)
    assert report.ok
    assert [f"Redis lost entries after {ids[14]}" in note for note in report.notes] == [True]
    sealed = [id_ for _, id_, _ in entries(bench.folder)]
    assert sealed == [*ids, ids[14], *(id_ for id_, _ in bench.raw()[-5:])]
    assert report.entries == 26


def test_what_comes_after_a_loss_is_sealed_even_where_the_clock_went_back(bench: Bench) -> None:
    sealer = bench.sealer()
    bench.commit(20, step=10)
    bench.seal(sealer)
    kept = bench.raw()[:15]
    bench.redis.delete(keys.AUDIT)
    for id_, raw in kept:
        bench.redis.xadd(keys.AUDIT, {"a": raw}, id=id_)
    bench.commit(3, JANUARY + 155, step=5, name="deal")
    bench.seal(sealer)
    bench.seal(bench.sealer())
    report = verify(bench.folder, KEY, [], bench.raw(), 0.0)
    assert (report.findings, report.entries) == ([], 24)


def test_an_emptied_stream_adds_nothing_to_the_trail_until_something_comes(bench: Bench) -> None:
    sealer = bench.sealer()
    bench.commit(5)
    bench.seal(sealer)
    whole = bench.bytes()
    bench.redis.delete(keys.AUDIT)
    bench.seal(sealer)
    assert bench.bytes() == whole  # a backup that is put in place now goes on where it ends
    assert "Redis is empty, but" in bench.events[-1].data["why"]
    bench.commit(4, JANUARY + 100)
    bench.now += RETRY + 1
    bench.seal(sealer)
    bench.seal(sealer)
    report = verify(bench.folder, KEY, [], bench.raw(), 0.0)
    assert (report.findings, report.entries) == ([], 10)


def test_an_emptied_redis_is_not_begun_anew(bench: Bench) -> None:
    bench.sealer().check(redis_is_new=True)  # nothing is sealed: this is a new installation
    bench.commit(5)
    bench.seal(bench.sealer())
    bench.sealer().check(redis_is_new=True)  # the stream is still there
    bench.redis.flushall()
    bench.sealer().check(redis_is_new=False)
    with pytest.raises(AuditError, match=r"Redis is empty, .* 5 audit entries .* Restore var/redis .* move var/audit"):
        bench.sealer().check(redis_is_new=True)


def test_lines_cut_off_behind_the_sealers_back_are_sealed_again_and_witnessed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.commit(10)
    bench.seal(bench.sealer())
    whole = bench.bytes()
    path = bench.folder / "2026-01.jsonl"
    (bench.folder / "anchors.jsonl").unlink()
    for _ in range(2):
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:6]))
        bench.seal(bench.sealer())
    assert "ends with sequence 6, but 10 were sealed" in caplog.text
    assert bench.bytes() == whole
    assert [line["seq"] for line in anchors(bench.folder) if line["why"] == "mark"] == [10]
    assert {(event.type, event.id) for event in bench.events} == {("audit.alarm", bench.events[0].id)}


def test_a_new_trail_beside_a_redis_that_knows_an_older_one_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.commit(10)
    bench.seal(bench.sealer())
    other = Bench(bench.redis, tmp_path / "other")
    sealer = Sealer(Trail(other.folder, b"another key"), other.stream, other.events.append)
    bench.seal(sealer)
    assert ["an earlier one had 10 entries" in event.data["why"] for event in other.events] == [True]
    assert verify(other.folder, b"another key", [], other.raw(), 0.0).entries == 10


# ---- anchors -----------------------------------------------------------------------------------------------------


def test_the_head_is_anchored_once_a_day_also_over_restarts(bench: Bench) -> None:
    bench.commit(1)
    for hours in (0, 1, 23, 24, 25, 49):
        bench.now = JANUARY + hours * 3600
        bench.seal(bench.sealer("ops"))
    assert [event.id for event in bench.events] == [f"audit-anchor|2026-01-0{day}" for day in (1, 2, 3)]
    assert [line["why"] for line in anchors(bench.folder)] == ["daily"] * 3
    report = verify(bench.folder, KEY, [], None, 0.0)
    assert (report.ok, report.anchors) == (True, 3)
    head = {"day": "2026-01-03", "seq": 1, "mac": report.head.mac.decode(), "to": "ops"}
    assert bench.events[-1].data == head


def test_without_a_channel_the_head_stays_in_the_folder(bench: Bench) -> None:
    bench.commit(1)
    bench.seal(bench.sealer())
    assert bench.events == []
    assert [line["why"] for line in anchors(bench.folder)] == ["daily"]


def test_a_stop_seals_the_rest_and_notes_the_head_once(bench: Bench) -> None:
    sealer = bench.sealer()
    bench.seal(sealer)
    bench.commit(30)
    sealer.close()
    assert all_sealed(bench)
    assert [(line["why"], line["seq"]) for line in anchors(bench.folder)] == [("stop", 30)]
    bench.sealer().close()
    assert len(anchors(bench.folder)) == 1


def test_an_anchor_behind_a_torn_one_is_a_line_of_its_own(bench: Bench) -> None:
    trail = Trail(bench.folder, KEY)
    trail.anchor(Head(1, "1-0", b"a" * 64), "daily", JANUARY)
    path = bench.folder / "anchors.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    trail.anchor(Head(2, "2-0", b"b" * 64), "stop", JANUARY)
    assert [line.get("seq") for line in anchors(bench.folder)] == [None, 2]


# ---- the key and the folder --------------------------------------------------------------------------------------


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    key = read_key(folder, "", tmp_path, make=True)
    assert len(bytes.fromhex(key.decode())) == 32
    assert read_key(folder, "", tmp_path, make=True) == key
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "key").chmod(0o644)
    with pytest.raises(CredentialError, match="chmod 600"):
        read_key(folder, "", tmp_path, make=False)


def test_a_trail_without_its_key_gets_no_new_one(bench: Bench) -> None:
    bench.commit(1)
    bench.seal(bench.sealer())
    with pytest.raises(AuditError, match="put it back from a backup, or move"):
        read_key(bench.folder, "", bench.folder, make=True)
    assert not (bench.folder / "key").exists()


def test_the_key_may_be_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVOPS_AUDIT_KEY", "kept in a vault")
    assert read_key(tmp_path / "audit", "env:REVOPS_AUDIT_KEY", tmp_path, make=True) == b"kept in a vault"
    assert not (tmp_path / "audit").exists()


def test_the_files_are_private(bench: Bench) -> None:
    bench.commit(1)
    bench.seal(bench.sealer())
    assert {path.stat().st_mode & 0o777 for path in bench.folder.iterdir()} == {0o600}


def test_whoever_looks_does_not_stop_others_from_looking(bench: Bench) -> None:
    with locked(bench.folder, write=False), locked(bench.folder, write=False):
        pass


def test_redis_being_away_is_for_the_service_to_tell(tmp_path: Path) -> None:
    with Clients(f"unix://{tmp_path}/nobody.sock") as clients, pytest.raises(BusError):
        Sealer(Trail(tmp_path / "audit", KEY), AuditStream(clients.commands), print).tick(JANUARY)
