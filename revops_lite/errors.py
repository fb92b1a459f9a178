"""Every error of revops-lite. The docstring is the message where none is given; `exit_code` is the command's."""

from __future__ import annotations


class RevopsError(Exception):
    """Something went wrong."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(RevopsError):
    """The configuration is not right."""

    exit_code = 4


class CredentialError(ConfigError):
    """A secret is missing or may not be read."""


class NotFound(RevopsError):
    """There is no such thing."""

    exit_code = 3


class UsageError(RevopsError):
    """That command cannot be understood."""

    exit_code = 2


class Refused(RevopsError):
    """Governance, or somebody else's decision, stands against it."""

    exit_code = 5


class EventRefused(UsageError):
    """The event is not well formed."""


class BusError(RevopsError):
    """Redis does not answer."""


class ServerError(BusError):
    """The embedded Redis server did not start."""


class DataVersion(RevopsError):
    """The data were written by another version of the program."""


class AnotherController(RevopsError):
    """Another controller runs on this data."""


class Fenced(RevopsError):
    """Another controller has taken over; this one must stop."""


class AgentError(RevopsError):
    """An agent cannot be used."""

    exit_code = 4


class QueueError(RevopsError):
    """A job cannot be read or run."""


class AuditError(RevopsError):
    """The sealed audit trail is not what it was."""


# ---- the CRM's answers: what the writer may conclude from each --------------------------------------------------


class CrmError(RevopsError):
    """The CRM did not do it."""


class CrmUnavailable(CrmError):
    """Certainly not applied: connect refused, 401 or 429. Again later, after `retry_after` seconds."""

    def __init__(self, message: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CrmRefused(CrmError):
    """Refused for good: 400, 403, 404 or 422."""


class CrmConflict(CrmError):
    """The CRM holds another value than expected; `current` has what it found."""

    def __init__(self, message: str | None = None, current: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.current = current or {}


class CrmUnknown(CrmError):
    """Nobody knows whether it was applied: timeout, 5xx, reset."""


class ChannelError(RevopsError):
    """The channel did not take the notice; again after `retry_after` seconds unless `final`."""

    def __init__(self, message: str | None = None, retry_after: float | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.final = final
