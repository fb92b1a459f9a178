"""The embedded Redis: which binary, its process, who owns it, and what a torn file may lose.

`connect_or_start(folder, durability, role)` is all that most callers need.
"""

from revops_lite.server.lease import Lease, connect_or_start
from revops_lite.server.process import DURABILITIES, EmbeddedServer
from revops_lite.server.program import Binary, binary

__all__ = ["DURABILITIES", "Binary", "EmbeddedServer", "Lease", "binary", "connect_or_start"]
