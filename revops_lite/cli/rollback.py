"""`revops rollback`: put the old values back where the current value is still ours."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revops_lite.cli import out, shapes
from revops_lite.cli.options import As, Json, Record, Since, since, state, who
from revops_lite.errors import Refused, UsageError

if TYPE_CHECKING:
    from revops_lite.installation import Installation
    from revops_lite.models import Event, Hold, Review, Write
    from revops_lite.store.views import Views

CHUNK = 200  # writes per request: what a stop leaves is at most this many under way
UNDER_WAY = ("planned", "sending")
ENDED = ("finished", "failed", "cancelled", "rolled_back")
PATIENCE = 30.0  # seconds without any progress after which we stop waiting


def rollback(
    context: typer.Context,
    run: Annotated[str | None, typer.Option("--run", help="all writes of this run; a running one is cancelled")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="all writes of this agent")] = None,
    record: Record = None,
    write: Annotated[str | None, typer.Option("--write", help="this write alone")] = None,
    since_: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would happen, change nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Undo what agents wrote: last write first, and only where nobody has changed the value since."""
    if sum(map(bool, (run, agent, record, write))) != 1:
        raise UsageError("give exactly one of --run, --agent, --record, --write (and --since to narrow it)")
    from revops_lite.store.views import Views

    with state(context).open() as installation:
        views = Views(installation.clients.commands, installation.archive)
        found = _select(views, run, agent, record, write, since(context, since_))
        forecast = _forecast(installation, found)
        if dry_run:
            _show_forecast(forecast, as_json)
            return
        if not found:
            out.remark("nothing of it stands in the CRM: nothing to roll back")
        else:
            _confirm(forecast, agent or run or record or write or "", yes)
            if run:
                _cancel(installation, views, run, who(as_))
            _carry_out(installation, views, found, who(as_))
        _report(views, found, as_json)


def _select(
    views: Views, run: str | None, agent: str | None, record: str | None, write: str | None, start: float
) -> list[Write]:
    """Applied writes, and those on their way, newest first. Raises NotFound for an unknown run or write."""
    if write:
        return [one for one in [views.write(write)] if one.state in ("applied", *UNDER_WAY)]
    run_id = views.run(run).id if run else None

    def keep(one: Write) -> bool:
        return (
            one.state in ("applied", *UNDER_WAY)
            and one.at >= start
            and not one.undoes
            and (not run_id or one.run == run_id or (one.run or "").startswith(f"{run_id}."))
            and (not agent or one.agent == agent)
            and (not record or one.record == record)
        )

    return views.writes(keep, None)


# ---- what would happen -------------------------------------------------------------------------------------------


def _forecast(installation: Installation, writes: list[Write]) -> dict[str, list[dict[str, Any]]]:
    """{rolled_back, conflicts, held}: judged by what the CRM holds now, as the writer will."""
    from revops_lite.rules.rollback import plan

    records = list(dict.fromkeys(write.record for write in writes))
    standing = _standing(installation, records)
    holds = installation.store.working_set().holds
    by_record: dict[str, list[Write]] = {}
    for write in writes:
        by_record.setdefault(write.record, []).append(write)
    result: dict[str, list[dict[str, Any]]] = {"rolled_back": [], "conflicts": [], "held": []}
    for record, mine in by_record.items():
        reverts, lost = plan(mine, standing.get(record, {}))
        for revert in reverts:
            kind = "held" if _held(holds.get(record, {}), revert.field) else "rolled_back"
            row = {"record": record, "field": revert.field, "current": revert.current, "restored": revert.target}
            result[kind].append({**row, "writes": list(revert.undoes)})
        for write in lost:
            current = standing.get(record, {}).get(write.field)
            row = {"record": record, "field": write.field, "current": current, "ours": write.after}
            result["conflicts"].append({**row, "writes": [write.id]})
    return result


def _held(holds: dict[str, Hold], field: str) -> bool:
    now = time.time()
    found = [hold for name, hold in holds.items() if name in ("*", field)]
    return any(hold.until is None or hold.until > now for hold in found)


def _standing(installation: Installation, records: list[str]) -> dict[str, dict[str, Any]]:
    """The values as the CRM holds them; of records that it does not hold, as the context does."""
    from revops_lite.store.views import Views

    found: dict[str, dict[str, Any]] = {}
    if installation.settings.rulebook.has_crm:
        for start in range(0, len(records), 500):
            page = installation.crm.read(records[start : start + 500])
            found.update({name: dict(record.values) for name, record in page.items()})
    views = Views(installation.clients.commands, installation.archive)
    for record in records:
        if record not in found and (context := views.context(record)) is not None:
            found[record] = {name: field.value for name, field in context.fields.items()}
    return found


def _show_forecast(forecast: dict[str, list[dict[str, Any]]], as_json: bool) -> None:
    if as_json:
        out.put_json(dict(forecast))
        return
    words = {"rolled_back": "will revert", "held": "held", "conflicts": "conflict: changed since"}
    rows = [
        (
            f"{row['record']}.{row['field']}",
            shapes.short(row["current"], 24),
            shapes.short(row.get("restored"), 24),
            words[kind],
        )
        for kind, several in forecast.items()
        for row in several
    ]
    out.table(("FIELD", "NOW", "RESTORED", "WHAT HAPPENS"), rows, "nothing to roll back")
    out.remark(_counts(forecast))


