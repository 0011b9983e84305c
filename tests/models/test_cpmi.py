"""Contextual PMI: by hand, from a model that knows what two words tell, and from one that has learnt it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.core import Run

pytest.importorskip("torch")

from tilth.models.cpmi import contextual, masked_model, parents, pmi, tree, uuas


def test_the_tree_is_the_heaviest_one_negative_weights_included() -> None:
    weights = np.full((4, 4), -5.0)
    for i, j in ((0, 2), (2, 3), (1, 3)):
        weights[i, j] = weights[j, i] = -1.0
    assert tree(weights) == frozenset({(0, 2), (2, 3), (1, 3)})
    assert uuas(tree(weights), frozenset({(0, 2), (0, 1), (0, 3)})) == pytest.approx(1 / 3)


def test_pmi_is_high_for_words_that_share_sentences() -> None:
    found = pmi([np.array([2, 3]), np.array([4, 5])] * 20, 6)
    assert found[2, 3] > found[2, 4] + 1
    assert np.allclose(found, found.T)


class _Twins(torch.nn.Module):
    """Knows that words 0 and 2 of a sentence are equal: sure of one where it sees the other, else all are alike."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        out = torch.zeros(*tokens.shape, 40)
        for a, b in ((0, 2), (2, 0)):
            seen = tokens[:, b] > 1
            out[seen, a, tokens[seen, b]] = 5.0
        return out

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def test_contextual_pmi_is_what_one_word_tells_of_another() -> None:
    words = np.array([7, 3, 7, 4])
    found, guessed = contextual(_Twins(), words)  # type: ignore[arg-type]
    sure = 5 - np.log(np.exp(5) + 39) + np.log(40)
    assert found[0, 2] == pytest.approx(sure, abs=1e-5)
    off = found.copy()
    off[[0, 2], [2, 0]] = 0
    assert np.abs(off).max() < 1e-6
    assert guessed == pytest.approx(0.5)


def test_a_masked_model_learns_what_is_certain() -> None:
    model = masked_model([np.array([2, 3]), np.array([4, 5])] * 4, 6, Run(), depth=1, steps=150, batch=8)
    found, guessed = contextual(model, np.array([4, 5]))
    assert guessed == 1
    assert found[0, 1] > 0.3


def test_parents_lead_to_the_first_word() -> None:
    links = frozenset({(0, 3), (1, 3), (1, 2)})
    up = parents(links, 4)
    assert up.tolist() == [-1, 3, 1, 0]
    assert frozenset((min(i, p), max(i, p)) for i, p in enumerate(up.tolist()) if p >= 0) == links
    assert parents(frozenset(), 1).tolist() == [-1]
