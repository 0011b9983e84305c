"""Each trainer on data whose answer is known."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tilth.core import Run
from tilth.models.batches import reading_order, windows
from tilth.models.checkpoint import Checkpoint
from tilth.models.dialogues import Dialogues
from tilth.models.feeds import Mixed
from tilth.models.optim import Options
from tilth.models.train import Examples, generator, train_lm
from tilth.models.transformer import Classifier, Config, Decoder, build, generate
from tilth.models.tune import (
    Texts,
    answer_log_probs,
    classify,
    embed,
    soften,
    train_classifier,
    train_contrastive,
    train_distilled,
    train_dpo,
    train_sft,
    train_sft_dpo,
)

VOCAB = 40


def model(causal: bool = True, seed: int = 0, layers: int = 1) -> Decoder:
    config = Config(vocab=VOCAB, context=16, layers=layers, width=32, heads=1, hidden=64, causal=causal)
    return build(config, generator(Run(seed=seed).rng("init")))


def texts(rows: list[list[int]]) -> Texts:
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    return offsets, np.array([i for row in rows for i in row], np.uint32)


def talks(pairs: list[tuple[list[int], list[int]]]) -> Dialogues:
    """Prompts and answers as ids; an answer is followed by the end, learned too."""
    offsets, ids = texts([[*prompt, *answer, 0] for prompt, answer in pairs])
    learned = np.concatenate([[False] * len(p) + [True] * (len(a) + 1) for p, a in pairs])
    return Dialogues(offsets, ids, learned, np.array([len(a) for _, a in pairs]))


def order_of(n: int, times: int = 1) -> np.ndarray:
    return reading_order(np.full(n, times), Run().rng("order"))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


TURNED = [([x + 1, y + 1], [y + 11, x + 11]) for x in range(10) for y in range(10)]


def test_tuning_learns_answers_and_generation_gives_them() -> None:
    tuned = model()
    train_sft(tuned, talks(TURNED), order_of(100, 25), Options(rate=0.005, batch=4))
    found = generate(tuned, [[0, *prompt] for prompt, _ in TURNED], 4, end=0)
    right = [row.tolist() == answer for row, (_, answer) in zip(found, TURNED, strict=True)]
    assert np.mean(right) > 0.9


def test_long_dialogues_are_cut_between_rounds_and_what_fits_no_window_is_named() -> None:
    """Three rounds of 8 tokens in windows of 16: two lie in one, the third in another, all are learned."""
    rounds = [([1, 2], [3, 4, 5, 6, 7]), ([2, 3], [7, 6, 5, 4, 3]), ([3, 4], [5, 7, 3, 6, 4])]
    said = [i for prompt, answer in rounds for i in (*prompt, *answer, 0)]
    offsets, ids = texts([said, [1] * 3 + [2] * 20, [9, 8, 10, 0], [8, 9, 11, 0]])
    marks = [[False] * 2 + [True] * 6] * 3 + [[False] * 3 + [True] * 20] + [[False] * 2 + [True] * 2] * 2
    long = Dialogues(offsets, ids, np.concatenate(marks), np.zeros(4, np.int64))
    tuned, options = model(), Options(rate=0.01, batch=1)
    done = train_sft(tuned, long, order_of(4, 100), options, packing="best_fit", rng=np.random.default_rng(0))
    assert done.left_out.tolist() == [1]
    first = [*said[:8], *said[8:10]]  # the second round was read after the first, the third at a window's beginning
    for prompt, answer in (rounds[0], (first, rounds[1][1]), rounds[2], ([9, 8], [10]), ([8, 9], [11])):
        assert generate(tuned, [[0, *prompt]], 8, end=0)[0].tolist() == answer
    kept = train_sft(model(), long, order_of(4, 100), options)
    assert kept.left_out.tolist() == [1]
    assert kept.tokens[-1] == done.tokens[-1] == 100 * (18 + 2 + 2)
    assert len(done.losses) < len(kept.losses)


def test_prompts_are_read_and_not_learned() -> None:
    """The gradient of the logits is zero at prompt positions: what is learned is the same for any prompt target."""
    tuned, data = model(), talks(TURNED[:8])
    with torch.no_grad():
        for p in tuned.parameters():
            p.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    seen = []

    def keep(hidden: torch.Tensor) -> torch.Tensor:
        hidden.retain_grad()
        seen.append(hidden)
        return hidden

    real = tuned.forward
    tuned.forward = lambda *a, **k: keep(real(*a, **k))  # type: ignore[method-assign]
    answer_log_probs(tuned, data, np.arange(8)).sum().backward()  # type: ignore[no-untyped-call]
    grad = seen[0].grad
    assert grad is not None
    assert (grad[:, :2] == 0).all(), "positions whose targets are the prompt"
    assert (grad[:, 2:5].abs().sum(-1) > 0).all()
    by_hand = 0.0
    for prompt, answer in TURNED[:1]:
        row = [0, *prompt, *answer, 0]
        logits = tuned.logits(real(torch.tensor([row[:-1]])))[0].log_softmax(-1)
        by_hand = sum(logits[i, row[i + 1]].item() for i in range(2, 5))
    assert answer_log_probs(tuned, data, np.array([0])).item() == pytest.approx(by_hand, rel=1e-4)


def preferences(n: int = 80) -> tuple[Dialogues, Dialogues]:
    """Any prompt; the preferred answer is 20 or 21, the other 22 or 23."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, 19, 3).tolist() for _ in range(n)]
    return (
        talks([(p, [20 + i % 2]) for i, p in enumerate(prompts)]),
        talks([(p, [22 + i % 2]) for i, p in enumerate(prompts)]),
    )


