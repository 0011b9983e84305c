"""The instruction residual: exact where it must be, and refusals where weights do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.models.merging import State, decoder, state_of
from tilth.models.residual import instruction_residual, update_cosine
from tilth.models.transformer import Config, build

CONFIG = Config.of_depth(2, vocab=300, context=32)


def drawn(seed: int) -> State:
    return state_of(build(CONFIG, torch.Generator().manual_seed(seed)))


def test_the_old_base_gives_the_instruction_model_back_to_the_bit() -> None:
    """Also where a weight is a trillion times smaller after tuning than before, which a plain sum would lose."""
    base, instruct = drawn(0), dict(drawn(1))
    instruct["embedding.weight"] = (instruct["embedding.weight"] * 1e-12).astype(np.float32)
    for kind in (np.float32, np.float16):
        old, tuned = ({n: w.astype(kind) for n, w in state.items()} for state in (base, instruct))
        made = instruction_residual(old, tuned, old)
        assert all(np.array_equal(made[name], tuned[name]) and made[name].dtype == kind for name in tuned)
    tokens = torch.arange(24).view(2, 12)
    assert torch.equal(
        decoder(CONFIG, instruction_residual(base, instruct, base))(tokens), decoder(CONFIG, instruct)(tokens)
    )


def test_the_formula_and_what_a_wrong_delta_would_give() -> None:
    base, instruct, new = drawn(0), drawn(1), drawn(2)
    for alpha in (0.0, 0.5, 1.0, 1.5):
        made = instruction_residual(base, instruct, new, alpha)
        for name in base:
            assert made[name] == pytest.approx(new[name] + alpha * (instruct[name] - base[name]), abs=1e-6)
    assert all(np.array_equal(instruction_residual(base, instruct, new, 0.0)[name], new[name]) for name in new)
    wrong = instruction_residual(new, instruct, new)  # the delta taken from the new base: what was learned is gone
    assert all(np.array_equal(wrong[name], instruct[name]) for name in instruct)
    right = instruction_residual(base, instruct, new)
    assert any(np.abs(wrong[name] - right[name]).max() > 0.1 for name in base)


def test_rows_that_tuning_added_are_copied() -> None:
    base, new, instruct = drawn(0), drawn(2), dict(drawn(1))
    more = np.full((3, CONFIG.width), 7.0, np.float32)
    instruct["embedding.weight"] = np.concatenate([instruct["embedding.weight"], more])
    for alpha in (1.0, 0.5):
        made = instruction_residual(base, instruct, new, alpha, tokenizers=("a", "b", "a"))
        assert made["embedding.weight"].shape == (303, CONFIG.width)
        assert (made["embedding.weight"][300:] == 7.0).all()
    assert np.isfinite(update_cosine(base, instruct, new))


def test_what_does_not_fit_is_refused() -> None:
    base, new, instruct = (dict(drawn(seed)) for seed in range(3))
    with pytest.raises(ValueError, match="not in all three"):
        instruction_residual(base, {n: w for n, w in instruct.items() if n != "embedding.weight"}, new)
    with pytest.raises(ValueError, match="one architecture"):
        instruction_residual(base, instruct, {**new, "embedding.weight": new["embedding.weight"][:-1]})
    name = "blocks.0.inward.weight"
    with pytest.raises(ValueError, match="only a matrix named in `vocabulary`"):
        instruction_residual(base, {**instruct, name: np.concatenate([instruct[name]] * 2)}, new)
    with pytest.raises(ValueError, match="only a matrix"):
        instruction_residual(base, {**instruct, "embedding.weight": instruct["embedding.weight"][:-1]}, new)
    with pytest.raises(ValueError, match="different tokenizers"):
        instruction_residual(base, instruct, new, tokenizers=("a", "a", "b"))
    with pytest.raises(ValueError, match="different tokenizers"):
        instruction_residual(base, instruct, new, tokenizers=("a", "b", "a"))
    head = [{**s, "head.weight": s["embedding.weight"].copy()} for s in (base, instruct, new)]
    tie = [("embedding.weight", "head.weight")]
    made = instruction_residual(head[0], head[1], head[2], tied=tie)
    assert np.array_equal(made["embedding.weight"], made["head.weight"])
    head[1]["head.weight"][0, 0] += 1
    with pytest.raises(ValueError, match="differ in instruct_old"):
        instruction_residual(head[0], head[1], head[2], tied=tie)
    head[1]["embedding.weight"] = np.concatenate([head[1]["embedding.weight"]] * 2)
    with pytest.raises(ValueError, match="not one number"):
        instruction_residual(head[0], head[1], head[2], vocabulary=("embedding.weight", "head.weight"))


def test_cosine_of_updates() -> None:
    zero = {"w": np.zeros(2, np.float32)}
    one, other = ({"w": np.array(v, np.float32)} for v in ([1, 0], [1, 1]))
    assert update_cosine(zero, one, other) == pytest.approx(0.5**0.5)
    assert update_cosine(zero, one, {"w": -one["w"]}) == pytest.approx(-1)
    with pytest.raises(ValueError, match="no update"):
        update_cosine(zero, zero, one)
