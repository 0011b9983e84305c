"""Weight-preserving few-shot tuning (Utama et al. 2021, arXiv 2109.04144): it keeps what a shortcut would undo.

A decoder of 3 layers reads pairs of short sentences with the answer whether the second follows, a part of the answers
being wrong. So it can judge pairs without tuning: it says ``no`` when subject and object are exchanged, except with
verbs that mean the same both ways round, which are rare in what it reads. Then it is tuned on a few pairs: sentences
repeated, or exchanged with such a verb, which follow, and sentences of other words, which do not. In these the words
alone say the answer: the shortcut. The probe are pairs with an ordinary verb and the two exchanged: the same bag of
words, and the second does not follow. Arms tune plainly, or are pulled to the weights before tuning, alike (L2-SP) or
by their Fisher information (EWC), or to the origin; a pull's strength is the largest of five that costs at most a point
on pairs like the few, never looking at the probe. The paper tunes RoBERTa and probes it with HANS and PAWS.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import padded, windows
from tilth.models.continual import Anchor, ewc, fisher_diagonal, l2
from tilth.models.feeds import Fixed
from tilth.models.optim import Options, precision_of
from tilth.models.train import generator, threads, train_lm
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts, answer_log_probs

__all__ = ["PAPER", "run"]

PAPER = "avoiding_inference_heuristics_in_fewshot_promptbased"
SEEDS = 3
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "L2-SP": (3.0, 10.0, 30.0, 100.0, 300.0),
    "EWC": (1e2, 1e3, 1e4, 1e5, 1e6),
    "to the origin": (1.0, 3.0, 10.0, 30.0, 100.0),
}
FROZEN = 1e12
"""A strength at which nothing moves."""
KINDS: Mapping[str, float] = {
    "same": 0.47,
    "symmetric": 0.005,
    "other words": 0.225,
    "exchanged": 0.3,
}
"""Of the pairs that are read at first, the share of each kind; of the first two the second sentence follows."""
FOLLOWS = ("same", "symmetric")
LIKE = (*FOLLOWS, "other words")
"""Kinds of the few pairs."""
PROBE = "exchanged"
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The language, the model and its training.

    Attributes:
        nouns: of the language.
        verbs, symmetric: verbs that say who does what to whom, and such that mean the same both ways round.
        mutual: share of the pairs of other kinds, but for those of the probe, whose verb is one of the latter.
        wrong: share of the answers that are wrong in what is read at first.
        documents: pairs to read at first; they are read again until `tokens` tokens were read.
        reading: windows of a step of that.
        few, draws: pairs to tune on, and how many times such a set is drawn and tuned on in a seed.
        steps, batch, rate: of the tuning.
        held: pairs of each kind to judge by, and as many others to choose strengths by.
        informed: documents that the Fisher information is taken from.
        cost: largest loss of accuracy on pairs like the few at which a strength is chosen.
    """

    nouns: int = 10
    verbs: int = 6
    symmetric: int = 2
    mutual: float = 0.1
    wrong: float = 0.1
    documents: int = 40_000
    tokens: int = 300_000
    reading: int = 8
    first: float = 2e-3
    depth: int = 3
    context: int = 64
    few: int = 32
    draws: int = 2
    steps: int = 60
    batch: int = 8
    rate: float = 1e-3
    held: int = 150
    informed: int = 200
    cost: float = 0.01


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(World(Run(seed=seed), Scale())) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str = "probe") -> Floats:
        return np.array([f[arm][name] for f in found])

    drop = of("no tuning") - of("tuned")
    rows = [lab.row("probe: accuracy, no tuning less tuned", "above 0", drop, lab.mean(drop)[1] > 0)]
    fell = np.where(drop > 0, drop, np.nan)  # where nothing was lost, nothing can be restored
    back = {arm: (of(arm) - of("tuned")) / fell for arm in STRENGTHS}
    for arm in ("L2-SP", "EWC"):
        cost = of("tuned", "like the few") - of(arm, "like the few")
        rows += [
            lab.row(f"{arm}: part of that which it restores", "at least 0.5", back[arm], bool(back[arm].mean() >= 0.5)),
            lab.row(f"{arm}: accuracy on pairs like the few that it costs", "at most 0.02", cost, cost.mean() <= 0.02),
        ]
    origin = "to the origin"
    less = of("L2-SP") - of(origin)
    useful = of("tuned", "like the few") - of("no tuning", "like the few")
    same, frozen = of("L2-SP, strength 0", "as tuned"), of("L2-SP, frozen", "as untuned")
    return [
        *rows,
        lab.row("a pull to the origin: part that it restores", "none (here: less than 0.25)", back[origin],
                bool(back[origin].mean() < 0.25)),
        lab.row("probe: accuracy, L2-SP less a pull to the origin", "above 0", less, lab.mean(less)[1] > 0),
        lab.row("accuracy on pairs like the few, tuned less no tuning", "above 0", useful, lab.mean(useful)[1] > 0),
        lab.row("strength 0: difference from tuned, nats", "0", same, bool(same.max() == 0)),
        lab.row(f"strength {FROZEN:g}: difference from no tuning, nats", "0 (here: below 1e-3)", frozen,
                bool(frozen.max() < 1e-3)),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0]["tuned"] for arm in found[0]
          if name in found[0][arm]),
    ]  # fmt: skip


