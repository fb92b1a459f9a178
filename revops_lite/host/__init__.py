"""Agent hosts: claim a step, call its agent, report what came out. `python -m revops_lite.host` is one in a process."""

from revops_lite.host.pool import Host as Host

__all__ = ["Host"]
