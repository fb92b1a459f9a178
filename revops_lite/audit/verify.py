"""Verification: the whole chain recomputed, then held against the stream in Redis and against every anchor.

Nothing is written. What is compared with what:

* each line with its mac and the line before it: changed, removed, inserted, moved lines and files
* the end with the anchors (the sealer's note in Redis, anchors.jsonl, one given by hand): lines cut off at the end
* what Redis still holds of the stream with the lines: changed, removed or added entries there

A line that the sealer wrote about a Redis that has lost entries (`rewound`) excuses these, and is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from revops_lite.audit.chain import Head, Line, Raw, check, order, unfinished
from revops_lite.audit.folder import ANCHORS, anchors, locked, months, raw_lines
from revops_lite.errors import UsageError
from revops_lite.values import replace

IN_ROWS = ("misplaced", "changed", "unreadable")
SHORTEST_MAC = 16  # hex digits of a mac that still tell it from others


class Finding(Struct, frozen=True):
    """Something that is wrong. `line` counts from 1 and is None outside of a file; `until` ends a row of equal ones."""

    file: str
    line: int | None
    seq: int | None
    kind: str  # unreadable | missing | misplaced | changed | truncated | anchor | stream
    what: str
    until: int | None = None

    def __str__(self) -> str:
        lines = f":{self.line}" + (f"-{self.until}" if self.until else "") if self.line else ""
        return f"{self.file}{lines}: {self.what}"


class Anchor(Struct, frozen=True):
    """What the trail is known to have said at a time: this mac at this sequence."""

    seq: int
    mac: str
    source: str  # "anchors.jsonl:3, daily 2026-01-02T…", "--anchor"


class Report(Struct):
    """`head` is the last good line's; `notes` are worth knowing and not wrong."""

    entries: int = 0
    files: int = 0
    head: Head = field(default_factory=Head)
    anchors: int = 0  # compared
    compared: int = 0  # entries of the stream that were held against a line
    unsealed: int = 0  # entries of the stream behind the trail's end
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings


def parse_anchor(text: str) -> Anchor:
    """SEQ:MAC as a notice has it. Raises UsageError."""
    match = re.fullmatch(rf"(\d+):([0-9a-fA-F]{{{SHORTEST_MAC},64}})", text.strip(), re.ASCII)
    if not match:
        raise UsageError(
            f"--anchor {text!r}: write SEQ:MAC as the notice has it (at least {SHORTEST_MAC} digits of the mac)"
        )
    return Anchor(int(match[1]), match[2].lower(), "--anchor")


def local_anchors(folder: Path) -> tuple[list[Anchor], list[Finding]]:
    """What anchors.jsonl holds, and a finding for each of its lines that cannot be read."""
    good, bad = [], []
    for said in anchors(folder):
        if "seq" in said:
            source = f"{ANCHORS}:{said['line']}, {said.get('why')} {said.get('at')}"
            good.append(Anchor(said["seq"], said["mac"], source))
        else:
            bad.append(Finding(ANCHORS, said["line"], None, "unreadable", "this is no anchor"))
    return good, bad


def verify(folder: Path, key: bytes, known: Iterable[Anchor], stream: Iterable[Raw] | None, must_hold: float) -> Report:
    """Everything at once. `stream` is what Redis holds, oldest first (None: not looked at), read only after the files.

    Entries younger than `must_hold` (seconds since the epoch) have to be in Redis; older ones may have been trimmed.
    """
    walk = _Walk(folder, key, list(known), _Compared(stream, must_hold) if stream is not None else None)
    return walk.run()


class _Walk:
    """One pass over the files."""

    def __init__(self, folder: Path, key: bytes, known: list[Anchor], compared: _Compared | None) -> None:
        self.folder = folder
        self.key = key
        self.compared = compared
        self.report = Report()
        local, bad = local_anchors(folder)
        self.report.findings += bad
        self.anchors: dict[int, list[Anchor]] = {}
        for anchor in [*local, *known]:
            self.anchors.setdefault(anchor.seq, []).append(anchor)
        self.last = Head()  # of the last line that could be read, right or wrong

    def run(self) -> Report:
        report = self.report
        sizes = _sizes(self.folder)
        for number, (path, size) in enumerate(sizes):
            self._file(path, size, last=number == len(sizes) - 1)
        report.files = len(sizes)
        report.head = self.last
        self._end()
        if self.compared:
            self.compared.finish(report)
        return report

    def _file(self, path: Path, size: int, *, last: bool) -> None:
        whole, torn = _split(raw_lines(path, size))
        for number, line in enumerate(check(whole, self.key, self.last), 1):
            if line.problem:
                found = Finding(path.name, number, line.problem.seq, line.problem.kind, line.problem.what)
                _add(self.report.findings, found)
            self._line(path.name, number, line)
        if torn and last and unfinished(torn[0], self.last):
            self.report.notes.append(f"{path.name}: its last write was cut off; the next `revops up` completes it")
        elif torn:
            what = "what follows the last line is no beginning of a line"
            self.report.findings.append(Finding(path.name, None, self.last.seq + 1, "unreadable", what))

    def _line(self, file: str, number: int, line: Line) -> None:
        self.report.entries += 1
        head = line.head
        if head is None or (line.problem and line.problem.kind == "misplaced"):
            return
        for anchor in self.anchors.pop(head.seq, ()):
            self.report.anchors += 1
            if not head.mac.startswith(anchor.mac.encode()):
                what = f"sequence {head.seq} is not the one that was anchored ({anchor.source})"
                self.report.findings.append(Finding(file, number, head.seq, "anchor", what))
        self.last = head
        if self.compared:
            self.compared.line(file, number, line)

    def _end(self) -> None:
        """Anchors that no line has answered: the trail was longer once."""
        behind = [anchor for group in self.anchors.values() for anchor in group if anchor.seq > self.last.seq]
        if behind:
            furthest = max(behind, key=lambda anchor: anchor.seq)
            what = (
                f"the trail ends with sequence {self.last.seq}, but was sealed up to {furthest.seq} at least "
                f"({furthest.source}): its end has been cut off"
            )
            names = [path.name for path in months(self.folder)]
            self.report.findings.append(
                Finding(names[-1] if names else str(self.folder), None, self.last.seq + 1, "truncated", what)
            )


