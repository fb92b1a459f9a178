"""A page and the notices that belong to it, from the agent to the file, the mailbox and the command."""

from __future__ import annotations

import json
import stat

from notify.loopback import SmtpServer

from installation import Installation

REVIEW = """
from revops_lite import Notice, Proposal, Report, Snapshot, agent

@agent
def look(lead: Snapshot) -> Proposal:
    page = "<!doctype html><title>Week</title><p>" + "€" * 1000
    notices = [Notice(to, "The week", "3 open deals", f"week:{to}", report="week 24") for to in ("managers", "file")]
    return Proposal(notices=notices, reports=[Report("week 24", page)], because="it is Monday")
"""
MAIL = """
[notify.channels.managers]
kind = "email"
host = "127.0.0.1"
port = {port}
tls = "none"
from = "revops@example.com"
to = "ann@example.com"
"""


def test_a_report_is_written_mailed_named_and_listed(site: Installation) -> None:
    site.agent("weekly", REVIEW)
    smtp = SmtpServer()
    try:
        site.configure({"weekly": "look"}, {"week": ["weekly"]}, extra=MAIL.format(port=smtp.port))
        site.crm("lead", {"1": {"email": "a@b.example"}})
        site.revops("emit", "lead.created", "lead:1")
        site.revops("up", "--until-idle")
    finally:
        smtp.stop()
    (page,) = site.revops("report", "list", "--json").items()
    path = site.root / "var" / "reports" / f"{page['name']}.html"
    assert page["name"].startswith("week-24-")
    assert (page["path"], page["size"]) == (str(path), path.stat().st_size)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert site.revops("report", "open", "week", "--print").out.strip() == str(path)
    (mail,) = smtp.mails
    (attached,) = [part for part in mail.walk() if part.get_filename()]
    assert attached.get_filename() == path.name
    assert attached.get_payload(decode=True) == path.read_bytes()
    line = json.loads((site.root / "var" / "notices.jsonl").read_text())
    assert (line["body"], line["report"]) == ("3 open deals", f"var/reports/{path.name}")
