"""The embedded Redis: which binary, its process, who owns it, and what a torn file may lose.

`lease.connect_or_start(folder, durability, role)` is all that most callers need.
"""