class _Compared:
    """The stream beside the lines: both are in the order of their ids, and each is read once.

    Only where Redis has lost entries do ids go back. So what does not fit is kept with a mark of its contents until the
    end, when it may have found its counterpart.
    """

    def __init__(self, stream: Iterable[Raw], must_hold: float) -> None:
        self._stream = iter(stream)
        self._next: Raw | None = None
        self._begun = False
        self._must_hold = int(must_hold * 1000)
        self._first: tuple[int, int] | None = None
        self._extra: dict[str, int] = {}  # in Redis only: id -> mark of the entry
        self._missing: dict[str, tuple[int, Finding]] = {}  # in the files only
        self._changed: dict[str, tuple[int, Finding]] = {}  # in both; the mark is that of Redis
        self._compared = 0
        self._notes: list[str] = []
        self._last = "0-0"

    def line(self, file: str, number: int, line: Line) -> None:
        assert line.head
        self._begin()
        if line.rewound:
            self._rewound(file, number, line.head)
            return
        id_, at = line.head.id, order(line.head.id)
        self._last = id_
        while self._next and order(self._next[0]) < at:
            self._extra[self._next[0]] = hash(self._next[1])
            self._advance()
        if self._next and self._next[0] == id_:
            self._compared += 1
            if self._next[1] != line.entry:
                what = f"sequence {line.head.seq} ({id_}) is another entry here than in Redis"
                finding = Finding(file, number, line.head.seq, "stream", what)
                self._changed[id_] = hash(self._next[1]), finding
            self._advance()
        elif (self._first and at >= self._first) or at[0] >= self._must_hold:
            what = f"sequence {line.head.seq} ({id_}) stands here and not in Redis any more"
            self._missing[id_] = hash(line.entry), Finding(file, number, line.head.seq, "stream", what)

    def _rewound(self, file: str, number: int, head: Head) -> None:
        """What does not fit behind `head.id` Redis has lost; what it holds there now comes later in the files."""
        for id_ in [id_ for id_ in self._missing if order(id_) > order(head.id)]:
            del self._missing[id_]
        for id_ in [id_ for id_ in self._changed if order(id_) > order(head.id)]:
            self._extra[id_] = self._changed.pop(id_)[0]
        self._last = head.id
        self._notes.append(f"{file}:{number}: Redis lost entries after {head.id}; the trail has kept them")

    def finish(self, report: Report) -> None:
        """Everything that is left once all lines have been seen."""
        self._begin()
        for id_ in self._extra.keys() & self._missing.keys():
            if self._extra[id_] == self._missing[id_][0]:
                del self._extra[id_], self._missing[id_]
                self._compared += 1
        last = order(self._last)
        while self._next:
            if order(self._next[0]) <= last:
                self._extra[self._next[0]] = 0
            else:
                report.unsealed += 1
            self._advance()
        report.compared = self._compared
        report.notes += self._notes
        report.findings += [finding for _, finding in [*self._changed.values(), *self._missing.values()]]
        for id_ in self._extra:
            what = f"entry {id_} stands in Redis and not in the trail"
            report.findings.append(Finding("redis", None, None, "stream", what))

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._advance()
            self._first = order(self._next[0]) if self._next else None

    def _advance(self) -> None:
        self._next = next(self._stream, None)


def _sizes(folder: Path) -> list[tuple[Path, int]]:
    """The files as they are while no write is under way; what is written later is not looked at."""
    if not folder.is_dir():
        return []
    with locked(folder, write=False):
        return [(path, path.stat().st_size) for path in months(folder)]


def _split(lines: Iterator[bytes]) -> tuple[Iterator[bytes], list[bytes]]:
    """Whole lines, and (once these have been read) what has no line feed behind it."""
    torn: list[bytes] = []

    def whole() -> Iterator[bytes]:
        for line in lines:
            if line.endswith(b"\n"):
                yield line
            else:
                torn.append(line)

    return whole(), torn


def _add(findings: list[Finding], found: Finding) -> None:
    """A row of lines with the same trouble is one finding."""
    last = findings[-1] if findings else None
    same = (
        last
        and (last.file, last.kind) == (found.file, found.kind)
        and found.kind in ("misplaced", "changed", "unreadable")
    )
    if last and same and found.line and last.line and (last.until or last.line) == found.line - 1:
        findings[-1] = replace(last, until=found.line)
    else:
        findings.append(found)
