"""The claim about masked reasoning at a toy size: what is masked and what is not, and how replies are marked."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import chen2024_masked_thought as claim
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.transformer import Decoder

TOY = claim.Scale(size=30, depth=1, steps=2, batch=4, items=10)
OPTIONS = Options(rate=1e-2, batch=4)


def world(count: int = 12) -> tuple[lab.Vocab, Dialogues]:
    drawn = claim.problems(count, TOY, np.random.default_rng(0))
    asks, says = [p for p, _ in drawn], [r for _, r in drawn]
    vocab = lab.Vocab.of([*asks, *says], claim.PIECES)
    return vocab, lab.talks(vocab, asks, says)


def test_every_step_of_a_reply_is_right() -> None:
    drawn = claim.problems(200, TOY, np.random.default_rng(1))
    assert len({ask for ask, _ in drawn}) == 200
    for ask, reply in drawn:
        first, *steps = reply.replace(" ", "").replace("+", " +").replace("-", " -").split()
        now = int(first)
        for step in steps:
            done, result = step.split("=")
            now = (now + int(done)) % 10
            assert now == int(result)
        assert "".join([first, *(step.split("=")[0] for step in steps)]) + ";" == ask.replace(" ", "")
        assert 3 <= len(steps) <= 5


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_only_what_is_read_of_the_reply_is_masked(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab, data = world()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    losses = Decoder.losses

    def watched(self: Decoder, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append((inputs, targets))
        return losses(self, inputs, targets)

    monkeypatch.setattr(Decoder, "losses", watched)
    steps = 60
    model = lab.decoder(1, len(vocab) + 1, 64, Run())
    claim.tune_masked(model, data, steps, Run(), OPTIONS, share, len(vocab))
    masked = seen[:]
    seen.clear()
    model = lab.decoder(1, len(vocab) + 1, 64, Run())
    lab.tune(model, data, steps, Run(), OPTIONS)
    shares = []
    for (inputs, targets), (same, wanted) in zip(masked, seen, strict=True):
        assert torch.equal(targets, wanted), "what is to be said is the same"
        hidden = inputs == len(vocab)
        assert torch.equal(inputs[~hidden], same[~hidden])
        of_reply = torch.zeros_like(hidden)
        of_reply[:, 1:] = wanted[:, :-1] >= 0
        assert not bool((hidden & ~of_reply).any())
        shares.append(float(hidden.sum() / of_reply.sum()))
    assert shares[0] == 0, "the share rises from 0"
    assert np.mean(shares[12:28]) == pytest.approx(share / 2, abs=0.05)
    assert np.mean(shares[40:]) == pytest.approx(share, abs=0.05)


def test_without_masks_it_is_plain_tuning_bit_for_bit() -> None:
    vocab, data = world()
    models = [lab.decoder(1, len(vocab) + 1, 64, Run()) for _ in range(2)]
    done = claim.tune_masked(models[0], data, 10, Run(), OPTIONS, 0.0, len(vocab))
    plain = lab.tune(models[1], data, 10, Run(), OPTIONS)
    assert np.array_equal(done.losses, plain.losses)
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_the_last_result_decides_and_only_the_control_deals_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[list[str], list[str]]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        shown.append((prompts, replies))
        return talks(vocab, prompts, replies)

    def solve(prompt: str) -> str:
        terms = prompt.strip(" ;").replace("+ ", "+").replace("- ", "-").split()
        return f" = {sum(map(int, terms)) % 10}"

    monkeypatch.setattr(lab, "talks", seen)
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [solve(p) for p in prompts])
    assert claim.right(0.2, Run(), TOY) == (1.0, 1.0)
    held, known = claim.right(0.2, Run(), TOY, dealt=True)
    assert held == 1.0
    assert known <= 0.5
    (asks, says), (asks_again, dealt) = shown
    assert asks == asks_again
    assert sorted(says) == sorted(dealt)
    assert [len(r.split()) for r in says] == [len(r.split()) for r in dealt]
    assert np.mean([a == b for a, b in zip(says, dealt, strict=True)]) < 0.1
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [solve(p) + " +" for p in prompts])
    assert claim.right(0.2, Run(), TOY) == (0.0, 0.0)


def test_statements_hold_where_they_should() -> None:
    poor, good = [(0.5, 1.0), (0.55, 0.99), (0.6, 1.0)], [(0.7, 1.0), (0.74, 1.0), (0.79, 1.0)]

    def holds(plain: list[claim.Marks], hidden: list[claim.Marks], control: list[float]) -> list[str]:
        return [r["holds"] for r in claim.statements(plain, hidden, control, TOY)]

    assert holds(poor, good, [0.1, 0.12]) == ["yes"] * 3 + ["-"] * 3
    assert holds(poor, poor, [0.2, 0.3]) == ["no", "yes", "no"] + ["-"] * 3
    assert holds([(0.5, 0.6)] * 3, [(0.52, 0.6)] * 3, [0.1])[:2] == ["no", "no"]
