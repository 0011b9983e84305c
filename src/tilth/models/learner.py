"""Learner: a classifier trained several times over, with what it thought of every record after each pass.

Cartography, EL2N, GraNd and their kin ask the same of the same training: what does the model, while it learns, give
the record's own label? `Learner.record` trains once per pool, fields and seed and keeps the answer in `run.shared`, so
a second signal costs no training. Models after each pass of the first seed are kept too (`model_after`), for what
needs their weights.

The linear model is softmax regression on hashed n-grams (`models/linear.py`); the encoder is a small transformer
trained from scratch (`models/transformer.py`). Predictions are made with the finished pass's weights over all records,
never collected on the way, so a record's place in the order does not count.

>>> from tilth.probes.label_noise import LabelNoise
>>> pool = LabelNoise(flip=0.1).build(300, Run()).pool
>>> seen = Learner(seeds=2, passes=3).record(pool, Run())
>>> seen.gold.shape
(2, 3, 300)
>>> flipped = np.array([t["flipped"] for t in pool.column("truth").to_pylist()])
>>> bool(seen.gold[..., flipped].mean() < seen.gold[..., ~flipped].mean())
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tilth.core import Pool, Run
from tilth.core.errors import DataError
from tilth.core.method import digest
from tilth.models.linear import Linear, Rows, encode_labels, epochs

__all__ = ["Learner", "Recording", "State", "Told", "labelled"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
BLOCK: Final = 20_000  # records whose probabilities exist at once


@dataclass(frozen=True)
class Recording:
    """What was predicted after each pass of each seed, of the records that have a label.

    Attributes:
        rows: (n,) their row numbers in the pool.
        labels: (n,) their labels as numbers, places in `names`.
        gold: (seeds, passes, n) probability of a record's own label.
        right: (seeds, passes, n) whether its own label is the likeliest.
        error: (seeds, passes, n) length of ``probabilities - onehot(label)``.
        size: (seeds, passes, n) length of the last layer's input, its constant 1 for the bias included.
    """

    rows: Ints
    labels: Ints
    names: tuple[str, ...]
    gold: Reals
    right: npt.NDArray[np.bool_]
    error: Reals
    size: Reals


Told: TypeAlias = "tuple[Reals, npt.NDArray[np.bool_], Reals, Reals]"  # gold, right, error, size of one pass
State: TypeAlias = "Linear | tuple[Any, dict[str, npt.NDArray[np.float32]]]"
"""A model after some pass: linear weights, or an encoder's config and weights."""


class Learner(BaseModel):
    """How the classifier is trained that is watched; signals with equal learners share one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["linear", "encoder"] = Field("linear", description="softmax regression, or a small transformer")
    seeds: int = Field(5, ge=1, le=1000, description="trainings, each in another order and from other weights")
    passes: int = Field(6, ge=1, le=1000, description="passes over the records; many memorise wrong labels")
    ngrams: int = Field(1, ge=1, le=5, description="linear: longest n-gram; longer ones memorise wrong labels sooner")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="linear: columns that n-grams are hashed into")
    rate: float = Field(0.3, gt=0, le=100, description="linear: step size of a feature's first step")
    l2: float = Field(1e-5, ge=0, le=1, description="linear: strength of the penalty on squared weights")
    depth: int = Field(2, ge=1, le=12, description="encoder: layers; also sets width and learning rate")
    vocab: int = Field(2048, ge=257, le=65_000, description="encoder: ids of the tokenizer trained on the pool")
    context: int = Field(64, ge=16, le=4096, description="encoder: tokens of a text that are read")
    batch: int = Field(32, ge=1, le=1024, description="encoder: texts of a step")

    def record(self, pool: Pool, run: Run) -> Recording:
        """Train, or find what an equal learner has recorded of this pool.

        Raises:
            DataError: when all labels are the same.
        """
        rows, labels, names, _ = labelled(pool)
        if not rows.size:
            none = np.zeros((self.seeds, self.passes, 0), np.float32)
            return Recording(rows, labels, names, none, none > 0, none, none)
        seeds = [_Seed(self._key(pool, run, seed), seed) for seed in range(self.seeds)]
        told = run.map(partial(_recorded, self, pool, run.alone()), seeds, f"train {self.model} classifiers")
        return Recording(rows, labels, names, *(np.stack([seed[part] for seed in told]) for part in range(4)))

    def model_after(self, number: int, pool: Pool, run: Run) -> State:
        """The first seed's model after pass `number`, counted from 0."""
        key = self._key(pool, run, 0)

        def make(here: Run) -> State:
            return self._trained(pool, replace(here, place=("shared", key)), number)  # where `record` trained it

        return run.share(f"{key}-model{number}", make)

    def _key(self, pool: Pool, run: Run, seed: int) -> str:
        """What a training depends on: the same for whatever signal asks."""
        fields = self.model_dump(exclude={"seeds"})
        _, labels, names, _ = labelled(pool)
        texts = hashlib.sha256(labels.tobytes()).hexdigest()
        return f"learner-{digest([fields, pool.fingerprint, names, texts, run.seed, run.device, seed])}"

    def _trained(self, pool: Pool, run: Run, number: int) -> State:
        for i, (state, _) in enumerate(self.passes_of(pool, run)):
            if i == number:
                return state
        raise ValueError(f"There are {self.passes} passes, counted from 0; {number} was asked for.")

    def passes_of(self, pool: Pool, run: Run) -> Iterator[tuple[State, Told]]:
        """One training: the model after each pass, and what it says of every labelled record."""
        _, labels, names, texts = labelled(pool)
        if self.model == "linear":
            rows = Rows.of(texts, self.ngrams, self.buckets)
            size = np.sqrt(_lengths(rows) ** 2 + 1).astype(np.float32)
            after = epochs(rows, labels, len(names), self.passes, run.rng("order"), l2=self.l2, rate=self.rate)
            for model in after:
                yield model, (*_judged(partial(_of_rows, model, rows), labels), size)
            return
        yield from self._encoder_passes(pool, labels, names, texts, run)

    def _encoder_passes(
        self, pool: Pool, labels: Ints, names: Sequence[str], texts: pa.ChunkedArray, run: Run
    ) -> Iterator[tuple[State, Told]]:
        from tilth.models.optim import Options, precision_of
        from tilth.models.tokenizer import Tokenizer
        from tilth.models.train import generator, threads
        from tilth.models.transformer import Classifier, Config, build
        from tilth.models.tune import pooled, train_classifier

        strings = texts.to_pylist()
        tokenizer = Tokenizer.train(_sample(strings, 1_500_000, run), self.vocab)
        encoded = tokenizer.encode_batch(strings)
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context, causal=False)
        order = np.concatenate([run.rng("order", i).permutation(len(labels)) for i in range(self.passes)])
        made: list[tuple[State, Told]] = []
        with threads(1):
            model = Classifier(build(config, generator(run.rng("init"))), len(names)).to(run.device)

            def look() -> Floats:
                hidden = pooled(model, encoded)
                weight, bias = (p.detach().cpu().numpy() for p in (model.head.weight, model.head.bias))
                told = _judged(lambda part: _softmax(hidden[part] @ weight.T + bias), labels)
                size = np.sqrt((hidden.astype(np.float64) ** 2).sum(1) + 1).astype(np.float32)
                state = {k: v.detach().cpu().numpy().copy() for k, v in model.state_dict().items()}
                made.append(((config, state), (*told, size)))
                return np.zeros(1)

            options = Options(rate=config.rate, batch=self.batch, precision=precision_of("auto", run.device))
            train_classifier(model, encoded, labels, order, options, measure=look, points=self.passes)
        yield from made


