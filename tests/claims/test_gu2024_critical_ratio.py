"""The claim on critical ratios at a toy size: which share is which, what is measured, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import gu2024_critical_ratio as claim

TOY = claim.Scale(
    first=10, replay=10, domain=20, held=3, longest=90, base=1500, tokens=(300, 400, 600, 1600), vocab=300, context=32
)
TOKENS = (2000, 4000, 8000, 16_000, 64_000)
Floats = npt.NDArray[np.float64]


def sources(letters: str, count: int = 40) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[" ".join(rng.choice([f"{a}{b}" for b in "xyzuvw"], 30)) for _ in range(count)] for a in letters]


def test_the_ratio_is_the_domain_s_share_and_holds_all_the_way() -> None:
    general = np.array([0, 20, 60, 70]), np.full(70, 5, np.uint32)
    domain = np.array([0, 10, 40]), np.full(40, 9, np.uint32)
    for ratio in (0.0, 0.25, 0.75):
        read = claim.mixed(general, domain, ratio, 4000, 50, Run())
        ids = read.inputs[read.inputs != 0]
        assert read.tokens.sum() == 4000
        assert (ids == 9).mean() == pytest.approx(ratio, abs=0.02)
        assert (ids[: ids.size // 4] == 9).mean() == pytest.approx(ratio, abs=0.05)
    many = np.arange(0, 2001, 10), np.full(2000, 9, np.uint32)
    less, more = (claim.mixed(general, many, r, 1000, 50, Run()).order for r in (0.25, 0.5))
    kept = [some[some >= 3][:10].tolist() for some in (less, more)]
    assert kept[0] == kept[1], "other ratios read the same domain texts in the same order"


def test_marks_of_a_seed_have_every_ratio_and_a_domain_that_is_learned() -> None:
    found = claim.marks(sources("lmn"), sources("p", 60)[0], Run(), TOY)
    assert found.fitted.shape == (4, len(claim.RATIOS), 2)
    assert found.fresh.shape == (2, len(claim.FRESH), 2)
    assert found.fitted[-1, -1, 1] < found.fitted[-1, 0, 1], "domain loss is less with more of it"
    assert np.isfinite(found.control)
    again = claim.marks(sources("lmn"), sources("p", 60)[0], Run(), TOY)
    assert (again.fitted == found.fitted).all()


def made(seed: int, general: Floats, bump: float = 0.0) -> claim.Found:
    """Losses by known laws: general loss rises with the square of the share and falls with tokens."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 0.01), 0.0  # seeds differ by more than the errors of measuring

    def losses(ratios: tuple[float, ...], fall: float) -> Floats:
        x = np.array(ratios)
        y = np.stack([4.0 - fall + 0.6 * x**2 + bump * (x == 0.5), 5.0 - x**0.5], 1)
        return np.asarray(y + rng.normal(0, 1e-3, y.shape) + shift)

    fitted = np.array([losses(claim.RATIOS, fall) for fall in general])
    return claim.Found(4.0, fitted, np.array([losses(claim.FRESH, fall) for fall in general[-2:]]), 0.001)


def judged(rows: list[dict[str, str]], part: str) -> list[str]:
    return [row["holds"] for row in rows if part in row["statement"]]


def test_laws_that_are_true_hold_and_others_do_not() -> None:
    """The critical share squared times .6 is .05 + what tokens spare; it grows from .3 to .5 and levels off."""
    ratio = 0.55 - 0.3 * (np.array(TOKENS) / TOKENS[0]) ** -0.7
    falls = 0.6 * ratio**2 - claim.TOLERANCE
    rows = claim.statements([made(seed, falls) for seed in range(4)], TOKENS)
    assert "no" not in {row["holds"] for row in rows}
    turned = claim.statements([made(seed, falls, bump=0.5) for seed in range(4)], TOKENS)
    assert judged(turned, "general loss, 64,000 tokens: largest error at a ratio left out") == ["no"]
    shrinking = claim.statements([made(seed, falls[::-1]) for seed in range(4)], TOKENS)
    assert judged(shrinking, "grows with tokens") == ["no"]
    assert judged(shrinking, "predicted from fewer") == ["no"]
    late = falls.copy()
    late[-1] += 0.3  # what the fewer tokens could not tell
    assert judged(claim.statements([made(seed, late) for seed in range(4)], TOKENS), "predicted from fewer") == ["no"]


def test_measured_between_ratios_and_at_the_ends() -> None:
    x = np.array(claim.FRESH)
    assert claim.measured(x, 1 + x, 1.5) == pytest.approx(0.5)
    assert claim.measured(x, 1 + x, 3.0) == claim.FRESH[-1]
    assert claim.measured(x, 1 + x, 1.0) == 0.0


def test_says_what_to_give(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="science_arxiv_2025"):
            claim.run(data)
