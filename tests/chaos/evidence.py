"""What the checker reads: Redis as bytes, the sealed trail as lines, the CRM's own log, what the outside was promised.

Nothing here, nor in the checker, imports the product: what both would get wrong the same way could not be found.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

Doc = dict[str, Any]

# What these documents leave out where it is so. Told here once more, and not imported.
NONE_OF_STEP = ("started_at", "finished_at", "due", "when", "gather")
STEP: Doc = {
    "after": [],
    "confidence": {},
    "values": {},
    "problems": [],
    "versions": {},
    "because": "",
    "state": "pending",
}
STEP |= {"optional": False, "wait_for_review": False, "alone": False, "attempt": 0, "asked": 0} | dict.fromkeys(
    NONE_OF_STEP
)
NONE_OF_RUN = ("finished_at", "deadline_at", "over", "as_of", "part_of", "page")
RUN: Doc = {
    "include": [],
    "writes": [],
    "reviews": [],
    "effects": [],
    "waits_for": [],
    "members": [],
    "state": "running",
    "note": "",
}
RUN |= {
    "related": {},
    "seed": {},
    "claims": {},
    "tally": {},
    "loads": 0,
    "pages": 0,
    "expected": 0,
    "hop": 0,
} | dict.fromkeys(NONE_OF_RUN)
RUN |= {"loaded": False, "deadline_missed": False, "shadow": False}
WRITE: Doc = {
    "rule": "",
    "because": "",
    "note": "",
    "undoes": [],
    "step": None,
    "intent": None,
    "undo": None,
    "replaces": None,
}
FIELD = {"run": None, "pending": None, "write": None, "priority": 0}
LEFT_OUT: dict[str, Doc] = {"run": RUN, "write": WRITE, "field": FIELD}


def whole(kind: str, raw: bytes) -> Doc:
    """A document with all that it has left out."""
    found: Doc = {**LEFT_OUT.get(kind, {}), **json.loads(raw)}
    if kind == "run":
        found["steps"] = {name: {**STEP, **step} for name, step in found["steps"].items()}
    return found


def archived(file: Path) -> Iterator[tuple[str, str, Any]]:
    """Kind, id and content of what has left Redis: bytes, or of a context its fields, as Redis had them."""
    if not file.exists():
        return
    with closing(sqlite3.connect(file)) as open_:
        found = open_.execute("SELECT kind, key, value FROM document").fetchall()
    for kind, key, value in found:
        id_ = key.partition(":")[2]
        if kind != "context":
            yield kind, id_, value
            continue
        fields = json.loads(value)
        yield kind, id_, {n.encode(): (v if n == "r" else json.dumps(v)).encode() for n, v in fields.items()}


@dataclass(slots=True)
class Evidence:
    spec: Doc
    docs: dict[str, dict[str, Doc]] = field(default_factory=dict)  # kind -> id -> document
    contexts: dict[str, Doc] = field(default_factory=dict)  # record -> {meta, fields, proposed, flags}
    events: list[tuple[str, Doc]] = field(default_factory=list)
    audit: list[tuple[str, str, Doc]] = field(default_factory=list)  # stream id, bytes as text, entry
    sealed: list[str] = field(default_factory=list)  # lines, oldest first
    seal_key: str = ""
    controller: Doc = field(default_factory=dict)
    opened: dict[str, list[str]] = field(default_factory=dict)
    calling: list[str] = field(default_factory=list)
    holds: dict[str, Doc] = field(default_factory=dict)
    breakers: dict[str, Doc] = field(default_factory=dict)
    keys: list[tuple[str, str, int, int]] = field(default_factory=list)  # name, type, ttl, size
    jobs: list[str] = field(default_factory=list)  # of RQ: what is queued or claimed
    crm: list[Doc] = field(default_factory=list)
    notes: list[Doc] = field(default_factory=list)  # what the trial did, and what was accepted
    calls: list[Doc] = field(default_factory=list)  # agents' own notes of being called
    notices: list[Doc] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)  # file -> what a person may read there
    processes: list[str] = field(default_factory=list)  # still there although everything was stopped

    def all(self, kind: str) -> list[Doc]:
        return list(self.docs.get(kind, {}).values())

    def decided(self, item: Doc) -> list[Any]:
        """The values of the item's field that people have said yes to."""
        if item["state"] != "edited":
            return [item["proposed"]] if item["state"] == "approved" else []
        told = [event["data"] for _, event in self.events if event.get("type") == "review.decided"]
        edits = [data["values"] for data in told if (data["review"], data["decision"]) == (item["id"], "edit")]
        return [values[item["field"]] for values in edits if item["field"] in values]

    def noted(self, what: str) -> list[Doc]:
        return [note for note in self.notes if note["what"] == what]


