"""An installation, opened: what every command needs, and nothing that only `revops up` runs."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from revops_lite import checked, config
from revops_lite.ahead import Ahead, open_server
from revops_lite.audit.witness import refuse_to_begin_anew
from revops_lite.config import Settings
from revops_lite.crm.none import NoCrm
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.engine.decide import RESERVED
from revops_lite.errors import ConfigError, EventRefused
from revops_lite.models import Event
from revops_lite.ports import Crm
from revops_lite.server.lease import Lease, Role
from revops_lite.store import version
from revops_lite.store.archive import ARCHIVE, Archive
from revops_lite.store.client import Clients, bus_errors, check_durable, shown
from revops_lite.store.client import version as require_version
from revops_lite.store.events import validate
from revops_lite.store.store import Store


class Installation:
    """One folder with a config.toml, opened: settings, Redis, and on demand the CRM. A context manager.

    `role` "up" is the controller's; "cli" a command's, which starts the embedded Redis for its own duration where
    nobody runs it. `ahead` has the server where that was begun already.
    """

    def __init__(self, path: Path, role: Role, *, agents: bool = False, ahead: Ahead | None = None) -> None:
        self._stack = ExitStack()
        self.settings: Settings = config.load(path, agents=agents)
        self.lease: Lease | None = None
        self._crm: Crm | None = None
        self._trusted = False
        try:
            self.clients = self._stack.enter_context(Clients(self._url(role, ahead)))
            self.archive = Archive(self.settings.root / ARCHIVE)
            self._stack.callback(self.archive.close)
            self.store = Store(self.clients.commands, self.archive)
            self._admit(role)
            if self.lease is not None:
                checked.remember(self.settings.path)
        except BaseException:
            self.close()
            raise

    def _url(self, role: Role, ahead: Ahead | None) -> str:
        if self.settings.redis.url != "embedded":
            return self.settings.redis_url()
        lease = (ahead and ahead.lease()) or open_server(self.settings, role)
        self.lease = self._stack.enter_context(lease)
        return lease.url

    def _admit(self, role: Role) -> None:
        """Whether this is a Redis to work with, and its data ones that this program can read."""
        client, up = self.clients.commands, role == "up"
        with bus_errors(self.clients.url):
            if up or self.lease is None:  # a server of the user's own may be anything
                require_version(client)
                check_durable(client, self.settings.redis.allow_weak or not up)
            version.admit(client, upgrades=up)

    @property
    def crm(self) -> Crm:
        if self._crm is None:
            self._crm = open_crm(self.settings)
            self._stack.callback(self._crm.close)
        return self._crm

    def trust(self) -> None:
        """Look once, before the first event is accepted, whether Redis is one that keeps it.

        Raises ConfigError for one that may lose it, AuditError for one that has lost everything: an event accepted
        there would be gone when a backup is restored.
        """
        if self._trusted:
            return
        if self.lease is None:
            check_durable(self.clients.commands, self.settings.redis.allow_weak)
        if not self.store.controller():
            refuse_to_begin_anew(self.settings.root / "var" / "audit")
        version.begin(self.clients.commands)
        self._trusted = True

    def send(self, event: Event) -> str:
        """Accept one event: "new", "known" or "other" (its id is known with another body)."""
        self.trust()
        return self.store.append([event])[0]

    def controller_is_up(self) -> bool:
        """Whether somebody will handle what is sent now."""
        about = self.store.controller()
        return bool(about.get("owner")) and time.time() - float(about.get("heartbeat", 0)) < 10.0

    def weaknesses(self) -> list[str]:
        """What the server may lose although the configuration allows it; empty as a rule."""
        return check_durable(self.clients.commands, allow_weak=True)

    def address(self) -> str:
        """Where Redis is, without a password."""
        return shown(self.clients.url)

    def until_closed(self, something: AbstractContextManager[object]) -> None:
        """Enter it now; it is left when this is closed."""
        self._stack.enter_context(something)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """For programs that only send: `Client.from_config("config.toml").emit("lead.created", "lead:42", data={...})`."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "config.toml") -> Client:
        """Raises ConfigError, or BusError where Redis does not answer."""
        return cls(Installation(Path(path), "cli"))

    def emit(
        self, type: str, record: str, data: Mapping[str, Any] | None = None, id: str | None = None
    ) -> bool:  # the names are the contract's
        """Publish one event; durable when it returns. False where this id was accepted before.

        Raises EventRefused for a malformed type or record, or an id that is known with another body.
        """
        event = make_event(type, record, data, id, source="client")
        return accepted(self._installation.send(event), event)

    def close(self) -> None:
        self._installation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_event(type_: str, record: str, data: Mapping[str, Any] | None, id_: str | None, source: str) -> Event:
    """A well-formed event from outside. Raises EventRefused."""
    if data is not None and not isinstance(data, Mapping):
        raise EventRefused(f"event data is a {type(data).__name__}; give a mapping of field names to values")
    if not all(isinstance(text, str) for text in (type_, record, "" if id_ is None else id_)):
        raise EventRefused("an event's type, record and id are text")
    values = dict(data) if data is not None else {}
    event = Event(id_ or f"{source}-{uuid4().hex}", type_, record, source, time.time(), values)
    if type_ in RESERVED:
        raise EventRefused(f"event type {type_!r} is the program's own; choose another")
    return validate(event)


def accepted(status: str, event: Event) -> bool:
    if status == "other":
        raise EventRefused(f"event id {event.id!r} was accepted before with another type, record or data")
    return status == "new"


def open_crm(settings: Settings) -> Crm:
    """The configured CRM. Raises ConfigError, or CrmUnavailable where its file cannot be opened."""
    crm = settings.crm
    match crm.adapter:
        case "sqlite":
            return SqliteCrm(crm.path, crm.relations)
        case "none":
            return NoCrm()
        case named if ":" in named:
            return _own_crm(named, settings)
        case named:
            raise ConfigError(f"{settings.path.name}: crm.adapter: {named!r} is not there yet; use sqlite or none")


def _own_crm(entry: str, settings: Settings) -> Crm:
    module, _, name = entry.partition(":")
    try:
        make: Callable[..., Crm] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{settings.path.name}: crm.adapter: {entry}: {error}") from error
    return make(settings)
