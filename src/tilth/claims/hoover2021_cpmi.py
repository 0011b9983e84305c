"""Dependencies from a masked model (Hoover et al. 2021, arXiv 2104.08685): contextual PMI against adjacency.

A small masked language model reads sentences of a made-up grammar whose links between words are known. The contextual
pointwise mutual information of two words is the logarithm of how much likelier one becomes when the model sees the
other, averaged over both directions; the spanning tree of the largest sum is the guess, and the undirected unlabelled
attachment score (UUAS) is the share of true links in it. It is held against neighbours joined to each other, PMI
counted from words that share a sentence, and random trees. In the local grammar words depend on their neighbours, as
most words of a language do; in the grammar with long links on words far off. In one negative control the words of each
sentence are shuffled before the model reads them, which leaves what PMI sees; in the other they are dealt to any
sentence, which leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.cpmi import Links, contextual, masked_model, pmi, symmetric, tree, uuas
from tilth.models.train import threads

__all__ = ["PAPER", "run"]

PAPER = "linguistic_dependencies_and_statistical_dependence"
SEEDS = 3
Grammar = Literal["long", "local"]
Control = Literal["", "shuffled", "dealt"]
GRAMMARS: tuple[Grammar, ...] = ("long", "local")
CONTROLS: tuple[Control, ...] = ("shuffled", "dealt")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MEASURES = ("cpmi", "pmi", "adjacent", "random")


@dataclass(frozen=True)
class Scale:
    """The grammars and the training.

    Attributes:
        letters: that words are made of; a link is a letter that two words have in common.
        pairs: fewest and most pairs of words in a sentence.
    """

    letters: int = 3
    pairs: tuple[int, int] = (2, 4)
    sentences: int = 4000
    depth: int = 2
    steps: int = 1500
    batch: int = 64
    exam: int = 100


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    found = {g: [scores(g, Run(seed=seed), scale) for seed in seeds] for g in GRAMMARS}
    shuffled, dealt = ([scores("long", Run(seed=seed), scale, how) for seed in seeds] for how in CONTROLS)
    return statements(found, shuffled, dealt)


def statements(
    found: Mapping[Grammar, Sequence[Mapping[str, float]]],
    shuffled: Sequence[Mapping[str, float]],
    dealt: Sequence[Mapping[str, float]],
) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `scores` gives of each seed."""
    long, local = ({m: np.array([f[m] for f in found[g]]) for m in MEASURES} for g in GRAMMARS)
    bag = np.array([f["cpmi"] - f["pmi"] for f in shuffled])
    none = np.array([f["cpmi"] - f["random"] for f in dealt])
    near = local["cpmi"] - local["adjacent"]
    return [
        lab.row("long links: CPMI less PMI", "above 0", long["cpmi"] - long["pmi"],
                lab.mean(long["cpmi"] - long["pmi"])[1] > 0),
        lab.row("long links: CPMI less neighbours joined", "above 0", long["cpmi"] - long["adjacent"],
                lab.mean(long["cpmi"] - long["adjacent"])[1] > 0),
        lab.row("local grammar: CPMI less neighbours joined", "about 0 (here: within 0.1)", near,
                abs(near.mean()) <= 0.1),
        lab.row("control: words shuffled within sentences, CPMI less PMI", "no more than PMI (here: at most 0.1)", bag,
                bag.mean() <= 0.1),
        lab.row("control: words dealt to other sentences, CPMI less random trees", "near 0 (here: at most 0.1)", none,
                none.mean() <= 0.1),
        *(lab.row(f"{what}: UUAS of {m}", "", values[m], None)
          for what, values in (("long links", long), ("local grammar", local)) for m in MEASURES),
        *(lab.row(f"control, words {how}: UUAS of CPMI", "", [f["cpmi"] for f in some], None)
          for how, some in zip(CONTROLS, (shuffled, dealt), strict=True)),
        *(lab.row(f"{g} grammar: masked words guessed", "", [f["guessed"] for f in found[g]], None) for g in GRAMMARS),
    ]  # fmt: skip


def scores(grammar: Grammar, run: Run, scale: Scale, control: Control = "") -> dict[str, float]:
    """UUAS of each measure on new sentences, and the share of masked words that the model guesses.

    Args:
        control: ``shuffled``: the words of every training sentence are shuffled; ``dealt``: they go to any sentence.
            The exam is as it was, and so are the sentences that PMI is counted from.
    """
    made = {"long": long_links, "local": local_links}[grammar]
    rng = run.rng("grammar")
    train = [made(rng, scale)[0] for _ in range(scale.sentences)]
    exam = [made(rng, scale) for _ in range(scale.exam)]
    size = 2 + scale.letters**3 + scale.letters**2  # id 0 fills up, id 1 is the mask
    static = pmi(train, size)
    if control == "shuffled":
        train = [rng.permutation(words) for words in train]
    if control == "dealt":
        train = np.split(rng.permutation(np.concatenate(train)), np.cumsum([len(words) for words in train])[:-1])
    found: dict[str, list[float]] = {m: [] for m in MEASURES}
    with threads(1):
        model = masked_model(train, size, run, depth=scale.depth, steps=scale.steps, batch=scale.batch)
        guessed = []
        for words, links in exam:
            values, alone = contextual(model, words)
            guessed.append(alone)
            n = len(words)
            guesses = {
                "cpmi": tree(values),
                "pmi": tree(static[np.ix_(words, words)]),
                "adjacent": frozenset((i, i + 1) for i in range(n - 1)),
                "random": tree(symmetric(rng.random((n, n)))),
            }
            for m, guess in guesses.items():
                found[m].append(uuas(guess, links))
    return {**{m: float(np.mean(v)) for m, v in found.items()}, "guessed": float(np.mean(guessed))}


def long_links(rng: np.random.Generator, scale: Scale) -> tuple[Ints, Links]:
    """A sentence of heads, then as many dependents in the same order, with its links.

    A head is three letters: the first is that of its dependent, the second is the third of the head before. So every
    head is linked to its dependent, as far off as there are pairs, and to the next head, and no link says what another
    does.
    """
    low, high = scale.pairs
    n, k = int(rng.integers(low, high + 1)), scale.letters
    first, last, other = rng.integers(k, size=(3, n))
    second = np.concatenate([rng.integers(k, size=1), last[:-1]])
    words = np.concatenate([2 + (first * k + second) * k + last, 2 + k**3 + first * k + other])
    return words, frozenset({(i, i + n) for i in range(n)} | {(i, i + 1) for i in range(n - 1)})


def local_links(rng: np.random.Generator, scale: Scale) -> tuple[Ints, Links]:
    """A sentence in which every word, two letters, begins with the last letter of the one before; with its links."""
    n = 2 * int(rng.integers(scale.pairs[0], scale.pairs[1] + 1))
    letters = rng.integers(scale.letters, size=n + 1)
    return 2 + letters[:-1] * scale.letters + letters[1:], frozenset((i, i + 1) for i in range(n - 1))
