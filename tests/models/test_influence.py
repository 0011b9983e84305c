"""Is it the gradient, is it free until asked, and does it say which group a target needs?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.test_train import OPTIONS, cycle_windows, model

from tilth.core import Run
from tilth.models.feeds import Batch, Mixed
from tilth.models.influence import Known, LastLayer, influence
from tilth.models.train import train_lm

DOMAINS = {"one": cycle_windows(1, seed=1), "two": cycle_windows(2, seed=2), "noise": cycle_windows(0, seed=3)}
TARGETS = {"one": cycle_windows(1, seed=8, records=40), "two": cycle_windows(2, seed=9, records=40)}


def source(size: int = 4, run: Run | None = None) -> LastLayer:
    return LastLayer(model(), DOMAINS, TARGETS, size, run or Run(seed=5))


def test_it_is_the_gradient_of_the_output_matrix() -> None:
    """Against autograd through the whole model, with input and output matrices apart."""
    all_of_it = source(10_000)
    made = all_of_it.gradient(3, "two", False)
    batch = Batch.of(DOMAINS["two"], "cpu")
    weight = all_of_it.model.embedding.weight.detach().clone().requires_grad_()
    logits = all_of_it.model(batch.inputs, batch.documents) @ weight.T
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-1)
    torch.testing.assert_close(made, torch.autograd.grad(loss, weight)[0].flatten(), rtol=1e-4, atol=1e-6)
    held = Batch.of(TARGETS["two"], "cpu")
    with torch.no_grad():
        nats = all_of_it.model.losses(held.inputs, held.targets, held.documents).sum() / (held.targets >= 0).sum()
    assert all_of_it.loss("two") == pytest.approx(float(nats), rel=1e-5)


def test_products_and_cosines_agree_with_the_vectors() -> None:
    asked = influence(source(), {"one": 3.0, "two": 1.0})(7)
    vectors = {name: source().gradient(7, name, False).numpy() for name in DOMAINS}
    aims = {name: source().gradient(7, name, True).numpy() for name in TARGETS}
    known = Known.of(vectors, aims, [3, 1])
    for cosine in (False, True):
        assert asked.aligned(cosine=cosine) == pytest.approx(known.aligned(cosine=cosine), rel=1e-3, abs=1e-7)
        assert asked.gram(cosine=cosine) == pytest.approx(known.gram(cosine=cosine), rel=1e-3, abs=1e-7)
        assert asked.aligned(["noise"], cosine=cosine) == pytest.approx(
            known.aligned(["noise"], cosine=cosine), rel=1e-3, abs=1e-7
        )
    assert asked.weights.tolist() == [0.75, 0.25]
    assert asked.aligned([]).shape == (0, 2)


def test_mini_batches_depend_on_step_group_and_seed_alone() -> None:
    first = influence(source())(5).aligned()
    assert (first == influence(source())(5).aligned()).all()
    assert (first != influence(source())(6).aligned()).all()
    assert (first != influence(source(run=Run(seed=6)))(5).aligned()).all()
    assert (first[1:] == influence(source())(5).aligned(["two", "noise"])).all()


def test_after_some_training_each_target_is_helped_most_by_its_own_group() -> None:
    told = source(16)
    train_lm(told.model, Mixed(DOMAINS, dict.fromkeys(DOMAINS, 1 / 3), 8, 20, Run()), OPTIONS)
    cosines = influence(told)(0).aligned(cosine=True)
    assert cosines.argmax(0).tolist() == [0, 1]


def test_nothing_is_computed_before_it_is_asked() -> None:
    told = source()
    told.model.forward = None  # type: ignore[method-assign, assignment]
    asked = influence(told)(0)
    assert asked.domains == ["one", "two", "noise"]
    with pytest.raises(TypeError):
        asked.losses()
    assert np.allclose(asked.weights, 0.5)
