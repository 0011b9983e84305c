"""Merged: one small model per source, and any mixture of them by averaging weights."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Groups, Losses, MixtureProof, Plan, Pool, Run, groups
from tilth.core.errors import EmptyPlan
from tilth.core.files import write_atomic
from tilth.models.batches import Windows, joined, reading_order, windows, windows_to_score
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._decoder import END, require_torch
from tilth.proofs._text import encoded_sample, scored_items, tokenizer_for

if TYPE_CHECKING:
    from tilth.models.merging import State
    from tilth.models.optim import Options
    from tilth.models.transformer import Config

__all__ = ["Merged"]

Floats = npt.NDArray[np.float64]
AT_ONCE = 8
"""Mixtures scored as one piece of work."""


class Merged(MixtureProof):
    """Bits per byte of the holdout under averages of models that were trained on one source each.

    A model reads `seed_tokens` of the plan; from there one copy per source (or value of `by`) goes on with
    `part_tokens` of that source. A mixture's model is the average of the copies' weights by its shares: it is scored,
    never trained. So the tenth mixture costs an evaluation, and a new source only its own training. A source that is
    smaller than its part is read again, at most `epochs` times. Finished copies are kept in `run.scratch` by content,
    and `run.map` trains them side by side; results are the same to the bit.

    Cost: with 8 sources 40 seconds on one core, then a third of a second a mixture of 70 items. Trap: weights can be
    averaged only while copies stay near one another, so parts are short and gentle and what takes long training stays
    unseen. An average differs in loss from joint training, and the more sources the more, so compare merged with
    merged, and trust it on text like none of the sources rather than on their own (`tilth claim
    na2024_modular_ablation`: r 0.96 against 0.78). `joint` trains mixtures for real: look at a few before trusting
    many. With ``shared_seed=False`` every copy has initial weights of its own and averages are worthless: the negative
    control.
    Source: modular data ablation (Na et al. 2024, arXiv 2410.15661).

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture(words=50).build(400, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> proof = Merged(depth=1, seed_tokens=4000, part_tokens=3000, vocab=300, context=64)
    >>> shares = np.array([[0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.3, 0.6]])
    >>> losses = proof.mixtures(shares, start.sources, start, world.pool, world.goal, Run()).mean(1)
    >>> bool(losses[0] < losses[1])  # the target is mostly of source a
    True
    """

    paper: ClassVar[str] = "scalable_data_ablation_approximations_for_language"
    extra: ClassVar[str] = "torch"

    depth: int = Field(2, ge=1, le=12, description="layers; also sets width and learning rate: 2 is 0.1 M parameters")
    seed_tokens: int = Field(300_000, ge=1000, description="tokens of the plan that the common model reads first")
    part_tokens: int = Field(100_000, ge=1000, description="tokens of its own source that each copy reads")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(128, ge=16, le=4096, description="tokens of a window")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step")
    gentle: float = Field(0.2, gt=0, le=1, description="peak learning rate of a copy, as a share of the common model's")
    epochs: float = Field(4.0, ge=1, description="most readings of a source that is smaller than its part")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products in training; auto: bfloat16 where the processor has it, twice as fast"
    )
    longest: int = Field(1000, ge=16, description="characters of a holdout item that are scored, from its beginning")
    apart: bool = Field(True, description="documents in one window do not attend to one another")
    by: str = Field("source", description="the column whose values are trained apart, where a plan is tried")
    shared_seed: bool = Field(True, description="copies start from common weights; without, averaging must fail")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", self.by)

    def smaller(self) -> Self:
        """Half the tokens of both phases."""
        halves = {name: max(1000, getattr(self, name) // 2) for name in ("seed_tokens", "part_tokens")}
        return self.model_copy(update=halves)

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """The average by the plan's own mixture; each source is read with the plan's repeats, phases and ranks."""
        plan.require_plain("merged")
        by = groups(pool, self.by)
        bench = _Bench.of(self, plan, pool, goal, run)
        shares = np.array([[*plan.mixture(by).values()]])
        losses: Losses = bench.averages(shares, by, plan, pool)[0]
        bench.forget()  # a trial's result is remembered where trials are
        return losses

    def mixtures(self, shares: Floats, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """A share that its group could fill only by more than `epochs` readings is cut, and the others grow."""
        plan.require_plain("merged")
        once = _once(plan)
        return _Bench.of(self, once, pool, goal, run).averages(self._possible(shares, by, once), by, once, pool)

    def joint(self, shares: Floats, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """What `mixtures` stands for, at its full price: one model per mixture that reads the groups together.

        Each starts from the common weights and reads the very windows that the copies read, shuffled: all of the group
        with the largest share, of the others in proportion. Equal shares of two groups are their union.
        """
        plan.require_plain("merged")
        once = _once(plan)
        return _Bench.of(self, once, pool, goal, run).together(self._possible(shares, by, once), by, once, pool)

    def _possible(self, shares: Floats, by: Groups, plan: Plan) -> Floats:
        room = by.sums(plan.sizes * plan.kept) * self.epochs / plan.budget.amount
        cut = np.minimum(np.asarray(shares, np.float64), room)
        total = cut.sum(1, keepdims=True)
        if not (total > 0).all():
            empty = int(np.argmin(total[:, 0]))
            raise EmptyPlan(f"Mixture {empty} is of groups of {by.by!r} that have no record in the plan.")
        return np.asarray(cut / total)


@dataclass(frozen=True)
class _Work:
    """A model to be trained. `key` is what it is made of, so whoever finds its weights need not train it again."""

    key: str
    start: State
    windows: Windows


@dataclass(frozen=True)
class _Bench:
    """Everything the models of one plan have in common."""

    method: Merged
    tokenizer: Tokenizer
    config: Config
    held: Windows
    size: npt.NDArray[np.int64]
    run: Run
    trained: list[str]

    @classmethod
    def of(cls, method: Merged, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Self:
        require_torch(method.name())
        from tilth.models.transformer import Config

        tokenizer = tokenizer_for(pool, method.vocab)
        items = scored_items(goal.holdout, tokenizer, method.longest, method.context)
        held = windows_to_score(items.offsets, items.ids, method.context, END, items.counted)
        config = Config.of_depth(method.depth, tokenizer.vocab_size, method.context)
        return cls(method, tokenizer, config, held, items.size, run, [])

    def averages(self, shares: Floats, by: Groups, plan: Plan, pool: Pool) -> Losses:
        """Losses (mixtures, items) of averaged weights; of weights as they were drawn where a mixture is empty."""
        used = np.flatnonzero(shares.any(0)).tolist()
        if not used:
            return self.scores([self.drawn("init")], np.ones((len(shares), 1)))
        starts = self.starts([by.names[g] for g in used], plan, pool)
        parts = [self.part(plan, pool, by, g) for g in used]
        label = f"{self.method.name()}: a model per {by.by}"
        copies = self.train(zip(starts, parts, strict=True), self.options(self.method.gentle), label)
        return self.scores(copies, shares[:, used])

    def together(self, shares: Floats, by: Groups, plan: Plan, pool: Pool) -> Losses:
        """Losses (mixtures, items) of models that read a mixture's groups together."""
        used = np.flatnonzero(shares.any(0)).tolist()
        start = self.starts([by.names[g] for g in used], plan, pool)[0]
        parts = {g: self.part(plan, pool, by, g) for g in used}
        work = []
        for i, row in enumerate(shares):
            counts = {g: round(len(parts[g]) * row[g] / row.max()) for g in used}
            read = joined([parts[g].take(np.arange(count)) for g, count in counts.items()])
            order = self.run.rng("order", "joint", i).permutation(len(read))
            work.append((start, read.take(order)))
        label = f"{self.method.name()}: mixtures trained jointly"
        states = self.train(work, self.options(self.method.gentle), label)
        return self.scores(states, np.eye(len(states)))

    def starts(self, names: Sequence[str], plan: Plan, pool: Pool) -> list[State]:
        """The weights from which the models of these groups go on."""
        rows, offsets, ids = encoded_sample(plan, pool, self.tokenizer, self.method.seed_tokens, self.run.at("seed"))
        read = self.windows(plan, rows, offsets, ids, self.method.seed_tokens, plan.repeats[rows], ("seed",))
        places: list[tuple[str, ...]] = [("init",)] if self.method.shared_seed else [("init", n) for n in names]
        work = [(self.drawn(*place), read) for place in places]
        found = self.train(work, self.options(1.0), f"{self.method.name()}: the common model")
        return found * len(names) if self.method.shared_seed else found

    def part(self, plan: Plan, pool: Pool, by: Groups, group: int) -> Windows:
        """What the copy of one group reads: the same whatever other groups there are."""
        tokens, name = self.method.part_tokens, by.names[group]
        mine = replace(plan, repeats=np.where(by.index == group, plan.repeats, 0).astype(np.int32))
        rows, offsets, ids = encoded_sample(mine, pool, self.tokenizer, tokens, self.run.at("part", name))
        amount = int(((np.diff(offsets) + 1) * plan.repeats[rows]).sum())
        again = min(math.ceil(tokens / max(amount, 1)), math.ceil(self.method.epochs))
        most = min(tokens, int(amount * self.method.epochs))
        return self.windows(plan, rows, offsets, ids, most, plan.repeats[rows] * again, ("part", name))

    def windows(
        self,
        plan: Plan,
        rows: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        ids: npt.NDArray[np.uint32],
        tokens: int,
        repeats: npt.NDArray[np.int32],
        place: tuple[str, ...],
    ) -> Windows:
        order = reading_order(repeats, self.run.rng("order", *place), plan.phase[rows], plan.rank[rows])
        return windows(offsets, ids, order, self.method.context, END, tokens)

    def drawn(self, *place: str) -> State:
        """Initial weights."""
        from tilth.models.merging import state_of
        from tilth.models.train import generator
        from tilth.models.transformer import build

        return state_of(build(self.config, generator(self.run.rng(*place))))

    def options(self, share: float) -> Options:
        """Both phases warm up and cool down; `share` scales the peak."""
        from tilth.models.optim import Options, precision_of

        precision = precision_of(self.method.precision, self.run.device)
        return Options(rate=self.config.rate * share, batch=self.method.batch, precision=precision)

    def train(self, work: Iterable[tuple[State, Windows]], options: Options, label: str) -> list[State]:
        """The weights after training, wherever that takes place."""
        from tilth.models.checkpoint import content

        made = (self.method.apart, self.config, options)
        todo = []
        for start, read in work:
            arrays = (*start.values(), read.inputs, read.targets, read.documents)
            todo.append(_Work(content([*made, *arrays]), start, read))
        self.trained.extend(w.key for w in todo)
        task = partial(_train, self.config, options, self.method.apart, self.run.scratch, self.run.device)
        return self.run.map(task, todo, label)

    def scores(self, states: Sequence[State], weights: Floats) -> Losses:
        """Losses (mixtures, items) of averages of the states."""
        from tilth.models.checkpoint import content

        made = content([*(a for s in states for a in s.values()), self.held.inputs, self.held.targets, self.size])
        some = [weights[i : i + AT_ONCE] for i in range(0, len(weights), AT_ONCE)]
        pieces = [_Averages(content([made, rows]), rows) for rows in some]
        task = partial(_score, self.config, states, self.held, self.size, self.run.device)
        return np.concatenate(self.run.map(task, pieces, f"{self.method.name()}: averages"))

    def forget(self) -> None:
        """Remove the weights that were kept."""
        if self.run.scratch is not None:
            for key in self.trained:
                _file(self.run.scratch, key).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Averages:
    """Mixtures to be scored: the weight of each state."""

    key: str
    weights: Floats


def _once(plan: Plan) -> Plan:
    """The plan's records, each read once and at any time."""
    n = len(plan)
    return replace(
        plan, repeats=plan.kept.astype(np.int32), phase=np.zeros(n, np.int16), rank=np.full(n, np.nan)
    )  # fmt: skip


def _file(scratch: Path, key: str) -> Path:
    return scratch / f"{key}.weights"


def _train(config: Config, options: Options, apart: bool, scratch: Path | None, device: str, work: _Work) -> State:
    from tilth.models.checkpoint import Checkpoint
    from tilth.models.feeds import Fixed
    from tilth.models.merging import decoder, state_of
    from tilth.models.train import threads, train_lm

    if scratch is not None and (file := _file(scratch, work.key)).exists():
        kept: State = pickle.loads(file.read_bytes())  # our own file
        return kept
    with threads(1):
        model = decoder(config, work.start, device)
        save = Checkpoint(scratch, key=work.key) if scratch is not None else None
        train_lm(model, Fixed(work.windows, options.batch, device), options, apart=apart, save=save)
        state = state_of(model)
    if scratch is not None:
        write_atomic(_file(scratch, work.key), pickle.dumps(state, protocol=5))
    return state


def _score(
    config: Config,
    states: Sequence[State],
    held: Windows,
    size: npt.NDArray[np.int64],
    device: str,
    some: _Averages,
) -> Losses:
    from tilth.models.merging import average, decoder
    from tilth.models.train import bits_per_byte, threads

    with threads(1):
        models = (decoder(config, average(states, row), device) for row in some.weights)
        return np.stack([bits_per_byte(model, held, size, device) for model in models])
