"""What all nouns are: frozen values that are made, changed, compared, written and read by msgspec's C code.

Decisions are made of little else, and every byte in Redis is one of them. A dataclass that is frozen takes ten times as
long to make, and five times to write.
"""

from __future__ import annotations

import msgspec

Key = tuple[str, str]  # kind ("run", "page", "context", "write", "intent", "review", "notice") and id


class Noun(msgspec.Struct, frozen=True):
    """Its JSON has all its fields, whatever their values: whoever reads it need not know the defaults.

    Those that are written most often (Run, Step, Write, FieldValue) leave out what has its default.
    """
