"""Transformers Can Navigate Mazes With Multi-Step Prediction (Nolte et al. 2024, arXiv 2412.05117): MLM-U.

The same transformer learns to walk mazes in two ways, in as many updates on as many mazes. Next-token training predicts
each place from the ones before it. MLM-U draws a rate for every maze, uniform between 0 and 1, hides the places of the
way at that rate and predicts all hidden ones at once from those that are left, before and after; a way is then written
place by place, all that is still to come being hidden. A way counts if it is a shortest one. In the control the ways
are dealt to other mazes. Three seeds draw mazes, weights, order and rates. The paper has an encoder and a decoder of up
to 8 million parameters for grids of up to 20 x 20; here one stack reads and writes, causal for next-token training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads, train_examples
from tilth.models.transformer import Decoder
from tilth.probes.mazes import Mazes

__all__ = ["PAPER", "hide", "right", "run", "statements", "write"]

PAPER = "transformers_can_navigate_mazes_with_multistep"
SEEDS = 3
TOKENS = r"(?s) ?\S+|."
NONE = -1
"""The target of a place that is not to be told."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objective = Literal["next", "mlm_u"]
NEXT, ALL, HALF, DEALT = "next-token", "MLM-U", "MLM-U, half the mazes", "ways dealt"


@dataclass(frozen=True)
class Scale:
    """Mazes and training."""

    side: int = 4
    size: int = 2000
    items: int = 200
    depth: int = 2
    steps: int = 1000
    batch: int = 32
    rate: float = 2e-3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    arms: dict[str, tuple[Objective, int, bool]] = {
        NEXT: ("next", scale.size, False),
        ALL: ("mlm_u", scale.size, False),
        HALF: ("mlm_u", scale.size // 2, False),
        DEALT: ("next", scale.size, True),
    }
    probe = Mazes(side=scale.side, items=scale.items)
    return statements(
        {
            arm: np.array([right(probe, objective, size, Run(seed=s), scale, dealt) for s in range(SEEDS)])
            for arm, (objective, size, dealt) in arms.items()
        }
    )


def statements(found: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the share of shortest ways of each seed in each arm."""
    better, half = found[ALL] - found[NEXT], found[HALF] - found[NEXT]
    return [
        lab.row("MLM-U less next-token", "above 0 (here: at least 0.15)", better,
                lab.mean(better)[1] > 0 and better.mean() >= 0.15),
        lab.row("MLM-U on half the mazes less next-token on all", "above 0 (4 times as sample-efficient)", half,
                lab.mean(half)[1] > 0),
        lab.row("control: next-token, ways dealt to other mazes", "0", found[DEALT], found[DEALT].mean() <= 0.05),
        *(lab.row(arm, "", found[arm], None) for arm in (NEXT, ALL, HALF)),
    ]  # fmt: skip


def right(probe: Mazes, objective: Objective, size: int, run: Run, scale: Scale, dealt: bool = False) -> float:
    """The share of unseen mazes whose shortest way is found after training on `size` of them.

    Args:
        dealt: every way goes to another maze.
    """
    world = probe.build(size, run)
    assert world.goal is not None
    prompts, ways = (_spelt(texts) for texts in lab.asked(world.pool))
    exam = _spelt(lab.asked(world.goal.holdout)[0])
    if dealt:
        ways = [*ways[1:], *ways[:1]]
    vocab = lab.Vocab.of([*prompts, *exam, *ways], TOKENS)
    longest = max(len(way.split()) for way in ways) + 1  # one place for the end
    hidden = len(vocab)
    with threads(1):
        model = lab.decoder(scale.depth, hidden + 1, 128, run, causal=objective == "next")
        options = Options(rate=scale.rate, faster=2.0, batch=scale.batch, precision=precision_of("auto"))
        if objective == "next":
            lab.tune(model, lab.talks(vocab, prompts, ways), scale.steps, run, options)
            said = lab.answers(model, vocab, exam, longest)
        else:
            _uncover(model, _ids(vocab, prompts), _ways(vocab, ways, longest), hidden, scale.steps, run, options)
            said = [vocab.decode(row) for row in write(model, _ids(vocab, exam), longest, hidden)]
    return probe.grade(world, said)


def hide(ways: Ints, hidden: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """What is seen of each way, and what is to be told.

    Every way draws its own rate; each of its places, its end included, is hidden at that rate. What lies behind the end
    is always hidden and never told, so that nothing says how long the way is.

    Args:
        ways: (B, T) ids, `NONE` behind the end.
        hidden: the id that stands for a hidden place.
    """
    real = ways >= 0
    cover = rng.random(ways.shape) < rng.random((len(ways), 1))
    return np.where(real & ~cover, ways, hidden), np.where(real & cover, ways, NONE)


@torch.no_grad()
def write(model: Decoder, prompts: Ints, longest: int, hidden: int) -> list[Ints]:
    """Ways written from the left, the likeliest place at a time, all later ones being hidden, up to the end."""
    model.eval()
    ways = np.full((len(prompts), longest), hidden)
    for place in range(longest):
        seen = torch.from_numpy(np.concatenate([prompts, ways], 1))
        scores = model.logits(model(seen)[:, prompts.shape[1] + place])
        ways[:, place] = scores[:, :hidden].argmax(-1).numpy()
    ended = np.cumsum(ways == lab.END, 1) > 0
    return [way[~over] for way, over in zip(ways, ended, strict=True)]


def _uncover(model: Decoder, prompts: Ints, ways: Ints, hidden: int, steps: int, run: Run, options: Options) -> None:
    """MLM-U training; the loss is the mean over the hidden places of a batch."""
    rng = run.rng("hidden")

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        seen, told = hide(ways[rows], hidden, rng)
        inputs = torch.from_numpy(np.concatenate([prompts[rows], seen], 1))
        targets = torch.from_numpy(np.concatenate([np.full(prompts[rows].shape, NONE), told], 1))
        count = max(1, int((told >= 0).sum()))
        return model.losses(inputs, targets).sum(1) * (len(rows) / count), None

    train_examples(model, losses_of, lab.order(len(prompts), steps * options.batch, run), options)


def _ids(vocab: lab.Vocab, texts: Sequence[str]) -> Ints:
    """Ids of texts that are all equally long, as prompts of one kind of maze are."""
    offsets, ids = vocab.encode_batch(texts)
    return ids.astype(np.int64).reshape(offsets.size - 1, -1)


def _ways(vocab: lab.Vocab, ways: Sequence[str], longest: int) -> Ints:
    """(B, longest) ids of ways and their end, `NONE` behind it."""
    out = np.full((len(ways), longest), NONE)
    offsets, ids = vocab.encode_batch(ways)
    for i, row in enumerate(out):
        way = ids[offsets[i] : offsets[i + 1]]
        row[: way.size] = way
        row[way.size] = lab.END
    return out


def _spelt(texts: Sequence[str]) -> list[str]:
    """Lines joined by blanks, so that a place has one token wherever it stands."""
    return [" " + text.replace("\n", " ").replace("-", " ") for text in texts]
