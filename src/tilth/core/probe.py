"""Probe: would we notice if it did not work? A small world whose truth is known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tilth.core.goal import Goal
from tilth.core.method import Method
from tilth.core.pool import Pool
from tilth.core.run import Run

__all__ = ["Probe", "World"]


@dataclass(frozen=True)
class World:
    """A pool with its truth in columns under ``truth``, and the goal that goes with it, if any.

    Attributes:
        more: other pools of the world by name, such as questions about the people whom the pool's texts describe; each
            of any kind, with a ``truth`` of its own.
    """

    pool: Pool
    goal: Goal | None = None
    more: Mapping[str, Pool] = field(default_factory=dict)


class Probe(Method):
    """A world of any size whose truth is known, and the mark out of 1 for finding it."""

    @abstractmethod
    def build(self, size: int, run: Run) -> World:
        """A world of about `size` records; the same seed gives the same bytes."""

    @abstractmethod
    def grade(self, world: World, answer: Any) -> float:
        """A mark in [0, 1]: 1 is the truth, and chance is stated in the class's docstring.

        Args:
            answer: what the method under test produced: a column (one value per record) or a Plan.
        """
