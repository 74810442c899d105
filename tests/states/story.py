"""A story: something that befalls a job, and how that ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.states.stage import Stage
from tests.states.truth import ArrayEnding, Ending

Endings = Ending | ArrayEnding | list[Ending]
Play = Callable[[Stage], Endings]


@dataclass(frozen=True)
class Story:
    """Its name, the line of docs/states.md that it gives, and how it is played."""

    name: str
    title: str
    play: Play


class Stories(list[Story]):
    """Stories in order, each a function that plays it."""

    def add(self, title: str) -> Callable[[Play], Play]:
        """Decorate a function as a story with this title; its name is the function's."""

        def added(play: Play) -> Play:
            self.append(Story(play.__name__, title, play))
            return play

        return added
