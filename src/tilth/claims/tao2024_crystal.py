"""Language first, then mostly code (Crystal, Tao et al. 2024, arXiv 2411.04156): one model instead of two.

A text of either source is a chain of words in which each is followed by one of four, and then another such chain. The
first chain is the same in both sources, the second has words of the source's own: sub-structure that they share, and
what only they have. A small decoder reads plans of `two_phase` (language with a little code, then mostly code with
language to remember by), the same with its phases turned round, one even mixture, and three phases, the last of them
code alone; all of one size, under one cosine over all phases. Two more decoders read one source each. The size of the
plans is three quarters of what these two read together.

The paper trains 7 B parameters on 1.4 T tokens and compares with other models. Not run: real text and code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.train import threads, train_lm
from tilth.policies.mix._phases import parted, phased
from tilth.policies.mix.two_phase import TwoPhase
from tilth.proofs._text import read_windows

__all__ = ["PAPER", "run"]

PAPER = "crystal"
SEEDS = 3
SIDES = ("language", "code")
POLICY = TwoPhase(late=("code",))
THIRD = 0.08  # part of the reading that is code alone at the end; the paper's 110 B of 1,382 B tokens
WITHIN, FORGOTTEN = 0.02, 0.05
MIXED = ("two phases", "turned round", "even", "three phases")
POINTS = 11  # the third of them lies at the turn
Found = Mapping[str, Mapping[str, float]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The world and the training.

    Attributes:
        words: that both sources have, and as many more that each has alone.
        next: words that may follow one.
        alone: tokens that a decoder of one source reads.
        part: of twice that, what a plan of both reads.
        texts, length: of each source in the pool, and words of a text.
        held: texts of each source that are held out.
    """

    words: int = 400
    next: int = 4
    alone: int = 60_000
    part: float = 0.75
    texts: int = 2500
    length: int = 31
    held: int = 100
    depth: int = 2
    batch: int = 16


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)], Scale())


