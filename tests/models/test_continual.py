"""Pulls, Fisher information and distillation in closed form, and what they do to a classifier learning in sequence."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tilth.models.batches import reading_order, windows
from tilth.models.continual import (
    Anchor,
    SwappedTeacher,
    Tasks,
    answers_kept,
    classifier_fisher,
    ewc,
    features_kept,
    fisher_diagonal,
    gap,
    l2,
    layer_updates,
)
from tilth.models.feeds import Batch, Fixed
from tilth.models.losses import swapped
from tilth.models.optim import Options
from tilth.models.train import descend, train_lm
from tilth.models.transformer import Classifier, Config, build
from tilth.models.tune import Texts, classify, padded_to, pooled, train_classifier

CONFIG = Config(vocab=30, context=12, layers=1, width=32, heads=1, hidden=64, causal=False)


def classifier(seed: int = 0, classes: int = 4) -> Classifier:
    rng = torch.Generator().manual_seed(seed)
    model = Classifier(build(CONFIG, rng), classes)
    with torch.no_grad():
        model.head.weight.normal_(0, 0.5, generator=rng)
    return model


def told(task: int, count: int = 160, seed: int = 0) -> tuple[Texts, np.ndarray]:
    """Texts of common words with one that gives the class away; each task has two words and classes of its own."""
    rng = np.random.default_rng(100 * task + seed)
    labels = rng.integers(0, 2, count)
    rows = rng.integers(10, 30, (count, 8)).astype(np.uint32)
    rows[np.arange(count), rng.integers(0, 8, count)] = 1 + 2 * task + labels
    return (np.arange(count + 1) * 8, rows.ravel()), labels + 2 * task


def learn(model: Classifier, task: int, steps: int = 60, **hooks: Any) -> None:
    texts, labels = told(task)
    order = reading_order(np.full(160, 20), np.random.default_rng(task))[: steps * 16]
    train_classifier(model, texts, labels, order, Options(rate=0.003, batch=16, faster=1.0), **hooks)


def right(model: Classifier, task: int) -> float:
    texts, labels = told(task, seed=1)
    return float((classify(model, texts)[:, 2 * task : 2 * task + 2].argmax(1) + 2 * task == labels).mean())


# ---- weights -------------------------------------------------------------------------------------


def test_fisher_is_the_mean_square_of_each_examples_gradient() -> None:
    model, (texts, _) = classifier(), told(0)
    rows = np.arange(3)
    found = classifier_fisher(model, texts, rows, torch.Generator().manual_seed(5))
    tokens, real = padded_to(model.encoder, texts, rows)
    drawn = torch.multinomial(model(tokens, real).softmax(-1), 1, generator=torch.Generator().manual_seed(5))[:, 0]
    wanted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    whole = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i in range(3):
        model.zero_grad()
        F.cross_entropy(model(tokens[i : i + 1], real[i : i + 1]), drawn[i : i + 1]).backward()  # type: ignore[no-untyped-call]
        for name, p in model.named_parameters():
            assert p.grad is not None
            wanted[name] = wanted[name] + p.grad.square() / 3
            whole[name] = whole[name] + p.grad / 3
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name].detach().numpy(), abs=1e-6, rel=1e-6)
    ratio = sum(float(w.square().sum()) for w in whole.values()) / sum(float(f.sum()) for f in found.values())
    assert ratio < 0.95, "the square of the batch's gradient is another, smaller number"


def test_true_fisher_of_a_softmax_head_in_closed_form() -> None:
    """Of a bias b the Fisher information is p (1 - p), whatever the labels were."""
    head = nn.Linear(1, 3)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    p = head.bias.detach().softmax(0)
    x = torch.zeros(6000, 1)
    y = torch.multinomial(p, 6000, replacement=True, generator=torch.Generator().manual_seed(0))
    found = fisher_diagonal(head, lambda call, a, b: F.cross_entropy(call(a), b), (x, y), chunk=1000)
    assert found["bias"] == pytest.approx((p * (1 - p)).numpy(), rel=0.05)
    with pytest.raises(ValueError, match="no examples"):
        fisher_diagonal(head, lambda call, a, b: F.cross_entropy(call(a), b), (x[:0], y[:0]))


def test_a_pull_is_the_implicit_step_of_its_penalty() -> None:
    model = nn.Linear(2, 1, bias=False)
    anchor = Anchor(model, {"weight": torch.tensor([[1.0, 3.0]])}, 2.0)
    was = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    assert anchor.penalty() == pytest.approx(2 * (1 + 3))
    anchor(torch.optim.SGD(model.parameters(), lr=0.1))
    moved = (model.weight - was).detach().flatten().tolist()
    assert moved == pytest.approx([1 / (1 + 2 * 0.1 * 2 * 1), 1 / (1 + 2 * 0.1 * 2 * 3)])
    for x, f in zip(moved, (1.0, 3.0), strict=True):
        assert x == pytest.approx(1 - 0.1 * 2 * 2.0 * f * x), (
            "theta' = theta - rate * gradient of the penalty at theta'"
        )
    origin = Anchor(model, {"weight": torch.ones(1, 2)}, 2.0, to={"weight": torch.zeros(1, 2)})
    there = model.weight.detach().clone()
    assert origin.penalty() == pytest.approx(2 * float(there.square().sum()))
    origin(torch.optim.SGD(model.parameters(), lr=0.1))
    assert model.weight.detach() == pytest.approx((there / 1.4).numpy()), "pulled to the origin, it is a weight decay"
    here = Anchor(model, {"weight": torch.ones(1, 2)}, 1.0, to=dict(model.named_parameters()))
    with torch.no_grad():
        model.weight.add_(1.0)
    assert here.penalty() == pytest.approx(2.0), "it stays where the weights were when it was made"
    with pytest.raises(ValueError, match=r"`to` must hold 'weight', of the shape \(1, 2\)"):
        Anchor(model, {"weight": torch.ones(1, 2)}, 1.0, to={"weight": torch.zeros(2)})
    with pytest.raises(ValueError, match="negative"):
        Anchor(model, {"weight": torch.ones(1, 2)}, -1.0)
    with pytest.raises(ValueError, match="no weights 'bias'"):
        Anchor(model, {"bias": torch.ones(1)}, 1.0)


def test_the_minimum_is_between_the_two_tasks_as_the_penalty_says() -> None:
    """Loss (w - 1)^2 and anchor at 0 of strength s: w = 1 / (1 + s); with weight decay alone it would be no such."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(5.0)
    anchor = l2(model, 3.0)
    options = Options(rate=0.05, optimizer="adamw", weight_decay=0.0, clip=1e9)
    descend(model, lambda step: (model.weight - 9.0).square().sum(), 1, options)  # hooks are optional
    sgd = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(300):
        sgd.zero_grad()
        (model.weight - 9.0).square().sum().backward()  # type: ignore[no-untyped-call]
        sgd.step()
        anchor(sgd)
    assert model.weight.item() == pytest.approx((9 + 3 * 5) / 4, abs=1e-3)


