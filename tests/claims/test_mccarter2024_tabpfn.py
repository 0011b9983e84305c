"""The claim about prior-fitted networks at a toy size: tasks, exact answers, and what is asked of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import mccarter2024_tabpfn as claim

TOY = claim.Scale(shown=10, asked=6, layers=1, width=16, heads=2, steps=3, batch=4, exam=12, drawn=500)
GOOD = {
    **{f"straight, {name}": value for name, value in {
        "right": 0.9, "from own prior": 0.03, "from other prior": 0.1, "balls right": 0.6, "swapped": 0.02,
        "rises": 0.99, "farther": 0.05,
    }.items()},
    "mixed, from own prior": 0.03, "mixed, from other prior": 0.1, "mixed, balls right": 0.8,
    "dealt, right": 0.5,
}  # fmt: skip


def test_borders_label_points() -> None:
    x = np.array([[[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]]] * 2)
    ball, at = np.array([False, True]), np.array([[1.0, 0.0], [0.0, 0.0]])
    found = claim.inside(ball, at, np.array([1.0, 2.5]), np.array([False, False]), x)
    assert found.tolist() == [[False, True, False], [True, True, False]]
    assert (claim.inside(ball, at, np.array([1.0, 2.5]), np.array([True, True]), x) == ~found).all()


def test_tasks_have_noise_and_the_shape_of_their_prior() -> None:
    scale = claim.Scale(noise=0.1)
    tasks = claim.draw("straight", 200, Run().rng("t"), scale)
    assert np.mean(tasks.y != tasks.clean) == pytest.approx(0.1, abs=0.02)

    def fits(balls: float) -> float:
        """How well a line through the labels, by least squares, tells them."""
        some = claim.draw("mixed", 60, Run().rng("t"), scale, balls=balls)
        hits = []
        for x, y in zip(some.x, some.clean, strict=True):
            design = np.hstack([x, np.ones((len(x), 1))])
            line = design @ np.linalg.lstsq(design, 2.0 * y - 1, rcond=None)[0]
            hits.append(((line > 0) == y).mean())
        return float(np.mean(hits))

    assert fits(0.0) > 0.92 > 0.85 > fits(1.0)


def test_the_exact_answer_is_better_than_that_of_another_prior() -> None:
    scale = claim.Scale(exam=60, drawn=3000)
    tasks = claim.draw("mixed", scale.exam, Run().rng("t"), scale, balls=1.0)
    truth = tasks.clean[:, scale.shown :]
    right = {prior: ((claim.posterior(prior, tasks, Run().rng("p"), scale) > 0.5) == truth).mean()
             for prior in claim.PRIORS}  # fmt: skip
    assert right["mixed"] > 0.85
    assert right["mixed"] > right["straight"] + 0.1


def test_a_network_does_not_know_the_order_of_points_nor_of_questions() -> None:
    model = claim.trained("straight", Run(), TOY)
    tasks = claim.draw("straight", 3, Run().rng("t"), TOY)
    p = claim.predict(model, tasks, TOY)
    turned = [*range(TOY.shown)][::-1] + [*range(TOY.shown, TOY.shown + TOY.asked)][::-1]
    again = claim.predict(model, claim.Tasks(tasks.x[:, turned], tasks.y[:, turned], tasks.clean), TOY)
    assert np.allclose(p, again[:, ::-1], atol=1e-5)
    assert np.ptp(p) > 0
    assert (claim.predict(claim.trained("straight", Run(), TOY), tasks, TOY) == p).all()


def test_a_network_does_not_see_the_labels_that_are_asked_for() -> None:
    model = claim.trained("straight", Run(), TOY)
    tasks = claim.draw("straight", 3, Run().rng("t"), TOY)
    other = tasks.y.copy()
    other[:, TOY.shown :] ^= True
    assert (
        claim.predict(model, claim.Tasks(tasks.x, other, ~tasks.clean), TOY) == claim.predict(model, tasks, TOY)
    ).all()


def test_rising_and_farther_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit by the mean of each class: sure far out, and rising from the False side to the True one."""

    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            shown = x[:, : y.shape[1]]
            up = (shown * y.unsqueeze(-1)).mean(1, keepdim=True)
            return (x[:, y.shape[1] :] * up).sum(-1)

    rises, farther = claim.along(Means(), Run().rng("a"), claim.Scale(exam=50))  # type: ignore[arg-type]
    assert rises > 0.95
    assert farther > 0.2

    class Turned(Means):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return -super().forward(x, y)

    assert claim.along(Turned(), Run().rng("a"), claim.Scale(exam=50))[0] < 0.2  # type: ignore[arg-type]


def test_a_report_has_all_that_is_judged() -> None:
    found = claim.report(Run(), TOY)
    assert set(GOOD) <= set(found)
    assert all(-1 <= v <= 1 for v in found.values())
    assert len(claim.statements([found] * 3)) == 8 + len(found)


def test_statements_hold_where_they_should() -> None:
    assert [r["holds"] for r in claim.statements([GOOD] * 3)[:8]] == ["yes"] * 8
    bad = {
        **GOOD,
        **{f"{p}, from other prior": 0.01 for p in claim.PRIORS},
        "straight, swapped": 0.4,
        "straight, rises": 0.6,
        "straight, farther": -0.1,
        "straight, right": 0.8,
        "mixed, balls right": 0.5,
        "dealt, right": 0.9,
    }
    assert [r["holds"] for r in claim.statements([bad] * 3)[:8]] == ["no"] * 8
