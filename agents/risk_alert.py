"""Risk alert: one summary per owner with only what its reader has not been told of yet. A `gather = "owner"` agent.

Settings: `channel` (where to; default "owner"), `channels` {owner: channel}, `names` {owner: name}, `link`
("https://.../{id}"; also {kind} and {record}), `currency`, `timezone`, and the `fields` of data/deals.toml.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from agents.deals.reading import is_open, rules
from agents.evidence.reading import text
from agents.review.lines import LEVELS, WEIGHT, Line, code_of, local, person, ranked, read, reason, severity
from agents.review.money import amount_of, several, shown, totals
from revops_lite import Flag, Gathered, Notice, Proposal, Skip, Snapshot, agent

BODY = 1990  # characters
ROOM = 350  # of them for the deals that do not fit in full
ABOUT = 300_000  # characters of names of findings: what is beyond stays new
News = list[tuple[Line, list[Flag]]]


def news_of(deals: Sequence[Snapshot], to: str, s: Mapping[str, Any]) -> News:
    """The deals with findings that `to` has not been told of, gravest and biggest first."""
    fresh = {}
    for deal in deals:
        if not is_open(deal, s):
            continue
        line = read(deal, s)
        if flags := [flag for flag in line.flags if to not in deal.told.get(flag.code, ())]:
            fresh[line.record] = (line, flags)
    weight = {record: max(WEIGHT[severity(flag)] for flag in flags) for record, (_, flags) in fresh.items()}
    order = ranked([line for line, _ in fresh.values()], weight)
    return [fresh[line.record] for line in order]


def within(news: News) -> tuple[News, list[str]]:
    """As many of the deals as can be named to the engine, and those names."""
    about: list[str] = []
    size = 0
    for place, (line, flags) in enumerate(news):
        size += sum(len(line.record) + len(flag.code) + 1 for flag in flags)
        if size > ABOUT and place:
            return news[:place], about
        about += [f"{line.record}|{flag.code}" for flag in flags]
    return news, about


def entry(line: Line, flags: Sequence[Flag], template: str) -> str:
    facts = [amount_of(line), line.stage, f"closes {line.close}" if line.close else ""]
    said = "; ".join(f"{reason(flag)[:160]} ({severity(flag)})" for flag in flags)
    link = "\n  " + address(template, line) if template else ""
    return f"- {line.name}: {', '.join(fact for fact in facts if fact)}\n  {said[:500]}{link}"


def address(template: str, line: Line) -> str:
    for name, value in {"{id}": line.id, "{kind}": line.kind, "{record}": line.record}.items():
        template = template.replace(name, quote(value, safe="", errors="replace"))
    return template[:300]


def rest_of(news: News) -> str:
    """One line for the deals that do not fit: how many, what was found, the first of their names."""
    codes = Counter(code_of(flag).replace("_", " ") for _, flags in news for flag in flags)
    found = ", ".join(f"{count:,} {code[:40]}" for code, count in codes.most_common(4))
    told = f"And {several(len(news), 'more deal')} ({found}): "
    names = [line.name[:40] for line, _ in news[:5]]
    return (told + "; ".join(names) + ("; ..." if len(news) > len(names) else ""))[: ROOM - 10]


def body_of(news: News, head: str, template: str) -> str:
    entries = [entry(line, flags, template) for line, flags in news]
    if len(whole := "\n".join([head, "", *entries])) <= BODY:
        return whole
    body, shown_ = head + "\n", 0
    for text_ in entries:
        if len(body) + len(text_) > BODY - ROOM:
            break
        body, shown_ = f"{body}\n{text_}", shown_ + 1
    return f"{body}\n{rest_of(news[shown_:])}"[:BODY]


def head_of(news: News, name: str) -> tuple[str, str]:
    """Subject and first lines."""
    grave = Counter(severity(flag) for _, flags in news for flag in flags)
    levels = ", ".join(f"{grave[level]:,} {level}" for level in LEVELS if grave[level])
    count = f"{several(grave.total(), 'new finding')} on {several(len(news), 'deal')}"
    sums = totals([line for line, _ in news])
    amounts = ", ".join(shown(value, currency) for currency, value in sums.pipeline.items())
    first = f"{count} ({levels})" + (f", {amounts} together" if amounts else "")
    return f"{count}: {news[0][0].name}"[:150], f"For: {name}\n{first}"


@agent
def summarize(deals: Gathered) -> Proposal:
    """Tells an owner what is new about the risks of their deals."""
    s, owner = rules(deals.settings), deals.of.id
    known = read(deals[0], s) if deals else None
    if known and known.owner and len({read(deal, s).owner for deal in deals}) == 1:
        owner = known.owner
    to = str(s.get("channels", {}).get(owner) or s.get("channel", "owner"))
    every = news_of(deals, to, s)
    news, about = within(every)
    if not news:
        raise Skip(f"{several(len(deals), 'deal')}, nothing that {to} has not been told of")
    name = text(s.get("names", {}).get(owner), 80) or person([deals.of]) or (known.owner_name if known else "")
    subject, head = head_of(news, name or "deals without an owner")
    if later := len(every) - len(news):
        head += f"; the next summary has {several(later, 'deal')} more"
    day = local(deals.now, s)
    body = body_of(news, head, str(s.get("link", "")))
    notice = Notice(to, subject, body, f"risk-alert:{deals.of.record}:{day}", about=tuple(about))
    return Proposal(notices=[notice], because=f"{several(len(about), 'finding')} that {to} has not been told of")
