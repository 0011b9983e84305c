"""Instruction skill moved from one base model to another: what tuning added to the weights, added again.

Source: Jindal et al. 2024, "Balancing Continuous Pre-Training and Instruction Fine-Tuning" (arXiv 2410.10739).

>>> base = {"w": np.array([1.0, 2.0], np.float32)}
>>> tuned = {"w": np.array([1.5, 2.0], np.float32)}
>>> continued = {"w": np.array([1.0, 3.0], np.float32)}
>>> instruction_residual(base, tuned, continued)["w"].tolist()
[1.5, 3.0]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["instruction_residual", "update_cosine"]

Weights = Mapping[str, npt.NDArray[Any]]


def instruction_residual(
    base_old: Weights,
    instruct_old: Weights,
    base_new: Weights,
    alpha: float = 1.0,
    *,
    vocabulary: Collection[str] = ("embedding.weight",),
    tied: Sequence[tuple[str, str]] = (),
    tokenizers: tuple[str, str, str] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """``base_new + alpha * (instruct_old - base_old)``, tensor by tensor: a new instruction model without tuning.

    Continued pre-training of the instruction model itself unlearns its skill; of the base it does not, as the skill is
    added afterwards. Sums are in double precision, in the order ``alpha * instruct_old + (base_new - alpha *
    base_old)``, and rounded once to the type of `base_new`. So with `base_new` the old base and `alpha` 1 it is
    `instruct_old` to the bit.

    Args:
        base_old, instruct_old, base_new: name -> weights, as of `merging.state_of`.
        alpha: how much of what tuning added; 1 in the paper.
        vocabulary: matrices with a row per token. Those of `instruct_old` may have more rows than the bases', for
            tokens that tuning added, all as many; these rows are copied, whatever alpha is, as there is no base's to
            subtract.
        tied: pairs of names that hold one matrix; a state of `merging.state_of` has it under one name and needs none.
        tokenizers: fingerprints of the three models' tokenizers. Those of the bases must agree, and that of
            `instruct_old` too unless it added tokens.

    Raises:
        ValueError: when names, shapes, tied weights or tokenizers do not fit, with what to do about it.
    """
    added = _added_rows(base_old, instruct_old, base_new, vocabulary)
    for first, second in tied:
        for what, state in (("base_old", base_old), ("instruct_old", instruct_old), ("base_new", base_new)):
            if first not in state or second not in state or not np.array_equal(state[first], state[second]):
                raise ValueError(
                    f"{first} and {second} are tied, but differ in {what}. Untie them in all three or none."
                )
    if tokenizers is not None:
        first_base, tuned, second_base = tokenizers
        if first_base != second_base or (tuned != first_base and not added):
            raise ValueError(
                "the models have different tokenizers, so row i of their embeddings is not one token. The residual "
                "only moves between models of one tokenizer."
            )
    made: dict[str, npt.NDArray[Any]] = {}
    for name, new in base_new.items():
        before, after = base_old[name].astype(np.float64), instruct_old[name].astype(np.float64)
        shared, more = (after[: len(before)], after[len(before) :]) if added and name in vocabulary else (after, None)
        moved = alpha * shared + (new.astype(np.float64) - alpha * before)
        made[name] = (moved if more is None else np.concatenate([moved, more])).astype(new.dtype)
    return made


def update_cosine(base_old: Weights, instruct_old: Weights, base_new: Weights) -> float:
    """The cosine between what continued training and what tuning did to the weights, over all of them.

    Near 0 they touch different directions, and their sum does both; far from 0 in either direction the transplant
    deserves suspicion. Rows that tuning added are left out.

    Raises:
        ValueError: when one of the two changed nothing.
    """
    dot = one = two = 0.0
    for name, old in base_old.items():
        before = old.astype(np.float64)
        a = base_new[name].astype(np.float64) - before
        b = (instruct_old[name][: len(old)] if old.ndim else instruct_old[name]).astype(np.float64) - before
        dot, one, two = dot + float((a * b).sum()), one + float((a * a).sum()), two + float((b * b).sum())
    if not one or not two:
        raise ValueError("one of the two models has the weights of the old base: there is no update to compare")
    return dot / float(np.sqrt(one * two))


def _added_rows(base_old: Weights, instruct_old: Weights, base_new: Weights, vocabulary: Collection[str]) -> int:
    """How many rows tuning added to the vocabulary's matrices; raises where anything else differs in shape."""
    if not base_old.keys() == instruct_old.keys() == base_new.keys():
        odd = sorted(
            (base_old.keys() | instruct_old.keys() | base_new.keys())
            - (base_old.keys() & instruct_old.keys() & base_new.keys())
        )
        raise ValueError(f"{odd[0]} is not in all three models. The residual needs one architecture.")
    added = set()
    for name, old in base_old.items():
        if base_new[name].shape != old.shape:
            raise ValueError(
                f"{name} is {base_new[name].shape} in base_new, {old.shape} in base_old. The residual needs one "
                f"architecture; give the new base the old one's vocabulary."
            )
        shape = instruct_old[name].shape
        if name in vocabulary and len(shape) == old.ndim and shape[1:] == old.shape[1:] and shape[0] >= old.shape[0]:
            added.add(shape[0] - old.shape[0])
        elif shape != old.shape:
            raise ValueError(
                f"{name} is {shape} in instruct_old, {old.shape} in base_old; only a matrix named in `vocabulary` may "
                f"have rows more."
            )
    if len(added) > 1:
        raise ValueError(f"the vocabulary's matrices have {sorted(added)} rows more in instruct_old: not one number")
    return added.pop() if added else 0
