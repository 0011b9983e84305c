"""A learner that is watched: numbers as defined, one training for all who ask, the same whoever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Pool, Run, TablePool
from tilth.core.errors import DataError
from tilth.models import learner as module
from tilth.models.last_layer import Factored, Predicted
from tilth.models.learner import Learner, Recording, Snapshot, Told
from tilth.models.linear import Linear, Rows, epochs
from tilth.probes.label_noise import LabelNoise

POOL = LabelNoise(flip=0.1).build(120, Run()).pool
SMALL = Learner(seeds=2, passes=3)


def same(a: Recording, b: Recording) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("gold", "right", "error", "size", "loss")
    )


def test_numbers_are_those_of_the_definition() -> None:
    seen = SMALL.record(POOL, Run())
    model = SMALL.snapshot(1, POOL, Run())
    rows = Rows.of(POOL.column("text"), SMALL.ngrams, SMALL.buckets)
    assert isinstance(model, module._LinearSnapshot)
    p = model.model.probabilities(rows)
    onehot = np.eye(len(seen.names))[seen.labels]
    assert seen.gold[0, 1] == pytest.approx((p * onehot).sum(1), rel=1e-5)
    assert seen.error[0, 1] == pytest.approx(np.linalg.norm(p - onehot, axis=1), rel=1e-4)
    assert np.array_equal(seen.right[0, 1], p.argmax(1) == seen.labels)
    assert seen.size == pytest.approx(np.full(seen.size.shape, np.sqrt(2)), rel=1e-6)
    assert seen.loss[:, 0] == pytest.approx(np.full((2, 120), np.log(len(seen.names))), rel=1e-6)
    assert seen.loss[:, 1:] == pytest.approx(-np.log(seen.gold), rel=1e-5)


def test_records_without_a_label_are_left_out() -> None:
    table = POOL.table(["id", "text", "label", "source"])
    labels = [None if i % 5 == 0 else v for i, v in enumerate(table["label"].to_pylist())]
    pool = TablePool(table.set_column(2, "label", pa.array(labels, pa.string())), "labeled")
    seen = SMALL.record(pool, Run())
    assert seen.rows.tolist() == [i for i in range(120) if i % 5]
    assert [seen.names[i] for i in seen.labels] == [v for v in labels if v is not None]


def test_one_class_is_refused() -> None:
    table = POOL.table(["id", "text", "source"]).append_column("label", pa.array(["a"] * 120))
    with pytest.raises(DataError, match="two or more labels"):
        SMALL.record(TablePool(table, "labeled"), Run())


@pytest.mark.parametrize("model", ["linear", "encoder", "lm"])
def test_trained_once_for_all_who_ask(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if model != "linear":
        pytest.importorskip("torch")
    fields: dict[str, Any] = {
        "model": model,
        "seeds": 2,
        "passes": 2,
        "depth": 1,
        "vocab": 300,
        "context": 16,
        "tokens": 2000,
    }
    trained: list[int] = []
    real = Learner.passes_of

    def counted(self: Learner, pool: Pool, run: Run) -> Iterator[tuple[Snapshot, Told]]:
        trained.append(1)
        return real(self, pool, run)

    monkeypatch.setattr(Learner, "passes_of", counted)
    run = Run(shared=tmp_path)
    first = Learner(**fields).record(POOL, run.at("signal", "one"))
    again = Learner(**fields).record(POOL, run.at("signal", "other"))
    models = [Learner(**fields).snapshot(i, POOL, run) for i in (0, 1)]
    assert len(trained) == 2
    assert same(first, again)
    alone = Learner(**fields).record(POOL, Run())
    assert len(trained) == 4
    assert same(first, alone)
    assert len(models) == 2
    Learner(**fields).record(POOL, Run(shared=tmp_path, seed=1))
    Learner(**{**fields, "passes": 3}).record(POOL, run)
    assert len(trained) == 8


def test_more_seeds_of_the_same_learner_are_added_to_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(shared=tmp_path)
    two = SMALL.record(POOL, run)
    trained: list[int] = []

    def counted(*args: Any, **more: Any) -> Iterator[Linear]:
        trained.append(1)
        return epochs(*args, **more)

    monkeypatch.setattr(module, "epochs", counted)
    three = Learner(seeds=3, passes=3).record(POOL, run)
    assert len(trained) == 1
    assert np.array_equal(two.gold, three.gold[:2])


def test_an_encoder_learns_and_its_last_layer_is_measured() -> None:
    pytest.importorskip("torch")
    pool = LabelNoise(flip=0.01, clarity=0.8, classes=2, words=12).build(400, Run()).pool
    shape = Learner(model="encoder", seeds=1, passes=8, depth=1, vocab=400, context=32, batch=8)
    seen = shape.record(pool, Run())
    assert seen.gold[0, -1].mean() > seen.gold[0, 0].mean() > 0.4
    assert seen.right[0, -1].mean() > 0.9
    assert (seen.size > 1).all()
    assert len(np.unique(seen.size[0, -1])) > 300


def gradients_by_autograd(learner: Learner, rows: list[int]) -> np.ndarray:
    """Of the last layer's matrix, by a backward pass each."""
    import torch

    from tilth.models.transformer import Classifier, build
    from tilth.models.tune import padded_to

    state = learner.snapshot(learner.passes - 1, POOL, Run())
    assert isinstance(state, module._EncoderSnapshot)
    model = Classifier(build(state.config, torch.Generator()), state.classes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in state.weights.items()})
    encoded = state.tokenizer.encode_batch(POOL.column("text").to_pylist())
    labels = np.unique(POOL.column("label").to_pylist(), return_inverse=True)[1]
    found = []
    for row in rows:
        model.zero_grad()
        scores = model(*padded_to(model.encoder, encoded, np.array([row])))
        torch.nn.functional.cross_entropy(scores, torch.tensor([labels[row]])).backward()  # type: ignore[no-untyped-call]
        assert model.head.weight.grad is not None
        found.append(model.head.weight.grad.numpy().ravel().copy())
    return np.array(found)


