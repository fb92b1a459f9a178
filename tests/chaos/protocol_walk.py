"""One planned call to the CRM, led to its end again and again: for each class of CRM and each answer it can give, with
the process dying at each boundary of the way.

A death is exact: what the outside holds at that boundary is copied, and another process finds it, as after kill -9.
Dying before a boundary is dying after the one before it, since nothing of a dead process is left; and dying after a
mere reading is dying after whatever was changed last. So the walk dies before all, and after each boundary that can
have changed something outside. `deep` lets it die a second time, at each of the boundaries of the recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

from revops_lite.store import keys
from simulated import BUDGET, HELD_BY
from simulated_facts import Doc
from simulated_play import Play, answer

LEAD = "lead:1"
OURS = {"industry": "ours", "score": "our score"}
CHANGING = ("EVALSHA", "HDEL", "SET")  # what a process says to Redis on this way that is no mere reading or tidying up
ROUNDS = 60

Arrange = Callable[["Walk"], object]


def _faults(*names: str) -> Arrange:
    return lambda walk: walk.world.crm.faults.extend(names)


def _edit(**values: Any) -> Arrange:
    return lambda walk: walk.edit(LEAD, **values)


def _between(act: Arrange) -> Arrange:
    """After the writer has looked, before the gate."""
    return lambda walk: walk.between.append(act)


def _at_call(act: Arrange) -> Arrange:
    """After the gate, before the CRM takes the call."""
    return lambda walk: walk.at_call.append(act)


def _all(*acts: Arrange) -> Arrange:
    def together(walk: Walk) -> None:
        for act in acts:
            act(walk)

    return together


def _later(act: Arrange, seconds: float = 2.0) -> Arrange:
    """While the call is in doubt, before it is read back."""
    return lambda walk: walk.later.append((walk.world.now + seconds, act))


def _used_up(walk: Walk) -> None:
    """The hour's calls have been made: the gate, not the decision, is what says so."""
    walk.world.redis.zadd(keys.sent(LEAD), {f"call {n}": walk.world.now - 3500.0 for n in range(BUDGET)})


def _hold(name: str = "*") -> Arrange:
    return lambda walk: walk.hold(LEAD, name)


PERSONS = {"industry": "a person's"}

ANSWERS: dict[str, Arrange] = {
    "applied": _faults(),
    "refused": _faults("refused"),
    "unavailable": _faults("unavailable"),
    "unavailable, asks for 7 s": _faults("unavailable, asks for 7 s"),
    "unavailable, asks for 10^9 s": _faults("unavailable, asks for 10^9 s"),
    "unavailable three times": _faults(*["unavailable"] * 3),
    "unknown before": _faults("unknown before"),
    "unknown after": _faults("unknown after"),
    "unknown before, twice": _faults("unknown before", "unknown before"),
    "adapter fails before": _faults("garbage before"),
    "adapter fails after": _faults("garbage after"),
    "applied within the settle time": _faults("delayed"),
    "applied after the settle time": _faults("late"),
    "cannot be read": _faults("read unavailable", "read unknown", "read garbage"),
    "the record is gone": _faults("record gone"),
    "shows what stood there before": _faults("read stale"),
    "unknown after, cannot be read back": _all(
        _faults("unknown after"), _later(_faults("read unknown", "read garbage"))
    ),
    "unknown after, is gone at the reading back": _all(_faults("unknown after"), _later(_faults("record gone"))),
    "our values stand there already": _edit(**OURS),
    "one of our values stands there already": _edit(industry="ours"),
    "a person's value stands there": _edit(**PERSONS),
    "a person's values stand there": _edit(industry="a person's", score="a person's"),
    "a person edits before the gate": _between(_edit(**PERSONS)),
    "a person edits after the gate": _at_call(_edit(**PERSONS)),
    "a person edits both after the gate": _at_call(_edit(industry="a person's", score="a person's")),
    "a person edits another field after the gate": _at_call(_edit(city="Oslo")),
    "unknown before, and a person edits": _all(_faults("unknown before"), _later(_edit(**PERSONS))),
    "unknown after, and a person edits": _all(_faults("unknown after"), _later(_edit(**PERSONS))),
    "a hold before": _hold(),
    "a hold on one field before": _hold("score"),
    "a hold before the gate": _between(_hold()),
    "a hold after the gate": _at_call(_hold()),
    "unknown before, and a hold": _all(_faults("unknown before"), _later(_hold())),
    "the hold field is set": _edit(**{HELD_BY: True}),
    "the hold field is set after the gate": _at_call(_edit(**{HELD_BY: True})),
    "the hour's calls are used up": _used_up,
}  # fmt: skip


@dataclass(frozen=True)
class Outside:
    """All there is but the process: Redis, the archive, the CRM, the time, and what is still to happen."""

    where: str
    kind: str
    now: float
    redis: dict[bytes, Any]
    scripts: dict[bytes, bytes]
    archive: bytes
    crm: dict[str, Any]
    said: Any
    acts: tuple[list[Arrange], list[Arrange], list[tuple[float, Arrange]]]


