"""Does the proof tell right answers in the plan from wrong ones, and are its nats those of the answers alone?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadInput
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator
from tilth.models.transformer import Config, Decoder, build
from tilth.proofs._decoder import END, answer_nats
from tilth.proofs.sft import Sft

CROPS = ["oats", "rye", "flax", "peas", "kale", "corn"]
FARMS = [f"{a}{b}" for a in ("nor", "sud", "ost", "wes") for b in ("ham", "ton", "by", "wick")]
ASK = ["what grows in {}?", "tell me the crop of {}.", "{} is sown with?"]
PROOF = Sft(depth=1, tokens=50_000, vocab=360, context=64, batch=4)


def turns(asked: str, said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def instruction(talks: list[Any], **columns: Any) -> TablePool:
    sizes = [{"count": 12}] * len(talks)
    return TablePool(pa.table({"messages": talks, "tokens": sizes, **columns}), "instruction")


def world(size: int = 900) -> tuple[TablePool, Goal, np.ndarray]:
    """Questions about farms, half of the pool's answers wrong; the holdout asks in words of its own mixture."""
    rng = np.random.default_rng(0)
    grows = {farm: CROPS[i % len(CROPS)] for i, farm in enumerate(FARMS)}
    talks, good = [], np.arange(size) % 2 == 0
    for right in good:
        farm = str(rng.choice(FARMS))
        wrong = [c for c in CROPS if c != grows[farm]]
        talks.append(turns(str(rng.choice(ASK)).format(farm), grows[farm] if right else str(rng.choice(wrong))))
    held = [turns(ask.format(farm), grows[farm]) for farm in FARMS for ask in ASK[:2]]
    others = [[c for c in CROPS if c != talk[1]["content"]][:3] for talk in held]
    holdout = instruction(held, distractors=pa.array(others))
    return instruction(talks), Goal(holdout, holdout, Budget(6 * size)), good


def halves(pool: TablePool, goal: Goal, good: np.ndarray) -> tuple[Plan, Plan]:
    start = Plan.everything(pool, goal.budget)
    times = np.full(len(start), 6)
    return tuple(  # type: ignore[return-value]
        start.revised({"use": "test"}, "half", keep=half, repeats=times) for half in (good, ~good)
    )


def test_right_answers_in_the_plan_beat_wrong_ones() -> None:
    pool, goal, good = world()
    losses = [PROOF.trial(plan, pool, goal, Run()) for plan in halves(pool, goal, good)]
    assert losses[0].mean() < -1, "right answers are the likelier ones"
    assert losses[1].mean() > -0.1, "a model taught wrong answers does not know the right ones"
    assert (losses[0] < losses[1]).mean() > 0.9


def test_without_wrong_answers_it_is_the_answers_own_cost() -> None:
    pool, goal, good = world(600)
    plan = halves(pool, goal, good)[0]
    bare = instruction(goal.holdout.column("messages").to_pylist())
    alone = PROOF.trial(plan, pool, Goal(bare, bare, goal.budget), Run())
    assert (alone > 0).all()
    both = PROOF.trial(plan, pool, goal, Run())
    assert (both < alone).all(), "what is taken off is what the wrong answers cost"
    texts = [*map(json.dumps, ({"distractors": d} for d in goal.holdout.column("distractors").to_pylist()))]
    meta = instruction(bare.column("messages").to_pylist(), meta=texts)
    assert PROOF.trial(plan, pool, Goal(meta, meta, goal.budget), Run()) == pytest.approx(both)


@pytest.fixture(scope="module")
def model() -> tuple[Decoder, Tokenizer]:
    tokenizer = Tokenizer.train(["user: the crop of the farm? assistant: rye, oats and peas"] * 9, 320)
    made = build(Config.of_depth(1, tokenizer.vocab_size, 32), generator(Run().rng("init")))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) * 0.2)
    return made.eval(), tokenizer


def direct(model: Decoder, ids: list[int], last: int) -> float:
    """Nats of the last tokens, one forward pass."""
    stream = torch.tensor([[END, *ids]])
    with torch.no_grad():
        return float(model.losses(stream[:, :-1], stream[:, 1:])[0, -last:].sum()) if last else 0.0


def test_only_the_last_answer_counts(model: tuple[Decoder, Tokenizer]) -> None:
    net, tokenizer = model
    before = [turns("the farm?", "rye")[:1], [*turns("a?", "b"), *turns("the crop?", "")[:1]], []]
    answers = ["oats and peas", "rye", "peas"]
    found = answer_nats(net, tokenizer, before, answers, 32)
    for turn, answer, nats in zip(before, answers, found, strict=True):
        parts = [f"{chr(10) * 2 * (n > 0)}{m['role']}: {m['content']}" for n, m in enumerate(turn)]
        head = f"{chr(10) * 2 * bool(turn)}assistant:"
        offsets, ids = tokenizer.encode_batch([*parts, f"{head} {answer}"])
        before_it = tokenizer.count([head])[0]
        assert nats == pytest.approx(direct(net, ids.tolist(), int(offsets[-1] - offsets[-2] - before_it)), abs=1e-4)


def test_long_questions_lose_their_beginning(model: tuple[Decoder, Tokenizer]) -> None:
    net, tokenizer = model
    ask = [{"role": "user", "content": "x " * 100}]
    found = answer_nats(net, tokenizer, [ask, [{"role": "user", "content": "y " + "x " * 99}]], ["rye"] * 2, 32)
    assert found[0] == pytest.approx(found[1]), "what lies before the context cannot matter"
    assert np.isfinite(answer_nats(net, tokenizer, [ask], ["oats " * 200], 32)).all()
    assert answer_nats(net, tokenizer, [ask], [""], 32).tolist() == [0.0]


def test_wrong_answers_of_a_wrong_kind_and_items_without_any() -> None:
    pool, goal, good = world(60)
    plan = halves(pool, goal, good)[0]
    odd = instruction([turns("a?", "b")], distractors=["text"])
    with pytest.raises(BadInput, match="as a list of texts; item 0"):
        PROOF.trial(plan, pool, Goal(odd, odd, goal.budget), Run())
    mute = instruction([turns("a?", "b")[:1]])
    with pytest.raises(BadInput, match="item 0 has none"):
        PROOF.trial(plan, pool, Goal(mute, mute, goal.budget), Run())
    short = Sft(depth=1, tokens=1000, vocab=300, context=16)
    long = instruction([turns("x " * 90, "y")] * 3)
    with pytest.raises(BadInput, match="fits the context"):
        short.trial(Plan.everything(long, Budget(100)), long, goal, Run())


def test_repeats_are_read_and_the_limit_holds() -> None:
    pool, goal, good = world(300)
    more = halves(pool, goal, good)[0]
    once = more.revised({"use": "test"}, "once", repeats=more.repeats // 6)
    big = PROOF.model_copy(update={"tokens": 100_000})
    assert big.trial(more, pool, goal, Run()).mean() < big.trial(once, pool, goal, Run()).mean()
    assert [big.smaller().tokens, PROOF.smaller().tokens] == [50_000, 25_000]
