"""`@agent`, and how a configured `entry` ("agents.enrichment:enrich") becomes a callable with its output schema."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar, overload

from msgspec import Struct

from revops_lite.errors import AgentError

Fn = TypeVar("Fn", bound=Callable[..., Any])

ATTRIBUTE = "__revops_agent__"


class AgentSpec(Struct, frozen=True):
    """A function that is an agent. `writes` is its output schema (a pydantic model) or None: it may write nothing."""

    call: Callable[..., Any]
    writes: type[Any] | None
    doc: str

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it has declared; every other is refused."""
        return tuple(self.writes.model_fields) if self.writes is not None else ()


@overload
def agent(fn: Fn) -> Fn: ...
@overload
def agent(*, writes: type[Any] | None = None) -> Callable[[Fn], Fn]: ...
def agent(fn: Any = None, *, writes: type[Any] | None = None) -> Any:
    """Mark a function as an agent: `@agent(writes=Model)`, or bare `@agent` for one that writes no field.

    `writes` is a pydantic model class; its fields are the only ones the agent may propose, and what it proposes
    has to validate against them (strictly). Raises AgentError for anything that is no pydantic model.
    """

    def mark(call: Fn) -> Fn:
        if writes is not None and not hasattr(writes, "model_fields"):
            raise AgentError(f"{call.__name__}: writes= takes a pydantic model, not {writes!r}")
        setattr(call, ATTRIBUTE, AgentSpec(call, writes, (call.__doc__ or "").strip().split("\n")[0]))
        return call

    return mark(fn) if fn is not None else mark


def load(entry: str) -> AgentSpec:
    """The agent behind "package.module:function". Raises AgentError that says what is wrong with the entry."""
    module_name, _, name = entry.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise AgentError(f"{entry}: the module does not import: {type(error).__name__}: {error}") from error
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise AgentError(f"{entry}: {module_name} has no {name!r}") from error
    spec = getattr(found, ATTRIBUTE, None)
    if not isinstance(spec, AgentSpec):
        raise AgentError(f"{entry}: not an agent; put @agent(...) above it")
    return spec
