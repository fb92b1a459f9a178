"""Bugs, planted one at a time, that the checker has to find; and the waiting times that a test cuts short.

Each function changes the product inside one process (the nursery's children). What it breaks is a promise that the
unbroken code keeps, in the way that such a bug is really written: the call before the record, the retry without a
look, the check that somebody forgot.
"""

from __future__ import annotations

import functools
import itertools
import uuid
from collections.abc import Callable
from typing import Any

BUGS: dict[str, Callable[[], None]] = {}


def bug(plant: Callable[[], None]) -> Callable[[], None]:
    BUGS[plant.__name__] = plant
    return plant


def hurry(settle: float) -> None:
    """Not a bug: a controller that was killed is gone at once, and unknown outcomes settle sooner."""
    from revops_lite import bootstrap
    from revops_lite.store import store

    store.SILENT_AFTER = 0.0
    bootstrap.Terms = functools.partial(bootstrap.Terms, settle=settle)


def shift_clock(seconds: float) -> None:
    """Not a bug either: the process lives so much later."""
    import time

    real = time.time
    time.time = lambda: real() + seconds


def edit_script(name: str, old: str, new: str) -> None:
    """The Lua file `name` is read with `new` in place of `old`; several edits of one file add up."""
    from importlib.resources import files

    from revops_lite.queue.script import LuaScript
    from revops_lite.store.scripts import Script

    for kind, package in ((Script, "revops_lite.store"), (LuaScript, "revops_lite.queue")):
        file = files(package) / "scripts" / f"{name}.lua"
        if not file.is_file():
            continue
        edits = _edits.setdefault(name, [])
        if not edits:
            _wrap(kind, name, file.read_text("utf-8"), edits)
        assert old in file.read_text("utf-8"), f"{name}.lua has no {old!r} to break"
        edits.append((old, new))


_edits: dict[str, list[tuple[str, str]]] = {}


def _wrap(kind: Any, wanted: str, source: str, edits: list[tuple[str, str]]) -> None:
    init = kind.__init__

    def __init__(self: Any, redis: Any, *words: Any) -> None:
        init(self, redis, *words)
        if words[-1] == wanted:
            text = source
            for old, new in edits:
                text = text.replace(old, new)
            self._script = redis.register_script(text)

    kind.__init__ = __init__


# ---- the CRM writer ------------------------------------------------------------------------------------------------


@bug
def call_then_record() -> None:
    """The CRM is called first, and what was done is written down after it."""
    from revops_lite.writer import Writer

    gate, one = Writer._gate, Writer._one
    done: dict[str, Any] = {}

    def _gate(self: Any, intents: Any, standing: Any, now: float) -> Any:
        from revops_lite.ports import CrmCall

        for intent in intents:
            call = CrmCall(intent.record, intent.values, intent.expected, intent.id, intent.agent)
            done[intent.id] = one(self, call)
        return gate(self, intents, standing, now)

    Writer._gate = _gate
    Writer._one = lambda _self, call: done[call.write_id]


@bug
def record_then_call() -> None:
    """The outcome is told before there is one."""
    from revops_lite.writer import Writer

    call = Writer._call

    def _call(self: Any, intents: Any, found: Any, now: float, begin_by: float) -> Any:
        reports = [self._applied(intent, now) for intent in intents]
        self.store.append(reports)
        call(self, intents, found, now, begin_by)
        return reports

    Writer._call = _call


@bug
def blind_retry() -> None:
    """A call without an answer is made again at once."""
    from revops_lite.errors import CrmUnknown
    from revops_lite.writer import Writer

    one = Writer._one

    def _one(self: Any, call: Any) -> Any:
        outcome = one(self, call)
        return one(self, call) if isinstance(outcome, CrmUnknown) else outcome

    Writer._one = _one


@bug
def no_settle() -> None:
    """An unknown outcome is read back before the CRM can have got to it."""
    from revops_lite import bootstrap

    bootstrap.Terms = functools.partial(bootstrap.Terms, settle=0.0)


@bug
def counted_after_the_call() -> None:
    """The budget is counted once the call has come back; a crash in between is a call for nothing."""
    from revops_lite.rules import governance
    from revops_lite.writer import Writer

    edit_script("gate", "redis.call('ZADD', KEYS[4], now, ARGV[5])", "")
    governance.in_window = lambda _sent, _now: ()
    call = Writer._call

    def _call(self: Any, intents: Any, found: Any, now: float, begin_by: float) -> Any:
        from revops_lite.store import keys

        reports = call(self, intents, found, now, begin_by)
        for intent in intents:
            self.store.redis.zadd(keys.sent(intent.record), {f"{intent.id}|{intent.passes}": now})
        return reports

    Writer._call = _call


