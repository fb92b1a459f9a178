"""I12, I15, I16: the audit trail, and what is left in files, keys and processes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator

from evidence import Doc, Evidence

# Of keys.py's table, written down again: what may stay for ever, and what RQ keeps.
PERMANENT = re.compile(
    r"revops:(events|audit|audit:sealed|controller|version|breakers|holds|parked|paused|timers|calling|poll|waiting(:[0-9a-f]{20})?)"
    r"|revops:open:\w+|revops:index:\w+"
    r"|rq:queues|rq:queue:.+|rq:workers.*|rq:scheduler.*|rq:executions.*|rq:wip.*|rq:finished.*|rq:failed.*"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
FELL = "shows a traceback"
NOT_JSON = re.compile(r"[:\[,]\s*(NaN|-?Infinity)\b")


def audit_is_whole(evidence: Evidence) -> Iterator[str]:
    before, entries = "0" * 64, []
    for number, line in enumerate(evidence.sealed, 1):
        body, mac = line[:-74], line[-66:-2]
        good = hmac.new(evidence.seal_key.encode(), (before + body).encode(), hashlib.sha256).hexdigest()
        if good != mac:
            yield f"line {number} of the sealed trail does not follow from the one before it"
            return
        before, told = mac, json.loads(line)
        if told["seq"] != number:
            yield f"line {number} of the sealed trail has the number {told['seq']}"
        if "entry" in told:
            entries.append((told["id"], json.dumps(told["entry"])))
    stream = [(id_, json.dumps(entry)) for id_, _, entry in evidence.audit]
    if entries != stream:
        lost = [pair for pair in stream if pair not in set(entries)]
        yield f"{len(entries)} entries are sealed, {len(stream)} stand in Redis; not sealed: {lost[:3]}"
    yield from _lives(evidence)


def _lives(evidence: Evidence) -> Iterator[str]:
    """Every run and every write lives once: it starts once, and ends once unless it was taken up again."""
    told = Counter((e.get("what"), e.get("run")) for _, _, e in evidence.audit)
    for run in evidence.all("run"):
        if run.get("part_of"):
            continue
        if told["run.started", run["id"]] != 1:
            yield f"run {run['id']} was started {told['run.started', run['id']]} times"
        again = told["run.retried", run["id"]] + told["run.rolled_back", run["id"]] + told["review.decided", run["id"]]
        ends = sum(told[f"run.{end}", run["id"]] for end in ("finished", "failed", "cancelled"))
        if run["finished_at"] is not None and not 1 <= ends <= 1 + again:
            yield f"run {run['id']} is {run['state']} and ended {ends} times"
    per_write: Counter[tuple[str, str, str]] = Counter()
    for _, _, entry in evidence.audit:
        if entry.get("what") in ("write.applied", "write.needless"):
            per_write[entry["note"], entry["field"], entry["what"]] += 1
    for key, count in per_write.items():
        if count > 1:
            yield f"{key[2]} of {key[1]} by {key[0]} is told {count} times"
    yield from _applied_is_told(evidence, per_write)


def _applied_is_told(evidence: Evidence, told: Counter[tuple[str, str, str]]) -> Iterator[str]:
    for write in evidence.all("write"):
        if (
            write["state"] == "applied"
            and write["intent"]
            and not told[write["intent"], write["field"], "write.applied"]
        ):
            yield f"write {write['id']} is applied and the audit does not say so"


def nothing_is_left_behind(evidence: Evidence) -> Iterator[str]:
    for name, text in evidence.texts.items():
        for secret in evidence.spec.get("secrets", ()):
            if secret in text:
                yield f"{name} holds a secret"
        rubbish = CONTROL.search(text)
        if rubbish:
            around = text[max(0, rubbish.start() - 60) : rubbish.end() + 20]
            yield f"{name} holds the control character {rubbish.group()!r}: {around!r}"
        if NOT_JSON.search(text):
            yield f"{name} holds a number that is none: {NOT_JSON.search(text)}"
        if "Traceback" in text and not name.startswith("var/logs/agents"):  # an agent's own belongs there
            yield f"{name} {FELL}: {text[text.index('Traceback') :][:800]}"
    for process in evidence.processes:
        yield f"a process is left over: {process}"
    for name, kind, ttl, _ in evidence.keys:
        if ttl < 0 and not PERMANENT.fullmatch(name):
            yield f"the {kind} {name} stays for ever"


def told_once(evidence: Evidence) -> Iterator[str]:
    crashes = sum("kill" in note["how"] for note in evidence.noted("struck"))
    for key, count in Counter(notice["key"] for notice in evidence.notices).items():
        if count > 1 + crashes:
            yield f"notice {key} was sent {count} times"
    sent: list[Doc] = [notice for notice in evidence.all("notice") if notice["state"] == "sent"]
    told = {notice["key"] for notice in evidence.notices}
    for notice in sent:
        if notice["to"] == "file" and notice["key"] not in told:
            yield f"notice {notice['key']} is called sent, and nobody got it"
