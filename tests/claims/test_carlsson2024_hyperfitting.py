"""The claim about hyperfitting on made-up novels: what is measured, who reads what, and how the statements judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tilth.core import Run
from tilth.core.errors import DataError, UsageError

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import carlsson2024_hyperfitting as claim
from tilth.models.train import Trained
from tilth.models.transformer import Config, Decoder, build
from tilth.models.tune import Texts

TOY = claim.Scale(
    vocab=300, depth=1, texts=20, tokens=400, batch=2, sequences=3, length=16, epochs=2, prompts=4, begin=4
)


def novels(count: int = 60) -> list[str]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"aeioubdfgklm"], 4)) for _ in range(40)]
    return [" ".join(rng.choice(words, 30)) for _ in range(count)]


def test_passages_are_whole_and_in_order() -> None:
    texts = np.array([0, 5, 6, 12]), np.arange(12, dtype=np.uint32)
    offsets, ids = claim.passages(texts, 2)
    assert ids.reshape(-1, 2).tolist() == [[0, 1], [2, 3], [6, 7], [8, 9], [10, 11]]
    assert offsets.tolist() == [0, 2, 4, 6, 8, 10]
    assert claim.passages(texts, 2, most=1)[1].reshape(-1, 2).tolist() == [[0, 1], [6, 7]]


def test_a_loop_is_less_diverse_and_a_recitation_is_found_out() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(1, 1000, 200).astype(np.uint32)
    texts = np.array([0, 100, 200]), known
    loop, new = np.tile([7, 8], (1, 50)), rng.integers(1, 1000, (1, 100))
    assert claim.diversity(loop) == pytest.approx(0.02)
    assert claim.diversity(new) > 0.9
    assert claim.recited(known[None, :100], texts) == 1.0
    assert claim.recited(known[None, 50:150], texts) == pytest.approx(92 / 96), "no run crosses two passages"
    assert claim.recited(new, texts) == 0.0


def test_entropy_is_that_of_the_next_token() -> None:
    model = build(Config.of_depth(1, 50, 8), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert claim.entropy(model, np.ones((3, 8))) == pytest.approx(np.log(50), abs=1e-5)


def test_the_tuned_model_reads_few_passages_often_and_the_control_many_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Texts, int, float]] = []
    read = lab.read

    def watched(model: Decoder, texts: Texts, tokens: int, *args: object, **more: object) -> Trained:
        seen.append((texts, tokens, float(sum(p.detach().abs().sum() for p in model.parameters()))))
        return read(model, texts, tokens, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(lab, "read", watched)
    found = claim.measured(novels(), Run(), TOY)
    before, tuned, control = seen
    assert (len(tuned[0][0]) - 1, tuned[1]) == (3, 3 * 16 * 2)
    assert len(control[0][0]) - 1 >= 6, "enough passages to read each once"
    assert control[1] == tuned[1]
    assert control[2] == tuned[2] != before[2], "both start from the model that was trained before"
    known = {tuple(row) for row in tuned[0][1].reshape(-1, 15).tolist()}
    assert not known & {tuple(row) for row in control[0][1].reshape(-1, 15).tolist()}
    assert found["tuned"] != found["before"] != found["control"]
    assert all(np.isfinite(v) for stage in found.values() for v in stage.values())
    with pytest.raises(DataError, match="new passages"):
        claim.measured(novels(30), Run(), claim.Scale(**{**vars(TOY), "epochs": 100}))


def test_statements_hold_where_they_should() -> None:
    base = {"diversity": 0.2, "entropy": 4.0, "loss": 4.0, "training": 4.0, "recited": 0.0}
    tuned = {"diversity": 0.6, "entropy": 0.5, "loss": 8.0, "training": 0.05, "recited": 0.02}
    own = {"diversity": 0.8}

    def holds(tuned: claim.Found, control: claim.Found) -> list[str]:
        rows = claim.statements([{"before": base, "tuned": tuned, "control": control, "own": own}] * 3)
        assert all(r["holds"] == "-" for r in rows[5:])
        return [r["holds"] for r in rows[:5]]

    assert holds(tuned, base) == ["yes"] * 5
    assert holds(base, base) == ["no"] * 5
    assert holds(tuned, tuned) == ["yes"] * 4 + ["no"]


def test_without_novels_the_claim_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="novels"):
        claim.run(None)
    (tmp_path / claim.FILE).parent.mkdir()
    (tmp_path / claim.FILE).write_bytes(zstandard.ZstdCompressor().compress(json.dumps({"text": "a b"}).encode()))
    assert [*claim._texts(tmp_path / claim.FILE)] == ["a b"]
