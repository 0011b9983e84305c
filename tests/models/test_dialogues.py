"""Are the assistant's words, and no others, marked; and is no turn ever cut?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.core.errors import BadInput
from tilth.core.records import render
from tilth.models.dialogues import encode_dialogues
from tilth.models.tokenizer import Tokenizer

TEXTS = [
    "user: where does it grow?\n\nassistant: in the soil, in the field",
    "the seed and the soil under the rain",
] * 20
TOKENIZER = Tokenizer.train(TEXTS, vocab=320)


def talk(*turns: str) -> list[dict[str, str | None]]:
    roles = ["user", "assistant"] * len(turns)
    return [{"role": role, "content": content} for role, content in zip(roles, turns, strict=False)]


def test_only_the_assistants_words_are_marked() -> None:
    made = encode_dialogues(TOKENIZER, [talk("the rain?", "soil été", "field", "in"), talk("where"), None, []], end=0)
    assert TOKENIZER.decode(made.ids[made.learned & (made.ids != 0)]) == " soil été in"
    assert (made.ids[made.learned] == 0).sum() == 2
    assert made.size.tolist() == [len("soil été".encode()) + 2, 0, 0, 0]
    assert np.diff(made.offsets)[1:].tolist() == [0, 0, 0], "nothing to learn is nothing"


@given(st.lists(st.text(alphabet="the soil\n é漢?", max_size=12), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_reads_as_rendered(turns: list[str]) -> None:
    import pyarrow as pa

    from tilth.core.records import MESSAGES

    messages = talk(*turns)
    text = render("instruction", pa.table({"messages": pa.array([messages], MESSAGES)}))[0].as_py()
    made = encode_dialogues(TOKENIZER, [messages])
    if any(turns[1::2]):
        assert TOKENIZER.decode(made.ids) == text
        assert made.size.tolist() == [sum(len(t.encode()) for t in turns[1::2])]
    else:
        assert made.ids.size == 0


def test_turns_that_do_not_fit_are_left_out_whole() -> None:
    messages = talk("the soil", "the field", "the rain", "the seed " * 30)
    whole = encode_dialogues(TOKENIZER, [messages], end=0)
    short = encode_dialogues(TOKENIZER, [messages, talk("the seed " * 50, "soil")], end=0, context=30)
    said = TOKENIZER.decode(short.ids[short.learned & (short.ids != 0)])
    assert said == " the field"
    assert short.ids.size <= 30 < whole.ids.size
    assert np.diff(short.offsets)[1] == 0


def test_bytes_per_token_add_up() -> None:
    for text in ("the soil", "naïve 漢字 🌱", ""):
        _, ids = TOKENIZER.encode_batch([text])
        assert TOKENIZER.byte_lengths[ids].sum() == len(text.encode())
    assert TOKENIZER.byte_lengths[0] == 0, "the end token is no text"
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers

    other = Backend(models.WordLevel({"a": 0}, unk_token="a"))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(BadInput, match="byte-level"):
        _ = Tokenizer(other.to_str()).byte_lengths
