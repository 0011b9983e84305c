"""Dialect robustness (Srirag et al. 2024, arXiv 2405.05688): a word is guessed less often from talk in a rare dialect.

In a made-up game of taboo one speaker gives clues and the other guesses wrongly, until the word comes. A rule writes
the same conversation in a dialect: it has words of its own for all clues, and other phrases around them. A decoder of
2 layers reads conversations of which a share is in dialect, and is asked for the word of new ones, once in the standard
and once in the dialect, so that nothing but the dialect differs. It writes the word, or chooses among four. In the
negative control the words are dealt to other conversations. The paper compares real speakers and large models; what its
rewritten conversations lose, a rule does not lose, so that arm becomes: only words, or only phrases, in dialect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.models.tune import answer_log_probs

__all__ = ["PAPER", "run"]

PAPER = "evaluating_dialect_robustness_of_language_models"
SEEDS = 3
KINDS = ("colour", "place", "use")
RARE = 0.02
"""The share of dialect at which the gap is judged."""
PHRASES = {
    "so": ("it has", "it is having"),
    "and": ("think of", "just think about"),
    "no": ("no try again", "no yaar again you try"),
    "guess": ("is it", "it is"),
    "end": ("so what is it", "so it is what only"),
}
"""What a turn begins with, in the standard and in the dialect."""
Turn = tuple[str, str]


@dataclass(frozen=True)
class Scale:
    """The game and the training.

    Attributes:
        values: words per kind of clue.
        shares: of the training conversations, in dialect.
    """

    words: int = 40
    values: int = 8
    conversations: int = 2000
    shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.5)
    depth: int = 2
    steps: int = 600
    batch: int = 32
    exam: int = 200
    candidates: int = 4


@dataclass(frozen=True)
class Game:
    """A conversation: turns of a phrase and a clue or a wrong guess, and the word it is about."""

    turns: tuple[Turn, ...]
    word: str

    def text(self, words: bool, phrases: bool) -> str:
        """The conversation without its word; `words` and `phrases` say what of it is in dialect."""
        said = [f"{PHRASES[phrase][phrases]} {_clue(what, words)}".strip() for phrase, what in self.turns]
        return f" {' '.join(said)} {PHRASES['end'][phrases]}"


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    found = {share: [marks(share, Run(seed=seed), scale) for seed in seeds] for share in scale.shares}
    control = [marks(RARE, Run(seed=seed), scale, dealt=True) for seed in seeds]
    return statements(found, control, scale)


def statements(
    found: Mapping[float, Sequence[Mapping[str, float]]], control: Sequence[Mapping[str, float]], scale: Scale
) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed by share of dialect in training."""
    shares = sorted(found)
    gaps = {s: _of(found[s], "standard") - _of(found[s], "dialect") for s in shares}
    chosen = {s: _of(found[s], "standard chosen") - _of(found[s], "dialect chosen") for s in shares}
    rare, even = RARE, shares[-1]
    falls = {(a, b): gaps[a] - gaps[b] for a, b in pairwise(shares)}
    dealt = _of(control, "standard") - _of(control, "dialect")
    return [
        lab.row(f"standard less dialect, {rare:.0%} of training in dialect: the word is written",
                "above 0 (here: at least 0.1)", gaps[rare], lab.mean(gaps[rare])[1] > 0 and gaps[rare].mean() >= 0.1),
        lab.row(f"the same: the word is chosen among {scale.candidates}", "above 0", chosen[rare],
                lab.mean(chosen[rare])[1] > 0),
        *(lab.row(f"the gap at {a:.0%} less that at {b:.0%}", "above 0: it shrinks as the share grows", fall,
                  lab.mean(fall)[1] > 0) for (a, b), fall in falls.items()),
        lab.row(f"standard less dialect, {even:.0%} of training in dialect", "0 (here: within 0.05)", gaps[even],
                abs(gaps[even].mean()) <= 0.05),
        lab.row("control: words dealt to other conversations, standard less dialect", "0 (here: within 0.05)", dealt,
                abs(dealt.mean()) <= 0.05),
        lab.row(f"control: standard; chance is {1 / scale.words:.3f}", "chance (here: at most twice)",
                _of(control, "standard"), _of(control, "standard").mean() <= 2 / scale.words),
        *(lab.row(f"{s:.0%} of training in dialect: {name}", "", _of(found[s], name), None)
          for s in shares for name in found[s][0]),
    ]  # fmt: skip