def test_preferences_are_learned_and_the_reference_is_what_it_was() -> None:
    chosen, rejected = preferences()
    tuned = model()
    start = copy.deepcopy(tuned)
    margins: list[tuple[int, float]] = []

    def watch(seen: Examples) -> None:
        assert seen.extra is not None
        margins.append((seen.step, float(seen.extra.mean())))

    out = train_dpo(tuned, chosen, rejected, order_of(80, 6), Options(rate=0.003, batch=16), beta=0.5, watch=watch)
    rows = np.arange(80)
    assert out.losses[0] == pytest.approx(np.log(2), abs=1e-5), "at the start model and reference are one"
    assert margins[0][1] == pytest.approx(0, abs=1e-5)
    with torch.no_grad():
        ours = answer_log_probs(tuned, chosen, rows) - answer_log_probs(tuned, rejected, rows)
        theirs = answer_log_probs(start, chosen, rows) - answer_log_probs(start, rejected, rows)
    assert (ours > theirs + 1).float().mean() > 0.95
    assert margins[-1][1] == pytest.approx(0.5 * float((ours - theirs).mean()), rel=0.35)
    flipped = copy.deepcopy(start)
    train_dpo(flipped, rejected, chosen, order_of(80, 6), Options(rate=0.003, batch=16), beta=0.5)
    with torch.no_grad():
        turned = answer_log_probs(flipped, chosen, rows) - answer_log_probs(flipped, rejected, rows)
    assert (turned < theirs - 1).float().mean() > 0.95


def test_tuning_then_preferences() -> None:
    chosen, rejected = preferences()
    both = model()
    options = Options(rate=0.003, batch=4)
    first, second = train_sft_dpo(both, chosen, rejected, order_of(80, 4), options, Options(rate=0.001, batch=16))
    assert second.losses[0] == pytest.approx(np.log(2), abs=1e-5), "the reference is the tuned model"
    assert first.losses[-1] < first.losses[0] - 1
    alone = model()
    train_sft(alone, chosen, order_of(80, 4), options)
    rows = np.arange(80)
    with torch.no_grad():
        better, worse = (torch.stack([answer_log_probs(m, d, rows) for m in (alone, both)]) for d in (chosen, rejected))
    margin = (better - worse).mean(1).tolist()
    assert margin[1] > margin[0] + 0.5


