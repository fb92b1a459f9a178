"""The composition root: the one place that names concrete classes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from revops_lite import config
from revops_lite.archiver import Archiver
from revops_lite.audit import folder
from revops_lite.audit.folder import Trail
from revops_lite.audit.seal import Sealer
from revops_lite.audit.witness import refuse_to_begin_anew
from revops_lite.controller import Controller
from revops_lite.cron import Cron
from revops_lite.digest import Digest
from revops_lite.engine import Changes
from revops_lite.engine.records import truthy
from revops_lite.errors import ConfigError
from revops_lite.fleet import Fleet, Reserve, fleet_of
from revops_lite.host.pool import Host
from revops_lite.host.prints import agents_to_log, host_log
from revops_lite.installation import Installation
from revops_lite.notifier import Notifier
from revops_lite.notify import open_channels
from revops_lite.orchestrator import Orchestrator, Parts
from revops_lite.outbox import Outbox
from revops_lite.queue import names
from revops_lite.queue.drain import Drain
from revops_lite.queue.recovery import Recovery
from revops_lite.queue.scheduler import CronScheduler
from revops_lite.queue.work import EventSink, WorkQueue
from revops_lite.reader import Loader, Poller
from revops_lite.server.lease import Lease
from revops_lite.service import Service
from revops_lite.store.audit import AuditStream
from revops_lite.store.events import CHANNEL, EVENTS_KEY, SEEN_TTL, encode_event, seen_key
from revops_lite.store.keys import PAUSED
from revops_lite.store.store import Store
from revops_lite.store.views import Views
from revops_lite.store.waiter import Waiter
from revops_lite.supervisor import Supervisor
from revops_lite.sweeper import Sweeper
from revops_lite.times import ahead
from revops_lite.values import replace
from revops_lite.writer import Terms, Writer

SUPERVISE_EVERY = 0.15
SLOTS_A_JOB_AHEAD = 16  # few, since whoever is claimed and not yet called is a suspect, too, if this process dies
GONE_WITHIN = 0.1  # seconds: its connections end before a killed process does


# ---- `revops up` -------------------------------------------------------------------------------------------------


def orchestrator(
    installation: Installation, stream: TextIO, *, until_idle: bool, reserve: Reserve | None = None
) -> Orchestrator:
    """Everything `up` runs, put together and not yet started. `reserve` has hosts that were started ahead."""
    settings, store, clients = installation.settings, installation.store, installation.clients
    sink = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
    archiver = Archiver(store, installation.archive)
    controller = Controller(store, Drain(clients.commands, sink), settings.rulebook, owner(), archiver=archiver)
    parts = Parts(controller=controller, waiter=Waiter(clients.blocking()), outbox=Outbox())
    _crm_services(installation, parts)
    _notifier(installation, parts, stream)
    _hosts(installation, parts, WorkQueue(clients.commands, sink, PAUSED), reserve)
    _cron(installation, parts, sink)
    _digest(installation, parts)
    parts.services["archiver"] = Service("archiver", archiver.tick, archiver.next_due)
    _sealer(installation, parts)
    if installation.lease:
        parts.restart_server = partial(_restart, installation.lease)
    return Orchestrator(parts, sole=installation.lease is not None, until_idle=until_idle)


def owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


def _restart(lease: Lease) -> bool:
    died = lease.watch(GONE_WITHIN) if lease.owner else not lease.alive()
    if not died:
        return False
    lease.restart()
    return True


def _crm_services(installation: Installation, parts: Parts) -> None:
    settings, store = installation.settings, installation.store
    if not settings.rulebook.has_crm:
        return
    crm = installation.crm
    governance = settings.rulebook.governance
    terms = Terms(governance.max_writes_per_record_per_hour, governance.hold_field)
    parts.loader = Loader(store, crm)
    parts.sweeper = Sweeper(store, crm, settings.rulebook.workflows, settings.root / "var" / "extracts")
    parts.poller = Poller(store, crm, settings.crm.poll)
    parts.writer = Writer(store, crm, 0, terms, truthy)
    parts.services["loader"] = Service("loader", parts.loader.tick, parts.loader.next_due)
    parts.services["sweeper"] = Service("sweeper", parts.sweeper.tick, parts.sweeper.next_due)
    parts.services["poller"] = Service("poller", parts.poller.tick, parts.poller.next_due)
    parts.services["writer"] = Service("writer", parts.writer.tick, parts.writer.next_due)
    parts.on_stop.append(parts.writer.close)


def _notifier(installation: Installation, parts: Parts, stream: TextIO) -> None:
    settings = installation.settings
    secret = partial(config.secret, root=settings.root)
    channels = open_channels(settings.notify.channels, secret, stream, settings.root / "var" / "reports")
    notifier = Notifier(
        channels,
        settings.notify.default,
        parts.outbox.due,
        lambda event: installation.store.append([event]),
        time.time,
    )
    parts.services["notifier"] = Service("notifier", notifier.tick, parts.outbox.next_due)
    parts.on_stop.append(partial(notifier.close, 3.0))


def _cron(installation: Installation, parts: Parts, sink: EventSink) -> None:
    """Also where no workflow has a cron: those of an earlier configuration have to go."""
    settings = installation.settings
    scheduler = CronScheduler(installation.clients.commands, sink, settings.timezone)
    parts.cron = Cron(scheduler, settings.rulebook.workflows)
    parts.services["cron"] = Service("cron", parts.cron.tick, parts.cron.next_due)


def _digest(installation: Installation, parts: Parts) -> None:
    review, store = installation.settings.review, installation.store
    if not review.digest:
        return
    views = Views(installation.clients.commands, installation.archive)
    digest = Digest(review.digest, review.digest_every, views.pending, lambda event: store.append([event]))
    parts.services["digest"] = Service("digest", digest.tick, digest.next_due)


def _sealer(installation: Installation, parts: Parts) -> None:
    """The last to stop. Raises AuditError where Redis has been emptied behind the back of its trail."""
    settings, store = installation.settings, installation.store
    place = settings.root / "var" / "audit"
    key = folder.read_key(place, settings.audit.key, settings.root, make=True)
    stream = AuditStream(installation.clients.commands)
    sealer = Sealer(Trail(place, key), stream, lambda event: store.append([event]), settings.audit.anchor)
    sealer.check(redis_is_new=not store.controller())
    parts.check_data = partial(_not_emptied, store, place)
    parts.services["sealer"] = Service("sealer", sealer.tick, sealer.next_due)
    parts.on_stop.append(sealer.close)


def _not_emptied(store: Store, place: Path) -> None:
    if not store.controller():
        refuse_to_begin_anew(place)


def _hosts(installation: Installation, parts: Parts, work: WorkQueue, reserve: Reserve | None) -> None:
    """Agent hosts as processes, or one inside this one where the configuration says `processes = 0`."""
    settings = installation.settings
    fleet = fleet_of(settings, installation.clients.url)
    supervisor = Supervisor(fleet, work, Recovery(installation.clients.commands, work), reserve=reserve)
    pulse = Pulse(supervisor)
    parts.before_start.append(supervisor.recover_all_local)
    own = None if settings.workers.processes else _own_host(installation, work, fleet)
    stop: Callable[[], object] = supervisor.stop if own is None else own.stop
    parts.services["hosts"] = Service("hosts", pulse.tick, pulse.next_due, stop)
    if own is not None:
        parts.controller.after_commit.append(partial(_ring, own))
        parts.on_start.append(own.start)


def _own_host(installation: Installation, work: WorkQueue, fleet: Fleet) -> Host:
    """The one in this process."""
    settings = installation.settings
    os.chdir(settings.root)
    installation.until_closed(host_log(fleet.logs / "agents.log"))
    installation.until_closed(agents_to_log())
    return Host(
        work,
        name=f"{fleet.node}.{os.getpid()}.0",
        queues=list(fleet.groups),
        agents=fleet.agents,
        threads=settings.workers.threads,
        isolated=[names.isolated(queue) for queue in fleet.groups],
        recycle=False,
        ahead=settings.workers.threads // SLOTS_A_JOB_AHEAD,
    )


def _ring(host: Host, changes: Changes) -> None:
    """The host in this process need not wait for Redis to say that jobs have come."""
    for queue in {job.queue for job in changes.jobs}:
        host.ring(queue)


def run_worker(installation: Installation) -> None:
    """Agent hosts only, beside nobody: they end with this process. Raises ConfigError for an embedded Redis."""
    settings = installation.settings
    if installation.lease is not None:
        raise ConfigError(
            f"{settings.path.name}: redis.url: a worker elsewhere needs a Redis that both reach, not 'embedded'"
        )
    sink = EventSink(EVENTS_KEY, CHANNEL, seen_key, SEEN_TTL, encode_event)
    work = WorkQueue(installation.clients.commands, sink, PAUSED)
    fleet = fleet_of(settings, installation.clients.url)
    fleet = replace(fleet, processes=max(1, fleet.processes))  # 0 is about `up`: a worker is its hosts
    supervisor = Supervisor(fleet, work, Recovery(installation.clients.commands, work))
    supervisor.recover_all_local(time.time())
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        while not stopping.wait(SUPERVISE_EVERY):
            supervisor.tick(time.time())
    finally:
        supervisor.stop()


class Pulse:
    """The supervisor's tick at its own pace."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._due = 0.0

    def tick(self, now: float) -> int:
        if not ahead(self._due, now, SUPERVISE_EVERY):
            self._due = now + SUPERVISE_EVERY
            self._supervisor.tick(now)
        return 0

    def next_due(self) -> float:
        return self._due