def marks(share: float, run: Run, scale: Scale, dealt: bool = False) -> dict[str, float]:
    """Shares of words found, by what of the conversation is in dialect and by how they were asked for.

    Args:
        share: of the training conversations, in dialect.
        dealt: every word goes to another conversation of training.
    """
    games = _games(scale.conversations + scale.exam, run.rng("games"), scale)
    train, exam = games[scale.exam :], games[: scale.exam]
    rare = set(run.rng("dialect").permutation(len(train))[: round(share * len(train))].tolist())
    prompts = [game.text(i in rare, i in rare) for i, game in enumerate(train)]
    replies = [f" {game.word}" for game in train]
    if dealt:
        replies = [*replies[1:], *replies[:1]]
    asked = {
        "standard": [game.text(False, False) for game in exam],
        "dialect": [game.text(True, True) for game in exam],
        "words in dialect": [game.text(True, False) for game in exam],
        "phrases in dialect": [game.text(False, True) for game in exam],
    }
    vocab = lab.Vocab.of([*prompts, *replies, *(text for texts in asked.values() for text in texts)], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 64, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.tune(model, lab.talks(vocab, prompts, replies), scale.steps, run, options)
        out = {}
        for name, texts in asked.items():
            said = lab.answers(model, vocab, texts, 2)
            out[name] = float(np.mean([s == f" {game.word}" for s, game in zip(said, exam, strict=True)]))
        options_of = candidates(exam, scale, run.rng("candidates"))
        model.eval()
        for name in ("standard", "dialect"):
            texts = [text for text in asked[name] for _ in range(scale.candidates)]
            data = lab.talks(vocab, texts, [f" {word}" for words in options_of for word in words])
            with torch.no_grad():
                scores = answer_log_probs(model, data, np.arange(len(texts)), end=lab.END)
            best = scores.view(-1, scale.candidates).argmax(1).tolist()
            out[f"{name} chosen"] = float(np.mean([options_of[i][j] == game.word for i, (j, game) in
                                                   enumerate(zip(best, exam, strict=True))]))  # fmt: skip
    return out


def candidates(exam: Sequence[Game], scale: Scale, rng: np.random.Generator) -> list[list[str]]:
    """For each conversation its word and others that it does not name, in random order; alike in both dialects."""
    out = []
    for game in exam:
        named = {what for _, what in game.turns} | {game.word}
        others = [word for word in _names(scale) if word not in named]
        some = [game.word, *(others[i] for i in rng.permutation(len(others))[: scale.candidates - 1])]
        out.append([some[i] for i in rng.permutation(len(some))])
    return out


def _games(count: int, rng: np.random.Generator, scale: Scale) -> list[Game]:
    """Conversations that differ; every word has one clue of each kind, and no two words have the same three."""
    sheets = rng.permutation(scale.values ** len(KINDS))[: scale.words]
    clues = [[f"{kind}{int(s) // scale.values**k % scale.values}" for k, kind in enumerate(KINDS)] for s in sheets]
    names = _names(scale)
    seen: dict[Game, None] = {}
    while len(seen) < count:
        w = int(rng.integers(scale.words))
        turns: list[Turn] = []
        for k in rng.permutation(len(KINDS)).tolist():
            turns.append((("so", "and")[int(rng.integers(2))], clues[w][k]))
            if rng.random() < 0.5:
                wrong = int(rng.integers(scale.words - 1))
                turns += [("guess", names[wrong + (wrong >= w)]), ("no", "")]
        seen[Game(tuple(turns), names[w])] = None
    return list(seen)


def _names(scale: Scale) -> list[str]:
    return [f"word{i}" for i in range(scale.words)]


def _clue(what: str, dialect: bool) -> str:
    """A clue or a guess as it is said; words that are guessed have no other form."""
    return f"local{what}" if dialect and what.startswith(KINDS) else what


def _of(found: Sequence[Mapping[str, float]], name: str) -> Any:
    return np.array([f[name] for f in found])
