"""The instruction residual (Jindal et al. 2024, arXiv 2410.10739): new knowledge for the base, the old skill on top.

A decoder of 4 layers with one token per word reads biographies of invented people, and sentences that say what a few
words are backwards, doubled, or which of them is first or last. Tuning teaches it to do the same when told in one word,
as an instruction. Then it reads of new people, half of the text being like that of before: once the base model, once
the tuned one. The base's weights plus what tuning had added should do both. Skill is the share of unseen instructions
carried out to the word, recall the share of the new people's employers completed in the texts read. The control takes
the difference from the new base instead of the old one, which undoes what was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.merging import State, decoder, state_of
from tilth.models.optim import Options
from tilth.models.residual import instruction_residual, update_cosine
from tilth.models.train import threads
from tilth.models.transformer import Decoder
from tilth.probes.biographies import Biographies

__all__ = ["PAPER", "run"]

PAPER = "balancing_continuous_pretraining_and_instruction_finetuning"
SEEDS = 3
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
WORDS = "amber pine river stone cloud lamp wheel fern salt bell drum kite moss reed thorn vale wool yarn oak plum mint"
TASKS = ("backwards", "doubled", "first", "last")
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The world, the model and its training.

    Attributes:
        people, new: people of the first reading, and of the second.
        sentences: about words, in the first reading.
        tokens, later: read at first, and when the texts of the new people come, which are half of it.
        asked: instructions tuned on, in so many `steps`; `items` unseen ones are asked at the end.
        gentle: the later learning rates, of tuning and of reading on, as a share of the first.
        faster: how many times as fast embeddings move then; see `Options`.
    """

    people: int = 30
    new: int = 8
    sentences: int = 3000
    depth: int = 4
    context: int = 128
    batch: int = 8
    tokens: int = 300_000
    later: int = 200_000
    asked: int = 800
    steps: int = 200
    items: int = 100
    gentle: float = 0.1
    faster: float = 1.0


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""

    def of(name: str) -> Any:
        return np.array([f[name] for f in found])

    skill, recall = of("skill at 1") / of("skill of the tuned"), of("recall at 1") / of("recall of the new base")
    lost = of("skill of the tuned") - of("skill of the tuned, read on")
    sweep = np.array([[f[f"skill at {a:g}"] + f[f"recall at {a:g}"] for a in ALPHAS] for f in found])
    best = np.array([ALPHAS[i] for i in sweep.argmax(1)])
    return [
        lab.row("skill, transplanted over the tuned model's", "kept (here: at least 0.9)", skill, skill.mean() >= 0.9),
        lab.row("recall of new facts, transplanted over the new base's", "kept (here: at least 0.9)", recall,
                recall.mean() >= 0.9),
        lab.row("skill the tuned model loses by reading on itself", "lost (here: at least 0.2)", lost,
                lost.mean() >= 0.2),
        lab.row("alpha of the best sum of skill and recall", "near 1 (here: 0.75 to 1.25)", best,
                bool(((best >= 0.75) & (best <= 1.25)).all())),
        lab.row("control: delta from the new base, recall of new facts", "chance", of("recall, wrong delta"),
                of("recall, wrong delta").mean() <= 0.1),
        *(lab.row(name, "", of(name), None) for name in found[0] if name != "recall, wrong delta"),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, float]:
    """Skill and recall of the tuned model, of both that read on, and of the transplant at each alpha."""
    world = Biographies(rewrites=5).build(5 * scale.people, run.at("old")).pool
    later = Biographies(rewrites=5).build(5 * scale.new, run.at("new")).pool
    rng = run.rng("words")
    told = [sentence(*task(rng)) for _ in range(scale.sentences)]
    asked = dict.fromkeys(instruction(*task(rng)) for _ in range(2 * (scale.asked + scale.items)))
    prompts, replies = zip(*list(asked)[: scale.asked + scale.items], strict=True)
    cut = len(prompts) - scale.items
    texts = [[*pool.column("text").to_pylist()] for pool in (world, later)]
    vocab = lab.Vocab.of([*texts[0], *texts[1], *told, *prompts, *replies], lab.WORDS)
    general = [*texts[0], *told]
    often = max(1, round(sum(map(len, general)) / sum(map(len, texts[1]))))
    first, second = vocab.encode_batch(general), vocab.encode_batch([*general, *texts[1] * often])
    talks = lab.talks(vocab, prompts[:cut], replies[:cut])
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        rate = model.config.rate
        lab.read(model, first, scale.tokens, run.at("read"), Options(rate=rate, batch=scale.batch))
        gentle = Options(rate=rate * scale.gentle, batch=scale.batch, faster=scale.faster)
        config, old = model.config, state_of(model)
        lab.tune(model, talks, scale.steps, run.at("tune"), replace(gentle, batch=32))
        tuned = state_of(model)

        def read_on(state: State) -> State:
            copy = decoder(config, state)
            lab.read(copy, second, scale.later, run.at("later"), gentle)
            return state_of(copy)

        def marks(state: State) -> tuple[float, float]:
            copy = decoder(config, state)
            return skill(copy, vocab, prompts[cut:], replies[cut:]), recall(copy, vocab, later)

        new, through = read_on(old), read_on(tuned)
        found = dict(zip(("skill of the tuned", "recall of the tuned"), marks(tuned), strict=True))
        found.update(zip(("skill of the tuned, read on", "recall of the tuned, read on"), marks(through), strict=True))
        found.update(zip(("skill of the new base", "recall of the new base"), marks(new), strict=True))
        for alpha in ALPHAS:
            made = instruction_residual(old, tuned, new, alpha)
            found.update(zip((f"skill at {alpha:g}", f"recall at {alpha:g}"), marks(made), strict=True))
        found["recall, wrong delta"] = marks(instruction_residual(new, tuned, new))[1]
        found["cosine of both updates"] = update_cosine(old, tuned, new)
    return found


