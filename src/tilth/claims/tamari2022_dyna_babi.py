"""Dyna-bAbI (Tamari et al. 2022): stories in known combinations of events do not teach new combinations.

A decoder of 2 layers with one token per word learns questions about stories that have the combinations of events of the
classical tasks, and is asked about new stories of these and of other combinations of the same events and questions.
Then the pool is doubled: with more of the same, or with random further combinations, none of those asked about. All
arms take as many updates. In the control the answers are dealt to other stories of the same question. Three seeds draw
stories, weights and order. The paper tunes pretrained models of up to 11 billion parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.dyna_babi import DynaBabi

__all__ = ["PAPER", "run"]

PAPER = "dynababi"
SEEDS = 3
TOKENS = r"(?s) ?[\w'-]+|."
CLASSICAL, DOUBLED, DIVERSE, DEALT = "classical", "twice as many", "as many further combinations", "answers dealt"
Floats = npt.NDArray[np.float64]
Marks = Mapping[str, Floats]


@dataclass(frozen=True)
class Scale:
    """Stories and training."""

    records: int = 2750
    items: int = 280
    facts: int = 4
    spread: int = 2
    depth: int = 2
    steps: int = 800
    batch: int = 32
    rate: float = 2e-3


ARMS = {CLASSICAL: (1, 0.0), DOUBLED: (2, 0.0), DIVERSE: (2, 0.5), DEALT: (1, 0.0)}
"""How many times the records, and the share of further combinations."""


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = {}
    for arm in ARMS:
        seeds = [marked(arm, Run(seed=seed), scale) for seed in range(SEEDS)]
        found[arm] = {name: np.array([marks[name] for marks in seeds]) for name in seeds[0]}
    return statements(found)


def statements(found: Mapping[str, Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the seeds' shares of right answers to known and new combinations."""
    known, new = ({arm: marks[name] for arm, marks in found.items()} for name in ("known", "new"))
    drop = known[CLASSICAL] - new[CLASSICAL]
    more, diverse = (new[arm] - new[CLASSICAL] for arm in (DOUBLED, DIVERSE))
    better = diverse - more
    return [
        lab.row("known combinations", "above 0.99 (here: at least 0.95)", known[CLASSICAL],
                known[CLASSICAL].mean() >= 0.95),
        lab.row("known less new combinations", "a large drop (here: at least 0.25)", drop, drop.mean() >= 0.25),
        lab.row("gain on new combinations by further ones", "above 0", diverse, lab.mean(diverse)[1] > 0),
        lab.row("gain by further combinations less gain by more of the same", "above 0", better,
                lab.mean(better)[1] > 0),
        lab.row("new combinations, trained on further ones", "below 0.7", new[DIVERSE], new[DIVERSE].mean() < 0.7),
        lab.row("control: new combinations, answers dealt; chance is 0.25", "at most chance", new[DEALT],
                new[DEALT].mean() <= 0.3),
        *(lab.row(f"{arm}: {name} combinations", "", marks[name], None)
          for arm, marks in found.items() for name in ("known", "new")),
    ]  # fmt: skip


def marked(arm: str, run: Run, scale: Scale) -> dict[str, float]:
    """Shares of right answers to new stories of known and of new combinations of events."""
    times, diverse = ARMS[arm]
    world = DynaBabi(diverse=diverse, items=scale.items, facts=scale.facts, spread=scale.spread).build(
        times * scale.records, run
    )
    assert world.goal is not None
    asks, says = (_spaced(texts) for texts in lab.asked(world.pool))
    if arm == DEALT:
        says = dealt(says, [t["question"] for t in world.pool.column("truth").to_pylist()], run)
    exams: dict[str, Pool] = {"known": world.goal.target, "new": world.goal.holdout}
    questions = {name: _spaced(lab.asked(pool)[0]) for name, pool in exams.items()}
    replies = {name: _spaced(lab.asked(pool)[1]) for name, pool in exams.items()}
    texts = [text for of in (questions, replies) for some in of.values() for text in some]
    vocab = lab.Vocab.of([*asks, *says, *texts], TOKENS)
    longest = max(np.diff(vocab.encode_batch([*says, *(a for some in replies.values() for a in some)])[0])) + 1
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 160, run)
        options = Options(rate=scale.rate, faster=2.0, batch=scale.batch, precision=precision_of("auto"))
        lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run, options)
        said = {name: lab.answers(model, vocab, questions[name], int(longest)) for name in exams}
    return {name: float(np.mean([a == w for a, w in zip(said[name], replies[name], strict=True)])) for name in exams}


def dealt(says: list[str], kinds: list[str], run: Run) -> list[str]:
    """Every reply given to another record of the same kind of question, so kinds keep their replies."""
    out = list(says)
    rng = run.rng("dealt")
    for kind in sorted(set(kinds)):
        of = np.flatnonzero(np.array(kinds) == kind)
        for i, j in zip(of.tolist(), rng.permutation(of).tolist(), strict=True):
            out[i] = says[j]
    return out


def _spaced(texts: list[str]) -> list[str]:
    """Lines joined by blanks, so that a word has one token wherever it stands."""
    return [" " + text.replace("\n", " ") for text in texts]