@dataclass(frozen=True)
class _Seed:
    key: str
    number: int


def _recorded(learner: Learner, pool: Pool, run: Run, seed: _Seed) -> tuple[npt.NDArray[Any], ...]:
    """What one training said after each pass, each (passes, n)."""

    def make(here: Run) -> tuple[npt.NDArray[Any], ...]:
        told = []
        for number, (state, said) in enumerate(learner.passes_of(pool, here)):
            if seed.number == 0 and here.shared is not None:
                here.share(f"{seed.key}-model{number}", partial(_same, state))
            told.append(said)
        return tuple(np.stack(part) for part in zip(*told, strict=True))

    return run.share(seed.key, make)


def _same(state: State, run: Run) -> State:
    return state


def labelled(pool: Pool) -> tuple[Ints, Ints, tuple[str, ...], pa.ChunkedArray]:
    """Row numbers, labels as numbers, the classes' names and the texts of the records that have a label.

    A single one has nobody to be told apart from: it counts as none.

    Raises:
        DataError: when several records have a label and it is the same.
    """
    labels, names = encode_labels(pool.column("label").to_pylist())
    rows = np.flatnonzero(labels >= 0)
    if rows.size < 2:
        rows = rows[:0]
    elif len(names) < 2:
        raise DataError(f"A classifier needs two or more labels; all {rows.size:,} that the pool has are {names[0]!r}.")
    texts = pc.fill_null(pool.column("text"), "")
    return rows, labels[rows], names, texts if rows.size == len(labels) else texts.take(pa.array(rows))


def _judged(probabilities: Any, labels: Ints) -> tuple[Reals, npt.NDArray[np.bool_], Reals]:
    """Gold probability, right or not, and length of the error of every record, some of them at a time."""
    n = labels.size
    gold, right, error = np.zeros(n, np.float32), np.zeros(n, np.bool_), np.zeros(n, np.float32)
    for start in range(0, n, BLOCK):
        part = np.arange(start, min(start + BLOCK, n))
        p, own = probabilities(part), labels[part]
        mine = p[np.arange(part.size), own]
        gold[part], right[part] = mine, p.argmax(1) == own
        error[part] = np.sqrt(np.maximum((p * p).sum(1) - 2 * mine + 1, 0))
    return gold, right, error


def _of_rows(model: Linear, rows: Rows, part: Ints) -> Floats:
    return model.probabilities(rows.take(part))


def _softmax(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    z = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(z / z.sum(1, keepdims=True))


def _lengths(rows: Rows) -> Floats:
    """Length of each row: 1, or 0 of an empty one."""
    return (np.diff(rows.indptr) > 0).astype(np.float64)


def _sample(texts: Sequence[str], size: int, run: Run) -> list[str]:
    """Texts at random, about `size` characters."""
    chosen, read = [], 0
    for i in run.rng("tokenizer").permutation(len(texts)).tolist():
        if read >= size:
            break
        chosen.append(texts[i])
        read += len(texts[i])
    return chosen
