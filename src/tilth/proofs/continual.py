"""Continual: a small model trained phase by phase, with its marks on every task after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, PhaseProof, Phases, Plan, Pool, Run, groups
from tilth.core.errors import BadInput
from tilth.models.batches import reading_order, windows, windows_to_score
from tilth.models.linear import encode_labels
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._decoder import END, require_torch
from tilth.proofs._text import encoded_sample, scored_items, tokenizer_for

if TYPE_CHECKING:
    from torch import nn

    from tilth.models.checkpoint import Checkpoint

__all__ = ["Continual"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LEAST = 1e-30  # a probability that single precision has rounded to 0


class Continual(PhaseProof):
    """Bits of every holdout item after a small model was trained on the plan's phases, one after the other.

    The continual protocol. Tasks are the values of the column `by`; a holdout item's is the name of its goal, or where
    the holdout has no goals its own `by`. Before the first phase and after each, all holdout items are scored: that is
    the matrix of marks, from which follow the average at the end, forgetting, backward transfer and, as the untrained
    model is scored too, forward transfer (`continual.Tasks`). A task is learned in the phase that reads most of it. A
    trial's losses are those after the last phase, so plans are compared as by other proofs: on what is known in the
    end, earlier tasks included.

    Every phase is a training of its own, with its own warm-up and decay, from the weights that the phase before left;
    within a phase the order is the plan's. Of labelled items the loss is bits per label and the mark is accuracy, by an
    encoder trained on the records' labels, with the classes of all tasks; of others bits per byte, by a decoder, as in
    `tiny_lm`, and the mark is minus that. A trial that was cut goes on in the phase it was in, with the same bits.

    Cost: as `tiny_lm`, and the holdout is scored once more than there are phases. Trap: what one phase forgets depends
    on its learning rate and length, so compare plans of equal budgets; and a plan of one phase has nothing to forget.
    Source: the matrix and its transfers Lopez-Paz and Ranzato 2017 (arXiv 1706.08840), forgetting Chaudhry et al. 2018
    (arXiv 1801.10112).

    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> made = PlantedMixture(words=40).build(600, Run()).pool
    >>> rows = np.flatnonzero(np.isin(made.column("source").to_pylist(), ["a", "d"]))
    >>> parts = rows[::8], np.delete(rows, np.s_[::8])
    >>> held, pool = (TablePool(made.take(part, made.schema.names)) for part in parts)
    >>> plan = Plan.everything(pool, Budget(pool.count, "records"))
    >>> d_second = np.array([name == "d" for name in pool.column("source").to_pylist()])
    >>> sequence = plan.revised({"use": "example"}, "a, then d", phase=d_second)
    >>> proof, goal = Continual(depth=1, tokens=20_000, vocab=300, context=64), Goal(held, held, plan.budget)
    >>> one, two = (proof.phases(each, pool, goal, Run()).measures["average"] for each in (plan, sequence))
    >>> one > two  # what was read in a phase of its own is forgotten in the next
    True
    """

    unit: ClassVar[str] = "bits"
    extra: ClassVar[str] = "torch"

    by: str = Field("source", description="the column whose values are the tasks")
    depth: int = Field(2, ge=1, le=12, description="layers; also sets width and learning rate")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan read in one trial, all phases together")
    passes: int = Field(1, ge=1, le=1000, description="how often each phase reads its records, repeats aside")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(128, ge=16, le=4096, description="tokens of a window, or of a labelled text that are read")
    batch: int = Field(8, ge=1, le=1024, description="windows, or labelled texts, of a step")
    longest: int = Field(1000, ge=16, description="characters of a holdout item that are scored, from its beginning")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", self.by)

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def phases(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Phases:
        require_torch("continual")
        from tilth.models.checkpoint import Checkpoint
        from tilth.models.continual import Tasks
        from tilth.models.train import threads

        plan.require_plain("continual")
        numbers = np.unique(plan.phase[plan.kept])
        with threads(1):
            learner = (self._labels if goal.holdout.kind == "labeled" else self._texts)(plan, pool, goal, run)
            save = None
            if run.scratch is not None:
                orders = [learner.order(number) for number in numbers.tolist()]
                made = (self.fingerprint(), plan.fingerprint, goal.fingerprint, learner.model, *learner.data, *orders)
                save = Checkpoint(run.scratch).keyed(*made)
            done, found = 0, [learner.measure()]
            whole = None if save is None else save.keyed("phases")
            if whole is not None and (was := whole.read()) is not None:
                learner.model.load_state_dict(was["model"])
                done, found = was["done"], was["found"]
            for number in numbers[done:].tolist():
                learner.learn(number, None if save is None else save.keyed("phase", number))
                found.append(learner.measure())
                if whole is not None:
                    whole.write({"model": learner.model.state_dict(), "done": len(found) - 1, "found": found})
            if whole is not None:
                whole.clear()
        losses, scores = (np.stack(part) for part in zip(*found, strict=True))
        tasks, learned, task = self._tasks(plan, pool, goal, numbers)
        marks = np.stack([scores[:, task == j].mean(1) for j in range(len(tasks))], 1)
        measures = Tasks(marks[1:], marks[0], learned).report()
        given = tuple(numbers.tolist())
        return Phases(given, tasks, learned, marks[1:], marks[0], losses, learner.score, measures)

    def _tasks(
        self, plan: Plan, pool: Pool, goal: Goal, numbers: npt.NDArray[np.int16]
    ) -> tuple[tuple[str, ...], tuple[int, ...], Ints]:
        """The holdout's tasks in the order of learning, the place of each one's phase, and the task of each item."""
        named = "goal" if "goal" in goal.holdout.schema.names else self.by
        goal.holdout.require([named], "continual, of the holdout,")
        there, held = groups(pool, self.by), groups(goal.holdout, named)
        at = np.searchsorted(numbers, plan.phase)
        read = np.zeros((numbers.size + 1, len(there.names)))
        np.add.at(read, (np.minimum(at, numbers.size), there.index), plan.sizes * plan.repeats)
        taught = {name: int(read[:, g].argmax()) for g, name in enumerate(there.names) if read[:, g].any()}
        learned = [taught.get(name, numbers.size) for name in held.names]
        order = sorted(range(len(held.names)), key=lambda j: (learned[j], held.names[j]))
        place = np.argsort(order)[held.index].astype(np.int64)
        return tuple(held.names[j] for j in order), tuple(learned[j] for j in order), place

    def _sample(
        self, plan: Plan, pool: Pool, tokenizer: Tokenizer, run: Run
    ) -> tuple[Ints, tuple[Ints, npt.NDArray[np.uint32]], Callable[[int], Ints]]:
        """Rows of the plan, their texts as ids, and the order in which a phase reads them.

        Raises:
            BadInput: when one of the plan's phases has no record at this scale.
        """
        rows, offsets, ids = encoded_sample(plan, pool, tokenizer, self.tokens, run)
        phase = plan.phase[rows]
        if missing := sorted({*plan.phase[plan.kept].tolist()} - {*phase.tolist()}):
            raise BadInput(
                f"continual draws {rows.size:,} records of about {self.tokens:,} tokens, and none of them is of phase "
                f"{missing[0]} of the plan. Raise `tokens`, or give the phase more records."
            )

        def order(number: int) -> Ints:
            some = np.flatnonzero(phase == number)
            times = plan.repeats[rows[some]] * self.passes
            return some[reading_order(times, run.rng("order", number), None, plan.rank[rows[some]])]

        return rows, (offsets, ids), order

    def _texts(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> _Learner:
        """A decoder that reads texts."""
        from tilth.models.feeds import Fixed
        from tilth.models.optim import Options, precision_of
        from tilth.models.train import bits_per_byte, generator, train_lm
        from tilth.models.transformer import Config, build

        tokenizer = tokenizer_for(pool, self.vocab)
        _, texts, order = self._sample(plan, pool, tokenizer, run)
        items = scored_items(goal.holdout, tokenizer, self.longest, self.context)
        held = windows_to_score(items.offsets, items.ids, self.context, END, items.counted)
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context)
        options = Options(rate=config.rate, batch=self.batch, precision=precision_of("auto", run.device))
        model = build(config, generator(run.rng("init"))).to(run.device)

        def learn(number: int, save: Checkpoint | None) -> None:
            feed = Fixed(windows(*texts, order(number), self.context, END), self.batch, run.device)
            train_lm(model.train(), feed, options, save=save)

        def measure() -> tuple[Floats, Floats]:
            bits = bits_per_byte(model.eval(), held, items.size, run.device)
            return bits, -bits

        return _Learner(model, "minus bits per byte", order, learn, measure, (*texts, held.inputs, options))

    def _labels(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> _Learner:
        """An encoder that learns labels; records without one teach nothing.

        Raises:
            BadInput: when the pool or a holdout item has no labels.
        """
        from tilth.models.optim import Options
        from tilth.models.train import generator
        from tilth.models.transformer import Classifier, Config, build
        from tilth.models.tune import classify, train_classifier

        wanted = goal.holdout.column("label").to_pylist()
        if None in wanted or "label" not in pool.schema.names:
            which = f"holdout item {wanted.index(None)}" if None in wanted else f"a pool of kind {pool.kind}"
            raise BadInput(f"continual needs labels where the holdout is labelled; {which} has none.")
        tokenizer = tokenizer_for(pool, self.vocab)
        rows, texts, order = self._sample(plan, pool, tokenizer, run)
        names = tuple(sorted({v for v in pool.column("label").to_pylist() if v is not None} | {*wanted}))
        labels, _ = encode_labels(pool.take(rows, ["label"]).column(0).to_pylist(), names)
        truth, _ = encode_labels(wanted, names)
        asked = tokenizer.encode_batch(pc.fill_null(goal.holdout.column("text"), "").to_pylist())
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context, causal=False)
        options = Options(rate=config.rate, batch=self.batch)
        model = Classifier(build(config, generator(run.rng("init"))), len(names)).to(run.device)

        def learn(number: int, save: Checkpoint | None) -> None:
            places = order(number)
            train_classifier(model.train(), texts, labels, places[labels[places] >= 0], options, save=save)

        def measure() -> tuple[Floats, Floats]:
            said = classify(model.eval(), asked)
            right = np.maximum(said[np.arange(truth.size), truth], LEAST)
            return np.asarray(-np.log2(right)), (said.argmax(1) == truth).astype(np.float64)

        return _Learner(model, "accuracy", order, learn, measure, (*texts, labels, truth, *asked, options))


@dataclass(frozen=True)
class _Learner:
    """A model, and what is done with it in a trial.

    Attributes:
        score: what a mark is.
        order: which records a phase reads, one after the other.
        learn: trains it on the records of a phase, saved on the way where a place is given.
        measure: losses and scores of the holdout's items.
        data: what a trial's state depends on beside the model.
    """

    model: nn.Module
    score: str
    order: Callable[[int], Ints]
    learn: Callable[[int, Checkpoint | None], None]
    measure: Callable[[], tuple[Floats, Floats]]
    data: tuple[object, ...]
