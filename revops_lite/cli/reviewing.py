"""`revops review` on a terminal: one item at a time, as `git add -p`.

The last decision stays in the session's hand until the next one is made or the session ends; so it can be taken back
exactly, and a session that is killed loses nothing but that one. What was decided is gone from the list: whoever starts
again goes on where it stopped.
"""

from __future__ import annotations

import json
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from revops_lite.cli import deciding, review_item
from revops_lite.cli.crm_cmds import parsed
from revops_lite.cli.deciding import DECIDED, Filters
from revops_lite.cli.review_desk import Decision, Desk, Outcome
from revops_lite.cli.review_item import Action, Seen
from revops_lite.cli.terminal import Terminal
from revops_lite.errors import EventRefused, RevopsError
from revops_lite.models import Review
from revops_lite.values import same

if TYPE_CHECKING:
    from revops_lite.installation import Installation

AT_THE_END = 5.0  # seconds to wait for the answers that have not come yet


def review(open_: Callable[[], Installation], filters: Filters, by: str, *, colour: bool) -> None:
    """One session, until nothing waits or the reviewer quits. Raises RevopsError, and KeyboardInterrupt on Ctrl-C;
    the decision in hand has been sent by then."""
    with _hang_up_is_ctrl_c():
        Session(Desk(open_, filters, by), Terminal(colour)).run()


