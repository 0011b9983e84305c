"""The claim about a common order at a toy size: the measures on planted collections, the samples and the controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.models.agreement import excess, order_correlation

pytest.importorskip("torch")

from tilth.claims import hacohen2019_agreement_order as claim

TOY = claim.Scale(models=4, classes=2, train=24, unseen=8, epochs=3, vocab=300, batch=4, slower=1.0)
LABELLED = [(f"{word} number {i} of {word}", word) for word in ("soil", "rain", "seed") for i in range(20)]


def test_a_common_order_is_told_from_none() -> None:
    rng = Run().rng("planted")
    hard = np.linspace(0, 1, 400)
    epochs = np.linspace(0.2, 1, 6)[None, :, None]
    shared = np.broadcast_to(hard < epochs, (10, 6, 400))
    alone = np.stack([rng.permuted(hard) < epochs[0] for _ in range(10)])
    assert excess(shared[:, 1]) == pytest.approx(10)
    assert excess(alone[:, 1]) == pytest.approx(1, abs=0.3)
    assert order_correlation(shared) == pytest.approx(1)
    assert abs(order_correlation(alone)) < 0.1
    low, high, middle = claim.histogram(shared[:, 2])
    assert [low, high] == pytest.approx([0.24, 0.26], abs=0.02)
    assert middle == 0
    low, high, middle = claim.histogram(alone[:, 2])
    assert middle > 5 * max(low, high)
    assert excess(np.ones((10, 5), bool)) == 1


def test_early_is_half_way_from_chance_to_the_best() -> None:
    right = np.stack([np.arange(10) < k for k in (3, 5, 6, 9)])[None]
    assert claim.early_epoch(right, 5) == 2  # 0.2 to 0.9: 0.55


def test_the_controls_deal_labels_and_draw_words(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[list[str], np.ndarray]] = []

    def learned(texts: list[str], labels: np.ndarray, run: Run, scale: claim.Scale) -> np.ndarray:
        given.append((texts, labels))
        return Run().rng("any").random((scale.models, scale.epochs, len(texts))) < 0.5

    monkeypatch.setattr(claim, "encoders", learned)
    monkeypatch.setattr(claim, "linear", learned)
    for control in ("", "dealt", "drawn"):
        claim.marks(LABELLED, Run(), TOY, control)
    (texts, labels), (same, dealt), (drawn, again) = given[::2]
    known = {text: label for text, label in LABELLED}
    pairs = {(known[text], int(y)) for text, y in zip(texts, labels, strict=True)}
    assert len(texts) == 32
    assert len(pairs) == 2
    assert same == texts
    assert sorted(dealt) == sorted(labels)
    assert 0.2 < np.mean(dealt == labels) < 0.8
    assert (dealt == again).all()
    assert not set(drawn) & set(texts)
    assert [len(t.split()) for t in drawn] == [len(t.split()) for t in texts]


def test_both_kinds_learn_what_is_plain() -> None:
    texts, labels = claim.sample(LABELLED, Run(), TOY)
    for learn in (claim.encoders, claim.linear):
        right = learn(texts, labels, Run(), TOY)
        assert right.shape == (4, 3, 32)
        assert right[:, -1].mean() > 0.9


def test_statements_hold_where_they_should() -> None:
    def of(ends: float, over: float, order: float, across: float) -> list[dict[str, float]]:
        out = {"ends": ends, "middle": 0.05, "excess": over, "order": order, **dict.fromkeys(claim.CONTEXT, 0.5)}
        return [{"across": across, **{f"{kind}: {name}": v for kind in claim.KINDS for name, v in out.items()}}] * 3

    good, none = of(0.2, 6, 0.8, 0.5), of(0.01, 1.1, 0.05, 0.0)
    rows = claim.statements(good, none, none)
    assert [r["holds"] for r in rows if r["holds"] != "-"] == ["yes"] * 15
    rows = claim.statements(none, good, good)
    assert [r["holds"] for r in rows if r["holds"] != "-"] == ["no"] * 15


def test_says_which_file_it_needs(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="clinc150"):
            claim.run(data)
