"""GeRe (Zhang et al. 2025, arXiv 2508.04676): a few general texts, their states held by a margin, stop forgetting.

A decoder of 2 layers reads encyclopedia texts and then, one after the other, five kinds of text it never saw: law in
German, mathematics, a chat room, source code's documentation and web markup. Some windows of the first reading are read
again in every batch of the arms with replay, half of the loss: alone, with the threshold-margin loss on the last
layer's states, with the squared distance to those states, or with KL to what the model said of them before. What is
judged is the loss on other encyclopedia texts, and on held-out texts of all five kinds at the end. The paper tunes
models of billions of parameters on fifteen tasks of classification.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import reading_order, windows
from tilth.models.feeds import Batch
from tilth.models.optim import Options
from tilth.models.replay import MarginReplay, Slots, States
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder

__all__ = ["PAPER", "run"]

PAPER = "gere"
GENERAL = "A_text/encyclopedia_simplewiki"
TASKS = ("law_german", "math_stacks", "chat_irc_ubuntu", "techdocs_peps", "web_html_boost")
SEEDS = 3
ARMS = ("none", "replay", "margin, strength 1", "margin, strength 100", "squared distance", "KL")
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The texts, the model and its training.

    Attributes:
        longest: characters of a text at most.
        tokens, each: read at first, and of each kind after it.
        samples, slots: windows that are replayed, and how many in each batch.
        held: texts of each kind to judge by.
    """

    longest: int = 1000
    vocab: int = 1024
    depth: int = 2
    context: int = 128
    tokens: int = 400_000
    each: int = 30_000
    samples: int = 200
    slots: int = 2
    batch: int = 8
    rate: float = 1e-3
    held: int = 60


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a file is missing.
    """
    files = lab.records(data, GENERAL, *(f"A_text/{name}" for name in TASKS))
    texts = [[row["text"] for row in rows] for rows in files]
    return statements([measured(texts, Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    rise = {arm: of(arm, "rise of the general loss") for arm in ARMS}
    both = {arm: rise[arm] + of(arm, "loss of the tasks") for arm in ARMS}
    margin = "margin, strength 1"
    share = rise[margin] / rise["none"]
    start = np.array([f[arm]["margin loss at step 0"] for f in found for arm in ARMS if arm.startswith("margin")])
    apart = np.abs(both["margin, strength 100"] - both[margin])
    return [
        lab.row("rise of the general loss, margin over none", "at most 1/3", share, share.mean() <= 1 / 3),
        lab.row("margin loss at step 0", "0", start, float(start.max()) < 1e-4),
        *(lab.row(f"loss, general and tasks: {arm} less margin", "at least 0", both[arm] - both[margin],
                  float((both[arm] - both[margin]).mean()) >= 0) for arm in ("replay", "squared distance", "KL")),
        lab.row("loss, general and tasks: strength 1 or 100, difference", "small (here: at most 0.1)", apart,
                apart.mean() <= 0.1),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None)
          for name in ("rise of the general loss", "loss of the tasks") for arm in ARMS),
    ]  # fmt: skip


def measured(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """Of each arm, nats per token: the rise on other general texts, and the tasks' held-out texts at the end."""
    drawn = [[part[i][: scale.longest] for i in run.rng("texts", k).permutation(len(part))]
             for k, part in enumerate(texts)]  # fmt: skip
    tokenizer = Tokenizer.train(drawn[0][scale.held :], scale.vocab)
    held = [tokenizer.encode_batch(part[: scale.held]) for part in drawn]
    general = tokenizer.encode_batch(drawn[0][scale.held :])
    found = {}
    with threads(1):
        start = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
        lab.read(start, general, scale.tokens, run.at("read"), Options(rate=start.config.rate, batch=16))
        before = float(lab.losses(start, held[0]).mean())
        again = run.rng("replay").permutation(len(general[0]) - 1)
        replay = windows(*general, again, scale.context, lab.END).take(np.arange(scale.samples))
        states = States.of(start, replay)
        for arm in ARMS:
            model = copy.deepcopy(start)
            first = None
            for k, part in enumerate(drawn[1:]):
                said = tokenizer.encode_batch(part[scale.held :])
                order = reading_order(np.ones(len(said[0]) - 1), run.rng("order", k))
                data = windows(*said, order, scale.context, lab.END, scale.each)
                slots = 0 if arm == "none" else scale.slots  # as many updates, on the same windows of the task
                feed = Slots(data, replay, slots, scale.batch - scale.slots + slots, run.at("slots", k))
                margin = MarginReplay(feed, states, 100.0 if arm.endswith("100") else 1.0)
                beside = _beside(arm, margin, model, start)
                if first is None:
                    batch = feed.batch(0)
                    first = 0.0 if not arm.startswith("margin") else float(
                        margin(batch, model(batch.inputs, batch.documents)).detach()
                    )  # fmt: skip
                options = Options(rate=scale.rate, batch=scale.batch, faster=1.0)
                train_lm(model, feed, options, beside=beside, weigh=margin.weigh)
            found[arm] = {
                "rise of the general loss": float(lab.losses(model, held[0]).mean()) - before,
                "loss of the tasks": float(np.mean([lab.losses(model, part).mean() for part in held[1:]])),
                "margin loss at step 0": first or 0.0,
            }
    return found


def _beside(
    arm: str, margin: MarginReplay, model: Decoder, teacher: Decoder
) -> Callable[[Batch, Tensor], Tensor] | None:
    """What an arm adds to the loss: nothing, margins, or the distance of states or answers to the frozen model's."""
    if arm in ("none", "replay"):
        return None
    if arm.startswith("margin"):
        return margin

    def beside(batch: Batch, hidden: Tensor) -> Tensor:
        rows = torch.from_numpy(np.flatnonzero(margin.feed.rows >= 0))
        real = batch.targets[rows] >= 0
        with torch.no_grad():
            wanted = teacher(batch.inputs[rows], batch.documents[rows])[real]
        now = hidden[rows][real]
        if arm == "squared distance":
            apart = F.mse_loss(now, wanted)
        else:
            target, said = (F.log_softmax(m.logits(h), -1) for m, h in ((teacher, wanted), (model, now)))
            apart = F.kl_div(said, target, reduction="batchmean", log_target=True)
        return apart

    return beside
