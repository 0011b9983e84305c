"""The claim about mazes at a toy size: what is hidden, how ways are written, and what the statements judge."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import nolte2024_mazes as claim
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.probes.mazes import Mazes

TOY = claim.Scale(depth=1, steps=1, batch=4)
PROBE = Mazes(side=3, items=10)
HIDDEN = 99


def test_places_are_hidden_at_a_rate_of_each_ways_own_and_the_end_gives_no_length_away() -> None:
    ways = np.tile(np.arange(1, 41), (4000, 1))
    ways[:, 30] = lab.END
    ways[:, 31:] = claim.NONE
    seen, told = claim.hide(ways, HIDDEN, np.random.default_rng(0))
    real, covered = ways[:, :31], seen[:, :31] == HIDDEN
    assert (np.where(covered, told[:, :31], seen[:, :31]) == real).all()  # every place is seen or to be told
    assert (told[:, :31][~covered] == claim.NONE).all()
    assert (seen[:, 31:] == HIDDEN).all()
    assert (told[:, 31:] == claim.NONE).all()
    shares = covered.mean(1)
    assert np.quantile(shares, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


class Counting:
    """Stands for a model: at a hidden place it tells the place before it plus one, and the end at 5."""

    def eval(self) -> None:
        """Nothing to change."""

    def __call__(self, seen: Any) -> Any:
        before = torch.roll(seen, 1, 1)
        return torch.where(seen == HIDDEN, torch.where(before == HIDDEN, 7, (before + 1) % 5), 8)

    def logits(self, hidden: Any) -> Any:
        return torch.nn.functional.one_hot(hidden, HIDDEN + 1).float()


def test_ways_are_written_place_by_place_from_what_is_already_written() -> None:
    prompts = np.array([[3, 1], [4, 3]])
    ways = claim.write(Counting(), prompts, 6, HIDDEN)  # type: ignore[arg-type]
    assert [way.tolist() for way in ways] == [[2, 3, 4], [4]]


@pytest.mark.parametrize("dealt", [False, True])
@pytest.mark.parametrize("objective", ["next", "mlm_u"])
def test_both_objectives_train_on_the_same_ways(
    objective: claim.Objective, dealt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, str]] = []
    vocabs: list[lab.Vocab] = []
    talks, ways = lab.talks, claim._ways

    def talked(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    def uncovered(model: Any, prompts: claim.Ints, given: claim.Ints, *rest: Any) -> None:
        said = (way[: way.tolist().index(lab.END)] for way in given)
        learned.extend((vocabs[-1].decode(p), vocabs[-1].decode(w)) for p, w in zip(prompts, said, strict=True))

    def spelt(vocab: lab.Vocab, texts: list[str], longest: int) -> claim.Ints:
        vocabs.append(vocab)
        return ways(vocab, texts, longest)

    monkeypatch.setattr(lab, "talks", talked)
    monkeypatch.setattr(claim, "_uncover", uncovered)
    monkeypatch.setattr(claim, "_ways", spelt)
    claim.right(PROBE, objective, 30, Run(), TOY, dealt)
    assert len(learned) == 30
    assert sum(_leads(prompt, way) for prompt, way in learned) == (0 if dealt else 30)


def _leads(prompt: str, way: str) -> bool:
    words, path = prompt.split(), way.split()[1:]
    start = words.index("from")
    told = words[1:start]
    passages = {frozenset(pair) for pair in zip(told[::2], told[1::2], strict=True)}
    ends = [path[0], path[-1]] == [words[start + 1], words[start + 3]]
    return ends and all(frozenset(pair) in passages for pair in pairwise(path))


def test_uncovering_learns_from_hidden_places_alone() -> None:
    """Ways that are all alike are learned until they are written without anything seen."""
    model = lab.decoder(1, 7, 16, Run(), causal=False)
    prompts = np.array([[5], [4]] * 8)
    ways = np.array([[1, 2, 3, lab.END, claim.NONE], [3, 2, 1, lab.END, claim.NONE]] * 8)
    claim._uncover(model, prompts, ways, 6, 150, Run(), Options(rate=3e-3, batch=16))
    assert [way.tolist() for way in claim.write(model, prompts[:2], 5, 6)] == [[1, 2, 3], [3, 2, 1]]


def test_statements_hold_where_they_should() -> None:
    def marks(*values: float) -> dict[str, claim.Floats]:
        arms = (claim.NEXT, claim.ALL, claim.HALF, claim.DEALT)
        return {arm: value + np.array([-0.01, 0.0, 0.01]) for arm, value in zip(arms, values, strict=True)}

    assert [r["holds"] for r in claim.statements(marks(0.4, 0.8, 0.5, 0.01))[:3]] == ["yes"] * 3
    assert [r["holds"] for r in claim.statements(marks(0.4, 0.5, 0.3, 0.2))[:3]] == ["no"] * 3
