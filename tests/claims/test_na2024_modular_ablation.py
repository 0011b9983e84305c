"""The claim's own machinery, on a miniature: the real run takes minutes and needs data (`tilth claim`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tilth.claims import na2024_modular_ablation as claim
from tilth.core.errors import UsageError
from tilth.proofs.merged import Merged


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of made-up words, each from a slice of one alphabet of syllables, so that neighbours share half of it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / claim.FOLDER
    folder.mkdir(parents=True)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    names = (*claim.PARTS, *claim.OUTSIDE, claim.FOREIGN)
    for k, name in enumerate(names):
        rng = np.random.default_rng(k)
        some = np.roll(syllables, -4 * (k % 8))[:16]
        words = ["".join(rng.choice(some, 2)) for _ in range(12)]
        rows = [json.dumps({"text": " ".join(rng.choice(words, 120))}) for _ in range(30)]
        (folder / f"{name}.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress("\n".join(rows).encode()))
    return tmp_path / "data"


def test_rows_say_what_was_measured(data: Path) -> None:
    proof = Merged(depth=1, seed_tokens=2000, part_tokens=1000, vocab=300, context=64, longest=100)
    rows = claim.run(data, proof)
    assert len({row["statement"] for row in rows}) == len(rows) == 18
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}
    assert [row["wanted"] for row in rows[:2]] == ["at least 0.9"] * 2
    assert all(np.isfinite(row["here"]) for row in rows)
    assert not claim.WORK.exists(), "what was kept to resume from is removed at the end"


def test_the_measures_know_the_truth() -> None:
    """Losses made up: merged is joint plus a constant outside and noise on the parts, the control is noise."""
    rng = np.random.default_rng(0)
    names = (*claim.PARTS, *claim.OUTSIDE, claim.FOREIGN)
    domain = np.repeat(names, 4)
    joint = 3 + 0.2 * rng.random((40, 1)) + 0.001 * rng.random((40, domain.size))
    merged = joint + np.where(np.isin(domain, claim.PARTS), rng.random((40, domain.size)), 0.05)
    apart = 5 + 0.1 * rng.random((40, domain.size))
    found = {row["statement"]: row for row in claim._rows(merged, joint, apart, domain, 28)}
    assert found["other sources, 28 pairs: r of merged and joint"]["here"] == 1
    assert found["other sources, 12 triples: r of merged and joint"]["holds"] == "yes"
    assert found["held-out text of the parts, pairs: r"]["here"] < 0.9
    assert found["joint rank of the pair that merges best"]["here"] == 1
    assert found["no common weights: smallest harm, bits per byte"]["here"] > 1.5
    assert found["no common weights, pairs: r with joint"]["here"] < 0.5
    upside = {row["statement"]: row for row in claim._rows(6 - joint, joint, joint + 0.2, domain, 28)}
    assert upside["other sources, 28 pairs: r of merged and joint"]["holds"] == "no"
    assert upside["joint rank of the pair that merges best"]["here"] == 28
    assert upside["no common weights, pairs: r with joint"]["holds"] == "no"


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="law_german"):
            claim.run(data)