def test_an_encoders_gradients_are_those_of_autograd() -> None:
    pytest.importorskip("torch")
    learner = Learner(model="encoder", seeds=1, passes=2, depth=1, vocab=300, context=16)
    rows = [0, 17, 80]
    exact = gradients_by_autograd(learner, rows)
    found = learner.gradients(1, POOL, Run())
    assert found.lengths[rows] == pytest.approx(np.linalg.norm(exact, axis=1), rel=3e-3)
    one = np.zeros(POOL.count)
    one[0] = 1
    assert found.along(found.mean(one))[rows] == pytest.approx(exact @ exact[0], rel=1e-2, abs=1e-3)


def test_a_linear_models_gradients_are_dense_arithmetic() -> None:
    found = SMALL.gradients(1, POOL, Run())
    assert isinstance(found, Factored)
    assert isinstance(found.inputs, Rows)
    dense = np.zeros((POOL.count, found.inputs.width), np.float32)
    owner = np.repeat(np.arange(POOL.count), np.diff(found.inputs.indptr))
    np.add.at(dense, (owner, found.inputs.indices), found.inputs.values)
    used = dense[:, dense.any(0)]
    whole = (found.errors[:, :, None] * used[:, None]).reshape(POOL.count, -1)
    weights = Run().rng("w").random(POOL.count)
    assert found.lengths == pytest.approx(np.linalg.norm(whole, axis=1), rel=1e-4)
    assert found.along(found.mean(weights)) == pytest.approx(
        whole @ (weights @ whole / weights.sum()), rel=1e-3, abs=1e-6
    )


def test_a_language_models_sketched_gradients_keep_their_inner_products() -> None:
    torch = pytest.importorskip("torch")
    from tilth.models.batches import windows_to_score
    from tilth.models.told import Sketch, tell
    from tilth.models.transformer import Config, build

    model = build(Config.of_depth(1, vocab=60, context=24), torch.Generator().manual_seed(0))
    rng = Run().rng("ids")
    lengths = rng.integers(5, 40, 12)  # some longer than a window
    ids = rng.integers(1, 60, int(lengths.sum())).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    data = windows_to_score(offsets, ids, 24, 0)
    exact = []
    for record in range(12):
        model.zero_grad()
        part = data.take(np.flatnonzero((data.records == record).any(1)))
        from tilth.models.feeds import Batch

        batch = Batch.of(part, "cpu")
        wanted = torch.from_numpy(batch.records == record) & (batch.targets >= 0)
        hidden = model(batch.inputs, batch.documents).detach()[wanted]
        weight = model.embedding.weight.detach().clone().requires_grad_()
        torch.nn.functional.cross_entropy(hidden @ weight.T, batch.targets[wanted]).backward()
        assert weight.grad is not None
        exact.append(weight.grad.numpy().ravel().copy())
    whole = np.array(exact)
    _, _, error, size, loss, none = tell(model, data)
    assert none is None
    assert loss == pytest.approx(np.full(12, np.log(60)), rel=0.05)
    assert error == pytest.approx(np.full(12, np.sqrt(1 - 1 / 60)), rel=0.02)  # an untrained model has no opinion
    assert size == pytest.approx(np.full(12, np.sqrt(32)), rel=1e-3)  # and hidden states are normed
    truth = whole @ whole.T
    sketches = [
        tell(model, data, sketch=Sketch.drawn(60, 32, Run(seed=seed)))[-1].astype(float)  # type: ignore[union-attr]
        for seed in range(40)
    ]
    found = np.mean([s @ s.T for s in sketches], 0)
    scale = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
    assert np.abs((found - truth) / scale).max() < 0.1  # unbiased: the mean of many sketches is the truth
    alone = np.abs((sketches[0] @ sketches[0].T - truth) / scale)
    assert np.median(alone) < 0.15


