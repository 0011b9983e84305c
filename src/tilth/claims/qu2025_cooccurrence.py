"""Word co-occurrence and compositional generalisation (arXiv 2507.08000): PMI of a pair predicts accuracy on it.

An image is a vector: a clear scene, a faint thing on it, and noise. Its caption names both. A small model reads images
and either learns to name both, or learns which caption belongs to which image, as CLIP does. Every pair of scene and
thing is then shown equally often and the thing is asked for. Attraction of pairs and frequencies of concepts are
planted independently of one another; PMI is what `ConceptPairPmi` finds in the captions. Controls: PMI dealt to other
pairs, and the PMI of one corpus against a model of another one, with the same frequencies and pairs made at random.

The paper measures CLIP on photographs with a thing pasted in, and counts in LAION-400M. Not run: its other data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Run, TablePool
from tilth.models.optim import Options
from tilth.models.train import descend, generator, threads
from tilth.signals.difficulty.concept_pair_pmi import ConceptPairPmi

__all__ = ["PAPER", "run"]

PAPER = "impact_of_pretraining_word_cooccurrence_on"
SEEDS = 5
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The world and the training.

    Attributes:
        concepts: scenes, and as many things.
        attraction: standard deviation of the planted PMI, in nats.
        slope: frequencies of concepts fall as rank ** -slope where they are not matched.
        faint: length of a thing's vector; a scene's is 1.
        noise: standard deviation of the noise in each of `size` numbers.
        bins: equal groups of pairs, by PMI, whose mean accuracies are compared.
        shown: test images of each pair.
    """

    concepts: int = 24
    captions: int = 30_000
    attraction: float = 1.0
    slope: float = 0.7
    faint: float = 0.5
    noise: float = 0.15
    size: int = 32
    width: int = 128
    steps: int = 1000
    batch: int = 256
    heat: float = 0.1
    bins: int = 20
    shown: int = 50


