"""What the proofs that train a decoder share: the model a plan makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilth.core import Plan, Pool, Run
from tilth.core.errors import BadInput, MissingExtra
from tilth.models.dialogues import Dialogues, encode_dialogues
from tilth.models.tokenizer import Tokenizer
from tilth.proofs._text import read_windows, tokenizer_for

if TYPE_CHECKING:
    from tilth.models.transformer import Decoder

__all__ = [
    "END",
    "answer_nats",
    "asked",
    "packed_as",
    "planned_talks",
    "require_torch",
    "trained_on_answers",
    "trained_on_text",
]

Messages = Sequence[Mapping[str, Any]]
Ints = npt.NDArray[np.int64]
END = 0  # the id that ends a document or an answer, as in `Tokenizer.train`


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
    from tilth.models.checkpoint import Checkpoint
    from tilth.models.feeds import Fixed
    from tilth.models.optim import Options
    from tilth.models.train import generator, train_lm
    from tilth.models.transformer import Config, build

    tokenizer = tokenizer_for(pool, vocab)
    read = read_windows(plan, pool, tokenizer, tokens, context, run)
    config = Config.of_depth(depth, tokenizer.vocab_size, context)
    options = Options(rate=config.rate, batch=batch)
    model = build(config, generator(run.rng("init"))).to(run.device)
    save = None
    if run.scratch is not None:
        save = Checkpoint(run.scratch).keyed(model, options, read.inputs, read.targets)
    train_lm(model, Fixed(read, batch, run.device), options, save=save)
    return model.eval(), tokenizer


# ---- dialogues --------------------------------------------------------------------------------------


def planned_talks(
    plan: Plan, tokens: int, run: Run, encode: Callable[[Ints], Sequence[Dialogues]]
) -> tuple[Ints, list[Dialogues]]:
    """Random records of the plan, by id, that make up about `tokens` tokens with their repeats, encoded.

    Args:
        encode: dialogues of some rows; of several sides, such as chosen and rejected, one each.

    Returns:
        rows, ascending, and what `encode` gives of them.

    Raises:
        BadInput: when no planned record has an answer that fits the context.
        UsageError: when the plan puts something before its records.
    """
    plan.require_plain("A proof on answers")
    rows = np.flatnonzero(plan.kept)
    rows = rows[np.argsort(run.uniform(plan.ids, "sample")[rows], kind="stable")]
    block, taken, read = 256, 0, 0
    while taken < rows.size and read < tokens:
        some = rows[taken : taken + block]
        sizes = np.cumsum(sum(np.diff(talks.offsets) for talks in encode(some)) * plan.repeats[some])
        enough = min(int(np.searchsorted(sizes, tokens - read)) + 1, some.size)
        taken, read, block = taken + enough, read + int(sizes[enough - 1]), 2 * block
    if read == 0:
        raise BadInput("No record of the plan has an answer that fits the context. Raise `context`.")
    chosen = np.sort(rows[:taken])
    return chosen, list(encode(chosen))


def trained_on_answers(
    plan: Plan, pool: Pool, run: Run, *, depth: int, tokens: int, vocab: int, context: int, batch: int
) -> tuple[Decoder, Tokenizer]:
    """A decoder trained from scratch on the assistants' words in the plan's dialogues, and its tokenizer."""
    from tilth.models.batches import reading_order
    from tilth.models.checkpoint import Checkpoint
    from tilth.models.optim import Options
    from tilth.models.train import generator
    from tilth.models.transformer import Config, build
    from tilth.models.tune import train_sft

    tokenizer = tokenizer_for(pool, vocab)

    def encode(rows: Ints) -> list[Dialogues]:
        messages = pool.take(rows, ["messages"]).column(0).to_pylist()
        return [encode_dialogues(tokenizer, messages, context=context, end=END)]

    rows, (talks,) = planned_talks(plan, tokens, run, encode)
    order = reading_order(plan.repeats[rows], run.rng("order"), plan.phase[rows], plan.rank[rows])
    packed = packed_as(plan, rows, order, run)
    config = Config.of_depth(depth, tokenizer.vocab_size, context)
    options = Options(rate=config.rate, batch=batch)
    model = build(config, generator(run.rng("init"))).to(run.device)
    save = None
    if run.scratch is not None:
        made = (model, options, talks.ids, talks.offsets, order, packed.get("packing", "next_fit"), plan.phase[rows])
        save = Checkpoint(run.scratch).keyed(*made)
    train_sft(model, talks, order, options, end=END, save=save, **packed)
    return model.eval(), tokenizer


def packed_as(plan: Plan, rows: Ints, order: Ints, run: Run) -> dict[str, Any]:
    """How `tune.train_sft` packs a plan's dialogues: by best fit within a phase, in their order where the plan ranks.

    Where nothing is ranked the order within a phase is random anyway, and best fit takes a fifth fewer steps.
    """
    if not np.isnan(plan.rank[rows]).all():
        return {}
    return {"packing": "best_fit", "rng": run.rng("packing"), "stage": plan.phase[rows][order]}


def asked(holdout: Pool, who: str) -> tuple[list[list[Mapping[str, Any]]], list[str]]:
    """Of each item, the turns before the last answer of an assistant, and that answer.

    Raises:
        BadInput: when an item has none.
    """
    before, answers = [], []
    for i, messages in enumerate(holdout.column("messages").to_pylist()):
        last = next((n for n in reversed(range(len(messages or ()))) if messages[n]["role"] == "assistant"), None)
        if last is None:
            raise BadInput(f"{who} needs an assistant's answer in each holdout item; item {i} has none.")
        before.append(messages[:last])
        answers.append(messages[last]["content"] or "")
    return before, answers


def answer_nats(
    model: Decoder,
    tokenizer: Tokenizer,
    before: Sequence[Messages],
    answers: Sequence[str],
    context: int,
    device: str = "cpu",
) -> npt.NDArray[np.float64]:
    """Minus the log-likelihood of each answer given the turns before it.

    What is longer than the context loses its beginning, but the turns before the answer keep half of the context.
    """
    from tilth.models.batches import windows_to_score
    from tilth.models.train import record_losses

    talks = [[*turns, {"role": "assistant", "content": text}] for turns, text in zip(before, answers, strict=True)]
    made = encode_dialogues(tokenizer, talks)
    parts, scored = [], []
    for start, stop in zip(made.offsets[:-1], made.offsets[1:], strict=True):
        learned = made.learned[start:stop]
        other = np.flatnonzero(~learned)
        first = int(other[-1]) + 1 if other.size else 0  # the last answer is the last stretch of an assistant's words
        cut = min(max(0, stop - start - context), max(0, first - context // 2))
        parts.append(made.ids[start + cut : stop])
        scored.append(np.arange(cut, stop - start) >= first)
    offsets = np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64)
    if offsets[-1] == 0:
        return np.zeros(len(parts))
    held = windows_to_score(offsets, np.concatenate(parts), context, END, np.concatenate(scored))
    return record_losses(model, held, device=device)[0]