def test_lengths_of_tiny_errors_do_not_vanish() -> None:
    errors = np.array([[0.5, -0.5], [2e-4, -2e-4], [1e-6, -1e-6]], np.float32)
    found = Factored(np.ones((3, 1), np.float16), errors)
    assert found.lengths == pytest.approx(np.sqrt(2) * errors[:, 0], rel=1e-3)
    cosines = found.along(found.mean([1.0, 0.0, 0.0])) / found.lengths / found.lengths[0]
    assert cosines == pytest.approx([1, 1, 1], rel=1e-3)


@pytest.mark.parametrize("model", ["encoder", "lm"])
def test_a_pool_smaller_than_a_batch_still_gives_a_look_at_every_pass(model: str) -> None:
    pytest.importorskip("torch")
    pool = LabelNoise(flip=0.1, words=40).build(12, Run()).pool
    fields: dict[str, Any] = {"model": model, "seeds": 1, "passes": 4, "depth": 1, "vocab": 300, "context": 16}
    seen = Learner(**fields).record(pool, Run())
    assert seen.gold.shape == (1, 4, 12)
    assert seen.loss.shape == (1, 5, 12)
    untrained = np.log(len(seen.names) or 300)
    assert seen.loss[0, 0].mean() == pytest.approx(untrained, rel=0.2)
    assert seen.loss[0, -1].mean() < untrained


def test_reading_is_the_arithmetic_of_its_definition() -> None:
    torch = pytest.importorskip("torch")
    from tilth.models.batches import windows_to_score
    from tilth.models.told import _medians, reading
    from tilth.models.train import record_losses
    from tilth.models.transformer import Config, build

    model = build(Config.of_depth(1, 40, 16), torch.Generator().manual_seed(0)).eval()
    offsets, ids = np.array([0, 9, 9, 30]), np.random.default_rng(0).integers(1, 40, 30).astype(np.uint32)
    data = windows_to_score(offsets, ids, 16, 0)
    nats, tokens = record_losses(model, data)
    wide, narrow = reading(model, data, 40), reading(model, data, 1)
    assert wide.nats[[0, 2]] == pytest.approx(nats[[0, 2]], rel=1e-5)
    assert np.isnan([wide.nats[1], wide.sure[1], wide.hard[1], wide.guessable[1]]).all(), "the record without a token"
    assert wide.guessable[[0, 2]].tolist() == [1, 1]
    p = model.logits(model(torch.from_numpy(data.inputs).long(), torch.from_numpy(data.documents)))
    log, targets = p.log_softmax(-1).detach().numpy(), data.targets
    owner = data.documents
    for record, count in ((0, 9), (2, 21)):
        rows, places = np.nonzero((owner == record) & (targets >= 0))
        assert rows.size == count == tokens[record]
        costs = -log[rows, places, targets[rows, places]]
        assert wide.hard[record] == pytest.approx(np.median(costs), rel=1e-4)
        assert wide.sure[record] == pytest.approx(np.exp(log[rows, places].max(-1)).mean(), rel=1e-4)
        first = log[rows, places].argmax(-1) == targets[rows, places]
        assert narrow.guessable[record] == pytest.approx(first.mean())
    found = _medians(np.array([2, 0, 2, 2, 0]), np.array([5.0, 1, 7, 6, 2]), 4)
    assert found[[0, 2]].tolist() == [1.5, 6]
    assert np.isnan(found[[1, 3]]).all()


@pytest.mark.parametrize("model", ["linear", "encoder"])
def test_probabilities_of_other_texts_and_of_its_own(model: str) -> None:
    if model == "encoder":
        pytest.importorskip("torch")
    learner = Learner(model=model, seeds=1, passes=2, depth=1, vocab=300)
    seen = learner.record(POOL, Run())
    p = learner.probabilities(1, POOL, POOL.column("text"), Run())
    assert p.sum(1) == pytest.approx(np.ones(120), rel=1e-5)
    assert p[np.arange(120), seen.labels] == pytest.approx(seen.gold[0, 1], rel=1e-3)
    assert learner.probabilities(1, POOL, pa.chunked_array([["never seen"]]), Run()).shape == (1, len(seen.names))


def test_gradients_made_some_at_a_time_are_those_held_at_once() -> None:
    rng = np.random.default_rng(0)
    rows = Rows.of(POOL.column("text"), 1, 1 << 10)
    labels = rng.integers(0, 3, len(rows))
    *_, model = epochs(rows, labels, 3, 2, rng)
    whole = Factored(rows, model.errors(rows, labels).astype(np.float32))
    parts = Predicted(model, rows, rows, labels, block=50)
    weights = rng.normal(size=len(rows))
    assert parts.lengths == pytest.approx(whole.lengths, rel=1e-5)
    one, other = whole.mean(weights), parts.mean(weights)
    assert isinstance(one, Linear)
    assert other.weights == pytest.approx(one.weights, abs=1e-6)
    assert parts.along(other) == pytest.approx(whole.along(one), abs=1e-6)
