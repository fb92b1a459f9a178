"""Whatever stands in the event stream: the controller lives, moves on, and says what it could not use."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import NOW, Bus, raw_event, shown
from fuzzed import Fuzz
from revops_lite.engine.decide import RESERVED
from revops_lite.engine.ids import part_id
from revops_lite.errors import EventRefused
from revops_lite.installation import make_event
from revops_lite.store.events import encode_event
from rubbish import anything, fragments, objects

STREAM = Fuzz("events in the stream", 60)
SENT = Fuzz("events sent", 70)

# Good data of each type of ours, by name of the attribute or document it is about; a fuzzed one has parts replaced.
PROPOSAL = {"values": {"industry": "x"}, "confidence": {"*": 0.9}, "because": "y", "target": None, "flags": [],
            "clears": [], "notices": [], "reports": []}  # fmt: skip
ANSWER = {"step": "enrich", "attempt": 1, "outcome": "done", "proposals": [PROPOSAL], "error": "", "problems": []}
MANY = {"results": [{**ANSWER, "step": "inspect", "run": "r", "record": "deal:1", "page": "p"}]}
PAGE = {
    "asked_at": NOW,
    "records": {"deal:3": shown()},
    "seen": {"owner:1": shown()},
    "related": {"deal:3": {}},
    "of": 3,
}
LOADED = {"asked_at": NOW, "records": {"lead:0": shown(a=1)}, "related": {"company": ["company:1"]}}
DATA: dict[str, dict[str, Any]] = {
    "lead.created": {"industry": "x"},
    "record.loaded": LOADED,
    "record.missing": {"error": "gone"},
    "records.swept": PAGE,
    "sweep.ended": {"asked_at": NOW},
    "run.cancelled": {"by": "ana"},
    "run.retried": {"by": "ana"},
    "step.finished": ANSWER,
    "step.late": {"job": "j"},
    "job.refused": {"job": "r-a-s-1", "error": "e"},
    "step.continued": {"step": "enrich", "attempt": 1, "proposals": [PROPOSAL]},
    "write.sending": {"intent": "", "before": {"industry": "x"}},
    "write.applied": {"intent": "", "already": False},
    "write.failed": {"intent": "", "why": "no"},
    "write.deferred": {"intent": "", "why": "later", "retry_at": NOW + 5},
    "write.doubted": {"intent": "", "why": "?", "settle_until": NOW + 5},
    "write.conflicted": {"intent": "", "current": {"industry": "z"}, "in_doubt": False},
    "write.stopped": {"intent": "", "reason": "held", "fields": ["industry"], "why": "hold"},
    "notice.sent": {"notice": ""},
    "notice.failed": {"notice": "", "error": "no", "retry_at": NOW + 5, "final": False},
    "review.decided": {"review": "", "decision": "edit", "values": {"size": 4}, "by": "ana", "note": "n"},
    "hold.placed": {"field": "industry", "by": "ana", "reason": "law", "until": NOW + 9},
    "hold.released": {"field": "industry", "by": "ana", "reason": "over"},
    "rollback.requested": {"writes": [""], "by": "ana"},
    "breaker.opened": {"agent": "enrich", "by": "ana", "reason": "r"},
    "breaker.reset": {"agent": "enrich", "by": "ana"},
    "audit.anchored": {"seq": 1, "mac": "m", "day": "2026-01-01", "to": "ops"},
    "audit.alarm": {"why": "w"},
    "digest.due": {"window": "w", "to": "ops", "subject": "s", "text": "t"},
    "cron.fired": {"workflow": "wide"},
    "event.unreadable": {"error": "e"},
    "timer.due": {"timer": "retry|r|enrich"},
    "workflow.started": {"workflow": "flow", "shadow": False},
}
ATTRIBUTES = ("id", "type", "subject", "source", "time", "run", "cause", "hop")
HEADS = ["deadline", "retry", "probe", "unpark", "parts", "expire", "release", "parts|cancel", "parts|retry", "?"]
timers = st.tuples(st.sampled_from(HEADS), st.lists(st.sampled_from(["", "x", "1", "-1", "9" * 5000, "|", "\ud800"])))


def test_every_type_of_our_own_is_fuzzed() -> None:
    assert DATA.keys() >= RESERVED


RUNS = ["loading", "calling", "written", "wide", "part", "none", "null"]
subjects = st.sampled_from(["lead:0", "lead:1", "lead:2", "deal:1", "deal:3", "workflow:wide", "lead:none", "x"])
HOME = {  # the run and the record at which an event of this type would do most
    "record.loaded": ("loading", "lead:0"),
    "record.missing": ("loading", "lead:0"),
    **dict.fromkeys(("records.swept", "sweep.ended", "run.retried"), ("wide", "workflow:wide")),
    **dict.fromkeys(
        (name for name in DATA if name.startswith(("write.", "notice.", "review."))), ("written", "lead:2")
    ),
}


@st.composite
def forged(draw: Any) -> dict[str, Any]:
    """A type, its good data with some parts replaced by JSON of another kind, and perhaps a wrong attribute."""
    type_ = draw(st.sampled_from(sorted(DATA)))
    return {
        "type": type_,
        "at": draw(st.just(HOME.get(type_, ("calling", "lead:1"))) | st.tuples(st.sampled_from(RUNS), subjects)),
        "paths": draw(st.lists(st.tuples(st.integers(0, 60), anything()), min_size=1, max_size=3)),
        "without": [draw(st.integers(0, 60))] if draw(st.integers(0, 4)) == 4 else [],
        "attribute": draw(st.tuples(st.sampled_from(ATTRIBUTES), anything())) if draw(st.integers(0, 9)) == 7 else None,
        "source": draw(st.sampled_from(["cli", "host", "writer", "crm", "controller"])),
        "timer": "|".join([(timer := draw(timers))[0], *timer[1]]),
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, part in inner for found in places(part, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], mark: Any) -> Any:
    if not path:
        return mark
    inner = dict(value) if isinstance(value, dict) else list(value)
    inner[path[0]] = replaced(inner[path[0]], path[1:], mark)
    return inner


def data_of(bus: Bus, plan: dict[str, Any]) -> str:
    """The data's JSON text, fragments in place."""
    data = dict(DATA[plan["type"]])
    for name in ("intent", "notice", "review"):
        if name in data:
            data[name] = getattr(bus, name)
    if "writes" in data:
        data["writes"] = [bus.write]
    if "timer" in data:
        data["timer"] = plan["timer"].replace("x", bus.calling).encode("utf-8", "replace").decode()
    for number in plan["without"]:
        if data:
            del data[sorted(data)[number % len(data)]]
    marks = {}
    for number, fragment in plan["paths"]:
        where = places(data)[1:] or [()]
        mark = f"<<{len(marks)}>>"
        marks[json.dumps(mark)] = fragment
        data = replaced(data, where[number % len(where)], mark)
        if not isinstance(data, dict | list):
            break
    text = json.dumps(data)
    for mark, fragment in marks.items():
        text = text.replace(mark, fragment)
    return text