class Walk(Play):
    """A play with one planned call, in which something may happen between the writer's moves."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.between: list[Arrange] = []
        self.at_call: list[Arrange] = []
        self.later: list[tuple[float, Arrange]] = []
        self.points: list[Outside] = []
        self.world.crm.between = [lambda: self._happen(self.between)]
        self.world.crm.before_call = [lambda: self._happen(self.at_call)]

    def _happen(self, acts: list[Arrange]) -> None:
        several = list(acts)
        acts.clear()
        for act in several:
            act(self)

    @classmethod
    def planned(cls, kind: str) -> Outside:
        """A process has decided and is gone; the call it has planned is all that is left to do."""
        walk = cls(kind)
        walk.world.store.set_poll_cursor(str(len(walk.world.crm.log)))  # nothing is told of how the records came
        walk.submit("lead.seen", LEAD)
        walk.world.decide()
        walk.world.crm.between, hook = [], walk.world.crm.between
        walk.world.load()
        walk.world.crm.between = hook
        walk.world.decide()
        walk.work(answer(**{name: (value, 0.95) for name, value in OURS.items()}))
        walk.world.decide()
        return walk.outside("before all")

    def outside(self, where: str) -> Outside:
        crm, server = self.world.crm, self.world.server
        state = {name: copy(getattr(crm, name)) for name in ("log", "calls", "faults", "_coming")}
        acts = (list(self.between), list(self.at_call), list(self.later))
        redis = deepcopy(server.dbs[0]._dict)
        scripts, archive = dict(server.script_cache), self.world.archived()
        return Outside(where, crm.kind, self.world.now, redis, scripts, archive, state, deepcopy(self.said), acts)

    @classmethod
    def found(cls, outside: Outside) -> Walk:
        """Another process, later, finds all this."""
        walk = cls(outside.kind)
        walk.world.now = outside.now
        walk.world.server.dbs[0]._dict = deepcopy(outside.redis)
        walk.world.server.script_cache.update(outside.scripts)
        if outside.archive:
            walk.world.archive.path.write_bytes(outside.archive)
        for name, value in outside.crm.items():
            setattr(walk.world.crm, name, copy(value))
        walk.said = deepcopy(outside.said)
        walk.between, walk.at_call, walk.later = (list(acts) for acts in outside.acts)  # type: ignore[assignment]
        return walk

    def lead_to_its_end(self, *, watch: bool = False) -> Walk:
        """With `watch`, what is outside after each boundary is kept in `points`."""
        if watch:
            self.world.boundaries.watchers.append(self._keep)
        for _ in range(ROUNDS):
            before = self._progress()
            self.world.write()
            self.world.decide()
            self.watch_holds()
            if self.world.process is not None and self._progress() == before and not self._let_pass():
                break
        self.world.boundaries.watchers.clear()
        self.world.poll()
        self.world.decide()
        self.world.write()
        self.world.decide()
        return self

    def _keep(self, name: str) -> None:
        system, _, word = name.partition(" ")
        if system == "crm" or word in CHANGING:
            self.points.append(self.outside(f"{len(self.points)} {name}"))

    def _let_pass(self) -> bool:
        due = self._next_due()
        if due is None:
            return False
        if self.later and self.later[0][0] <= due:
            at, act = self.later.pop(0)
            self.world.now = max(self.world.now, at)
            act(self)
            return True
        self.world.now = max(self.world.now + 0.01, due)
        self.world.crm.arrive()
        return True

    # ---- what became of it

    def intent(self) -> Doc:
        (found,) = [one for one in self.facts().docs["intent"].values() if set(one["values"]) & set(OURS)]
        return found

    def way(self) -> list[str]:
        """The states of the intent, in the order in which the controller heard of them."""
        told = [entry.event for entry in self.world.store.read("0-0", 10_000) if entry.event]
        words = [event.type.removeprefix("write.") for event in told if event.source == "writer"]
        parts = ("conflicted", "stopped")  # some fields are taken back; while others are left it goes on with them
        ends = [AFTER[word] if word not in parts or last else "planned" for word, last in _last(words)]
        return ["planned", *ends]

    def untold(self) -> list[str]:
        """Fields that neither stand in the CRM as we meant them to, nor are put before a person, nor are known to be a
        person's who came after us."""
        standing = self.world.crm.values(LEAD) or {}
        told = {item.field for item in self.world.views.pending()}
        for entry in self.world.views.audit(lambda entry: entry.what == "person.edited", None):
            if entry.field and standing.get(entry.field) == entry.after:
                told.add(entry.field)
        return [name for name, value in OURS.items() if standing.get(name) != value and name not in told]


OVER = ("applied", "failed", "conflict")
AFTER = {
    "sending": "sending",
    "applied": "applied",
    "deferred": "planned",
    "doubted": "in_doubt",
    "failed": "failed",
    "conflicted": "conflict",
    "stopped": "failed",
}


def _last(words: list[str]) -> Iterator[tuple[str, bool]]:
    for number, word in enumerate(words, 1):
        yield word, number == len(words)


def undisturbed(planned: Outside, name: str) -> Walk:
    walk = Walk.found(planned)
    ANSWERS[name](walk)
    return walk.lead_to_its_end()


def deaths(
    planned: Outside, name: str, deep: bool = False, every: tuple[int, int] | None = None
) -> Iterator[tuple[str, Walk]]:
    """The same way, with a death at each boundary; where each death was, and what became of it.

    `every` (start, step) takes only some of the boundaries; those of the start, before the writer first looks at the
    CRM, only for the first answer, since they do not differ from answer to answer.
    """
    first = Walk.found(planned)
    ANSWERS[name](first)
    arranged = first.outside("before all")
    first.lead_to_its_end(watch=True)
    points = [arranged, *first.points]
    start, step = every or (0, 1)
    if every and name != next(iter(ANSWERS)):
        points = points[next(n for n, point in enumerate(points) if point.where.endswith("crm read")) :]
    for point in points[start::step]:
        walk = Walk.found(point).lead_to_its_end(watch=deep)
        yield point.where, walk
        for again in walk.points:
            yield f"{point.where}, then {again.where}", Walk.found(again).lead_to_its_end()
