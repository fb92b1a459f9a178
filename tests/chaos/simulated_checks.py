"""What has to hold once everything has come to rest: functions over plain data, each giving what it objects to.

None of them knows how the program decides. They read the CRM's own log and list of calls, what Redis holds, and the
notes of what people and agents said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from simulated_facts import Doc, Facts

ENDED = ("finished", "failed", "cancelled", "rolled_back")
OVER = ("applied", "failed", "conflict", "cancelled")
HOUR = 3600.0
ASKED = ("human_edit", "in_doubt", "rollback")  # why people are asked about a value that is not ours
CLOCKS = 10.0  # seconds by which the process's clock and the CRM's may differ within an hour
ANSWERED = ("applied", "needless", "conflicted", "withheld", "deferred", "doubted")


def violations(facts: Facts) -> list[str]:
    return [f"{check.__name__}: {text}" for check in CHECKS for text in check(facts)]


def every_event_is_accounted_for(facts: Facts) -> Iterator[str]:
    """I1, I2: a run per workflow that listens, at most one; else a dead letter or an audited reason."""
    runs = Counter((run["trigger"]["id"], run["workflow"]) for run in facts.docs["run"].values())
    yield from (f"{number} runs of {of}" for of, number in runs.items() if number > 1)
    letters = {
        str((item["proposed"] or {}).get("id"))
        for item in facts.docs["review"].values()
        if item["reason"] == "dead_letter"
    }
    for event in facts.said.accepted:
        for workflow in facts.listening.get(event["type"], []):
            if not runs[event["id"], workflow] and event["id"] not in letters:
                yield f"{event} has no run of {workflow} and is no dead letter"


def nothing_stays_open(facts: Facts) -> Iterator[str]:
    """I3: only what waits for a person is open."""
    pending = {id_ for id_, item in facts.docs["review"].items() if item["state"] == "pending"}
    for id_, run in facts.docs["run"].items():
        waits = run["state"] == "held" and run["waits_for"] and set(run["waits_for"]) <= pending
        if run["state"] not in ENDED and not waits:
            yield f"run {id_} is {run['state']} and waits for nobody: {run}"
    yield from (
        f"intent {id_} is {one['state']}" for id_, one in facts.docs["intent"].items() if one["state"] not in OVER
    )
    yield from (f"notice {id_} is planned" for id_, one in facts.docs["notice"].items() if one["state"] == "planned")
    for id_, write in facts.docs["write"].items():
        if write["state"] in ("planned", "sending"):
            yield f"write {id_} is {write['state']}: {write}"
    if facts.queued or facts.in_flight or facts.calling:
        yield f"{facts.queued} jobs queued, {facts.in_flight} in flight, calls under way for {facts.calling}"
    for kind in ("loads", "intents", "notices"):
        if facts.open_[kind]:
            yield f"open {kind}: {facts.open_[kind]}"
    for name, context in facts.contexts.items():
        stuck = [one for one, value in context["fields"].items() if value["pending"]]
        if stuck or context["intents"]:
            yield f"{name}: {stuck} pending, intents {context['intents']}"


def applied_is_what_the_log_says(facts: Facts) -> Iterator[str]:
    """I4, I5, I14: each intent at most once, and `applied` where, and only where, its line stands in the CRM's log."""
    lines = defaultdict(list)
    for line in _ours(facts):
        lines[line["write_id"]].append(line)
    yield from (f"nobody meant {id_}: {found}" for id_, found in lines.items() if id_ not in facts.docs["intent"])
    said = {(entry["what"], _intent_of(entry)) for entry in facts.audit}
    for id_, intent in facts.docs["intent"].items():
        found = lines[id_]
        in_time = [line for line in found if not line["late"]]
        if len(in_time) > 1 or (facts.kind == "keyed" and len(found) > 1):
            yield f"{id_} was applied {len(found)} times: {found}"
        yield from _agrees(facts, id_, intent, found, said)


def _agrees(facts: Facts, id_: str, intent: Doc, found: list[Doc], said: set[tuple[str, str]]) -> Iterator[str]:
    late_only = bool(found) and all(line["late"] for line in found)
    states = {facts.docs["write"][write]["state"] for write in intent["writes"].values()}
    said_so = intent["state"] == "applied" and states & {"applied", "rolled_back"}
    if said_so and not found and not _said_by_a_person(facts, intent):
        yield f"{id_} is said to be applied and is not in the log: {intent}, writes {states}"
    if found and intent["state"] != "applied" and not late_only and ("write.conflicted", id_) not in said:
        yield f"{id_} is in the log and {intent['state']}: {intent}, {found}"
    if found and intent["state"] == "applied" and states == {"superseded"} and not late_only:
        yield f"{id_} is in the log, and said to have been needless: {intent}, {found}"


def _said_by_a_person(facts: Facts, intent: Doc) -> bool:
    """In doubt, a CRM without ids shows only that the values stand there: a person may have set the very same."""
    set_by_people: dict[str, list[Any]] = defaultdict(list)
    for line in facts.log:
        if line["record"] == intent["record"] and line["source"] == "person":
            for name, value in line["after"].items():
                set_by_people[name].append(value)
    return facts.kind != "keyed" and any(value in set_by_people[name] for name, value in intent["values"].items())


