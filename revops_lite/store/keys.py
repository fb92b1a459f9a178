"""Every Redis key of revops-lite (RQ keeps its own `rq:` keys): name, type, lifetime, meaning.

| key                       | type   | lifetime            | what it is                                                |
|---------------------------|--------|---------------------|-----------------------------------------------------------|
| revops:events             | stream | trimmed after 7 d,  | every event, one field `e` = JSON of models.Event         |
|                           |        | or with many others |                                                           |
| revops:events (channel)   | pubsub | -                   | the same bytes, for anyone who listens                    |
| revops:event:<hash>       | string | 7 d                 | an event id that is known; its value marks the body       |
| revops:controller         | hash   | permanent           | epoch, seq (commits), cursor, heartbeat, owner; first and |
|                           |        |                     | marked: first and last minute seen with a heartbeat;      |
|                           |        |                     | trimmed: ms before which audit entries may be gone here   |
| revops:run:<id>           | string | 90 d after a change | models.Run                                                |
| revops:write:<id>         | string | 90 d                | models.Write                                              |
| revops:page:<id>          | string | 7 d after its run   | models.Page: records of a fan-out, with related ones      |
| revops:parts:<run>        | zset   | as its run          | ids of a fan-out's parts, by when they came               |
| revops:intent:<id>        | string | 90 d                | models.Intent                                             |
| revops:review:<id>        | string | 180 d               | models.Review                                             |
| revops:notice:<id>        | string | 90 d                | models.OutNotice                                          |
| revops:context:<hash>     | hash   | 180 d               | models.Context: `v:<field>` values, `p:<field>` proposed, |
|                           |        |                     | `f:<code>` flags, `m` the rest                            |
| revops:version            | hash   | permanent           | data: number of the format (version.py); program: who     |
|                           |        |                     | wrote it first                                            |
| revops:breakers           | hash   | permanent           | agent -> models.Breaker                                   |
| revops:holds              | hash   | permanent           | "record|field" -> models.Hold; the writer's gate reads it |
| revops:parked             | hash   | permanent           | "run|step" -> agent whose breaker it waits for            |
| revops:paused             | set    | permanent           | tags of agents whose breaker is open; CLAIM leaves them   |
| revops:timers             | zset   | permanent           | timer -> due                                              |
| revops:sent:<hash>        | zset   | 1 h                 | CRM calls of a record in the last hour                    |
| revops:calling            | hash   | permanent           | record -> the call to the CRM that is under way           |
| revops:index:<kind>       | zset   | trimmed with them   | ids by time: runs, writes, reviews, notices, contexts     |
| revops:open:<kind>        | zset   | permanent           | runs, loads, intents, notices, reviews not at an end yet  |
| revops:audit              | stream | trimmed after 90 d, | models.AuditEntry                                         |
|                           |        | or with many others,|                                                           |
|                           |        | once it is sealed   |                                                           |
| revops:audit:sealed       | string | permanent           | how far it is sealed: chain, seq, id, mac                 |
| revops:counts:<hour>      | hash   | 35 d                | what the health figures are made of                       |
| revops:records:<kind>     | zset   | 35 d after a change | hashes of records processed, or reviewed, by when last;   |
|                           |        |                     | `:<hash>` behind it: only of that workflow                |
| revops:waiting            | set    | permanent           | names of the lists of events that wait for their turn     |
| revops:waiting:<hash>     | list   | permanent           | when it was put there, models.Event; oldest first         |
| revops:poll               | string | permanent           | the CRM poller's cursor                                   |

Runs, writes, intents, reviews, notices and contexts on which nothing works are here only as long as they are among the
newest; then they are in `var/archive.sqlite3` (archive.py) until they would have expired, or are asked for.

Text from outside becomes part of a key only as a hash (`digest`).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

EVENTS = "revops:events"
CHANNEL = "revops:events"
CONTROLLER = "revops:controller"
VERSION = "revops:version"
BREAKERS = "revops:breakers"
HOLDS = "revops:holds"
PARKED = "revops:parked"
PAUSED = "revops:paused"
TIMERS = "revops:timers"
AUDIT = "revops:audit"
SEALED = "revops:audit:sealed"
POLL = "revops:poll"
CALLING = "revops:calling"
WAITING = "revops:waiting"

DAY = 86_400
SEEN_TTL = 7 * DAY
DOC_TTL = {
    "run": 90 * DAY,
    "page": 7 * DAY,
    "write": 90 * DAY,
    "intent": 90 * DAY,
    "review": 180 * DAY,
    "notice": 90 * DAY,
}
OPEN_TTL = 400 * DAY  # of a document that has not come to its end: nobody waits for a person longer than that
CONTEXT_TTL = 180 * DAY
COUNTS_TTL = 35 * DAY
SENT_TTL = 3_600
EVENTS_KEPT = 7 * DAY
AUDIT_KEPT = 90 * DAY

PERMANENT = (
    CONTROLLER,
    VERSION,
    BREAKERS,
    HOLDS,
    PARKED,
    PAUSED,
    TIMERS,
    POLL,
    EVENTS,
    AUDIT,
    SEALED,
    CALLING,
    WAITING,
)


@lru_cache(maxsize=4096)  # a record is named some thirty times in one run
def digest(text: str) -> str:
    """A key-safe name for any text: 20 hex digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def seen(event_id: str) -> str:
    return f"revops:event:{digest(event_id)}"


def doc(kind: str, id_: str) -> str:
    """The key of a run, write, intent, review or notice; ids are ours, and hex."""
    return f"revops:{kind}:{id_}"


def waiting(type_: str) -> str:
    """Events whose turn has not come; the list is named after the type of its first."""
    return f"{WAITING}:{digest(type_)}"


def context(record: str) -> str:
    return f"revops:context:{digest(record)}"


def sent(record: str) -> str:
    return f"revops:sent:{digest(record)}"


def parts(run: str) -> str:
    """Of a fan-out; ids are ours, and hex."""
    return f"revops:parts:{run}"


def index(kind: str) -> str:
    return f"revops:index:{kind}"


def open_(kind: str) -> str:
    return f"revops:open:{kind}"


def counts(hour: int) -> str:
    return f"revops:counts:{hour}"


def records(kind: str, workflow: str) -> str:
    """Records "processed" or "reviewed" in a workflow; "" is all of them."""
    return f"revops:records:{kind}" + (f":{digest(workflow)}" if workflow else "")
