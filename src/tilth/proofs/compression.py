"""Compression: bits per character of whole documents under a small transformer, with a sliding window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.records import Kind
from tilth.proofs._decoder import require_torch, trained_on_text

if TYPE_CHECKING:
    from tilth.models.tokenizer import Tokenizer
    from tilth.models.transformer import Decoder

__all__ = ["Compression", "bits_per_character"]


class Compression(Proof):
    """Bits a model trained on the plan needs for each character of the holdout's documents.

    Differs from `tiny_lm` in what it scores: documents to their end instead of their beginning, each token with a long
    past (windows of `context` tokens that move on by `stride`, each token scored once), and characters instead of
    bytes, so that the number can be held against published ones. Over models of one family it falls in step with
    marks on tasks of the same domain; `metrics.linear_law` fits that line. Cost: training as in `tiny_lm`, and the
    holdout read ``context / stride`` times. Trap: the law holds within a domain, and a model that has seen the holdout
    lies off it, so take documents newer than the pool. Characters are not bytes: do not compare across scripts.
    Source: Huang et al. 2024, arXiv 2404.09937, with windows of 1900 tokens and strides of 512.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture(words=50).build(400, Run())
    >>> start, (right, wrong) = Plan.everything(world.pool, world.goal.budget), ("abcd", "dcba")
    >>> plans = [PlantedMixture.planned(start, dict(zip(names, [0.6, 0.3, 0.1, 0.0]))) for names in (right, wrong)]
    >>> proof = Compression(depth=1, tokens=5000, vocab=300, context=64, stride=32)
    >>> losses = [proof.trial(plan, world.pool, world.goal, Run()).mean() for plan in plans]
    >>> bool(losses[0] < losses[1])  # the target is mostly of source a
    True
    """

    paper: ClassVar[str] = "compression_represents_intelligence_linearly"
    unit: ClassVar[str] = "bits per character"
    kinds: ClassVar[tuple[Kind, ...]] = ("text", "labeled")
    extra: ClassVar[str] = "torch"

    depth: int = Field(3, ge=1, le=12, description="layers; also sets width and learning rate: 3 is 0.33 M parameters")
    tokens: int = Field(500_000, ge=1000, description="tokens of the plan read in one trial")
    vocab: int = Field(2048, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(256, ge=16, le=4096, description="tokens of a window, in training and in scoring")
    stride: int = Field(64, ge=1, le=4096, description="tokens a window moves on by; at most the context")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step")
    longest: int = Field(20_000, ge=16, description="characters of a holdout document that are scored")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "source")

    def smaller(self) -> Self:
        """Half the tokens."""
        return self.model_copy(update={"tokens": max(1000, self.tokens // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        require_torch("compression")
        from tilth.models.train import threads

        texts = [t[: self.longest] for t in pc.fill_null(goal.holdout.column("text"), "").to_pylist()]
        with threads(1):
            model, tokenizer = trained_on_text(
                plan,
                pool,
                run,
                depth=self.depth,
                tokens=self.tokens,
                vocab=self.vocab,
                context=self.context,
                batch=self.batch,
            )
            return bits_per_character(
                model, tokenizer, texts, self.context, min(self.stride, self.context), run.device
            )  # fmt: skip


def bits_per_character(
    model: Decoder, tokenizer: Tokenizer, texts: Sequence[str], context: int, stride: int, device: str = "cpu"
) -> npt.NDArray[np.float64]:
    """Of each text; 0 for an empty one. Comparable between tokenizers, since tokens do not enter the denominator."""
    from tilth.models.sliding import sliding_windows
    from tilth.models.train import record_losses

    offsets, ids = tokenizer.encode_batch(texts)
    nats, _ = record_losses(model, sliding_windows(offsets, ids, context, stride, 0), device=device)
    full = np.zeros(len(texts))
    full[: nats.size] = nats
    return full / math.log(2) / np.maximum([len(t) for t in texts], 1)
