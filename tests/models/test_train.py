"""Does the loop go where it must, note what it saw, and come back to the same bits?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run, Weights
from tilth.models.batches import Windows, reading_order, windows, windows_to_score
from tilth.models.checkpoint import Checkpoint, content
from tilth.models.feeds import Fixed, Mixed, Seen
from tilth.models.optim import Lion, Options, precision_of, schedule
from tilth.models.train import (
    Trained,
    descend,
    generator,
    record_losses,
    rising,
    threads,
    train_examples,
    train_lm,
)
from tilth.models.transformer import Config, Decoder, build

CONFIG = Config(vocab=40, context=16, layers=1, width=32, heads=1, hidden=64)
OPTIONS = Options(rate=0.02, batch=8)


def model(seed: int = 0) -> Decoder:
    return build(CONFIG, generator(Run(seed=seed).rng("init")))


def cycles(step: int, records: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Records that count up by `step` modulo 39 from a random start: after the first token nothing is uncertain."""
    starts = np.random.default_rng(seed).integers(0, 39, records)
    rows = (starts[:, None] + step * np.arange(12)) % 39 + 1
    return np.arange(records + 1) * 12, rows.ravel().astype(np.uint32)


def cycle_windows(step: int, seed: int = 0, records: int = 200) -> Windows:
    offsets, ids = cycles(step, records, seed)
    if step == 0:  # nothing to be learned here
        ids = np.random.default_rng(seed).integers(1, 40, ids.size).astype(np.uint32)
    order = reading_order(np.ones(records), Run(seed=seed).rng("order"))
    return windows(offsets, ids, order, CONFIG.context, 0)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Cut(BaseException):
    """The plug is pulled."""


def test_learns_what_can_be_learned_and_no_more() -> None:
    """Every record is its first token, one of 39, and eleven that follow from it."""
    learned = model()
    offsets, ids = cycles(3, 40, seed=9)
    held = windows_to_score(offsets, ids, CONFIG.context, 0)

    def measure(m: Decoder) -> np.ndarray:
        nats, tokens = record_losses(m, held)
        assert (tokens == 12).all()
        return nats

    feed = Fixed(cycle_windows(3, records=800), 4)
    out = train_lm(learned, feed, Options(rate=0.01), measure=measure, points=3, apart=True)
    assert out.curve is not None
    assert out.curve.losses.shape == (3, 40)
    assert out.curve.tokens[-1] == out.tokens[-1] == 800 * 13
    assert (np.diff(out.curve.tokens) > 0).all()
    assert out.curve.losses.mean(1).tolist() == sorted(out.curve.losses.mean(1).tolist(), reverse=True)
    assert out.curve.losses[-1].mean() == pytest.approx(math.log(39), abs=1.6)
    assert out.curve.losses[-1].mean() > math.log(39) - 0.15, "a first token was known before it was read"
    assert out.curve.training[0] > out.curve.training[-1]
    bits = out.losses.size
    assert out.curve.training[0] == pytest.approx(out.losses[: round(bits / 3)].mean())


def test_the_curve_does_not_disturb_the_run() -> None:
    plain, measured = model(), model()
    train_lm(plain, Fixed(cycle_windows(3), 8), OPTIONS)
    train_lm(measured, Fixed(cycle_windows(3), 8), OPTIONS, measure=lambda m: np.zeros(2), points=5)
    assert same(plain, measured)


class Follow(OnlinePolicy[int]):
    """Shares in proportion to the squared losses; the state counts how often it was asked."""

    @property
    def needs(self) -> Sequence[str]:
        return ()

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> int:
        return 0

    def step(self, state: int, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], int]:
        assert seen["losses"].keys() == seen["tokens"].keys() <= seen["shares"].keys()
        assert sum(seen["shares"].values()) == pytest.approx(1)
        assert (seen["step"] == 0) == (not seen["losses"])
        told = {k: v + seen["excess"][k] if "excess" in seen else v for k, v in seen["losses"].items()}
        return {name: told.get(name, 0.1) ** 2 for name in seen["shares"]}, state + 1


def mixed(online: bool = True, **options: Any) -> Mixed:
    groups = {"easy": cycle_windows(1, seed=1), "hard": cycle_windows(0, seed=2), "none": cycle_windows(1).take([])}
    given: dict[str, Any] = {"online": (Follow(), 0)} if online else {}
    return Mixed(groups, {"easy": 0.5, "hard": 0.5}, 8, 30, Run(seed=4), every=3, **given, **options)


