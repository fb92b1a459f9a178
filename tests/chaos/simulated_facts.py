"""What is left when everything has come to rest, as plain data: for checks that ask nothing of the program's code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from evidence import archived, whole

Doc = dict[str, Any]


@dataclass
class Said:
    """The model's own notes while the program runs: what people and agents said and did."""

    accepted: list[Doc] = field(default_factory=list)  # id, type, record
    proposed: list[Doc] = field(default_factory=list)  # record, field, value, confidence, agent, of answers that count
    late: list[Doc] = field(default_factory=list)  # the same, of answers that do not
    approved: list[Doc] = field(default_factory=list)  # record, field, value
    holds: list[Doc] = field(default_factory=list)  # record, field, since and until: numbers of calls
    rollbacks: list[list[str]] = field(default_factory=list)  # ids of the writes asked for


@dataclass
class Facts:
    """`log` and `calls` are the CRM's; documents are what Redis and the archive hold, the audit is Redis's, as JSON."""

    kind: str
    budget: int
    sure: dict[str, float]
    said: Said
    log: list[Doc]
    calls: list[Doc]
    records: dict[str, Doc | None]
    docs: dict[str, dict[str, Doc]]  # kind -> id -> document
    contexts: dict[str, Doc]
    audit: list[Doc]
    queued: int
    in_flight: int
    calling: list[str]
    open_: dict[str, list[str]]
    told: list[str]
    listening: dict[str, list[str]]  # event type -> workflows


def collect(world: Any, said: Said, budget: int, sure: dict[str, float], listening: dict[str, list[str]]) -> Facts:
    redis = world.redis
    docs: dict[str, dict[str, Doc]] = {kind: {} for kind in ("run", "write", "intent", "review", "notice")}
    contexts: dict[str, Doc] = {}
    for raw in redis.scan_iter("revops:*"):
        _, kind, *rest = raw.decode().split(":", 2)
        if kind in docs:
            docs[kind][rest[0]] = whole(kind, redis.get(raw))
        elif kind == "context":
            found = _context(redis.hgetall(raw))
            contexts[found["record"]] = found
    for kind, id_, content in archived(world.archive.path):  # of what is in both places, Redis has the say
        if kind == "context":
            contexts.setdefault(id_, _context(content))
        else:
            docs[kind].setdefault(id_, whole(kind, content))
    records = set(contexts) | {line.record for line in world.crm.log}
    kinds = ("runs", "loads", "intents", "notices", "reviews")
    return Facts(
        kind=world.crm_kind,
        budget=budget,
        sure=sure,
        said=said,
        log=[asdict(line) for line in world.crm.log],
        calls=[asdict(call) for call in world.crm.calls],
        records={name: world.crm.values(name) for name in records},
        docs=docs,
        contexts=contexts,
        audit=[json.loads(fields[b"a"]) for _, fields in redis.xrange("revops:audit")],
        queued=sum(redis.llen(name) for name in redis.scan_iter("rq:queue:*")),
        in_flight=sum(redis.zcard(name) for name in redis.scan_iter("rq:wip:*")),
        calling=[name.decode() for name in redis.hkeys("revops:calling")],
        open_={kind: [i.decode() for i in redis.zrange(f"revops:open:{kind}", 0, -1)] for kind in kinds},
        told=list(world.told),
        listening=listening,
    )


def _context(raw: dict[bytes, bytes]) -> Doc:
    found: Doc = {"record": raw[b"r"].decode(), "fields": {}, "proposed": {}, **json.loads(raw[b"m"])}
    for name, value in raw.items():
        prefix, _, rest = name.decode().partition(":")
        if prefix in ("v", "p"):
            part, kind = ("fields", "field") if prefix == "v" else ("proposed", "proposed")
            found[part][rest] = whole(kind, value)
    return found
