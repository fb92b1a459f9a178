"""`revops init DIR --from DEALS.csv`: an installation that reviews the deals of an export."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from revops_lite.cli import out, terminal
from revops_lite.cli.crm_cmds import pairs, user
from revops_lite.cli.init_cmds import find_starter, finished, refuse_taken, write_files
from revops_lite.crm.csv_file import open_csv
from revops_lite.crm.relations import plural
from revops_lite.crm.sqlite import SqliteCrm
from revops_lite.errors import RevopsError, UsageError
from revops_lite.intake import Intake, Table, deal_review_only, guess, intake, shown, told
from revops_lite.intake.values import Order

BATCH = 1000  # records per transaction
COMMANDS = ("revops workflow start deal_review", "revops up --until-idle")
RELATIONS = {"deal.hubspot_owner_id": "owner"}
README = """# Deal review

- `config.toml`: everything that can be configured; `revops check` says whether it is right.
- `agents/`: one Python file per agent; what they go by lies in `agents/data/`.
- `data/deals.csv`: the export as it came. It has been imported into the embedded CRM.
- `var/`: made by the program: the embedded CRM and Redis, the audit trail, reports, sent messages. Back it up.

```
{commands}
```

Then look around: `revops run list`, `revops review`, `ls var/reports`. `revops up` goes on and reviews every morning.
"""


def init_from(target: Path, file: Path, maps: Sequence[str], dates: Order | None, yes: bool) -> list[str]:
    """Show what the columns are taken for; with consent make the installation in `target`: the lines to print then.

    Without a terminal `yes` is the consent. Raises UsageError without it, and for a file that is no deals export;
    Refused where an installation stands already; NotFound, RevopsError.
    """
    refuse_taken(target)
    table = read(file)
    guessed = guess(table, pairs(maps, "--map", "column=field"))
    found = intake(table, guessed, dates)
    out.table(("column", "becomes", "by", "for example"), shown(table, guessed))
    for line in told(table, guessed, found):
        out.say(f"- {line}")
    if not (yes or _agreed(target, file, maps, dates)):
        raise UsageError("nothing was made; say --map COLUMN=FIELD for what is not right")
    return _make(target, file, found)


def read(file: Path) -> Table:
    """Raises NotFound and UsageError, with file and line."""
    opened = open_csv(file, "")
    wide = len(opened.columns)
    problems = list(opened.problems)
    rows = []
    for line, cells in opened.rows():
        if any(map(str.strip, cells[wide:])):
            problems.append(f"line {line}: {len(cells)} cells for {wide} columns; skipped")
        elif any(map(str.strip, cells)):
            rows.append((line, cells[:wide]))
    return Table(str(file), opened.columns, rows, tuple(problems))


def _agreed(target: Path, file: Path, maps: Sequence[str], dates: Order | None) -> bool:
    if not terminal.is_there():
        given = [f"--map {shlex.quote(each)}" for each in maps] + ([f"--dates {dates}"] if dates else [])
        command = " ".join(["revops init", shlex.quote(str(target)), "--from", shlex.quote(str(file)), *given, "--yes"])
        raise UsageError(f"if that is right: {command}\n  if it is not, add --map COLUMN=FIELD, as in --map ACV=amount")
    try:
        answer = terminal.Terminal().line("Is that right? [Y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("", "y", "yes")


def _make(target: Path, file: Path, found: Intake) -> list[str]:
    starter = find_starter()
    config = deal_review_only((starter / "config.toml").read_text(encoding="utf-8"), file.name)
    made = write_files(starter, target, config, README.format(commands="\n".join(COMMANDS)))
    try:
        (target / "data").mkdir()
        shutil.copyfile(file, target / "data" / "deals.csv")
        (target / "var").mkdir()
    except OSError as error:
        raise RevopsError(f"{target}: the installation cannot be written there: {error.strerror or error}") from error
    counts = _import(target / "var" / "crm.sqlite3", found)
    imported = ", ".join(f"{count} {plural(kind) if count != 1 else kind}" for kind, count in counts.items() if count)
    return finished(target, [*made, "data/deals.csv (a copy)", f"var/crm.sqlite3 ({imported})"], COMMANDS)


def _import(path: Path, found: Intake) -> dict[str, int]:
    tables = {
        "deal": found.deals,
        "owner": [
            (id_, {"name": name, **({"email": name} if "@" in name else {})}) for id_, name in found.owners.items()
        ],
    }
    crm = SqliteCrm(path, RELATIONS)
    try:
        for kind, rows in tables.items():
            for start in range(0, len(rows), BATCH):
                crm.put(kind, rows[start : start + BATCH], user())
    finally:
        crm.close()
    return {kind: len(rows) for kind, rows in tables.items()}
