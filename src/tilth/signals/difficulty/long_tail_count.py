"""Long-tail count: how many documents can a model have learnt a fact from?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Fragment, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.core.records import Kind
from tilth.models.mentions import Phrases, names

__all__ = ["LongTailCount", "Support"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Support:
    """What the pool says about the target's questions.

    Attributes:
        phrases: all names of questions and answers.
        pairs: per question, the numbers of the answer's and the question's name that most documents mention together;
            None where the question or its answer has no name.
        counts: per question, those documents; None like `pairs`.
    """

    phrases: Phrases
    pairs: tuple[tuple[int, int] | None, ...]
    counts: tuple[int | None, ...]


class LongTailCount(Signal[Support]):
    """Facts of the target that a document mentions, and how many documents the rarest of them has.

    A fact is a question of the target with its answer. Documents that mention both a name of the question and the
    answer may state it, and models answer a question the better the more of them there are. Names of a question are its
    runs of capitalised words, or the target's field `entities` where it has one; the answer is the whole reply up to
    `longest` words and the names in longer ones, and the field `aliases` adds other spellings. Of several answers the
    one in most documents counts; of several names of the question the one that meets it most often.

    `facts` is the number of questions whose fact the document may state; `rarest` is the smallest count of documents
    among them, null without facts. So ``rarest <= 3`` finds what must not be filtered out. The count of each question
    is what the signal learns (`Support.counts`).

    Cost: reads the pool twice, about 10 MB/s a core. Trap: documents are counted, not mentions, and copies are
    documents: count again without duplicates. A popular name in the question (a country) meets the answer everywhere
    and hides the name that matters. Source: large language models struggle to learn long-tail knowledge
    (arXiv 2211.08411), where an entity linker finds the names.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> texts = ["Bilu lies on the Lort. Bilu!", "The Lort flows past Bilu.", "Dako is on the Mer.", "Dako, Lort."]
    >>> asked = [[{"role": "user", "content": f"Which river does {town} lie on?"},
    ...           {"role": "assistant", "content": river}] for town, river in (("Bilu", "the Lort"), ("Dako", "Mer"))]
    >>> target = TablePool(pa.table({"messages": asked}), "instruction")
    >>> goal = Goal(target, target, Budget(1))
    >>> scored = score_in_memory(LongTailCount(), TablePool(pa.table({"text": texts})), goal)
    >>> scored.column("long_tail_count.rarest").to_pylist()
    [2, 2, 1, None]
    """

    paper: ClassVar[str] = "large_language_models_struggle_to_learn"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)
    target_kinds: ClassVar[tuple[Kind, ...]] = ("instruction",)

    longest: int = Field(5, ge=1, le=50, description="words of a reply that is one name as it stands")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"facts": pa.int32(), "rarest": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Support:
        if goal is None:
            raise UsageError("long_tail_count counts documents for the target's questions; state a goal.")
        facts = [self._names(*row) for row in _asked(goal.target)]
        number: dict[str, int] = {}
        for name in (name for sides in facts for side in sides for name in side):
            number.setdefault(name, len(number))
        phrases = Phrases.of([[name] for name in number])
        parts = run.map(partial(_mentions, phrases), pool.fragments(), "count")
        rows, ids = np.concatenate([np.zeros((2, 0), np.int64), *parts], axis=1)
        order = np.argsort(ids, kind="stable")  # rows ascend within a name
        where = np.split(rows[order], np.searchsorted(ids[order], np.arange(1, max(1, len(number)))))
        best = [_best([number[n] for n in answer], [number[n] for n in asked], where) for answer, asked in facts]
        return Support(phrases, tuple(b and b[0] for b in best), tuple(b and b[1] for b in best))

    def _names(self, question: str, reply: str, entities: Iterable[str] | None, aliases: Iterable[str]) -> _Sides:
        """Names of the answer that the question does not have, and of the question."""
        asked = dict.fromkeys(_key(name) for name in (names(question) if entities is None else entities))
        said = [reply] if len(reply.split()) <= self.longest else names(reply)
        answer = dict.fromkeys(_key(name) for name in (*said, *aliases))
        return [n for n in answer if n and n not in asked], [n for n in asked if n]

    def score(self, batch: pa.RecordBatch, state: Support, run: Run) -> Columns:
        partners: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for pair, count in zip(state.pairs, state.counts, strict=True):
            if pair is not None and count is not None:
                partners[pair[0]].append((pair[1], count))
        texts, ids = state.phrases.find(batch.column("text"))
        facts: list[int] = []
        rarest: list[int | None] = []
        for mentioned in np.split(ids, np.searchsorted(texts, np.arange(1, batch.num_rows))) if batch.num_rows else ():
            present = {*mentioned.tolist()}
            counts = [count for a in present for q, count in partners.get(a, ()) if q in present]
            facts.append(len(counts))
            rarest.append(min(counts, default=None))
        return {"facts": pa.array(facts, pa.int32()), "rarest": pa.array(rarest, pa.int32())}


_Sides = tuple[list[str], list[str]]


def _asked(target: Pool) -> Iterable[tuple[str, str, Iterable[str] | None, Iterable[str]]]:
    """Question, reply, the question's entities where the target states them, and further spellings of the answer."""
    more = [c for c in ("entities", "aliases", "meta") if c in target.schema.names]
    for row in target.table(["messages", *more]).to_pylist():
        kept = orjson.loads(row["meta"]) if row.get("meta") else {}  # where the import keeps what it does not know
        row = {**row, **{name: kept[name] for name in ("entities", "aliases") if name in kept}}
        said: dict[str, str] = {turn["role"]: turn["content"] or "" for turn in row["messages"] or ()}
        yield said.get("user", ""), said.get("assistant", ""), row.get("entities"), row.get("aliases") or ()


def _key(name: str) -> str:
    return " ".join(name.lower().split())


def _mentions(phrases: Phrases, fragment: Fragment) -> Ints:
    """Row numbers in the pool, ascending, and the names mentioned there."""
    found, offset = [np.zeros((2, 0), np.int64)], fragment.offset
    for batch in fragment.batches(["text"]):
        rows, ids = phrases.find(batch.column("text"))
        found.append(np.stack([rows + offset, ids]))
        offset += batch.num_rows
    return np.concatenate(found, axis=1)


def _best(answers: Sequence[int], asked: Sequence[int], where: Sequence[Ints]) -> tuple[tuple[int, int], int] | None:
    """The pair of names that most documents mention together, and how many do."""
    most = max((where[a].size for a in answers), default=0)
    pairs = [(a, q) for a in answers if where[a].size == most for q in asked]
    together = [(pair, np.intersect1d(where[pair[0]], where[pair[1]], assume_unique=True).size) for pair in pairs]
    return max(together, key=lambda one: one[1], default=None)
