"""Secrets that nobody may see: unique words in their place, a lively and failing scenario, then every byte searched.

Where a canary may be, by design: in the environment of `up` and of commands (all of them come from there); what an
agent was granted, in its own host's environment and wherever the agent itself tells it; the sensitive value, in Redis,
in the CRM and in the sealed trail (a person decides about it), but in no log, notice or export.
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from notify.loopback import HttpServer, Reply, SmtpServer
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from installation import Installation, until

pytestmark = pytest.mark.real

NAMES = ("REDIS", "CRM", "SLACK", "SMTP", "HOOK", "AUDIT", "GRANTED", "UNGRANTED", "WRONG", "INLINE", "SENSITIVE")
CANARIES = {name: f"canary{number}{name.lower()}{'5ea1ed' * 4}" for number, name in enumerate(NAMES)}
NOWHERE = [name for name in NAMES if name not in ("GRANTED", "SENSITIVE")]

AGENT = """
import os
from pydantic import BaseModel
from revops_lite import Notice, Proposal, Snapshot, agent

class Said(BaseModel):
    iban: str | None = None
    grade: str | None = None

@agent(writes=Said)
def tell(lead: Snapshot) -> Proposal:
    print(sorted(os.environ.items()))
    if lead["way"] == "raise":
        raise RuntimeError(sorted(os.environ.items()))
    if lead["way"] == "sensitive":
        return Proposal(Said(iban="IBAN"), because="seen")
    notices = [Notice(to, "hello", "body", f"{lead.id}{to}") for to in ("slack", "gone", "mail", "hook", "file")]
    return Proposal(Said(grade="A"), because=str(sorted(os.environ)), notices=notices)
