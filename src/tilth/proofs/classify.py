"""Classify: a text classifier trained on the plan, scored by what it gives the holdout's true labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.errors import BadInput
from tilth.core.records import Kind
from tilth.models.linear import Rows, encode_labels, epochs
from tilth.proofs._decoder import require_torch
from tilth.proofs._text import tokenizer_for

__all__ = ["Classify"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Texts: TypeAlias = pa.ChunkedArray
LEAST: Final = 1e-30  # a probability that single precision has rounded to 0


class Classify(Proof):
    """Nats the classifier pays for each holdout item's true label: minus the logarithm of its probability.

    The classifier is softmax regression on hashed n-grams of words (`models/linear.py`), trained by a fixed number of
    passes over the plan's records, each as often as the plan repeats it; a thousand fits are affordable. Or it is a
    small transformer encoder trained from scratch, with ``model: transformer``: it makes its passes over each phase of
    a plan before the next, where the other reads them as one, and counts losses by the plan's weights, where the other
    refuses. Classes are those of the pool and of
    the holdout, so a class that a plan dropped costs it the nats it should. Records without a label teach nothing.
    Cost: 0.2 s a trial of 10,000 sentences; the transformer half a minute a pass over them. Trap: neither knows a
    meaning that the plan does not teach, so what helps them may not help a pretrained model; and after many passes
    they have memorised wrong labels, which log-loss punishes more than accuracy does: look at `predict` with
    `metrics.macro_f1` and `metrics.calibration_error` before you conclude. Source: ours; the loss is the cross-entropy
    that classifiers learn by.

    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> from tilth.probes.label_noise import LabelNoise
    >>> world, holdout = (LabelNoise(flip=f).build(600, Run(seed=i)).pool for i, f in enumerate((0.3, 0.01)))
    >>> truth = np.array([t["flipped"] for t in world.column("truth").to_pylist()])
    >>> goal = Goal(holdout, holdout, Budget(400, "records"))
    >>> start = Plan.everything(world, goal.budget)
    >>> clean = start.revised({"use": "truth"}, "right labels only", keep=~truth)
    >>> losses = [Classify().trial(plan, world, goal, Run()).mean() for plan in (start, clean)]
    >>> bool(losses[1] < losses[0])
    True
    """

    version: ClassVar[int] = 2
    unit: ClassVar[str] = "nats per item"
    kinds: ClassVar[tuple[Kind, ...]] = ("labeled",)

    model: Literal["linear", "transformer"] = Field("linear", description="what is trained")
    records: int = Field(50_000, ge=10, description="records of the plan read in one trial, repeats counted")
    passes: int = Field(10, ge=1, le=1000, description="passes over the planned records")
    ngrams: int = Field(2, ge=1, le=5, description="linear: longest n-gram of words that is a feature")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="linear: columns that n-grams are hashed into")
    rate: float = Field(1.0, gt=0, le=100, description="linear: step size of a feature's first step")
    l2: float = Field(1e-5, ge=0, le=1, description="linear: strength of the penalty on squared weights")
    depth: int = Field(2, ge=1, le=12, description="transformer: layers; also sets width and learning rate")
    vocab: int = Field(2048, ge=257, le=65_000, description="transformer: ids of the tokenizer trained on the pool")
    context: int = Field(128, ge=16, le=4096, description="transformer: tokens of a text that are read")
    batch: int = Field(32, ge=1, le=1024, description="transformer: texts of a step")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "label")

    def smaller(self) -> Self:
        """Half the records."""
        return self.model_copy(update={"records": max(10, self.records // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        log, names = self.predict(plan, pool, goal, run)
        truth, _ = encode_labels(goal.holdout.column("label").to_pylist(), names)
        return np.asarray(-log[np.arange(len(truth)), truth])

    def predict(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        """Log-probabilities (holdout items, classes) after training on the plan, and the classes' names.

        Raises:
            BadInput: when a holdout item has no label, or no planned record has one.
        """
        held = goal.holdout.column("label").to_pylist()
        if None in held:
            raise BadInput(f"classify needs a label for each holdout item; item {held.index(None)} has none.")
        names = tuple(sorted({v for v in pool.column("label").to_pylist() if v is not None} | set(held)))
        plan.require_plain(f"classify with a {self.model} model", weights=self.model == "transformer")
        rows = _sampled(plan, self.records, run)
        table = pool.take(rows, ["text", "label"])
        known = pc.is_valid(table.column("label"))
        table, rows = table.filter(known), rows[known.to_numpy()]
        if not len(table):
            raise BadInput("classify has nothing to train on: no record of the plan has a label.")
        labels, _ = encode_labels(table.column("label").to_pylist(), names)
        fitted = self._linear
        if self.model == "transformer":
            fitted = partial(self._transformer, pool, plan, rows)
        return fitted(table.column("text"), labels, len(names), goal.holdout.column("text"), run), names

    def _linear(self, texts: Texts, labels: Ints, classes: int, held: Texts, run: Run) -> Floats:
        rows = Rows.of(texts, self.ngrams, self.buckets)
        after = epochs(rows, labels, classes, self.passes, run.rng("order"), l2=self.l2, rate=self.rate)
        return [*after][-1].log_probabilities(Rows.of(held, self.ngrams, self.buckets))

    def _transformer(
        self,
        pool: Pool,
        plan: Plan,
        rows: Ints,
        texts: Texts,
        labels: Ints,
        classes: int,
        held: Texts,
        run: Run,
    ) -> Floats:
        require_torch("classify with a transformer")
        from tilth.models.checkpoint import Checkpoint
        from tilth.models.optim import Options
        from tilth.models.train import generator, rising, threads
        from tilth.models.transformer import Classifier, Config, build
        from tilth.models.tune import classify, train_classifier

        tokenizer = tokenizer_for(pool, self.vocab)
        read, asked = (tokenizer.encode_batch(pc.fill_null(some, "").to_pylist()) for some in (texts, held))
        order = np.concatenate([
            mine[run.rng("order", *place, i).permutation(mine.size)]
            for place, mine in _phases(plan.phase[rows])
            for i in range(self.passes)
        ])  # fmt: skip
        weights = plan.weights
        hooks: dict[str, Any] = {}
        if weights is not None:
            hooks = {"weigh": rising(weights, rows, self.batch), "over": "examples"}
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context, causal=False)
        options = Options(rate=config.rate, batch=self.batch)
        with threads(1):
            model = Classifier(build(config, generator(run.rng("init"))), classes).to(run.device)
            save = None
            if run.scratch is not None:
                save = Checkpoint(run.scratch).keyed(model, options, *read, labels, order)
                if weights is not None:
                    save = save.keyed(weights.first[rows], weights.end)
            train_classifier(model, read, labels, order, options, save=save, **hooks)
            return np.log(np.maximum(classify(model.eval(), asked), LEAST))


def _phases(phase: npt.NDArray[np.int16]) -> list[tuple[tuple[int, ...], Ints]]:
    """Where the records of each phase are, in turn, and what the phase's order is drawn at beside the pass."""
    numbers = np.unique(phase)
    return [((int(p),) if i else (), np.flatnonzero(phase == p)) for i, p in enumerate(numbers)]


def _sampled(plan: Plan, records: int, run: Run) -> Ints:
    """Row numbers, each as often as it is repeated: random records, by id, that make up about this many."""
    rows = np.flatnonzero(plan.kept)
    order = rows[np.argsort(run.uniform(plan.ids, "sample")[rows], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(plan.repeats[order]), records)) + 1
    rows = np.sort(order[:enough])
    return np.repeat(rows, plan.repeats[rows])
