"""Pools of questions with one right answer each, and their marks, for the probes that ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core.errors import DataError
from tilth.core.pool import Pool, TablePool
from tilth.core.records import FIELDS, Record

__all__ = ["auroc", "question", "questions", "right", "written"]


def question(prompt: str, reply: str, source: str, truth: Mapping[str, Any]) -> Record:
    """An instruction record of two turns; the truth has an ``answer`` to mark by."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
    return {"messages": turns, "source": source, "truth": truth}


def questions(rows: Iterable[Record], truth: pa.DataType, name: str) -> TablePool:
    """An instruction pool of such records, their ids made from the name and a running number."""
    types = [("id", pa.string()), *FIELDS["instruction"].items(), ("source", pa.string()), ("truth", truth)]
    numbered = [{"id": f"{name}{i:08d}", **row} for i, row in enumerate(rows)]
    return TablePool(pa.Table.from_pylist(numbered, pa.schema(types)), "instruction")


def written(answer: Any) -> bool:
    """Whether an answer is a list of strings (None where there is no reply), as opposed to numbers."""
    return len(answer) > 0 and all(a is None or isinstance(a, str) for a in answer)


def right(pool: Pool, answers: Sequence[str | None], who: str) -> npt.NDArray[np.bool_]:
    """Whether each answer, spaces around it aside, is the ``truth.answer`` of its question."""
    expected = pool.column("truth.answer").to_pylist()
    if len(answers) != len(expected):
        raise DataError(
            f"{who} grades one answer per question of the holdout. Got {len(answers)} for {len(expected)} questions."
        )
    return np.array([(a or "").strip() == e for a, e in zip(answers, expected, strict=True)], bool)


def auroc(score: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """The probability that a positive scores above a negative, ties counted half."""
    from scipy.stats import rankdata

    flags = np.asarray(positive, bool)
    n = int(flags.sum())
    wins = float(rankdata(np.asarray(score, float))[flags].sum())
    return (wins - n * (n + 1) / 2) / (n * (flags.size - n))
