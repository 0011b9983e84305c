"""Learning tasks one after the other: what holds a model to earlier weights or answers, and what was forgotten.

Four ways without a single earlier example: `Anchor` pulls the weights to where they were, alike (`l2`) or by how much
each one mattered (`ewc`, with `fisher_diagonal`); `answers_kept` and `features_kept` hold what a classifier says, or
what its last layer reads, to a frozen copy's on the new task's own inputs. `Tasks` says what it was worth.

Sources: Smith et al. 2023, "A Closer Look at Rehearsal-Free Continual Learning" (arXiv 2203.17269); Kirkpatrick et al.
2017 (arXiv 1612.00796) for the Fisher penalty; Lopez-Paz and Ranzato 2017 (arXiv 1706.08840) and Chaudhry et al. 2018
(arXiv 1801.10112) for the measures. `SwappedTeacher` is the language model's prediction distillation, of Mix-CPT;
`gap` and `layer_updates` measure the early loss of old skill in continued pre-training.

>>> marks = Tasks(np.array([[0.9, 0.5], [0.6, 0.8]]), np.array([0.5, 0.5]))
>>> [round(x, 3) for x in (marks.average, marks.forgetting, marks.backward, marks.forward)]
[0.7, 0.3, -0.3, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.models.feeds import Batch
from tilth.models.gradients import Loss, gradients, names
from tilth.models.losses import swapped
from tilth.models.transformer import Classifier, Decoder
from tilth.models.tune import Beside, Texts, absent, padded_to

__all__ = [
    "Anchor",
    "Gap",
    "SwappedTeacher",
    "Tasks",
    "answers_kept",
    "classifier_fisher",
    "ewc",
    "features_kept",
    "fisher_diagonal",
    "gap",
    "l2",
    "layer_updates",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Only = Callable[[str], bool]


# ---- weights -------------------------------------------------------------------------------------


class Anchor:
    """Pulls weights back to where they were when it was made: ``strength * sum_i importance_i (theta_i - was_i)^2``.

    Hand it to a trainer as `stepped`. The pull is a step of its own after each of the optimizer's, at the step's
    learning rate and implicit, ``theta = was + (theta - was) / (1 + 2 rate strength importance)``: so it is what it
    says whatever Adam makes of gradients, is stable at any strength, and freezes the model as strength grows. (A
    penalty added to the loss goes through Adam's scaling and through the clipping of gradients, which undo most of the
    difference between weights; the papers add it to the loss. The pull is ours, after AdamW's decay of weights.)

    Args:
        importance: name -> of each weight, >= 0; weights that it does not name are free. See `l2` and `ewc`.
        to: name -> where each weight is pulled to; to where it is now when None.
    """

    def __init__(
        self,
        model: nn.Module,
        importance: Mapping[str, Tensor],
        strength: float,
        to: Mapping[str, Tensor] | None = None,
    ) -> None:
        if strength < 0 or any(bool((f < 0).any()) for f in importance.values()):
            raise ValueError("a pull of negative strength or importance would push weights away from where they were")
        held = dict(model.named_parameters())
        if unknown := importance.keys() - held.keys():
            raise ValueError(f"the model has no weights {min(unknown)!r}; importance must come from the same model")
        there = held if to is None else to
        for name in importance:
            if name not in there or there[name].shape != held[name].shape:
                raise ValueError(f"`to` must hold {name!r}, of the shape {tuple(held[name].shape)}")
        self.strength = strength
        self._held = {
            held[name]: (there[name].detach().clone().to(held[name].device), f) for name, f in importance.items()
        }

    @torch.no_grad()
    def __call__(self, moved: torch.optim.Optimizer) -> None:
        """Pull, after a step of this optimizer; at strength 0 nothing moves, to the bit."""
        if self.strength == 0:
            return
        for group in moved.param_groups:
            for p in group["params"]:
                if p in self._held:
                    was, importance = self._held[p]
                    p.copy_(was + (p - was) / (1 + 2 * group["lr"] * self.strength * importance))

    @torch.no_grad()
    def penalty(self) -> float:
        """What the pull is the gradient of, at the weights as they are now."""
        return self.strength * float(sum((f * (p - was).square()).sum() for p, (was, f) in self._held.items()))


def l2(model: nn.Module, strength: float, only: Only | None = None) -> Anchor:
    """An `Anchor` at the model's present weights, all alike.

    Args:
        only: which weights, by name. Leave heads of new tasks out; the paper's best on images holds the attention's
            alone.
    """
    held = dict(model.named_parameters())
    return Anchor(model, {name: torch.ones_like(held[name]) for name in names(model, only)}, strength)


def ewc(
    model: nn.Module, fisher: Mapping[str, Tensor], strength: float, earlier: Mapping[str, Tensor] | None = None
) -> Anchor:
    """An `Anchor` at the model's present weights, each as strong as its Fisher information says.

    Args:
        fisher: of the task just learned, from `fisher_diagonal`.
        earlier: the sum over the tasks before it; all weigh alike in the end.
    """
    summed = {name: f + earlier[name] if earlier is not None else f for name, f in fisher.items()}
    return Anchor(model, summed, strength)


def fisher_diagonal(
    model: nn.Module, loss: Loss, example: Sequence[Tensor], only: Only | None = None, chunk: int = 8
) -> dict[str, Tensor]:
    """The mean over examples of the squared gradient of each one's loss, by name, in the weights' shapes.

    With minus the log-probability of a label drawn from the model as loss it is the diagonal of the Fisher information;
    with the given label it is the empirical one, which goes to 0 as the task is learned. The square of a batch's mean
    gradient would be too small by about the size of the batch.

    Args:
        loss, example, only, chunk: see `gradients.gradients`; dropout is off.
    """
    chosen = names(model, only)
    shapes = {name: p.shape for name, p in model.named_parameters() if name in chosen}
    total: Tensor | None = None
    for start in range(0, len(example[0]), chunk):
        part = gradients(model, loss, [t[start : start + chunk] for t in example], only).detach().square().sum(0)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("the Fisher information of no examples is not defined; give at least one")
    pieces = torch.split(total / len(example[0]), [shapes[name].numel() for name in chosen])
    return {name: piece.view(shapes[name]) for name, piece in zip(chosen, pieces, strict=True)}


def classifier_fisher(
    model: Classifier,
    texts: Texts,
    rows: Ints,
    rng: torch.Generator,
    *,
    classes: Collection[int] | None = None,
    only: Only | None = None,
) -> dict[str, Tensor]:
    """The Fisher information of a classifier on some texts, labels drawn from what it says itself.

    Args:
        classes: those of the task; the others have no probability.
    """
    tokens, real = padded_to(model.encoder, texts, rows)
    off = absent(model.head.out_features, classes).to(tokens.device)
    with torch.no_grad():
        said = F.softmax(model(tokens, real).masked_fill(off, -torch.inf), -1).cpu()
    drawn = torch.multinomial(said, 1, generator=rng).squeeze(1).to(tokens.device)

    def loss(call: Callable[..., Tensor], ids: Tensor, there: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(call(ids, there).masked_fill(off, -torch.inf), label)

    return fisher_diagonal(model, loss, (tokens, real, drawn), only)


# ---- answers and features ------------------------------------------------------------------------


def answers_kept(
    teacher: Classifier, texts: Texts, strength: float, classes: Collection[int], temperature: float = 2.0
) -> Beside:
    """Prediction distillation, for `tune.train_classifier`'s `beside`: KL to what a frozen model says of old classes.

    Args:
        teacher: a copy of the model as it was; it is frozen.
        texts: those that are trained on.
        classes: the earlier tasks'. Scores of new classes stay out of the softmax: the teacher knows nothing of them.
        temperature: ours; the loss is times its square, so that gradients are alike at any.
    """
    teacher.eval().requires_grad_(False)
    off = absent(teacher.head.out_features, classes).to(teacher.head.weight.device)

    def beside(rows: Ints, features: Tensor, scores: Tensor) -> Tensor:
        del features
        with torch.no_grad():
            wanted = F.log_softmax(teacher(*padded_to(teacher.encoder, texts, rows))[:, ~off] / temperature, -1)
        found = F.log_softmax(scores[:, ~off] / temperature, -1)
        return strength * temperature**2 * (wanted.exp() * (wanted - found)).sum(-1)

    return beside


def features_kept(teacher: Classifier, texts: Texts, strength: float) -> Beside:
    """Feature distillation, for `tune.train_classifier`'s `beside`: squared distance to a frozen model's features.

    Features are what the last layer reads; the distance is a mean over their dimensions (ours), so that one strength
    fits any width.
    """
    teacher.eval().requires_grad_(False)

    def beside(rows: Ints, features: Tensor, scores: Tensor) -> Tensor:
        del scores
        with torch.no_grad():
            wanted = teacher.encoder.pooled(*padded_to(teacher.encoder, texts, rows))
        return strength * (features - wanted).square().mean(-1)

    return beside


class SwappedTeacher:
    """Logit-swap distillation (Mix-CPT, arXiv 2407.10804), for `train.train_lm`'s `beside`.

    ``strength`` times the mean over learned tokens of KL(target || student), where the target is what the frozen model
    expects with its likeliest token and the right one exchanged (`losses.swapped`): the right token gets the teacher's
    confidence, the rest of what it knew is kept. It is added to the text's own loss (whether the paper adds it or has
    it alone we could not tell; a later implementation weighs it 0.3, the default).

    Cost: the teacher's forward pass, and the logits of both models whole.

    Args:
        teacher: the model as it was; it is frozen.
        apart: as in `train_lm`.
    """

    def __init__(self, student: Decoder, teacher: Decoder, strength: float = 0.3, *, apart: bool = True) -> None:
        self.student, self.teacher = student, teacher.eval().requires_grad_(False)
        self.strength, self.apart = strength, apart

    def __call__(self, batch: Batch, hidden: Tensor) -> Tensor:
        """What is added to the loss of a step."""
        learned = batch.targets >= 0
        with torch.no_grad():
            states = self.teacher(batch.inputs, batch.documents if self.apart else None)[learned]
            wanted = F.log_softmax(swapped(self.teacher.logits(states), batch.targets[learned]), -1)
        found = F.log_softmax(self.student.logits(hidden[learned]), -1)
        return self.strength * (wanted.exp() * (wanted - found)).sum() / learned.sum().clamp(min=1)


# ---- measures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tasks:
    """Marks of a model on every task after each phase of its training, a task a phase unless `learned` says otherwise.

    Attributes:
        marks: (phases, tasks); row i, column j is the accuracy on task j after phase i.
        before: (tasks,) the accuracy on each before any was learned; without it there is no `forward`.
        learned: (tasks,) the phase that teaches each, several in one where they are mixed; the number of phases for a
            task that none teaches. When None, phase j teaches task j, and there are as many phases as tasks.

    Raises:
        ValueError: when the shapes are not these, or something is not a number.
    """

    marks: Floats
    before: Floats | None = None
    learned: Sequence[int] | None = None

    def __post_init__(self) -> None:
        fits = self.marks.ndim == 2 and self.marks.size > 0 and bool(np.isfinite(self.marks).all())
        phases, count = self.marks.shape if fits else (0, 0)
        fits = fits and (phases == count if self.learned is None else len(self.learned) == count)
        if not fits or (self.before is not None and self.before.shape != (count,)):
            raise ValueError(
                "marks must be numbers, a row per task learned (or per phase, with `learned`) and a column per task, "
                "and `before` one row"
            )
        if (self._learned < 0).any() or (self._learned > phases).any():
            raise ValueError(f"a task is learned in one of the {phases} phases, or in none of them ({phases})")

    @property
    def _learned(self) -> Ints:
        return np.arange(len(self.marks)) if self.learned is None else np.asarray(self.learned, np.int64)

    @property
    def _earlier(self) -> Ints:
        """The tasks learned before the last phase: what can be forgotten."""
        return np.flatnonzero(self._learned < len(self.marks) - 1)

    @property
    def average(self) -> float:
        """Mean accuracy over all tasks at the end."""
        return float(self.marks[-1].mean())

    @property
    def lost(self) -> Floats:
        """What each task learned before the last phase lost at the end against its best since it was learned."""
        best = [self.marks[self._learned[j] : -1, j].max() for j in self._earlier]
        return np.asarray(best - self.marks[-1, self._earlier])

    @property
    def forgetting(self) -> float:
        """Mean of `lost`; 0 where there is nothing to forget."""
        return float(self.lost.mean()) if self._earlier.size else 0.0

    @property
    def backward(self) -> float:
        """Backward transfer: mean, over tasks learned before the last phase, of the end less just after learning."""
        j = self._earlier
        return float((self.marks[-1, j] - self.marks[self._learned[j], j]).mean()) if j.size else 0.0

    @property
    def forward(self) -> float | None:
        """Forward transfer: mean, over tasks not learned in the first phase, of just before learning less at first.

        For a task that no phase teaches that is the end less at first.
        """
        if self.before is None:
            return None
        j = np.flatnonzero(self._learned > 0)
        return float((self.marks[self._learned[j] - 1, j] - self.before[j]).mean()) if j.size else 0.0

    def report(self) -> dict[str, float]:
        """All measures by name, those that are defined."""
        told = {"average": self.average, "forgetting": self.forgetting, "backward transfer": self.backward}
        return told if self.forward is None else {**told, "forward transfer": self.forward}


@dataclass(frozen=True)
class Gap:
    """An early loss of a skill and its recovery (the stability gap; Guo et al. 2024, arXiv 2406.14833).

    Attributes:
        dip: how far the score fell below its first value, at least 0.
        recovery: the first step at or after the lowest point where it is back; None if it never is.
        area: between the first value and the curve where that is below, in score times steps.
    """

    dip: float
    recovery: float | None
    area: float


def gap(steps: npt.ArrayLike, scores: npt.ArrayLike) -> Gap:
    """The stability gap in scores, larger being better, of held-out items measured at some steps, the first untrained.

    Lines are drawn between measurements. Give losses with a minus; the training loss says nothing, as it only falls.

    >>> gap([0, 10, 20], [0.5, 0.3, 0.7])
    Gap(dip=0.2, recovery=15.0, area=1.5)
    """
    at, s = np.asarray(steps, np.float64), np.asarray(scores, np.float64)
    if at.shape != s.shape or at.ndim != 1 or at.size < 2 or (np.diff(at) <= 0).any() or not np.isfinite(s).all():
        raise ValueError("a gap needs scores at two or more steps that rise, all of them numbers")
    below = s[0] - s
    area = 0.0
    for (a, b), (u, v) in zip(pairwise(at), pairwise(below), strict=True):
        if u <= 0 and v <= 0:
            continue
        part = (b - a) if u >= 0 and v >= 0 else (b - a) * max(u, v) / abs(u - v)
        area += part * (max(u, 0.0) + max(v, 0.0)) / 2
    low = int(below.argmax())
    recovery: float | None = None
    if below[low] <= 0:
        recovery = float(at[0])
    elif (back := np.flatnonzero(below[low:] <= 0)).size:
        i = low + int(back[0])
        recovery = float(at[i - 1] + (at[i] - at[i - 1]) * below[i - 1] / (below[i - 1] - below[i]))
    return Gap(round(float(max(below.max(), 0.0)), 12), recovery, float(area))


def layer_updates(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """How far the weights of each block moved, relative to their norm before; what is outside blocks is ``rest``.

    In a stability gap the top blocks move little at first. Names have ``blocks.<number>.``, as a `Decoder`'s.
    """
    moved: dict[str, tuple[float, float]] = {}
    for name, was in before.items():
        parts = name.split("blocks.", 1)
        block = f"block {parts[1].split('.')[0]}" if len(parts) == 2 else "rest"
        up, down = moved.get(block, (0.0, 0.0))
        moved[block] = up + float((after[name] - was).square().sum()), down + float(was.square().sum())
    return {name: (up / down) ** 0.5 if down else 0.0 for name, (up, down) in sorted(moved.items())}
