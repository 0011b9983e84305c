"""A small transformer: a decoder that models text, or an encoder that pools it, readable from top to bottom.

Pre-norm blocks of attention with rotary positions and a gated (SwiGLU) or plain (GELU) network, norms without gains,
no biases, one matrix for input embedding and output. Letters in shape comments: B sequences, T positions, D width,
H heads, K = D / H, V vocabulary.

>>> import torch
>>> model = build(Config.of_depth(2, vocab=300, context=32), torch.Generator().manual_seed(0))
>>> model.parameters_of_layers, model.config.width, model.config.heads
(100352, 64, 2)
>>> tokens = torch.tensor([[5, 6, 7, 8]])
>>> model.losses(tokens, targets=torch.tensor([[6, 7, 8, -1]])).shape  # one loss per token, 0 where there is no target
torch.Size([1, 4])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Classifier", "Config", "Decoder", "build", "generate", "token_losses"]

HEAD = 32
CHUNK = 256
"""Tokens whose logits are computed at once: 2 MB for 2048 ids, which stays in a core's cache."""


@dataclass(frozen=True)
class Config:
    """The shape of a model, and the learning rate that fits it.

    Attributes:
        vocab: ids of the tokenizer.
        context: positions of a training window; longer inputs run, but were never seen.
        hidden: inner width of a block's network.
        causal: True for a decoder, False for an encoder.
        rate: peak learning rate of AdamW.
    """

    vocab: int
    context: int = 256
    layers: int = 3
    width: int = 96
    heads: int = 3
    hidden: int = 256
    activation: Literal["swiglu", "gelu"] = "swiglu"
    causal: bool = True
    rate: float = 3e-3

    @classmethod
    def of_depth(cls, depth: int, vocab: int, context: int = 256, **fields: Any) -> Self:
        """One dial: `depth` layers of `depth` heads of 32, so about 12,000 x depth^3 parameters outside the embedding.

        Depth 3 has 0.33 M, 4 has 0.79 M, 5 has 1.5 M, 7 has 4.2 M. `fields` override what the dial sets.
        """
        activation = fields.get("activation", "swiglu")
        width = HEAD * depth
        shape = cls(
            vocab=vocab,
            context=context,
            layers=depth,
            width=width,
            heads=depth,
            hidden=8 * -(-width // 3) if activation == "swiglu" else 4 * width,
            rate=3e-3 * 3 / depth,
        )
        return replace(shape, **fields)


class Attention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        self.inward = nn.Linear(config.width, 3 * config.width, bias=False)
        self.outward = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: list[Tensor] | None) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.inward(x).view(B, T, 3, self.heads, D // self.heads).unbind(2)  # each (B, T, H, K)
        q, k, v = rotate(q, turn).transpose(1, 2), rotate(k, turn).transpose(1, 2), v.transpose(1, 2)  # (B, H, T, K)
        if past is not None:  # generating: keys and values of earlier positions are kept
            if past:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            past[:] = [k, v]
        y = attend(q, k, v, mask, causal=mask is None and self.causal and T > 1)
        out: Tensor = self.outward(y.transpose(1, 2).reshape(B, T, D))
        return out


class Block(nn.Module):
    """Attention, then a network on each position; both read a normed input and add to it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gated = config.activation == "swiglu"
        self.attention = Attention(config)
        self.inward = nn.Linear(config.width, config.hidden * (2 if self.gated else 1), bias=False)
        self.outward = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: list[Tensor] | None) -> Tensor:
        x = x + self.attention(norm(x), turn, mask, past)
        h = self.inward(norm(x))
        if self.gated:
            gate, h = h.chunk(2, -1)
            h = F.silu(gate) * h
        else:
            h = F.gelu(h)
        out: Tensor = x + self.outward(h)
        return out


class Decoder(nn.Module):
    """A language model, or with ``causal=False`` an encoder of the same shape. Weights are undefined until `build`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    @property
    def parameters_of_layers(self) -> int:
        """How many parameters there are outside the embedding."""
        return sum(p.numel() for p in self.blocks.parameters())

    def forward(self, tokens: Tensor, documents: Tensor | None = None, real: Tensor | None = None) -> Tensor:
        """The last hidden states, normed.

        Args:
            tokens: (B, T) ids.
            documents: (B, T) numbers; positions with different numbers do not attend to one another, and each stretch
                of one number has positions of its own, so a document is read as if it were alone.
            real: (B, T) False where a sequence is filled up; what is real does not attend there.

        Returns:
            (B, T, D).
        """
        mask = attention_mask(tokens.shape, documents, real, self.config.causal)
        at = torch.arange(tokens.shape[1], device=tokens.device) if documents is None else positions(documents)
        return self._hidden(self.embedding(tokens), rotations(at, self.config), mask, None)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) hidden states to (..., V) scores of the next token."""
        return hidden @ self.embedding.weight.T

    def losses(self, tokens: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        """Nats per target token, (B, T); 0 where `targets` is negative."""
        return self.losses_from(self(tokens, documents), targets)

    def losses_from(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The same from the hidden states, (B, T, D)."""
        hidden, flat = hidden.flatten(0, 1), targets.flatten()
        wanted = flat >= 0
        if bool(wanted.all()):
            return token_losses(hidden, self.embedding.weight, flat).view(targets.shape)
        some = token_losses(hidden[wanted], self.embedding.weight, flat[wanted])  # logits are the dear part
        return torch.zeros_like(hidden[:, 0]).masked_scatter(wanted, some).view(targets.shape)

    def pooled(self, tokens: Tensor, real: Tensor) -> Tensor:
        """The mean of the hidden states of real positions: an embedding of each sequence, (B, D)."""
        weight = real.to(torch.float32).unsqueeze(-1)
        total: Tensor = (self(tokens, real=real) * weight).sum(1)
        return total / weight.sum(1).clamp(min=1)

    def _hidden(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: Any) -> Tensor:
        x = norm(x)
        for i, block in enumerate(self.blocks):
            x = block(x, turn, mask, None if past is None else past[i])
        return norm(x)


