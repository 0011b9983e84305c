"""The items of a goal's target as a model of the pool can judge them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core import Goal, TablePool
from tilth.models.linear import encode_labels

__all__ = ["parts_of", "target_of"]

Items = tuple[pa.ChunkedArray, npt.NDArray[np.int64], npt.NDArray[np.float64]]


def target_of(goal: Goal, names: Sequence[str], longest: int | None = None) -> Items:
    """Texts, labels and weights of the target's items; with names of classes, of those with such a label."""
    texts = pc.fill_null(goal.target.column("text"), "")
    weights = np.asarray(goal.weights(goal.target).to_numpy(), np.float64)
    if not names:
        return pc.utf8_slice_codeunits(texts, 0, longest), np.zeros(weights.size, np.int64), weights
    held = goal.target.column("label").to_pylist() if "label" in goal.target.column_names() else [None] * weights.size
    labels, _ = encode_labels(held, names)
    known = np.flatnonzero(labels >= 0)
    return texts.take(pa.array(known)), labels[known], weights[known]


def parts_of(goal: Goal, names: Sequence[str], longest: int | None = None) -> list[Items]:
    """The same for each of several targets by itself, where a column ``goal`` names them; else for the one there is."""
    if "goal" not in goal.target.column_names():
        return [target_of(goal, names, longest)]
    which = goal.target.column("goal")
    made = []
    for name in pc.unique(which).to_pylist():
        rows = np.flatnonzero(pc.equal(pc.fill_null(which, ""), name or "").to_numpy(zero_copy_only=False))
        columns = [c for c in ("id", "text", "label", "weight") if c in goal.target.column_names()]
        part = TablePool(goal.target.take(rows, columns), goal.target.kind)
        made.append(target_of(Goal(part, part, goal.budget), names, longest))
    return made