def task(rng: np.random.Generator) -> tuple[str, list[str]]:
    """One of `TASKS` and three different words, or one that is to be doubled."""
    what = TASKS[int(rng.integers(len(TASKS)))]
    return what, [str(word) for word in rng.choice(WORDS.split(), 1 if what == "doubled" else 3, replace=False)]


def solved(what: str, words: Sequence[str]) -> str:
    """What the task makes of the words."""
    made = {"backwards": words[::-1], "doubled": [*words, *words], "first": words[:1], "last": words[-1:]}
    return " ".join(made[what])


def sentence(what: str, words: Sequence[str]) -> str:
    """The task as something said in a text."""
    given = " ".join(words)
    said = {
        "backwards": "Read from the end, {} becomes {}.",
        "doubled": "Said two times, {} becomes {}.",
        "first": "The one that leads in {} is {}.",
        "last": "The one that closes in {} is {}.",
    }
    return said[what].format(given, solved(what, words))


def instruction(what: str, words: Sequence[str]) -> tuple[str, str]:
    """The task as an instruction, and the reply."""
    return f"{what}: {' '.join(words)} =", f" {solved(what, words)}"


def skill(model: Decoder, vocab: lab.Vocab, prompts: Sequence[str], replies: Sequence[str]) -> float:
    """The share of instructions that are carried out to the word."""
    return float(np.mean([a == b for a, b in zip(lab.answers(model, vocab, prompts, 6), replies, strict=True)]))


def recall(model: Decoder, vocab: lab.Vocab, pool: Pool) -> float:
    """The share of employers that are completed rightly in texts that were read."""
    rows = pool.table(["text", "truth"]).to_pylist()
    begun = [row["text"][: row["truth"]["at_employer"]].rstrip() for row in rows]
    wanted = [" " + row["truth"]["employer"] for row in rows]
    return float(np.mean([a == b for a, b in zip(lab.answers(model, vocab, begun, 2), wanted, strict=True)]))
