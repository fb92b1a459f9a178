"""I1, I2, I3, I9, I10, I13: what became of events, runs, slots, decisions and breakers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from evidence import Doc, Evidence

ENDED = ("finished", "failed", "cancelled", "rolled_back")
WAITING = ("expire|", "release|", "deadline|")  # timers that may be set while nothing moves
THREADS = 4  # calls that may have been claimed when a breaker opens


def _asked(evidence: Evidence) -> Iterator[tuple[str, str, str | None]]:
    """What the outside told: (event type, record, the event's id where the outside chose it)."""
    for note in evidence.noted("accepted"):
        yield note["type"], note["record"], note["id"]
    seen = set()
    for fact in evidence.crm:
        if fact["kind"] in ("created", "edited") and (fact["record"], fact["at"]) not in seen:
            seen.add((fact["record"], fact["at"]))
            kind = fact["record"].partition(":")[0]
            yield f"{kind}.{'created' if fact['created'] else 'updated'}", fact["record"], None


def each_event_has_its_runs(evidence: Evidence) -> Iterator[str]:
    started: Counter[tuple[str, str, str]] = Counter()
    by_id: set[tuple[str, str]] = set()
    for run in evidence.all("run"):
        started[run["workflow"], run["trigger"]["type"], run["record"]] += 1
        by_id.add((run["workflow"], run["trigger"]["id"]))
    wanted: Counter[tuple[str, str, str]] = Counter()
    for type_, record, id_ in _asked(evidence):
        for workflow, on in evidence.spec["workflows"].items():
            if type_ not in on or _excused(evidence, record, id_):
                continue
            wanted[workflow, type_, record] += 1
            if id_ is not None and (workflow, id_) not in by_id:
                yield f"event {id_} ({type_} of {record}) was accepted and has no run of {workflow}"
    for key, count in wanted.items():
        if started[key] < count:
            yield f"{count} events for {key}, and {started[key]} runs"


def _excused(evidence: Evidence, record: str, id_: str | None) -> bool:
    """A dead letter asks a person about it."""
    return any(
        item["reason"] == "dead_letter" and (item["record"] == record or (id_ or "?") in str(item))
        for item in evidence.all("review")
    )


def runs_are_not_doubled(evidence: Evidence) -> Iterator[str]:
    whole = [run for run in evidence.all("run") if not run.get("part_of")]
    for key, count in Counter((run["workflow"], run["trigger"]["id"]) for run in whole).items():
        if count > 1:
            yield f"{count} runs of {key[0]} for event {key[1]}"
    asked = Counter((type_, record) for type_, record, _ in _asked(evidence))
    for workflow, on in evidence.spec["workflows"].items():
        started = Counter((r["trigger"]["type"], r["record"]) for r in whole if r["workflow"] == workflow)
        for (type_, record), count in started.items():
            if type_ in on and type_ != "cron.fired" and count > asked[type_, record]:
                yield f"{count} runs of {workflow} for {asked[type_, record]} times {type_} of {record}"
    for key, count in Counter(event["id"] for _, event in evidence.events if "id" in event).items():
        if count > 1:
            yield f"event {key} stands in the stream {count} times"


def nothing_stays_open(evidence: Evidence) -> Iterator[str]:
    for note in evidence.noted("restless"):
        yield f"it did not come to rest: exit {note['code']}: {note['said'][-800:]}"
    for kind, ids in evidence.opened.items():
        left = [id_ for id_ in ids if kind != "reviews" and not _held(evidence, kind, id_)]
        if left:
            yield f"open {kind} although everything has come to rest: {left}"
    if evidence.calling:
        yield f"calls under way: {evidence.calling}"
    if evidence.jobs:
        yield f"RQ still holds {evidence.jobs}"
    if waiting := [name for name, *_ in evidence.keys if name.startswith("revops:waiting")]:
        yield f"events still wait for their turn: {waiting}"
    last = evidence.events[-1][0] if evidence.events else evidence.controller.get("cursor")
    if evidence.controller.get("cursor") != last:
        yield f"the cursor stands at {evidence.controller.get('cursor')}, the stream ends at {last}"
    yield from _one_result_each(evidence)


def _held(evidence: Evidence, kind: str, id_: str) -> bool:
    return kind == "runs" and evidence.docs["run"].get(id_, {}).get("state") == "held"


def _one_result_each(evidence: Evidence) -> Iterator[str]:
    done = Counter((e["run"], e["who"]) for _, _, e in evidence.audit if e.get("what") == "step.done")
    retried = {e["run"] for _, _, e in evidence.audit if e.get("what") in ("run.retried", "step.retried")}
    for run in evidence.all("run"):
        for step in run["steps"].values():
            key = (run["id"], step["agent"])
            if step["state"] == "running" and run["state"] in ENDED:
                yield f"run {run['id']} is {run['state']} and its step {step['name']} {step['state']}"
            if step["state"] == "done" and not done[key] and not run.get("over"):
                yield f"step {step['name']} of {run['id']} is done without a result on record"
            if done[key] > 1 and run["id"] not in retried:
                yield f"step {step['name']} of {run['id']} was done {done[key]} times"


def slots_fire_once(evidence: Evidence) -> Iterator[str]:
    fired: Counter[tuple[str, str]] = Counter()
    for _, event in evidence.events:
        if event.get("type") == "cron.fired":
            fired[event["data"]["workflow"], str(event["data"]["slot"])] += 1
    for key, count in fired.items():
        if count > 1:
            yield f"slot {key[1]} of {key[0]} fired {count} times"
    for workflow, slots in evidence.spec.get("slots", {}).items():
        told = sorted(slot for name, slot in fired if name == workflow)
        if told != sorted(slots):
            yield f"{workflow} was told {told}, and {sorted(slots)} have come"


def decided_once(evidence: Evidence) -> Iterator[str]:
    told: dict[tuple[object, ...], int] = defaultdict(int)
    for _, _, entry in evidence.audit:
        if entry.get("what") == "review.decided":
            told[entry["record"], entry["run"], entry["field"], str(entry["after"]), str(entry["before"])] += 1
    for item in evidence.all("review"):
        key = (item["record"], item["run"], item["field"], str(item["proposed"]), str(item["current"]))
        decided = item["state"] != "pending"
        same = sum(_same_question(item, other) for other in evidence.all("review") if other["state"] != "pending")
        if decided and item["state"] != "expired" and item["decided_by"] and told[key] > max(1, same):
            yield f"item {item['id']} was decided {told[key]} times"
        if item["state"] in ("approved", "edited") and item["field"]:
            yield from _before_its_write(evidence, item)


def _same_question(item: Doc, other: Doc) -> bool:
    names = ("record", "run", "field", "proposed", "current")
    return all(item[name] == other[name] for name in names)


def _before_its_write(evidence: Evidence, item: Doc) -> Iterator[str]:
    for fact in evidence.crm:
        write = _write_of(evidence, fact)
        if (
            write
            and write["rule"].startswith("approved by")
            and _of(item, write)
            and write["after"] in evidence.decided(item)
            and fact["at"] < item["decided_at"] - 0.05
        ):
            yield f"{item['record']}.{item['field']} was written before {item['id']} was decided"


def _of(item: Doc, write: Doc) -> bool:
    return all(item[name] == write[name] for name in ("record", "field", "run"))


def _write_of(evidence: Evidence, fact: Doc) -> Doc | None:
    if fact["kind"] != "applied":
        return None
    intent = evidence.docs.get("intent", {}).get(fact["write_id"] or "")
    return evidence.docs["write"].get(intent["writes"].get(fact["field"], "")) if intent else None


def breakers_hold(evidence: Evidence) -> Iterator[str]:
    """Between the opening of a breaker and its next probe, only calls that had been claimed still begin."""
    shut: dict[str, float] = {}
    spans: list[tuple[str, float, float]] = []
    for id_, _, entry in evidence.audit:
        name = entry.get("rule", "") if entry.get("what", "").startswith("breaker.") else ""
        at = int(id_.partition("-")[0]) / 1000  # of the commit: from then on everybody knows
        if entry.get("what") == "breaker.opened":
            shut[name] = at
        elif name in shut:
            spans.append((name, shut.pop(name), at))
    spans += [(name, since, float("inf")) for name, since in shut.items()]
    for name, since, until in spans:
        calls = [call for call in evidence.calls if call["agent"] == name and since < call["at"] < until]
        if len(calls) > THREADS:
            yield f"{name} was called {len(calls)} times while its breaker was open from {since}"
