"""`revops init DIR`: a working installation to start from, with sample data."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from revops_lite.errors import Refused, RevopsError
from revops_lite.sample import generate

OURS = ("config.toml", "agents", "data", "var")  # what `init` makes or `up` would; any of them stops it
IMPORTS = {  # table -> kind, column of the id
    "companies": ("company", "company_id"),
    "contacts": ("contact", "contact_id"),
    "leads": ("lead", "lead_id"),
    "owners": ("owner", "owner_id"),
    "deals": ("deal", "deal_id"),
    "deal_contacts": ("contact", "contact_id"),
    "activities": ("activity", "activity_id"),
}
GITIGNORE = "/var/\n__pycache__/\n*.pyc\n.env\n"
README = """# A revops-lite installation

- `config.toml`: everything that can be configured; `revops check` says whether it is right.
- `agents/`: one Python file per agent; what they go by lies in `agents/data/`.
- `data/`: the sample CRM as CSV (leads and deals with what belongs to them), and the company registry that the
  enrichment agent reads.
- `var/`: made by the program: the embedded CRM and Redis, the audit trail, reports, sent messages. Back it up.

```
{commands}
```

Then look around: `revops run list`, `revops review`, `revops explain lead:ld-0001.hubspot_owner_id`, `revops status`.
"""


def init(target: Path, *, leads: int = 60, seed: int = 7) -> list[str]:
    """Make an installation in `target`; the lines to print: what was made, and what to type next.

    A folder with other files in it is fine, and its README.md and .gitignore are kept. Raises Refused where one of
    our own files stands there already, UsageError for `leads` below 1, RevopsError where the folder cannot be written.
    """
    refuse_taken(target)
    starter = find_starter()
    config = (starter / "config.toml").read_text(encoding="utf-8")
    counts = generate(target / "data", leads=leads, seed=seed)
    commands = _commands()
    made = write_files(starter, target, config, README.format(commands="\n".join(commands)))
    told = [f"data/{name}.csv ({count} rows)" for name, count in counts.items()]
    return finished(target, [*made, *told], commands)


def refuse_taken(target: Path) -> None:
    """Raises Refused where an installation, or a file, stands already."""
    if target.exists() and not target.is_dir():
        raise Refused(f"{target} is a file; name a folder that does not exist yet, or an empty one")
    if found := [name for name in OURS if (target / name).exists() or (target / name).is_symlink()]:
        raise Refused(f"{target} already has {', '.join(found)}; choose another folder, or move that away first")


def write_files(starter: Traversable, target: Path, config: str, readme: str) -> list[str]:
    """config.toml, agents/, .gitignore and README.md; the names of those that were written. Raises RevopsError."""
    texts = {".gitignore": GITIGNORE, "README.md": readme}
    try:
        made = _starter_files(starter, target, config)
        return made + [name for name, text in texts.items() if _create(target / name, text)]
    except OSError as error:
        raise RevopsError(f"{target}: the installation cannot be written there: {error.strerror or error}") from error


def finished(target: Path, made: Sequence[str], commands: Sequence[str]) -> list[str]:
    """What is printed in the end."""
    lines = [f"Made an installation in {target}:", *(f"  {name}" for name in made), "", "Next:"]
    return [*lines, f"  cd {shlex.quote(str(target))}", *(f"  {command}" for command in commands)]


def find_starter() -> Traversable:
    """Where the starter's config.toml and agents/ lie: inside an installed wheel, else beside the package."""
    package = files("revops_lite")
    starter = package / "starter"
    if starter.is_dir():
        return starter
    checkout = Path(str(package)).parent
    if (checkout / "config.toml").is_file() and (checkout / "agents").is_dir():
        return checkout
    raise RevopsError(f"{package} has no starter files; reinstall revops-lite")


def _starter_files(starter: Traversable, target: Path, config: str) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.toml").write_text(config, encoding="utf-8", newline="\n")
    made = ["config.toml"]
    for name, source in _walk("agents", starter / "agents"):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        made.append(name)
    return made


def _walk(prefix: str, folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        name = f"{prefix}/{item.name}"
        if item.is_dir() and not item.name.startswith(("__", ".")):
            yield from _walk(name, item)
        elif item.is_file() and item.name.endswith((".py", ".toml", ".html")):
            yield name, item


def _create(path: Path, text: str) -> bool:
    """Write a file unless one stands there; whether it did."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _commands() -> list[str]:
    imports = [f"revops crm import data/{name}.csv --kind {kind} --id {key}" for name, (kind, key) in IMPORTS.items()]
    return [*imports, "revops workflow start deal_review", "revops up"]
