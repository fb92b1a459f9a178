"""Every mistake is told with its line, its key and the mend; all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from revops_lite.config import Examined, load
from revops_lite.errors import ConfigError

Examine = Callable[[str], Examined]

HEAD = """timezone = "UTC"
[agents.enrichment]
entry = "agents.enrichment:enrich"
[agents.scoring]
entry = "agents.scoring:run"
"""  # five lines: what follows begins on line 6
FLOW = '[workflows.w]\non = "lead.created"\n'  # lines 6 and 7

MAIL = '[notify.channels.a]\nkind = "email"\nhost = "mail.example"\nfrom = "a@x.example"\n'  # lines 6 to 9
# what follows HEAD, the finding's line, its key, and what it says
BROKEN = [
    ("[redis]\nurll = 1", 7, "redis.urll", "unknown key 'urll'; did you mean 'url'?"),
    ('[redis]\ndurability = "allways"', 7, "redis.durability", "takes one of always, everysec, not 'allways'"),
    ('[redis]\nurl = "localhost:6379"', 7, "redis.url", '"redis[s]://host:port/db"'),
    ('[redis]\nurl = "redis://:hunter2@h:6379"', 7, "redis.url", "write env:NAME or file:PATH"),
    ('[redis]\nurl = "redis://h:70000"', 7, "redis.url", '"redis[s]://host:port/db"'),
    ("[workers]\nprocesses = -1", 7, "workers.processes", "must be at least 0, not -1"),
    ("[workers]\nthreads = 0", 7, "workers.threads", "must be at least 1, not 0"),
    ("[workers]\nthreads = true", 7, "workers.threads", "takes a whole number, not true"),
    ("[workers]\nthreads = 2.5", 7, "workers.threads", "takes a whole number, not 2.5"),
    ("[worker]\nthreads = 1", 6, "worker", "unknown key 'worker'; did you mean 'workers'?"),
    ('[crm]\npoll = "soon"', 7, "crm.poll", "'soon' is no duration; write it like"),
    ("[crm]\npoll = 0", 7, "crm.poll", "must be more than 0"),
    ('[crm]\nadapter = "hubpsot"', 7, "crm.adapter", "unknown adapter 'hubpsot'; did you mean 'hubspot'?"),
    ("[crm]\npage = 1", 7, "crm.page", "unknown key 'page'"),
    ('[crm]\nadapter = "a.b:C"\ntokn = "x"', 8, "crm.tokn", "did you mean 'token'?"),
    ('[crm]\ntoken = "pat-na1-123"', 7, "crm.token", "write env:NAME or file:PATH"),
    ('[crm]\nadapter = "a.b:C"\napi_key = "123"', 8, "crm.api_key", "write env:NAME or file:PATH"),
    ('[crm.relations]\nlead = "company"', 7, "crm.relations.lead", '"lead.company_id" = "company"'),
    ('[notify]\ndefault = "slaes"\n[notify.channels.sales]\nkind = "console"', 7, "notify.default", "mean 'sales'?"),
    ('[notify]\nops = "pager"', 7, "notify.ops", "unknown channel 'pager'; there are: console"),
    ('[notify.channels.a]\npath = "x"', 6, "notify.channels.a.kind", "is required; add kind"),
    ('[notify.channels.a]\nkind = "slak"', 7, "notify.channels.a.kind", "not 'slak'; did you mean 'slack'?"),
    ('[notify.channels.a]\nkind = "file"', 6, "notify.channels.a", "a channel of kind file needs path"),
    ('[notify.channels.a]\nkind = "slack"', 6, "notify.channels.a", "needs url, or token and channel"),
    ('[notify.channels.a]\nkind = "email"\nhost = "h"', 6, "notify.channels.a", "needs host, from and to"),
    (
        '[notify.channels.a]\nkind = "slack"\nurl = "env:U"\ntoken = "env:T"',
        6,
        "notify.channels.a",
        "needs url, or token and channel",
    ),
    (
        '[notify.channels.a]\nkind = "slack"\ntoken = "env:T"\nchannel = "#x"\nbase_url = "http://slack.example"',
        10,
        "notify.channels.a.base_url",
        "would send the token unencrypted: use https",
    ),
    (MAIL + 'to = "ann"', 10, "notify.channels.a.to", '"ann" is not an e-mail address'),
    (MAIL + 'to = ["ann@x.example", "Bo <b@x.example>"]', 10, "notify.channels.a.to", '"Bo <b@x.example>" is not'),
    (
        MAIL + 'to = "ann@x.example"\npassword = "env:P"\ntls = "none"',
        12,
        "notify.channels.a.tls",
        '"none" would send the password unencrypted: use "starttls" or "ssl"',
    ),
    ('[notify.channels.a]\nkind = "console"\npath = "x"', 8, "notify.channels.a.path", "kind console does not use it"),
    ('[notify.channels.a]\nkind = "slack"\nurl = "https://x.example/y"', 8, "notify.channels.a.url", "env:NAME"),
    ('[notify.channels.a]\nkind = "webhook"\nurl = "ftp://x"', 8, "notify.channels.a.url", 'takes "https://…"'),
    ('[notify.channels.a]\nkind = "webhook"\nurl = "https://x/?key=1"', 8, "notify.channels.a.url", "env:NAME"),
    ('[notify.channels."a b"]\nkind = "console"', 6, 'notify.channels."a b"', "use letters, digits, - and _"),
    ('[governance]\nmode = "atuo"', 7, "governance.mode", "not 'atuo'; did you mean 'auto'?"),
    ("[governance]\nauto_write_confidence = 1.2", 7, "governance.auto_write_confidence", "must be at most 1, not 1.2"),
    ("[governance]\nconflict_margin = nan", 7, "governance.conflict_margin", "takes a finite number"),
    ('[governance]\nhuman_wins_for = "30 days"', 7, "governance.human_wins_for", "'30 days' is no duration"),
    (
        '[governance]\nconflict_order = [\n  "priority",\n  "confidense",\n]',
        9,
        "governance.conflict_order[1]",
        "takes one of priority, confidence, recency, not 'confidense'; did you mean 'confidence'?",
    ),
    ('[governance]\nconflict_order = ["recency", "recency"]', 7, "governance.conflict_order", "names a rule twice"),
    (
        '[governance.fields."deal.amuont"]\nmode = "review"',
        6,
        'governance.fields."deal.amuont"',
        "no configured agent may write 'amuont'; did you mean 'amount'?",
    ),
    ("[governance.fields.amount]\nconfidence = 1", 6, "governance.fields.amount", 'takes "kind.field" in quotes'),
    (
        '[governance.fields."deal.amount"]\npriority = ["scorin"]',
        7,
        'governance.fields."deal.amount".priority[0]',
        "unknown agent 'scorin'; did you mean 'scoring'?",
    ),
    (
        '[governance.fields."deal.amount"]\nminimum = 5\nmaximum = 4',
        7,
        'governance.fields."deal.amount".minimum',
        "is more than maximum",
    ),
    ('[review]\nexpires = { confidense = "7d" }', 7, "review.expires.confidense", "did you mean 'confidence'?"),
    ('[review]\nexpires = { held = "never" }', 7, "review.expires.held", "'never' is no duration"),
    ("[agents.x]\npriority = 1", 6, "agents.x.entry", "is required; add entry"),
    ('[agents.x]\nentry = "agents.scoring"', 7, "agents.x.entry", 'takes "package.module:function"'),
    ('[agents.x]\nentry = "agents.nothing:run"', 7, "agents.x.entry", "the module does not import"),
    ('[agents.x]\nentry = "agents.scoring:walk"', 7, "agents.x.entry", "agents.scoring has no 'walk'"),
    ('[agents.x]\nentry = "agents.scoring:Out"', 7, "agents.x.entry", "not an agent; put @agent(...) above it"),
    ('[agents.x]\nentry = "agents.scoring:run"\ntimeout = "0s"', 8, "agents.x.timeout", "must be more than 0"),
    ('[agents.x]\nentry = "agents.scoring:run"\nenv = "KEY"', 8, "agents.x.env", "takes a list, not 'KEY'"),
    ('[agents.x]\nentry = "agents.scoring:run"\nenv = ["A B"]', 8, "agents.x.env[0]", "no name of an environment"),
    ('[agents.x]\nentry = "agents.scoring:run"\nsettings.api_key = "s"', 8, "agents.x.settings.api_key", "agent's env"),
    ('[agents.x]\nentry = "agents.scoring:run"\nsettings.a = inf', 8, "agents.x.settings", "inf cannot be handed on"),
    ('[agents.x]\nentry = "agents.scoring:run"\nbreaker.failures = 0', 8, "agents.x.breaker.failures", "at least 1"),
    ('[agents.crm]\nentry = "agents.scoring:run"', 6, "agents.crm", "choose another"),
    ('[agents."a|b"]\nentry = "agents.scoring:run"', 6, 'agents."a|b"', "use letters, digits"),
    ("[agents]\nx = 5", 7, "agents.x", "takes a table, not 5"),
    (
        FLOW + 'steps = [\n  { agent = "enrichment" },\n  { agent = "scorng" },\n]',
        10,
        "workflows.w.steps[1].agent",
        "unknown agent 'scorng'; did you mean 'scoring'?",
    ),
    (
        FLOW + 'steps = [\n  { agent = "scoring" },\n  { agent = "scoring" },\n]',
        10,
        "workflows.w.steps[1].agent",
        'two steps are called scoring; give this one its own name = "…"',
    ),
    (
        FLOW + 'steps = [{ agent = "enrichment" },\n  { agent = "scoring", after = ["enrichmnt"] }]',
        9,
        "workflows.w.steps[1].after",
        "unknown step 'enrichmnt'; did you mean 'enrichment'?",
    ),
    (
        FLOW + 'steps = [\n  { agent = "enrichment", after = ["scoring"] },\n  { agent = "scoring" },\n]',
        10,
        "workflows.w.steps[1].after",
        "the steps wait for each other: ",
    ),
    (
        FLOW + 'steps = [{ agent = "scoring", after = ["scoring"] }]',
        8,
        "workflows.w.steps[0].after",
        "the steps wait for each other: scoring -> scoring",
    ),
    (FLOW + 'steps = ["scoring"]', 8, "workflows.w.steps[0]", "takes a table, not 'scoring'"),
    (FLOW + 'steps = [{ agent = "scoring", when = "flaged" }]', 8, "workflows.w.steps[0].when", "mean 'flagged'?"),
    (FLOW + 'steps = [{ agent = "scoring", gather = "" }]', 8, "workflows.w.steps[0].gather", 'takes "all" or'),
    (FLOW + "steps = []", 8, "workflows.w.steps", "has no steps"),
    (FLOW, 6, "workflows.w.steps", "has no steps"),
    (FLOW + 'deadline = "90sec"\nsteps = [{ agent = "scoring" }]', 8, "workflows.w.deadline", "is no duration"),
    (FLOW + 'missed = "last"\nsteps = [{ agent = "scoring" }]', 8, "workflows.w.missed", "latest, all, skip"),
    ('[workflows.w]\nsteps = [{ agent = "scoring" }]', 6, "workflows.w", "nothing starts it; add on ="),
    ('[workflows.w]\non = []\nsteps = [{ agent = "scoring" }]', 6, "workflows.w", "nothing starts it"),
    (
        '[workflows.w]\non = [\n "lead.created",\n "scorin.complete"]\nsteps = [{ agent = "scoring" }]',
        9,
        "workflows.w.on[1]",
        "unknown agent 'scorin'; did you mean 'scoring'?",
    ),
    ('[workflows.w]\non = "lead created"\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.on", "is no event type"),
    ('[workflows.w]\ncron = "6 o\'clock"\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.cron", "write five fields"),
    ('[workflows.w]\ncron = "61 * * * *"\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.cron", "is no cron line"),
    *[
        (f'[workflows.w]\ncron = "{line}"\nsteps = [{{ agent = "scoring" }}]', 7, "workflows.w.cron", says)
        for line, says in [
            ("9:00 Mon-Fri", 'write "0 9 * * Mon-Fri"'),
            ("Mon-Fri 09:30", 'write "30 9 * * Mon-Fri"'),
            ("6:00", 'write "0 6 * * *"'),
            ("25:00 Mon-Fri", "write five fields"),
            ("0 9 * * monday", "'monday' is no day of the week (0 to 7, or sun to sat)"),
            ("0 0 L * *", "'L' is no day of the month (1 to 31)"),
            ("0 0 15W * *", "'15W' is no day of the month"),
            ("0 0 * * 5#2", "'5#2' is no day of the week"),
            ("0 0 ? * *", "'?' is no day of the month"),
            ("0 0 6 * * *", "write five fields"),
            ("@reboot", "of those with @ there are @hourly, @daily"),
        ]
    ],
    ('[workflows.w]\ncron = "0 0 30 2 *"\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.cron", "never comes"),
    ('[workflows.w]\ncron = "H * * * *"\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.cron", "is no cron line"),
    (
        FLOW + 'steps = [{ agent = "enrichment" },\n  { agent = "scoring", when = "flagged" }]',
        9,
        "workflows.w.steps[1].when",
        'is for workflows with over; add over = { kind = "deal" } to this one, or remove when',
    ),
    (FLOW + 'steps = [{ agent = "scoring", gather = "owner" }]', 8, "workflows.w.steps[0].gather", "or remove gather"),
    (
        '[crm]\nadapter = "none"\n[workflows.w]\nover = { kind = "deal" }\nsteps = [{ agent = "scoring" }]',
        9,
        "workflows.w.over",
        "there is no CRM to sweep",
    ),
    (
        '[workflows.w]\non = "a.b"\nextract = { closed = { kind = "deal" } }\nsteps = [{ agent = "scoring" }]',
        8,
        "workflows.w.extract",
        "is made when a workflow sweeps the CRM; add over",
    ),
    (
        '[workflows.w]\nover = { kind = "deal" }\nsteps = [{ agent = "scoring" }]\n'
        '[workflows.w.extract."../../agents/x"]\nkind = "deal"',
        9,
        'workflows.w.extract."../../agents/x"',
        "an extract's file cannot have this name; use letters, digits, - and _",
    ),
    (
        '[workflows.w]\nover = { kind = "deal" }\nsteps = [{ agent = "scoring" }]\n'
        'extract = { closed = { kind = "a deal" } }',
        9,
        "workflows.w.extract.closed.kind",
        "'a deal' is no kind of record",
    ),
    (
        '[workflows.v]\nover = { kind = "deal" }\nextract = { closed = { kind = "deal" } }\n'
        'steps = [{ agent = "scoring" }]\n'
        '[workflows.w]\nover = { kind = "deal" }\nextract = { closed = { kind = "lead" } }\n'
        'steps = [{ agent = "scoring" }]',
        12,
        "workflows.w.extract.closed",
        "v makes another extract of this name; give one of them its own",
    ),
    (
        '[workflows.w]\nover = { kind = "deal" }\nsteps = [\n  { agent = "enrichment", gather = "all" },\n'
        '  { agent = "scoring" },\n]',
        10,
        "workflows.w.steps[1].after",
        "works on single records and cannot follow enrichment, which gathers them",
    ),
    (
        '[workflows.w]\nover = { kind = "deal" }\nsteps = [{ agent = "enrichment", gather = "a b" }]',
        8,
        "workflows.w.steps[0].gather",
        'takes "all" or the name of a related record',
    ),
    ('[workflows.w]\nover = { where = { a = 1 } }\nsteps = [{ agent = "scoring" }]', 7, "workflows.w.over.kind", "add"),
]


@pytest.mark.parametrize(("text", "line", "key", "says"), BROKEN, ids=[f"{row[2]}-{row[3][:24]}" for row in BROKEN])
def test_a_mistake_is_told_once_with_its_line_key_and_mend(
    examined: Examine, text: str, line: int, key: str, says: str
) -> None:
    found = examined(HEAD + text).findings
    assert [(each.file, each.line, each.key) for each in found] == [("config.toml", line, key)]
    assert says in found[0].problem


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "config.toml: timezone: is required; add"),
        ('timezone = "America/NewYork"', "config.toml:1: timezone: unknown time zone 'America/NewYork'; did you mean"),
        ('timezone = "localtime"', "config.toml:1: timezone: unknown time zone 'localtime'"),
        ('timezone = "America"', "config.toml:1: timezone: unknown time zone 'America'"),
        ('timezone = "../UTC"', "config.toml:1: timezone: unknown time zone"),
        ("timezone = 5", "config.toml:1: timezone: takes text in quotes, not 5"),
        ('timezone = "UTC"\n[redis\n', "config.toml:2: not valid TOML: "),
        ('timezone = "UTC"\nx = [1,\n', "config.toml:3: not valid TOML: "),
        ('timezone = "UTC"\ntimezone = "UTC"', "config.toml:2: not valid TOML: "),
        ("x = " + "[" * 5000, "config.toml: "),
    ],
)
def test_what_stands_at_the_top_is_told_likewise(examined: Examine, text: str, start: str) -> None:
    (finding,) = examined(text).findings
    assert str(finding).startswith(start)


def test_all_findings_come_at_once_in_the_order_of_the_file(examined: Examine) -> None:
    text = """timezone = "Mars/Olympus"
