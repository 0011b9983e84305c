"""CMR scaling law (Gu et al. 2024, arXiv 2407.17467): how much of a new domain general ability bears.

A decoder of one layer learns six general sources, then goes on with a new one, whose share is `RATIOS`, and replay of
the general ones, for several numbers of tokens, each with a learning rate of its own that rises and falls again. The
laws of `models/critical_ratio`, which the policy `cmr` uses, are fitted to the losses on text held out, and are tested
on ratios left out, on fresh ratios, and on four times the tokens. The critical ratio is *measured* on runs at the fresh
ratios, which no law saw, by straight lines between them. Control: a new domain that is more of the general sources.

The paper trains models of 460 M to 3.1 B parameters. Ours: the losses of a token number come from a finished run each,
not from checkpoints of one run, and the rate of going on is a fifth of the first one's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import Windows, windows, windows_to_score
from tilth.models.critical_ratio import PowerLaw, critical, interval, laws, missed, power_law
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import record_losses, threads, train_lm
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts

__all__ = ["PAPER", "run"]

PAPER = "cmr_scaling_law"
GENERAL = (
    "encyclopedia_simplewiki",
    "fiction_novels",
    "encyclopedia_factbook",
    "techdocs_peps",
    "chat_irc_ubuntu",
    "dialogue_sgd",
)
DOMAIN = "science_arxiv_2025"
RATIOS = (0.0, 0.1, 0.25, 0.33, 0.5, 0.75, 0.9)
"""Shares that laws are fitted to; 0 is a reference, as in the policy."""
FRESH = (0.18, 0.29, 0.42, 0.62, 0.82)
"""Shares that no law sees: what the critical ratio is measured on."""
TOLERANCE = 0.05
STEP = 0.15
"""How far beside the critical ratio its two sides are looked at."""
BAR, NEAR = 0.02, 0.1
SEEDS = 5
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Texts, tokens and the model.

    Attributes:
        first: general texts of a source that the base model learns from.
        replay: others, read when training goes on.
        domain: texts of the new domain.
        held: texts of each source held out; of the domain three times as many.
        base: tokens that the base model reads.
        tokens: tokens read after that; the last number is the one to be predicted, from the others.
        rate: peak learning rate of going on, as a share of the first one.
    """

    first: int = 250
    replay: int = 250
    domain: int = 800
    held: int = 20
    longest: int = 1000
    base: int = 300_000
    tokens: tuple[int, ...] = (24_000, 32_000, 48_000, 64_000, 256_000)
    rate: float = 0.2
    depth: int = 1
    vocab: int = 1024
    context: int = 64
    batch: int = 8


@dataclass(frozen=True)
class Found:
    """What was measured of one seed; losses are nats per token of held-out text.

    Attributes:
        base: general loss of the base model.
        fitted: (tokens, RATIOS, 2) general and domain loss.
        fresh: (2, FRESH, 2) the same at the fresh ratios, of the last two token numbers.
        control: how much general loss rises at ratio 0.9 and the most tokens when the new domain is general text.
    """

    base: float
    fitted: Floats
    fresh: Floats
    control: float


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what is wanted, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, *GENERAL, DOMAIN)
    scale = Scale()
    found = [marks(texts[:-1], texts[-1], Run(seed=seed), scale) for seed in range(SEEDS)]
    return statements(found, scale.tokens)


