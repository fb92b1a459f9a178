"""What the audit sealer reports: the head of the chain for somebody outside, or that it cannot seal."""

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


def stuck(draft: Draft) -> None:
    """The ops channel is told once a day; what is not sealed stays in Redis meanwhile."""
    why = str(draft.event.data["why"])
    key = f"audit-stuck|{draft.event.data['day']}"
    _tell(draft, key, draft.rulebook.ops_channel, "The audit trail is not being sealed", why)
    draft.audit("audit.stuck", who=draft.event.source, note=why)


def _tell(draft: Draft, key: str, to: str, subject: str, body: str) -> None:
    id_ = ids.notice_id(key)
    if draft.notice(id_) is None:
        draft.put(OutNotice(id_, key, to, subject, body, draft.now, None))
