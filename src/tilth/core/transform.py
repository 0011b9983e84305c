"""Transform: which new records?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import pyarrow as pa

from tilth.core.method import Method
from tilth.core.records import Kind, Record
from tilth.core.run import Run

__all__ = ["Transform"]


class Transform(Method):
    """Records in, new records out. The engine stamps lineage, licence and maker on each (`engine.write`)."""

    reads: ClassVar[tuple[Kind, ...]]
    """Kinds of pools it reads."""

    writes: ClassVar[Kind]
    """The kind of the records it writes."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this transform reads."""

    @abstractmethod
    def apply(self, batch: pa.RecordBatch, run: Run) -> Iterable[Record]:
        """New records, the fields of their kind; each names the ids it was made from under ``parents``.

        Args:
            batch: `needs` of a fragment's records; what is written may depend on which records these are, but not on
                their order.
        """
