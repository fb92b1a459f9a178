"""The engine: `decide(state, rulebook, event, now) -> Changes`, a pure function built from the rules.

state.py     what is known (State), what one decision changes (Changes), and the Draft it is written on
decide.py    which handler answers which event
runs.py      a run's life: start, load, advance, finish, cancel, retry
steps.py     a step's life: snapshot, job, outcome, checkpoint
proposals.py what a proposal may write: arbitration and governance, flags and notices
writes.py    what the writer and the notifier reported
reviews.py   what people decided, and holds
breakers.py  parking and probing
trail.py     what the audit sealer reports
"""

from revops_lite.engine.decide import decide
from revops_lite.engine.state import Changes, Draft, Missing, State

__all__ = ["Changes", "Draft", "Missing", "State", "decide"]
