"""What `revops audit` does: entries from Redis and from the sealed files, verification, export."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from msgspec import Struct, structs

from revops_lite import config
from revops_lite.audit import export as exports
from revops_lite.audit import folder
from revops_lite.audit.chain import fingerprint
from revops_lite.audit.verify import Anchor, Report, parse_anchor
from revops_lite.audit.verify import verify as verify_trail
from revops_lite.cli.shapes import stamp
from revops_lite.config import Settings
from revops_lite.errors import RevopsError, UsageError
from revops_lite.models import AuditEntry
from revops_lite.store.audit import AuditStream, read_entry

if TYPE_CHECKING:
    from revops_lite.cli.options import State
    from revops_lite.installation import Installation

RECENT = "90d"
SHOWN = 100  # findings; the rest is counted
FORMATS = {"csv": exports.write_csv, "jsonl": exports.write_jsonl}


class Filter(Struct, frozen=True):
    """Which entries are meant; None is any."""

    record: str | None
    run: str | None
    what: str | None
    who: str | None
    workflow: str | None
    since: float

    def __call__(self, entry: AuditEntry) -> bool:
        return (
            (not self.record or entry.record == self.record)
            and (not self.run or (entry.run or "").startswith(self.run))
            and (not self.what or entry.what == self.what)
            and (not self.who or entry.who == self.who)
            and (not self.workflow or entry.workflow == self.workflow)
            and entry.at >= self.since
        )


def place(settings: Settings) -> Path:
    return settings.root / "var" / "audit"


def shape(entry: AuditEntry) -> dict[str, Any]:
    return {**structs.asdict(entry), "at": stamp(entry.at)}


def newest(installation: Installation, keep: Filter, limit: int | None) -> list[AuditEntry]:
    """Newest first: of Redis, then of the files what Redis holds no longer."""
    return list(islice(filter(keep, _back(installation, keep.since)), limit))


def _back(installation: Installation, since: float) -> Iterator[AuditEntry]:
    """All entries from now back to `since` (epoch seconds); of the files, those of earlier months are not opened."""
    stream = AuditStream(installation.clients.commands)
    oldest = None
    for oldest, raw in stream.back():
        yield read_entry(oldest, raw)
    for id_, raw in folder.newest_before(place(installation.settings), oldest, since):
        yield read_entry(id_, raw)


# ---- verify ------------------------------------------------------------------------------------------------------


def verify(state: State, anchor: str | None, *, files_only: bool) -> Report:
    """Raises UsageError for an anchor that is none, AuditError where there is nothing to verify or no key."""
    known = [parse_anchor(anchor)] if anchor else []
    if files_only:
        settings = config.load(state.config, agents=False)
        return verify_trail(place(settings), _key(settings), known, None, 0.0)
    with state.open() as installation:
        settings, stream = installation.settings, AuditStream(installation.clients.commands)
        mark = stream.sealed()  # before the files, so that it cannot be ahead of them
        note = Anchor(mark["seq"], mark["mac"], "the sealer's note in Redis") if mark else None
        if note and not folder.months(place(settings)):
            return verify_trail(place(settings), b"", [*known, note], None, 0.0)  # all is gone, perhaps the key too
        key = _key(settings)
        if mark and note and mark["chain"] == fingerprint(key):
            known.append(note)
        return verify_trail(place(settings), key, known, stream.after("0-0"), stream.must_hold(time.time()))


def _key(settings: Settings) -> bytes:
    return folder.read_key(place(settings), settings.audit.key, settings.root, make=False)


def report(found: Report) -> dict[str, Any]:
    """The JSON of `audit verify`."""
    findings = [structs.asdict(finding) for finding in found.findings]
    return {
        "entries": found.entries,
        "ok": found.ok,
        "first_bad": findings[0] if findings else None,
        "files": found.files,
        "head": {"seq": found.head.seq, "mac": found.head.mac.decode()},
        "anchors": found.anchors,
        "stream": {"compared": found.compared, "unsealed": found.unsealed},
        "findings": findings[:SHOWN],
        "left_out": max(0, len(findings) - SHOWN),
        "notes": found.notes,
    }


# ---- export ------------------------------------------------------------------------------------------------------


def export(state: State, keep: Filter, format_: str, output: Path | None) -> int:
    """Write what `keep` lets through to `output` (None: stdout); how many there were. Raises UsageError."""
    write = FORMATS.get(format_)
    if write is None:
        raise UsageError(f"--format {format_!r}: write csv or jsonl")
    with state.open() as installation:
        fields = installation.settings.governance.fields

        def sensitive(name: str) -> bool:
            return name in fields and fields[name].sensitive

        rows = (
            {**exports.masked(each.entry, sensitive), "seq": each.seq, "id": each.id}
            for each in _everything(installation)
            if keep(each.entry)
        )
        if output is None:
            return write(sys.stdout, rows)
        with _opened(output) as file:
            return write(file, rows)


def _everything(installation: Installation) -> Iterator[exports.Sealed]:
    """The sealed files, then what has been committed since."""
    last = "0-0"
    for seq, id_, raw in folder.entries(place(installation.settings)):
        last = id_
        yield exports.Sealed(seq, id_, read_entry(id_, raw))
    stream = AuditStream(installation.clients.commands)
    for id_, raw in stream.after(last):
        yield exports.Sealed(None, id_, read_entry(id_, raw))


def _opened(output: Path) -> TextIO:
    try:
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RevopsError(f"{output}: cannot be written: {error.strerror}") from error
    return os.fdopen(file, "w", encoding="utf-8", newline="")
