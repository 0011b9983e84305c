"""Mix-CPT (Jiang et al. 2024, arXiv 2407.10804): distilling swapped logits restrains forgetting in continued training.

A decoder of 2 layers reads encyclopedia texts, then texts of one other kind with the model as it was as a teacher: its
logits, the likeliest token's and the right token's exchanged, are what the student is held to beside the text's own
loss, at two strengths. The control distils the logits as they are, which holds the student to not learning the new
text. Judged is the rise of the loss on other encyclopedia texts, in log perplexity, and what the new kind of text is
worth. The paper's other half: a fresh decoder reads one text of each of some invented people and the questions about
half of them as texts, either all mixed or the questions after, equally many tokens, is tuned a little on the form of
those questions, and asked about the other half.
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
from tilth.core import Pool, Run
from tilth.models.batches import windows
from tilth.models.continual import SwappedTeacher
from tilth.models.feeds import Batch, Fixed
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder
from tilth.probes.biographies import Biographies

__all__ = ["PAPER", "run"]

PAPER = "mixcpt"
FILES = ("A_text/encyclopedia_simplewiki", "A_text/math_stacks")
SEEDS = 3
ARMS = ("plain", "swapped, 0.3", "swapped, 1", "control: not swapped, 1")
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The texts, the model and its training: `tokens` of the first kind, then `later` of the second.

    Attributes:
        people, knowledge, form: invented people, tokens read of them and the questions, updates on the form.
    """

    longest: int = 1000
    vocab: int = 1024
    depth: int = 2
    context: int = 128
    tokens: int = 300_000
    later: int = 120_000
    batch: int = 8
    rate: float = 1e-3
    held: int = 60
    people: int = 60
    knowledge: int = 400_000
    form: int = 30


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a file is missing.
    """
    texts = [[row["text"] for row in rows] for rows in lab.records(data, *FILES)]
    runs = [Run(seed=seed) for seed in range(SEEDS)]
    return statements([measured(texts, r, Scale()) for r in runs], [asked(r, Scale()) for r in runs])


def statements(found: Sequence[Mapping[str, Found]], facts: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm, and on what `asked` gives."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    rise = {arm: of(arm, "rise of the general loss") for arm in ARMS}
    gain = {arm: of(arm, "fall of the new kind's loss") for arm in ARMS}
    half, kept = rise["swapped, 1"] / rise["plain"], gain["swapped, 1"] / gain["plain"]
    less = rise["plain"] - rise["swapped, 0.3"]
    better = gain["swapped, 1"] - gain["control: not swapped, 1"]
    mixed, after = (np.array([f[f"{name}: others"] for f in facts]) for name in ("mixed", "after"))
    return [
        lab.row("rise of the general loss, swapped (1) over plain", "halved (here: at most 0.5)", half,
                half.mean() <= 0.5),
        lab.row("rise of the general loss, plain less swapped (0.3)", "above 0", less, lab.mean(less)[1] > 0),
        lab.row("what is learned of the new kind, swapped (1) over plain", "kept (here: at least 0.9)", kept,
                kept.mean() >= 0.9),
        lab.row("what is learned of the new kind, swapped less not swapped", "above 0", better,
                lab.mean(better)[1] > 0),
        lab.row("questions about other people, mixed less questions after", "at least 0.15", mixed - after,
                (mixed - after).mean() >= 0.15),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0]["plain"] for arm in ARMS),
        *(lab.row(f"questions {name}", "", [f[name] for f in facts], None) for name in facts[0]),
    ]  # fmt: skip


def measured(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """Of each arm, nats per token of held-out texts: the first kind's rise, and the second kind's fall."""
    drawn = [[part[i][: scale.longest] for i in run.rng("texts", k).permutation(len(part))]
             for k, part in enumerate(texts)]  # fmt: skip
    tokenizer = Tokenizer.train([text for part in drawn for text in part[scale.held :]], scale.vocab)
    held = [tokenizer.encode_batch(part[: scale.held]) for part in drawn]
    first, second = (tokenizer.encode_batch(part[scale.held :]) for part in drawn)
    found = {}
    with threads(1):
        start = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
        lab.read(start, first, scale.tokens, run.at("read"), Options(rate=start.config.rate, batch=16))
        before = [float(lab.losses(start, part).mean()) for part in held]
        order = run.rng("later").permutation(len(second[0]) - 1)
        feed = Fixed(windows(*second, order, scale.context, lab.END, scale.later), scale.batch)
        options = Options(rate=scale.rate, batch=scale.batch, faster=1.0)
        for arm in ARMS:
            model = copy.deepcopy(start)
            train_lm(model, feed, options, beside=_beside(arm, model, copy.deepcopy(start)))
            after = [float(lab.losses(model, part).mean()) for part in held]
            found[arm] = {
                "rise of the general loss": after[0] - before[0],
                "fall of the new kind's loss": before[1] - after[1],
            }
    return found


def asked(run: Run, scale: Scale) -> dict[str, float]:
    """Shares of right answers, about people whose questions were read and about the others, of both orders."""
    world = Biographies(rewrites=1, permute=False).build(scale.people, run.at("people"))
    texts = [f" {text}" for text in world.pool.column("text").to_pylist()]
    (prompts, replies), (others, wanted) = (_spaced(world.more[half]) for half in ("qa_train", "qa_test"))
    vocab = lab.Vocab.of([*texts, *prompts, *replies, *others, *wanted], lab.WORDS)
    said = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
    told, questions = vocab.encode_batch(texts), vocab.encode_batch(said)
    often = max(1, round(told[1].size / questions[1].size))
    found = {}
    with threads(1):
        for order in ("mixed", "after"):
            model = lab.decoder(scale.depth, len(vocab), scale.context, run.at("facts"))
            options = Options(rate=model.config.rate, batch=4)
            if order == "mixed":
                both = vocab.encode_batch([*texts, *said * often])
                lab.read(model, both, scale.knowledge, run.at("mixed"), options)
            else:
                lab.read(model, told, scale.knowledge // 2, run.at("told"), options)
                lab.read(model, questions, scale.knowledge // 2, run.at("questions"), options)
            form = Options(rate=model.config.rate / 3, batch=16)
            lab.tune(model, lab.talks(vocab, prompts, replies), scale.form, run.at("form"), form)
            for name, ask, right in (("others", others, wanted), ("read", prompts, replies)):
                answers = lab.answers(model, vocab, ask, 8)
                found[f"{order}: {name}"] = float(np.mean([a == b for a, b in zip(answers, right, strict=True)]))
    return found


def _spaced(pool: Pool) -> tuple[list[str], list[str]]:
    prompts, replies = lab.asked(pool)
    return [f" {prompt}" for prompt in prompts], [f" {reply}" for reply in replies]


def _beside(arm: str, model: Decoder, teacher: Decoder) -> Callable[[Batch, Tensor], Tensor] | None:
    """What an arm adds to the loss."""
    if arm == "plain":
        return None
    if arm.startswith("swapped"):
        return SwappedTeacher(model, teacher, float(arm.split(", ")[1]))
    teacher.requires_grad_(False)

    def beside(batch: Batch, hidden: Tensor) -> Tensor:
        learned = batch.targets >= 0
        with torch.no_grad():
            wanted = teacher.logits(teacher(batch.inputs, batch.documents)[learned]).log_softmax(-1)
        said = model.logits(hidden[learned]).log_softmax(-1)
        return F.kl_div(said, wanted, reduction="batchmean", log_target=True)

    return beside