def parity(n: int, seed: int = 0) -> tuple[Texts, np.ndarray]:
    """Texts of random ids; the class says whether 5 or 6 is among them. Neither place nor length tells."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for i in range(n):
        row = rng.integers(7, VOCAB, rng.integers(3, 12)).tolist()
        row[int(rng.integers(len(row)))] = 5 + i % 2
        rows.append(row)
        labels.append(i % 2)
    return texts(rows), np.array(labels)


def test_classification_of_what_can_be_told_apart_and_of_noise() -> None:
    data, labels = parity(300)
    held, truth = parity(100, seed=1)
    classifier = Classifier(model(causal=False), 2)
    out = train_classifier(
        classifier, data, labels, order_of(300, 4), Options(rate=0.003, batch=15),
        measure=lambda: 1.0 - classify(classifier, held)[np.arange(100), truth], points=2,
    )  # fmt: skip
    assert out.losses[0] == pytest.approx(np.log(2), abs=1e-5)
    assert out.curve is not None
    assert out.curve.tokens.tolist() == [600, 1200]
    assert out.curve.losses[-1].mean() < 0.1 < out.curve.losses[0].mean() + 0.1
    assert classify(classifier, held).sum(1) == pytest.approx(1)
    soft = np.stack([np.where(labels == 0, 0.8, 0.2), np.where(labels == 0, 0.2, 0.8)], 1)
    gentle = Classifier(model(causal=False), 2)
    train_classifier(gentle, data, soft, order_of(300, 4), Options(rate=0.003, batch=16))
    assert classify(gentle, held)[np.arange(100), truth].mean() == pytest.approx(0.8, abs=0.06)


def test_weights_leave_out_what_they_say() -> None:
    """A third of the labels is wrong, and weights know which: learning is as if they were not there."""
    data, labels = parity(300)
    held, truth = parity(100, seed=1)
    wrong = np.arange(300) % 3 == 0
    found = {}
    for name, weigh in (("none", None), ("known", lambda seen: torch.from_numpy(~wrong[seen.records]).float())):
        classifier = Classifier(model(causal=False), 2)
        noisy = np.where(wrong, 0, labels)
        train_classifier(classifier, data, noisy, order_of(300, 4), Options(rate=0.003, batch=16), weigh=weigh)
        found[name] = classify(classifier, held)[np.arange(100), truth].mean()
    assert found["known"] > 0.9
    assert found["none"] < found["known"] - 0.05


def test_a_student_learns_the_teacher_from_few_logits() -> None:
    rng = np.random.default_rng(0)
    step = rng.permutation(VOCAB - 1) + 1
    rows = []
    for _ in range(300):
        row = [int(rng.integers(1, VOCAB))]
        while len(row) < 12:
            row.append(int(step[row[-1] - 1]) if rng.random() < 0.7 else int(rng.integers(1, VOCAB)))
        rows.append(row)
    offsets, ids = texts(rows)
    data = windows(offsets, ids, np.arange(300), 16, 0)
    teacher = model(seed=3)
    train_lm(teacher, Mixed({"all": data}, {"all": 1.0}, 16, 150, Run()), Options(rate=0.003))
    order = order_of(len(data), 3)
    found = {}
    for k in (4, VOCAB):
        student = model(seed=5)
        soft = soften(teacher, data, k)
        assert soft.ids.shape == (*data.inputs.shape, k)
        out = train_distilled(student, data, soft, order, Options(rate=0.003), temperature=2.0, share=0.9)
        assert out.losses[-1] < out.losses[0] / 3
        x = torch.from_numpy(data.inputs[:8].astype(np.int64))
        d = torch.from_numpy(data.documents[:8].astype(np.int64))
        with torch.no_grad():
            ours = student.logits(student(x, d)).log_softmax(-1)
            theirs = teacher.logits(teacher(x, d)).log_softmax(-1)
            fresh = model(seed=5)
            start = fresh.logits(fresh(x, d)).log_softmax(-1)
        found[k] = float((theirs.exp() * (theirs - ours)).sum(-1).mean())
        found[0] = float((theirs.exp() * (theirs - start)).sum(-1).mean())
        assert (ours.argmax(-1) == theirs.argmax(-1)).float().mean() > 0.7
    assert found[VOCAB] < found[0] / 4
    assert found[VOCAB] < found[4] < found[0], "what few logits leave out is lost: the student is too sure"


def passages(n: int = 60) -> tuple[Texts, Texts]:
    """A query is three ids; its passage holds the same ids plus ten, in another order, among others."""
    rng = np.random.default_rng(2)
    keys = [rng.choice(14, 3, replace=False) + 1 for _ in range(n)]
    asked = [key.tolist() for key in keys]
    given = [[*(rng.permutation(key) + 14).tolist(), *rng.integers(30, VOCAB, 4).tolist()] for key in keys]
    return texts(asked), texts(given)


def test_contrast_brings_queries_to_their_passages() -> None:
    queries, given = passages()
    encoder = model(causal=False)
    n = 60
    rng = np.random.default_rng(0)
    negatives = [rng.integers(0, n, 2).tolist() for _ in range(n)]

    def rank_of_own() -> float:
        scores = embed(encoder, queries) @ embed(encoder, given).T
        return float((scores > np.diag(scores)[:, None]).sum(1).mean())

    before = rank_of_own()
    out = train_contrastive(
        encoder, queries, given, np.arange(n), negatives, order_of(n, 40), Options(rate=0.003, batch=20),
        temperature=0.1, relevant=[[i] for i in range(n)],
    )  # fmt: skip
    assert before > 10
    assert rank_of_own() < 2
    assert out.losses[-10:].mean() < out.losses[:10].mean() / 3
    assert np.linalg.norm(embed(encoder, queries), axis=1) == pytest.approx(1, abs=1e-5)


class Cut(BaseException):
    """The plug is pulled."""


@pytest.mark.parametrize("what", ["dpo", "classifier", "contrastive"])
def test_every_trainer_resumes_to_the_same_bits(what: str, tmp_path: Path) -> None:
    chosen, rejected = preferences()
    data, labels = parity(80)
    queries, given = passages(80)

    def run(cut: int, save: Checkpoint | None) -> tuple[nn.Module, Any]:
        def watch(seen: Examples) -> None:
            if seen.step == cut:
                raise Cut

        options: dict[str, Any] = {"watch": watch, "save": save}
        rows, opt = order_of(80, 2), Options(rate=0.003, batch=16)
        if what == "dpo":
            trained: nn.Module = model()
            assert isinstance(trained, Decoder)
            return trained, train_dpo(trained, chosen, rejected, rows, opt, **options)
        if what == "classifier":
            trained = Classifier(model(causal=False), 2)
            return trained, train_classifier(trained, data, labels, rows, opt, **options)
        trained = model(causal=False)
        return trained, train_contrastive(trained, queries, given, np.arange(80), [[]] * 80, rows, opt, **options)

    whole = run(-1, None)
    with pytest.raises(Cut):
        run(7, Checkpoint(tmp_path, every=3))
    resumed = run(-1, Checkpoint(tmp_path, every=3))
    assert same(whole[0], resumed[0])
    assert np.array_equal(whole[1].losses, resumed[1].losses)
