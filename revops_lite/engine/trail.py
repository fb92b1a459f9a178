"""What the audit sealer reports: the head of the chain for somebody outside, or that something is wrong."""

from __future__ import annotations

from revops_lite.engine import ids
from revops_lite.engine.state import Draft
from revops_lite.models import OutNotice


def anchored(draft: Draft) -> None:
    """The day's head goes to the channel that the configuration names, once."""
    data = draft.event.data
    head = f"{data['seq']}:{data['mac']}"
    body = (
        f"{head}\nKeep this line. The audit trail holds {data['seq']} entries; `revops audit verify --anchor SEQ:MAC` "
        "tells whether these are still the same."
    )
    _tell(draft, f"audit-anchor|{data['day']}", str(data["to"]), f"Audit anchor of {data['day']}", body)
    draft.audit("audit.anchored", who=draft.event.source, note=head)


def alarm(draft: Draft) -> None:
    """The ops channel is told; the event's id is the same for the same trouble on one day."""
    why = str(draft.event.data["why"])
    _tell(draft, draft.event.id, draft.rulebook.ops_channel, "The audit trail needs a look", why)
    draft.audit("audit.alarm", who=draft.event.source, note=why)


def _tell(draft: Draft, key: str, to: str, subject: str, body: str) -> None:
    id_ = ids.notice_id(key)
    if draft.notice(id_) is None:
        draft.put(OutNotice(id_, key, to, subject, body, draft.now, None))
