"""What exams share: a world's pool as the table it is."""

from __future__ import annotations

from tilth.core import TablePool, World


def table_of(world: World) -> TablePool:
    """The pool of a world that a probe built, which is in memory."""
    assert isinstance(world.pool, TablePool)
    return world.pool
