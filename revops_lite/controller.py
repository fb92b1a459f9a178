"""The controller: take events, decide, commit. It is the only writer of runs, contexts, reviews and breakers.

One pass of the loop is one call of `step(now)`; a test calls it by hand. The stream is the truth: a pub/sub message
is only a reason to look sooner, and killing the controller anywhere loses nothing but the pass it was in.

Where many events wait, Redis commits one batch while the next is decided: at most one commit is under way, and what
follows from it (services hear of it, documents are forgotten) waits until it has arrived.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from revops_lite.admission import MOST, Admission
from revops_lite.archiver import Archiver, departures, returns
from revops_lite.engine import Changes, Missing, State, decide
from revops_lite.engine.decide import RESERVED
from revops_lite.engine.ids import agent_tag
from revops_lite.engine.state import Ahead, over
from revops_lite.hints import calls_of, named, sure
from revops_lite.models import AuditEntry, BreakerState, Context, Event, Intent, Key, OutNotice, Run
from revops_lite.policy import Rulebook
from revops_lite.portions import BATCH, bounded, pieces, undecidable, unreadable
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import enqueue_commands
from revops_lite.queue.names import isolated
from revops_lite.store import version
from revops_lite.store.commit import commands, kept_due, together
from revops_lite.store.events import Entry
from revops_lite.store.store import Lead, Store
from revops_lite.store.upgrade import upgrade

log = logging.getLogger("revops.controller")

MANY = 64  # events of which a commit takes long enough to decide others meanwhile
TURNS = 32  # of events that have waited, at least, however many others have come
DOCS_KEPT = 8_000
TRIM_EVERY = 60.0
STREAMED = 10_000  # events and audit entries, of which between one and two times as many stay in their streams
HEARTBEAT_EVERY = 5.0
DRAIN_EVERY = 1.0

AfterCommit = Callable[[Changes], None]
ReadOn = Callable[[str], list[Entry]]  # what has come behind a stream id, without waiting


class Controller:
    """`take_over` first, then `step` again and again, from one thread."""

    def __init__(
        self,
        store: Store,
        drain: Drain,
        rulebook: Rulebook,
        owner: str,
        most: int = MOST,
        archiver: Archiver | None = None,
    ) -> None:
        self.store = store
        self.drain = drain
        self.rulebook = rulebook
        self.owner = owner
        self.archiver = archiver
        self.admission = Admission(store, rulebook, most)
        self._heard = RESERVED.union(*(flow.on for flow in rulebook.workflows.values()))  # of events, those that count
        self.after_commit: list[AfterCommit] = []
        self.state = State()
        self.come: list[Entry] = []  # read on already, while a commit is under way: what the next step is about
        self._loaded: list[Key] = []  # since the last commit
        self._under_way: tuple[Callable[[], None], Changes, float] | None = None
        self._going: set[Key] = set()  # out of Redis, with the commit that is under way
        self._lead: Lead | None = None
        self._next_timer: float | None = None
        self._now = 0.0  # of this pass
        self._trimmed_at = 0.0
        self._streamed = 0  # since the newer of the marks
        self._marks = "0-0", "0-0"  # cursors, `STREAMED` entries apart
        self._committed_at = 0.0
        self._drained_at = 0.0

    @property
    def lead(self) -> Lead:
        assert self._lead is not None, "take_over comes first"
        return self._lead

    @property
    def next_timer(self) -> float | None:
        """When the next timer may be due; None where there is none."""
        return self._next_timer

    def take_over(self, now: float, force: bool) -> None:
        """Fence every other controller out and read what has to be in memory. Raises AnotherController."""
        self._abandon()
        version.begin(self.store.redis)
        self._lead = self.store.begin(self.owner, now, force)
        upgrade(self.store, self._lead, now)
        started = AuditEntry(now, "controller.started", self.owner, note=f"epoch {self._lead.epoch}")
        self.store.commit(self._lead, list(commands(State(), Changes(audit=[started]), now)), None, now)
        self.forget()
        self._wake_orphans(now)

    def _wake_orphans(self, now: float) -> None:
        """Steps parked for an agent that is not configured any more: no probe may ever come for them."""
        gone = [agent for agent in self.state.parked if agent not in self.rulebook.agents]
        if gone:
            changes = Changes(timers={f"unpark|{agent}": now for agent in gone})
            self.store.commit(self.lead, list(commands(State(), changes, now)), None, now)
            self._next_timer = self.store.next_timer()

    def forget(self) -> None:
        """Drop the working set and read it anew: after a lost connection nobody knows what the last commit did."""
        self._abandon()
        self.state = self.store.working_set()
        self.admission.forget()
        self._next_timer = self.store.next_timer()

    def _abandon(self) -> None:
        """What becomes of a commit that is under way is Redis's to say."""
        if self._under_way is not None:
            with suppress(Exception):
                self._under_way[0]()
        self._under_way, self.come = None, []
        self._loaded.clear()
        self._going.clear()
        if self.archiver:
            self.archiver.forget()

    def resign(self, now: float) -> None:
        if self._lead is not None:
            self.land()
            self.store.resign(self._lead, now)

    # -- one pass --

    def step(self, now: float, come: list[Entry] | None = None, read_on: ReadOn | None = None) -> int:
        """Handle what has come: due timers and up to one batch of events (`come`, where they have been read already).
        Returns how many there were. With `read_on`, where more has come, the commit is still under way then.

        Raises Fenced when another controller has taken over, BusError when Redis does not answer; the pass then
        counts for nothing and `forget` has to be called before the next.
        """
        self._now = now
        if not 0 <= now - self._drained_at < DRAIN_EVERY:
            self._drained_at = now
            self._drain([b.name for b in self.state.breakers.values() if b.state is BreakerState.OPEN], now)
        alarms = self._due(now)
        entries = self.store.read(self.lead.cursor, BATCH) if come is None else come
        entries = bounded(entries)
        turns = self.admission.due(max(BATCH - len(entries), TURNS), self.land)
        events = [*alarms, *(event for event, _ in turns), *self._at_once(entries, now)]
        if not events and not entries:
            self.land()
            self._rest(now)
            return 0
        changes = self._decide(events, now, {event.id: since for event, since in turns})
        self._commit(changes, entries[-1].id if entries else None, now, read_on if len(entries) >= MANY else None)
        return len(alarms) + len(entries) + len(turns)

    def _at_once(self, entries: list[Entry], now: float) -> list[Event]:
        """Those of the events that came which do not have to wait for their turn."""
        came = [entry.event or unreadable(entry, now) for entry in entries if self._counts(entry.event)]
        if self.admission.tight(len(came)):
            self._load(("context", event.subject) for event in came if event.source == "crm")
        return self.admission.sort(came, self.state.docs, now)

    def _counts(self, event: Event | None) -> bool:
        """Whether there is something to decide: what we told for others comes back with the rest."""
        return event is None or event.source != "controller" or event.type in self._heard

    def _due(self, now: float) -> list[Event]:
        if self._next_timer is None or self._next_timer > now:
            return []
        self.land()
        due = self.store.due_timers(now, BATCH)
        self._next_timer = 0.0 if due else self.store.next_timer()  # with these out of the way, another is the next
        return [
            Event(f"timer|{name}|{at!r}", "timer.due", "timer:due", "controller", now, {"timer": name})
            for name, at in due
        ]

    def _decide(self, events: Sequence[Event], now: float, waited: Mapping[str, float]) -> Changes:
        """Decide a batch on a copy of what is known; the state itself moves only when Redis has it all."""
        flows, calls = self.rulebook.workflows.values(), calls_of(events)
        self._load(key for event in events for key in sure(event, flows))
        while calls and self._load(key for call in calls for key in named(call, self.state.docs)):
            pass  # what has been loaded names more
        batch = Changes()
        ahead = State(
            Ahead(self.state.docs),
            dict(self.state.breakers),
            {record: dict(held) for record, held in self.state.holds.items()},
            {agent: dict(waiting) for agent, waiting in self.state.parked.items()},
            waited,
        )
        for event in events:
            changes = self._decide_one(ahead, event, now)
            ahead.apply(changes)
            batch.add(changes)
        return batch

    def _decide_one(self, ahead: State, event: Event, now: float) -> Changes:
        while True:
            try:
                return decide(ahead, self.rulebook, event, now)
            except Missing as missing:
                ahead.docs.update(self._load(missing.keys))
            except Exception as error:  # a poison event must not stop the others
                parts = pieces(event)
                if len(parts) > 1:
                    return self._decide_each(ahead, parts, now)
                if event.type == "event.unreadable":
                    raise
                log.exception("event %s of type %s cannot be decided", event.id, event.type)
                event = undecidable(event, f"deciding {event.type} failed: {type(error).__name__}: {error}", now)

    def _decide_each(self, ahead: State, parts: Sequence[Event], now: float) -> Changes:
        """One record of many makes the decision impossible: the others go on without it."""
        changes = Changes()
        for piece in parts:
            one = self._decide_one(ahead, piece, now)
            ahead.apply(one)
            changes.add(one)
        return changes

    def _load(self, wanted: Iterable[Key]) -> dict[Key, object]:
        absent = [key for key in dict.fromkeys(wanted) if key not in self.state.docs]
        if absent:
            if not self._going.isdisjoint(absent):
                self.land()
            held = self.store.held(absent)
            held.update(self._bring_back([key for key, value in held.items() if value is None]))
            self.state.docs.update(held)
            self._loaded += absent
        return {key: self.state.docs[key] for key in absent}

    def _bring_back(self, absent: list[Key]) -> dict[Key, object]:
        """What has left Redis is there again before anything is decided on it: a commit writes only what it changes."""
        rows = self.archiver.find(absent) if self.archiver and absent else []
        if rows:
            self.land()
            self.store.commit(self.lead, together(returns(rows)), None, self._now)
        return {row.key: row.document() for row in rows}

    def _commit(self, changes: Changes, cursor: str | None, now: float, read_on: ReadOn | None) -> None:
        moved = self.admission.moved(self.state.docs, changes.docs)  # before anything is forgotten
        words = together((*commands(self.state, changes, now), *enqueue_commands(changes.jobs, now), *moved))
        quiet = not any(event.type in self._heard for event in changes.events)
        self.land()
        going = self.archiver.leave(self.state.docs, changes.docs) if self.archiver else []
        words += map(list, departures(going))
        come = read_on(cursor) if read_on and cursor else []
        self.come = come if len(come) >= MANY else []  # few are read again, with those that will have come by then
        commit = self.store.begin_commit(self.lead, words, cursor, now, quiet)
        self._under_way = commit, changes, now
        self._going.update(going)
        self.state.apply(changes)
        if not self.come:
            self.land()

    def land(self) -> None:
        """Wait for the commit that is under way, if there is one. Raises what `step` does."""
        if self._under_way is not None:
            (commit, changes, now), self._under_way = self._under_way, None
            commit()
            self._going.clear()
            self._committed(changes, now)

    def _committed(self, changes: Changes, now: float) -> None:
        self._committed_at = now
        if self.archiver:
            self.archiver.stay(changes.docs)
        due = [kept_due(at, now) for at in changes.timers.values() if at is not None]
        if due:
            self._next_timer = min(due if self._next_timer is None else [*due, self._next_timer])
        self._drain(changes.drained, now)
        for listener in self.after_commit:
            listener(changes)
        self._forget_some(changes)
        self._streamed += len(changes.events) + len(changes.audit)
        if self._streamed >= STREAMED:
            self._streamed, self._marks = 0, (self._marks[1], self.lead.cursor)
            self.store.trim(now, self._marks[0])

    def _drain(self, agents: Iterable[str], now: float) -> None:
        """Unclaimed jobs of open breakers come back and park: those there when it opened, and those of dead hosts."""
        for agent in agents:
            if policy := self.rulebook.agents.get(agent):
                for queue in (policy.queue, isolated(policy.queue)):
                    self.drain.back(queue, agent_tag(agent), now)

    def _rest(self, now: float) -> None:
        """Nothing came: show that we live, and forget what has served its time."""
        going = self.archiver.leave(self.state.docs, ()) if self.archiver else []
        if going or not 0 <= now - self._committed_at < HEARTBEAT_EVERY:  # nor where the clock was set back
            self.store.commit(self.lead, list(departures(going)), None, now)
            self._committed_at = now
        if not 0 <= now - self._trimmed_at < TRIM_EVERY:
            self._trimmed_at = now
            self.store.trim(now, self._marks[0])

    def _forget_some(self, changes: Changes) -> None:
        """Keep the working set small: what has come to its end, and a record on which nothing works any more, is not
        asked for again soon; beyond a bound the oldest documents go, whatever they are. All can be loaded again."""
        docs = self.state.docs
        for key in (*changes.docs, *self._loaded):
            if _rests(docs.get(key)):
                docs.pop(key, None)
        self._loaded.clear()
        if len(docs) > DOCS_KEPT:
            for key in list(docs)[: len(docs) - DOCS_KEPT * 3 // 4]:
                del docs[key]

    # -- for those who serve --

    def unfinished(self) -> tuple[list[Run], list[Intent], list[OutNotice]]:
        """Records to load, CRM calls to make and notices to send, as they stand in Redis: the services' start."""
        runs = self.store.load(("run", id_) for id_ in self.store.opened("loads"))
        intents = self.store.load(("intent", id_) for id_ in self.store.opened("intents"))
        notices = self.store.load(("notice", id_) for id_ in self.store.opened("notices"))
        return (
            [run for run in runs.values() if isinstance(run, Run)],
            self._in_order([intent for intent in intents.values() if isinstance(intent, Intent)]),
            [notice for notice in notices.values() if isinstance(notice, OutNotice)],
        )

    def _in_order(self, intents: list[Intent]) -> list[Intent]:
        """Calls for one record as they were decided: the context says so, whatever a clock that was set back says."""
        several = [record for record, number in Counter(intent.record for intent in intents).items() if number > 1]
        contexts = self.store.load(("context", record) for record in several)
        turns = {id_: turn for context in contexts.values() if context for turn, id_ in enumerate(context.intents)}
        return sorted(intents, key=lambda intent: (turns.get(intent.id, 0), intent.at))

    def caught_up(self) -> bool:
        """Whether every accepted event has been decided, or waits for its turn."""
        return self.lead.cursor == self.store.last_event()


def _rests(value: object) -> bool:
    """Whether nothing works on it any more, or there is no such document."""
    if isinstance(value, Context):
        return not value.runs and not value.intents
    return value is None or over(value)
