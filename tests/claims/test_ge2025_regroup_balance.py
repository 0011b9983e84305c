"""The claim's own machinery, on a miniature of invented domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tilth.claims import ge2025_regroup_balance as claim
from tilth.core import Curve, Run
from tilth.probes.domains import Domains
from tilth.proofs.tiny_lm import TinyLm


@pytest.fixture
def setting(tmp_path: Path) -> claim.Setting:
    for name in "abcd":
        rng = np.random.default_rng(ord(name))
        words = [f"{name}{i}" for i in range(40)]
        rows = [json.dumps({"text": " ".join(rng.choice(words, 60))}) for _ in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    proof = TinyLm(depth=1, tokens=3000, vocab=300, context=32, batch=4, points=2)
    probe = Domains(path=str(tmp_path), items=10, piece=100, budget=0.5)
    return claim.Setting(seeds=1, clusters=(4,), every=8, proof=proof, probe=probe)


def test_rows_say_what_was_measured_and_clusters_are_the_domains(setting: claim.Setting) -> None:
    rows = claim.run(None, setting)
    assert len({row["statement"] for row in rows}) == len(rows) == 12
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}
    found = {row["statement"]: row["here"] for row in rows}
    assert found["clusters"].startswith("4.000")
    assert float(found["tokens of their cluster's main domain"].split()[0]) > 0.9


def test_names_say_nothing(setting: claim.Setting) -> None:
    made, domains = claim.world(setting, Run())
    assert made.goal is not None
    names = np.array(made.pool.column("source").to_pylist())
    assert len({*names}) == claim.NAMES
    assert all(len({*domains[names == name]}) > 1 for name in {*names})
    goals = {*made.goal.target.column("source").to_pylist(), *made.goal.holdout.column("source").to_pylist()}
    assert not goals & ({*names} | {*domains})


def test_the_formula_is_kept() -> None:
    assert claim.formula(20) < 1e-12


def test_the_part_of_the_steps() -> None:
    def curve(*losses: float) -> Curve:
        return Curve(np.arange(1, 5) * 10, np.array(losses)[:, None], np.zeros(4))

    theirs = curve(4, 3, 2.5, 2)
    assert claim.part(curve(3, 2, 1.5, 1), theirs) == 0.5
    assert claim.part(theirs, theirs) == 1
    assert claim.part(curve(4, 4, 3, 3), theirs) == 2
    slow = claim.Found({"rb": theirs, "equal": theirs, "named": theirs}, 4, 1.0, 1.0, 1.06, 1.0)
    told = {row["statement"]: row["holds"] for row in claim._rows([slow, slow], 1e-3)}
    assert [told[s] for s in list(told)[:5]] == ["no", "no", "yes", "no", "no"]
    quick = claim.Found(
        {"rb": curve(3, 2, 1.5, 1), "equal": theirs, "named": curve(3, 2, 1, 1)}, 4, 1.0, 1.0, 1.02, 1.0
    )
    told = {row["statement"]: row["holds"] for row in claim._rows([quick, quick], 1e-12)}
    assert [told[s] for s in list(told)[:5]] == ["yes", "yes", "no", "yes", "yes"]
