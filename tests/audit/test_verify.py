"""Verification: whatever is tampered with is found, and nothing else is."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fakeredis
import pytest

from bench import DAY, JANUARY, KEY, Bench
from revops_lite.audit.chain import fingerprint
from revops_lite.audit.folder import Trail, make_folder, months
from revops_lite.audit.verify import Anchor, Report, parse_anchor, verify
from revops_lite.errors import UsageError

Raws = list[tuple[str, bytes]]


class Case:
    """A sealed trail of 60 entries over three months, the stream it came from, and what may be done to them."""

    def __init__(self, folder: Path) -> None:
        bench = Bench(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))), folder)
        bench.commit(60, step=1.4 * DAY)
        bench.seal(bench.sealer())
        self.folder, self.raws, self.mark = folder, bench.raw(), bench.stream.sealed()
        (folder / "anchors.jsonl").unlink()  # the sealer's note is witness enough

    def known(self) -> list[Anchor]:
        assert self.mark
        assert self.mark["chain"] == fingerprint(KEY)
        return [Anchor(self.mark["seq"], self.mark["mac"], "note")]

    def verify(self, folder: Path, raws: Raws) -> Report:
        return verify(folder, KEY, self.known(), raws, JANUARY)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case") / "audit")


# ---- tampering: each changes something in the files or in the stream ---------------------------------------------


@dataclass
class Scene:
    """A copy to be spoilt."""

    folder: Path
    raws: Raws
    dice: random.Random

    def files(self) -> list[Path]:
        return months(self.folder)

    def state(self) -> object:
        return [(path.name, path.read_bytes()) for path in self.files()], list(self.raws)


def _lines(it: Scene, work: Callable[[list[bytes]], None]) -> None:
    path = it.dice.choice(it.files())
    lines = path.read_bytes().splitlines(keepends=True)
    work(lines)
    path.write_bytes(b"".join(lines))


def flip_a_bit(it: Scene) -> None:
    path = it.dice.choice(it.files())
    data = bytearray(path.read_bytes())
    data[it.dice.randrange(len(data))] ^= 1 << it.dice.randrange(8)
    path.write_bytes(data)


def change_a_value(it: Scene) -> None:
    def work(lines: list[bytes]) -> None:
        at = it.dice.randrange(len(lines))
        lines[at] = lines[at].replace(b'"IT"', b'"XX"')

    _lines(it, work)


def insert_a_byte(it: Scene) -> None:
    path = it.dice.choice(it.files())
    data = path.read_bytes()
    at = it.dice.randrange(len(data) + 1)
    path.write_bytes(data[:at] + bytes([it.dice.randrange(256)]) + data[at:])


def remove_a_stretch(it: Scene) -> None:
    path = it.dice.choice(it.files())
    data = path.read_bytes()
    at = it.dice.randrange(len(data))
    path.write_bytes(data[:at] + data[at + it.dice.randrange(1, 2000) :])


def remove_a_line(it: Scene) -> None:
    _lines(it, lambda lines: lines.pop(it.dice.randrange(len(lines))))


def repeat_a_line(it: Scene) -> None:
    _lines(it, lambda lines: lines.insert(it.dice.randrange(len(lines) + 1), it.dice.choice(lines)))


def swap_two_lines(it: Scene) -> None:
    def work(lines: list[bytes]) -> None:
        one, other = it.dice.sample(range(len(lines)), 2)
        lines[one], lines[other] = lines[other], lines[one]

    _lines(it, work)


def forge_with_another_key(it: Scene) -> None:
    """Everything written anew from some entry on, as by somebody who knows the format and not the key."""
    kept = it.dice.randrange(len(it.raws))
    shutil.rmtree(it.folder)
    make_folder(it.folder)
    Trail(it.folder, KEY)
    true, false = Trail(it.folder, KEY), Trail(it.folder, b"guess")
    true.open()
    if kept:
        true.append(it.raws[:kept])
    false.open()
    false.append([(id_, entry.replace(b'"IT"', b'"XX"')) for id_, entry in it.raws[kept:]])


def remove_a_file(it: Scene) -> None:
    it.dice.choice(it.files()).unlink()


def swap_two_files(it: Scene) -> None:
    one, other = it.dice.sample(it.files(), 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def copy_a_file_over_another(it: Scene) -> None:
    one, other = it.dice.sample(it.files(), 2)
    one.write_bytes(other.read_bytes())


def add_a_file(it: Scene) -> None:
    name = it.dice.choice(["2025-12", "2026-07", "0000-00", "2026-99"])
    (it.folder / f"{name}.jsonl").write_bytes(it.dice.choice(it.files()).read_bytes())


def cut_off_the_end(it: Scene) -> None:
    path = it.files()[-1]
    data = path.read_bytes()
    path.write_bytes(data[: it.dice.randrange(len(data))])


def cut_off_lines(it: Scene) -> None:
    path = it.files()[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: it.dice.randrange(len(lines))]))


def change_an_entry_in_redis(it: Scene) -> None:
    at = it.dice.randrange(len(it.raws))
    it.raws[at] = (it.raws[at][0], it.raws[at][1].replace(b'"IT"', b'"XX"'))


def remove_an_entry_from_redis(it: Scene) -> None:
    del it.raws[it.dice.randrange(len(it.raws))]


def remove_the_beginning_from_redis(it: Scene) -> None:
    del it.raws[: it.dice.randrange(1, len(it.raws) + 1)]


def add_an_entry_to_redis(it: Scene) -> None:
    at = it.dice.randrange(len(it.raws) - 1)
    milliseconds = int(it.raws[at][0].partition("-")[0])
    it.raws.insert(at + 1, (f"{milliseconds + it.dice.randrange(1, 1000)}-0", b'{"what":"forged"}'))


def exchange_entries_in_redis(it: Scene) -> None:
    one, other = it.dice.sample(range(len(it.raws)), 2)
    it.raws[one], it.raws[other] = (it.raws[one][0], it.raws[other][1]), (it.raws[other][0], it.raws[one][1])


TAMPERINGS = [
    flip_a_bit,
    change_a_value,
    insert_a_byte,
    remove_a_stretch,
    remove_a_line,
    repeat_a_line,
    swap_two_lines,
    forge_with_another_key,
    remove_a_file,
    swap_two_files,
    copy_a_file_over_another,
    add_a_file,
    cut_off_the_end,
    cut_off_lines,
    change_an_entry_in_redis,
    remove_an_entry_from_redis,
    remove_the_beginning_from_redis,
    add_an_entry_to_redis,
    exchange_entries_in_redis,
]
EACH = 22  # times 19: 418


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda tamper: tamper.__name__)
def test_every_tampering_is_found(case: Case, tmp_path: Path, tamper: Callable[[Scene], None]) -> None:
    for seed in range(EACH):
        scene = Scene(tmp_path / str(seed), list(case.raws), random.Random(f"{tamper.__name__} {seed}"))
        shutil.copytree(case.folder, scene.folder)
        before = scene.state()
        tamper(scene)
        assert scene.state() != before, f"seed {seed} has changed nothing"
        report = case.verify(scene.folder, scene.raws)
        assert not report.ok, f"seed {seed} was not found"
        assert all(str(finding) for finding in report.findings)
        shutil.rmtree(scene.folder)


def test_an_untouched_trail_is_found_right(case: Case) -> None:
    report = case.verify(case.folder, case.raws)
    assert (report.ok, report.entries, report.files, report.compared, report.unsealed) == (True, 60, 3, 60, 0)


# ---- what exactly is said ----------------------------------------------------------------------------------------


@pytest.fixture
def copy(case: Case, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(case.folder, folder)
    return folder


def test_a_finding_names_file_line_and_sequence(copy: Path) -> None:
    path = months(copy)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"IT"', b'"XX"')
    path.write_bytes(b"".join(lines))
    first = len(months(copy)[0].read_bytes().splitlines())
    (finding,) = verify(copy, KEY, [], None, 0.0).findings
    assert (finding.file, finding.line, finding.seq, finding.kind) == ("2026-02.jsonl", 5, first + 5, "changed")
    assert str(finding).startswith("2026-02.jsonl:5: ")


def test_a_removed_file_is_told_by_what_is_missing(copy: Path) -> None:
    january, february, _ = (len(path.read_bytes().splitlines()) for path in months(copy))
    months(copy)[1].unlink()
    (finding,) = verify(copy, KEY, [], None, 0.0).findings
    assert (finding.file, finding.line, finding.kind) == ("2026-03.jsonl", 1, "missing")
    assert f"sequences {january + 1} to {january + february} are missing" in finding.what


def test_swapped_files_are_told_in_few_words(copy: Path) -> None:
    swap_two_files(Scene(copy, [], random.Random(3)))
    assert len(verify(copy, KEY, [], None, 0.0).findings) < 5


def test_another_key_opens_nothing(case: Case) -> None:
    report = verify(case.folder, b"another", [], None, 0.0)
    assert next((finding.kind, finding.line) for finding in report.findings) == ("changed", 1)
    assert len(report.findings) == 3  # a row in each file


def test_without_a_witness_a_missing_end_cannot_be_seen_and_with_one_it_is(case: Case, copy: Path) -> None:
    path = months(copy)[-1]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    assert verify(copy, KEY, [], None, 0.0).ok
    (finding,) = verify(copy, KEY, case.known(), None, 0.0).findings
    assert finding.kind == "truncated"
    assert "ends with sequence 57, but was sealed up to 60 at least" in finding.what


def test_a_trail_that_is_gone_altogether_is_told(case: Case, copy: Path) -> None:
    for path in months(copy):
        path.unlink()
    assert [finding.kind for finding in verify(copy, KEY, case.known(), None, 0.0).findings] == ["truncated"]


def test_an_anchor_of_another_trail_is_told(case: Case) -> None:
    anchor = parse_anchor(f"12:{'ab' * 32}")
    (finding,) = verify(case.folder, KEY, [anchor], None, 0.0).findings
    assert (finding.kind, finding.seq) == ("anchor", 12)


def test_an_anchor_may_be_shortened(case: Case) -> None:
    head = verify(case.folder, KEY, [], None, 0.0).head
    anchor = parse_anchor(f" {head.seq}:{head.mac.decode()[:16].upper()}\n")
    report = verify(case.folder, KEY, [anchor], None, 0.0)
    assert (report.ok, report.anchors) == (True, 1)


@pytest.mark.parametrize("text", ["", "12", "x:" + "a" * 64, "12:" + "a" * 15, "12:" + "a" * 65, "12:" + "g" * 64])
def test_an_anchor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write SEQ:MAC"):
        parse_anchor(text)


def test_a_line_of_the_anchors_that_is_none_is_told(copy: Path) -> None:
    (copy / "anchors.jsonl").write_text("nonsense\n")
    (finding,) = verify(copy, KEY, [], None, 0.0).findings
    assert (finding.file, finding.line) == ("anchors.jsonl", 1)


def test_a_write_that_was_cut_off_is_no_finding(case: Case, copy: Path) -> None:
    path = months(copy)[-1]
    path.write_bytes(path.read_bytes() + b'{"seq":61,"id":"17')
    report = case.verify(copy, case.raws)
    assert report.ok
    assert [note for note in report.notes if "cut off" in note] == report.notes != []


def test_entries_older_than_redis_keeps_them_need_not_be_there(case: Case) -> None:
    report = verify(case.folder, KEY, [], case.raws[40:], JANUARY + 55 * DAY)
    assert (report.ok, report.compared) == (True, 20)


def test_entries_that_are_not_sealed_yet_are_counted(case: Case) -> None:
    later = [(f"{int((JANUARY + 200 * DAY) * 1000) + number}-0", b"{}") for number in range(4)]
    report = verify(case.folder, KEY, [], [*case.raws, *later], JANUARY)
    assert (report.ok, report.unsealed) == (True, 4)


def test_a_trail_may_be_verified_while_it_is_written(tmp_path: Path) -> None:
    bench = Bench(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))), tmp_path / "audit")
    stop, sealer = threading.Event(), bench.sealer()
    bench.commit(1)
    bench.seal(sealer)

    def write() -> None:
        number = 0
        while number < 100 and not (number and stop.is_set()):
            number += 1
            bench.commit(20, JANUARY + number * 100)
            bench.seal(sealer)

    def verified() -> Report:
        return verify(bench.folder, KEY, [], bench.stream.after("0-0"), 0.0)

    writer, reports = threading.Thread(target=write), [verified()]
    writer.start()
    try:
        reports += [verified() for _ in range(40)]
    finally:
        stop.set()
        writer.join()
    reports.append(verified())
    assert [finding for report in reports for finding in report.findings] == []
    assert reports[-1].entries > reports[0].entries


def test_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = b'{"at":1767225600.0,"what":"write.applied","who":"enrichment","note":"%s"}' % (b"x" * 250)
    trail = Trail(tmp_path / "audit", KEY)
    make_folder(trail.folder)
    trail.open()
    raws = [(f"{int(JANUARY * 1000) + number}-0", entry) for number in range(50_000)]
    trail.append(raws)
    start = time.perf_counter()
    report = verify(trail.folder, KEY, [], None, 0.0)
    took = time.perf_counter() - start
    with capsys.disabled():
        print(f"\n  {report.entries:,} lines verified in {took:.2f} s: {report.entries / took:,.0f} a second")
    assert (report.ok, report.entries) == (True, 50_000)