class Classifier(nn.Module):
    """An encoder and a linear layer on its pooled output."""

    def __init__(self, encoder: Decoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.width, classes)
        nn.init.zeros_(self.head.weight)  # every class is equally likely before training
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """(B, classes) scores."""
        out: Tensor = self.head(self.encoder.pooled(tokens, real))
        return out


def build(config: Config, rng: torch.Generator) -> Decoder:
    """A model with fresh weights, a function of config and generator.

    Inward matrices are normal with variance 1/fan-in; outward ones start at zero, so each block starts as the
    identity. The embedding is small, so that an untrained model's loss is log V.
    """
    model = Decoder(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("outward.weight"):
                p.zero_()
            else:
                p.normal_(0.0, 0.02 if name.startswith("embedding") else p.shape[1] ** -0.5, generator=rng)
    return model


def norm(x: Tensor) -> Tensor:
    """Each position scaled to a root mean square of 1; there is no gain to learn."""
    return F.rms_norm(x, (x.shape[-1],))


def positions(documents: Tensor) -> Tensor:
    """How many positions back each position's document began in its window, both (B, T).

    Rotary positions are relative, so in exact numbers it makes no difference; but an angle of position 1000 is rounded
    a thousand times as coarsely as one of position 1, and packed documents then score otherwise than alone.

    >>> positions(torch.tensor([[4, 4, 4, 5, 7, 7]])).tolist()
    [[0, 1, 2, 0, 0, 1]]
    """
    at = torch.arange(documents.shape[1], device=documents.device)
    same = documents[:, 1:] == documents[:, :-1]
    begins = torch.cat([torch.zeros_like(documents[:, :1]), at[1:].masked_fill(same, 0)], 1)
    return at - begins.cummax(1).values


def rotations(positions: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (..., T, 1, K/2), by which keys and queries at these positions are turned."""
    half = config.width // config.heads // 2
    speed = 10_000.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angle = (positions.to(torch.float32).unsqueeze(-1) * speed).unsqueeze(-2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + K/2) of the last axis of x, (B, T, H, K)."""
    cos, sin = turn
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """What each position reads of the others, (B, H, T, K); the mask is added to the scores, (B, 1, T, T)."""
    if multiplied_in(q.device) is None or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    # In bfloat16 on a CPU torch's fused kernel takes half as long again as its own two products and a softmax.
    if causal:
        mask = torch.full((q.shape[2], q.shape[2]), -math.inf).triu_(1)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    out: Tensor = (scores if mask is None else scores + mask).softmax(-1) @ v
    return out


def multiplied_in(device: torch.device) -> torch.dtype | None:
    """The type in which matrices are multiplied under `torch.autocast`; None outside it."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def attention_mask(shape: torch.Size, documents: Tensor | None, real: Tensor | None, causal: bool) -> Tensor | None:
    """What is added to attention scores, 0 or -inf, (B, 1, T, T); None when everything (earlier) may be attended to."""
    if documents is None and real is None:
        return None
    B, T = shape
    some = documents if documents is not None else real
    assert some is not None
    allowed = torch.ones(1, T, T, dtype=torch.bool, device=some.device)
    if causal:
        allowed = allowed.tril()
    if documents is not None:
        allowed = allowed & (documents.unsqueeze(2) == documents.unsqueeze(1))
    if real is not None:  # a filled position attends to itself, or its softmax would be over nothing
        allowed = allowed & real.unsqueeze(1) | torch.eye(T, dtype=torch.bool, device=real.device)
    added = torch.zeros(B, 1, T, T, device=some.device)
    return added.masked_fill(~allowed.unsqueeze(1), -math.inf)  # not in place: vmap could not trace it


class _TokenLosses(torch.autograd.Function):
    """Cross entropy of a linear output, a few hundred tokens at a time.

    The plain way holds several (tokens x V) arrays and passes over them again and again. Here a chunk's logits become
    probabilities in place, while they are in the cache, and are kept for the backward pass: the one array of that size.
    A whole training step of 4096 tokens takes an eighth less time for it (`benchmarks/tiny_lm.py`).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        n, exact = hidden.shape[0], hidden.dtype
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        losses = hidden.new_zeros(n)
        kind = multiplied_in(hidden.device) or exact
        hidden, weight = hidden.to(kind), weight.to(kind)
        kept = hidden.new_empty(n, weight.shape[0]) if wanted else None
        place = targets.clamp(min=0)
        for start in range(0, n, CHUNK):
            part = slice(start, min(start + CHUNK, n))
            made = kept[part] if kept is not None else hidden.new_empty(min(CHUNK, n - start), weight.shape[0])
            torch.mm(hidden[part], weight.T, out=made)
            p = made.to(exact)  # the same memory, unless products are of another type than sums
            top = p.amax(1, keepdim=True)
            gold = p.gather(1, place[part].unsqueeze(1)) - top
            p.sub_(top).exp_()
            total = p.sum(1, keepdim=True)
            losses[part] = (total.log() - gold).squeeze(1)
            if kept is not None:
                p.div_(total)
                if kind != exact:
                    kept[part] = p
        ctx.save_for_backward(hidden, weight, targets)
        ctx.kept, ctx.exact = kept, exact
        return losses.masked_fill_(targets < 0, 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight, targets = ctx.saved_tensors
        grad = grads[0].masked_fill(targets < 0, 0.0).to(hidden.dtype).unsqueeze(1)
        to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=ctx.exact)
        place = targets.clamp(min=0).unsqueeze(1)
        for start in range(0, hidden.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            d = ctx.kept[part] * grad[part]  # not in place: a second backward pass finds what the first found
            d.scatter_add_(1, place[part], -grad[part])
            torch.mm(d, weight, out=to_hidden[part])
            if weight.dtype == ctx.exact:
                to_weight.addmm_(d.T, hidden[part])
            else:
                to_weight.add_(d.T @ hidden[part])
        return to_hidden.to(ctx.exact), to_weight, None


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy in nats of each token, (n,), from hidden states (n, D) and the output matrix (V, D).

    A negative target counts nothing: its loss and gradient are 0.
    """
    losses: Tensor = _TokenLosses.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return losses


@torch.no_grad()
def generate(
    model: Decoder, prompts: Sequence[npt.ArrayLike], longest: int, end: int, batch: int = 64
) -> list[npt.NDArray[np.int64]]:
    """The likeliest next token, again and again, until `end` (not returned) or `longest` tokens.

    Prompts of like length share a batch and are filled up on the left; a prompt must hold at least one token.
    """
    rows = [np.asarray(p, np.int64) for p in prompts]
    out: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: rows[i].size)
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        for i, found in zip(some, _continue(model, [rows[i] for i in some], longest, end), strict=True):
            out[i] = found
    return out


def _continue(model: Decoder, rows: list[npt.NDArray[np.int64]], longest: int, end: int) -> list[npt.NDArray[np.int64]]:
    device = model.embedding.weight.device
    B, T = len(rows), max(r.size for r in rows)
    tokens = torch.full((B, T), end, device=device)
    real = torch.zeros(B, T, dtype=torch.bool, device=device)
    for i, row in enumerate(rows):
        tokens[i, T - row.size :] = torch.from_numpy(row).to(device)
        real[i, T - row.size :] = True
    past: list[list[Tensor]] = [[] for _ in model.blocks]
    mask = attention_mask(tokens.shape, None, real, causal=True)
    made: list[Tensor] = []
    done = torch.zeros(B, dtype=torch.bool, device=device)
    position = torch.arange(T, device=device)
    for _ in range(longest):
        hidden = model._hidden(model.embedding(tokens), rotations(position, model.config), mask, past)
        nxt = model.logits(hidden[:, -1]).argmax(-1)
        done |= nxt == end
        made.append(nxt.masked_fill(done, end))
        if bool(done.all()):
            break
        real = torch.cat([real, torch.ones(B, 1, dtype=torch.bool, device=device)], 1)
        mask = torch.zeros(real.shape, device=device).masked_fill_(~real, -math.inf)[:, None, None]  # (B, 1, 1, T + 1)
        tokens, position = nxt.unsqueeze(1), position[-1:] + 1
    written = torch.stack(made, 1).cpu().numpy() if made else np.zeros((B, 0), np.int64)
    return [row[: int(np.argmax(row == end)) if (row == end).any() else row.size] for row in written]
