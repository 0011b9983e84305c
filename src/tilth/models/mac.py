"""MAC: documents become a few vectors each, kept in a memory from which a frozen language model answers.

A reader turns each new document into `slots` vectors, once and without a gradient step. Asked a question, an
aggregator attends from the question's vectors to those of all documents in the memory and puts what it found before the
question, where the frozen language model reads it like words. Reader and aggregator are trained together on answers,
with memories of many documents, so that the aggregator learns to find the right one among the others.

Source: Tack et al. 2024, "Online Adaptation of Language Models with a Memory of Amortized Contexts" (arXiv 2403.04317).
The paper reads with T5; here one encoder reads documents and questions, told apart by the learned vectors that stand
before the text and become its `slots` vectors.

>>> from tilth.models.transformer import Config, build
>>> lm = build(Config(vocab=50, context=16, layers=1, width=32, heads=1, hidden=64), torch.Generator().manual_seed(0))
>>> memory = Mac(lm, Config.of_depth(1, 50, 16, causal=False), torch.Generator().manual_seed(1), slots=2)
>>> documents = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[True, True, True], [True, True, False]])
>>> bank = memory.remember(*documents)  # a document is two vectors
>>> bank.shape, memory.recall(torch.tensor([[5]]), torch.tensor([[True]]), bank).shape
(torch.Size([2, 2, 32]), torch.Size([1, 2, 32]))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.core import Run
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.train import Trained, train_examples
from tilth.models.transformer import Config, Decoder, attention_mask, build, norm, rotations
from tilth.models.tune import Texts, answer_tokens, padded_to

__all__ = ["Mac", "answer_losses", "answers", "remember", "train_mac"]

Ints = npt.NDArray[np.int64]


class Mac(nn.Module):
    """Reader and aggregator of a memory for one frozen language model. Letters: N documents, S slots, W width.

    Args:
        lm: a decoder, whose prefixes are made; it is frozen, and not a part of this module.
        config: the reader's shape, ``causal=False`` and of the language model's vocabulary.
        slots: vectors that a document becomes, and a prefix has.
        blocks: of the aggregator, cross attention and a network each.

    Raises:
        ValueError: when the reader is a decoder, the language model is none, or they differ in their vocabulary.
    """

    def __init__(self, lm: Decoder, config: Config, rng: torch.Generator, *, slots: int = 4, blocks: int = 2) -> None:
        super().__init__()
        if config.causal or config.vocab != lm.config.vocab:
            raise ValueError(
                f"the reader must be an encoder (causal=False) of the language model's {lm.config.vocab} ids; got "
                f"causal={config.causal} and {config.vocab} ids"
            )
        if not lm.config.causal:
            raise ValueError("the language model must be a decoder (causal=True)")
        lm.requires_grad_(False)
        self.reader = build(config, rng)
        self.starts = nn.Parameter(torch.empty(2, slots, config.width).normal_(generator=rng))  # documents', questions'
        self.blocks = nn.ModuleList(_Block(config, rng) for _ in range(blocks))
        self.outward = nn.Linear(config.width, lm.config.width, bias=False)
        nn.init.normal_(self.outward.weight, 0.0, config.width**-0.5, generator=rng)

    def remember(self, tokens: Tensor, real: Tensor) -> Tensor:
        """What documents (N, T) become, (N, S, W); `real` is False where a document is filled up."""
        return self._read(tokens, real, 0)

    def recall(self, tokens: Tensor, real: Tensor, bank: Tensor) -> Tensor:
        """The prefixes of questions, (B, S, width of the language model).

        All documents are attended to at once. The paper aggregates large memories in groups, and then the groups; with
        a few vectors a document that is not needed here.

        Args:
            tokens, real: the questions, (B, T).
            bank: (N, S, W) from `remember`, in any order; or (G, N, S, W), G memories among which the questions are
                dealt in order, as many to each.

        Raises:
            ValueError: when the memory is empty, or G does not divide B.
        """
        bank = bank.unsqueeze(0) if bank.dim() == 3 else bank
        memories = bank.shape[0]
        if bank.shape[1] == 0 or len(tokens) % memories:
            raise ValueError(f"{len(tokens)} questions cannot be asked of {memories} memories of {bank.shape[1]}")
        asked = self._read(tokens, real, 1)  # (B, S, W)
        x, found = asked.reshape(memories, -1, asked.shape[-1]), norm(bank.flatten(1, 2))
        for block in self.blocks:
            x = block(x, found)
        made: Tensor = self.outward(norm(x))
        return made.reshape(*asked.shape[:2], -1)

    def _read(self, tokens: Tensor, real: Tensor, kind: int) -> Tensor:
        slots = self.starts.shape[1]
        first = self.starts[kind].expand(len(tokens), -1, -1)
        x = torch.cat([first, norm(self.reader.embedding(tokens))], 1)
        shown = torch.cat([real.new_ones(len(tokens), slots), real], 1)
        mask = attention_mask(shown.shape, None, shown, causal=False)
        turn = rotations(torch.arange(x.shape[1], device=x.device), self.reader.config)
        return self.reader._hidden(x, turn, mask, None)[:, :slots]


class _Block(nn.Module):
    """Attention from a question's vectors to a memory's, then a network on each; both add to what they read."""

    def __init__(self, config: Config, rng: torch.Generator) -> None:
        super().__init__()
        W, self.heads = config.width, config.heads
        self.asks, self.keys = nn.Linear(W, W, bias=False), nn.Linear(W, W, bias=False)
        self.values, self.back = nn.Linear(W, W, bias=False), nn.Linear(W, W, bias=False)
        self.inward, self.outward = nn.Linear(W, 2 * W, bias=False), nn.Linear(2 * W, W, bias=False)
        with torch.no_grad():
            for layer in (self.asks, self.keys, self.values, self.back, self.inward):
                layer.weight.normal_(0.0, layer.in_features**-0.5, generator=rng)
            self.outward.weight.zero_()

    def forward(self, x: Tensor, bank: Tensor) -> Tensor:
        """x (G, Q, W) and bank (G, M, W): every vector of x attends to all of its memory, none to another of x."""
        q, k, v = self.asks(norm(x)), self.keys(bank), self.values(bank)
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (q, k, v))  # (G, H, Q or M, K)
        x = x + self.back(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.outward(F.gelu(self.inward(norm(x))))
        return out


def train_mac(
    model: Mac,
    lm: Decoder,
    documents: Texts,
    questions: Texts,
    talks: Dialogues,
    order: Ints,
    options: Options,
    *,
    run: Run,
    bank: int,
    kept: int | None = None,
    end: int = 0,
    **hooks: Any,
) -> Trained:
    """Train reader and aggregator on facts, each a document, a question and its answer; the loss is the answer's.

    A step's facts are dealt into memories of `bank` documents, and each question is asked of the memory its own
    document is in. With memories of one document nothing has to be found, and the aggregator fails among many.

    Args:
        documents, questions: what the reader reads, cut to its context; row i of each is fact i.
        talks: question and answer i as the language model reads them, the answer learned; it reads the prefix first.
        order: which fact is read at each place, `options.batch` a step.
        bank: documents in a memory; divides `options.batch` and the order.
        kept: documents of a step that gradients flow through; the rest are read without, which saves their memory. All
            where not given. Which ones is a function of `run` and the step's facts, so read facts in a new order each
            time.
        hooks: those of `train.train_examples`.

    Raises:
        ValueError: when steps cannot be dealt into memories of `bank` documents, or no document is kept.
    """
    if bank < 1 or options.batch % bank or len(order) % bank:
        raise ValueError(f"memories of {bank} documents do not divide {options.batch} a step and {len(order)} in all")
    if kept is not None and kept < 1:
        raise ValueError(f"gradients must flow through at least one document of a step; got kept={kept}")
    lm.eval().requires_grad_(False)

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        tokens, real = padded_to(model.reader, documents, rows)
        if kept is None:
            made = model.remember(tokens, real)
        else:
            made = _remembered(model, tokens, real, run.rng("kept", *rows.tolist()).permutation(len(rows))[:kept])
        memories = made.view(-1, bank, *made.shape[1:])
        prefix = model.recall(*padded_to(model.reader, questions, rows), memories)
        return answer_losses(lm, prefix, talks, rows, end=end), None

    return train_examples(model, losses_of, order, options, **hooks)


def _remembered(model: Mac, tokens: Tensor, real: Tensor, kept: Ints) -> Tensor:
    """What documents become, in their order; gradients flow through those `kept` alone."""
    chosen = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    chosen[torch.from_numpy(kept)] = True
    live = model.remember(tokens[chosen], real[chosen])
    if bool(chosen.all()):
        return live
    with torch.no_grad():
        still = model.remember(tokens[~chosen], real[~chosen])
    made = torch.cat([live, still])
    return made[torch.argsort(torch.cat([chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]]))]


def answer_losses(lm: Decoder, prefix: Tensor, talks: Dialogues, rows: Ints, *, end: int = 0) -> Tensor:
    """Mean nats per learned token of each dialogue after its prefix, (B,)."""
    device = lm.embedding.weight.device
    tokens, targets = (torch.from_numpy(a).to(device) for a in answer_tokens(talks, rows, end=end))
    losses = lm.losses_from(_after(lm, prefix, tokens), targets)
    return losses.sum(1) / (targets >= 0).sum(1).clamp(min=1)


@torch.no_grad()
def remember(model: Mac, documents: Texts, batch: int = 64) -> Tensor:
    """The memory of some documents, (N, S, W), in their order; one pass over each and no gradient step.

    Memories are appended to one another with `torch.cat`.
    """
    parts: list[Tensor] = []
    for rows in _batches(np.arange(len(documents[0]) - 1), batch):
        parts.append(model.remember(*padded_to(model.reader, documents, rows)))
    return torch.cat(parts) if parts else model.starts.new_zeros((0, *model.starts.shape[1:]))


@torch.no_grad()
def answers(
    model: Mac,
    lm: Decoder,
    bank: Tensor,
    questions: Texts,
    prompts: Texts,
    longest: int,
    *,
    end: int = 0,
    batch: int = 64,
) -> list[Ints]:
    """What the language model writes after the prefix and each prompt, the likeliest token at a time, up to `end`.

    Args:
        questions, prompts: what the reader and what the language model reads of each question.
    """
    out: list[Ints] = [np.zeros(0, np.int64)] * (len(prompts[0]) - 1)
    lengths = np.diff(prompts[0])
    for size in np.unique(lengths).tolist():
        for rows in _batches(np.flatnonzero(lengths == size), batch):
            prefix = model.recall(*padded_to(model.reader, questions, rows), bank)
            first = torch.full((len(rows), 1), end, device=prefix.device)
            told = prompts[1][prompts[0][rows][:, None] + np.arange(size)].astype(np.int64)
            tokens = torch.cat([first, torch.from_numpy(told).to(prefix.device)], 1)
            for _ in range(longest):
                following = lm.logits(_after(lm, prefix, tokens)[:, -1]).argmax(-1, keepdim=True)
                tokens = torch.cat([tokens, following], 1)
            for i, row in zip(rows.tolist(), tokens[:, size + 1 :].cpu().numpy(), strict=True):
                stop = np.flatnonzero(row == end)
                out[i] = row[: stop[0]] if stop.size else row
    return out


def _after(lm: Decoder, prefix: Tensor, tokens: Tensor) -> Tensor:
    """The hidden states of tokens (B, T) that stand after vectors (B, S, D), (B, T, D)."""
    x = torch.cat([norm(prefix), norm(lm.embedding(tokens))], 1)
    turn = rotations(torch.arange(x.shape[1], device=x.device), lm.config)
    return lm._hidden(x, turn, None, None)[:, prefix.shape[1] :]


def _batches(rows: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, rows.size, size):
        yield rows[start : start + size]
