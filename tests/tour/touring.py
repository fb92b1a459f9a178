"""The real parts of one installation, moved by hand one stop at a time."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from revops_lite import Notice, Proposal, Snapshot, agent
from revops_lite.controller import Controller
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.engine.records import truthy
from revops_lite.host.call import call
from revops_lite.models import Context, Event, Intent, OutNotice, Run
from revops_lite.outbox import Outbox
from revops_lite.policy import AgentPolicy, Rulebook, StepDef, WorkflowDef
from revops_lite.queue.drain import Drain
from revops_lite.queue.jobs import decode
from revops_lite.queue.outcomes import step_finished
from revops_lite.queue.work import Answer, Claim, Ending, EventSink, WorkQueue
from revops_lite.reader import Loader
from revops_lite.registry import AgentSpec, load
from revops_lite.store.client import Clients
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from revops_lite.writer import Terms, Writer

LEAD = "lead:42"
SINK = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)


class Firmographics(BaseModel):
    industry: str


@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    """Knows every company's industry from its name."""
    industry = "software" if "soft" in lead["company"].lower() else "unknown"
    sure = 0.95 if industry == "software" else 0.4
    return Proposal(Firmographics(industry=industry), confidence=sure, because="it is in the name")


@agent
def alert(lead: Snapshot) -> Proposal:
    """Tells somebody about the lead."""
    text = f"{lead['company']} ({lead.get('industry')})"
    return Proposal(notices=[Notice("sales", "A new lead", text, f"alert|{lead.record}")])


RULEBOOK = Rulebook(
    agents={
        "enrich": AgentPolicy("enrich", "agents.enrich:enrich", priority=40, schema=Firmographics),
        "alert": AgentPolicy("alert", "agents.alert:alert"),
    },
    workflows={
        "new_lead": WorkflowDef(
            "new_lead", ("lead.created",), (StepDef("enrich", "enrich"), StepDef("alert", "alert", ("enrich",)))
        )
    },
)


class Tour:
    """Each method is one move of one part; nothing moves by itself."""

    def __init__(self, clients: Clients, folder: Path) -> None:
        self.clients = clients
        self.now = 1_000_000.0
        self.crm = SqliteCrm(folder / "crm.sqlite3", {})
        self.store = Store(clients.commands)
        self.views = Views(clients.commands)
        self.queue = WorkQueue(clients.commands, SINK)
        self.loader = Loader(self.store, self.crm)
        self.outbox = Outbox()
        self.controller = self.new_controller()
        self.writer = Writer(self.store, self.crm, self.controller.lead.epoch, Terms(budget=20), truthy)

    def new_controller(self) -> Controller:
        controller = Controller(self.store, Drain(self.clients.commands, SINK), RULEBOOK, "the tour")
        controller.take_over(self.now, force=True)
        controller.after_commit.append(lambda changes: self.hand_over(list(changes.docs.values())))
        return controller

    def hand_over(self, committed: list[object]) -> None:
        """What was committed and others have to carry out."""
        self.loader.offer(run for run in committed if isinstance(run, Run) and not run.loaded)
        self.writer.offer(intent for intent in committed if isinstance(intent, Intent))
        self.outbox.offer(notice for notice in committed if isinstance(notice, OutNotice))

    # ---- the moves

    def arrive(self, company: str = "Soft Inc.", id_: str = "e1") -> str:
        """Stop 1: a lead in the CRM, and an event that says so."""
        if LEAD not in self.crm.read([LEAD]):
            self.crm.create("lead", "42", {"company": company, "industry": "?"}, "tour", "import")
        return self.store.append([Event(id_, "lead.created", LEAD, "tour", self.now)])[0]

    def decide(self) -> None:
        """Stops 2 to 4: the controller takes what has come, decides and commits, until nothing is left."""
        while self.controller.step(self.now):
            pass

    def load(self) -> None:
        """The CRM's record for the run that waits for it."""
        self.loader.tick(self.now)
        self.decide()

    def work(self) -> list[Answer]:
        """Stop 5: an agent host claims what is queued, calls the agents and reports."""
        claims = self.queue.claim("a host", f"token {self.now}", ["agents"], 10, self.now)
        answers = self.queue.finish("a host", [self._ending(claim) for claim in claims], self.now)
        self.now += 1
        return answers

    def _ending(self, claim: Claim) -> Ending:
        job = decode(claim.data)
        outcome = call(job, agent_named)
        told = step_finished(
            job, self.now, outcome=outcome.kind, proposals=outcome.proposals, problems=outcome.problems
        )
        return Ending(claim, True, told)

    def write(self) -> None:
        """Stop 7: the writer carries out what was planned and says what became of it."""
        self.writer.tick(self.now)
        self.decide()

    # ---- what one sees

    def run(self) -> Run:
        (run,) = self.views.runs(lambda _: True, None)
        return run

    def events(self) -> list[str]:
        return [entry.event.type for entry in self.store.read("0-0", 100) if entry.event]

    def context(self) -> Context:
        found = self.views.context(LEAD)
        assert found is not None
        return found

    def in_the_crm(self) -> object:
        return self.crm.read([LEAD])[LEAD].values["industry"]


def agent_named(name: str) -> AgentSpec:
    return load(f"{__name__}:{name}")