def test_strength_to_infinity_freezes_and_zero_changes_nothing() -> None:
    model = classifier()
    learn(model, 0)
    state = {name: p.clone() for name, p in model.state_dict().items()}
    frozen, free, plain = (copy.deepcopy(model) for _ in range(3))
    learn(frozen, 1, stepped=l2(frozen, 1e12, lambda name: not name.startswith("head")))
    for name, p in frozen.state_dict().items():
        close = torch.allclose(p, state[name], atol=1e-6)
        assert close != name.startswith("head"), "all but the head is frozen, and the head is not"
    learn(free, 1, stepped=l2(free, 0.0))
    learn(plain, 1)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), plain.parameters(), strict=True))


def test_ewc_sums_over_tasks_and_spares_what_did_not_matter() -> None:
    model = classifier()
    ones = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    anchor = ewc(model, ones, 1.0, {name: 2 * f for name, f in ones.items()})
    with torch.no_grad():
        model.head.bias.add_(1)
    assert anchor.penalty() == pytest.approx(3 * 4)
    unused = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    free, held = copy.deepcopy(model), copy.deepcopy(model)
    learn(free, 1, stepped=ewc(free, unused, 1e9))
    learn(held, 1, stepped=ewc(held, ones, 1e9))
    assert not torch.allclose(free.head.weight, model.head.weight, atol=1e-3)
    assert torch.allclose(held.head.weight, model.head.weight, atol=1e-3)


# ---- answers and features ------------------------------------------------------------------------


def test_distillation_is_0_at_the_start_and_leaves_new_classes_alone() -> None:
    model, (texts, _) = classifier(), told(1)
    rows = np.arange(5)
    features = model.encoder.pooled(*padded_to(model.encoder, texts, rows))
    scores = model.head(features)
    for made in (
        answers_kept(copy.deepcopy(model), texts, 3.0, [0, 1]),
        features_kept(copy.deepcopy(model), texts, 3.0),
    ):
        assert made(rows, features, scores).detach().abs().max() < 1e-5
    kept = answers_kept(copy.deepcopy(model), texts, 3.0, [0, 1], 1.0)
    assert kept(rows, features, scores + torch.tensor([0.0, 0.0, 9.0, -9.0])).detach().abs().max() < 1e-5
    other = scores + torch.tensor([0.0, 2.0, 0.0, 0.0])
    p, q = scores[:, :2].log_softmax(-1), other[:, :2].log_softmax(-1)
    wanted = 3 * F.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    assert kept(rows, features, other).detach() == pytest.approx(wanted.detach().numpy(), abs=1e-5)
    far = features_kept(copy.deepcopy(model), texts, 3.0)(rows, features + 2.0, scores)
    assert far.detach() == pytest.approx(np.full(5, 12.0), rel=1e-4)
    with pytest.raises(ValueError, match="no class"):
        answers_kept(copy.deepcopy(model), texts, 1.0, [])