""".replace("IBAN", CANARIES["SENSITIVE"])

CONFIG = """
[audit]
key = "env:AUDIT_KEY"
[governance.fields."lead.iban"]
sensitive = true
[notify.channels.slack]
kind = "slack"
url = "env:SLACK"
[notify.channels.gone]
kind = "slack"
url = "env:GONE"
[notify.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{hook}/in"
token = "env:HOOK"
allow_private = true
[notify.channels.mail]
kind = "email"
host = "127.0.0.1"
port = {mail}
tls = "none"
from = "bot@example.com"
to = "team@example.com"
username = "bot"
password = "env:SMTP"
"""


class Guarded(Installation):
    """An installation whose Redis is somebody's own server, with a password."""

    socket = Path()

    @contextmanager
    def redis(self) -> Iterator[Redis]:
        with closing(Redis(unix_socket_path=str(self.socket), password=CANARIES["REDIS"])) as client:
            yield client


@pytest.fixture
def guarded(tmp_path: Path, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("r")
    settings = folder / "redis.conf"
    site = Guarded(tmp_path / "site")
    site.socket = folder / "s"
    settings.write_text(
        f"port 0\nunixsocket {site.socket}\ndir {folder}\nappendonly yes\nappendfsync always\n"
        f"maxmemory-policy noeviction\nrequirepass {CANARIES['REDIS']}\n"
    )
    server = subprocess.Popen([program, settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(site), "the server answers")
        yield site
    finally:
        site.end()
        server.kill()
        server.wait()


def answers(site: Guarded) -> bool:
    try:
        with site.redis() as client:
            return bool(client.ping())
    except NoConnection:
        return False


def configured(site: Guarded, slack: HttpServer, hook: HttpServer, mail: SmtpServer) -> None:
    environment = {name: CANARIES[name] for name in ("SMTP", "HOOK", "GRANTED", "UNGRANTED")}
    environment |= {"REDIS_URL": address(site, "REDIS"), "CRM_TOKEN": CANARIES["CRM"]}
    environment |= {"AUDIT_KEY": CANARIES["AUDIT"]}
    environment["SLACK"] = f"http://127.0.0.1:{slack.port}/services/{CANARIES['SLACK']}"
    environment["GONE"] = f"http://127.0.0.1:1/services/{CANARIES['SLACK']}"
    site.env.update(environment)
    site.agent("teller", AGENT)
    own = 'entry = "agents.teller:tell"\nenv = ["GRANTED"]\nattempts = 1'
    flow = 'on = "lead.created"\nsteps = [{ agent = "teller" }]'
    path = site.configure({"teller": own}, {"flow": flow}, extra=CONFIG.format(hook=hook.port, mail=mail.port))
    text = path.read_text().replace("[redis]\n", '[redis]\nurl = "env:REDIS_URL"\n')
    path.write_text(
        text.replace('durability = "everysec"\n', "").replace("[crm]\n", '[crm]\ntoken = "env:CRM_TOKEN"\n')
    )


def address(site: Guarded, name: str) -> str:
    return f"unix://:{CANARIES[name]}@{site.socket}"


def told(site: Guarded) -> dict[str, str]:
    """Everything that every command says, good and bad."""
    nouns = ("run", "review", "write", "hold", "breaker", "audit", "agent", "workflow", "report")
    commands = [[noun, "list"] for noun in nouns] + [[noun, "list", "--json"] for noun in nouns]
    commands += [
        ["check"],
        ["status"],
        ["metrics"],
        ["audit", "verify"],
        ["tail", "--no-follow", "-n", "99"],
    ]
    commands += [["audit", "export", "--format", "csv"], ["audit", "export", "--format", "jsonl"]]
    commands += [["run", "view", run["id"], "--json"] for run in site.run_list()]
    found = {" ".join(done.words): done.out + done.err for done in site.many(commands)}
    good = dict(site.env)
    site.env["REDIS_URL"] = address(site, "WRONG")
    for words in (["status"], ["up"], ["emit", "lead.created", "lead:1"]):
        done = site.revops(*words, code=None)
        assert done.code != 0
        found[f"wrong {words[0]}"] = done.out + done.err
    site.env.update(good)
    path = site.root / "config.toml"
    text = path.read_text()
    path.write_text(text.replace('"env:REDIS_URL"', f'"redis://:{CANARIES["INLINE"]}@127.0.0.1:1/0"'))
    for words in (["check"], ["status"]):
        found[f"inline {words[0]}"] = (done := site.revops(*words, code=None)).out + done.err
    path.write_text(text)
    return found


# ---- the search --------------------------------------------------------------------------------------------------


def search(places: Mapping[str, bytes], names: list[str]) -> list[tuple[str, str]]:
    return [(place, name) for place, there in places.items() for name in names if CANARIES[name].encode() in there]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def held(client: Any) -> dict[str, bytes]:
    """Every key and value of a Redis, unpacked."""
    read = {
        b"string": lambda key: [client.get(key)],
        b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": lambda key: [part for _, entry in client.xrange(key) for pair in entry.items() for part in pair],
    }
    return {repr(key): b"\n".join([key, *map(unpacked, read[client.type(key)](key))]) for key in client.scan_iter()}


def unpacked(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


def of_processes(pids: list[int], what: str) -> dict[str, bytes]:
    return {f"/proc/{pid}/{what}": Path(f"/proc/{pid}/{what}").read_bytes() for pid in pids}


def test_no_secret_is_found_anywhere_but_where_it_belongs(guarded: Guarded) -> None:
    site = guarded
    slack, hook, mail = HttpServer(), HttpServer(), SmtpServer(login=("bot", "another password"))
    slack.usual, hook.usual = Reply(404, b"no_service"), Reply(401, b"who are you")
    try:
        configured(site, slack, hook, mail)
        ways = ("raise", "sensitive", "notices", "raise2")
        site.crm("lead", {f"lead-{way}": {"way": way.rstrip("2")} for way in ways})
        with site.up() as up:
            until(lambda: sum(site.run_states().values()) == 4, "every run is there")
            until(lambda: slack.requests and hook.requests and site.notices(), "channels were tried")
            until(lambda: site.run_states().get("failed") == 2, "agents have failed")
            hosts = up.hosts()
            assert hosts
            environ, lines = of_processes(hosts, "environ"), of_processes(site.processes(), "cmdline")
            said = told(site)
            with site.redis() as client:
                inside = held(client)
            up.stop()
        everything = {f"said by {name}": text.encode() for name, text in said.items()}
        everything |= files(site.root) | inside | environ | lines
        checked(site, everything, environ, said)
    finally:
        for server in (slack, hook, mail):
            server.stop()


def checked(site: Guarded, everything: dict[str, bytes], environ: dict[str, bytes], said: dict[str, str]) -> None:
    assert search(everything, NOWHERE) == []
    granted = search(environ, ["GRANTED"])
    assert len(granted) == len(environ), "the agent does have what it was granted"
    covered = {name: text for name, text in everything.items() if name.startswith(("var/logs", "var/notices", "up"))}
    covered |= {name: text for name, text in everything.items() if name.startswith("said by audit export")}
    assert len(covered) >= 5
    assert search(covered, ["SENSITIVE"]) == []
    assert search(everything, ["SENSITIVE"]), "it is there for the person who decides"
    assert "sensitive" in said["review list"]
    # The search can fail: in a file, in a packed value, on a command line.
    (site.root / "var" / "planted").write_text(CANARIES["AUDIT"])
    assert search(files(site.root), NOWHERE) == [("var/planted", "AUDIT")]
    with site.redis() as client:
        client.hset("planted", "data", zlib.compress(CANARIES["CRM"].encode()))
        assert search(held(client), NOWHERE) == [("b'planted'", "CRM")]
    with subprocess.Popen(["sleep", "60"], env={"X": CANARIES["SMTP"]}) as planted:
        # The kernel shows the environment of a process that has just been started a moment later.
        shown = [(f"/proc/{planted.pid}/environ", "SMTP")]
        until(lambda: search(of_processes([planted.pid], "environ"), NOWHERE) == shown, "a planted secret is found")
        planted.kill()
