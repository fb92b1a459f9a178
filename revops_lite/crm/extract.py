"""An extract: records of the CRM as a file, for agents that learn from what is not in front of them."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from revops_lite.ports import Crm

PAGE = 500


def extract(crm: Crm, kind: str, where: Mapping[str, Any], path: Path) -> int:
    """Write all records of `kind` whose fields equal `where` as CSV: `id`, then every other field that any of them has.

    Values stand as they are (lists and objects as JSON): this is for programs, no spreadsheet opens it. The file is
    replaced whole, and only where something has changed. Returns how many records. Raises CrmError and OSError.
    """
    with closing(cast(Any, crm.sweep(kind, where, PAGE))) as pages:
        records = [(record.id, dict(record.values)) for page in pages for record in page]
    fields = list(dict.fromkeys(name for _, values in records for name in values if name != "id"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a crash
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(
            file
        )  # it quotes what is in a line's end, so that has to be \r\n, or a lone \r would get lost
        table.writerow(["id", *fields])
        table.writerows([id_, *(_cell(values.get(name)) for name in fields)] for id_, values in records)
    if _same(path, draft):
        draft.unlink()  # whoever has learned from it need not learn again
    else:
        draft.replace(path)
    return len(records)


def _same(path: Path, draft: Path) -> bool:
    private = not path.is_symlink() and path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o600
    return private and path.read_bytes() == draft.read_bytes()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