def bytes_of(bus: Bus, plan: dict[str, Any], number: int) -> bytes:
    runs = {"loading": bus.loading, "calling": bus.calling, "written": bus.written, "wide": bus.wide, "none": "rnone"}
    at, subject = plan["at"]
    run = None if at == "null" else runs.get(at, part_id(bus.wide, "deal:1"))
    parts = {"id": f"bad{number}", "type": plan["type"], "subject": subject, "source": plan["source"]}
    text = {name: json.dumps(part) for name, part in parts.items()}
    text |= {"time": str(NOW), "run": json.dumps(run), "data": data_of(bus, plan)}
    if plan["attribute"]:
        name, fragment = plan["attribute"]
        text[name] = fragment
    return raw_event(text)


def new_bus() -> Bus:
    return Bus(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))))


@STREAM
@given(
    plans=st.lists(forged(), min_size=1, max_size=6),
    raws=st.lists(st.binary(max_size=40) | fragments.map(str.encode), max_size=2),
)
def test_whatever_is_put_into_the_stream_is_passed(plans: list[dict[str, Any]], raws: list[bytes]) -> None:
    bus = new_bus()
    bus.told()
    for raw in [*(bytes_of(bus, plan, number) for number, plan in enumerate(plans)), *raws]:
        bus.put(raw)
        bus.settle()
        told = bus.told()
        STREAM.fired("dead letter" if "dead_letter" in told else "audited" if told else "nothing to do")
    holds = not any(plan["type"].startswith("hold.") for plan in plans)
    bus.check(holds=holds)
    bus.now += 3 * 86400
    bus.settle()
    bus.check(holds=holds)
    bus.still_works(1)
    STREAM.fired("good events handled")