def an_edit_is_not_overwritten_unnoticed(facts: Facts) -> Iterator[str]:
    """I6: our line that replaces a person's value knew it; where the CRM cannot compare, it is at least told of."""
    for line in _ours(facts):
        for name, before in line["before"].items():
            last = _last_change(facts, line, name)
            if last is None or last["source"] != "person" or _knew(facts, line, name, before):
                continue
            if before == line["after"][name]:  # both said the same: nothing is lost
                continue
            if facts.kind == "compare" and not line["late"]:
                yield f"{line} overwrote {before!r} of {last['actor']} in {name}"
            elif not _told_of(facts, line["record"], name, before):
                yield f"{line} overwrote {before!r} of {last['actor']} in {name}, and nobody was told"


def _knew(facts: Facts, line: Doc, name: str, before: Any) -> bool:
    """Whether the decision, or the before-image on record, had that value."""
    intent = facts.docs["intent"].get(line["write_id"], {"expected": {}, "writes": {}})
    write = facts.docs["write"].get(intent["writes"].get(name, ""), {})
    return before in (intent["expected"].get(name), write.get("before")) and name in intent["expected"]


def _told_of(facts: Facts, record: str, name: str, value: Any) -> bool:
    items = [item for item in facts.docs["review"].values() if (item["record"], item["field"]) == (record, name)]
    entries = [one for one in facts.audit if (one["record"], one["field"]) == (record, name)]
    asked = any(value in (item["current"], item["proposed"]) for item in items if item["reason"] in ASKED)
    asked = asked or any(item["reason"] == "in_doubt" and item["state"] == "pending" for item in items)
    return asked or any(
        one["what"] in ("person.edited", "person.overwritten") and value in (one["before"], one["after"])
        for one in entries
    )


def no_call_after_a_hold(facts: Facts) -> Iterator[str]:
    """I8: from the moment a hold is in force no call for what it holds reaches the CRM."""
    for hold in facts.said.holds:
        for call in facts.calls if hold["since"] is not None else ():
            during = hold["since"] <= call["number"] and (hold["until"] is None or call["number"] < hold["until"])
            held = call["record"] == hold["record"] and (hold["field"] == "*" or hold["field"] in call["values"])
            if during and held:
                yield f"{call} came during {hold}"


def the_budget_holds(facts: Facts) -> Iterator[str]:
    """I8: calls per record in any sliding hour, as the CRM received them."""
    times = defaultdict(list)
    for call in facts.calls:
        times[call["record"]].append(call["at"])
    for record, several in times.items():
        several.sort()
        for first, last in zip(several, several[facts.budget :], strict=False):
            if last - first < HOUR - CLOCKS:
                yield f"{record}: more than {facts.budget} calls between {first} and {last}"


def nothing_below_threshold_without_a_person(facts: Facts) -> Iterator[str]:
    """I8: what stands in the log was proposed with enough confidence, or approved as exactly this value."""
    sure = [one for one in facts.said.proposed if one["confidence"] >= facts.sure.get(one["field"], 2.0)]
    allowed = {(one["record"], one["field"], repr(one["value"])) for one in [*sure, *facts.said.approved]}
    for line in _ours(facts):
        if line["actor"].startswith("rollback:") or line["actor"] == "conflict":
            continue
        for name, value in line["after"].items():
            if (line["record"], name, repr(value)) not in allowed:
                yield f"nobody may have written {name}={value!r}: {line}"


def a_late_answer_counts_for_nothing(facts: Facts) -> Iterator[str]:
    told = {(one["record"], one["field"], repr(one["value"])) for one in [*facts.said.proposed, *facts.said.approved]}
    lost = {(one["record"], one["field"], repr(one["value"])) for one in facts.said.late} - told
    for id_, write in facts.docs["write"].items():
        answered = not write["undoes"]  # what a rollback puts back may be any value
        if answered and (write["record"], write["field"], repr(write["after"])) in lost:
            yield f"write {id_} comes from an answer that had been given up: {write}"


def one_decision_per_item(facts: Facts) -> Iterator[str]:
    """I10: as many decisions (and closings) on record as items that are closed."""
    said = Counter(entry["what"] for entry in facts.audit)
    closed = [item for item in facts.docs["review"].values() if item["state"] != "pending"]
    if said["review.decided"] + said["review.expired"] != len(closed):
        yield f"{said['review.decided']} decided, {said['review.expired']} expired, {len(closed)} closed"