def statements(found: Sequence[Found], scale: Scale) -> list[dict[str, Any]]:
    """The statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, side: str) -> Floats:
        return np.array([one[arm][side] for one in found])

    def both(arm: str) -> Floats:
        return (of(arm, "language") + of(arm, "code")) / 2

    rows = []
    for side in SIDES:
        more = of("two phases", side) / of(f"{side} alone", side) - 1
        rows.append(lab.row(f"loss on {side}, two phases over {side} alone", f"at most {WITHIN:+.0%}", more,
                            more.mean() <= WITHIN))  # fmt: skip
    again = of("two phases", "language") / of("two phases", "language at the turn") - 1
    turned = of("turned round", "code") - of("two phases", "code")
    third = both("three phases") - both("two phases")
    even = both("two phases") - both("even")
    return [
        *rows,
        lab.row("loss on language, at the end over at the turn", f"below {FORGOTTEN:+.0%}", again,
                again.mean() < FORGOTTEN),
        lab.row("loss on code, turned round less two phases", "above 0", turned, lab.mean(turned)[1] > 0),
        lab.row("mean loss, three phases less two", "no gain: at least 0", third, third.mean() >= 0),
        lab.row("mean loss, two phases less even", "below 0", even, lab.mean(even)[2] < 0),
        lab.row("tokens of two phases over those of two decoders", "below 1", [scale.part], scale.part < 1),
        *(lab.row(f"{arm}: nats per token on {side}", "", of(arm, side), None)
          for side in SIDES for arm in (*(f"{one} alone" for one in SIDES), *MIXED)),
        *(lab.row(f"{arm}: share of code", "", of(arm, "share of code"), None) for arm in MIXED),
        *(lab.row(f"least that can be had on {side}", "", of("truth", side), None) for side in SIDES),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """Losses of each arm on both sources, and how much code it read."""
    pool, held, vocab, least = world(run, scale)
    amount = int(2 * scale.part * scale.alone)
    goal = Goal(pool, pool, Budget(amount))
    start = Plan.everything(pool, goal.budget)
    by, use = start.sources, {"use": "claim"}
    ours, others, _ = parted(start, by, POLICY.late, "claim")
    first, second = (share * ours + (1 - share) * others for share in (POLICY.before, POLICY.after))
    lengths = np.array([POLICY.turn * (1 - THIRD), (1 - POLICY.turn) * (1 - THIRD), THIRD])
    plans = {
        "two phases": POLICY.revise(start, pool, goal, run),
        "turned round": POLICY.worst().revise(start, pool, goal, run),
        "even": start.mixed(use, "even", dict.fromkeys(SIDES, 0.5), by, run.uniform(start.ids, "key")),
        "three phases": phased(start, use, "three", np.array([first, second, ours]), lengths, by, POLICY.cap, run),
    }
    found: dict[str, dict[str, float]] = {"truth": dict(zip(SIDES, least, strict=True))}
    for side in SIDES:
        only = start.revised(use, side, keep=by.index == by.names.index(side))
        found[f"{side} alone"] = learned(only, scale.alone, pool, held, vocab, run, scale)
    for arm, plan in plans.items():
        found[arm] = learned(plan, amount, pool, held, vocab, run, scale) | {"share of code": plan.mixture()["code"]}
    return found


def learned(
    plan: Plan, tokens: int, pool: TablePool, held: Sequence[Sequence[str]], vocab: lab.Vocab, run: Run, scale: Scale
) -> dict[str, float]:
    """Nats per token on either source at the end, and on language where the second phase begins."""
    context = scale.length + 1
    texts = [vocab.encode_batch(list(some)) for some in held]
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), context, run)
        read = read_windows(plan, pool, vocab, tokens, context, run)  # type: ignore[arg-type]
        options = Options(rate=model.config.rate, batch=scale.batch, decay="cosine")
        done = train_lm(
            model, Fixed(read, scale.batch), options, points=POINTS,
            measure=lambda m: np.array([lab.losses(m, some).mean() for some in texts]),
        )  # fmt: skip
    assert done.curve is not None
    turn = int(np.argmin(np.abs(done.curve.tokens / done.curve.tokens[-1] - POLICY.turn)))
    at_end = dict(zip(SIDES, done.curve.losses[-1].tolist(), strict=True))
    return at_end | {"language at the turn": float(done.curve.losses[turn, 0])}


def world(run: Run, scale: Scale) -> tuple[TablePool, list[list[str]], lab.Vocab, list[float]]:
    """A pool of both sources, held-out texts of each, the words, and the least nats per token that can be had."""
    rng = run.rng("world")
    shared, own = followers(rng, scale), {side: followers(rng, scale) for side in SIDES}
    count, half = scale.texts + scale.held, scale.length // 2
    texts = [
        [f"{a} {b}" for a, b in zip(chained(rng, "both", shared, count, half),
                                    chained(rng, side, table, count, scale.length - half), strict=True)]
        for side, table in own.items()
    ]  # fmt: skip
    made = [text for some in texts for text in some[: scale.texts]]
    tokens = pa.StructArray.from_arrays([pa.array([scale.length + 1] * len(made))], ["count"])
    sources = [side for side in SIDES for _ in range(scale.texts)]
    pool = TablePool(pa.table({"text": made, "source": sources, "tokens": tokens}))
    vocab = lab.Vocab.of([f"{name}{i}" for name in ("both", *SIDES) for i in range(scale.words)], r"\w+")
    # the first word of a chain is any, each other one of a few
    least = (2 * np.log(scale.words) + (scale.length - 2) * np.log(scale.next)) / scale.length
    return pool, [some[scale.texts :] for some in texts], vocab, [float(least)] * 2


def followers(rng: np.random.Generator, scale: Scale) -> npt.NDArray[np.int64]:
    """(words, next) different words that may follow each."""
    return np.argsort(rng.random((scale.words, scale.words)), axis=1)[:, : scale.next]


def chained(rng: np.random.Generator, name: str, table: npt.NDArray[np.int64], count: int, length: int) -> list[str]:
    """Texts in which any word comes first, and then each of its followers as often as another."""
    words = np.empty((count, length), np.int64)
    words[:, 0] = rng.integers(0, len(table), count)
    for i in range(1, length):
        words[:, i] = table[words[:, i - 1], rng.integers(0, table.shape[1], count)]
    return [" ".join(f"{name}{w}" for w in row) for row in words]
