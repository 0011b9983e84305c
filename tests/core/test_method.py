from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import Field

from tilth.core import Budget, Method, Run
from tilth.core.errors import BadField, BadRecipe, TilthError


class Inner(Method):
    rate: float = Field(0.5, ge=0, le=1)


class Outer(Method):
    version: ClassVar[int] = 1
    inner: Inner = Inner()
    steps: int = Field(10, ge=1)


def test_fingerprints_tell_methods_apart_by_what_they_do() -> None:
    assert Outer().fingerprint() == Outer(steps=10).fingerprint()
    assert Outer().fingerprint() != Outer(steps=11).fingerprint()
    assert Outer().fingerprint() != Outer(inner=Inner(rate=0.25)).fingerprint()

    class Newer(Outer):
        version: ClassVar[int] = 2

    assert Newer().fingerprint() != Outer().fingerprint()


def test_errors_say_who_what_and_what_to_do() -> None:
    with pytest.raises(BadField, match=r"'steps'.*greater than or equal to 1.*Got 0 instead"):
        Outer(steps=0)
    wrong: dict[str, Any] = {"step": 3}
    with pytest.raises(BadField, match=r"no field .step.. Did you mean .steps."):
        Outer(**wrong)
    with pytest.raises(BadRecipe, match="20M tokens"):
        Budget.parse("a lot")


def test_budgets_read_as_people_write_them() -> None:
    assert Budget.parse("20M tokens") == Budget(20_000_000)
    assert Budget.parse("1.5b") == Budget(1_500_000_000)
    assert Budget.parse("5_000 records") == Budget(5000, "records")
    assert Budget.parse(7) == Budget(7)
    assert Budget.parse(str(Budget(1234, "pairs")).replace(",", "")) == Budget(1234, "pairs")


def test_randomness_depends_on_place_not_on_order() -> None:
    run = Run(seed=1)
    first = run.rng("a").random()
    run.rng("b").random()
    assert run.rng("a").random() == first
    assert run.at("a").rng().random() == first
    assert run.rng("a", 1).random() != first
    assert Run(seed=2).rng("a").random() != first


def test_per_record_randomness_is_uniform_and_blind_to_batches() -> None:
    import numpy as np
    import pyarrow as pa

    ids = pa.array([f"record {i}" for i in range(20_000)])
    u = Run().uniform(ids, "x")
    assert (Run().uniform(ids.slice(100, 50), "x") == u[100:150]).all()
    assert abs(np.corrcoef(u, Run().uniform(ids, "y"))[0, 1]) < 0.03
    counts = np.histogram(u, bins=20, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 150  # about five standard deviations


def test_every_error_is_in_the_tree_and_has_an_exit_code() -> None:
    from tilth.core import errors

    documented = errors.__doc__ or ""
    for name in errors.__all__:
        cls = getattr(errors, name)
        assert issubclass(cls, TilthError)
        assert name in documented
        assert 1 <= cls.exit_code <= 5