def a_rollback_restores_or_asks(facts: Facts) -> Iterator[str]:
    """I7: the before-image is back, by one line in the log, or a person is asked and the value is untouched. What a
    write had undone may be rolled back with it, and so may several that lead back to the value from before them all:
    then that stands already."""
    back = defaultdict(list)
    for write in facts.docs["write"].values():
        for id_ in write["undoes"]:
            back[id_].append(write)
    asked = {item["write"] for item in facts.docs["review"].values()}
    items = [item for item in facts.docs["review"].values() if item["reason"] == "rollback"]
    about = {(item["record"], item["field"]) for item in items}  # a chain of writes is one question, by its newest
    idle: dict[tuple[str, str], list[Doc]] = defaultdict(list)  # rolled back, and nothing went out for it
    for id_ in {id_ for several in facts.said.rollbacks for id_ in several}:
        write = facts.docs["write"].get(id_)
        if write is None or write["state"] not in ("applied", "rolled_back"):
            continue
        reached = any(one["state"] in ("applied", "superseded", "rolled_back") for one in back[id_])
        if (write["record"], write["field"]) in about:
            continue
        if write["state"] == "applied" and id_ not in asked and not any(one["id"] in asked for one in back[id_]):
            yield f"{id_} was to be rolled back: neither done nor asked: {write}"
        undone = (facts.docs["write"].get(one, {}) for one in write["undoes"])
        stands = any(one.get("state") == "rolled_back" and one["before"] == write["after"] for one in undone)
        if write["state"] == "rolled_back" and not reached and not stands and write["before"] != write["after"]:
            idle[write["record"], write["field"]].append(write)
    for writes in idle.values():
        if Counter(repr(one["before"]) for one in writes) != Counter(repr(one["after"]) for one in writes):
            yield f"rolled back, and nothing went out: {writes}"


def the_context_is_what_the_crm_holds(facts: Facts) -> Iterator[str]:
    """I11, as far as the CRM can tell: after a last look, each known field has the CRM's value."""
    for record, context in facts.contexts.items():
        held = facts.records[record]
        if held is None or not context["known"]:
            continue
        for name, value in context["fields"].items():
            if value["value"] != held.get(name) and not _told_of(facts, record, name, held.get(name)):
                yield f"{record}.{name} is {held.get(name)!r} in the CRM and known as {value}"


def only_legal_transitions(facts: Facts) -> Iterator[str]:
    """I12: what the audit says of each intent, in its order, is a way through docs/design.md "Writing to the CRM"."""
    ways = defaultdict(list)
    for entry in facts.audit:
        if (
            entry["what"].startswith("write.")
            and entry["what"] != "write.late"
            and (id_ := _intent_of(entry)) in facts.docs["intent"]
        ):
            ways[id_].append(entry["what"].removeprefix("write."))
    for id_, way in ways.items():
        calling, over, called = False, False, False
        for what in way:
            called = called or what == "sending"
            if what == "sending" and (calling or over):
                yield f"{id_}: called again while the last call was open: {way}"
            if (what == "applied" and not called) or (what == "doubted" and not calling):
                yield f"{id_}: {what} without a call: {way}"
            if over and what not in ("applied", "needless", "conflicted"):
                yield f"{id_}: {what} after its end: {way}"
            calling = what in ("sending", "doubted") or (calling and what not in ANSWERED)
            over = over or what in ("applied", "needless")


def one_result_per_step(facts: Facts) -> Iterator[str]:
    done = Counter((entry["run"], entry["who"]) for entry in facts.audit if entry["what"] == "step.done")
    yield from (f"{of} is done {number} times" for of, number in done.items() if number > 1)
    ends = defaultdict(list)
    for entry in facts.audit:
        if entry["what"].startswith("run.") and entry["run"]:
            ends[entry["run"]].append(entry["what"].removeprefix("run."))
    for run, way in ends.items():
        alive = False
        for what in way:
            if what in ("started", "retried") and alive and what == "started":
                yield f"run {run}: {way}"
            if what in ("finished", "failed", "cancelled") and not alive:
                yield f"run {run} ended twice: {way}"
            alive = what in ("started", "retried") or (alive and what not in ENDED)


def a_notice_that_is_sent_has_arrived(facts: Facts) -> Iterator[str]:
    for id_, notice in facts.docs["notice"].items():
        if notice["state"] == "sent" and notice["key"] not in facts.told:
            yield f"notice {id_} is said to be sent: {notice}"


def _ours(facts: Facts) -> list[Doc]:
    return [line for line in facts.log if line["source"] == "revops"]


def _last_change(facts: Facts, line: Doc, name: str) -> Doc | None:
    earlier = [one for one in facts.log[: line["seq"]] if one["record"] == line["record"] and name in one["after"]]
    return earlier[-1] if earlier else None


def _intent_of(entry: Doc) -> str:
    return str(entry["note"]).partition(":")[0]


CHECKS: tuple[Callable[[Facts], Iterator[str]], ...] = (
    every_event_is_accounted_for,
    nothing_stays_open,
    applied_is_what_the_log_says,
    an_edit_is_not_overwritten_unnoticed,
    no_call_after_a_hold,
    the_budget_holds,
    nothing_below_threshold_without_a_person,
    a_late_answer_counts_for_nothing,
    one_decision_per_item,
    a_rollback_restores_or_asks,
    the_context_is_what_the_crm_holds,
    only_legal_transitions,
    one_result_per_step,
    a_notice_that_is_sent_has_arrived,
)