def statements(found: Sequence[Found], tokens: Sequence[int]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    short, long = f"{tokens[-2]:,} tokens", f"{tokens[-1]:,} tokens"
    x, fresh = np.array(RATIOS), np.array(FRESH)
    rows = []

    def judged(what: str, wanted: str, here: Sequence[float] | Floats, most: float) -> None:
        rows.append(lab.row(what, wanted, here, bool(np.max(here) <= most)))

    for name, kind, some in (("general", 0, x), ("domain", 1, x[1:])):
        y = np.stack([one.fitted[-2:, x.size - some.size :, kind] for one in found])  # (seeds, 2, ratios)
        for t, when in enumerate((short, long)):
            errors = [missed(some, one, rising=kind == 0) for one in y[:, t]]
            judged(f"{name} loss, {when}: largest error at a ratio left out", "at most 0.02", errors, BAR)
        straight = [_straight(some, one) for one in y[:, 1]]
        rows.append(lab.row(f"... {long}, by a straight line", "", straight, None))
        rows.append(lab.row(f"... {long}, by the mean of the others", "", [_constant(one) for one in y[:, 1]], None))
        new = [np.abs(laws(x, *one.fitted[-1].T)[kind](fresh) / one.fresh[-1, :, kind] - 1).max() for one in found]
        judged(f"{name} loss, {long}: largest error at fresh ratios", "at most 0.02", new, BAR)

    limits = np.array([one.base for one in found]) + TOLERANCE
    predicted = np.array([_critical(one.fitted, limit) for one, limit in zip(found, limits, strict=True)])
    real = np.array([[measured(fresh, part[:, 0], limit) for part in one.fresh] for one, limit in
                     zip(found, limits, strict=True)])  # fmt: skip
    general = np.stack([one.fitted[..., 0] for one in found])  # (seeds, tokens, ratios)
    joint = _critical(np.mean([one.fitted for one in found], 0), float(limits.mean()))
    truth = [measured(fresh, np.mean([one.fresh[t, :, 0] for one in found], 0), float(limits.mean())) for t in (0, 1)]
    for t, when in enumerate((short, long)):
        rows.append(lab.row(f"critical ratio, {when}, measured", "", real[:, t], None))
        off = np.abs(predicted[:, t - 2] - real[:, t])
        judged("... predicted there, how far off in each seed", "at most 0.1", off, NEAR)
        low, high = interval(x, general[:, t - 2], limits, Run().rng(PAPER, t))
        rows.append(lab.row("... bootstrap interval of the prediction, low", "", [low], None))
        inside = low <= truth[t] <= high
        rows.append(lab.row("... high", f"interval covers {truth[t]:.3f}, measured on all seeds", [high], inside))
    grown = extended(tokens, joint[:-1])
    alone = np.array([extended(tokens, one[:-1]) for one in predicted])
    judged(
        f"critical ratio, {long}, predicted from fewer: off, all seeds", "at most 0.1", [abs(grown - truth[1])], NEAR
    )
    rows.append(lab.row("... the prediction, all seeds", "", [grown], None))
    judged("... off in each seed", "at most 0.1", np.abs(alone - real[:, 1]), NEAR)
    rows.append(
        lab.row(f"... off with that of {short} taken unchanged", "", np.abs(predicted[:, -2] - real[:, 1]), None)
    )
    more = real[:, 1] - real[:, 0]
    rows.append(lab.row("critical ratio grows with tokens: difference", "above 0", more, lab.mean(more)[1] > 0))

    above, below = (np.clip(predicted[:, -1] + way * STEP, fresh[0], fresh[-1]) for way in (1, -1))
    forgot = np.array([np.interp(a, fresh, one.fresh[1, :, 0]) for a, one in zip(above, found, strict=True)]) - limits
    rows.append(lab.row(f"{STEP} above it: general loss over the limit, {long}", "above 0", forgot,
                        bool((forgot > 0).all())))  # fmt: skip
    spared = np.array([np.interp(b, fresh, one.fresh[1, :, 0]) for b, one in zip(below, found, strict=True)]) - limits
    rows.append(lab.row(f"{STEP} below it: general loss over the limit", "below 0", spared, bool((spared < 0).all())))
    wasted = np.array([
        np.subtract(*np.interp([b, p], fresh, one.fresh[1, :, 1]))
        for b, p, one in zip(below, predicted[:, -1], found, strict=True)
    ])  # fmt: skip
    rows.append(lab.row(f"{STEP} below it: domain loss wasted", "above 0", wasted, lab.mean(wasted)[1] > 0))
    control = [one.control for one in found]
    judged("control: general text as the domain, rise of general loss at 0.9", "below 0.01", control, 0.01)
    for t, number in enumerate(tokens):
        rows.append(lab.row(f"critical ratio predicted, {number:,} tokens", "", predicted[:, t], None))
    rows.append(lab.row("general loss of the base model", "", limits - TOLERANCE, None))
    for share, place in ((0.0, 0), (0.9, -1)):
        rows.append(lab.row(f"... its rise at ratio {share:g}, {long}", "",
                            general[:, -1, place] - limits + TOLERANCE, None))  # fmt: skip
    return rows


def marks(general: Sequence[Sequence[str]], domain: Sequence[str], run: Run, scale: Scale) -> Found:
    """What `statements` judges, of one seed."""
    need = scale.held + scale.first + scale.replay
    parts = [_drawn(texts, need, scale.longest, run.rng("texts", i)) for i, texts in enumerate(general)]
    held = [t for part in parts for t in part[: scale.held]]
    first = [t for part in parts for t in part[scale.held : scale.held + scale.first]]
    replay = [t for part in parts for t in part[scale.held + scale.first :]]
    new = _drawn(domain, 3 * scale.held + scale.domain, scale.longest, run.rng("texts", "domain"))
    tokenizer = Tokenizer.train([*first, *new[3 * scale.held :]], scale.vocab)
    held_out = [
        windows_to_score(*tokenizer.encode_batch(some), scale.context, lab.END)
        for some in (held, new[: 3 * scale.held])
    ]
    with threads(1):
        base = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
        options = Options(rate=base.config.rate, batch=scale.batch)
        lab.read(base, tokenizer.encode_batch(first), scale.base, run.at("base"), options)
        before = _losses(base, held_out)
        more = Options(rate=base.config.rate * scale.rate, batch=scale.batch)

        def after(texts: tuple[Texts, Texts], ratio: float, tokens: int) -> Floats:
            model = copy.deepcopy(base)
            train_lm(model, Fixed(mixed(*texts, ratio, tokens, scale.context, run), scale.batch), more)
            return _losses(model, held_out)

        both = tokenizer.encode_batch(replay), tokenizer.encode_batch(new[3 * scale.held :])
        half = tokenizer.encode_batch(replay[::2]), tokenizer.encode_batch(replay[1::2])
        fitted = np.array([[after(both, r, t) for r in RATIOS] for t in scale.tokens])
        fresh = np.array([[after(both, r, t) for r in FRESH] for t in scale.tokens[-2:]])
        control = after(half, 0.9, scale.tokens[-1])[0] - fitted[-1, 0, 0]
    return Found(float(before[0]), fitted, fresh, float(control))


def mixed(general: Texts, domain: Texts, ratio: float, tokens: int, context: int, run: Run) -> Windows:
    """So many tokens, `ratio` of them of the domain, evenly all the way; each kind is read again where it runs out."""
    rows, at = [], []
    offsets = np.concatenate([general[0], general[0][-1] + domain[0][1:]])
    first = general[0].size - 1
    for name, texts, share, start in (("general", general, 1 - ratio, 0), ("domain", domain, ratio, first)):
        if share <= 0:
            continue
        lengths = np.diff(texts[0]) + 1
        times = -(-int(share * tokens) // int(lengths.sum())) + 1
        some = lab.order(lengths.size, lengths.size * times, run.at(name))
        begins = (np.cumsum(lengths[some]) - lengths[some]) / share
        use = begins < tokens
        rows.append(start + some[use])
        at.append(begins[use])
    order = np.concatenate(rows)[np.argsort(np.concatenate(at), kind="stable")]
    return windows(offsets, np.concatenate([general[1], domain[1]]), order, context, lab.END, tokens)


def measured(ratios: Floats, losses: Floats, limit: float) -> float:
    """The largest share whose loss, on straight lines between the ratios, is at most the limit; 0 where there is none.

    >>> round(measured(np.array([0.2, 0.4, 0.6]), np.array([1.0, 1.1, 1.3]), 1.2), 3)
    0.5
    """
    for i in reversed(range(ratios.size)):
        if losses[i] <= limit:
            if i + 1 == ratios.size:
                return float(ratios[i])
            return float(np.interp(limit, losses[i : i + 2], ratios[i : i + 2]))
    return 0.0


def extended(tokens: Sequence[int], found: npt.ArrayLike) -> float:
    """The critical ratio of the last token number, by a law of those of the others; from 0 to 1."""
    x = np.array(tokens) / tokens[0]
    law: PowerLaw = power_law(x[:-1], found, rising=True)
    return float(np.clip(law(x[-1]), 0.0, 1.0))


def _critical(fitted: Floats, limit: float) -> Floats:
    """(tokens,) by the law of general loss."""
    return np.array([critical(laws(RATIOS, *part.T)[0], limit) for part in fitted])


def _straight(x: Floats, y: Floats) -> float:
    """As `missed`, by a line."""
    held = [np.polyval(np.polyfit(np.delete(x, i), np.delete(y, i), 1), x[i]) for i in range(1, x.size - 1)]
    return float(np.abs(held - y[1:-1]).max() / y.mean())


def _constant(y: Floats) -> float:
    """As `missed`, by the mean of the others."""
    held = [np.delete(y, i).mean() for i in range(1, y.size - 1)]
    return float(np.abs(held - y[1:-1]).max() / y.mean())


def _losses(model: Decoder, held_out: Sequence[Windows]) -> Floats:
    """Nats per token of each kind of held-out text."""
    model.eval()
    found = [record_losses(model, some) for some in held_out]
    return np.array([nats.sum() / tokens.sum() for nats, tokens in found])


def _drawn(texts: Sequence[str], count: int, longest: int, rng: np.random.Generator) -> list[str]:
    """Different texts at random, cut to their first characters; none is shorter than a third of that."""
    long = list(dict.fromkeys(text[:longest] for text in texts if len(text) >= longest // 3))
    return [long[i] for i in rng.permutation(len(long))[:count]]
