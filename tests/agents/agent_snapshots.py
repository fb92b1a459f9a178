"""Snapshots as the controller makes them, without one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from revops_lite import Proposal, Snapshot

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


def snap(record: str, values: Mapping[str, Any] | None = None, **more: Any) -> Snapshot:
    kind, _, name = record.partition(":")
    return Snapshot(kind, name, dict(values or {}), 1, more.pop("now", NOW), **more)


def lead(
    values: Mapping[str, Any] | None = None,
    *,
    company: Mapping[str, Any] | Snapshot | None = None,
    contact: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> Snapshot:
    """Lead 1 with company 7 and contact 3, where these are given."""
    related = dict(more.pop("related", {}))
    if company is not None:
        related["company"] = [company if isinstance(company, Snapshot) else snap("company:7", company)]
    if contact is not None:
        related["contact"] = [snap("contact:3", contact)]
    return snap(more.pop("record", "lead:1"), values, related=related, settings=dict(settings or {}), **more)


def values_of(proposal: Proposal) -> dict[str, Any]:
    """What the checkpoint gets to see."""
    shown: dict[str, Any] = proposal.values.model_dump(mode="json", exclude_none=True) if proposal.values else {}
    return shown


def confidence_of(proposal: Proposal, name: str) -> float:
    given = proposal.confidence
    return given.get(name, given.get("*", 0.0)) if isinstance(given, Mapping) else given
