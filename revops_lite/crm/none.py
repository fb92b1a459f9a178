"""`adapter = "none"`: no CRM. Events bring the values, and the shared context is all there is."""

# ruff: noqa: ARG002 (the port's signatures, of which nothing here makes use)
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from revops_lite.errors import CrmRefused
from revops_lite.models import CrmChange, CrmRecord
from revops_lite.ports import CrmAbilities


class NoCrm:
    """Holds no record and refuses every write. Implements `ports.Crm`."""

    abilities = CrmAbilities()

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        return {}

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        return {record: dict.fromkeys(include, ()) for record in records}

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        raise CrmRefused(f'{record}: there is no CRM to write to ([crm] adapter = "none")')

    def applied(self, record: str, write_id: str) -> bool | None:
        return None

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        return [], cursor or ""

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        yield from ()

    def close(self) -> None:
        """Nothing to close."""
