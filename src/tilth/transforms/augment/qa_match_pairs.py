"""QaMatchPairs: a question with its answer, and with the answer to another question of its category."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Groups, Kind, Record, Run, Transform

__all__ = ["QaMatchPairs"]

Ints = npt.NDArray[np.int64]


class QaMatchPairs(Transform):
    """Labelled pairs from questions and answers, to learn first what makes a question and an answer belong together.

    Of each conversation's first question it writes two records: question and its own answer (``match``), and question
    and another's answer (``other``). The other question is of the same category, so that the topic alone does not tell
    (McCreery et al. 2020, arXiv 2008.13546). Inside a category questions stand in a circle by lot and each takes the
    answer of the next: every answer is once right and once wrong, so neither a question nor an answer alone tells the
    label. Its own answer's wording is never taken for wrong. The text is the two with a blank line between.

    What has no question, no answer, or no other answer in its category is left out. ``negatives: any`` takes any
    other question instead: easy pairs, as a control.

    Cost: a sort. Trap: categories must be fine enough; with coarse ones a classifier learns topics, and `any` is the
    coarsest. Others are sought in the same fragment of the pool. Two questions that ask the same in other words make a
    wrong ``other``: remove near-copies (`minhash`) first.

    >>> from tilth.core import TablePool
    >>> from tilth.core.records import MESSAGES
    >>> from tilth.engine.write import write
    >>> asked = [("Is rain wet?", "Yes, it is."), ("Is ice cold?", "Very."), ("Who is Ann?", "A friend.")]
    >>> turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in asked]
    >>> table = pa.table({"messages": pa.array(turns, MESSAGES), "source": ["weather", "weather", "people"]})
    >>> made = write(QaMatchPairs(), TablePool(table, "instruction"), Run())
    >>> sorted(zip(made.column("label").to_pylist(), made.column("text").to_pylist()))[:2]
    [('match', 'Is ice cold?\\n\\nVery.'), ('match', 'Is rain wet?\\n\\nYes, it is.')]
    >>> sorted(zip(made.column("label").to_pylist(), made.column("text").to_pylist()))[2:]
    [('other', 'Is ice cold?\\n\\nYes, it is.'), ('other', 'Is rain wet?\\n\\nVery.')]
    """

    paper: ClassVar[str] = "effective_transfer_learning_for_identifying_similar"
    reads: ClassVar[tuple[Kind, ...]] = ("instruction",)
    writes: ClassVar[Kind] = "labeled"

    by: str = Field("source", description="column with the category of a question")
    negatives: Literal["category", "any"] = Field("category", description="whose answers are the wrong ones")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("id", "messages", self.by)))

    def apply(self, batch: pa.RecordBatch, run: Run) -> Iterator[Record]:
        ids = batch.column("id").to_pylist()
        asked, said = zip(*map(_turns, batch.column("messages").to_pylist()), strict=True) if ids else ((), ())
        by = Groups.of(self.by, pc.fill_null(pc.cast(batch.column(self.by), pa.string()), "(none)"))
        group = np.zeros(len(ids), np.int64) if self.negatives == "any" else by.index.astype(np.int64)
        lot = run.uniform(batch.column("id"), "circle")
        good = np.array([bool(a and b) for a, b in zip(asked, said, strict=True)], bool)
        for name in np.unique(group[good]):
            rows = np.flatnonzero(good & (group == name))
            rows = rows[np.argsort(lot[rows], kind="stable")]
            for row, other in _circle(rows, said):
                yield {"text": f"{asked[row]}\n\n{said[row]}", "label": "match", "parents": [ids[row]]}
                yield {"text": f"{asked[row]}\n\n{said[other]}", "label": "other", "parents": [ids[row], ids[other]]}


def _turns(messages: Sequence[dict[str, str | None]] | None) -> tuple[str, str]:
    """The first question and the answer right after it; empty where there is none."""
    turns = messages or ()
    for first, then in pairwise(turns):
        if first["role"] == "user" and then["role"] == "assistant":
            return (first["content"] or "").strip(), (then["content"] or "").strip()
    return "", ""


def _circle(rows: Ints, said: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each row and the next one in the circle whose answer is another; none where all answers are the same."""
    for place in range(rows.size):
        row = int(rows[place])
        others = (int(rows[(place + step) % rows.size]) for step in range(1, rows.size))
        other = next((o for o in others if said[o] != said[row]), None)
        if other is not None:
            yield row, other
