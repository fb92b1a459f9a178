"""Tells a host that jobs have come. A message may be lost: it is only a reason to look sooner than in a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from redis.client import PubSub
from redis.exceptions import RedisError

from revops_lite.queue import names

log = logging.getLogger(__name__)

LOOK = 0.1  # seconds of one wait, after which it looks whether it is to end: redis-py has no other way
PAUSE = 0.5  # seconds before the next try while Redis does not answer


class Bell:
    """A thread that listens for the queues' channels (named as their lists) and calls `ring` with a queue's name.

    Also after each subscription, since what came before it was not heard. Errors never end it.
    """

    def __init__(self, pubsub: PubSub, queues: Sequence[str], ring: Callable[[str], None]) -> None:
        self._pubsub = pubsub
        self._queues = {names.queue(queue).encode(): queue for queue in queues}
        self._ring = ring
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ring no more, and give the connection back; where Redis does not answer, nobody waits for that."""
        self._stopping.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._pubsub.subscribe(*self._queues)
                while not self._stopping.is_set():
                    self._hear()
            except (RedisError, OSError) as error:
                log.debug("no bell: %s", error)
            except Exception:
                log.exception("listening for jobs failed; it begins anew")
            self._pubsub.reset()
            self._stopping.wait(PAUSE)
        self._pubsub.close()

    def _hear(self) -> None:
        message = self._pubsub.get_message(timeout=LOOK)
        if message is not None and message["type"] in ("subscribe", "message"):
            self._ring(self._queues[message["channel"]])
