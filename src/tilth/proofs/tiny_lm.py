"""TinyLm: a small transformer trained on the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from tilth.core import Curve, CurveProof, Goal, Plan, Pool, Run
from tilth.core.errors import BadField
from tilth.models.batches import windows_to_score
from tilth.proofs._decoder import require_torch
from tilth.proofs._steered import reading
from tilth.proofs._text import read_windows, scored_items, tokenizer_for

if TYPE_CHECKING:
    from tilth.models.feeds import Feed
    from tilth.models.optim import Options
    from tilth.models.transformer import Decoder

__all__ = ["TinyLm"]


class TinyLm(CurveProof):
    """Bits per byte of the holdout under a small transformer trained on the plan from scratch.

    Each trial reads at most `tokens` tokens of the plan, whole records with their repeats, so the plan's epochs are
    kept; so are its phases and ranks. Where an online policy moves the plan's shares (`steered`), the trial asks it and
    keeps what it decided with the curve. What a plan puts before records (`metadata_prefix`) is read besides these
    tokens, where a record begins, and not learned; the holdout is scored without. Of a text the text is scored, of an
    instruction the assistant's answer given the question, of other kinds what signals read of them. Results are the
    same to the bit however many workers run: a trial uses one thread, and two at a time are faster than two threads
    each. Another processor adds in another order or has no bfloat16, so there they differ a little. Cost: a trial of
    the default size takes a quarter of a minute on one core that multiplies bfloat16 itself, else half a minute. Trap:
    after 500 k tokens a model knows words and short phrases; what takes long training to pay off, such as reasoning or
    rare facts, it cannot show, and it favours text that is easy to learn.
    Source: small proxies as in RegMix (Liu et al. 2024, arXiv 2407.01492), here smaller still.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture(words=50).build(400, Run())
    >>> start, (right, wrong) = Plan.everything(world.pool, world.goal.budget), ("abcd", "dcba")
    >>> plans = [PlantedMixture.planned(start, dict(zip(names, [0.6, 0.3, 0.1, 0.0]))) for names in (right, wrong)]
    >>> proof = TinyLm(depth=1, tokens=5000, vocab=300, context=64, points=2)
    >>> losses = [proof.trial(plan, world.pool, world.goal, Run()).mean() for plan in plans]
    >>> bool(losses[0] < losses[1])  # the target is mostly of source a
    True
    """

    extra: ClassVar[str] = "torch"
    steps: ClassVar[bool] = True

    depth: int = Field(3, ge=1, le=12, description="layers; also sets width and learning rate: 3 is 0.33 M parameters")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan read in one trial")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(256, ge=16, le=4096, description="tokens of a window")
    batch: int = Field(4, ge=1, le=1024, description="windows of a step")
    points: int = Field(4, ge=1, le=100, description="measurements of the holdout on the way, the last at the end")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products in training; auto: bfloat16 where the processor has it, twice as fast"
    )
    longest: int = Field(1000, ge=16, description="characters of a holdout item that are scored, from its beginning")
    apart: bool = Field(True, description="documents in one window do not attend to one another")
    packing: Literal["chunk", "best_fit", "first_fit"] = Field(
        "chunk",
        description="chunk: texts end to end, cut every `context` tokens; the others cut only what is longer than that",
    )

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def curve(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Curve:
        require_torch("tiny_lm")
        from tilth.models.checkpoint import Checkpoint
        from tilth.models.feeds import Mixed
        from tilth.models.optim import Options, precision_of
        from tilth.models.train import bits_per_byte, generator, threads, train_lm
        from tilth.models.transformer import Config, build

        tokenizer = tokenizer_for(pool, self.vocab)
        items = scored_items(goal.holdout, tokenizer, self.longest, self.context)
        held = windows_to_score(items.offsets, items.ids, self.context, 0, items.counted)
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context)
        precision = precision_of(self.precision, run.device)
        options = Options(rate=config.rate, batch=self.batch, precision=precision)
        with threads(1):
            model = build(config, generator(run.rng("init"))).to(run.device)
            measure = partial(bits_per_byte, data=held, size=items.size, device=run.device)
            feed, reference, arrays = self._feed(plan, pool, goal, run, model, options)
            save = None
            if run.scratch is not None:
                made = (self.fingerprint(), plan.fingerprint, model, options, *arrays)
                save = Checkpoint(run.scratch).keyed(*made, held.inputs, held.targets, items.size)
            trained = train_lm(
                model,
                feed,
                options,
                apart=self.apart,
                measure=measure,
                points=self.points,
                reference=reference,
                save=save,
            )
        assert trained.curve is not None
        if not isinstance(feed, Mixed):
            return trained.curve
        return replace(trained.curve, shares=tuple(feed.log))

    def _feed(
        self, plan: Plan, pool: Pool, goal: Goal, run: Run, model: Decoder, options: Options
    ) -> tuple[Feed, Decoder | None, list[Any]]:
        """What is read at each step, the model to compare with if a policy wants one, and the data as arrays."""
        from tilth.models.feeds import Fixed
        from tilth.models.train import generator, train_lm
        from tilth.models.transformer import build

        tokenizer = tokenizer_for(pool, self.vocab)
        if plan.steering is None:
            read = read_windows(plan, pool, tokenizer, self.tokens, self.context, run, self.packing)
            return Fixed(read, self.batch, run.device), None, [read.inputs]
        if self.packing != "chunk":
            raise BadField(
                f"The 'packing' of a steered plan is 'chunk': its groups' windows stay apart. Got {self.packing!r}."
            )
        scale = {"tokens": self.tokens, "context": self.context, "longest": self.longest}
        found = reading(plan, pool, goal, run, tokenizer, **scale)
        feed, policy = found.feed(pool, goal, run, model, options, apart=self.apart)
        if not policy.compares or plan.steering.log:
            return feed, None, found.arrays
        reference = build(model.config, generator(run.rng("init", "reference"))).to(run.device)
        train_lm(reference, found.fixed(run, self.batch), options, apart=self.apart)
        return feed, reference, found.arrays
