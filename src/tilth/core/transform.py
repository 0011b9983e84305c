"""Transform: which new records?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import pyarrow as pa

from tilth.core.method import Method
from tilth.core.records import Record
from tilth.core.run import Run

__all__ = ["Transform"]


class Transform(Method):
    """Records in, new records out. The engine stamps lineage, licence and maker on each."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this transform reads."""

    @abstractmethod
    def apply(self, batch: pa.RecordBatch, run: Run) -> Iterable[Record]:
        """New records; each names the ids it was made from under ``parents``."""