@bug
def hold_forgotten_at_the_gate() -> None:
    """A hold counts when it is decided, and not when it is written."""
    edit_script("gate", "if #held > 1 then return held end", "")
    edit_script("gate", "return {'held', '*'} end", "end")


@bug
def approved_without_a_look() -> None:
    """What a person approves is written, whatever stands there by now."""
    _no_compare("review:")


@bug
def rolled_back_without_a_look() -> None:
    """The old value is put back, whoever has changed it since."""
    from revops_lite.rules import rollback as rules

    plan = rules.plan
    rules.plan = lambda writes, _standing: plan(writes, {write.field: write.after for write in writes})
    _no_compare("rollback:")


def _no_compare(agent: str) -> None:
    from revops_lite.engine import reviews
    from revops_lite.writer import Writer

    before = Writer._before

    def _before(self: Any, intent: Any, record: Any, now: float) -> Any:
        report = before(self, intent, record, now)
        ours = report is not None and report.type == "write.conflicted" and intent.agent.startswith(agent)
        return None if ours else report

    Writer._before = _before
    if agent == "review:":
        reviews._come_back = lambda draft, item, _standing: reviews._approve_now(draft, item)
        reviews._approve_now = _approve_now


def _approve_now(draft: Any, item: Any) -> str:
    from revops_lite.engine import reviews
    from revops_lite.models import ReviewState

    reviews._close(draft, item, ReviewState.APPROVED, "pat")
    reviews._write_for(draft, item, item.proposed, "pat")
    return ""


# ---- events and commits --------------------------------------------------------------------------------------------


@bug
def no_fence() -> None:
    """Whoever once was the controller goes on committing and calling."""
    edit_script("commit", "if state[1] ~= ARGV[1] then", "if false then")
    edit_script("commit", "if seq == tonumber(ARGV[2]) + 1 then", "if false then")
    edit_script("commit", "if seq ~= tonumber(ARGV[2]) then", "if false then")
    edit_script("gate", "if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {'fenced'} end", "")


@bug
def default_retry() -> None:
    """redis-py sends again what had no answer, and a commit does not know that it was done."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    from revops_lite.store import client

    client.Retry = lambda _backoff, _retries: Retry(NoBackoff(), 3)
    edit_script("commit", "if seq == tonumber(ARGV[2]) + 1 then", "if false then")
    edit_script("commit", "if seq ~= tonumber(ARGV[2]) then", "if false then")


@bug
def published_only() -> None:
    """Events are told to whoever listens, and nothing keeps them."""
    edit_script("append", "redis.call('XADD', KEYS[1], '*', 'e', ARGV[2 * i])", "")


@bug
def known_ids_forgotten() -> None:
    """An event that comes again is another event."""
    edit_script("append", "if redis.call('SET', KEYS[i], mark, 'NX', 'EX', ARGV[2]) then", "if true then")


@bug
def cursor_ahead() -> None:
    """After a batch the cursor goes to the end of the stream, past what came meanwhile."""
    from revops_lite.store.store import Store

    begin = Store.begin_commit

    def _begin(self: Any, lead: Any, commands: Any, cursor: str | None, now: float, quiet: bool = False) -> Any:
        return begin(self, lead, commands, self.last_event() if cursor else None, now, quiet)

    Store.begin_commit = _begin


@bug
def context_in_a_second_step() -> None:
    """A decision is committed, and then what it changes in the record's context."""
    from revops_lite.store.store import Store

    begin = Store.begin_commit

    def _begin(self: Any, lead: Any, commands: Any, cursor: str | None, now: float, quiet: bool = False) -> Any:
        later = [one for one in commands if one[0] == "HSET" and str(one[1]).startswith("revops:context")]
        end = begin(self, lead, [one for one in commands if one not in later], cursor, now, quiet)

        def _end() -> None:
            end()
            for one in later:
                self.redis.execute_command(*one)

        return _end

    Store.begin_commit = _begin


@bug
def any_attempt_counts() -> None:
    """A result is taken in whichever attempt of its step it belongs to, and however often."""
    from revops_lite.engine import answers, steps

    answers._expected = lambda _step, _data: True
    steps.ENDED = frozenset()


@bug
def recovery_forgotten() -> None:
    """What a dead host had claimed stays claimed."""
    from revops_lite.queue.recovery import Recovered, Recovery

    Recovery._recover = lambda *_words, **_more: Recovered()


@bug
def echo_unknown() -> None:
    """Our own writes come back from the CRM as news."""
    from revops_lite import reader
    from revops_lite.engine import echoes

    reader.own = lambda changed, _ours: dict(changed)
    echoes.others = lambda _draft, changed: changed


