"""A CRM in a process of its own, with a log of its own: `python fake_crm.py FOLDER CLASS`.

It speaks JSON lines on FOLDER/crm.sock and imports nothing of the product. CLASS is

* `keyed`: a repeated write id is applied once, and it can be asked whether an id was applied;
* `compare`: a write with another expected value than stands there is refused;
* `plain`: a write is a write.

FOLDER/crm.jsonl is its testimony: one line for each call (`call`), each field that changed (`applied`), each edit of a
person (`edited`). FOLDER/faults.json is its plan of faults, a list read anew for each call, of
`{"op": "write"|"read"|"changes", "nth": N or null, "rate": P, "fault": F, ...}`; `nth` counts the calls of that kind
since the file was last written, and each entry with `nth` fires once. Faults:

| fault | the call |
|---|---|
| unavailable | is refused as 429 or a refused connection would be; `retry_after` is passed on as it is |
| refused | is refused for good |
| error before / error after | is answered as a 5xx would be, without or with having been applied |
| reset before / reset after | loses its connection, without or with having been applied |
| half after | is applied, and half of the answer comes |
| page after | is applied, and an HTML page is the answer |
| hang before / hang after | is never answered, without or with having been applied |
| late | is answered as a 5xx, and applied `seconds` later |
| stale | (read) shows what stood there before the last change |
| edit | (read) is answered, and then a person sets `field` to `value` |
| kill before / kill after | kills the process that calls, without or with having been applied |
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

HELD_BACK = ("error before", "reset before", "hang before", "kill before", "unavailable", "refused", "late")
NO_ANSWER = ("reset before", "reset after", "kill before", "kill after")


class FakeCrm:
    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.lock = threading.RLock()
        self.records: dict[str, dict[str, Any]] = {}
        self.earlier: dict[str, dict[str, Any]] = {}  # what a stale read shows
        self.times: dict[str, list[float]] = {}  # created, updated
        self.edits: dict[str, dict[str, float]] = {}
        self.feed: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self.log = (folder / "crm.jsonl").open("a", encoding="utf-8", buffering=1)
        self.offset = 0.0
        self.plan: list[dict[str, Any]] = []
        self.planned = 0.0
        self.calls: dict[str, int] = {}
        self.dice = random.Random(0)
        self._restore()

    # ---- what it is asked

    def answer(self, ask: dict[str, Any], pid: int) -> Any:
        """The answer to one call; None where there is none."""
        with self.lock:
            op = ask["op"]
            if op in ("write", "read", "changes", "applied", "sweep", "related"):
                fault = self._fault(op)
                self._tell("call", fault=fault.get("fault"), seconds=fault.get("seconds"), **self._shown(ask))
                return self._served(op, ask, fault, pid)
            return getattr(self, op)(**{name: value for name, value in ask.items() if name != "op"})

    def _served(self, op: str, ask: dict[str, Any], fault: dict[str, Any], pid: int) -> Any:
        what = fault.get("fault", "")
        if what == "late":
            threading.Timer(fault["seconds"], self._late, [ask]).start()
        found = None
        if what not in HELD_BACK:
            found = self._stale(ask) if what == "stale" else getattr(self, f"_{op}")(ask)
        if what == "edit":
            record = fault.get("record") or ask["records"][0]
            if record in self.records:
                self.edit(record, {fault["field"]: fault["value"]}, "pat")
        if what.startswith("kill"):
            os.kill(pid, signal.SIGKILL)
        return {"fault": what, "retry_after": fault.get("retry_after"), "found": found}

    def _late(self, ask: dict[str, Any]) -> None:
        with self.lock:
            self._write(ask)

    def _write(self, ask: dict[str, Any]) -> dict[str, Any]:
        record, values, expected = ask["record"], ask["values"], ask["expected"]
        if self.kind == "keyed" and ask["write_id"] in self.ids:
            return {}
        held = self.records.get(record)
        if held is None:
            return {"refused": f"{record}: no such record"}
        if self.kind == "compare" and any(held.get(name) != value for name, value in expected.items()):
            return {"conflict": {name: held.get(name) for name in {**expected, **values}}}
        self.ids.add(ask["write_id"])
        self._change(record, values, ask["actor"], "revops", ask["write_id"])
        return {}

    def _read(self, ask: dict[str, Any]) -> dict[str, Any]:
        return {
            record: self._as_read(record, self.records[record]) for record in ask["records"] if record in self.records
        }

    def _stale(self, ask: dict[str, Any]) -> dict[str, Any]:
        old = {record: self.earlier.get(record) for record in ask["records"]}
        found = {record: self._as_read(record, values) for record, values in old.items() if values is not None}
        return {record: {**raw, "updated_at": raw["created_at"], "edited": {}} for record, raw in found.items()}

    def _as_read(self, record: str, values: dict[str, Any]) -> dict[str, Any]:
        created, updated = self.times[record]
        return {"values": values, "created_at": created, "updated_at": updated, "edited": self.edits.get(record, {})}

    def _applied(self, ask: dict[str, Any]) -> bool | None:
        return ask["write_id"] in self.ids if self.kind == "keyed" else None

    def _changes(self, ask: dict[str, Any]) -> dict[str, Any]:
        after, limit = ask["after"], ask["limit"]
        return {"changes": self.feed[after : after + limit], "after": min(len(self.feed), after + limit)}

    def _related(self, ask: dict[str, Any]) -> dict[str, Any]:
        return {record: {role: [] for role in ask["include"]} for record in ask["records"]}

    def _sweep(self, ask: dict[str, Any]) -> dict[str, Any]:
        wanted = sorted(name for name in self.records if name.startswith(ask["kind"] + ":"))
        rows = {name: self.records[name] for name in wanted}
        return {
            name: self._as_read(name, values)
            for name, values in rows.items()
            if all(values.get(field) == value for field, value in ask["where"].items())
        }

    # ---- what people, and the test, do

    def create(self, record: str, values: dict[str, Any], actor: str = "pat") -> bool:
        now = self._now()
        self.records[record], self.times[record] = {}, [now, now]
        self._change(record, values, actor, "import", None, created=True)
        return True

    def edit(self, record: str, values: dict[str, Any], actor: str) -> bool:
        self._change(record, values, actor, "person", None)
        return True

    def knows(self, record: str) -> bool:
        return record in self.records

    def shift(self, seconds: float) -> bool:
        self.offset += seconds
        return True

    def state(self) -> dict[str, Any]:
        return {"records": self.records, "calls": self.calls}

    # ---- inside

    def _change(
        self, record: str, values: dict[str, Any], actor: str, source: str, write: str | None, created: bool = False
    ) -> None:
        now = max(self._now(), self.times[record][1] + 0.001)
        held = self.records[record]
        if not created:
            self.earlier[record] = dict(held)
        self.times[record][1] = now
        kind = {"revops": "applied", "person": "edited", "import": "created"}[source]
        for name, value in values.items():
            fact = {"record": record, "field": name, "before": held.get(name), "after": value}
            self._tell(kind, write_id=write, actor=actor, at=now, created=created, **fact)
            edits = self.edits.setdefault(record, {})
            edits.pop(name, None)
            if source == "person":
                edits[name] = now
        held.update(values)
        self.feed.append(self._fed(record, values, actor, source, write, now, created))

    def _fed(
        self, record: str, values: dict[str, Any], actor: str, source: str, write: str | None, at: float, created: bool
    ) -> dict[str, Any]:
        return {
            "record": record, "created": created, "at": at, "fields": values, "actor": actor,
            "write_ids": [write] if write and self.kind == "keyed" else [], "key": str(len(self.feed) + 1),
            "person": source == "person",
        }  # fmt: skip

    def _fault(self, op: str) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            path = self.folder / "faults.json"
            stamp = path.stat().st_mtime_ns
            if stamp != self.planned:
                self.plan, self.planned, self.calls = json.loads(path.read_text()), stamp, {}
                self.dice = random.Random(next((one["seed"] for one in self.plan if "seed" in one), 0))
        self.calls[op] = self.calls.get(op, 0) + 1
        for one in self.plan:
            if one.get("op") != op or one.get("done"):
                continue
            if one.get("nth") == self.calls[op]:
                one["done"] = True
                return one
            if self.dice.random() < one.get("rate", 0.0):
                return one
        return {}

    def _now(self) -> float:
        return time.time() + self.offset

    def _shown(self, ask: dict[str, Any]) -> dict[str, Any]:
        return {name: ask[name] for name in ("op", "record", "records", "values", "write_id") if name in ask}

    def _tell(self, kind: str, **facts: Any) -> None:
        later = {"offset": self.offset} if self.offset else {}
        self.log.write(json.dumps({"kind": kind, "told": time.time(), **later, **facts}) + "\n")

    def _restore(self) -> None:
        """Go on with the state that FOLDER/crm-state.json holds, where a test has put it there."""
        with contextlib.suppress(OSError):
            kept = json.loads((self.folder / "crm-state.json").read_text())
            for name in ("records", "earlier", "times", "edits", "feed"):
                setattr(self, name, kept[name])
            self.ids = set(kept["ids"])

    def keep(self) -> bool:
        kept = {name: getattr(self, name) for name in ("records", "earlier", "times", "edits", "feed")}
        (self.folder / "crm-state.json").write_text(json.dumps({**kept, "ids": sorted(self.ids)}))
        return True


def serve(folder: Path, kind: str) -> None:
    crm = FakeCrm(folder, kind)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "crm.sock"))
    listener.listen(64)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_talk, args=(crm, client), daemon=True).start()


def _talk(crm: FakeCrm, client: socket.socket) -> None:
    pid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
        for line in lines:
            if not _reply(client, crm.answer(json.loads(line), pid)):
                return


def _reply(client: socket.socket, answer: Any) -> bool:
    """False where the connection ends with it."""
    fault = answer.get("fault", "") if isinstance(answer, dict) else ""
    if fault in NO_ANSWER:
        return False
    if fault.startswith("hang"):
        time.sleep(60)
        return False
    data = json.dumps(answer).encode() + b"\n"
    if fault == "half after":
        client.sendall(data[: len(data) // 2])
        return False
    client.sendall(b"<html>Bad gateway</html>\n" if fault == "page after" else data)
    return True


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
