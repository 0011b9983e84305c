"""Online policies inside a training loop of your own: plain PyTorch, or a Trainer of transformers.

`Steer` holds the shares, draws by them and asks the policy for new ones; `callback` makes it a TrainerCallback. What
the policy may ask of the model is the gradient of its output matrix, on batches that you hand out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from tilth import catalog
from tilth.core import Budget, Goal, Influence, OnlinePolicy, Plan, Run, Steering, TablePool
from tilth.core.errors import BadField, MissingExtra
from tilth.models.feeds import Decks, as_shares
from tilth.models.influence import Measured

__all__ = ["Head", "Steer", "callback"]

FILE = "steer.pt"


@dataclass(frozen=True)
class Head:
    """The output matrix of any module, and the batches on which its gradient is taken.

    Attributes:
        model: as it is trained.
        layer: the linear layer that makes the logits, such as ``model.get_output_embeddings()``.
        batch: a batch of a group (or, when True, of a target) for a step; a function of these alone if runs are to be
            repeated. Fresh ones each step serve best.
        loss: the mean loss of a batch, such as ``lambda model, batch: model(**batch).loss``.
    """

    model: nn.Module
    layer: nn.Module
    batch: Callable[[str, bool, int], Any]
    loss: Callable[[nn.Module, Any], Tensor]

    def gradient(self, name: str, target: bool, step: int) -> Tensor:
        """As one vector; what feeds the layer counts as given, also where the matrix is the input's, too."""
        weight = self.layer.weight
        cut = self.layer.register_forward_pre_hook(lambda _, given: (given[0].detach(), *given[1:]))
        try:
            with torch.enable_grad():
                loss = self._evaluated(self.batch(name, target, step))
            return torch.autograd.grad(loss, weight)[0].flatten().float()  # type: ignore[arg-type]
        finally:
            cut.remove()

    def nats(self, name: str) -> float:
        """A target's loss, on its batch of step 0 each time."""
        with torch.no_grad():
            return float(self._evaluated(self.batch(name, True, 0)))

    def _evaluated(self, batch: Any) -> Tensor:
        training = self.model.training
        self.model.eval()
        try:
            return self.loss(self.model, batch)
        finally:
            self.model.train(training)


class Steer:
    """Shares that an online policy moves.

    A loop reads batches by `shares` (or takes them from `draw`) and calls `update` after each step; every `every`
    steps, and before the first, the policy decides. `state_dict` holds all of it, `log` what held from which step on.

    Args:
        policy: an online policy, its name, or ``{"use": name, ...}``; `skill_it` needs its graph given here.
        groups: the groups and how many members each has; they begin with equal shares.
        targets: the targets and their weights; named like groups where they are such.
        head: what the policy may ask; may be left out for a policy that only reads losses.
        within: moves shares to those that are allowed; `Room.nearest` finds the nearest.

    >>> steer = Steer("doremi", {"a": 10, "b": 10}, every=2)
    >>> for step in range(1, 5):
    ...     steer.update(step, excess={"a": 1.0, "b": 0.0})
    >>> steer.shares["a"] > 0.7, [step for step, _ in steer.log]
    (True, [0, 2, 4])
    """

    def __init__(
        self,
        policy: OnlinePolicy[Any] | str | Mapping[str, Any],
        groups: Mapping[str, int],
        targets: Mapping[str, float] | None = None,
        *,
        head: Head | None = None,
        every: int = 25,
        within: Callable[[Mapping[str, float]], Mapping[str, float]] | None = None,
        run: Run | None = None,
    ) -> None:
        self.policy: OnlinePolicy[Any] = policy if isinstance(policy, OnlinePolicy) else catalog.build(policy)
        if not isinstance(self.policy, OnlinePolicy):
            raise BadField(f"{policy} decides before training. Steer wants an online policy, such as dga.")
        self.groups, self.targets = dict(groups), dict(targets or {"goal": 1.0})
        self.head, self.every, self.run = head, every, run or Run()
        self._within = within
        self._decks = Decks(self.groups, self.run)
        self._state = self._started()
        self.log: list[tuple[int, dict[str, float]]] = [(0, dict.fromkeys(self.groups, 1 / len(self.groups)))]
        self._decide(0, {})

    @property
    def shares(self) -> dict[str, float]:
        """What holds now."""
        return self.log[-1][1]

    def draw(self) -> tuple[str, int]:
        """A group by the shares, and which of its members: each once before any comes again."""
        name, _, place = self._decks.draw(self.shares)
        return name, place

    def stream(self, datasets: Mapping[str, Sequence[Any]]) -> Iterator[Any]:
        """Members of the groups without end, drawn as the shares are at that moment."""
        while True:
            name, place = self.draw()
            yield datasets[name][place]

    def update(self, step: int, **seen: Mapping[str, float]) -> None:
        """Tell that `step` steps were taken; the policy decides when it is time.

        Args:
            seen: ``losses``, ``tokens`` and ``excess`` of the groups since the last decision, for policies that read
                them; see `OnlinePolicy.step`.
        """
        if step % self.every == 0:
            self._decide(step, seen)

    def state_dict(self) -> dict[str, Any]:
        """All that changes; goes into a checkpoint."""
        return {"policy": self._state, "log": list(self.log), "decks": self._decks.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._state, self.log = state["policy"], [(step, dict(held)) for step, held in state["log"]]
        self._decks.load(state["decks"])

    def _decide(self, step: int, seen: Mapping[str, Mapping[str, float]]) -> None:
        told: dict[str, Any] = {"step": step, "shares": dict(self.shares), "losses": {}, "tokens": {}, **seen}
        if self.head is not None:
            told["influence"] = self._asked(self.head, step)
        given, self._state = self.policy.step(self._state, told, self.run.at("online", step))
        shares = as_shares(given if self._within is None else self._within(given), self.groups, step)
        self.log = [entry for entry in self.log if entry[0] < step] + [(step, shares)]

    def _asked(self, head: Head, step: int) -> Influence:
        def gradient(name: str, target: bool) -> Tensor:
            return head.gradient(name, target, step)

        weights = np.array([*self.targets.values()], float)
        return Measured([*self.groups], [*self.targets], weights / weights.sum(), gradient, head.nats)

    def _started(self) -> Any:
        """The policy's state for a plan of these groups: one record stands for each, one item for each target."""
        pool = TablePool(pa.table({"id": [*self.groups], "text": [*self.groups], "source": [*self.groups]}))
        weights = pa.array([*self.targets.values()], pa.float64())
        target = TablePool(pa.table({"text": [*self.targets], "weight": weights}))
        goal = Goal(target, target, Budget(len(self.groups), "records"))
        plan = Plan.everything(pool, goal.budget)
        equal = (1 / len(self.groups),) * len(self.groups)
        steering = Steering(self.policy.describe(), plan.sources, equal, self.every, aims=tuple(self.targets))
        return self.policy.start(plan.steered(steering), pool, goal, self.run.at("online", "start"))


def callback(steer: Steer) -> Any:
    """A ``TrainerCallback`` that updates after each step and saves beside each checkpoint, in ``steer.pt``.

    Raises:
        MissingExtra: without transformers.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtra(f"A TrainerCallback needs transformers: pip install 'tilth[hf]'. {error}") from None

    class SteerCallback(TrainerCallback):  # type: ignore[misc]
        """Moves the shares while a Trainer trains."""

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            steer.update(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            torch.save(steer.state_dict(), Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE)

    return SteerCallback()