def measured(world: World) -> dict[str, dict[str, float]]:
    """Accuracies of each arm, and by which strength, means over the draws of the few pairs."""
    draws = [world.tuned(draw) for draw in range(world.scale.draws)]
    return {
        arm: {name: float(np.mean([found[arm][name] for found in draws])) for name in draws[0][arm]} for arm in draws[0]
    }


def pair(kind: str, rng: np.random.Generator, scale: Scale) -> tuple[str, str]:
    """Two sentences of subject, verb and object; verbs whose names begin with ``s`` mean the same both ways round."""
    a, b, c, d = (f"n{i}" for i in rng.permutation(scale.nouns)[:4])
    mutual = [f"s{i}" for i in range(scale.symmetric)]
    verbs = [f"v{i}" for i in range(scale.verbs)]
    v, w = rng.permutation(verbs)[:2].tolist()
    if kind == "symmetric" or (kind != PROBE and rng.random() < scale.mutual):
        v = str(rng.choice(mutual))
    seconds = {
        "same": (a, v, b),
        "symmetric": (b, v, a),
        "exchanged": (b, v, a),
        "other words": (c, w, d),
    }
    return f"{a} {v} {b}", " ".join(seconds[kind])


def follows(premise: str, second: str) -> bool:
    """The truth, read off the two sentences."""
    subject, verb, thing = premise.split()
    return second.split() in ([subject, verb, thing], [thing, verb, subject][: 3 * verb.startswith("s")])


