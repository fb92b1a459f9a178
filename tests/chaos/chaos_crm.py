"""The adapter to `fake_crm.py`: `adapter = "chaos_crm:Keyed"`, `:Compare` or `:Plain`."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from revops_lite.errors import CrmConflict, CrmRefused, CrmUnavailable, CrmUnknown
from revops_lite.models import CrmChange, CrmRecord
from revops_lite.ports import CrmAbilities

PATIENCE = 0.3  # seconds until an answer counts as lost


class FakeCrmClient:
    """Answers and the lack of them become the port's errors; nothing is repeated here."""

    abilities: CrmAbilities

    def __init__(self, settings: Any) -> None:
        self._address = str(Path(settings.root) / "crm.sock")
        self._mine = threading.local()

    def read(self, records: Sequence[str]) -> dict[str, CrmRecord]:
        return {name: _record(name, raw) for name, raw in self._ask("read", records=list(records)).items()}

    def related(self, records: Sequence[str], include: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
        found = self._ask("related", records=list(records), include=list(include))
        return {record: {role: tuple(names) for role, names in roles.items()} for record, roles in found.items()}

    def write(
        self, record: str, values: Mapping[str, Any], expected: Mapping[str, Any], write_id: str, actor: str
    ) -> None:
        found = self._ask(
            "write", record=record, values=dict(values), expected=dict(expected), write_id=write_id, actor=actor
        )
        if "refused" in found:
            raise CrmRefused(found["refused"])
        if "conflict" in found:
            raise CrmConflict(f"{record} holds other values", found["conflict"])

    def applied(self, record: str, write_id: str) -> bool | None:
        answer: bool | None = self._ask("applied", record=record, write_id=write_id)
        return answer

    def changes(self, cursor: str | None, limit: int) -> tuple[list[CrmChange], str]:
        found = self._ask("changes", after=int(cursor or 0), limit=limit)
        changes = [CrmChange(**{**raw, "write_ids": tuple(raw["write_ids"])}) for raw in found["changes"]]
        return changes, str(found["after"])

    def sweep(self, kind: str, where: Mapping[str, Any], page: int) -> Iterator[list[CrmRecord]]:
        found = [_record(name, raw) for name, raw in self._ask("sweep", kind=kind, where=dict(where)).items()]
        for start in range(0, len(found), page):
            yield found[start : start + page]

    def close(self) -> None:
        pass

    def _ask(self, op: str, **words: Any) -> Any:
        answer = self._exchange(json.dumps({"op": op, **words}).encode() + b"\n")
        fault = answer["fault"]
        if fault == "unavailable":
            raise CrmUnavailable("the fake CRM is busy", answer["retry_after"])
        if fault == "refused":
            raise CrmRefused("the fake CRM refuses it")
        if fault in ("error before", "error after", "late"):
            raise CrmUnknown("the fake CRM failed")
        return answer["found"]

    def _exchange(self, line: bytes) -> dict[str, Any]:
        try:
            connection = self._connection()
        except OSError as error:
            raise CrmUnavailable(f"the fake CRM is not there: {error}") from error
        try:
            connection.sendall(line)
            answer = self._mine.lines.readline()
            found: dict[str, Any] = json.loads(answer)
        except (OSError, ValueError) as error:
            self._mine.connection = None
            connection.close()
            raise CrmUnknown(f"no answer: {error}") from error
        return found

    def _connection(self) -> socket.socket:
        held: socket.socket | None = getattr(self._mine, "connection", None)
        if held is None:
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            held.settimeout(PATIENCE)
            held.connect(self._address)
            self._mine.connection, self._mine.lines = held, held.makefile("rb")
        return held


class Keyed(FakeCrmClient):
    abilities = CrmAbilities(lock="none", history="full", keyed=True, batch=1, echo="id")


class Compare(FakeCrmClient):
    abilities = CrmAbilities(lock="strong", history="none", keyed=False, batch=1, echo="values")


class Plain(FakeCrmClient):
    abilities = CrmAbilities(lock="none", history="none", keyed=False, batch=1, echo="values")


def _record(name: str, raw: Mapping[str, Any]) -> CrmRecord:
    kind, _, id_ = name.partition(":")
    return CrmRecord(kind, id_, raw["values"], raw["created_at"], raw["updated_at"], raw["edited"])
