"""The items of a goal's target as a model of the pool can judge them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core import Goal
from tilth.models.linear import encode_labels

__all__ = ["target_of"]


def target_of(
    goal: Goal, names: Sequence[str], longest: int | None = None
) -> tuple[pa.ChunkedArray, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Texts, labels and weights of the target's items; with names of classes, of those with such a label."""
    texts = pc.fill_null(goal.target.column("text"), "")
    weights = np.asarray(goal.weights(goal.target).to_numpy(), np.float64)
    if not names:
        return pc.utf8_slice_codeunits(texts, 0, longest), np.zeros(weights.size, np.int64), weights
    held = goal.target.column("label").to_pylist() if "label" in goal.target.column_names() else [None] * weights.size
    labels, _ = encode_labels(held, names)
    known = np.flatnonzero(labels >= 0)
    return texts.take(pa.array(known)), labels[known], weights[known]
