"""revops-lite: agents propose, one controller decides, one writer writes.

Importing this package loads neither redis, rq, typer, pydantic nor httpx; what it offers comes on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from revops_lite.agentapi import Gathered as Gathered
    from revops_lite.agentapi import Proposal as Proposal
    from revops_lite.agentapi import Retry as Retry
    from revops_lite.agentapi import Skip as Skip
    from revops_lite.agentapi import Snapshot as Snapshot
    from revops_lite.installation import Client as Client
    from revops_lite.models import Flag as Flag
    from revops_lite.models import Notice as Notice
    from revops_lite.models import Report as Report
    from revops_lite.registry import agent as agent

__version__ = "0.1.0"

_WHERE = {
    "Client": "installation",
    "Flag": "models",
    "Gathered": "agentapi",
    "Notice": "models",
    "Proposal": "agentapi",
    "Report": "models",
    "Retry": "agentapi",
    "Skip": "agentapi",
    "Snapshot": "agentapi",
    "agent": "registry",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    return found
