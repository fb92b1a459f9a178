"""Hostile strings (300 in a long run) as values, ids, reasons, notes and flags; then every command at a terminal, every
file and every channel: nothing comes out that a terminal, a spreadsheet or Slack would obey."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from notify.hostile import raw_harm, strings
from notify.loopback import HttpServer, SmtpServer

from installation import Installation, until

pytestmark = pytest.mark.real

PER_NOTICE = 60
TEXTS = strings(300 if os.environ.get("REVOPS_LONG") else 120)  # each piece alone is among the first 100
CHANNELS = ("file", "console", "slack", "hook", "mail")
SGR = re.compile(r"\x1b\[[0-9;]*m")  # colours of our own
MENTION = re.compile(r"<[!@#]|(?<![\w.])@(?:here|channel|everyone)\b", re.IGNORECASE)
FORMULA = re.compile(r"[\s\uff00]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")

PARROT = (
    f"CHANNELS = {CHANNELS}"
    + """
import json
from pathlib import Path
from pydantic import BaseModel
from revops_lite import Flag, Notice, Proposal, Snapshot, agent

TEXTS = json.loads(Path(__file__).with_name("texts.json").read_text())

class Said(BaseModel):
    note: str | None = None
    size: int | None = None

@agent(writes=Said)
def say(lead: Snapshot) -> Proposal:
    number = lead["number"]
    text = TEXTS[number]
    print(text)
    way = number % 6
    if way == 4:
        raise RuntimeError(text)
    if way == 5:
        return Proposal({"note": [text], text: text}, because=text)
    notices = []
    if number % 60 == 0:
        body = "\\n".join(TEXTS[number : number + 60]).encode("utf-8", "replace").decode()
        notices = [Notice(to, text[:200] or "x", body, f"{number}{to}") for to in CHANNELS]
    flags = [Flag(text or "x", "low", text)]
    return Proposal(Said(note=text), confidence=0.5 if way == 3 else 0.95, because=text, flags=flags, notices=notices)

@agent(writes=Said)
def fall(lead: Snapshot) -> Proposal:
    raise RuntimeError(TEXTS[5] + TEXTS[18])
