"""Protocols of the outside, only where two implementations exist: the CRM and the channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from revops_lite.errors import CrmError
from revops_lite.models import CrmChange, CrmRecord, OutNotice


class CrmAbilities(Struct, frozen=True):
    """What a CRM can do; the writer and `doctor` go by it."""

    lock: str = "none"  # none | weak (time of change) | strong (compare-and-set in the CRM)
    history: str = "none"  # full | previous | none
    keyed: bool = False  # a repeated write id is applied once
    batch: int = 1  # records per call: of a read, and of `write_many` where it is more than 1 (see BatchCrm)
    echo: str = "values"  # how our own writes are recognised among changes: id | values


class Crm(Protocol):
    """A CRM. Every method may raise a `CrmError`; none retries, none caches, all may be called from any thread."""

    abilities: CrmAbilities

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        """Records by name ("lead:42"); those the CRM does not hold (or that are archived) are left out."""

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        """record -> role -> names of related records, both ways over `[crm.relations]`.

        A role is the pointing side's target kind ("company" on a lead) or, from the other side, the pointing
        kind or its plural ("contact" or "contacts" on a company).
        """

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        """One call, all fields or none. `expected` are the values the caller believes to stand there.

        Raises CrmConflict (with `current`), CrmRefused, CrmUnavailable or CrmUnknown. With `keyed`, the same
        `write_id` again is a no-op that succeeds.
        """

    def applied(self, record: str, write_id: str) -> bool | None:
        """Whether that write stands in the CRM's history; None where the CRM cannot tell."""

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        """What came or changed after `cursor` (None: from the beginning), oldest first, and the next cursor."""

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        """All records of a kind whose fields equal `where`, in pages, in one consistent order."""

    def close(self) -> None: ...


class CrmCall(Struct, frozen=True):
    """The arguments of one `Crm.write`."""

    record: str
    values: Mapping[str, Any]
    expected: Mapping[str, Any]
    write_id: str
    actor: str


@runtime_checkable
class BatchCrm(Crm, Protocol):
    """A CRM that takes several writes at once; one with `abilities.batch` > 1 is expected to be such."""

    def write_many(self, calls: Sequence[CrmCall]) -> list[CrmError | None]:
        """Each call as `write` would do it, in this order, each all or nothing by itself.

        Returns one outcome per call: None (applied, or it had been), or the error that `write` would have raised.
        Raises nothing of its own: a CRM that is away gives every call its error.
        """


class Channel(Protocol):
    """Somewhere a notice can be sent. `send` raises ChannelError; a notice may arrive twice after a crash."""

    def send(self, notice: OutNotice) -> None: ...

    def close(self) -> None: ...
