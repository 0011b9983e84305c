"""What has a prior-fitted network learned to do? (McCarter 2024): the fits of a tiny one, looked at from outside.

A small transformer that sees labelled points and then a point without a label is trained on tasks drawn from a prior,
and never again. Of two priors one draws straight borders only (``straight``), the other straight borders and balls in
equal parts (``mixed``). The tasks have two features, 24 labelled points and one label in twenty wrong. What the
networks then do is held against the exact answer under their own prior, found by drawing borders and weighing each with
its likelihood, and they are asked what was never trained: whether swapped classes swap the answer, whether answers rise
across a border, what they say far off the data. The negative control is a network whose training labels were dealt. The
paper looks at a large published network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options
from tilth.models.train import descend, generator, threads

__all__ = ["PAPER", "run"]

PAPER = "what_exactly_has_tabpfn_learned_to"
SEEDS = 3
Prior = Literal["straight", "mixed"]
PRIORS: tuple[Prior, ...] = ("straight", "mixed")
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """Tasks, network and training.

    Attributes:
        shown: labelled points of a task.
        asked: points without a label; none sees another.
        noise: share of labels that are wrong.
        drawn: borders drawn for the exact answer.
    """

    shown: int = 24
    asked: int = 24
    noise: float = 0.05
    layers: int = 2
    width: int = 64
    heads: int = 4
    steps: int = 1500
    batch: int = 32
    rate: float = 2e-3
    exam: int = 200
    drawn: int = 4000


@dataclass(frozen=True)
class Tasks:
    """Tasks drawn from a prior: points (n, shown + asked, 2), labels with noise, and labels without."""

    x: Floats
    y: Bools
    clean: Bools


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper looks at, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    return statements([report(Run(seed=seed), scale) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """What is said of the networks, judged on what `report` gives of each seed."""

    def of(name: str) -> Floats:
        return np.array([f[name] for f in found])

    own = of("straight, from other prior") - of("straight, from own prior")
    mixed = of("mixed, from other prior") - of("mixed, from own prior")
    balls = of("mixed, balls right") - of("straight, balls right")
    gap = of("straight, right") - of("dealt, right")
    return [
        lab.row("straight: distance to the answer of the other prior less that to its own", "above 0", own,
                lab.mean(own)[1] > 0),
        lab.row("mixed: distance to the answer of the other prior less that to its own", "above 0", mixed,
                lab.mean(mixed)[1] > 0),
        lab.row("balls: right by the mixed prior less by the straight one", "above 0: the prior shows", balls,
                lab.mean(balls)[1] > 0),
        lab.row("straight: change of the answer when classes are swapped and swapped back", "small (here: at most 0.1)",
                of("straight, swapped"), of("straight, swapped").mean() <= 0.1),
        lab.row("straight: answers that rise along the border's normal, share of steps", "at least 0.95",
                of("straight, rises"), of("straight, rises").mean() >= 0.95),
        lab.row("straight: sureness ten times as far out less that within the data", "above 0, as its prior has it",
                of("straight, farther"), lab.mean(of("straight, farther"))[1] > 0),
        lab.row("control: right by the straight prior less by one with dealt labels", "above 0", gap,
                lab.mean(gap)[1] > 0),
        lab.row("control: right, labels dealt in training", "chance (here: within 0.1 of 0.5)", of("dealt, right"),
                abs(of("dealt, right").mean() - 0.5) <= 0.1),
        *(lab.row(name, "", of(name), None) for name in found[0]),
    ]  # fmt: skip


def report(run: Run, scale: Scale) -> dict[str, float]:
    """The probe of one seed: networks of both priors and the control, looked at on new tasks.

    Distances are mean absolute differences of probabilities; ``right`` is against labels without noise.
    """
    exams = {prior: draw(prior, scale.exam, run.rng("exam", prior), scale) for prior in PRIORS}
    exact = {(p, of): posterior(of, exams[p], run.rng("exact", p, of), scale) for p in PRIORS for of in PRIORS}
    balls = draw("mixed", scale.exam, run.rng("exam", "balls"), scale, balls=1.0)
    out: dict[str, float] = {}
    with threads(1):
        for prior, other in (PRIORS, PRIORS[::-1]):
            model = trained(prior, run, scale)
            p, truth = predict(model, exams[prior], scale), exams[prior].clean[:, scale.shown :]
            out[f"{prior}, right"] = float(((p > 0.5) == truth).mean())
            out[f"{prior}, right by the exact answer"] = float(((exact[prior, prior] > 0.5) == truth).mean())
            out[f"{prior}, from own prior"] = float(np.abs(p - exact[prior, prior]).mean())
            out[f"{prior}, from other prior"] = float(np.abs(p - exact[prior, other]).mean())
            out[f"{prior}, balls right"] = float(
                ((predict(model, balls, scale) > 0.5) == balls.clean[:, scale.shown :]).mean()
            )
            swapped = Tasks(exams[prior].x, ~exams[prior].y, exams[prior].clean)
            out[f"{prior}, swapped"] = float(np.abs(p - (1 - predict(model, swapped, scale))).mean())
            out[f"{prior}, rises"], out[f"{prior}, farther"] = along(model, run.rng("along"), scale)
        none = trained("straight", run.at("dealt"), scale, dealt=True)
        p = predict(none, exams["straight"], scale)
        out["dealt, right"] = float(((p > 0.5) == exams["straight"].clean[:, scale.shown :]).mean())
    return out


def draw(prior: Prior, count: int, rng: np.random.Generator, scale: Scale, balls: float | None = None) -> Tasks:
    """Tasks of a prior; points are normal.

    Args:
        balls: share of tasks whose border is a circle; the prior's own unless given.
    """
    share = balls if balls is not None else {"straight": 0.0, "mixed": 0.5}[prior]
    x = rng.normal(size=(count, scale.shown + scale.asked, 2))
    clean = inside(*_borders(count, share, rng), x)
    return Tasks(x, clean ^ (rng.random(clean.shape) < scale.noise), clean)


def _borders(count: int, balls: float, rng: np.random.Generator) -> tuple[Bools, Floats, Floats, Bools]:
    """Whether each border is a circle, its normal or centre, its offset or radius, and which side is labelled True."""
    ball = rng.random(count) < balls
    at = rng.normal(size=(count, 2))
    normal = at / np.linalg.norm(at, axis=1, keepdims=True)
    offset = np.where(ball, rng.uniform(0.5, 1.5, count), rng.normal(0, 0.5, count))
    return ball, np.where(ball[:, None], 0.7 * at, normal), offset, rng.random(count) < 0.5


def inside(ball: Bools, at: Floats, offset: Floats, side: Bools, x: Floats) -> Bools:
    """The labels of points (n, points, 2) under one border each, (n, points)."""
    line = np.einsum("npd,nd->np", x, at) > offset[:, None]
    circle = ((x - at[:, None]) ** 2).sum(-1) < offset[:, None] ** 2
    return np.asarray(np.where(ball[:, None], circle, line) ^ side[:, None])


def posterior(prior: Prior, tasks: Tasks, rng: np.random.Generator, scale: Scale) -> Floats:
    """The probability of True of the asked points under a prior: borders drawn from it, weighed by their likelihood."""
    borders = _borders(scale.drawn, {"straight": 0.0, "mixed": 0.5}[prior], rng)
    out = np.zeros((len(tasks.x), tasks.x.shape[1] - scale.shown))
    odds = np.log((1 - scale.noise) / scale.noise)
    for i, (x, y) in enumerate(zip(tasks.x, tasks.y, strict=True)):
        said = inside(*borders, np.broadcast_to(x, (scale.drawn, *x.shape)))
        agreed = (said[:, : scale.shown] == y[: scale.shown]).sum(1)
        weight = np.exp(odds * (agreed - agreed.max()))
        p = weight @ said[:, scale.shown :] / weight.sum()
        out[i] = (1 - scale.noise) * p + scale.noise * (1 - p)
    return out


class Fitted(nn.Module):
    """A transformer without positions: every point attends to the labelled ones alone, so their order is no matter."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.shown = scale.shown
        self.points, self.labels = nn.Linear(2, scale.width), nn.Linear(1, scale.width, bias=False)
        self.layers = nn.ModuleList(_Layer(scale.width, scale.heads) for _ in range(scale.layers))
        self.head = nn.Linear(scale.width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits of True of the points after the labelled ones, (B, asked).

        Args:
            x: (B, shown + asked, 2).
            y: (B, shown), -1 and 1.
        """
        h = self.points(x)
        h = torch.cat([h[:, : self.shown] + self.labels(y.unsqueeze(-1)), h[:, self.shown :]], 1)
        for layer in self.layers:
            h = layer(h, self.shown)
        out: Tensor = self.head(h[:, self.shown :]).squeeze(-1)
        return out


class _Layer(nn.Module):
    """Attention to the labelled points, then a network on each point."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, shown: int) -> Tensor:
        B, T, D = h.shape
        q, k, v = self.inward(self.first(h)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(q, k[:, :, :shown], v[:, :, :shown])
        h = h + self.outward(read.transpose(1, 2).reshape(B, T, D))
        out: Tensor = h + self.network(self.second(h))
        return out


def trained(prior: Prior, run: Run, scale: Scale, dealt: bool = False) -> Fitted:
    """A network trained on tasks of a prior, each seen once.

    Args:
        dealt: labels of the points to be asked are those of other points.
    """
    model, rng = Fitted(scale), run.rng("tasks", prior)
    start = generator(run.rng("init"))
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0.0, part.in_features**-0.5, generator=start)
                if part.bias is not None:
                    part.bias.zero_()

    def loss_of(step: int) -> Tensor:
        tasks = draw(prior, scale.batch, rng, scale)
        wanted = tasks.y[:, scale.shown :]
        if dealt:
            wanted = rng.permuted(wanted, axis=None)
        scores = model(*_told(tasks, scale))
        return F.binary_cross_entropy_with_logits(scores, torch.from_numpy(wanted.astype(np.float32)))

    descend(model, loss_of, scale.steps, Options(rate=scale.rate, batch=scale.batch, weight_decay=0.0))
    return model.eval()


@torch.no_grad()
def predict(model: Fitted, tasks: Tasks, scale: Scale) -> Floats:
    """Probabilities of True of the asked points, (n, asked)."""
    return torch.sigmoid(model(*_told(tasks, scale))).numpy().astype(np.float64)


def along(model: Fitted, rng: np.random.Generator, scale: Scale) -> tuple[float, float]:
    """What a network says along the normal of a straight border: share of steps that rise, and sureness far out.

    The first counts the steps of a walk through the data, from the False side to the True one; a fall of less than
    0.01 is none. The second is ``|2 p - 1|`` at ten times the walk's ends less that at the ends.
    """
    x = rng.normal(size=(scale.exam, scale.shown, 2))
    ball, normal, offset, side = _borders(scale.exam, 0.0, rng)
    y = inside(ball, normal, offset, side, x)
    up = np.where(side, -1.0, 1.0)[:, None, None] * normal[:, None]
    steps = np.linspace(-2, 2, 21)[None, :, None]
    walk = offset[:, None, None] * normal[:, None] + steps * up
    far = offset[:, None, None] * normal[:, None] + 10 * steps[:, [0, -1]] * up

    def said(points: Floats) -> Floats:
        told = np.concatenate([x, points], 1)
        labels = np.concatenate([y, np.zeros(points.shape[:2], bool)], 1)
        return predict(model, Tasks(told, labels, labels), scale)

    p, out = said(walk), said(far)
    sure = np.abs(2 * out - 1).mean() - np.abs(2 * p[:, [0, -1]] - 1).mean()
    return float((np.diff(p, axis=1) > -0.01).mean()), float(sure)


def _told(tasks: Tasks, scale: Scale) -> tuple[Tensor, Tensor]:
    y = np.where(tasks.y[:, : scale.shown], 1.0, -1.0).astype(np.float32)
    return torch.from_numpy(tasks.x.astype(np.float32)), torch.from_numpy(y)
