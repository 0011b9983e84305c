"""The claim about dependencies at a toy size: the grammars, the trees, and what a perfect model would give."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import hoover2021_cpmi as claim

SCALE = claim.Scale(letters=3)
Found = dict[claim.Grammar, list[dict[str, float]]]


def test_long_links_join_words_with_a_common_letter_and_span_the_sentence() -> None:
    rng = Run().rng("g")
    far = 0
    for _ in range(50):
        words, links = claim.long_links(rng, SCALE)
        n = len(words) // 2
        heads, others = words[:n] - 2, words[n:] - 2 - 27
        assert 0 <= heads.min() <= heads.max() < 27
        assert 0 <= others.min() <= others.max() < 9
        assert len(links) == len(words) - 1
        assert (heads // 9 == others // 3).all()
        assert (heads[1:] // 3 % 3 == heads[:-1] % 3).all()
        assert {(i, i + n) for i in range(n)} <= links
        far += sum(j - i > 1 for i, j in links)
    assert far > 100


def test_local_links_are_between_neighbours_with_a_common_letter() -> None:
    words, links = claim.local_links(Run().rng("g"), SCALE)
    assert links == frozenset((i, i + 1) for i in range(len(words) - 1))
    assert all((a - 2) % 3 == (b - 2) // 3 for a, b in pairwise(words))


class _Blank(torch.nn.Module):
    """Has no opinion on any word."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*tokens.shape, 40)


def test_only_the_controls_move_words(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[np.ndarray]] = []

    def model(sentences: list[np.ndarray], size: int, run: Run, **shape: int) -> _Blank:
        read.append(sentences)
        return _Blank()

    monkeypatch.setattr(claim, "masked_model", model)
    scale = claim.Scale(sentences=60, exam=2)
    for control in ("", *claim.CONTROLS):
        found = claim.scores("long", Run(), scale, control)
        assert set(found) == {*claim.MEASURES, "guessed"}
    heads = [np.mean([max(w[: len(w) // 2]) < min(w[len(w) // 2 :]) for w in some]) for some in read]
    assert heads[0] == 1
    assert max(heads[1:]) < 0.5
    bags = [[sorted(w.tolist()) for w in some] for some in read]
    assert bags[0] == bags[1] != bags[2]
    assert [len(w) for w in read[0]] == [len(w) for w in read[2]]
    assert sorted(chain(*bags[0])) == sorted(chain(*bags[2]))


def test_statements_hold_where_they_should() -> None:
    def of(cpmi: float, pmi: float, adjacent: float) -> list[dict[str, float]]:
        return [{"cpmi": cpmi, "pmi": pmi, "adjacent": adjacent, "random": 0.3, "guessed": 0.5}] * 3

    good: Found = {"long": of(0.9, 0.5, 0.4), "local": of(0.97, 0.5, 1.0)}
    rows = claim.statements(good, of(0.5, 0.5, 0.4), of(0.3, 0.5, 0.4))
    assert [r["holds"] for r in rows[:5]] == ["yes"] * 5
    bad: Found = {"long": of(0.4, 0.5, 0.4), "local": of(0.7, 0.5, 1.0)}
    rows = claim.statements(bad, of(0.8, 0.5, 0.4), of(0.6, 0.5, 0.4))
    assert [r["holds"] for r in rows[:5]] == ["no"] * 5