class Session:
    """What one reviewer has before them, in hand, and behind them."""

    def __init__(self, desk: Desk, terminal: Terminal) -> None:
        self._desk = desk
        self._terminal = terminal
        self._queue: deque[str] = deque()  # to be shown
        self._known: set[str] = set()  # ever in the queue
        self._hand: list[Decision] = []  # one decision, about one item or all of a kind; not sent
        self._done: dict[str, str] = {}  # item -> how this session has decided it
        self._skipped: set[str] = set()
        self._quit = False
        self._told_down = False

    def run(self) -> None:
        try:
            self._go_through()
        finally:  # for Ctrl-C, a closed terminal or a lost Redis as well
            self._send()
            self._tell(self._desk.news(AT_THE_END))
            with suppress(OSError):  # the terminal may be gone
                self._sum_up()
        if not self._known:
            self._terminal.say("nothing waits for a person")

    def _go_through(self) -> None:
        while not self._quit:
            seen = self._next()
            if seen is not None:
                self._offer(seen)
            elif self._hand:
                self._last_word()
            else:
                return

    # -- what comes next --

    def _next(self) -> Seen | None:
        """The next item that still waits; None where there is none."""
        while True:
            if not self._queue:
                self._enqueue()
            if not self._queue:
                return None
            seen = self._desk.look(self._queue.popleft())
            if seen is None:
                continue
            if seen.item.state == "pending":
                return seen
            self._terminal.say(f"{deciding.subject(seen.item)}: was {deciding.fate(seen.item)}")

    def _enqueue(self) -> None:
        handled = self._skipped | set(self._done) | {each.item.id for each in self._hand}
        new = [id_ for id_ in self._desk.waiting() if id_ not in handled]
        if self._known and new:
            self._terminal.say(f"{len(new)} more wait by now")
        self._queue.extend(new)
        self._known.update(new)

    def _again(self, *ids: str) -> None:
        """These come next."""
        self._queue.extendleft(reversed(ids))
        self._known.update(ids)

    # -- one item --

    def _offer(self, seen: Seen) -> None:
        """Show an item and ask until a key settles what becomes of it."""
        item, terminal = seen.item, self._terminal
        place = f"{len(self._known) - len(self._queue)} of {len(self._known)}"
        terminal.show(review_item.lines(seen, place, terminal.width, terminal.paint))
        while True:
            try:
                key = terminal.key(review_item.question(item, bool(self._hand)))
            except EOFError:
                key = "q"
            except KeyboardInterrupt:
                terminal.say("")
                raise
            action = review_item.action_for(key, item, bool(self._hand))
            if isinstance(action, str):
                terminal.show([action] if action else [])
            elif self._act(action, seen):
                return

    def _act(self, action: Action, seen: Seen) -> bool:
        """Do it; False where the item is still to be asked about."""
        item, terminal = seen.item, self._terminal
        match action:
            case Action.ACCEPT:
                return self._decide(self._desk.decide(item, "approve"))
            case Action.RETRY:
                return self._decide(self._desk.decide(item, "retry"))
            case Action.EDIT:
                values = self._ask_value(item) if item.field else self._ask_values()
                return bool(values) and self._decide(self._desk.decide(item, "edit", values))
            case Action.REJECT:
                why = self._ask("reason (empty goes back): ").strip()
                return bool(why) and self._decide(self._desk.decide(item, "reject", note=why))
            case Action.ALL:
                return self._decide(*self._all_like(item))
            case Action.SKIP:
                self._skipped.add(item.id)
            case Action.HOLD:
                return self._hold(item)
            case Action.UNDO:
                self._undo(item)
            case Action.VIEW:
                terminal.show(review_item.whole(seen, terminal.width, terminal.paint))
                return False
            case Action.HELP:
                terminal.show(review_item.explained(item, bool(self._hand)))
                return False
            case Action.QUIT:
                self._quit = True
        return True

    # -- what has to be asked --

    def _ask(self, prompt: str, prefill: str = "") -> str:
        try:
            return self._terminal.line(prompt, prefill)
        except EOFError:
            self._terminal.say("")
            return ""

    def _ask_value(self, item: Review) -> dict[str, Any]:
        """{field: value} for one field; {} goes back."""
        before = review_item.prefill(item.proposed)
        answer = self._ask(f"{item.field} = (empty goes back) ", before)
        if not answer.strip():
            return {}
        value = parsed(answer)
        if same(value, item.proposed):
            self._terminal.say("that is the proposed value; y accepts it")
            return {}
        return {str(item.field): value} if self._is_json(value) else {}

    def _ask_values(self) -> dict[str, Any]:
        """{field: value} for as many fields of a step as are typed; {} goes back."""
        values: dict[str, Any] = {}
        while answer := self._ask(f"field=value ({'empty ends' if values else 'empty goes back'}): ").strip():
            name, equals, text = answer.partition("=")
            if not (equals and name.strip()):
                self._terminal.say("write field=value")
            elif self._is_json(value := parsed(text.strip())):
                values[name.strip()] = value
        return values

    def _is_json(self, value: Any) -> bool:
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            self._terminal.say("that number is too large for any CRM")
            return False
        return True

    def _all_like(self, item: Review) -> list[Decision]:
        """The same decision for all of an agent and field; [] where the reviewer says no."""
        alike = self._desk.alike(item, self._queue)
        kind = item.record.partition(":")[0]
        told = (
            f"Accept all {len(alike)} of {item.agent} for {kind}.{item.field} ({review_item.breakdown(alike)})? [y,n] "
        )
        try:
            if self._terminal.key(told) not in ("y", "Y"):
                return []
        except EOFError:
            return []
        for other in alike:
            with suppress(ValueError):
                self._queue.remove(other.id)
        return [self._desk.decide(each, "approve") for each in alike]

    def _hold(self, item: Review) -> bool:
        """A hold cannot wait: it is in force at once, and what was decided before it has been sent before it."""
        why = self._ask(f"why is {item.record} to be held? (empty goes back) ").strip()
        if not why:
            return False
        self._send()
        alone = self._desk.hold(item.record, why)
        self._skipped.add(item.id)
        self._terminal.say(f"{item.record} is on hold; its items wait until `revops hold release {item.record}`")
        if not alone:
            self._terminal.say("a call to the CRM made before is still open: see `revops write list`")
        return True

    # -- decisions --

    def _decide(self, *decisions: Decision) -> bool:
        """Take a decision in hand; the one before goes out. False for none."""
        if decisions:
            self._send()
            self._hand = list(decisions)
        return bool(decisions)

    def _undo(self, item: Review) -> None:
        back = [each.item.id for each in self._hand]
        self._hand = []
        self._again(*back, item.id)
        self._terminal.say("taken back")

    def _last_word(self) -> None:
        """Nothing is left to show, and the last decision is still in hand."""
        number = f"{len(self._hand)} decisions" if len(self._hand) > 1 else "decision"
        try:
            key = self._terminal.key(f"\nNothing else waits. Send the last {number}? [y,u,q] ")
        except EOFError:
            key = "q"
        if key == "u":
            self._again(*(each.item.id for each in self._hand))
            self._hand = []
        elif key in ("y", "a"):
            self._send()
        elif key == "q":
            self._quit = True

    def _send(self) -> None:
        """Send what is in hand, and tell what is known by now. Raises RevopsError; the items then still wait."""
        hand, self._hand = self._hand, []
        if not hand:
            return
        try:
            outcomes, up = self._desk.send(hand)
        except RevopsError as error:
            with suppress(OSError):
                self._terminal.say(f"{deciding.subject(hand[-1].item)}: the decision was not sent: {error}")
            if not isinstance(error, EventRefused):
                raise
            self._again(*(each.item.id for each in hand))
            return
        self._done |= {each.item.id: DECIDED[each.verb] for each in hand}
        if not up and not self._told_down:
            self._told_down = True
            self._terminal.say("`revops up` does not run; decisions are accepted, and carried out once it does")
        self._tell(outcomes)

    def _tell(self, outcomes: list[Outcome]) -> None:
        """What came of decisions. Those that do not stand are offered again, as they are now."""
        for outcome in outcomes:
            item, told = outcome.decision.item, outcome.told
            name = deciding.subject(item)
            if outcome.what == "stands":
                continue
            self._done.pop(item.id, None)
            with suppress(OSError):
                match outcome.what:
                    case "refused":
                        self._terminal.say(f"{name}: not carried out: {told}")
                    case "changed":
                        self._terminal.say(f"{name}: its value has changed since; it comes back with what stands now")
                    case _:
                        self._terminal.say(f"{name}: {told}")
            if outcome.what != "late":
                self._again(told if outcome.what == "changed" else item.id)

    def _sum_up(self) -> None:
        if not self._known:
            return
        counts = Counter("accepted" if word == "approved" else word for word in self._done.values())
        counts["skipped"] = len(self._skipped - set(self._done))
        waiting = set(self._desk.waiting()) - set(self._desk.under_way)
        self._terminal.show(review_item.summary(counts, len(waiting), len(self._desk.under_way)))


@contextmanager
def _hang_up_is_ctrl_c() -> Iterator[None]:
    """A closed window or a SIGTERM ends a session as Ctrl-C does: with the last decision sent."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
