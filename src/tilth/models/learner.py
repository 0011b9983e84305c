"""Learner: a classifier trained several times over, with what it thought of every record after each pass.

Cartography, EL2N, GraNd and their kin ask the same of the same training: what does the model, while it learns, give
the record's own label? `Learner.record` trains once per pool, fields and seed and keeps the answer in `run.shared`, so
a second signal costs no training. Models after each pass of the first seed are kept too (`model_after`), for what
needs their weights.

The linear model is softmax regression on hashed n-grams (`models/linear.py`); the encoder is a small transformer
trained from scratch (`models/transformer.py`). On text without labels a small decoder is trained, and a record's
numbers are means over its tokens (`models/told.py`). Predictions are made with the finished pass's weights over all
records, never collected on the way, so a record's place in the order does not count. What measures influence finds
gradients of the last layer by pass of the first seed (`gradients`), the steps that the optimizer would make of them
(`steps`), and gradients in all weights, projected, under each seed's last model (`features`).

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

import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tilth.core import Pool, Run
from tilth.core.errors import DataError, UsageError
from tilth.core.method import digest
from tilth.core.pool import column_digest
from tilth.models.last_layer import Factored, Gradients, Predicted, Sketched, Stepped
from tilth.models.linear import Linear, Rows, encode_labels, epochs
from tilth.models.tokenizer import Tokenizer
from tilth.models.trak import odds_gradient

if TYPE_CHECKING:
    from tilth.models.told import Reading

__all__ = ["Learner", "Recording", "Snapshot", "Told", "labelled", "sample_of"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float16]
VERSION: Final = 2
"""Raised whenever the same fields and pool give another training: it invalidates what is shared."""
BLOCK: Final = 20_000  # records whose probabilities exist at once
END: Final = 0  # the id that ends a document
SAMPLE: Final = 1_500_000  # characters that a tokenizer is trained on
MANY: Final = 1 << 24  # errors, records times classes, that are held at once
FEW: Final = 20_000  # tokens that a language model reads in a pass when only its time is asked for


@dataclass(frozen=True)
class Recording:
    """What was predicted after each pass of each seed.

    Attributes:
        rows: (n,) row numbers in the pool of the records that were judged: those with a label, or with a text.
        labels: (n,) their labels as numbers, places in `names`; zeros where there are none.
        gold: (seeds, passes, n) probability of a record's own label, or of its tokens.
        right: (seeds, passes, n) whether its own label is the likeliest, 1 or 0; or the share of its tokens.
        error: (seeds, passes, n) length of ``probabilities - onehot(label)``, or the mean of its tokens.
        size: (seeds, passes, n) length of the last layer's input, a classifier's constant 1 included.
        loss: (seeds, 1 + passes, n) nats of the own label, or the mean of its tokens; the first are before training.
    """

    rows: Ints
    labels: Ints
    names: tuple[str, ...]
    gold: Reals
    right: Reals
    error: Reals
    size: Reals
    loss: Reals


Told: TypeAlias = tuple[Reals, Reals, Reals, Reals, Reals]
"""gold, right, error, size and loss after one pass."""


class Snapshot(Protocol):
    """A model after some pass."""

    def gradients(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        """Of the last layer on any records; labels are places in the names the model was trained with."""
        ...

    def steps(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        """Of the last layer, over the roots of the optimizer's second moments: its steps, but for their size."""
        ...

    def features(self, texts: pa.ChunkedArray, labels: Ints, width: int, run: Run) -> Halves:
        """Gradients of the label's log-odds in all weights, projected, (n, width)."""
        ...


