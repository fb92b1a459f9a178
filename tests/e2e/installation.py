"""An installation in a folder, driven as its users do: files as text, commands as processes, the CRM's file as witness.

    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})   # or site.file("config.toml", TEXT)
    site.agent("enrichment", SOURCE)                                # or ENRICH, an agent with one field
    site.crm("lead", {"lead-1": {"email": "a@b.example"}})          # written by `revops crm import`
    with site.up() as up:                                           # `revops up`, ready when the block begins
        until(lambda: site.settled() == {"finished": 1})            # the poller has found the lead
        up.kill()                                                   # SIGKILL; `with` ends it anyhow
    assert site.changes("lead:lead-1")

(`site` is the fixture of conftest.py; a test module says `from installation import Installation, until`.)
Everything that `up` starts is dead when the block ends (`end`), whatever a test did. `revops(...)` fails the test where
the exit code is not the one expected, and whenever a traceback is shown.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from redis import Redis

from forked import commands
from revops_lite.server.folder import socket_path
from revops_lite.store import keys
from revops_lite.store.archive import ARCHIVE, Archive
from revops_lite.store.views import Views

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds until a condition counts as never met; nothing is measured by it
T = TypeVar("T")

HEAD = """\
timezone = "Europe/Berlin"
[redis]
durability = "{durability}"
[crm]
adapter = "{adapter}"
poll = "{poll}"
[crm.relations]
"lead.company_id" = "company"
"lead.contact_id" = "contact"
"contact.company_id" = "company"
"contact.deal_id" = "deal"
"activity.deal_id" = "deal"
"deal.company_id" = "company"
"deal.hubspot_owner_id" = "owner"
[notify.channels.file]
kind = "file"
path = "var/notices.jsonl"
[notify]
default = "file"
[workers]
processes = {processes}
threads = {threads}
"""

ENRICH = """
from pydantic import BaseModel
from revops_lite import Proposal, Snapshot, agent


class Out(BaseModel):
    industry: str


@agent(writes=Out)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Out(industry="IT"), confidence=0.99)
"""

MANY = """
import contextlib, io, json, sys, traceback
from revops_lite.cli import main