FOUND = {
    "an end date in words": ("hold.placed", "lead:0", '{"by": "ana", "until": "soon"}'),
    "an alarm without a name": ("timer.due", "lead:0", "{}"),
    "a settle time that is no number": ("write.doubted", "lead:2", '{"intent": "INTENT", "settle_until": "nan"}'),
    "a call put off for ever": ("write.deferred", "lead:2", '{"intent": "INTENT", "retry_at": "inf"}'),
    "a notice put off for ever": ("notice.failed", "lead:2", '{"notice": "NOTICE", "retry_at": "-inf"}'),
    "a value beyond every double": ("lead.created", "lead:9", '{"amount": 1e999}'),
    "a value that is no number": ("lead.created", "lead:9", '{"amount": NaN}'),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_stopped_the_controller_once_or_left_what_no_successor_could_read(name: str) -> None:
    bus = new_bus()
    type_, subject, data = FOUND[name]
    data = data.replace("INTENT", bus.intent).replace("NOTICE", bus.notice)
    text = {
        "id": '"bad"',
        "type": f'"{type_}"',
        "subject": f'"{subject}"',
        "source": '"cli"',
        "time": "1",
        "data": data,
    }
    bus.put(raw_event(text))
    bus.put(raw_event(text | {"id": '"late"', "time": '"nan"'}))
    bus.settle()
    bus.check()
    bus.still_works(1)
    assert "dead_letter" in bus.told()


def test_whatever_is_put_into_the_stream_is_counted() -> None:
    STREAM.told(STREAM.examples, {"dead letter": 30, "audited": 30, "good events handled": STREAM.examples})


@st.composite
def sent(draw: Any) -> dict[str, Any]:
    """What a program may hand to the client; one of its parts at most is wrong as a whole."""
    wrong = draw(st.sampled_from(["nothing", "values", "values", "values", "type", "record", "data", "id"]))
    bad_type = st.sampled_from(["", "x", "LEAD.created", *sorted(RESERVED)]) | objects
    bad_record = st.sampled_from(["lead:", ":1", "lead", "lead:" + "x" * 300, "lead:a b"]) | objects
    values = st.dictionaries(st.text(max_size=5), objects if wrong == "values" else st.integers(0, 9), max_size=2)
    return {
        "type_": draw(bad_type) if wrong == "type" else "lead.created",
        "record": draw(bad_record) if wrong == "record" else "lead:1",
        "data": draw(objects) if wrong == "data" else draw(st.none() | values),
        "id_": draw(objects | st.just("x" * 301)) if wrong == "id" else draw(st.none() | st.just("a")),
    }


@SENT
@given(given_=sent())
def test_whatever_a_program_sends_is_refused_in_words_or_passed(given_: dict[str, Any]) -> None:
    try:
        raw = encode_event(make_event(**given_, source="client"))
    except EventRefused:
        SENT.fired("refused")
        return
    SENT.fired("accepted")
    bus = new_bus()
    bus.put(raw)
    bus.settle()
    bus.check()
    bus.still_works(1)


def test_whatever_a_program_sends_is_counted() -> None:
    SENT.told(SENT.examples, {"refused": 15, "accepted": 15})