@bug
def slots_without_compare() -> None:
    """A slot is told, and the schedule moved on after that; each telling has an id of its own."""
    from revops_lite.queue import scheduler
    from revops_lite.values import replace

    edit_script("fire", "redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])", "")
    made = scheduler.slot_event
    scheduler.slot_event = lambda *words: replace(made(*words), id=f"cron|{uuid.uuid4()}")
    fire = scheduler.CronScheduler._fire_one

    def _fire_one(self: Any, flow: Any, planned: float, now: float, move: Any) -> int:
        told = fire(self, flow, planned, now, move)
        self.redis.zadd(self.scheduled_jobs_key, {scheduler._job_id(flow.name): move.next})
        return told

    scheduler.CronScheduler._fire_one = _fire_one


# ---- governance, breakers, checkpoints -----------------------------------------------------------------------------


@bug
def unsure_is_sure_enough() -> None:
    """Nobody looks at the confidence."""
    from revops_lite.rules import governance

    governance._by_confidence = lambda *_words: None


@bug
def breaker_not_asked() -> None:
    """It counts and opens, and calls go on all the same."""
    from revops_lite import bootstrap
    from revops_lite.controller import Controller
    from revops_lite.engine import breakers
    from revops_lite.rules import breaker

    bootstrap.PAUSED = "revops:nobody"
    Controller._drain = lambda *_words: None
    breaker.gate = lambda _b, _now: "go"
    breakers._try = lambda *_words: True


@bug
def undeclared_is_taken() -> None:
    """An agent's answer is taken as it comes, with fields that it does not declare."""
    from revops_lite.engine import answers
    from revops_lite.rules import governance

    def check(_draft: Any, run: Any, step: Any, outputs: Any) -> Any:
        found = []
        for output in outputs:
            more = {"owner": "nobody"} if step.agent == "enrichment" else {}
            sure = {**output["confidence"], **dict.fromkeys(more, 0.9)}
            values = {**output.get("values", {}), **more}
            found.append({**output, "target": run.record, "values": values, "confidence": sure})
        return found, ()

    answers.check = check
    judge = governance.judge
    governance.judge = lambda **facts: judge(**{**facts, "declared": (*facts["declared"], "owner")})


@bug
def decided_twice() -> None:
    """The second decision of an item counts like the first."""
    import sys

    from revops_lite.engine import reviews
    from revops_lite.models import ReviewState
    from revops_lite.values import replace

    def decided(draft: Any) -> None:
        find = draft.review
        draft.review = lambda id_: replace(find(id_), state=ReviewState.PENDING)
        reviews.decided(draft)

    # by this name the package itself has the function
    sys.modules["revops_lite.engine.decide"].HANDLERS["review.decided"] = decided


# ---- traces --------------------------------------------------------------------------------------------------------


@bug
def seal_skipped() -> None:
    """Now and then an entry is not sealed."""
    from revops_lite.audit.folder import Trail

    append, count = Trail.append, itertools.count(1)

    def _append(self: Any, page: Any, **words: Any) -> Any:
        return append(self, [raw for raw in page if next(count) % 7] or page, **words)

    Trail.append = _append


@bug
def audit_forgotten() -> None:
    """A write that was applied is nowhere told."""
    from revops_lite.engine.state import Draft

    audit = Draft.audit

    def _audit(self: Any, what: str, *words: Any, **facts: Any) -> None:
        if what != "write.applied":
            audit(self, what, *words, **facts)

    Draft.audit = _audit


@bug
def notices_again() -> None:
    """A notice is sent, and sent again until somebody has heard of it."""
    from revops_lite.notify.file import FileChannel

    send = FileChannel.send

    def _send(self: Any, notice: Any) -> None:
        send(self, notice)
        send(self, notice)

    FileChannel.send = _send


@bug
def text_as_it_comes() -> None:
    """What a stranger wrote goes to the log as it is."""
    from revops_lite import clean

    for name in ("_ONE_LINE", "_MANY_LINES"):
        setattr(clean, name, __import__("re").compile("(?!)"))


@bug
def keys_for_ever() -> None:
    """Documents are put down without a lifetime."""
    from revops_lite.store.store import Store

    begin = Store.begin_commit

    def _begin(self: Any, lead: Any, commands: Any, *words: Any) -> Any:
        plain: list[Any] = []
        for one in commands:
            several = one[0] == "SETS"
            plain += [("SET", *pair) for pair in zip(one[2::2], one[3::2], strict=True)] if several else [one]
        return begin(self, lead, plain, *words)

    Store.begin_commit = _begin
