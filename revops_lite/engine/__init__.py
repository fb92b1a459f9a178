"""The engine: `decide(state, rulebook, event, now) -> Changes`, a pure function built from the rules.

state.py     what is known (State), what one decision changes (Changes), and the Draft it is written on
decide.py    which handler answers which event
runs.py      a run's life: start, load, cancel, retry
records.py   what the CRM shows of a record becomes its context
fanout.py    a run over many records: its parts, its groups, and how the whole follows from them
related.py   what a fan-out was shown of related records
steps.py     a step's life: begun, ended, and what follows
answers.py   what an agent answered: counted once, checked, taken in
jobs.py      what travels to an agent: snapshots and jobs
proposals.py what a proposal may write: arbitration and governance, flags and notices
writes.py    what the writer and the notifier reported
reviews.py   what people decided, and holds
breakers.py  parking and probing
alarms.py    what the controller's own timers are for
trail.py     what the audit sealer reports
"""

from revops_lite.engine.decide import decide
from revops_lite.engine.state import Changes, Draft, Missing, State

__all__ = ["Changes", "Draft", "Missing", "State", "decide"]