class World:
    """A language, a model that has read it, and few pairs with a shortcut to tune it on."""

    def __init__(self, run: Run, scale: Scale) -> None:
        self.run, self.scale = run, scale
        counts = {"n": scale.nouns, "v": scale.verbs, "s": scale.symmetric}
        words = [f"{letter}{i}" for letter, count in counts.items() for i in range(count)]
        self.vocab = lab.Vocab.of([" ".join(["", *words, "yes", "no"]) + "?"], lab.WORDS)
        rng = run.rng("documents")
        kinds = rng.choice([*KINDS], scale.documents, p=[*KINDS.values()])
        pairs = [pair(str(kind), rng, scale) for kind in kinds]
        wrong = rng.random(scale.documents) < scale.wrong
        told = [follows(*p) != bool(w) for p, w in zip(pairs, wrong, strict=True)]
        self.documents = [prompt(*p) + answer(t) for p, t in zip(pairs, told, strict=True)]
        self.held = {part: {kind: self._pairs(kind, scale.held, part) for kind in KINDS} for part in ("dev", "test")}
        self.start = self._started()
        self.fisher = self._fisher()

    def _pairs(self, kind: str, count: int, *place: str | int) -> list[tuple[str, str]]:
        rng = self.run.rng(*place, kind)
        return [pair(kind, rng, self.scale) for _ in range(count)]

    def _started(self) -> Decoder:
        """A model that has read the documents; premises, which are chance, are not learned."""
        scale, texts = self.scale, self.vocab.encode_batch(self.documents)
        learned = self._learned(texts)
        tokens = texts[1].size + scale.documents
        order = lab.order(scale.documents, -(-scale.tokens * scale.documents // tokens), self.run.at("read"))
        data = windows(*texts, order, scale.context, lab.END, None, learned)
        with threads(1):
            model = lab.decoder(scale.depth, len(self.vocab), scale.context, self.run)
            options = Options(rate=scale.first, batch=scale.reading, precision=precision_of("auto"))
            train_lm(model, Fixed(data, scale.reading), options)
        return model.eval()

    def _learned(self, texts: Texts) -> npt.NDArray[np.bool_]:
        """Which ids are learned: what follows a document's first mark."""
        mark = texts[1] == self.vocab.ids["?"]
        document = np.repeat(np.arange(len(texts[0]) - 1), np.diff(texts[0]))
        return np.asarray(np.cumsum(mark) - mark > 2 * document)  # each has two

    def _fisher(self) -> dict[str, Tensor]:
        """Of what the model was trained on: documents like those read, every learned token drawn from the model."""
        some = self.run.rng("informed").permutation(len(self.documents))[: self.scale.informed]
        texts = self.vocab.encode_batch([self.documents[i] for i in some])
        tokens, real = padded(*texts, np.arange(some.size), self.scale.context)
        real[real] = self._learned(texts)
        inputs = torch.from_numpy(np.concatenate([np.zeros((some.size, 1), np.int64), tokens[:, :-1]], 1))
        scores = _Scores(self.start)
        with torch.no_grad():
            p = scores(inputs).softmax(-1)
        rng = generator(self.run.rng("drawn"))
        drawn = torch.multinomial(p.flatten(0, 1), 1, generator=rng).view(inputs.shape)
        drawn = drawn.masked_fill(torch.from_numpy(~real), -1)

        def loss(call: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(call(x).flatten(0, 1), y.flatten(), ignore_index=-1, reduction="sum")

        with threads(1):
            found = fisher_diagonal(scores, loss, (inputs, drawn))
        return {name.removeprefix("decoder."): f for name, f in found.items()}

    def few(self, draw: int) -> tuple[list[str], list[str]]:
        """Prompts and answers to tune on, right and alike many: what follows has the premise's words, the rest not."""
        part = self.scale.few // 4
        pairs = [p for kind in ("same", "symmetric") for p in self._pairs(kind, part, "few", draw)]
        pairs += self._pairs("other words", 2 * part, "few", draw)
        return [prompt(*p) for p in pairs], [answer(follows(*p)) for p in pairs]

    def tuned(self, draw: int) -> dict[str, dict[str, float]]:
        """Accuracies of each arm, tuned on one draw of the few."""
        plain = self._tune(draw, None)
        ours = self.marks(plain)
        found = {"no tuning": self.marks(self.start), "tuned": ours}
        least = self.right(plain, "dev", LIKE) - self.scale.cost
        for arm, strengths in STRENGTHS.items():
            best = plain, 0.0
            for strength in strengths:
                model = self._tune(draw, (arm, strength))
                if self.right(model, "dev", LIKE) >= least:
                    best = model, strength
            found[arm] = {**self.marks(best[0]), "strength": best[1]}
        same, frozen = (self._tune(draw, ("L2-SP", strength)) for strength in (0.0, FROZEN))
        found["L2-SP, strength 0"] = {"as tuned": self._apart(same, plain)}
        found["L2-SP, frozen"] = {"as untuned": self._apart(frozen, self.start)}
        return found

    def _tune(self, draw: int, pull: tuple[str, float] | None) -> Decoder:
        model, scale = copy.deepcopy(self.start).train(), self.scale
        options = Options(rate=scale.rate, batch=scale.batch, faster=1.0, weight_decay=0.0)
        with threads(1):
            place = self.run.at("tune", draw)
            data = lab.talks(self.vocab, *self.few(draw))
            stepped = None if pull is None else self._pull(model, *pull)
            lab.tune(model, data, scale.steps, place, options, stepped=stepped)
        return model.eval()

    def _pull(self, model: Decoder, arm: str, strength: float) -> Anchor:
        if arm == "EWC":
            return ewc(model, self.fisher, strength)
        if arm == "L2-SP":
            return l2(model, strength)
        weights = dict(model.named_parameters())
        return Anchor(
            model,
            {name: torch.ones_like(p) for name, p in weights.items()},
            strength,
            to={name: torch.zeros_like(p) for name, p in weights.items()},
        )

    def marks(self, model: Decoder) -> dict[str, float]:
        """Accuracy on the probe, on pairs like the few, and on each kind."""
        kinds = {kind: self.right(model, "test", (kind,)) for kind in KINDS}
        return {"probe": kinds.pop(PROBE), "like the few": float(np.mean([kinds[kind] for kind in LIKE])), **kinds}

    def right(self, model: Decoder, part: str, kinds: Sequence[str]) -> float:
        """Share of pairs of which the right answer is the likelier one, a mean over kinds."""
        return float(np.mean([self.margins(model, self.held[part][kind]) > 0 for kind in kinds]))

    def margins(self, model: Decoder, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Log-probability of the right answer less that of the wrong one, of each pair."""
        prompts = [prompt(*p) for p in pairs]
        with torch.no_grad(), threads(1):
            yes, no = (
                answer_log_probs(model, lab.talks(self.vocab, prompts, [answer(told)] * len(pairs)),
                                 np.arange(len(pairs)), end=lab.END).double().numpy()
                for told in (True, False)
            )  # fmt: skip
        truth = np.array([follows(*p) for p in pairs])
        return np.asarray(np.where(truth, yes - no, no - yes))

    def _apart(self, one: Decoder, other: Decoder) -> float:
        """The largest difference between two models' margins on the probe."""
        pairs = self.held["test"][PROBE]
        return float(np.abs(self.margins(one, pairs) - self.margins(other, pairs)).max())


def prompt(premise: str, second: str) -> str:
    """A pair as a text that an answer follows."""
    return f" {premise}? {second}?"


def answer(told: bool) -> str:
    """The answer as it is written."""
    return " yes" if told else " no"


class _Scores(nn.Module):
    """A decoder whose forward gives the scores of every next token, which `torch.func` can differentiate."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder.logits(self.decoder(tokens))
