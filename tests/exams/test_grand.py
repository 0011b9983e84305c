"""grand: the length of the last layer's gradient, as autograd gives it, and high on wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds import table_of

from tilth.core import Run
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.difficulty.grand import Grand

PROBE = LabelNoise(flip=0.1, words=12)
WORLD = PROBE.build(300, Run())


def column(signal: Grand | El2n) -> np.ndarray:
    name = f"{signal.name()}.score"
    return np.asarray(score_in_memory(signal, table_of(WORLD)).column(name).to_numpy())


def test_finds_wrong_labels() -> None:
    assert PROBE.grade(WORLD, column(Grand())) > 0.95


def test_of_the_linear_learner_it_is_el2n_times_a_constant() -> None:
    assert column(Grand()) == pytest.approx(np.sqrt(2) * column(El2n()), rel=1e-5)


def test_of_an_encoder_it_is_what_autograd_says() -> None:
    torch = pytest.importorskip("torch")
    from tilth.models.tokenizer import Tokenizer
    from tilth.models.transformer import Classifier, build
    from tilth.models.tune import _padded

    learner = Learner(model="encoder", seeds=1, passes=2, depth=1, vocab=300, context=16)
    found = column(Grand(learner=learner, after=2))
    state = learner.model_after(1, WORLD.pool, Run())
    assert isinstance(state, tuple)
    config, weights = state
    classes = weights["head.bias"].size
    model = Classifier(build(config, torch.Generator()), classes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    texts = WORLD.pool.column("text").to_pylist()
    from tilth.models.learner import _sample

    key = learner._key(WORLD.pool, Run(), 0)
    tokenizer = Tokenizer.train(_sample(texts, 1_500_000, Run().at("shared", key)), learner.vocab)
    encoded = tokenizer.encode_batch(texts)
    labels = np.unique(WORLD.pool.column("label").to_pylist(), return_inverse=True)[1]
    for row in (0, 17, 299):
        model.zero_grad()
        scores = model(*_padded(encoded, np.array([row]), model.encoder))
        torch.nn.functional.cross_entropy(scores, torch.tensor([labels[row]])).backward()
        length = np.sqrt(sum(float((p.grad**2).sum()) for p in model.head.parameters() if p.grad is not None))
        assert found[row] == pytest.approx(length, rel=1e-3)
