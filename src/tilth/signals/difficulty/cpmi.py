"""Cpmi: which words of a record tell most of one another, and how far apart are they?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.signals._by_id import ById

__all__ = ["Cpmi", "words_of"]

Ints = npt.NDArray[np.int64]
WORDS: Final = re.compile(r"\w+|[^\w\s]")
UNKNOWN: Final = 2  # after the ids that fill up and hide
SHORTEST: Final = 2  # words between which there can be a link


class Cpmi(Signal[ById]):
    """Contextual PMI of a record's words under a small masked model of the pool, and the dependency tree it suggests.

    For two words it is how much likelier, in nats, either becomes when the model sees the other beside all the rest,
    the mean of both directions. ``parents`` is the spanning tree with the largest sum, as each word's parent on the way
    to the first word (-1); ``strength`` lists the CPMI of each word with its parent (null for the first). ``mean`` is
    the mean strength of the links, how much structure the model finds; ``distance`` their mean length in words, 1 where
    all links are between neighbours and more where words depend on far ones.

    Judged are the first `words` words of a random sample of records, lower-cased, punctuation marks being words;
    others, and those of fewer than two words, get nulls. Words are whole: the model has no pieces that would have to be
    hidden together, and what is beyond its vocabulary is one unknown word that tells little. Cost: training on
    `read` words, and a forward pass for every pair of words of a judged record. Trap: this is statistics, not syntax;
    the paper finds such trees no nearer to people's than joining neighbours, and a model that has not learnt the pool
    gives a random tree with a `mean` near 0. The records judged were read, and what was memorised looks strong. Source:
    Hoover et al. 2021, arXiv 2104.08685.

    >>> import pyarrow as pa
    >>> from tilth.core import Run, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = np.random.default_rng(0)
    >>> pick = lambda: int(rng.integers(5))
    >>> texts = [f"open{a} in{pick()} out{pick()} close{a}" for a in (pick() for _ in range(400))]
    >>> scored = score_in_memory(Cpmi(depth=1, read=40_000, records=20), TablePool(pa.table({"text": texts})))
    >>> rows = [row for row in scored.column("cpmi").to_pylist() if row["parents"]]
    >>> sum(row["parents"][3] == 0 for row in rows) > 15  # the last word is linked to the first
    True
    """

    paper: ClassVar[str] = "linguistic_dependencies_and_statistical_dependence"

    vocab: int = Field(2000, ge=1, le=65_000, description="words that the model knows, the most frequent of the pool")
    words: int = Field(16, ge=2, le=128, description="words of a record that are judged; what is read is cut likewise")
    records: int = Field(500, ge=1, description="records that are judged, drawn at random")
    depth: int = Field(2, ge=1, le=12, description="layers of the model; also sets width and learning rate")
    read: int = Field(1_000_000, ge=1000, description="words that the model reads, at most")
    passes: int = Field(10, ge=1, le=1000, description="passes over the pool, at most")
    batch: int = Field(32, ge=1, le=1024, description="stretches of words of a step")
    absolute: bool = Field(False, description="rank links by absolute CPMI: words that exclude one another count, too")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        lists = {"parents": pa.list_(pa.int32()), "strength": pa.list_(pa.float32())}
        return {"mean": pa.float32(), "distance": pa.float32(), **lists}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        texts = pool.column("text")
        order = run.rng("records").permutation(len(texts))
        kept, judged = self._sampled(texts, order)
        found: dict[str, list[Any]] = {name: [] for name in self.makes}
        if judged:
            from tilth.models.train import threads

            ids = self._vocabulary(kept)
            with threads(1):
                model = self._model(kept, ids, run)
                for row in run.track(judged, "cpmi: records"):
                    for name, value in self._judged(model, _encoded(kept[row], ids)[: self.words], run.device).items():
                        found[name].append(value)
        return ById.of(pool, order[judged], {name: _column(kind, found[name]) for name, kind in self.makes.items()})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))

    def _sampled(self, texts: pa.ChunkedArray, order: Ints) -> tuple[list[list[str]], list[int]]:
        """Words of records in random order, as many as are read, and the places of those that are judged."""
        kept: list[list[str]] = []
        judged: list[int] = []
        count = 0
        for i in order.tolist():
            if count >= self.read and len(judged) >= self.records:
                break
            kept.append(words_of(texts[i].as_py() or ""))
            count += len(kept[-1])
            if len(kept[-1]) >= SHORTEST and len(judged) < self.records:
                judged.append(len(kept) - 1)
        return kept, judged

    def _vocabulary(self, kept: Sequence[Sequence[str]]) -> dict[str, int]:
        counts = Counter(word for words in kept for word in words)
        known = sorted(counts, key=lambda word: (-counts[word], word))[: self.vocab]
        return {word: i for i, word in enumerate(known, UNKNOWN + 1)}

    def _model(self, kept: Sequence[Sequence[str]], ids: Mapping[str, int], run: Run) -> Any:
        from tilth.models.cpmi import masked_model

        all_words = [_encoded(words, ids) for words in kept]
        parts = [part for words in all_words for part in np.split(words, range(self.words, len(words), self.words))]
        parts = [part for part in parts if len(part)]
        total = min(self.read, self.passes * sum(map(len, parts)))
        steps = max(1, round(total / np.mean([len(part) for part in parts]) / self.batch))
        size = UNKNOWN + 1 + len(ids)
        return masked_model(parts, size, run, depth=self.depth, steps=steps, batch=self.batch, context=self.words)

    def _judged(self, model: Any, words: Ints, device: str) -> dict[str, Any]:
        from tilth.models.cpmi import contextual, parents, tree

        values, _ = contextual(model, words, device)
        up = parents(tree(np.abs(values) if self.absolute else values), len(words))
        own = np.arange(1, len(words))
        strength = values[own, up[1:]]
        return {
            "mean": float(strength.mean()),
            "distance": float(np.abs(own - up[1:]).mean()),
            "parents": up.tolist(),
            "strength": [None, *strength.tolist()],
        }


def words_of(text: str) -> list[str]:
    """Lower-cased words and punctuation marks.

    >>> words_of("It rains, Ben.")
    ['it', 'rains', ',', 'ben', '.']
    """
    return WORDS.findall(text.lower())


def _encoded(words: Sequence[str], ids: Mapping[str, int]) -> Ints:
    return np.array([ids.get(word, UNKNOWN) for word in words], np.int64)


def _column(kind: pa.DataType, values: Sequence[Any]) -> npt.NDArray[Any]:
    """An array of numbers, or of lists."""
    if not pa.types.is_list(kind):
        return np.array(values, np.float64)
    out = np.empty(len(values), object)
    for i, value in enumerate(values):
        out[i] = value
    return out
