"""What all nouns are: frozen values that are made, changed, compared, written and read by msgspec's C code.

Decisions are made of little else, and every byte in Redis is one of them. A dataclass that is frozen takes ten times as
long to make, and five times to write.
"""

from __future__ import annotations

import msgspec


class Noun(msgspec.Struct, frozen=True):
    """Its JSON has all its fields: others read it as well (events, the audit trail, holds)."""


class Document(Noun, frozen=True, omit_defaults=True):
    """Its JSON leaves out what is as it is by default: only this program reads it."""
