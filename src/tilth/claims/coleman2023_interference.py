"""In-context interference (Coleman et al. 2023, arXiv 2309.12727): facts that go on coming make earlier ones be missed.

A decoder of 2 layers with one token per word learns to answer questions about streams of up to 12 facts, where people
move and things change hands, all questions about a stream one after the other behind it. Then a question is asked after
each fact of new streams: accuracy by the number of facts told after the one that answers, at about equal numbers of
facts in all; wrong answers apart that were right before an update; and the same questions with the later facts replaced
by sentences of as many words that tell nothing, so that distance stays and facts go. In the control the questions are
asked about other streams. The paper asks chat models of billions of parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.interference import Interference, outcomes

__all__ = ["PAPER", "run"]

PAPER = "incontext_interference_in_chatbased_large_language"
SEEDS = 3
BANDS: Mapping[str, tuple[int, int]] = {"0": (0, 0), "1 or 2": (1, 2), "3 to 5": (3, 5), "6 to 8": (6, 8),
                                        "9 to 11": (9, 11)}  # fmt: skip
"""Numbers of later facts that are looked at together."""
FAR = 6
"""So many later facts are many."""
MANY = 9
"""Accuracy by later facts is of questions after so many facts or more: after few, a guess is often right."""
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The streams and the training.

    Attributes:
        records: questions to learn from.
        items: streams that are asked about, after each of their facts.
    """

    facts: int = 12
    records: int = 20_000
    items: int = 300
    depth: int = 2
    context: int = 128
    steps: int = 600
    batch: int = 32
    rate: float = 2e-3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""

    def of(name: str) -> Floats:
        return np.array([f[name] for f in found])

    near, far = of("0 later: right"), of("6 to 11 later: right")
    blank = of("6 to 11 later, padded instead: right")
    lost, by_facts = near - far, blank - far
    stale, guess = of("updated: wrong answers that are stale"), of("updated: stale if guessed")
    return [
        lab.row("right answers after 9 to 12 facts: to the last one, less to those with 6 to 11 later", "above 0",
                lost, lab.mean(lost)[1] > 0),
        lab.row("those with 6 to 11 later: padded instead, less as told", "above 0", by_facts,
                lab.mean(by_facts)[1] > 0),
        lab.row("wrong answers about what was updated: stale, less what a guess gives", "above 0", stale - guess,
                lab.mean(stale - guess)[1] > 0),
        lab.row("right answers after 9 to 12 facts: to the last one", "given (here: at least 0.5)", near,
                near.mean() >= 0.5),
        lab.row("control: questions asked about other streams", "chance (here: at most 0.2)",
                of("other streams: right"), of("other streams: right").mean() <= 0.2),
        *(lab.row(name, "", of(name), None) for name in found[0]),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, float]:
    """Accuracy by later facts, as told and padded, and what wrong answers are."""
    world = Interference(facts=scale.facts, items=scale.items).build(scale.records, run)
    assert world.goal is not None
    holdout, padded = world.goal.holdout, world.more["padded"]
    streams = told(world.pool)
    asks, says = _spaced(holdout)
    blanks, _ = _spaced(padded)
    vocab = lab.Vocab.of([*(text for parts in streams for text in parts), *asks, *says, *blanks], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        options = Options(rate=scale.rate, faster=2.0, batch=scale.batch, precision=precision_of("auto"))
        lab.tune(model, talks(vocab, streams), scale.steps, run, options)
        given, blank, dealt = (lab.answers(model, vocab, some, 1) for some in (asks, blanks, elsewhere(asks, scale)))
    return marks(holdout, padded, given, blank, dealt)


def marks(
    holdout: Pool, padded: Pool, given: Sequence[str], blank: Sequence[str], dealt: Sequence[str]
) -> dict[str, float]:
    """What the statements need, from the answers as told, padded, and about other streams."""
    truth = holdout.column("truth").to_pylist()
    facts = np.array([t["facts"] for t in truth])
    later = np.array([t["later"] for t in truth])
    updated = np.array([bool(t["stale"]) for t in truth])
    stale = np.array([len(t["stale"]) / max(1, t["wrong"]) for t in truth])
    guess = np.array([1 / (1 + t["wrong"]) for t in truth])
    fewer = np.array([1 / (1 + t["wrong"]) for t in padded.column("truth").to_pylist()])
    said, without = outcomes(holdout, list(given)), outcomes(padded, list(blank))
    right, kept = said == "right", without == "right"
    wrong = updated & ~right
    many, once = facts >= MANY, later > 0
    found = {}
    for name, (a, b) in BANDS.items():
        some = many & (later >= a) & (later <= b)
        found[f"{name} later: right"] = _share(right[some])
        found[f"{name} later: right if guessed"] = _mean(guess[some])
        found[f"{name} later, padded instead: right"] = _share(kept[some])
        found[f"{name} later, padded instead: right if guessed"] = _mean(fewer[some])
    far = many & (later >= FAR)
    return {
        **found,
        "6 to 11 later: right": _share(right[far]),
        "6 to 11 later, padded instead: right": _share(kept[far]),
        "told last, never updated: right": _share(right[many & ~once & ~updated]),
        "told last, updated: right": _share(right[many & ~once & updated]),
        "told earlier, never updated: right": _share(right[many & once & ~updated]),
        "told earlier, updated: right": _share(right[many & once & updated]),
        "updated: wrong answers that are stale": _share(said[wrong] == "stale"),
        "updated: stale if guessed": _mean(stale[wrong]),
        "other streams: right": _share((outcomes(holdout, list(dealt)) == "right")[many]),
    }


def told(pool: Pool) -> list[list[str]]:
    """Of each stream its sentences, then its questions and answers in turn."""
    truth = pool.column("truth.stream").to_pylist()
    asks, says = lab.asked(pool)
    made = []
    for _, rows in groupby(range(len(truth)), key=lambda i: int(truth[i])):
        parts: list[str] = []
        for i in rows:
            story, question = asks[i].split("\n")
            parts += [f" {story} {question}" if not parts else f" {question}", f" {says[i]}"]
        made.append(parts)
    return made


def talks(vocab: lab.Vocab, streams: Sequence[Sequence[str]]) -> Dialogues:
    """Streams as dialogues: every second part is an answer, and learned; nothing else is, not even the end."""
    encoded = [vocab.encode_batch(parts) for parts in streams]
    learned = [np.repeat(np.arange(len(offsets) - 1) % 2 == 1, np.diff(offsets)) for offsets, _ in encoded]
    bounds = np.concatenate([[0], np.cumsum([ids.size for _, ids in encoded])]).astype(np.int64)
    size = np.array([sum(len(part.encode()) for part in parts[1::2]) for parts in streams], np.int64)
    return Dialogues(bounds, np.concatenate([ids for _, ids in encoded]), np.concatenate(learned), size)


def elsewhere(asks: Sequence[str], scale: Scale) -> list[str]:
    """Every question behind the stream of the record that is as far on in the next stream."""
    parts = [ask.rsplit(". ", 1) for ask in asks]
    return [f"{parts[(i + scale.facts) % len(parts)][0]}. {question}" for i, (_, question) in enumerate(parts)]


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else float("nan")


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _spaced(pool: Pool) -> tuple[list[str], list[str]]:
    """Lines joined by blanks, so that a word has one token wherever it stands."""
    prompts, replies = lab.asked(pool)
    return [" " + prompt.replace("\n", " ") for prompt in prompts], [" " + reply for reply in replies]