def _counts(forecast: dict[str, list[dict[str, Any]]]) -> str:
    return (
        f"{len(forecast['rolled_back'])} values will go back, {len(forecast['conflicts'])} were changed since "
        f"and stay, {len(forecast['held'])} are on hold"
    )


def _confirm(forecast: dict[str, list[dict[str, Any]]], name: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{_counts(forecast)}; without a terminal, give --yes to go ahead (or --dry-run to look)")
    out.remark(_counts(forecast))
    if typer.prompt(f"type {name} to roll back", err=True) != name:
        raise Refused("not confirmed: nothing was rolled back")


# ---- doing it ----------------------------------------------------------------------------------------------------


def _cancel(installation: Installation, views: Views, prefix: str, by: str) -> None:
    """A run that still works is cancelled first: it must not write while it is being undone."""
    from revops_lite.models import Event

    run = views.run(prefix)
    if run.state not in ENDED:
        id_ = f"cancelled|{run.id}|rollback"
        installation.send(Event(id_, "run.cancelled", run.record, "cli", time.time(), {"by": by}, run=run.id))


def _carry_out(installation: Installation, views: Views, writes: list[Write], by: str) -> None:
    """Chunk by chunk, oldest state last. Stopping leaves what was not asked for as it is; asking again goes on."""
    chunks = list(_chunks(writes))
    installation.trust()
    if not installation.controller_is_up():
        installation.store.append([_request(chunk, by) for chunk in chunks])
        out.remark(f"{len(writes)} writes to roll back are accepted; it is carried out once `revops up` runs")
        return
    with _progress(len(writes)) as advance:
        for chunk in chunks:
            installation.store.append([_request(chunk, by)])
            _await(views, chunk)
            advance(len(chunk))


def _chunks(writes: list[Write]) -> Iterable[list[Write]]:
    """Writes of one record stay together, so that a chain of them goes back in one call."""
    by_record: dict[str, list[Write]] = {}
    for write in writes:
        by_record.setdefault(write.record, []).append(write)
    chunk: list[Write] = []
    for mine in by_record.values():
        chunk += mine
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _request(chunk: list[Write], by: str) -> Event:
    from revops_lite.models import Event

    # The states are part of the name: the same command after a mend asks anew, a repeated one does not.
    named = blake2b("|".join(f"{w.id}{w.state}" for w in chunk).encode(), digest_size=8).hexdigest()
    data = {"writes": [write.id for write in chunk], "by": by}
    return Event(f"rollback|{named}|{time.time():.0f}", "rollback.requested", chunk[0].record, "cli", time.time(), data)


def _await(views: Views, chunk: list[Write]) -> None:
    """Until each write of the chunk is rolled back or has become a question for a person."""
    waiting, end = {write.id for write in chunk}, time.monotonic() + PATIENCE
    while waiting and time.monotonic() < end:
        now = views.many("write", sorted(waiting))
        settled = {write.id for write in now if write is not None and write.state == "rolled_back"}
        settled |= {item.write for item in _items(views, waiting) if item.write}
        if settled:
            end = time.monotonic() + PATIENCE
        waiting -= settled
        time.sleep(0.02 if settled else 0.1)


def _items(views: Views, writes: set[str]) -> list[Review]:
    """Questions about these writes: asked directly, or by the rollback's own write that could not go through."""
    pending = [item for item in views.pending() if item.write]
    own = views.many("write", sorted({item.write for item in pending if item.write and item.write not in writes}))
    undoes = {write.id: write.undoes for write in own if write is not None}
    from revops_lite.values import replace

    return [
        item if item.write in writes else replace(item, write=undone)
        for item in pending
        for undone in ([item.write] if item.write in writes else undoes.get(item.write or "", ()))
        if undone in writes
    ]


def _progress(total: int) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def bar() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        columns = ("rolling back", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            task = progress.add_task("", total=total)
            yield lambda n: progress.advance(task, n)

    return bar()


def _on_hold(item: Review) -> bool:
    """Found at once, or at the gate before the call."""
    from revops_lite.engine.rollback import ON_HOLD

    return item.reason == "held" or any(problem.startswith(ON_HOLD) for problem in item.problems)


def _report(views: Views, writes: list[Write], as_json: bool) -> None:
    ids = {write.id for write in writes}
    now = [write for write in views.many("write", sorted(ids)) if write is not None]
    items = _items(views, ids)
    done = [write for write in now if write.state == "rolled_back"]
    held = [item for item in items if _on_hold(item)]
    conflicts = [item for item in items if item not in held]
    if as_json:
        out.put_json(
            {
                "rolled_back": [shapes.write(write) for write in done],
                "conflicts": [shapes.review(item) for item in conflicts],
                "held": [shapes.review(item) for item in held],
            }
        )
    else:
        out.say(f"{len(done)} writes rolled back, {len(conflicts)} conflicts, {len(held)} held")
        if items:
            out.say("what could not go back waits in `revops review list --reason rollback`")
