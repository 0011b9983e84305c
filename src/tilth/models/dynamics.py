"""Training dynamics: the loss of every record each time it was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.models.feeds import Seen
from tilth.models.train import Examples

__all__ = ["Dynamics"]


class Dynamics:
    """Hand it to a trainer as `watch`; afterwards `table` has a row per record and a column per reading.

    A document that a window's border cuts is one reading, though it is read in two pieces. What it holds is saved with
    the run, so a resumed run knows all of it.

    Args:
        labels: (n,) class numbers, for classifiers: `right` then says when a record was classified as its label.
    """

    def __init__(self, labels: npt.NDArray[np.int64] | None = None) -> None:
        self.labels = labels
        self._rows: list[tuple[npt.NDArray[Any], ...]] = []

    def __call__(self, seen: Seen | Examples) -> None:
        if isinstance(seen, Examples):
            losses = seen.losses.cpu().numpy().astype(np.float64)
            right = np.full(losses.size, -1, np.int8)
            if self.labels is not None and seen.extra is not None:
                right = (seen.extra.argmax(-1).cpu().numpy() == self.labels[seen.records]).astype(np.int8)
            whole = np.ones(losses.size)
            self._rows.append((seen.records, np.full(losses.size, seen.step), losses, whole, right))
            return
        counted = seen.batch.targets.cpu().numpy() >= 0
        pairs = np.stack([seen.batch.records[counted], seen.batch.readings[counted]])
        (records, readings), place = np.unique(pairs, axis=1, return_inverse=True)
        sums = np.bincount(place.ravel(), seen.losses.cpu().numpy()[counted], records.size)
        tokens = np.bincount(place.ravel(), minlength=records.size).astype(np.float64)
        self._rows.append((records, readings, sums, tokens, np.full(records.size, -1, np.int8)))

    def state(self) -> Any:
        """See `Stateful`."""
        return list(self._rows)

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        self._rows = state

    def table(self, count: int) -> npt.NDArray[np.float64]:
        """Mean loss of record i at its kth reading, (count, readings); NaN where it was read less often."""
        record, reading, loss, weight, _ = self._readings()
        sums = np.zeros((count, int(reading.max(initial=-1)) + 1))
        weights = np.zeros_like(sums)
        np.add.at(sums, (record, reading), loss)
        np.add.at(weights, (record, reading), weight)
        return np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)

    def right(self, count: int) -> npt.NDArray[np.float64]:
        """Whether record i was classified as its label at its kth reading, 1 or 0; NaN where not known."""
        record, reading, _, _, right = self._readings()
        out = np.full((count, int(reading.max(initial=-1)) + 1), np.nan)
        known = right >= 0
        out[record[known], reading[known]] = right[known]
        return out

    def _readings(self) -> tuple[npt.NDArray[Any], ...]:
        if not self._rows:
            return tuple(np.zeros(0, np.int64) for _ in range(5))
        record, when, loss, weight, right = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.lexsort((when, record))
        record, when, loss, weight, right = (a[order] for a in (record, when, loss, weight, right))
        other = np.append(True, record[1:] != record[:-1])
        number = np.cumsum(other | np.append(True, when[1:] != when[:-1]))
        reading = number - number[np.maximum.accumulate(np.where(other, np.arange(record.size), 0))]
        return record, reading, loss, weight, right