for words in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["revops", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            code = 1
            traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


def until(condition: Callable[[], T], what: str = "", patience: float = PATIENCE) -> T:
    """Wait until `condition()` is true and return what it gave. An AssertionError says what was never met."""
    deadline = time.monotonic() + patience
    pause = 0.005
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what or condition}; last seen: {found!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return found


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json()["items"]
        return found


class Installation:
    """One installation in `root`. `env` are variables for every process of it (PATH, HOME and the like come along)."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.env = dict(env or {})
        self.ups: list[Up] = []
        root.mkdir(parents=True, exist_ok=True)

    # ---- its files

    def file(self, name: str, text: str) -> Path:
        """Write one file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def agent(self, name: str, source: str) -> Path:
        """agents/NAME.py."""
        return self.file(f"agents/{name}.py", source)

    def starter_agents(self) -> None:
        """The agents of this repository, with what they share, as `revops init` puts them into an installation."""
        shutil.copytree(
            REPOSITORY / "agents",
            self.root / "agents",
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )

    def configure(
        self,
        agents: Mapping[str, str],
        workflows: Mapping[str, Sequence[str] | str],
        *,
        adapter: str = "sqlite",
        processes: int = 1,
        threads: int = 4,
        poll: str = "200ms",
        durability: str = "everysec",
        extra: str = "",
    ) -> Path:
        """Write config.toml. `agents`: name -> function in agents/NAME.py, or TOML lines that contain `entry`.

        `workflows`: name -> agents one after the other, started by lead.created; or that table's TOML lines.
        `extra` is appended: more tables.
        """
        parts = [
            HEAD.format(adapter=adapter, processes=processes, threads=threads, poll=poll, durability=durability),
        ]
        for name, entry in agents.items():
            lines = entry if "=" in entry else f'entry = "agents.{name}:{entry}"'
            parts.append(f"[agents.{name}]\n{lines}\n")
        for name, steps in workflows.items():
            if isinstance(steps, str):
                lines = steps
            else:
                listed = ", ".join(f'{{ agent = "{step}" }}' for step in steps)
                lines = f'on = "lead.created"\ninclude = ["company", "contact"]\nsteps = [{listed}]'
            parts.append(f"[workflows.{name}]\n{lines}\n")
        return self.file("config.toml", "\n".join([*parts, extra]))

    def crm(self, kind: str, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Put records into the embedded CRM: a CSV file and `revops crm import`."""
        columns = list(dict.fromkeys(name for fields in records.values() for name in fields))
        path = self.root / f"{kind}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["id", *columns])
            rows.writerows([id_, *(fields.get(name, "") for name in columns)] for id_, fields in records.items())
        self.revops("crm", "import", str(path), "--kind", kind, "--id", "id")

    # ---- its commands

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REVOPS_")}
        path = os.pathsep.join(filter(None, [str(REPOSITORY), kept.get("PYTHONPATH")]))
        return kept | {"PYTHONPATH": path, "NO_COLOR": "1", "COLUMNS": "200"} | self.env

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "revops_lite.cli", *words]

    def revops(
        self,
        *words: str,
        code: int | None = 0,
        stdin: str | None = None,
        timeout: float = 60.0,
        cwd: Path | None = None,
    ) -> Done:
        """Run `revops WORDS` in the root and wait. `code` is the exit code expected, None for any."""
        if "PYTHONPATH" in self.env:  # what is imported is another thing then
            ended = subprocess.run(
                self.command(*words),
                cwd=cwd or self.root,
                env=self.environment(),
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout,
            )
            done = Done(words, ended.returncode, ended.stdout, ended.stderr)
        else:
            done = Done(words, *commands().run(words, cwd or self.root, self.environment(), stdin or "", timeout))
        told = f"revops {' '.join(words)}: exit {done.code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err + done.out, told
        assert code is None or done.code == code, told
        return done

    def many(self, commands: Sequence[Sequence[str]], timeout: float = 120.0) -> list[Done]:
        """Run several commands one after the other in one process, for long tables of them. Nothing is asserted."""
        ended = subprocess.run(
            [sys.executable, "-c", MANY],
            cwd=self.root,
            env=self.environment(),
            input=json.dumps([list(words) for words in commands]),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        lines = ended.stdout.splitlines()
        assert len(lines) == len(commands), f"{commands[len(lines)]} ended the process: {ended.stderr}"
        return [Done(tuple(words), *json.loads(line)) for words, line in zip(commands, lines, strict=True)]

    def run_list(self, *words: str) -> list[dict[str, Any]]:
        """`revops run list --json`."""
        return self.revops("run", "list", "--json", *words).items()

    def run(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self.revops("run", "view", id_, "--json").json()
        return found

    def reviews(self, *words: str) -> list[dict[str, Any]]:
        """`revops review list --json`: what is pending."""
        return self.revops("review", "list", "--json", *words).items()

    def writes(self, *words: str) -> list[dict[str, Any]]:
        return self.revops("write", "list", "--json", *words).items()

    def audit(self, *words: str) -> list[dict[str, Any]]:
        """`revops audit list --json`, newest first."""
        return self.revops("audit", "list", "--json", *words).items()

    def record(self, record: str) -> dict[str, Any]:
        found: dict[str, Any] = self.revops("record", "view", record, "--json", "--history").json()
        return found

    # ---- `up`

    @contextmanager
    def up(self, *words: str, ready: bool = True) -> Iterator[Up]:
        """`revops up WORDS` in the background, ready to decide when the block begins; dead when it ends."""
        up = self.start(*words, ready=ready)
        try:
            yield up
        finally:
            up.end()

    def start(self, *words: str, ready: bool = True, command: str = "up") -> Up:
        """The same without a block; `end()` of it, or of the installation, must follow."""
        up = Up(self, words, command)
        self.ups.append(up)
        if ready:
            try:
                up.until_ready()
            except BaseException:
                up.end()
                raise
        return up

    def end(self) -> None:
        """Whatever still runs of this installation is killed."""
        for up in self.ups:
            up.end()
        for pid in self.processes():
            _kill(pid)
        until(lambda: not self.processes(), "nothing of the installation runs")

    def processes(self) -> list[int]:
        """Living processes whose command line or working folder names the root: hosts, servers, commands."""
        mark = str(self.root).encode()
        return [pid for pid in _pids() if pid != os.getpid() and mark in _told(pid)]

    # ---- seeing what happens without a command, for conditions that are asked often

    @property
    def address(self) -> str:
        return f"unix://{socket_path(self.root.resolve() / 'var' / 'redis')}"

    @contextmanager
    def redis(self) -> Iterator[Redis]:
        """A client of the embedded server; `up` has to run."""
        with closing(Redis(unix_socket_path=self.address.removeprefix("unix://"), socket_timeout=10)) as client:
            yield client

    def views(self, client: Redis) -> Views:
        """Of Redis and of what has left it."""
        return Views(client, Archive(self.root / ARCHIVE))

    def audited(self) -> int:
        """How many audit entries there are: how far the work is. 0 while the server does not answer."""
        try:
            with self.redis() as client:
                return int(client.xlen("revops:audit"))
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.startswith("redis"):
                return 0
            raise

    def states(self) -> dict[str, str]:
        """record -> state of its run, read from Redis; with several runs of a record, the newest."""
        with self.redis() as client:
            found = self.views(client).runs(lambda _: True, None)
        return {run.record: str(run.state) for run in reversed(found)}

    def run_states(self, workflow: str | None = None) -> dict[str, int]:
        """How many runs are in which state, read from Redis."""
        with self.redis() as client:
            found = self.views(client).runs(lambda run: workflow in (None, run.workflow), None)
        return dict(Counter(str(run.state) for run in found))

    def settled(self) -> dict[str, int]:
        """`run_states()` once nothing is on its way any more (events, runs, effects), else {}. For `until`."""
        with self.redis() as client:
            counts = [client.zcard(keys.open_(kind)) for kind in ("loads", "intents", "notices")]
            about = client.hgetall(keys.CONTROLLER)
            last, waiting = client.xrevrange(keys.EVENTS, count=1), client.exists(keys.WAITING)
        caught_up = not waiting and (not last or about.get(b"cursor") == last[0][0])
        states = self.run_states()  # read after the rest: what is still on its way has a run that waits for it
        moving = states.get("running") or states.get("waiting")
        return states if caught_up and not any(counts) and states and not moving else {}

    # ---- the embedded CRM's own testimony

    @property
    def crm_path(self) -> Path:
        return self.root / "var" / "crm.sqlite3"

    def _select(self, query: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.crm_path}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]

    def changes(self, record: str | None = None, source: str = "revops") -> list[dict[str, Any]]:
        """Rows of the `changes` table in order, before and after decoded; of `source`, "" for all."""
        rows = self._select("SELECT * FROM changes WHERE ? IN (source, '') ORDER BY seq", source)
        for row in rows:
            row["before"], row["after"] = json.loads(row["before"]), json.loads(row["after"])
        return [row for row in rows if record in (None, f"{row['kind']}:{row['id']}")]

    def crm_records(self, kind: str) -> dict[str, dict[str, Any]]:
        """id -> fields, as they stand in the CRM's file."""
        rows = self._select("SELECT id, fields FROM records WHERE kind = ? AND NOT archived", kind)
        return {row["id"]: json.loads(row["fields"]) for row in rows}

    def crm_record(self, record: str) -> dict[str, Any]:
        kind, _, id_ = record.partition(":")
        return self.crm_records(kind)[id_]

    def notices(self) -> list[dict[str, Any]]:
        """What the file channel got (var/notices.jsonl)."""
        return lines_of(self.root / "var" / "notices.jsonl")


class Up:
    """A running `revops up`, in a process group of its own; its stderr is a file."""

    def __init__(self, site: Installation, words: Sequence[str], command: str = "up") -> None:
        self._site = site
        number = len(site.ups)
        self._out, self._err = (site.root / f"up{number}.{name}" for name in ("stdout", "stderr"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                site.command(command, *words),
                cwd=site.root,
                env=site.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8")

    def alive(self) -> bool:
        return self.process.poll() is None

    def until_ready(self) -> None:
        """Until this process is the controller. An AssertionError with its stderr where it ends before."""

        def leads() -> bool:
            assert self.alive(), f"`up` ended with {self.process.returncode}:\n{self.err}"
            try:
                with self._site.redis() as client:
                    owner = client.hget(keys.CONTROLLER, "owner") or b""
            except OSError:
                return False
            except Exception as error:  # the server is loading, or not there yet
                if type(error).__module__.startswith("redis"):
                    return False
                raise
            return f":{self.pid}:".encode() in owner

        until(leads, "`up` leads")

    def children(self) -> list[int]:
        """Its direct children: agent hosts and the embedded server."""
        return [pid for pid in _pids() if _parent(pid) == self.pid]

    def hosts(self) -> list[int]:
        """Pids of the agent hosts."""
        return [pid for pid in self.children() if b"revops_lite.host" in _read(pid, "cmdline")]

    def server(self) -> int:
        """Pid of the embedded Redis server."""
        (pid,) = [pid for pid in self.children() if pid not in self.hosts()]
        return pid

    def signal(self, number: int, *, group: bool = False) -> None:
        """`group`: everything in its process group gets it, as with Ctrl-C at a terminal."""
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to the orchestrator alone; what it started has to notice by itself."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Make sure that nothing of it lives. Twice is once."""
        started = [pid for pid in self.children() if self.alive()]
        if self.alive():
            self.process.kill()
        self.process.wait()
        for pid in started:
            _kill(pid)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        until(lambda: not any(_read(pid, "cmdline") for pid in started), "what `up` started is gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; [] where it does not exist."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _told(pid: int) -> bytes:
    """Command line and working folder."""
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        folder = ""
    return _read(pid, "cmdline") + folder.encode()


def _parent(pid: int) -> int:
    stat = _read(pid, "stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
