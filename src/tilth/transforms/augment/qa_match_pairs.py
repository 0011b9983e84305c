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
    (McCreery et al. 2020, arXiv 2008.13546). Inside a category questions stand in a circle by lot and each takes
    another's answer, so that every wording is as often right as wrong: neither a question nor an answer alone tells the
    label. Its own answer's wording is never taken for wrong. The text is the two with a blank line between.

    What has no question, no answer, or no other answer in its category is left out, and so is the surplus of an answer
    that more than half of a category give, and a question's second row. ``negatives: any`` takes any
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
            for row, other in _circle(rows, asked, said):
                yield {"text": f"{asked[row]}\n\n{said[row]}", "label": "match", "parents": [ids[row]]}
                yield {"text": f"{asked[row]}\n\n{said[other]}", "label": "other", "parents": [ids[row], ids[other]]}


def _turns(messages: Sequence[dict[str, str | None]] | None) -> tuple[str, str]:
    """The first question and the answer right after it; empty where there is none."""
    turns = messages or ()
    for first, then in pairwise(turns):
        if first["role"] == "user" and then["role"] == "assistant":
            return (first["content"] or "").strip(), (then["content"] or "").strip()
    return "", ""


def _circle(rows: Ints, asked: Sequence[str], said: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each row and one whose answer is another, so that every wording is as often right as wrong.

    Rows stand in a circle, those of one answer side by side, and each takes the answer as many places on as the most
    common answer has rows. Where that one has more than half of the circle, its surplus is left out; of a question
    that stands there several times, all but the first row.
    """
    answers: dict[str, list[int]] = {}
    known: set[str] = set()
    for row in rows.tolist():
        if asked[row] not in known:
            known.add(asked[row])
            answers.setdefault(said[row], []).append(row)
    if len(answers) < 2:
        return
    most = max(answers, key=lambda text: len(answers[text]))
    others = sum(map(len, answers.values())) - len(answers[most])
    answers[most] = answers[most][:others]
    circle = [row for same in answers.values() for row in same]
    step = max(map(len, answers.values()))
    for place, row in enumerate(circle):
        yield row, circle[(place + step) % len(circle)]
