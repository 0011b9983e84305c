"""MetadataPrefix: who is told what and when; and what a small model makes of sources that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError, UsageError
from tilth.policies.order.metadata_prefix import MetadataPrefix
from tilth.proofs.ngram import Ngram

MECO = MetadataPrefix()
EVIL = "{value}{0.__class__}\n\n  %s"


def pool_of(count: int = 1000, **columns: Any) -> TablePool:
    """Records of two sources, three of a to one of b, of 5 to 14 tokens."""
    kinds = ["a" if i % 4 else "b" for i in range(count)]
    tokens = [{"count": 5 + i * 7 % 10} for i in range(count)]
    texts = [f"text {i}" for i in range(count)]
    return TablePool(pa.table({"text": texts, "source": kinds, "tokens": tokens, **columns}))


def revised(policy: MetadataPrefix, pool: TablePool, plan: Plan | None = None) -> Plan:
    start = plan or Plan.everything(pool, Budget(10**6))
    return policy.revise(start, pool, Goal(pool, pool, start.budget), Run())


def test_the_first_part_is_told_its_source_and_the_rest_is_plain_and_unseen() -> None:
    pool = pool_of()
    repeats = np.where(np.arange(1000) % 3, 1, 3)
    start = Plan.everything(pool, Budget(10**6)).revised({"use": "test"}, "n", repeats=repeats)
    plan = revised(MECO, pool, start)
    assert plan.conditioning is not None
    told = plan.conditioning.told
    assert np.array_equal(told, plan.phase == 0)
    read = plan.sizes * plan.repeats
    assert read[told].sum() / read.sum() == pytest.approx(0.9, abs=0.003)
    for part in (told, ~told):
        share = (read * (plan.sources.index == 0))[part].sum() / read[part].sum()
        assert share == pytest.approx(plan.mixture()["a"], abs=0.01)
    assert np.array_equal(plan.repeats, repeats), "an order drops nothing"
    wanted = [f"{name}\n\n" for name in pool.column("source").to_pylist()]
    found = np.array(plan.conditioning.prefixes)[plan.conditioning.tags.index]
    assert found.tolist() == [text if first else "" for text, first in zip(wanted, told, strict=True)]
    rows, _ = plan.reading_order(Run())
    assert (np.diff(told[rows].astype(int)) <= 0).all(), "what is told is read first"
    back = revised(MECO.worst(), pool, start)
    assert back.conditioning is not None
    assert back.conditioning.told[back.reading_order(Run())[0]][-1]
    assert read[back.conditioning.told].sum() / read.sum() == pytest.approx(0.9, abs=0.003)


def test_hosts_of_urls_and_values_that_do_harm_elsewhere() -> None:
    urls = ["https://A.org:80/x?q", "b.net/y", "http://[broken", "", None] * 200
    plan = revised(MetadataPrefix(by="url", host=True, template="URL: {value}\n\n", share=1.0), pool_of(url=urls))
    assert plan.conditioning is not None
    assert plan.conditioning.prefixes == ("", "URL: a.org\n\n", "URL: b.net\n\n")
    assert plan.decisions[-1].details["unknown"] == 600
    assert plan.kept.all(), "unknown records are read plain"
    dropped = revised(MetadataPrefix(by="url", host=True, unknown="drop"), pool_of(url=urls))
    assert dropped.kept.sum() == 400
    with pytest.raises(DataError, match="600 of 1,000 records have no url"):
        revised(MetadataPrefix(by="url", host=True, unknown="error"), pool_of(url=urls))
    made = revised(MetadataPrefix(by="name", longest=30), pool_of(name=[EVIL, "x" * 99] * 500))
    assert made.conditioning is not None
    assert set(made.conditioning.prefixes) == {"", "{value}{0.__class__} %s\n\n", "x" * 30 + "\n\n"}


def test_phases_and_ranks_of_before_are_kept() -> None:
    pool = pool_of()
    rank = np.random.Generator(np.random.PCG64(0)).random(1000)
    phase = (np.arange(1000) >= 500).astype(np.int16)
    start = Plan.everything(pool, Budget(10**6)).revised({"use": "test"}, "n", phase=phase, rank=rank)
    plan = revised(MECO, pool, start)
    assert plan.conditioning is not None
    told = plan.conditioning.told
    assert (plan.phase[phase == 0] == 0).all()
    assert told[phase == 0].all(), "the cut lies in the second phase"
    assert set(plan.phase[phase == 1].tolist()) == {1, 2}
    assert np.array_equal(told, plan.phase < 2)
    for source in (0, 1):
        mine = plan.sources.index == source
        assert rank[mine & (plan.phase == 1)].max() < rank[mine & (plan.phase == 2)].min()


def test_it_warns_of_what_tells_nothing() -> None:
    def warnings(policy: MetadataPrefix, **columns: Any) -> str:
        return " ".join(revised(policy, pool_of(**columns)).decisions[-1].warnings)

    assert warnings(MECO) == ""
    assert "the same name" in warnings(MetadataPrefix(by="name"), name=["one"] * 1000)
    assert "`host`" in warnings(MetadataPrefix(by="url"), url=[f"http://a.org/{i}" for i in range(1000)])
    assert "nothing is left" in " ".join(revised(MECO, pool_of(4)).decisions[-1].warnings)
    with pytest.raises(BadField, match="template must hold"):
        MetadataPrefix(template="URL")
    with pytest.raises(DataError, match="is of type struct"):
        revised(MetadataPrefix(by="tokens"), pool_of())
    with pytest.raises(DataError, match="none of the records"):
        revised(MetadataPrefix(by="name"), pool_of(name=pa.nulls(1000, pa.string())))


def test_it_is_saved_with_the_plan_and_names_another(tmp_path: Path) -> None:
    plan = revised(MECO, pool_of())
    plan.save(tmp_path)
    back = Plan.load(tmp_path)
    assert back.fingerprint == plan.fingerprint
    assert back.conditioning is not None
    assert plan.conditioning is not None
    assert back.conditioning.prefixes == plan.conditioning.prefixes
    assert np.array_equal(back.conditioning.tags.index, plan.conditioning.tags.index)
    others = [plan.conditioned(None), revised(MetadataPrefix(template="by {value}\n"), pool_of())]
    assert len({plan.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_what_does_not_read_prefixes_refuses_the_plan() -> None:
    pool = pool_of()
    plan = revised(MECO, pool)
    goal = Goal(pool, pool, plan.budget)
    with pytest.raises(UsageError, match="ngram reads no prefixes"):
        Ngram().trial(plan, pool, goal, Run())
    talks = [[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]] * 4
    said = TablePool(pa.table({"messages": talks, "tokens": [{"count": 2}] * 4}), "instruction")
    with pytest.raises(UsageError, match="instruction records"):
        revised(MECO, said)


# ---- what a model makes of it -------------------------------------------------------------------------


def speaking(count: int, seed: int) -> list[str]:
    """Texts of two sources that disagree about which of 24 words follows each: a and b in turn."""
    rng = np.random.Generator(np.random.PCG64(seed))
    follow = np.random.Generator(np.random.PCG64(9)).permuted(np.tile(np.arange(24), (2, 1)), axis=1)
    texts = []
    for i in range(count):
        words = [int(rng.integers(24))]
        for _ in range(9):
            words.append(int(follow[i % 2][words[-1]]) if rng.random() < 0.8 else int(rng.integers(24)))
        texts.append("".join(f" w{word}" for word in words))
    return texts


def test_tiny_lm_learns_the_records_tokens_and_no_others() -> None:
    pytest.importorskip("torch")
    from tilth.proofs._text import read_windows, tokenizer_for
    from tilth.proofs.tiny_lm import TinyLm

    pool = pool_of(400)
    held = TablePool(pa.table({"text": [f"text {i}" for i in range(1000, 1020)]}))
    goal = Goal(held, held, Budget(10**6))
    plan = revised(MECO, pool)
    proof = TinyLm(depth=1, tokens=1500, vocab=300, context=64, points=1)
    tokenizer = tokenizer_for(pool, proof.vocab)
    told, plain = (read_windows(p, pool, tokenizer, 1500, 64, Run()) for p in (plan, plan.conditioned(None)))
    learned = [made.targets[made.targets >= 0].tolist() for made in (told, plain)]
    assert learned[0] == learned[1]
    assert len(learned[0]) == 1500
    assert (told.inputs != 0).sum() > (plain.inputs != 0).sum()
    losses = [proof.trial(p, pool, goal, Run()).mean() for p in (plan, plan, plan.conditioned(None))]
    assert losses[0] == losses[1] != losses[2]


def test_a_model_keeps_apart_what_sources_contradict_and_ends_well_on_plain_text() -> None:
    pytest.importorskip("torch")
    from tilth.claims import _lab as lab
    from tilth.claims.gao2025_meco import Scale, World, loss, trained

    texts, held = speaking(4000, 0), speaking(200, 1)
    vocab = lab.Vocab.of([*texts, *held, "a", "b", "\n"], lab.WORDS)
    world = World(texts, ["a", "b"] * 2000, held, ["a", "b"] * 100, vocab, 32)
    pool = world.pool(world.tags)
    start = Plan.everything(pool, Budget(44_000))
    policy = MetadataPrefix(share=0.8)
    plan = revised(policy, pool, start)
    plans = {
        "plain": plan.conditioned(None),
        "meco": plan,
        "hot": revised(MetadataPrefix(share=1.0), pool, start),
        "worst": revised(policy.worst(), pool, start),
    }
    scale = Scale(depth=1, batch=8)
    models = {name: trained(made, pool, world, 42_000, Run(), scale)[0] for name, made in plans.items()}
    plain = {name: loss(model, world, None, None) for name, model in models.items()}
    right, wrong = (loss(models["meco"], world, tags, None) for tags in (world.told, world.wrong))
    assert right < wrong - 0.3, "the prefix says whose convention holds"
    assert plain["hot"] > plain["meco"] + 0.5, "without a plain part a model depends on being told"
    assert plain["worst"] > plain["meco"] + 0.1
    # at this size the plain part does not catch up with plain reading, but nearly (docs/claims/gao2025_meco.md)
    assert plain["meco"] - plain["plain"] < 0.2 * (plain["hot"] - plain["plain"])
