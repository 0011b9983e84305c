"""Signal: how is each record? Columns computed from records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar, final, runtime_checkable

import pyarrow as pa

from tilth.core.goal import Goal
from tilth.core.method import Method
from tilth.core.pool import Pool
from tilth.core.records import KINDS, Kind
from tilth.core.run import Run

__all__ = ["Columns", "PureSignal", "Signal", "Training"]

S = TypeVar("S")
Columns = Mapping[str, Any]
"""Output name -> one value per record of the batch (numpy array, Arrow array or list)."""


@runtime_checkable
class Training(Protocol):
    """The value of a signal's field that says what is trained for it; signals with equal ones share one training."""

    @property
    def told(self) -> str:
        """What is trained, in a few words."""

    @property
    def dear(self) -> bool:
        """Whether it is worth processes of its own even for little text."""

    def small(self) -> Self:
        """The same, cheap enough to be tried on a few hundred records before a build."""

    def forecast(self, sample: Pool, scale: float, run: Run) -> tuple[float, float]:
        """Seconds of one process and bytes kept in `run.shared` for `scale` times the sample; `small` is run on it."""


class Signal(Method, Generic[S]):
    """Columns computed from records, after learning once from the pool and the goal.

    The engine stores the outputs as the fields of one struct column named after the signal:
    ``minhash.cluster``. No threshold lives here: a signal measures, a policy decides.
    """

    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ()
    """Which parts of the goal `fit` reads; with none, the column outlives a change of goal."""

    target_kinds: ClassVar[tuple[Kind, ...]] = KINDS
    """Kinds of records a target may be of, for `fit` to learn from it."""

    @property
    def training(self) -> Mapping[str, Training]:
        """Field -> what is trained for this signal."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Training)}

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this signal reads."""

    @property
    @abstractmethod
    def makes(self) -> Mapping[str, pa.DataType]:
        """The outputs it promises, and their types."""

    @abstractmethod
    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> S:
        """What must be known before a record can be scored: any picklable value. Reads only `needs`."""

    @abstractmethod
    def score(self, batch: pa.RecordBatch, state: S, run: Run) -> Columns:
        """The outputs for a batch: the same for a record whatever batch it comes in."""


class PureSignal(Signal[None]):
    """A signal with nothing to learn: implement `map`, and nothing else."""

    @abstractmethod
    def map(self, batch: pa.RecordBatch, run: Run) -> Columns:
        """The outputs for a batch, each record looked at alone."""

    @final
    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> None:
        """Nothing to learn."""

    @final
    def score(self, batch: pa.RecordBatch, state: None, run: Run) -> Columns:
        """`map` of the batch."""
        return self.map(batch, run)
