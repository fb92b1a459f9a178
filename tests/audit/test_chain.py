"""Lines and their chain, by hand."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from revops_lite.audit.chain import Head, check, parse, seal, unfinished

KEY = b"secret"
ENTRIES = [
    (f"{1000 + number}-0", json.dumps({"at": number, "note": 'ä \\u2028 ","mac":"'}).encode()) for number in range(8)
]


def sealed() -> list[bytes]:
    return [line for line, _ in seal(Head(), ENTRIES, KEY)]


def problems(lines: list[bytes]) -> list[tuple[str, int]]:
    return [(line.problem.kind, line.problem.seq) for line in check(lines, KEY, Head()) if line.problem]


def test_a_line_can_be_checked_with_nothing_but_hmac_and_sha256() -> None:
    before = "0" * 64
    for line in sealed():
        text = line.decode().rstrip("\n")
        body, mac = text[: text.rindex(',"mac":')], json.loads(text)["mac"]
        assert hmac.new(KEY, (before + body).encode(), hashlib.sha256).hexdigest() == mac
        before = mac


def test_a_line_holds_the_entry_as_it_was_committed() -> None:
    for number, (line, (id_, entry)) in enumerate(zip(sealed(), ENTRIES, strict=True), 1):
        found = parse(line)
        assert found.head is not None
        assert (found.head.seq, found.head.id, found.entry) == (number, id_, entry)
        assert json.loads(line)["entry"] == json.loads(entry)


def test_an_untouched_chain_has_no_problem() -> None:
    assert problems(sealed()) == []


def test_a_chain_goes_on_from_any_head() -> None:
    first = list(seal(Head(), ENTRIES[:3], KEY))
    rest = [line for line, _ in seal(first[-1][1], ENTRIES[3:], KEY)]
    assert [line for line, _ in first] + rest == sealed()


def test_a_changed_entry_is_one_problem_and_the_rest_stays_good() -> None:
    lines = sealed()
    lines[3] = lines[3].replace(b'"at": 3', b'"at": 4')
    assert problems(lines) == [("changed", 4)]


def test_a_removed_line_is_missed_by_its_number() -> None:
    lines = sealed()
    del lines[2:4]
    assert problems(lines) == [("missing", 3)]


def test_lines_that_changed_places_are_told() -> None:
    lines = sealed()
    lines[2], lines[5] = lines[5], lines[2]
    assert ("missing", 3) in problems(lines)
    assert ("misplaced", 3) in problems(lines)


def test_a_repeated_line_is_told_once() -> None:
    lines = sealed()
    lines.insert(6, lines[1])
    assert problems(lines) == [("misplaced", 2)]


def test_a_forged_line_with_the_right_number_is_told() -> None:
    lines = sealed()
    forged = next(seal(Head(3, "0-0"), [ENTRIES[3]], b"another key"))[0]
    lines[3] = forged
    assert problems(lines)[0] == ("changed", 4)


def test_what_is_no_line_is_told_and_what_follows_is_still_judged() -> None:
    lines = sealed()
    lines[3] = b"{}\n"
    lines[6] = lines[6].replace(b'"at": 6', b'"at": 9')
    assert problems(lines) == [("unreadable", 4), ("changed", 7)]


def test_an_inserted_nothing_is_told() -> None:
    lines = sealed()
    lines.insert(3, b"\n")
    assert problems(lines) == [("unreadable", 4)]


def test_numbers_of_absurd_length_are_no_numbers() -> None:
    line = sealed()[0]
    assert parse(line.replace(b'"seq":1', b'"seq":' + b"9" * 5000)).head is None
    assert parse(line.replace(b'"id":"1000-0"', b'"id":"' + b"9" * 5000 + b'-0"')).head is None


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_the_beginning_of_the_next_line_is_an_unfinished_write(cut: int) -> None:
    lines = sealed()
    head = parse(lines[2]).head
    assert head is not None
    assert unfinished(lines[3][:cut], head)
    assert unfinished(lines[3][:cut] + b"\0" * 100, head)


def test_anything_else_behind_the_end_is_not() -> None:
    lines = sealed()
    head = parse(lines[2]).head
    assert head is not None
    assert not unfinished(lines[4][:50], head)
    assert not unfinished(b"{}", head)
    assert not unfinished(lines[3].replace(b'"at": 3', b'"at": 4')[:-1], head)