class Learner(BaseModel):
    """How the model is trained that is watched; signals with equal learners share one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Literal["linear", "encoder", "lm"] = Field(
        "linear", description="softmax regression on n-grams, a small transformer, or one that models unlabelled text"
    )
    seeds: int = Field(5, ge=1, le=1000, description="trainings, each in another order and from other weights")
    passes: int = Field(6, ge=1, le=1000, description="passes over the records; many memorise wrong labels")
    ngrams: int = Field(1, ge=1, le=5, description="linear: longest n-gram; longer ones memorise wrong labels sooner")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="linear: columns that n-grams are hashed into")
    rate: float = Field(0.3, gt=0, le=100, description="linear: step size of a feature's first step")
    l2: float = Field(1e-5, ge=0, le=1, description="linear: strength of the penalty on squared weights")
    depth: int = Field(2, ge=1, le=12, description="transformers: layers; also sets width and learning rate")
    vocab: int = Field(2048, ge=257, le=65_000, description="transformers: ids of the tokenizer trained on the pool")
    context: int = Field(64, ge=16, le=4096, description="transformers: tokens of an encoder's text, of an lm's window")
    batch: int = Field(32, ge=1, le=1024, description="transformers: texts or windows of a step")
    tokens: int = Field(300_000, ge=1000, description="lm: tokens of a pass; records beyond are judged, not read")
    longest: int = Field(1000, ge=16, description="lm: characters of a record that are read and judged")

    @property
    def told(self) -> str:
        """Such as ``5 linear models, 6 passes each``."""
        return f"{self.seeds} {self.model} model{'s' * (self.seeds > 1)}, {self.passes} passes each"

    @property
    def dear(self) -> bool:
        """A linear model of little text is trained before another process has started."""
        return self.model != "linear"

    def small(self) -> Self:
        """One seed; of a language model's text no more than a few steps are read."""
        return self.model_copy(update={"seeds": 1, "tokens": min(self.tokens, FEW)})

    def forecast(self, sample: Pool, scale: float, run: Run) -> tuple[float, float]:
        """Seconds of one process and bytes kept for `scale` times the sample's records; `small` is run on the sample.

        Judging, and a classifier's learning, take time in proportion to the records. A language model learns from a
        stated number of tokens, so that part is told from judging by a run that reads next to nothing.
        """
        small, seconds = self.small(), []
        for learner in (small, small.model_copy(update={"tokens": 1000})) if self.model == "lm" else (small,):
            began = time.monotonic()
            rows = learner.record(sample, run).rows.size
            seconds.append(time.monotonic() - began)
        learnt = scale if self.model != "lm" else min(self.tokens / small.tokens, scale)
        taken = seconds[-1] * scale + (seconds[0] - seconds[-1]) * learnt
        model = len(pickle.dumps(small.snapshot(0, sample, run), protocol=5)) if rows else 0
        kept = 4.0 * self.seeds * (5 * self.passes + 1) * rows * scale + self.passes * model
        return taken * self.seeds, kept

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return ("id", "text") if self.model == "lm" else ("id", "text", "label")

    def record(self, pool: Pool, run: Run) -> Recording:
        """Train, or find what an equal learner has recorded of this pool.

        Raises:
            DataError: when all labels are the same.
        """
        rows, labels, names, _ = self.subjects(pool)
        if not rows.size:
            none, losses = (np.zeros((self.seeds, self.passes + more, 0), np.float32) for more in (0, 1))
            return Recording(rows, labels, names, none, none, none, none, losses)
        seeds = [_Seed(self._key(pool, run, seed), seed) for seed in range(self.seeds)]
        made = run.map(partial(_recorded, self, pool, run.alone()), seeds, f"train {self.model} models")
        told, parts = [list(seed) for seed in made], []
        del made
        while told[0]:  # the last part first, and each let go: of a large pool there is no room for all of it twice
            parts.append(np.stack([seed.pop() for seed in told]))
        return Recording(rows, labels, names, *reversed(parts))

    def snapshot(self, number: int, pool: Pool, run: Run, seed: int = 0) -> Snapshot:
        """A seed's model after pass `number`, both counted from 0; of other seeds than the first the last is kept."""
        key = self._key(pool, run, seed)

        def make(here: Run) -> Snapshot:
            return self._trained(pool, replace(here, place=("shared", key)), number)  # where `record` trained it

        return run.share(f"{key}-model{number}", make)

    def gradients(self, number: int, pool: Pool, run: Run) -> Gradients:
        """Of the last layer on every judged record, under the first seed's model after pass `number`."""
        _, labels, _, texts = self.subjects(pool)
        model = self.snapshot(number, pool, run)
        if self.model == "linear":  # made anew in less time than reading it takes
            return model.gradients(texts, labels, run)
        key = f"{self._key(pool, run, 0)}-gradients{number}"
        return run.share(key, lambda here: model.gradients(texts, labels, here))

    def probabilities(self, number: int, pool: Pool, texts: pa.ChunkedArray, run: Run) -> Floats:
        """(n, classes) of any texts, by the first seed's model after pass `number` over the pool; classifiers only."""
        model = self.snapshot(number, pool, run)
        assert isinstance(model, (_LinearSnapshot, _EncoderSnapshot))
        return model.probabilities(texts, run)

    def reading(self, number: int, pool: Pool, texts: pa.ChunkedArray, top: int, run: Run) -> Reading:
        """What the first seed's model after pass `number` over the pool makes of any texts; language models only."""
        model = self.snapshot(number, pool, run)
        assert isinstance(model, _DecoderSnapshot)
        return model.reading(texts, top, run)

    def steps(self, number: int, pool: Pool, run: Run) -> Gradients:
        """As `gradients`, over the roots of the optimizer's second moments: its steps, but for their size."""
        _, labels, _, texts = self.subjects(pool)
        model = self.snapshot(number, pool, run)
        if self.model == "linear":
            return model.steps(texts, labels, run)
        key = f"{self._key(pool, run, 0)}-steps{number}"
        return run.share(key, lambda here: model.steps(texts, labels, here))

    def features(self, width: int, pool: Pool, run: Run, seed: int) -> Halves:
        """Gradients of every judged record's log-odds in all weights, projected, under a seed's last model."""
        _, labels, _, texts = self.subjects(pool)
        key = f"{self._key(pool, run, seed)}-features{width}"
        last = self.passes - 1
        return run.share(key, lambda here: self.snapshot(last, pool, run, seed).features(texts, labels, width, here))

    def rates(self) -> Floats:
        """(passes,) mean step size of each pass, relative to the highest of the schedule; 1 where there is none."""
        if self.model == "linear":
            return np.ones(self.passes)
        from tilth.models.optim import Options, schedule

        steps = self.passes * 100
        each = np.array([schedule(step, steps, Options(rate=1.0)) for step in range(steps)])
        return np.asarray(each.reshape(self.passes, -1).mean(1))

    def subjects(self, pool: Pool) -> tuple[Ints, Ints, tuple[str, ...], pa.ChunkedArray]:
        """Row numbers, labels, names of the classes and texts of what is judged."""
        if self.model != "lm":
            return labelled(pool)
        texts = pc.utf8_slice_codeunits(pool.column("text"), 0, self.longest)
        rows = np.flatnonzero(pc.greater(pc.fill_null(pc.binary_length(texts), 0), 0).to_numpy(zero_copy_only=False))
        return rows, np.zeros(rows.size, np.int64), (), texts.take(pa.array(rows))

    def _key(self, pool: Pool, run: Run, seed: int) -> str:
        """What a training depends on: the same for whatever signal asks."""
        fields = self.model_dump(exclude={"seeds"})
        labels = column_digest(pool.column("label")) if self.model != "lm" else ""
        return f"learner-{digest([VERSION, fields, pool.fingerprint, labels, run.seed, run.device, seed])}"

    def _trained(self, pool: Pool, run: Run, number: int) -> Snapshot:
        for i, (model, _) in enumerate(self.passes_of(pool, run)):
            if i == number + 1:
                return model
        raise ValueError(f"There are {self.passes} passes, counted from 0; {number} was asked for.")

    def passes_of(self, pool: Pool, run: Run) -> Iterator[tuple[Snapshot, Told]]:
        """One training: the model before it and after each pass, and what it says of every record that is judged."""
        _, labels, names, texts = self.subjects(pool)
        if self.model == "lm":
            return iter(self._decoder_passes(texts, run))
        if self.model == "encoder":
            return iter(self._encoder_passes(texts, labels, len(names), run))
        return self._linear_passes(texts, labels, len(names), run)

    def _linear_passes(
        self, texts: pa.ChunkedArray, labels: Ints, classes: int, run: Run
    ) -> Iterator[tuple[Snapshot, Told]]:
        rows = Rows.of(texts, self.ngrams, self.buckets)
        size = np.sqrt((np.diff(rows.indptr) > 0) + 1.0).astype(np.float32)  # a row has length 1, or 0 if empty
        nothing = np.zeros((0, classes), np.float32)
        models = [Linear(np.full(self.buckets, -1, np.int32), nothing, np.zeros(classes, np.float32))]
        learning = epochs(rows, labels, classes, self.passes, run.rng("order"), l2=self.l2, rate=self.rate)
        for model in chain(models, learning):
            gold, right, error, loss = _judged(partial(_of_rows, model, rows), labels)
            yield _LinearSnapshot(model, self.ngrams, self.buckets), (gold, right, error, size, loss)

    def _encoder_passes(
        self, texts: pa.ChunkedArray, labels: Ints, classes: int, run: Run
    ) -> list[tuple[Snapshot, Told]]:
        from tilth.models.merging import state_of
        from tilth.models.optim import Options, precision_of
        from tilth.models.train import generator, threads
        from tilth.models.transformer import Classifier, Config, build
        from tilth.models.tune import train_classifier

        strings = texts.to_pylist()
        tokenizer = Tokenizer.train(sample_of(strings, run), self.vocab)
        encoded = tokenizer.encode_batch(strings)
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context, causal=False)
        order = np.concatenate([run.rng("order", i).permutation(len(labels)) for i in range(self.passes)])
        made: list[tuple[Snapshot, Told]] = []
        with threads(1):
            model = Classifier(build(config, generator(run.rng("init"))), classes).to(run.device)
            moment = _Moment(model.head.weight)

            def look() -> Floats:
                snapshot = _EncoderSnapshot(config, classes, state_of(model), tokenizer, moment())
                inputs, probabilities = snapshot.outputs(model, encoded)
                gold, right, error, loss = _judged(probabilities.__getitem__, labels)
                made.append((snapshot, (gold, right, error, np.sqrt((inputs**2).sum(1) + 1), loss)))
                return np.zeros(1)

            look()
            batch = min(self.batch, len(labels))  # a pass is a step at least, or there would be fewer looks than passes
            options = Options(rate=config.rate, batch=batch, precision=precision_of("auto", run.device))
            train_classifier(
                model, encoded, labels, order, options, measure=look, points=self.passes, opened=moment.open
            )
        assert len(made) == 1 + self.passes
        return made

    def _decoder_passes(self, texts: pa.ChunkedArray, run: Run) -> list[tuple[Snapshot, Told]]:
        from tilth.models.batches import reading_order, windows, windows_to_score
        from tilth.models.feeds import Fixed
        from tilth.models.merging import state_of
        from tilth.models.optim import Options, precision_of
        from tilth.models.told import tell
        from tilth.models.train import generator, threads, train_lm
        from tilth.models.transformer import Config, Decoder, build

        strings = texts.to_pylist()
        tokenizer = Tokenizer.train(sample_of(strings, run), self.vocab)
        offsets, ids = tokenizer.encode_batch(strings)
        lengths = np.diff(offsets) + 1
        some = run.rng("sample").permutation(lengths.size)
        some = some[: int(np.searchsorted(np.cumsum(lengths[some]), self.tokens)) + 1]
        repeats = np.zeros(lengths.size, np.int32)
        repeats[some] = self.passes
        order = reading_order(repeats, run.rng("order"))
        read = windows(offsets, ids, order, self.context, END, int(lengths[some].sum()) * self.passes)
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context)
        judged = windows_to_score(offsets, ids, self.context, END)
        made: list[tuple[Snapshot, Told]] = []
        with threads(1):
            model = build(config, generator(run.rng("init"))).to(run.device)
            moment = _Moment(model.embedding.weight)

            def look(model: Decoder) -> Floats:
                gold, right, error, size, loss, _ = tell(model, judged, device=run.device)
                snapshot = _DecoderSnapshot(config, state_of(model), tokenizer, moment())
                made.append((snapshot, (gold, right, error, size, loss)))
                return np.zeros(1)

            look(model)
            batch = max(1, min(self.batch, len(read) // self.passes))  # a pass is a step at least
            options = Options(rate=config.rate, batch=batch, precision=precision_of("auto", run.device))
            feed = Fixed(read, batch, run.device)
            train_lm(model, feed, options, measure=look, points=self.passes, opened=moment.open)
        if len(made) <= self.passes:
            raise DataError(f"{len(read)} windows of text are too few for {self.passes} passes; state fewer `passes`.")
        return made


class _Moment:
    """The optimizer's second moment of one weight, read while it trains."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight
        self.optimizer: Any = None

    def open(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def __call__(self) -> Reals:
        """In the weight's shape; zeros before the first step."""
        if self.optimizer is None:
            return np.zeros(tuple(self.weight.shape), np.float32)
        found: Reals = self.optimizer.state[self.weight]["exp_avg_sq"].cpu().numpy()
        return found.copy()


@dataclass(frozen=True)
class _LinearSnapshot:
    model: Linear
    ngrams: int
    buckets: int

    def gradients(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        rows = Rows.of(texts, self.ngrams, self.buckets)
        return self._of(rows, rows, labels)

    def _of(self, inputs: Rows, rows: Rows, labels: Ints) -> Gradients:
        if labels.size * self.model.bias.size > MANY:
            return Predicted(self.model, inputs, rows, labels)
        return Factored(inputs, self.model.errors(rows, labels).astype(np.float32))

    def probabilities(self, texts: pa.ChunkedArray, run: Run) -> Floats:
        """(n, classes)."""
        return self.model.probabilities(Rows.of(texts, self.ngrams, self.buckets))

    def steps(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        rows, squares = Rows.of(texts, self.ngrams, self.buckets), self.model.squares
        assert squares is not None
        scale = np.append(np.where(squares > 0, 1 / np.sqrt(np.maximum(squares, 1e-30)), 0), 0).astype(np.float32)
        scaled = replace(rows, values=rows.values * scale[self.model.place[rows.indices]])  # -1 is the last: no step
        return self._of(scaled, rows, labels)

    def features(self, texts: pa.ChunkedArray, labels: Ints, width: int, run: Run) -> Halves:
        from scipy.sparse import csr_array

        rows, classes = Rows.of(texts, self.ngrams, self.buckets), self.model.bias.size
        x, g = self.model.inputs(rows), odds_gradient(self.model.logits(rows), labels)
        count = x.shape[1] * classes
        rng = replace(run, place=("shared",)).rng("features")
        place, sign = rng.integers(0, width, count), rng.integers(0, 2, count) * 2.0 - 1.0
        if count <= width:  # nothing need be shortened
            place, sign = np.arange(count), np.ones(count)
        projection = csr_array((sign, place, np.arange(count + 1)), shape=(count, width))
        out = np.zeros((len(rows), width), np.float16)
        for start in range(0, len(rows), BLOCK // classes + 1):
            part = slice(start, start + BLOCK // classes + 1)
            some = x[part]
            owner = np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))
            columns = some.indices[:, None] * classes + np.arange(classes)
            shape = (some.shape[0], count)
            whole = csr_array(((some.data[:, None] * g[part][owner]).ravel(), columns.ravel(), some.indptr * classes),
                              shape=shape)  # fmt: skip
            out[part] = (whole @ projection).toarray()
        return out


@dataclass(frozen=True)
class _EncoderSnapshot:
    config: Any
    classes: int
    weights: Mapping[str, Any]
    tokenizer: Tokenizer
    second: Reals

    def gradients(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Factored:
        inputs, errors = self._of(texts, run)
        errors[np.arange(labels.size), labels] -= 1
        return Factored(inputs.astype(np.float16), errors)  # errors of sure predictions would be 0 in half precision

    def probabilities(self, texts: pa.ChunkedArray, run: Run) -> Floats:
        """(n, classes)."""
        return self._of(texts, run)[1].astype(np.float64)

    def _of(self, texts: pa.ChunkedArray, run: Run) -> tuple[Reals, Reals]:
        """`outputs` of the model with these weights."""
        from tilth.models.train import threads

        with threads(1):
            return self.outputs(self.classifier(run), self.tokenizer.encode_batch(texts.to_pylist()))

    def steps(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        found = self.gradients(texts, labels, run)
        assert not isinstance(found.inputs, Rows)
        return Stepped(found.inputs, found.errors, self.second.T)

    def features(self, texts: pa.ChunkedArray, labels: Ints, width: int, run: Run) -> Halves:
        import torch

        from tilth.models.batches import by_length
        from tilth.models.gradients import Projection
        from tilth.models.layerwise import projected
        from tilth.models.train import threads
        from tilth.models.tune import padded_to

        out = np.zeros((labels.size, width), np.float16)
        # The same map for all records, whoever asks: only then do inner products mean anything.
        projection = Projection(replace(run, place=("shared", "features")), width, "sparse", nonzeros=1)
        with threads(1):
            model = self.classifier(run).eval()
            encoded = self.tokenizer.encode_batch(texts.to_pylist())
            for rows in by_length(np.diff(encoded[0]), 64):
                batch, wanted = padded_to(model.encoder, encoded, rows), torch.from_numpy(labels[rows]).to(run.device)
                out[rows] = projected(model, partial(_odds, model, batch, wanted), projection).cpu().numpy()
        return out

    def classifier(self, run: Run) -> Any:
        """The model itself."""
        import torch

        from tilth.models.transformer import Classifier, Decoder

        model = Classifier(Decoder(self.config), self.classes).to(run.device)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in self.weights.items()})
        return model

    def outputs(self, model: Any, encoded: Any) -> tuple[Reals, Reals]:
        """What the last layer reads, (n, width), and the probabilities, (n, classes)."""
        from tilth.models.tune import pooled

        inputs = pooled(model, encoded)
        weight, bias = (p.detach().cpu().numpy() for p in (model.head.weight, model.head.bias))
        z = inputs @ weight.T + bias
        z = np.exp(z - z.max(1, keepdims=True))
        return inputs, z / z.sum(1, keepdims=True)


@dataclass(frozen=True)
class _DecoderSnapshot:
    config: Any
    weights: Mapping[str, Any]
    tokenizer: Tokenizer
    second: Reals

    def gradients(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        return self._sketched(texts, run, None)

    def steps(self, texts: pa.ChunkedArray, labels: Ints, run: Run) -> Gradients:
        return self._sketched(texts, run, self.second)

    def features(self, texts: pa.ChunkedArray, labels: Ints, width: int, run: Run) -> Halves:
        raise UsageError(
            "Projected gradients in all weights are there for classifiers; state model: linear or encoder."
        )

    def _sketched(self, texts: pa.ChunkedArray, run: Run, second: Reals | None) -> Gradients:
        from tilth.models.batches import windows_to_score
        from tilth.models.merging import decoder
        from tilth.models.told import Sketch, tell
        from tilth.models.train import threads

        with threads(1):
            model = decoder(self.config, self.weights, run.device).eval()
            # The same signs for all records, whoever asks: only then do inner products mean anything.
            sketch = Sketch.drawn(self.config.vocab, self.config.width, replace(run, place=("shared",)))
            if second is not None:
                sketch = sketch.divided(second)
            data = windows_to_score(*self.tokenizer.encode_batch(texts.to_pylist()), self.config.context, END)
            values = tell(model, data, sketch=sketch, device=run.device)[-1]
        assert values is not None
        return Sketched(values)

    def reading(self, texts: pa.ChunkedArray, top: int, run: Run) -> Reading:
        """See `Learner.reading`."""
        from tilth.models.batches import windows_to_score
        from tilth.models.merging import decoder
        from tilth.models.told import reading
        from tilth.models.train import threads

        with threads(1):
            model = decoder(self.config, self.weights, run.device).eval()
            data = windows_to_score(*self.tokenizer.encode_batch(texts.to_pylist()), self.config.context, END)
            return reading(model, data, top, device=run.device)


@dataclass(frozen=True)
class _Seed:
    key: str
    number: int


def _recorded(learner: Learner, pool: Pool, run: Run, seed: _Seed) -> tuple[Reals, ...]:
    """What one training said after each pass, each (passes, n), and the losses before it, too."""

    def make(here: Run) -> tuple[Reals, ...]:
        told = []
        for number, (model, said) in enumerate(learner.passes_of(pool, here), -1):
            if number >= 0 and here.shared is not None and (seed.number == 0 or number == learner.passes - 1):
                here.share(f"{seed.key}-model{number}", partial(_same, model))
            told.append(said)
        *parts, loss = (np.stack(part) for part in zip(*told, strict=True))
        return (*(part[1:] for part in parts), loss)

    return run.share(seed.key, make)


def _odds(model: Any, batch: Any, wanted: Any) -> Any:
    """Log-odds of each text's label, as `trak.log_odds` but for autograd."""
    scores, place = model(*batch), wanted.unsqueeze(1)
    return scores.gather(1, place).squeeze(1) - scores.scatter(1, place, float("-inf")).logsumexp(1)


def _same(model: Snapshot, run: Run) -> Snapshot:
    return model


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


def _judged(probabilities: Callable[[Ints], npt.NDArray[Any]], labels: Ints) -> tuple[Reals, Reals, Reals, Reals]:
    """gold, right, error and loss of every record, from the probabilities of some of them at a time."""
    n = labels.size
    gold, right, error = (np.zeros(n, np.float32) for _ in range(3))
    for start in range(0, n, BLOCK):
        part = np.arange(start, min(start + BLOCK, n))
        p, own = probabilities(part), labels[part]
        mine = p[np.arange(part.size), own]
        gold[part], right[part] = mine, p.argmax(1) == own
        error[part] = np.sqrt(np.maximum((p * p).sum(1) - 2 * mine + 1, 0))
    return gold, right, error, -np.log(np.maximum(gold, np.finfo(np.float32).tiny))


def _of_rows(model: Linear, rows: Rows, part: Ints) -> Floats:
    return model.probabilities(rows.take(part))


def sample_of(texts: Sequence[str], run: Run) -> list[str]:
    """Texts at random, as many as a tokenizer is trained on."""
    chosen, read = [], 0
    for i in run.rng("tokenizer").permutation(len(texts)).tolist():
        if read >= SAMPLE:
            break
        chosen.append(texts[i])
        read += len(texts[i])
    return chosen