"""
)

CONFIG = """
[notify.channels.console]
kind = "console"
[notify.channels.slack]
kind = "slack"
url = "env:SLACK"
[notify.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{hook}/in"
allow_private = true
[notify.channels.mail]
kind = "email"
host = "127.0.0.1"
port = {mail}
tls = "none"
from = "bot@example.com"
to = "team@example.com"
"""

AT_A_TERMINAL = """
import json, sys
from revops_lite.cli import main
for words in json.load(open(sys.argv[1])):
    print("<<<" + json.dumps(words) + ">>>", flush=True)
    sys.argv = ["revops", *words]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush(); sys.stderr.flush()
        print("<<<exit " + str(ended.code or 0) + ">>>", flush=True)
"""


def utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@pytest.fixture
def servers() -> Iterator[tuple[HttpServer, HttpServer, SmtpServer]]:
    made = HttpServer(), HttpServer(), SmtpServer()
    yield made
    for server in made:
        server.stop()


def filled(site: Installation, slack: HttpServer, hook: HttpServer, mail: SmtpServer) -> None:
    """One installation that holds every string at every place it can get to."""
    site.env["SLACK"] = f"http://127.0.0.1:{slack.port}/services/x"
    site.agent("parrot", PARROT)
    site.file("agents/texts.json", json.dumps(TEXTS))
    many = 'breaker = { failures = 100000, cooldown = "1h" }\nattempts = 1'
    agents = {"parrot": f'entry = "agents.parrot:say"\n{many}'}
    agents["faller"] = 'entry = "agents.parrot:fall"\nbreaker = { failures = 1, cooldown = "1h" }'
    flow = 'on = "lead.created"\nsteps = [{ agent = "parrot" }]'
    other = 'on = "company.created"\nsteps = [{ agent = "faller" }]'
    extra = CONFIG.format(hook=hook.port, mail=mail.port)
    site.configure(agents, {"flow": flow, "other": other}, extra=extra)
    lines = []
    for number, text in enumerate(TEXTS):
        name = re.sub(r"[\x00-\x20\x7f]", "", utf8(text))[:60]
        data = {"number": number, "given": utf8(text)}
        lines.append({"type": "lead.created", "record": f"lead:{number}{name}", "data": data})
    lines += [{"type": "company.created", "record": "company:1", "data": {"x": 1}}]
    site.file("events.jsonl", "\n".join(map(json.dumps, lines)))
    site.revops("emit", "--file", "events.jsonl")


def orders(site: Installation) -> list[list[str]]:
    """Holds, notes and names in hostile words."""
    items = site.reviews("--reason", "confidence")
    words = [utf8(text).replace("\x00", "") or "x" for text in TEXTS]
    made = [["hold", "add", f"lead:{text}", "--reason", text, "--as", text] for text in words[:70:4]]
    pairs = zip(items, words[12:62:5], strict=False)
    made += [["review", "reject", item["id"], "--note", text, "--as", text] for item, text in pairs]
    return [*made, ["breaker", "open", "parrot"]]


def shown(site: Installation) -> dict[str, str]:
    """What each command put on a real terminal of 120 columns."""
    run, failed = site.run_list("--limit", "1")[0]["id"], site.run_list("--state", "failed")[0]
    review, write = site.reviews()[0]["id"], site.writes()[0]
    record = write["record"]
    lists = [["run"], ["review"], ["write"], ["hold"], ["breaker"], ["audit"], ["report"], ["agent"], ["workflow"]]
    commands = [[*noun, "list"] for noun in lists]
    commands += [["run", "view", run], ["run", "view", failed["id"]], ["review", "view", review]]
    commands += [["record", "view", record, "--history"], ["record", "view", failed["record"], "--history"]]
    commands += [["status"], ["tail", "--no-follow", "-n", "400"], ["metrics"], ["explain", run], ["check"]]
    commands += [
        ["workflow", "view", "flow"],
        ["run", "list", "--limit", "1000"],
        ["review", "list", "--limit", "1000"],
    ]
    commands += [["audit", "list", "--limit", "3000"], ["explain", f"{record}.note"]]
    commands += [["rollback", "--agent", "parrot", "--dry-run"]]
    plain = {"check"}
    commands += [[*words, "--json"] for words in commands if words[0] not in plain]
    bad = [utf8(text).replace("\x00", "") for text in TEXTS[2:50:4]]
    commands += [
        [*words, text] for text in bad for words in (["run", "view"], ["record", "view"], ["breaker", "reset"])
    ]
    commands += [["emit", text, text] for text in bad] + [["review", "edit", review, "--set", text] for text in bad]
    commands += [["hold", "release", text, "--reason", text] for text in bad]
    listed = site.file("commands.json", json.dumps(commands))
    script = site.file("terminal.py", AT_A_TERMINAL)
    env = {**site.environment(), "TERM": "xterm-256color", "COLUMNS": "120"}
    env.pop("NO_COLOR")
    tty = pexpect.spawn(
        sys.executable, [str(script), str(listed)], cwd=str(site.root), env=env, dimensions=(50, 120), timeout=120
    )
    told = tty.read().decode("utf-8")
    tty.close()
    parts = re.split(r"<<<(\[.*?\])>>>\r\n", told)
    assert "Traceback" not in told, told[told.index("Traceback") - 500 :][:3000]
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def harm(text: str) -> str:
    return raw_harm(SGR.sub("", text).replace("\r\n", "\n"), keep="\n\t")


def test_no_command_at_a_terminal_no_file_and_no_channel_passes_harm_on(
    site: Installation, servers: tuple[HttpServer, HttpServer, SmtpServer]
) -> None:
    slack, hook, mail = servers
    filled(site, slack, hook, mail)
    with site.up() as up:
        until(lambda: sum(site.run_states("flow").values()) == len(TEXTS), "every run is there", 60)
        until(lambda: set(site.run_states()) <= {"finished", "failed", "held"}, "every run has come to rest", 90)
        until(
            lambda: min(len(slack.requests), len(mail.mails), len(hook.requests)) >= len(TEXTS) // PER_NOTICE,
            "all is told",
            60,
        )
        for done in site.many(orders(site)):
            assert "Traceback" not in done.err, done.words
        for words, text in shown(site).items():
            assert harm(text) == "", (words, text[:300])
            if words.endswith('"--json"]'):
                assert all(json.loads(line) for line in text.splitlines() if line.startswith("{")), words
        sheets(site)
        up.stop()
    channels(site, slack, hook, mail)
    files(site, Path(up._err))


def sheets(site: Installation) -> None:
    for words in (["audit", "export", "--format", "csv"], ["audit", "export", "--format", "jsonl"]):
        text = site.revops(*words).out
        if words[-1] == "jsonl":
            assert harm(text) == "", words
        else:  # letters stay as they are, so that an export can be imported again; what a terminal obeys does not
            assert [
                letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\r\n\t"
            ] == []
            cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
            assert len(cells) > 1_000
            assert [cell for cell in cells if FORMULA.match(cell) and not NUMBER.fullmatch(cell)] == []


def channels(site: Installation, slack: HttpServer, hook: HttpServer, mail: SmtpServer) -> None:
    for request in slack.requests:
        told = json.loads(request.body)
        text = json.dumps(told, ensure_ascii=False)
        assert not MENTION.search(told.get("text", "") + text), text[:500]
        assert harm(text) == ""
    for request in hook.requests:
        assert harm(request.body.decode()) == ""
    for message in mail.mails:
        assert message["Bcc"] is None
        assert harm(str(message["Subject"])) == ""
    for notice in site.notices():
        assert notice["to"] == "file"
    assert harm((site.root / "var" / "notices.jsonl").read_text("utf-8")) == ""


def files(site: Installation, err: Path) -> None:
    """Logs, and what `up` showed: the console channel is among it."""
    told = err.read_text("utf-8")
    assert "notice" in told
    assert harm(told) == ""
    logs = list((site.root / "var" / "logs").glob("*"))
    assert logs
    for log in logs:
        text = log.read_text("utf-8")
        assert "RuntimeError" in text
        assert harm(text) == "", log
