"""The chain: each line vouches for itself and, through the line before it, for all before it. Pure.

A line is one JSON object, spelled in exactly one way, and ends with a line feed:

    {"seq":42,"id":"1767225600000-0","entry":{...},"mac":"<64 hex digits>"}

`seq` counts from 1 without a gap over all files, `id` is the entry's id in the Redis stream, `entry` its bytes there.
The sealer's own lines have `sealer` in place of `entry`: Redis has lost entries, and goes on behind `id`.
`mac` is HMAC-SHA256 over the 64 hex digits of the line before (64 zeros for the first) followed by the line's own
bytes up to, and without, `,"mac":`. So nothing has to be parsed to check it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

ZERO = b"0" * 64
TAIL = len(',"mac":""}\n') + 64

_NUMBER = rb"(?:0|[1-9]\d{0,19})"
_HEAD = re.compile(rb'\{"seq":([1-9]\d{0,17}),"id":"(%s-%s)","(entry|sealer)":\{' % (_NUMBER, _NUMBER), re.ASCII)
_END = re.compile(rb',"mac":"[0-9a-f]{64}"\}\n')

Raw = tuple[str, bytes]  # stream id, and the entry as one JSON object in one line
Kind = Literal["unreadable", "missing", "misplaced", "changed"]


class Head(NamedTuple):
    """The end of the chain: the last line's sequence number, stream id and mac."""

    seq: int = 0
    id: str = "0-0"
    mac: bytes = ZERO


class Problem(Struct, frozen=True):
    """What is wrong with a line. `seq` is the one it concerns: a missing entry's, or the line's own."""

    kind: Kind
    seq: int
    what: str


class Line(Struct):
    """A line of a file as it was found; `head` is None where it cannot be read at all."""

    head: Head | None
    entry: bytes
    rewound: bool = False  # the sealer itself speaks: `head.id` is where it went on in the stream
    problem: Problem | None = None


def seal(head: Head, entries: Iterable[Raw], key: bytes, *, rewound: bool = False) -> Iterator[tuple[bytes, Head]]:
    """The line of each entry behind `head`, and the head that it makes."""
    name = b"sealer" if rewound else b"entry"
    seq, mac = head.seq, head.mac
    for id_, entry in entries:
        seq += 1
        body = b'{"seq":%d,"id":"%s","%s":%s' % (seq, id_.encode(), name, entry)
        mac = sign(key, mac, body)
        yield b'%s,"mac":"%s"}\n' % (body, mac), Head(seq, id_, mac)


def sign(key: bytes, before: bytes, body: bytes) -> bytes:
    """64 hex digits."""
    return hmac.digest(key, before + body, "sha256").hex().encode()


def fingerprint(key: bytes) -> str:
    """Tells one chain from another, and not the key."""
    return sign(key, b"", b"revops-lite audit trail")[:16].decode()


def parse(line: bytes) -> Line:
    """A line without its checks."""
    start = _HEAD.match(line)
    if start is None or not _END.fullmatch(line, max(0, len(line) - TAIL)):
        return Line(None, b"")
    seq, id_, name = start.groups()
    return Line(Head(int(seq), id_.decode(), line[-67:-3]), line[start.end() - 1 : -TAIL], name == b"sealer")


def check(lines: Iterable[bytes], key: bytes, head: Head) -> Iterator[Line]:
    """Each line with what is wrong with it. `head` is what stands before the first.

    One wrong line is one problem: the ones behind it are judged by the mac that it bears, so that a changed entry does
    not make all that follow look changed.
    """
    expected, before, blind = head.seq + 1, head.mac, False
    for raw in lines:
        line = parse(raw)
        if line.head is None:
            line.problem = Problem("unreadable", expected, "this is no line of the trail")
            blind = True
            yield line
            continue
        seq, mac = line.head.seq, line.head.mac
        intact = sign(key, before, raw[:-TAIL]) == mac
        if seq == expected + 1 and blind and not intact:
            blind = False  # the unreadable line stood for the one that is not here
        elif seq > expected:
            line.problem = Problem("missing", expected, _missing(expected, seq))
        elif seq < expected:
            line.problem = Problem("misplaced", seq, f"sequence {seq} stands where {expected} was expected")
        elif not intact:
            line.problem = Problem("changed", seq, "its contents and its mac, or the mac before it, do not fit")
        if seq >= expected:
            expected, before, blind = seq + 1, mac, False
        yield line


def _missing(first: int, then: int) -> str:
    names = f"sequence {first} is" if then == first + 1 else f"sequences {first} to {then - 1} are"
    return f"{names} missing before it"


def unfinished(fragment: bytes, head: Head) -> bool:
    """Whether bytes without a line feed are the beginning of the line behind `head`, as a killed write leaves it."""
    start = b'{"seq":%d,"id":"' % (head.seq + 1)
    fragment = fragment.rstrip(b"\0")  # a power cut may leave a file longer than what was written into it
    if _END.fullmatch(fragment + b"\n", max(0, len(fragment) + 1 - TAIL)):
        return False  # nothing is missing of it, so it should have fitted
    return fragment.startswith(start) or start.startswith(fragment)


def order(id_: str) -> tuple[int, int]:
    """Stream ids in their order."""
    milliseconds, _, number = id_.partition("-")
    return int(milliseconds), int(number)
