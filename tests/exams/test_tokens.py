from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.tokenizer import Tokenizer
from tilth.signals.quality.tokens import Tokens, sample_texts, tokenizer_of

TEXTS = [f"Row {i} of beans, sown in spring and hoed {i % 7} times." for i in range(300)]
POOL = TablePool(pa.table({"text": [*TEXTS, "", None]}), fragment=64)


def test_counts_are_those_of_the_library_that_trained_it() -> None:
    state = Tokens(vocab=500).fit(POOL, None, Run())
    backend = tokenizer_of(state)._backend
    counts = score_in_memory(Tokens(vocab=500), POOL).column("tokens.count").to_pylist()
    assert counts == [len(backend.encode(t or "").ids) for t in POOL.column("text").to_pylist()]
    assert counts[-2:] == [0, 0]
    assert counts[0] < len(TEXTS[0]) / 2  # it has learnt words, not letters


def test_a_given_tokenizer_is_used(tmp_path: Path) -> None:
    letters = Tokenizer.train(["ab"], vocab=257)
    path = tmp_path / "tokenizer.json"
    path.write_text(letters.to_json())
    counts = score_in_memory(Tokens(tokenizer=str(path)), POOL).column("tokens.count").to_pylist()
    assert counts[0] == len(TEXTS[0])


def test_the_sample_is_bounded_and_does_not_depend_on_fragments() -> None:
    other = TablePool(POOL.table(["id", "text"]), fragment=1000)
    picked = sample_texts(POOL, 2000, Run())
    assert picked == sample_texts(other, 2000, Run())
    assert 1000 < sum(map(len, picked)) < 3000
