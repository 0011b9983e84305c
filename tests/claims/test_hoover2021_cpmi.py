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


def test_the_tree_is_the_heaviest_one_negative_weights_included() -> None:
    weights = np.full((4, 4), -5.0)
    for i, j in ((0, 2), (2, 3), (1, 3)):
        weights[i, j] = weights[j, i] = -1.0
    assert claim.tree(weights) == frozenset({(0, 2), (2, 3), (1, 3)})
    assert claim.uuas(claim.tree(weights), frozenset({(0, 2), (0, 1), (0, 3)})) == pytest.approx(1 / 3)


def test_pmi_is_high_for_words_that_share_sentences() -> None:
    found = claim.pmi([np.array([2, 3]), np.array([4, 5])] * 20, 6)
    assert found[2, 3] > found[2, 4] + 1
    assert np.allclose(found, found.T)


class _Twins(torch.nn.Module):
    """Knows that words 0 and 2 of a sentence are equal: sure of one where it sees the other, else all are alike."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(*tokens.shape, 40)
        for a, b in ((0, 2), (2, 0)):
            seen = tokens[:, b] > 1
            out[seen, a, tokens[seen, b]] = 5.0
        return out


def test_contextual_pmi_is_what_one_word_tells_of_another() -> None:
    words = np.array([7, 3, 7, 4])
    found, guessed = claim.contextual(_Twins(), words)  # type: ignore[arg-type]
    sure = 5 - np.log(np.exp(5) + 39) + np.log(40)
    assert found[0, 2] == pytest.approx(sure, abs=1e-5)
    off = found.copy()
    off[[0, 2], [2, 0]] = 0
    assert np.abs(off).max() < 1e-6
    assert guessed == pytest.approx(0.5)


def test_only_the_controls_move_words(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[np.ndarray]] = []

    def model(sentences: list[np.ndarray], size: int, run: Run, scale: claim.Scale) -> _Twins:
        read.append(sentences)
        return _Twins()

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


def test_a_masked_model_learns_what_is_certain() -> None:
    scale = claim.Scale(sentences=8, depth=1, steps=150, batch=8)
    model = claim.masked_model([np.array([2, 3]), np.array([4, 5])] * 4, 6, Run(), scale)
    found, guessed = claim.contextual(model, np.array([4, 5]))
    assert guessed == 1
    assert found[0, 1] > 0.3


def test_statements_hold_where_they_should() -> None:
    def of(cpmi: float, pmi: float, adjacent: float) -> list[dict[str, float]]:
        return [{"cpmi": cpmi, "pmi": pmi, "adjacent": adjacent, "random": 0.3, "guessed": 0.5}] * 3

    good: Found = {"long": of(0.9, 0.5, 0.4), "local": of(0.97, 0.5, 1.0)}
    rows = claim.statements(good, of(0.5, 0.5, 0.4), of(0.3, 0.5, 0.4))
    assert [r["holds"] for r in rows[:5]] == ["yes"] * 5
    bad: Found = {"long": of(0.4, 0.5, 0.4), "local": of(0.7, 0.5, 1.0)}
    rows = claim.statements(bad, of(0.8, 0.5, 0.4), of(0.6, 0.5, 0.4))
    assert [r["holds"] for r in rows[:5]] == ["no"] * 5
