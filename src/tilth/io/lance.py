"""A Lance dataset of any making."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilth.core.errors import BadInput
from tilth.io.parquet import rows
from tilth.io.reader import Bad, Row

__all__ = ["read"]


def read(path: Path) -> Iterator[Row | Bad]:
    """One row per row, in order.

    Raises:
        BadInput: when the folder is no whole Lance dataset.
    """
    import lance

    try:
        yield from rows(lance.dataset(str(path)).to_batches(batch_size=256))
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path} is no whole Lance dataset: {str(error).splitlines()[0]}") from None
