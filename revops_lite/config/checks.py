"""What the sections mean together: credentials, CRM, channels, governance and agents. Each check yields problems."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from revops_lite.addresses import is_mail, loopback
from revops_lite.config.credentials import is_reference
from revops_lite.config.positions import Key
from revops_lite.config.problems import Problem, quoted, suggest, unknown
from revops_lite.config.shape import is_secret
from revops_lite.config.tables import AgentTable, ChannelSettings, Config, CrmSettings, GovernanceTable
from revops_lite.models import Reason

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
NAME_MEND = "use letters, digits, - and _, starting with a letter (64 at most)"
_DOTTED = re.compile(r"[^\W\d][\w-]*\.[^\s.][^\s]*")
_CUSTOM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_WRITERS = {"crm", "person", "event", "review"}  # who else may have written a field
_ADAPTERS = ("sqlite", "none", "hubspot", "salesforce")
_REFERENCE_MEND = "a secret never stands in the file; write env:NAME or file:PATH (mode 0600)"
_CHANNEL_KEYS = {
    "console": set[str](),
    "file": {"path"},
    "slack": {"url", "token", "channel", "base_url"},
    "webhook": {"url", "token", "allow_private"},
    "email": {"host", "port", "from", "to", "username", "password", "tls"},
}


def check_sections(config: Config, data: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything but the workflows and the agents' schemas."""
    yield from _timezone(config.timezone, data)
    yield from _redis(config.redis.url)
    yield from _crm(config.crm)
    for name, channel in config.notify.channels.items():
        yield from _channel(name, channel)
    yield from _addressed(config, data)
    if config.audit.key and not is_reference(config.audit.key):
        yield Problem(("audit", "key"), _REFERENCE_MEND)
    yield from _governance(config.governance, names_in(data, "agents"))
    for reason in config.review.expires:
        if reason not in set(Reason):
            yield Problem(("review", "expires", reason), unknown("reason", reason, [each.value for each in Reason]))
    for name, agent in config.agents.items():
        ours = {config.crm.token: "the CRM's token", config.audit.key: "the audit trail's key"}
        yield from _agent(name, agent, ours)


def check_writable(governance: GovernanceTable, schemas: Iterable[Collection[str]]) -> Iterator[Problem]:
    """`[governance.fields]` about a field that no agent may write, unless it only masks it (`sensitive`)."""
    writable = {field for fields in schemas for field in fields}
    for name, table in governance.fields.items():
        field = name.partition(".")[2]
        if field and field not in writable and table.model_fields_set - {"sensitive"}:
            mend = suggest(field, writable, "no agent has declared any")
            text = f"no configured agent may write {quoted(field, chr(39))}{mend}"
            yield Problem(("governance", "fields", name), text)


def names_in(data: Mapping[str, Any], *sections: str | int) -> list[str]:
    """Names of the tables in a section as the file has them, the broken ones included."""
    found: Any = data
    for section in sections:
        found = found.get(section) if isinstance(found, Mapping) else None
    return list(found) if isinstance(found, Mapping) else []


def _timezone(name: str, data: Mapping[str, Any]) -> Iterator[Problem]:
    if "timezone" not in data:
        yield Problem(("timezone",), 'is required; add for example timezone = "America/New_York" at the top')
        return
    if not isinstance(data["timezone"], str):
        return  # told already
    try:
        if name != "localtime":  # that would be the machine's silent default
            zoneinfo.ZoneInfo(name)
            return
    except (KeyError, ValueError, OSError):
        pass
    known = zoneinfo.available_timezones()
    mend = suggest(name, known, 'write it like "Europe/Berlin"') if known else "; install the package tzdata"
    yield Problem(("timezone",), f"unknown time zone {quoted(name, chr(39))}{mend}")


def _redis(url: str) -> Iterator[Problem]:
    key: Key = ("redis", "url")
    if is_reference(url) or url == "embedded":
        return
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("redis", "rediss") and parts.hostname and (parts.port or True)
        secret = bool(parts.password) or "password=" in parts.query
    except ValueError:
        fits, secret = None, False
    if secret:
        yield Problem(key, f"holds a password: {_REFERENCE_MEND}")
    elif not fits and not url.startswith("unix:///"):
        yield Problem(key, 'takes "embedded", "unix:///path" or "redis[s]://host:port/db"')


def _crm(crm: CrmSettings) -> Iterator[Problem]:
    if crm.adapter not in _ADAPTERS and not _CUSTOM.fullmatch(crm.adapter):
        text = unknown("adapter", crm.adapter, _ADAPTERS) + '; your own is named "package.module:Class"'
        yield Problem(("crm", "adapter"), text)
    if crm.token is not None and not is_reference(crm.token):
        yield Problem(("crm", "token"), _REFERENCE_MEND)
    known = [name for name in CrmSettings.model_fields if name != "adapter"]
    for name, value in crm.options.items():
        guess = suggest(name, known)
        if crm.adapter in ("sqlite", "none") or "did you mean" in guess:
            yield Problem(("crm", name), f"unknown key {quoted(name, chr(39))}{guess}")
        elif is_secret(name) and isinstance(value, str) and not is_reference(value) and "://" not in value:
            yield Problem(("crm", name), _REFERENCE_MEND)
    for name, kind in crm.relations.items():
        if not _DOTTED.fullmatch(name) or not NAME.fullmatch(kind):
            yield Problem(("crm", "relations", name), 'takes "kind.field" = "kind", like "lead.company_id" = "company"')


