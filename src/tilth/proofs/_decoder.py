"""What the proofs that train a decoder share: the model a plan makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth.core import Plan, Pool, Run
from tilth.core.errors import MissingExtra
from tilth.proofs._text import encoded_sample, tokenizer_for

if TYPE_CHECKING:
    from tilth.models.tokenizer import Tokenizer
    from tilth.models.transformer import Decoder

__all__ = ["require_torch", "trained_on_text"]


def require_torch(who: str) -> None:
    """Raise MissingExtra unless torch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtra(f"{who} needs torch. Install it: pip install 'tilth[torch]'.") from None


def trained_on_text(
    plan: Plan, pool: Pool, run: Run, *, depth: int, tokens: int, vocab: int, context: int, batch: int
) -> tuple[Decoder, Tokenizer]:
    """A decoder trained from scratch on at most `tokens` tokens of the plan, in its order, and its tokenizer."""
    from tilth.models.batches import reading_order, windows
    from tilth.models.checkpoint import Checkpoint
    from tilth.models.feeds import Fixed
    from tilth.models.optim import Options
    from tilth.models.train import generator, train_lm
    from tilth.models.transformer import Config, build

    tokenizer = tokenizer_for(pool, vocab)
    rows, offsets, ids = encoded_sample(plan, pool, tokenizer, tokens, run)
    order = reading_order(plan.repeats[rows], run.rng("order"), plan.phase[rows], plan.rank[rows])
    read = windows(offsets, ids, order, context, 0, tokens)
    config = Config.of_depth(depth, tokenizer.vocab_size, context)
    options = Options(rate=config.rate, batch=batch)
    model = build(config, generator(run.rng("init"))).to(run.device)
    save = None
    if run.scratch is not None:
        save = Checkpoint(run.scratch).keyed(model, options, read.inputs)
    train_lm(model, Fixed(read, batch, run.device), options, save=save)
    return model.eval(), tokenizer