class Watch:
    """Sums what it sees, in order."""

    def __init__(self, cut: int = -1) -> None:
        self.total, self.cut = torch.zeros(()), cut

    def __call__(self, seen: Seen) -> None:
        if seen.step == self.cut:
            raise Cut
        self.total = self.total * 0.9 + seen.losses.sum()

    def state(self) -> Any:
        return self.total

    def load(self, state: Any) -> None:
        self.total = state


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
@pytest.mark.parametrize("cut", [4, 11, 29])
def test_a_run_that_was_cut_ends_with_the_same_bits(tmp_path: Path, cut: int, optimizer: Any) -> None:
    options = Options(rate=0.01, batch=8, optimizer=optimizer)
    helper = model(9)

    def run(save: Checkpoint | None, cut: int = -1) -> tuple[Decoder, Mixed, Watch, Trained]:
        trained, feed, watch = model(), mixed(), Watch(cut)
        probe = torch.arange(1, 15).unsqueeze(0)

        def measure(m: Decoder) -> np.ndarray:
            return m.losses(probe[:, :-1], probe[:, 1:])[0].detach().double().numpy()

        out = train_lm(
            trained, feed, options, reference=helper, watch=watch, measure=measure, points=3, save=save
        )  # fmt: skip
        return trained, feed, watch, out

    whole = run(None)
    save = Checkpoint(tmp_path, every=4, key="test")
    with pytest.raises(Cut):
        run(save, cut)
    assert save.path.exists() == (cut >= 4)
    resumed = run(save)
    assert same(whole[0], resumed[0])
    assert whole[1].log == resumed[1].log
    assert len(whole[1].log) > 5
    assert torch.equal(whole[2].total, resumed[2].total)
    for name in ("losses", "tokens"):
        assert np.array_equal(getattr(whole[3], name), getattr(resumed[3], name))
    a, b = whole[3].curve, resumed[3].curve
    assert a is not None
    assert b is not None
    assert np.array_equal(a.losses, b.losses)
    assert np.array_equal(a.training, b.training)
    assert not any(tmp_path.iterdir()), "a finished run leaves nothing behind"


def test_the_log_of_an_online_run_replays_it() -> None:
    first, second = model(), model()
    feed = mixed()
    train_lm(first, feed, OPTIONS)
    assert feed.log[-1][1]["hard"] > 0.55, "the policy never moved"
    again = mixed(online=False, replay=feed.log)
    train_lm(second, again, OPTIONS)
    assert again.log == feed.log
    assert same(first, second)


def test_shares_hold_in_every_stretch_and_groups_begin_again_in_another_order() -> None:
    feed = mixed(online=False)
    drawn: list[str] = []
    windows_of_easy = []
    for step in range(30):
        batch = feed.batch(step)
        drawn += batch.groups
        windows_of_easy += [batch.inputs[i].tolist() for i, g in enumerate(batch.groups) if g == "easy"]
    ones = np.array([g == "easy" for g in drawn])
    assert np.abs(np.cumsum(ones) - 0.5 * np.arange(1, ones.size + 1)).max() <= 1
    n = len(feed.groups["easy"])
    assert n == 163
    long = Mixed(feed.groups, {"easy": 1.0}, 8, 60, Run())
    rows = [row.tolist() for step in range(60) for row in long.batch(step).inputs]
    assert sorted(rows[:n]) == sorted(rows[n : 2 * n])
    assert rows[:n] != rows[n : 2 * n]
    with pytest.raises(ValueError, match="give some group weight"):
        Mixed(feed.groups, {"easy": 0.0}, 8, 60, Run())


def test_weights_choose_what_is_learned() -> None:
    """Two halves of the stream are learned or not as the weights say."""
    both = {"a": cycle_windows(1), "b": cycle_windows(2)}

    def only_a(seen: Seen) -> torch.Tensor:
        return torch.tensor([[float(g == "a")] for g in seen.batch.groups]).expand_as(seen.losses)

    some = model()
    train_lm(some, Mixed(both, {"a": 0.5, "b": 0.5}, 8, 80, Run()), OPTIONS, weigh=only_a)
    losses = {name: record_losses(some, data)[0].mean() / 13 for name, data in both.items()}
    assert losses["a"] < 0.8
    assert losses["b"] > 3


@pytest.mark.parametrize("over", ["examples", "weights"])
def test_losses_count_by_the_weights_of_their_epoch(over: Literal["examples", "weights"]) -> None:
    """Four examples, two a step, three epochs; weights are 1 from the second on."""

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    one, values = One(), torch.tensor([1.0, 2.0, 4.0, 8.0])
    weights = Weights(np.array([9.0, 0.2, 0.4, 0.0, 0.6]), 2)  # the first is of a row that is not read
    done = train_examples(
        one, lambda rows: (one.scale * values[rows], None), np.tile(np.arange(4), 3), Options(rate=0.0, batch=2),
        weigh=rising(weights, np.arange(1, 5), 2), over=over,
    )  # fmt: skip
    sums = [0.2 + 0.8, 0.0 + 4.8, 0.6 + 1.4, 2.0 + 6.4, 3.0, 12.0]
    parts = [2.0] * 6 if over == "examples" else [0.6, 0.6, 1.3, 1.3, 2.0, 2.0]
    assert done.losses == pytest.approx([s / p for s, p in zip(sums, parts, strict=True)])