@dataclass(frozen=True)
class Pairs:
    """What is known of every pair of scene and thing, each (concepts, concepts).

    Attributes:
        pmi, count: of the corpus, by `ConceptPairPmi`.
        scene, thing: logarithms of how many captions name them.
        exact: share of test images whose thing is told.
    """

    pmi: Floats
    count: Floats
    scene: Floats
    thing: Floats
    exact: Floats


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    return statements([marks(Run(seed=seed), scale) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    rows = []
    for key, said in (("matched", "equal frequencies"), ("free", "Zipf's frequencies")):
        r, gap = of[f"{key}: bins"], of[f"{key}: gap"]
        rows += [
            lab.row(f"{said}: r of PMI and accuracy, bins of pairs", "0.97 (here: at least 0.8)", r,
                    r.mean() >= 0.8),
            lab.row(f"{said}: accuracy, top 5 % of PMI less bottom 5 %", "0.14 (here: above 0)", gap,
                    lab.mean(gap)[1] > 0),
        ]  # fmt: skip
    given, less = of["free: partial"], of["free: bins"] - of["free: count bins"]
    alone, dealt, other = of["random: count"], of["free: dealt"], of["random: partial"]
    match = of["match matched: bins"]
    rows += [
        lab.row("Zipf's frequencies: partial r of PMI, given both frequencies", "above 0", given,
                lab.mean(given)[1] > 0),
        lab.row("Zipf's frequencies: r of PMI less r of the pair's log count, bins", "above 0", less,
                lab.mean(less)[1] > 0),
        lab.row("pairs made at random: r of the pair's log count, though pairs say nothing", "above 0 (confounded)",
                alone, lab.mean(alone)[1] > 0),
        lab.row("matching captions, equal frequencies: r of PMI and accuracy, bins", "0.97 (here: at least 0.8)", match,
                match.mean() >= 0.8),
        lab.row("control: PMI dealt to other pairs, partial r", "0 (here: within 0.1)", dealt,
                bool(abs(dealt.mean()) <= 0.1)),
        lab.row("control: a model of pairs made at random, partial r of PMI", "0 (here: within 0.1)", other,
                bool(abs(other.mean()) <= 0.1)),
    ]  # fmt: skip
    context = {
        "matched: single": "equal frequencies: r of PMI and accuracy, single pairs",
        "free: single": "Zipf's frequencies: r of PMI and accuracy, single pairs",
        "free: thing": "Zipf's frequencies: r of the thing's log frequency and accuracy, single pairs",
        "free: count bins": "Zipf's frequencies: r of the pair's log count and accuracy, bins",
        "match free: partial": "matching captions, Zipf's frequencies: partial r of PMI",
        "matched: exact": "equal frequencies: accuracy",
        "free: exact": "Zipf's frequencies: accuracy",
        "match matched: exact": "matching captions, equal frequencies: accuracy",
    }
    rows += [lab.row(what, "", of[name], None) for name, what in context.items()]
    return rows


def marks(run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed: correlations in three corpora."""
    ranks = np.arange(1, scale.concepts + 1) ** -scale.slope
    even = np.ones(scale.concepts)
    lift = run.rng("attraction").normal(0, scale.attraction, (scale.concepts, scale.concepts))
    corpora = {
        "matched": joint(lift, even, even),
        "free": joint(lift, run.rng("scenes").permutation(ranks), run.rng("things").permutation(ranks)),
    }
    corpora["random"] = np.outer(corpora["free"].sum(1), corpora["free"].sum(0))
    measured = {key: pairs(share, run.at(key), scale) for key, share in corpora.items()}
    measured |= {f"match {key}": pairs(corpora[key], run.at(key), scale, matching=True) for key in ("matched", "free")}
    out: dict[str, float] = {}
    for key, one in measured.items():
        exact, count = one.exact.ravel(), np.log(one.count.ravel() + 1)
        given = np.stack([one.scene.ravel(), one.thing.ravel()])
        pmi = measured["free"].pmi.ravel() if key == "random" else one.pmi.ravel()
        tail = max(1, round(0.05 * pmi.size))
        order = np.argsort(pmi, kind="stable")
        out |= {
            f"{key}: bins": binned(pmi, exact, scale.bins),
            f"{key}: count bins": binned(count, exact, scale.bins),
            f"{key}: gap": float(exact[order[-tail:]].mean() - exact[order[:tail]].mean()),
            f"{key}: single": partial(pmi, exact),
            f"{key}: partial": partial(pmi, exact, *given),
            f"{key}: count": partial(count, exact),
            f"{key}: thing": partial(one.thing.ravel(), exact),
            f"{key}: dealt": partial(run.rng("dealt").permutation(pmi), exact, *given),
            f"{key}: exact": float(exact.mean()),
        }
    return out


def joint(lift: Floats, scene: Floats, thing: Floats) -> Floats:
    """Shares of pairs, proportional to exp(lift) as far as the frequencies of scenes and things allow.

    >>> shares = joint(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([3.0, 1.0]), np.array([1.0, 1.0]))
    >>> shares.sum(1).round(3).tolist(), shares.sum(0).round(3).tolist()
    ([0.75, 0.25], [0.5, 0.5])
    """
    shares = np.exp(lift)
    for _ in range(500):  # iterative proportional fitting
        shares *= (scene / scene.sum() / shares.sum(1))[:, None]
        shares *= thing / thing.sum() / shares.sum(0)
    return np.asarray(shares)


def pairs(shares: Floats, run: Run, scale: Scale, matching: bool = False) -> Pairs:
    """Draw captions, count in them, train on them, and ask for the thing of test images of every pair.

    Args:
        matching: captions are matched with images; otherwise what is there is named.
    """
    n = scale.concepts
    drawn = run.rng("captions").choice(n * n, scale.captions, p=shares.ravel() / shares.sum())
    scene, thing = drawn // n, drawn % n
    texts = [f"scene{s} with thing{t}" for s, t in zip(scene.tolist(), thing.tolist(), strict=True)]
    names = tuple(f"{kind}{i}" for kind in ("scene", "thing") for i in range(n))
    table = ConceptPairPmi(concepts=names).fit(TablePool(pa.table({"text": texts})), None, run)
    single = np.log(np.diag(table.counts) + 1.0)
    looks = run.rng("looks").normal(0, scale.size**-0.5, (2 * n, scale.size))

    def images(scene: Ints, thing: Ints, rng: np.random.Generator) -> Tensor:
        noise = rng.normal(0, scale.noise, (scene.size, scale.size))
        return torch.from_numpy((looks[scene] + scale.faint * looks[n + thing] + noise).astype(np.float32))

    with threads(1):
        model = Matcher(scale, run)
        rng, order = run.rng("noise"), lab.order(scale.captions, scale.steps * scale.batch, run)

        def loss_of(step: int) -> Tensor:
            rows = order[step * scale.batch : (step + 1) * scale.batch]
            loss = model.matches if matching else model.names
            return loss(images(scene[rows], thing[rows], rng), torch.from_numpy(drawn[rows]))

        descend(model, loss_of, scale.steps, Options(rate=3e-3, batch=scale.batch, faster=1.0))
        asked = np.repeat(np.arange(n * n), scale.shown)
        said = model.things(images(asked // n, asked % n, run.rng("test")), matching)
    exact = (said == asked % n).reshape(n, n, scale.shown).mean(2)
    return Pairs(table.pmi[:n, n:], table.counts[:n, n:].astype(float), np.repeat(single[:n, None], n, 1),
                 np.repeat(single[None, n:], n, 0), exact)  # fmt: skip


class Matcher(nn.Module):
    """An encoder of images and a vector per word.

    It learns to name what is there, or to match captions (sums of words) with images, by the contrastive loss of CLIP
    (Radford et al. 2021, arXiv 2103.00020).
    """

    def __init__(self, scale: Scale, run: Run) -> None:
        super().__init__()
        self.concepts, self.heat = scale.concepts, scale.heat
        self.words = nn.Embedding(2 * scale.concepts, scale.size)
        self.inward = nn.Linear(scale.size, scale.width)
        self.outward = nn.Linear(scale.width, scale.size)
        draw = generator(run.rng("init"))
        with torch.no_grad():
            for weight in (self.words.weight, self.inward.weight, self.outward.weight):
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=draw)
            self.inward.bias.zero_()
            self.outward.bias.zero_()

    def names(self, images: Tensor, pair: Tensor) -> Tensor:
        """Mean nats of naming the scene and the thing, each among all there are."""
        scenes, things = (self.outward(F.gelu(self.inward(images))) @ self.words.weight.T).split(self.concepts, 1)
        return F.cross_entropy(scenes, pair // self.concepts) + F.cross_entropy(things, pair % self.concepts)

    def matches(self, images: Tensor, pair: Tensor) -> Tensor:
        """Mean nats of telling the caption of each image and the image of each caption, among those of the batch."""
        words = self.words(pair // self.concepts) + self.words(self.concepts + pair % self.concepts)
        seen = F.normalize(self.outward(F.gelu(self.inward(images))), dim=1)
        scores = seen @ F.normalize(words, dim=1).T / self.heat
        right = torch.arange(len(pair))
        return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2

    @torch.no_grad()
    def things(self, images: Tensor, alike: bool) -> Ints:
        """The thing that fits each image best.

        Args:
            alike: words are compared by direction alone, as `matches` learns them.
        """
        words = self.words.weight[self.concepts :]
        words = F.normalize(words, dim=1) if alike else words
        return np.asarray((self.outward(F.gelu(self.inward(images))) @ words.T).argmax(1).numpy(), np.int64)


def binned(by: Floats, exact: Floats, bins: int) -> float:
    """Correlation of the mean of `by` and the mean accuracy in equal groups of pairs.

    >>> round(binned(np.arange(6.0), np.array([0.1, 0.3, 0.3, 0.5, 0.6, 0.6]), 3), 3)
    1.0
    """
    groups = np.array_split(np.argsort(by, kind="stable"), bins)
    return partial(np.array([by[g].mean() for g in groups]), np.array([exact[g].mean() for g in groups]))


def partial(x: Floats, y: Floats, *given: Floats) -> float:
    """Correlation of x and y once the given columns have been regressed out of both; 0 where nothing is left.

    >>> a = np.array([1.0, 2.0, 3.0, 4.0])
    >>> round(partial(a, 2 * a), 3), round(partial(a + [0, 1, 0, 1], a, a), 3)
    (1.0, 0.0)
    """
    columns = np.stack([np.ones(x.size), *given], 1)
    left = [v - columns @ np.linalg.lstsq(columns, v, rcond=None)[0] for v in (x, y)]
    lengths = [float(np.linalg.norm(v)) for v in left]
    if min(lengths) <= 1e-9 * max(1.0, *(float(np.linalg.norm(v)) for v in (x, y))):
        return 0.0
    return float(left[0] @ left[1] / (lengths[0] * lengths[1]))
