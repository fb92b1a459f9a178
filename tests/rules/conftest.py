"""Properties are judged by their outcome: how long an example takes on a busy machine decides nothing."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, database=None)
settings.load_profile("steady")