def test_documents_apart_or_not() -> None:
    """Pairs of records that are copies: with the mask the second costs as much as the first, without it nothing."""
    ids = np.random.default_rng(0).integers(1, 40, (300, 7)).repeat(2, axis=0).ravel().astype(np.uint32)
    offsets = np.arange(601) * 7
    data = windows(offsets, ids, np.arange(600), 16, 0)
    config = Config(vocab=40, context=16, layers=2, width=64, heads=2, hidden=128)
    found = {}
    for apart in (True, False):
        trained = build(config, generator(Run().rng("init")))
        twice = Mixed({"all": data}, {"all": 1.0}, 16, 150, Run())
        out = train_lm(trained, twice, Options(rate=0.01), apart=apart)
        found[apart] = out.losses[-20:].mean()
    assert found[False] < found[True] - 0.5


def test_schedule() -> None:
    linear = [schedule(s, 100, Options(rate=2.0, warmup=0.1, floor=0.1)) for s in range(100)]
    assert np.argmax(linear) == 9
    assert linear[9] == 2.0
    assert linear[0] == pytest.approx(0.2)
    assert linear[-1] == pytest.approx(0.2, abs=0.03)
    assert np.diff(linear[:10]) == pytest.approx(0.2)
    assert np.diff(linear[10:]) == pytest.approx(np.diff(linear[10:])[0])
    cosine = [schedule(s, 100, Options(rate=2.0, warmup=0.0, decay="cosine")) for s in range(100)]
    assert cosine[49] == pytest.approx(1.0, abs=0.05)
    assert {schedule(s, 7, Options(rate=2.0, warmup=0.0, decay="constant")) for s in range(7)} == {2.0}


def test_lion_moves_by_signs() -> None:
    """Two steps by hand: u = sign(.9 m + .1 g), w -= lr (u + decay w), m = .99 m + .01 g."""
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    lion = Lion([w], lr=0.1)
    lion.param_groups[0]["weight_decay"] = 0.5
    for g in ([3.0, -1.0], [-0.1, -1.0]):
        w.grad = torch.tensor(g)
        lion.step()
    # after one: [1 - .05 - .1, -2 + .1 + .1] = [.85, -1.8], m = [.03, -.01]
    # after two: .9 m + .1 g = [.017, -.109]: [.85 * .95 - .1, -1.8 * .95 + .1] = [.7075, -1.61]
    torch.testing.assert_close(w.detach(), torch.tensor([0.7075, -1.61]))
    torch.testing.assert_close(lion.state[w]["momentum"], torch.tensor([0.99 * 0.03 - 0.001, -0.99 * 0.01 - 0.01]))


def test_the_gradient_is_clipped_and_decay_spares_embeddings() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Parameter(torch.ones(2, 2))
            self.inward = nn.Parameter(torch.ones(2, 2))

    seen: list[torch.Tensor] = []
    net = Two()

    def loss_of(step: int) -> torch.Tensor:
        if step:
            seen.append(net.inward.grad.clone() if net.inward.grad is not None else torch.zeros(()))
        return 0 * net.embedding.sum() + (1e6 if step == 0 else 0) * net.inward.sum()

    def after(step: int) -> None:
        assert net.inward.grad is not None
        assert float(net.inward.grad.norm()) <= 0.5 + 1e-4

    descend(net, loss_of, 2, Options(rate=0.1, warmup=0.0, decay="constant", weight_decay=0.2, clip=0.5), after=after)
    assert (net.embedding == 1).all()
    assert (net.inward < 0.9).all()


def test_a_checkpoint_belongs_to_its_run(tmp_path: Path) -> None:
    data = cycle_windows(3)
    base = Checkpoint(tmp_path, key="a")
    keys = {base.keyed(m, data.inputs, o).key for m in (model(), model(1)) for o in (OPTIONS, Options())}
    keys |= {base.keyed(model(), cycle_windows(4).inputs, OPTIONS).key, Checkpoint(tmp_path).keyed(model()).key}
    assert len(keys) == 6
    assert content([model()]) == content([model()])
    with threads(1):
        assert torch.get_num_threads() == 1
    assert base.read() is None


@pytest.mark.parametrize("apart", [True, False])
def test_bfloat16_products_give_nearly_the_same_training(apart: bool) -> None:
    data = cycle_windows(3)
    exact, rough = (
        train_lm(model(), Fixed(data, 4), replace(OPTIONS, batch=4, precision=precision), apart=apart)
        for precision in ("float32", "bfloat16")
    )
    assert np.abs(exact.losses - rough.losses)[:10].max() < 0.06
    assert abs(np.mean(exact.losses - rough.losses)) < 0.02
    assert not np.array_equal(exact.losses, rough.losses)


def test_products_are_exact_when_asked_for_whatever_the_processor_has() -> None:
    assert [precision_of(choice) for choice in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert precision_of("auto", "mps") == "float32"
