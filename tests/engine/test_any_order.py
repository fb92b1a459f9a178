"""Whatever happens, in whatever order and however often: what has to hold after every single event.

A run ends or waits for a stated cause; a write is applied only when the CRM said so; no effect is forgotten; a withheld
value is nobody's fact; and (the stage checks it with every event) deciding twice is deciding the same.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine_stage import Stage, agent, fragile, rulebook, step
from revops_lite.models import Context, Event, Job, Review, Run, Step, Write, WriteState
from revops_lite.policy import FieldPolicy, Governance
from revops_lite.rules import flow
from revops_lite.values import replace

ENDED = ("finished", "failed", "cancelled", "rolled_back")
RECORDS = ("lead:1", "lead:2")
WITHHELD = "withheld value"


def new_stage() -> Stage:
    steps = (
        step("enrich"),
        step("left", "enrich", optional=True),
        step("right", "enrich", wait_for_review=True),
        step("judge", "enrich"),
        step("join", "left", "right"),
    )
    agents = {
        "enrich": fragile("enrich", 2),
        "left": agent("left", attempts=2),
        "right": agent("right"),
        "judge": agent("judge", priority=20),  # it breaks the ties of left and right
        "join": agent("join"),
    }
    policy = Governance(max_writes_per_record_per_hour=6, fields={"lead.size": FieldPolicy(confidence=0.9)})
    return Stage(rulebook(*steps, agents=agents, governance=policy, deadline=500.0))


class AnyOrder(RuleBasedStateMachine):
    """Events at random, some of them again, some of them late."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = new_stage()
        self.past: list[Event] = []
        self.confirmed: set[str] = set()  # writes of which the CRM has said that they are applied

    def take(self, type_: str, subject: str, data: dict[str, Any], run: str | None = None, source: str = "cli") -> None:
        number = len(self.past)
        event = Event(f"e{number}", type_, subject, source, self.stage.now, data, run=run)
        self.past.append(event)
        self.stage.take(event)

    def pick(self, data: st.DataObject, several: list[Any]) -> Any:
        return data.draw(st.sampled_from(several)) if several else None

    # ---- what may happen

    @rule(record=st.sampled_from(RECORDS))
    def arrive(self, record: str) -> None:
        self.take("lead.created", record, {})
        self.load()

    @rule()
    def load(self) -> None:
        for run in [run for run in self.stage.all(Run) if not run.loaded and run.state not in ENDED]:
            found = {run.record: {"values": {"industry": "before"}, "created_at": 0.0, "updated_at": 0.0}}
            answer = {"asked_at": self.stage.now, "records": found, "related": {}}
            self.take("record.loaded", run.record, answer, run.id, "reader")

    @rule(
        data=st.data(),
        outcome=st.sampled_from(["done", "done", "done", "failed", "retry", "skipped", "invalid", "returned"]),
        field=st.sampled_from(["industry", "size", "undeclared"]),
        sure=st.sampled_from([0.5, 0.82, 0.95]),
    )
    def answer(self, data: st.DataObject, outcome: str, field: str, sure: float) -> None:
        job: Job | None = self.pick(data, self.stage.jobs)
        if job is None:
            return
        value: Any = data.draw(st.sampled_from([1, 2, 0])) if field == "size" else job.step
        if sure == 0.5 and field == "industry":
            value = WITHHELD
        proposals = [{"values": {field: value}, "confidence": sure}] if outcome == "done" else []
        told = {"step": job.step, "attempt": job.attempt, "outcome": outcome, "proposals": proposals, "after": 5.0}
        self.take("step.finished", job.record, told, job.run, "host")

    @rule(record=st.sampled_from(RECORDS), alike=st.booleans())
    def all_answer(self, record: str, alike: bool) -> None:
        """Everybody who is asked about a record says the same unsure thing, so that runs share questions; or each says
        something else for sure, so that parallel steps tie."""
        for job in [job for job in self.stage.jobs if job.record == record and self._is_awaited(job)]:
            one = {"values": {"industry": WITHHELD if alike else job.step}, "confidence": 0.5 if alike else 0.95}
            told = {"step": job.step, "attempt": job.attempt, "outcome": "done", "proposals": [one]}
            self.take("step.finished", job.record, told, job.run, "host")

    def _is_awaited(self, job: Job) -> bool:
        asked = self.stage.run(job.run).steps[job.step]
        return (asked.state, asked.attempt) == ("running", job.attempt)

    @rule(data=st.data(), what=st.sampled_from(["sending", "applied", "failed", "deferred", "doubted", "conflicted"]))
    def report(self, data: st.DataObject, what: str) -> None:
        call = self.pick(data, self.stage.calls())
        if call is None:
            return
        if what == "applied":
            self.confirmed.update(call.writes[name] for name in call.values)
        current = dict.fromkeys(list(call.values)[:1], "somebody's")
        told = {"intent": call.id, "settle_until": self.stage.now + 5, "current": current, "before": {}}
        self.take(f"write.{what}", call.record, told, call.run, "writer")

    @rule(data=st.data(), decision=st.sampled_from(["approve", "edit", "reject", "retry"]))
    def decide(self, data: st.DataObject, decision: str) -> None:
        item: Review | None = self.pick(data, self.stage.all(Review))
        if item is None:
            return
        values = {item.field: 3 if item.field == "size" else "edited"} if item.field else {"size": 4}
        told = {"review": item.id, "decision": decision, "by": "ana", "values": values}
        self.take("review.decided", item.record, told)

    @rule(data=st.data(), what=st.sampled_from(["run.cancelled", "run.retried"]))
    def steer(self, data: st.DataObject, what: str) -> None:
        run: Run | None = self.pick(data, self.stage.all(Run))
        if run is not None:
            self.take(what, run.record, {"by": "ana"}, run.id)

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        write: Write | None = self.pick(data, self.stage.all(Write))
        if write is not None:
            self.take("rollback.requested", write.record, {"writes": [write.id], "by": "ana"})

    @rule(record=st.sampled_from(RECORDS), placed=st.booleans(), field=st.sampled_from(["*", "industry"]))
    def hold(self, record: str, placed: bool, field: str) -> None:
        told = {"by": "legal", "reason": "case 7", "field": field}
        self.take("hold.placed" if placed else "hold.released", record, told)

    @rule(record=st.sampled_from(RECORDS))
    def edit_in_the_crm(self, record: str) -> None:
        self.take("lead.updated", record, {"values": {"industry": "a person's"}, "person": True}, source="crm")

    @rule(opened=st.booleans())
    def breaker_by_hand(self, opened: bool) -> None:
        self.take("breaker.opened" if opened else "breaker.reset", "agent:enrich", {"agent": "enrich", "by": "ana"})

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 400.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.stage.wait(seconds)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """The stream knows an id once; reports about the same thing under another id come again all the same."""
        event: Event = self.pick(data, self.past)
        self.stage.take(replace(event, id=f"{event.id}|again|{len(self.past)}"))
        self.past.append(event)
        if event.type == "write.applied":
            self.confirmed.update(self.stage.state.docs["intent", event.data["intent"]].writes.values())

    @rule()
    def settle(self) -> None:
        """The CRM comes to its end with everything that is under way: then no ended run has effects left."""
        for call in self.stage.calls():
            self.confirmed.update(call.writes[name] for name in call.values)
        while calls := self.stage.calls():
            for call in calls:
                self.confirmed.update(call.writes[name] for name in call.values)
            # A person's edit may have met the call: then only what a writer reads back says that it is over.
            read = {"standing": dict(calls[0].values)} if calls[0].state == "in_doubt" else {}
            self.stage.report("applied", calls[0], **read)
        self.stage.told()
        for run in self.stage.all(Run):
            assert run.effects == (), run

    # ---- what has to hold

    @invariant()
    def a_run_ends_or_waits_for_a_stated_cause(self) -> None:
        pending = {item.id for item in self.stage.pending()}
        for run in self.stage.all(Run):
            assert (run.finished_at is not None) == (run.state in ENDED)
            if run.state in ENDED:
                continue
            assert run.state == flow.run_state(run.steps, run.effects, run.waits_for, run.loaded)
            assert set(run.waits_for) <= pending, "nobody can be waited for who has decided"
            assert run.state != "held" or run.waits_for, "there is something to decide"
            coming = not run.loaded or any(self._comes_by(run, one) for one in run.steps.values())
            assert coming or run.effects or run.waits_for, run

    def _comes_by(self, run: Run, one: Step) -> bool:
        """Why something will still happen to this step."""
        key, breaker = f"{run.id}|{one.name}", self.stage.state.breakers.get(one.agent)
        match one.state:
            case "running":
                return any(
                    (job.run, job.step, job.attempt) == (run.id, one.name, one.attempt) for job in self.stage.jobs
                )
            case "parked":
                waits = {f"probe|{one.agent}", f"unpark|{one.agent}"} & self.stage.timers.keys()
                tried = breaker is not None and (breaker.forced or breaker.probe or breaker.trying)
                return key in self.stage.state.parked.get(one.agent, {}) and bool(waits or tried)
            case "pending":
                return one.due is not None and f"retry|{key}" in self.stage.timers
        return False

    @invariant()
    def a_write_is_applied_only_when_the_crm_has_said_so(self) -> None:
        said = (WriteState.APPLIED, WriteState.ROLLED_BACK)
        for write in self.stage.all(Write):
            assert write.state not in said or write.id in self.confirmed, write

    @invariant()
    def a_withheld_value_is_nobodys_fact(self) -> None:
        approved = {write.after for write in self.stage.all(Write) if write.rule.startswith("approved by")}
        for context in self.stage.all(Context):
            for name, field in context.fields.items():
                assert name != "undeclared"
                assert field.value != WITHHELD or WITHHELD in approved

    @invariant()
    def calls_under_way_and_pending_values_belong_together(self) -> None:
        under_way = {write for call in self.stage.calls() for write in call.writes.values()}
        for context in self.stage.all(Context):
            assert len(set(context.intents)) == len(context.intents)
            for field in context.fields.values():
                assert field.pending is None or field.pending in under_way


AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None, database=None)
TestAnyOrder = AnyOrder.TestCase