[redis]
urll = "embedded"
[agents.enrichment]
entry = "agents.enrichment:enrich"
timeout = "soon"
[agents.scoring]
[workflows.a]
on = "lead.created"
deadlin = "90s"
steps = [{ agent = "enrichment" }, { agent = "scorng", optional = 1 }]
[workflows.b]
steps = [{ agent = "scoring", after = ["x"] }]
"""
    assert [(each.line, each.key) for each in examined(text).findings] == [
        (1, "timezone"),
        (3, "redis.urll"),
        (6, "agents.enrichment.timeout"),
        (7, "agents.scoring.entry"),
        (10, "workflows.a.deadlin"),
        (11, "workflows.a.steps[1].optional"),
        (11, "workflows.a.steps[1].agent"),
        (12, "workflows.b"),
        (13, "workflows.b.steps[0].after"),
    ]


def test_load_raises_them_as_one_error_with_a_line_for_each(root: Path) -> None:
    path = root / "config.toml"
    path.write_text('timezone = "UTC"\nworkres = 1\n[redis]\nurl = 5\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).split("\n") == [
        f"{path}:2: workres: unknown key 'workres'; did you mean 'workers'?",
        f"{path}:4: redis.url: takes text in quotes",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[crm]\ntoken = "hunter2-secret"',
        '[crm]\nadapter = "a.b:C"\nclient_secret = "hunter2-secret"',
        '[crm]\ntoken = ["hunter2-secret"]',
        '[redis]\nurl = "redis://:hunter2-secret@host/0"',
        '[redis]\nurl = { password = "hunter2-secret" }',
        '[notify.channels.a]\nkind = "slack"\nurl = "https://hooks.slack.com/hunter2-secret"',
        '[notify.channels.a]\nkind = "slack"\ntoken = "hunter2-secret"\nchannel = "#x"',
        '[agents.enrichment]\nentry = "agents.enrichment:enrich"\nsettings = { password = "hunter2-secret" }',
    ],
)
def test_a_secret_that_stands_in_the_file_is_refused_and_never_printed(examined: Examine, text: str) -> None:
    found = examined('timezone = "UTC"\n' + text).findings
    assert found
    assert "hunter2" not in "\n".join(map(str, found))


def test_a_field_that_is_only_masked_needs_no_agent_to_write_it(examined: Examine) -> None:
    assert examined(HEAD + '[governance.fields."contact.email"]\nsensitive = true').findings == ()


def test_fields_are_not_judged_while_an_agent_does_not_import(examined: Examine) -> None:
    text = HEAD + '[agents.x]\nentry = "agents.gone:run"\n[governance.fields."a.b"]\nconfidence = 1.0'
    assert [each.key for each in examined(text).findings] == ["agents.x.entry"]


def test_control_characters_in_a_key_reach_no_terminal(examined: Examine) -> None:
    (finding,) = examined('timezone = "UTC"\n"\\u001b[2J\\u202e" = 1').findings
    assert str(finding).isprintable()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.exists, "there is no such file; `revops init DIR`"),
        (Path.mkdir, "is a folder; name the file"),
        (lambda path: path.write_bytes(b"timezone = '\xff'"), "not UTF-8 text (byte 12)"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_the_mend(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "config.toml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbf# a\r\ntimezone = "UTC"\r\n')
    assert load(path).timezone == "UTC"


def test_a_misspelt_key_that_is_required_is_told_as_both(examined: Examine) -> None:
    found = examined(HEAD + FLOW + 'steps = [{ agnet = "scoring" }]').findings
    assert [(each.key, each.problem) for each in found] == [
        ("workflows.w.steps[0].agent", "is required; add agent = …"),
        ("workflows.w.steps[0].agnet", "unknown key 'agnet'; did you mean 'agent'?"),
    ]
