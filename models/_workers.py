"""Worker threads of the torch pool trainer: work in order, a bounded look-ahead, a way to stop.

Threads, not processes: torch releases Python's lock inside its operations, the records are shared as they are, and
nothing has to be started or cleaned up. Each worker's operations run on one thread of their own. Operations that
spread over all cores lost up to a factor of seven on a busy machine, because their threads spin while they wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stopped(Exception):
    """Raised inside a worker whose result nobody waits for any more."""


class Halt:
    """Tells workers to stop; they ask between steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def now(self) -> None:
        """Stop all workers at their next step."""
        self._event.set()

    def check(self) -> None:
        """Return, or raise `Stopped` when asked to stop."""
        if self._event.is_set():
            raise Stopped


def cores() -> int:
    """Processor cores that this process may use, limits of containers included."""
    import joblib

    return int(joblib.cpu_count())


def in_order(work: Callable[[T, Halt], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Yield `work(item, halt)` for each item, in order, on `workers` threads.

    At most `workers` + 1 results exist at a time. When the consumer leaves, or anything fails, the workers stop at
    their next step; what failed first is raised.
    """
    if workers == 1 or len(items) == 1:
        for item in items:
            yield work(item, Halt())
        return
    halt, failures = Halt(), list[BaseException]()

    def guarded(item: T) -> R:
        try:
            return work(item, halt)
        except BaseException as error:
            failures.append(error)
            halt.now()  # the results of the others will not be asked for
            raise

    waiting = iter(items)
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as executor:
        try:
            running.extend(executor.submit(guarded, item) for item in islice(waiting, workers))
            while running:
                running.extend(executor.submit(guarded, item) for item in islice(waiting, 1))
                yield running.popleft().result()
        except Stopped:
            raise failures[0] from None
        finally:
            halt.now()
            executor.shutdown(wait=True, cancel_futures=True)
