"""Channels: where notices go. One file per kind; `open_channels` makes them from the configuration."""

from revops_lite.notify.factory import open_channels

__all__ = ["open_channels"]
