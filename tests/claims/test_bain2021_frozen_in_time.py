"""The claim about a curriculum over lengths: its pairs, what its arms read, how its statements judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tilth.claims import bain2021_frozen_in_time as claim
from tilth.core import Run
from tilth.core.errors import BadInput, UsageError
from tilth.models.length_curriculum import Segmented
from tilth.models.train import generator
from tilth.models.transformer import Config

TOY = claim.Scale(pairs=60, held=20, vocab=320, depth=1, length=16, steps=10, batch=4)


def texts(count: int = 80) -> list[str]:
    """Texts of sentences of six random words, longer than a passage may be."""
    rng = np.random.default_rng(0)
    words = [
        f"{a}{b}{c}" for a in ("so", "ra", "ve", "mi") for b in ("l", "nt", "rk") for c in ("a", "o", "est", "ing")
    ]
    return [
        " ".join(f"{' '.join(rng.choice(words, 8).tolist()).capitalize()}." for _ in range(30)) for _ in range(count)
    ]


def test_a_sentence_is_taken_out_of_the_text_s_beginning() -> None:
    places = set()
    for seed, text in enumerate(texts()):
        made = claim.cloze(text, np.random.default_rng(seed))
        assert made is not None
        sentence, rest = made
        sentences = [f"{part}." for part in text.removesuffix(".").split(". ")]
        places.add(sentences.index(sentence))
        whole = sentences[: rest.count(".") + 1]
        assert rest == " ".join(part for part in whole if part != sentence), "the rest, in its order"
        assert claim.SHORTEST <= len(" ".join(whole)) <= claim.LONGEST
        assert len(" ".join(whole)) + len(sentences[len(whole)]) >= claim.LONGEST, "as long as may be"
    assert len(places) > 5, "from anywhere"
    assert claim.cloze("Too short. To be a passage. Of its own.", np.random.default_rng(0)) is None


def test_arms_read_what_they_are_said_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, training = [0], [False]
    pooled, train = Segmented.pooled, claim.train_contrastive  # type: ignore[attr-defined]

    def noted(self: Segmented, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        counted[-1] += int(real.sum()) * training[0]
        return pooled(self, tokens, real)

    def begun(*args: Any, **kwargs: Any) -> Any:
        training[0] = True
        made = train(*args, **kwargs)
        training[0] = False
        counted.append(0)
        return made

    monkeypatch.setattr(Segmented, "pooled", noted)
    monkeypatch.setattr(claim, "train_contrastive", begun)
    found = claim.measured(texts(), Run(), TOY)
    assert set(found) == set(claim.ARMS)
    assert all(set(arm) == set(claim.LABELS) for arm in found.values())
    assert all(np.isfinite(value) for arm in found.values() for value in arm.values())
    tokens = {arm: found[arm]["tokens"] for arm in claim.ARMS}
    assert [tokens[arm] * 1e6 for arm in claim.ARMS] == pytest.approx(counted[:-1])
    assert tokens["one segment"] < tokens["curriculum"] < tokens["full"]
    assert tokens["curriculum"] == tokens[claim.RANDOM]
    assert tokens[claim.LONGER] == pytest.approx(tokens["full"], rel=0.15)
    made = claim.world(texts(), Run(), TOY)
    order = claim._order(made, TOY, TOY.steps, Run())
    assert order.max() < TOY.pairs - TOY.held, "held-out pairs are not trained on"
    with pytest.raises(BadInput, match="80 texts give 80 passages; the claim wants 90"):
        claim.world(texts(), Run(), replace(TOY, pairs=90))


def test_recall_counts_those_that_find_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = claim.world(texts(), Run(), TOY)
    shape = Config.of_depth(1, TOY.vocab, causal=False)
    encoder = Segmented.built(shape, generator(Run().rng("init")), length=16, segments=4)

    def recall(before: list[int]) -> tuple[float, float]:
        """Of sentences that so many other passages come before."""
        scores = np.zeros((TOY.held, TOY.held), np.float32)
        for i, count in enumerate(before):
            others = [j for j in range(TOY.held) if j != i]
            scores[i, i], scores[i, others[:count]] = 0.5, 1.0
        given = iter([scores, np.eye(TOY.held, dtype=np.float32)])
        monkeypatch.setattr(claim, "embed", lambda *_: next(given))
        return claim._recall(encoder, made, TOY, 2)

    assert recall([0] * 20) == (1.0, 1.0)
    assert recall([9] * 10 + [10] * 10) == pytest.approx((0.5, (1 / 10 + 1 / 11) / 2))
    assert encoder.reads == 2
    monkeypatch.setattr(claim, "embed", lambda *_: np.ones((TOY.held, 4), np.float32))
    assert claim._recall(encoder, made, TOY, 4)[0] == 0.0, "an encoder that tells nothing apart finds nothing"
    monkeypatch.setattr(claim, "embed", lambda *_: np.full((TOY.held, 4), np.nan, np.float32))
    with pytest.raises(RuntimeError, match="not finite"):
        claim._recall(encoder, made, TOY, 4)


def test_statements_hold_where_they_should_and_missing_data_is_named() -> None:
    fine = {"spent": 0.55, "gain": 0.0, "longer": 0.1, "more": 0.05, "zero": 0.02}

    def holds(**changed: float) -> list[str]:
        v, found = {**fine, **changed}, []
        for j in (-1, 0, 1):
            told, mine = dict.fromkeys(claim.LABELS, 1.0), 0.4 + v["gain"] + j / 1e3
            found.append(
                {
                    "full": {**told, "recall": 0.4},
                    "curriculum": {**told, "recall": mine, "seconds": v["spent"]},
                    claim.LONGER: {**told, "recall": 0.4 + v["longer"]},
                    "one segment": {**told, "recall": 0.1, "first": mine - v["more"] + j / 1e3},
                    claim.RANDOM: {**told, "recall": mine - v["zero"] + j / 1e3},
                }
            )
        return [row["holds"] for row in claim.statements(found)[:5]]

    assert holds() == ["yes"] * 5
    bad = {"spent": 0.7, "gain": -0.1, "longer": -0.05, "more": -0.01, "zero": -0.01}
    for i, (name, value) in enumerate(bad.items()):
        assert [k for k, said in enumerate(holds(**{name: value})) if said == "no"] == [i], name
    with pytest.raises(UsageError, match="encyclopedia_simplewiki"):
        claim.run(None)