def _channel(name: str, channel: ChannelSettings) -> Iterator[Problem]:
    key: Key = ("notify", "channels", name)
    if not NAME.fullmatch(name):
        yield Problem(key, f"a channel cannot have this name; {NAME_MEND}")
    given = {ChannelSettings.model_fields[each].alias or each for each in channel.model_fields_set} - {"kind"}
    for extra in sorted(given - _CHANNEL_KEYS[channel.kind]):
        yield Problem((*key, extra), f"a channel of kind {channel.kind} does not use it; remove it")
    for secret in ("token", "password") + (("url",) if channel.kind == "slack" else ()):
        value = getattr(channel, secret)
        if value is not None and not is_reference(value):
            yield Problem((*key, secret), _REFERENCE_MEND)
    if channel.kind == "webhook" and channel.url is not None:
        yield from _webhook((*key, "url"), channel.url)
    missing = {
        "file": channel.path is None and "path",
        "webhook": channel.url is None and "url",
        "slack": not (channel.channel if channel.token else channel.url) and "url, or token and channel",
        "email": not (channel.host and channel.sender and channel.to) and "host, from and to",
    }.get(channel.kind)
    if missing:
        yield Problem(key, f"a channel of kind {channel.kind} needs {missing}")
    yield from _sendable(key, channel)


def _sendable(key: Key, channel: ChannelSettings) -> Iterator[Problem]:
    """What would send a secret unencrypted, or to nobody."""
    if channel.kind == "slack" and channel.base_url and not _private(channel.base_url):
        yield Problem((*key, "base_url"), "would send the token unencrypted: use https://…")
    if channel.kind != "email":
        return
    if channel.tls == "none" and channel.password and channel.host and not loopback(channel.host):
        yield Problem((*key, "tls"), '"none" would send the password unencrypted: use "starttls" or "ssl"')
    for name, addresses in (("from", [channel.sender]), ("to", channel.to)):
        for address in addresses or ():
            if address and not is_mail(address):
                yield Problem((*key, name), f"{quoted(address)} is not an e-mail address, such as ops@example.com")


def _private(url: str) -> bool:
    """Whether nobody between here and there can read along."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or loopback(parts.hostname or "")
    except ValueError:
        return False


def _webhook(key: Key, url: str) -> Iterator[Problem]:
    if is_reference(url):
        return
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        fits = None
    if not fits:
        yield Problem(key, 'takes "https://…", or env:NAME or file:PATH where the address is secret')
    elif parts.username or parts.password or parts.query or parts.hostname == "hooks.slack.com":
        yield Problem(key, f"looks like a secret address: {_REFERENCE_MEND}")


def _addressed(config: Config, data: Mapping[str, Any]) -> Iterator[Problem]:
    channels = {"console", *names_in(data, "notify", "channels")}
    for name, value in (("default", config.notify.default), ("ops", config.notify.ops)):
        if value and value not in channels:
            mend = f"add [notify.channels.{value}]"
            yield Problem(("notify", name), unknown("channel", value, channels, mend))
    keys: dict[Key, str] = {("audit", "anchor"): config.audit.anchor, ("review", "digest"): config.review.digest}
    for key, value in keys.items():
        if value and value not in channels:
            yield Problem(key, unknown("channel", value, channels, f"add [notify.channels.{value}]"))


def _governance(governance: GovernanceTable, agents: Collection[str]) -> Iterator[Problem]:
    if len(set(governance.conflict_order)) < len(governance.conflict_order):
        yield Problem(("governance", "conflict_order"), "names a rule twice; name each once")
    for name, field in governance.fields.items():
        key: Key = ("governance", "fields", name)
        if not _DOTTED.fullmatch(name):
            yield Problem(key, 'takes "kind.field" in quotes, like [governance.fields."deal.amount"]')
        for index, agent in enumerate(field.priority):
            if agent not in agents:
                yield Problem((*key, "priority", index), unknown("agent", agent, agents, f"add [agents.{agent}]"))
        if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
            yield Problem((*key, "minimum"), f"is more than maximum ({field.maximum}); no value would pass")
    if governance.pay is not None:
        yield from _paying(governance.pay.fields)


def _paying(fields: tuple[str, ...]) -> Iterator[Problem]:
    key: Key = ("governance", "pay", "fields")
    if not fields:
        yield Problem(key, "names no field: nothing would be guarded; name some, or remove [governance.pay]")
    for index, name in enumerate(fields):
        if not _DOTTED.fullmatch(name):
            yield Problem((*key, index), 'takes "kind.field", like "deal.amount"')


def _agent(name: str, agent: AgentTable, ours: Mapping[str | None, str]) -> Iterator[Problem]:
    key: Key = ("agents", name)
    if not NAME.fullmatch(name):
        yield Problem(key, f"an agent cannot have this name; {NAME_MEND}")
    elif name in _WRITERS:
        yield Problem(key, f"an agent cannot be called {name}: others sign with that name; choose another")
    for index, variable in enumerate(agent.env):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            yield Problem((*key, "env", index), f"{quoted(variable, chr(39))} is no name of an environment variable")
        elif whose := ours.get(f"env:{variable}"):
            yield Problem((*key, "env", index), f"{variable} is {whose}, which no agent may see; remove it")
    if agent.breaker.cap < agent.breaker.cooldown and "cap" in agent.breaker.model_fields_set:
        yield Problem((*key, "breaker", "cap"), "is less than cooldown; make it at least as long")
    yield from _literal_secrets((*key, "settings"), agent.settings)


def _literal_secrets(key: Key, table: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _literal_secrets((*key, name), value)
        elif re.fullmatch(r"(?i)(\w*_)?(api_?key|token|password|secret)", name) and isinstance(value, str):
            yield Problem((*key, name), "a secret never stands in the file; name its variable in the agent's env")
