"""Work that many threads bring at once is done for all of them together: what comes meanwhile is done next.

Nobody waits for company: who comes alone begins at once. The more there is to do, the more of it is done in one go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Undone(Exception):
    """What was to be done together was not; its cause is what `work` raised."""


class _Place(Generic[Item, Answer]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: Answer | None = None
        self.problem: BaseException | None = None
        self.is_done = False


class Together(Generic[Item, Answer]):
    """`work` gets what is to be done, in the order in which it came, and answers each."""

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        self.work = work
        self._changed = threading.Condition()
        self.waiting: list[_Place[Item, Answer]] = []
        self._is_busy = False

    def do(self, item: Item) -> Answer:
        """Have something done; its answer. Raises Undone, each time another one: threads write into what they raise."""
        mine: _Place[Item, Answer] = _Place(item)
        with self._changed:
            self.waiting.append(mine)
            self._changed.wait_for(lambda: mine.is_done or not self._is_busy)
            if not mine.is_done:
                self._is_busy = True
                some, self.waiting = self.waiting, []
        if not mine.is_done:
            self._lead(some)
        if mine.problem is not None:
            raise Undone("It failed for all who came together.") from mine.problem
        return mine.answer  # type: ignore[return-value]  # it is done

    def _lead(self, some: list[_Place[Item, Answer]]) -> None:
        try:
            for place, answer in zip(some, self.work([one.item for one in some]), strict=True):
                place.answer = answer
        except BaseException as problem:  # whoever waits must hear of it, too
            for place in some:
                place.problem = problem
            if not isinstance(problem, Exception):
                raise
        finally:
            with self._changed:
                for place in some:
                    place.is_done = True
                self._is_busy = False
                self._changed.notify_all()
