"""Every error a user can meet, as one tree.

* TilthError                 catch this to catch everything tilth raises on purpose
  * UsageError               the request is wrong; nothing was run          (exit code 2)
    * BadField               a field's value is outside what its method allows
    * UnknownMethod          no method has this name
    * BadRecipe              a recipe has an unknown key or a wrong value
    * MissingColumns         a method needs columns the pool does not have
    * MissingExtra           an optional package is not installed
  * DataError                the data cannot be used as it is               (exit code 3)
    * BadInput               a file or record could not be read (``--strict``, or the whole file)
    * Overlap                target and holdout share items
    * EmptyPlan              a policy dropped every record
  * PoolError                the pool on disk cannot be used                (exit code 4)
    * PoolLocked             another process is writing to the pool
    * PoolCorrupt            the pool's files do not fit together
    * NoSpace                the disk is full; the pool can be resumed
  * MethodError              a method broke its contract: a bug in it       (exit code 5)
    * WrongColumns           a signal returned other columns than it declares

Each message says who speaks, what was expected, what was got and what to do.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadField",
    "BadInput",
    "BadRecipe",
    "DataError",
    "EmptyPlan",
    "MethodError",
    "MissingColumns",
    "MissingExtra",
    "NoSpace",
    "Overlap",
    "PoolCorrupt",
    "PoolError",
    "PoolLocked",
    "TilthError",
    "UnknownMethod",
    "UsageError",
    "WrongColumns",
]


class TilthError(Exception):
    """Base class of everything tilth raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(TilthError):
    """The request is wrong; nothing was run."""

    exit_code = 2


class BadField(UsageError, ValueError):
    """A field's value is outside what its method allows."""


class UnknownMethod(UsageError, LookupError):
    """No method has this name."""


class BadRecipe(UsageError, ValueError):
    """A recipe has an unknown key or a wrong value."""


class MissingColumns(UsageError, LookupError):
    """A method needs columns the pool does not have."""


class MissingExtra(UsageError, ImportError):
    """An optional package is not installed."""


class DataError(TilthError):
    """The data cannot be used as it is."""

    exit_code = 3


class BadInput(DataError, ValueError):
    """A file or a record could not be read."""


class Overlap(DataError, ValueError):
    """Target and holdout share items, so a verdict would be worthless."""


class EmptyPlan(DataError, ValueError):
    """A policy dropped every record."""


class PoolError(TilthError):
    """The pool on disk cannot be used."""

    exit_code = 4


class PoolLocked(PoolError):
    """Another process is writing to the pool."""


class PoolCorrupt(PoolError):
    """The pool's files do not fit together."""


class NoSpace(PoolError):
    """The disk is full; what was finished is kept and the work can be resumed."""


class MethodError(TilthError):
    """A method broke its contract: a bug in the method."""

    exit_code = 5


class WrongColumns(MethodError):
    """A signal returned other columns than it declares."""
