"""revops-lite: agents propose, one controller decides, one writer writes.

Importing this package loads neither redis, rq, typer, pydantic nor httpx; `Client` comes on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revops_lite.agentapi import Gathered, Proposal, Retry, Skip, Snapshot
from revops_lite.models import Flag, Notice, Report
from revops_lite.registry import agent

if TYPE_CHECKING:
    from revops_lite.installation import Client as Client

__version__ = "0.1.0"
__all__ = ["Client", "Flag", "Gathered", "Notice", "Proposal", "Report", "Retry", "Skip", "Snapshot", "agent"]


def __getattr__(name: str) -> Any:
    if name == "Client":
        from revops_lite.installation import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