def test_each_way_keeps_old_features_nearer_than_none() -> None:
    marks = {}
    texts, _ = told(1)
    for name in ("none", "l2", "ewc", "answers", "features"):
        model = classifier()
        learn(model, 0, steps=30, classes=[0, 1])  # not to the end, where no weight matters any more
        old = copy.deepcopy(model)
        hooks: dict[str, Any] = {}
        body = lambda n: not n.startswith("head")  # noqa: E731
        if name == "l2":
            hooks = {"stepped": l2(model, 3.0, body)}
        elif name == "ewc":
            rng = torch.Generator().manual_seed(0)
            fisher = classifier_fisher(model, told(0)[0], np.arange(64), rng, classes=[0, 1], only=body)
            hooks = {"stepped": ewc(model, fisher, 1e7)}
        elif name != "none":
            made = answers_kept(old, texts, 3.0, [0, 1]) if name == "answers" else features_kept(old, texts, 30.0)
            hooks = {"beside": made}
        learn(model, 1, classes=[2, 3], **hooks)
        drift = float(np.abs(pooled(model, told(0)[0]) - pooled(old, told(0)[0])).mean())
        marks[name] = drift
        assert right(old, 0) > 0.95
        assert right(model, 1) > 0.7
    for name in ("l2", "ewc", "features", "answers"):
        assert marks[name] < 0.9 * marks["none"]


def test_classes_of_other_tasks_are_not_pushed_down() -> None:
    apart, all_of = classifier(), classifier()
    learn(apart, 1, classes=[2, 3])
    learn(all_of, 1)
    was = classifier().head.bias[:2]
    assert torch.equal(apart.head.bias[:2], was)
    assert (all_of.head.bias[:2] < was - 0.01).all()
    with pytest.raises(ValueError, match="infinite"):
        learn(classifier(), 1, classes=[0, 1])


def test_swapped_targets_have_gold_on_top_and_the_teachers_entropy() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, gold = torch.randn(50, 9, generator=rng), torch.randint(0, 9, (50,), generator=rng)
    made = swapped(logits, gold)
    assert (made.argmax(-1) == gold).all()
    p, q = logits.softmax(-1), made.softmax(-1)
    assert q.sum(-1) == pytest.approx(np.ones(50), abs=1e-6)
    assert -(q * q.log()).sum(-1) == pytest.approx(-(p * p.log()).sum(-1).numpy(), abs=1e-5)
    assert q == pytest.approx(swapped(p, gold).numpy(), abs=1e-6), "exchanging probabilities is the same"
    agreed = logits.argmax(-1)
    assert torch.equal(swapped(logits, agreed), logits)
    assert torch.equal(torch.sort(made).values, torch.sort(logits).values)


def test_swap_distillation_in_training() -> None:
    """The loss by hand, and a student that comes nearer to the target with it than by the text alone."""
    config = Config(vocab=30, context=12, layers=1, width=32, heads=1, hidden=64)
    teacher = build(config, torch.Generator().manual_seed(3))
    with torch.no_grad():
        teacher.embedding.weight.mul_(10)
    (offsets, ids), _ = told(0, count=40)
    data, many = (windows(offsets, ids, np.tile(np.arange(40), n), config.context, 0) for n in (1, 8))
    batch = Batch.of(data.take(np.arange(4)), "cpu")
    learned = batch.targets >= 0
    student = build(config, torch.Generator().manual_seed(4))
    hidden = student(batch.inputs, batch.documents)
    target = swapped(teacher.logits(teacher(batch.inputs, batch.documents)[learned]), batch.targets[learned])
    wanted = F.kl_div(
        student.logits(hidden[learned]).log_softmax(-1), target.softmax(-1), reduction="batchmean"
    )  # KL(target || student), a mean over tokens and a sum over the vocabulary
    found = SwappedTeacher(student, copy.deepcopy(teacher), 2.0)(batch, hidden)
    assert found.item() == pytest.approx(2 * wanted.item(), rel=1e-5)
    kept = {}
    for strength in (0.0, 3.0):
        tuned = copy.deepcopy(teacher).requires_grad_(True)
        beside = SwappedTeacher(tuned, copy.deepcopy(teacher), strength)
        train_lm(tuned, Fixed(many, 8), Options(rate=3e-3, batch=8), beside=beside)
        kept[strength] = SwappedTeacher(tuned, teacher, 1.0)(batch, tuned(batch.inputs, batch.documents)).item()
    assert kept[3.0] < kept[0.0]


