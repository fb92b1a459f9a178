"""I4, I5, I6, I7, I8, I11, I14: what reached the CRM, by the CRM's own log, and what the product says of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from evidence import Doc, Evidence

HOUR = 3600.0
SETTLE = 0.35  # seconds: what comes later than that is beyond what is promised for a plain CRM
NOTICED = ("human_edit", "in_doubt", "rollback", "conflict")


def applications(evidence: Evidence) -> dict[str, list[float]]:
    """write id -> the moments at which the CRM applied it."""
    found: dict[str, set[float]] = defaultdict(set)
    for fact in evidence.crm:
        if fact["kind"] == "applied":
            found[fact["write_id"]].add(fact["at"])
    return {id_: sorted(times) for id_, times in found.items()}


def applied_once(evidence: Evidence) -> Iterator[str]:
    calls = [fact for fact in evidence.crm if fact["kind"] == "call"]
    late = {fact["write_id"] for fact in calls if fact["fault"] == "late" and fact["seconds"] > SETTLE}
    for id_, times in applications(evidence).items():
        if len(times) > 1 and not (evidence.spec["kind"] == "plain" and id_ in late and _reported(evidence, id_)):
            yield f"intent {id_} was applied {len(times)} times"


def _reported(evidence: Evidence, id_: str) -> bool:
    """Whether the product itself tells that the CRM applied a call again, later than it settles."""
    return any(id_ in (entry.get("note") or "") for _, _, entry in evidence.audit if entry.get("what") == "write.late")


def applied_is_what_the_crm_says(evidence: Evidence) -> Iterator[str]:
    logged = {(fact["write_id"], fact["field"]): fact for fact in evidence.crm if fact["kind"] == "applied"}
    of = {write["id"]: (write["intent"] or "", write["field"]) for write in evidence.all("write")}
    for write in evidence.all("write"):
        fact = logged.get(of.get(write["id"], ("", "")))
        says = write["state"] in ("applied", "rolled_back")
        if says and write["intent"] and fact is None:
            yield f"{_named(write)} is {write['state']}, and the CRM knows nothing of it"
        if not says and fact is not None and not _doubted(evidence, write):
            yield f"{_named(write)} is {write['state']}, and the CRM has applied it"
        if says and fact is not None and fact["after"] != write["after"]:
            yield f"{_named(write)} wanted {write['after']!r}, and the CRM got {fact['after']!r}"
    known = set(of.values())
    for key, fact in logged.items():
        if key not in known:
            yield f"the CRM got {fact['record']}.{fact['field']} from us by {key[0]}, of which there is no record"


def _doubted(evidence: Evidence, write: Doc) -> bool:
    """In doubt, a CRM without ids shows only what stands there; where that has changed since, a person is asked."""
    place = (write["record"], write["field"])
    asked = any(
        (item["record"], item["field"]) == place and item["reason"] == "in_doubt" for item in evidence.all("review")
    )
    return evidence.spec["kind"] != "keyed" and write["state"] == "conflict" and asked


def _named(write: Doc) -> str:
    return f"write {write['id']} of {write['record']}.{write['field']}"


def no_edit_is_lost(evidence: Evidence) -> Iterator[str]:
    last: dict[tuple[str, str], Doc] = {}
    for fact in evidence.crm:
        if fact["kind"] == "call":
            continue
        place = (fact["record"], fact["field"])
        before = last.get(place)
        if fact["kind"] == "applied" and before is not None and before["kind"] == "edited":
            edit = before["after"]
            if not _decided_on(evidence, fact, edit) and not _noticed(evidence, place, edit):
                yield f"{'.'.join(place)}: a person's {edit!r} became {fact['after']!r} unnoticed"
        last[place] = fact


def _decided_on(evidence: Evidence, fact: Doc, edit: object) -> bool:
    """Whether the value was decided in the knowledge of what stood there: the audit of the decision says so."""
    return any(
        entry.get("what") in ("write.allowed", "rollback.planned")
        and (entry["record"], entry["field"]) == (fact["record"], fact["field"])
        and (entry["before"], entry["after"]) == (edit, fact["after"])
        for _, _, entry in evidence.audit
    )


def _noticed(evidence: Evidence, place: tuple[str, str], value: object) -> bool:
    """Somebody is asked about it, with the value that was lost."""
    return any(
        (item["record"], item["field"]) == place
        and item["reason"] in NOTICED
        and value in (item["current"], item["proposed"], *(item.get("competing") or {}).values())
        for item in evidence.all("review")
    )


def rolled_back_or_asked(evidence: Evidence) -> Iterator[str]:
    items = evidence.all("review")
    undone = {old: write for write in evidence.all("write") for old in write["undoes"]}
    for note in evidence.noted("rollback"):
        for id_ in note["writes"]:
            write = evidence.docs["write"].get(id_)
            if write is None or write["state"] not in ("applied", "rolled_back"):
                continue
            asked = any(_asks(item, write) for item in items)
            if write["state"] == "applied" and not asked:
                yield f"{_named(write)} was to be rolled back and is still applied, with nobody asked"
            if write["state"] == "rolled_back" and id_ not in undone:
                yield f"{_named(write)} is rolled back, by no write"
    for back in evidence.all("write"):
        if back["undoes"] and back["state"] == "applied":
            yield from _untouched_by(evidence, back)


def _asks(item: Doc, write: Doc) -> bool:
    same = (item["record"], item["field"]) == (write["record"], write["field"])
    return same and item["reason"] in ("rollback", "held", "human_edit", "in_doubt", "budget", "write_failed")


def _untouched_by(evidence: Evidence, back: Doc) -> Iterator[str]:
    """The value that a rollback replaced has to be one of ours: what it undoes.

    Where the CRM does not compare, a person's edit may slip in after our last look; then somebody is asked about it.
    """
    ours = [evidence.docs["write"][id_]["after"] for id_ in back["undoes"] if id_ in evidence.docs["write"]]
    place = (back["record"], back["field"])
    edited = 0.0
    for fact in evidence.crm:
        if fact["kind"] == "edited" and (fact["record"], fact["field"]) == place:
            edited = fact["at"]
        of_it = fact["kind"] == "applied" and (fact["write_id"], fact["field"]) == (back["intent"], back["field"])
        if not of_it or fact["before"] in ours or fact["before"] == fact["after"]:
            continue
        slipped_in = evidence.spec["kind"] != "compare" and edited >= _looked(
            evidence, back["intent"], edited, fact["at"]
        )
        if not slipped_in or not _noticed(evidence, place, fact["before"]):
            yield f"the rollback of {'.'.join(place)} replaced {fact['before']!r}, which was not ours"


def _looked(evidence: Evidence, intent: str, edited: float, until: float) -> float:
    """When the writer last looked before a call of this intent; as of the edit where it may have seen older values."""
    reads = [fact for fact in evidence.crm if fact["kind"] == "call" and fact["fault"] == "stale"]
    if any(edited <= fact["told"] <= until for fact in reads):
        return edited
    sent = [e["time"] for _, e in evidence.events if e["type"] == "write.sending" and e["data"]["intent"] == intent]
    return max((at for at in sent if at <= until), default=float("inf"))


def governed(evidence: Evidence) -> Iterator[str]:
    yield from _held(evidence)
    yield from _budget(evidence)
    for fact in evidence.crm:
        if fact["kind"] == "applied":
            yield from _sure(evidence, fact)


def _held(evidence: Evidence) -> Iterator[str]:
    for hold in evidence.noted("held"):
        ends = [n["at"] for n in evidence.noted("released") if n["record"] == hold["record"] and n["at"] > hold["at"]]
        for fact in evidence.crm:
            same = fact["kind"] == "applied" and fact["record"] == hold["record"]
            within = same and hold["at"] < fact["told"] < min(ends, default=float("inf"))
            if within and hold.get("field", "*") in ("*", fact["field"]):
                yield f"{fact['record']}.{fact['field']} was written while it was on hold"


def _budget(evidence: Evidence) -> Iterator[str]:
    calls: dict[str, list[float]] = defaultdict(list)
    for fact in evidence.crm:
        if fact["kind"] == "call" and fact["op"] == "write":
            calls[fact["record"]].append(fact["told"] + fact.get("offset", 0.0))
    for record, times in calls.items():
        most = max(sum(0 <= other - start < HOUR for other in times) for start in times)
        if most > evidence.spec["budget"]:
            yield f"{record} got {most} calls within an hour, {evidence.spec['budget']} are allowed"


def _sure(evidence: Evidence, fact: Doc) -> Iterator[str]:
    agent, place = fact["actor"], f"{fact['record']}.{fact['field']}"
    if agent.startswith("rollback:"):
        return
    declared = evidence.spec["declared"]
    every = [name for names in declared.values() for name in names]
    if fact["field"] not in (every if agent.startswith("review:") else declared.get(agent, ())):
        yield f"{place} was written by {agent}, which does not declare it"
    mine = (fact["write_id"], fact["field"])
    write = next((one for one in evidence.all("write") if (one["intent"], one["field"]) == mine), {"run": None})
    run = evidence.docs.get("run", {}).get(write.get("run") or "", {})
    said = [s["confidence"].get(fact["field"]) for s in run.get("steps", {}).values() if s["agent"] == agent]
    sure = [value for value in said if value is not None and value >= evidence.spec["threshold"]]
    if not sure and not _approved(evidence, fact):
        yield f"{place} = {fact['after']!r} was written with confidence {said}, approved by nobody"


def _approved(evidence: Evidence, fact: Doc) -> bool:
    return any(
        (item["record"], item["field"]) == (fact["record"], fact["field"])
        and fact["after"] in evidence.decided(item)
        and item["decided_by"]
        for item in evidence.all("review")
    )


def context_is_its_history(evidence: Evidence) -> Iterator[str]:
    yield from _ours_is_known(evidence)
    standing: dict[tuple[str, str], object] = {}
    for fact in evidence.crm:
        if fact["kind"] != "call":
            standing[fact["record"], fact["field"]] = fact["after"]
    records = {record for record, _ in standing}
    for record, context in evidence.contexts.items():
        if record not in records or context["meta"].get("local"):
            continue
        for name, field in context["fields"].items():
            there = standing.get((record, name))
            if field["value"] != there:
                yield f"{record}.{name} is {field['value']!r} in the context, {there!r} in the CRM"
            write = evidence.docs.get("write", {}).get(field.get("write") or "")
            if write is not None and write["state"] not in ("applied", "superseded"):
                yield f"{record}.{name} is in the context by {write['id']}, which is {write['state']}"
            if field.get("pending"):
                yield f"{record}.{name} still waits for {field['pending']}"


def _ours_is_known(evidence: Evidence) -> Iterator[str]:
    """What we have written last is in the context, too."""
    last = {(fact["record"], fact["field"]): fact for fact in evidence.crm if fact["kind"] != "call"}
    for (record, name), fact in last.items():
        if fact["kind"] == "applied" and name not in evidence.contexts.get(record, {"fields": {}})["fields"]:
            yield f"{record}.{name} = {fact['after']!r} stands in the CRM by us, and is not in the context"


def calls_are_recorded(evidence: Evidence) -> Iterator[str]:
    calls = Counter(fact["write_id"] for fact in evidence.crm if fact["kind"] == "call" and fact["op"] == "write")
    sending = Counter(
        (entry.get("note") or "").partition(":")[0]
        for _, _, entry in evidence.audit
        if entry.get("what") == "write.sending"
    )
    for id_, count in calls.items():
        intent = evidence.docs.get("intent", {}).get(id_)
        if intent is None:
            yield f"a call {id_} to the CRM, of which there is no intent"
        elif count > intent["tries"] or count > sending[id_]:
            yield f"{count} calls of {id_}, {intent['tries']} counted, {sending[id_]} in the audit"