def gather(root: Path, redis: Redis, spec: Doc, own: Collection[int] = ()) -> Evidence:
    """Everything of an installation in `root` that has come to rest. `own` are processes of the test itself."""
    evidence = Evidence(spec)
    _from_redis(evidence, redis)
    for kind, id_, content in archived(root / "var" / "archive.sqlite3"):
        if kind != "context":
            evidence.docs.setdefault(kind, {}).setdefault(id_, whole(kind, content))
        elif id_ not in evidence.contexts:
            _context(evidence, content)
    audit = root / "var" / "audit"
    for file in sorted(audit.glob("????-??.jsonl")):
        evidence.sealed += file.read_text("utf-8").split("\n")[:-1]
    if (audit / "key").exists():
        evidence.seal_key = (audit / "key").read_text().strip()
    evidence.crm = lines_of(root / "crm.jsonl")
    evidence.notes = lines_of(root / "trial.jsonl")
    evidence.calls = lines_of(root / "calls.jsonl")
    evidence.notices = lines_of(root / "notices.jsonl")
    for file in [*root.glob("out*"), *root.glob("var/logs/*"), *root.glob("var/audit/*.jsonl"), *root.glob("notices*")]:
        evidence.texts[str(file.relative_to(root))] = file.read_text("utf-8", "replace")
    evidence.processes = list(_left_over(root, own))
    return evidence


def lines_of(path: Path) -> list[Doc]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _from_redis(evidence: Evidence, redis: Any) -> None:
    for raw in sorted(redis.scan_iter("*", count=1000)):
        name, kind = raw.decode(), redis.type(raw).decode()
        evidence.keys.append((name, kind, redis.ttl(raw), _size(redis, raw, kind)))
        parts = name.split(":")
        if name.startswith("revops:context:"):
            _context(evidence, redis.hgetall(raw))
        elif len(parts) == 3 and parts[1] in ("run", "write", "intent", "review", "notice", "page"):
            evidence.docs.setdefault(parts[1], {})[parts[2]] = whole(parts[1], redis.get(raw))
        elif name.startswith("revops:open:"):
            evidence.opened[parts[2]] = [id_.decode() for id_ in redis.zrange(raw, 0, -1)]
        elif name.startswith(("rq:queue:", "rq:wip:", "rq:executions:", "rq:scheduled:")) and _size(redis, raw, kind):
            evidence.jobs.append(name)
    evidence.events = [(id_.decode(), _json(f[b"e"])) for id_, f in redis.xrange("revops:events")]
    evidence.audit = [(i.decode(), f[b"a"].decode(), _json(f[b"a"])) for i, f in redis.xrange("revops:audit")]
    evidence.controller = {k.decode(): v.decode() for k, v in redis.hgetall("revops:controller").items()}
    evidence.calling = [record.decode() for record in redis.hkeys("revops:calling")]
    evidence.holds = {k.decode(): _json(v) for k, v in redis.hgetall("revops:holds").items()}
    evidence.breakers = {k.decode(): _json(v) for k, v in redis.hgetall("revops:breakers").items()}


def _json(raw: bytes) -> Doc:
    try:
        found = json.loads(raw)
    except ValueError:
        return {"unreadable": raw.decode("utf-8", "replace")}
    return found if isinstance(found, dict) else {"unreadable": found}


def _size(redis: Any, raw: bytes, kind: str) -> int:
    ask = {"string": "strlen", "hash": "hlen", "zset": "zcard", "list": "llen", "set": "scard", "stream": "xlen"}
    return int(getattr(redis, ask[kind])(raw))


def _context(evidence: Evidence, raw: dict[bytes, bytes]) -> None:
    found: Doc = {"fields": {}, "proposed": {}, "flags": {}, "meta": json.loads(raw[b"m"])}
    for name, value in raw.items():
        part = {b"v:": "fields", b"p:": "proposed", b"f:": "flags"}.get(name[:2])
        if part:
            found[part][name[2:].decode()] = whole("field" if part == "fields" else part, value)
    evidence.contexts[raw[b"r"].decode()] = found


def _left_over(root: Path, own: Collection[int]) -> Iterator[str]:
    """Processes that work in `root`, or name it, and are no server and none of the test's own."""
    mark = str(root)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            there = mark in words or mark == str((folder / "cwd").readlink())
        except OSError:
            continue
        if there and int(folder.name) not in own and "redis-server" not in words and "valkey-server" not in words:
            yield f"{folder.name} {words}"