# ---- measures ------------------------------------------------------------------------------------


def test_measures_of_a_matrix_known_by_hand() -> None:
    marks = np.array([[0.8, 0.3, 0.2], [0.9, 0.7, 0.4], [0.5, 0.6, 0.9]])
    tasks = Tasks(marks, np.array([0.2, 0.2, 0.2]))
    assert tasks.lost == pytest.approx([0.4, 0.1])
    assert tasks.report() == pytest.approx(
        {
            "average": 2.0 / 3,
            "forgetting": 0.25,
            "backward transfer": (-0.3 - 0.1) / 2,
            "forward transfer": (0.1 + 0.2) / 2,
        }
    )
    assert Tasks(marks).forward is None
    assert "forward transfer" not in Tasks(marks).report()
    one = Tasks(np.array([[0.5]]), np.array([0.1]))
    assert (one.average, one.forgetting, one.backward, one.forward) == (0.5, 0.0, 0.0, 0.0)
    for wrong in (np.ones((2, 3)), np.full((2, 2), np.nan), np.zeros((0, 0))):
        with pytest.raises(ValueError, match="marks must be"):
            Tasks(wrong)


def test_measures_where_phases_are_not_tasks() -> None:
    """Three phases: the first teaches two tasks, the second none, the third one; the last task is taught by none."""
    marks = np.array([[0.8, 0.6, 0.1, 0.3], [0.9, 0.3, 0.2, 0.3], [0.5, 0.4, 0.9, 0.4]])
    tasks = Tasks(marks, np.full(4, 0.25), learned=[0, 0, 2, 3])
    assert tasks.lost == pytest.approx([0.4, 0.2])
    assert tasks.report() == pytest.approx(
        {
            "average": 0.55,
            "forgetting": 0.3,
            "backward transfer": (-0.3 - 0.2) / 2,
            "forward transfer": ((0.2 - 0.25) + (0.4 - 0.25)) / 2,
        }
    )
    mixed = Tasks(marks[:1], np.full(4, 0.25), learned=[0, 0, 0, 0])
    assert mixed.report()["forgetting"] == mixed.backward == mixed.forward == 0
    square = marks[:, :3]
    assert Tasks(square, np.zeros(3), [0, 1, 2]).report() == Tasks(square, np.zeros(3)).report()
    for wrong in ([0, 0, 2, 4], [-1, 0, 0, 0], [0, 0, 0]):
        with pytest.raises(ValueError, match=r"marks must be|is learned in one"):
            Tasks(marks, learned=wrong)


def test_a_gap_is_measured_from_the_first_score() -> None:
    found = gap([0, 10, 20, 30, 40], [0.6, 0.2, 0.4, 0.8, 0.7])
    assert found.dip == pytest.approx(0.4)
    assert found.recovery == pytest.approx(25)
    assert found.area == pytest.approx(10 * 0.2 + 10 * 0.3 + 5 * 0.1)
    assert gap([0, 1, 2], [0.5, 0.6, 0.7]) == gap([0, 5], [0.5, 0.5])
    never = gap([0, 10], [0.5, 0.4])
    assert never.recovery is None
    assert never.area == pytest.approx(0.5)
    late = gap([0, 10, 20, 30], [0.5, 0.7, 0.3, 0.5])
    assert late.recovery == 30
    assert late.area == pytest.approx(10 * 0.5 * 0.2 / 2 + 10 * 0.2 / 2)
    for wrong in (([0], [1.0]), ([0, 0], [1.0, 2.0]), ([0, 1], [1.0, np.nan])):
        with pytest.raises(ValueError, match="steps that rise"):
            gap(*wrong)


def test_updates_of_layers() -> None:
    model = build(Config(vocab=20, context=8, layers=2, width=32, heads=1, hidden=32), torch.Generator().manual_seed(0))
    before = {name: p.clone() for name, p in model.state_dict().items()}
    with torch.no_grad():
        dict(model.named_parameters())["blocks.1.inward.weight"].mul_(3)
    found = layer_updates(before, model.state_dict())
    assert found["block 0"] == found["rest"] == 0
    inside = sum(float(p.square().sum()) for name, p in before.items() if name.startswith("blocks.1"))
    assert found["block 1"] == pytest.approx(
        2 * (float(before["blocks.1.inward.weight"].square().sum()) / inside) ** 0.5
    )
