"""Adapters to Hugging Face: scores against transformers' own, and plans handed to its trainers."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Plan, Run, TablePool
from tilth.core.errors import BadField, BadInput
from tilth.core.records import Kind
from tilth.models.batches import windows_of_documents
from tilth.models.tokenizer import Tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

from tilth.models import hub  # noqa: E402

TEXTS = ["the seed needs warm soil", "rain", "the wind dries the field and the soil", "", "señor ☂ rain"]
CONTEXT = 16


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny causal and a tiny masked model with a tokenizer trained here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    special |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 9, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"max_position_embeddings": CONTEXT, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    out = {}
    for name, config, head in (
        ("causal", "LlamaConfig", "LlamaForCausalLM"),
        ("masked", "BertConfig", "BertForMaskedLM"),
    ):
        torch.manual_seed(0)
        out[name] = tmp_path_factory.mktemp(name)
        with hub._quiet(transformers):
            made = getattr(transformers, config)(**sizes, initializer_range=0.5)
            getattr(transformers, head)(made).save_pretrained(out[name])
            tokenizer.save_pretrained(out[name])
    return out


def direct(folder: Path, auto: str) -> tuple[Any, Any]:
    with hub._quiet(transformers):
        model = getattr(transformers, auto).from_pretrained(folder).eval()
        return model, transformers.AutoTokenizer.from_pretrained(folder)


def logp(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)


def test_causal_scores_are_the_models_own(folders: dict[str, Path]) -> None:
    local = hub.load(folders["causal"])
    assert local.task == "causal"
    model, tokenizer = direct(folders["causal"], "AutoModelForCausalLM")
    texts = [t for t in TEXTS if len(tokenizer(t)["input_ids"]) < CONTEXT]
    assert len(texts) >= 4
    got = hub.score(local, texts, batch_tokens=40)
    for i, text in enumerate(texts):
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        expected = float(logp(model, ids)[torch.arange(len(ids) - 1), torch.tensor(ids[1:], dtype=torch.long)].sum())
        assert got.nats[i] == pytest.approx(expected, abs=1e-4)
        assert got.tokens[i] == len(ids) - 1
        size = len(text.encode())
        assert got.bits_per_byte[i] == pytest.approx(-expected / math.log(2) / max(1, size), abs=1e-4)
    whole = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss  # transformers' own loss of the last one
    assert got.nats[-1] / got.tokens[-1] == pytest.approx(-float(whole.detach()), abs=1e-4)


def test_long_texts_are_scored_once_in_overlapping_windows(folders: dict[str, Path]) -> None:
    local = hub.load(folders["causal"])
    model, tokenizer = direct(folders["causal"], "AutoModelForCausalLM")
    text = "the wind dries the field and the soil " * 8
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert len(ids) > 3 * CONTEXT
    expected, scored = 0.0, 0
    done = 1
    for start in range(0, len(ids), CONTEXT // 2):
        window = ids[start : start + CONTEXT]
        found = logp(model, window)
        for place in range(max(done, start + 1), start + len(window)):
            expected += float(found[place - start - 1, ids[place]])
            scored += 1
        done = max(done, start + len(window))
    got = hub.score(local, [text, "rain"])
    assert scored == got.tokens[0] == len(ids) - 1
    assert got.nats[0] == pytest.approx(expected, abs=1e-3)
    assert got.nats[1] == pytest.approx(hub.score(local, ["rain"]).nats[0], abs=1e-5)


def test_answers_given_prompts(folders: dict[str, Path]) -> None:
    local = hub.load(folders["causal"])
    model, tokenizer = direct(folders["causal"], "AutoModelForCausalLM")
    prompts, wanted = ["the seed", "", "the soil"], [" needs rain", "rain", ""]
    got = hub.answers(local, prompts, wanted)
    p, a = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompts[0], wanted[0]))
    ids = [tokenizer.bos_token_id, *p, *a]
    found = logp(model, ids)
    expected = sum(float(found[len(ids) - len(a) - 1 + i, a[i]]) for i in range(len(a)))
    assert got.nats[0] == pytest.approx(expected, abs=1e-4)
    assert got.nats[1] == pytest.approx(hub.score(local, ["rain"]).nats[0], abs=1e-5)
    assert got.nats[2] == 0
    chained = hub.score(local, ["the seed"]).nats[0] + got.nats[0]
    assert chained == pytest.approx(float(found[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum()), abs=1e-3)
    assert hub.answers(local, ["rain " * 40], ["soil"]).tokens[0] == len(tokenizer("soil")["input_ids"])


def test_masked_scores_mask_one_token_at_a_time(folders: dict[str, Path]) -> None:
    local = hub.load(folders["masked"])
    assert local.task == "masked"
    model, tokenizer = direct(folders["masked"], "AutoModelForMaskedLM")
    text = "the seed needs rain"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    framed = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
    expected = 0.0
    for place in range(1, len(framed) - 1):
        hidden = list(framed)
        hidden[place] = tokenizer.mask_token_id
        expected += float(logp(model, hidden)[place, framed[place]])
    got = hub.score(local, [text, "", "the soil and the wind " * 9], batch_tokens=64)
    assert got.nats[0] == pytest.approx(expected, abs=1e-4)
    assert got.nats[1] == 0
    assert got.nats[2] < got.nats[0]
    pair = hub.answers(local, ["the seed"], [" needs rain"])
    assert 0 < pair.tokens[0] < got.tokens[0]
    assert got.nats[0] < pair.nats[0] < 0


@pytest.mark.parametrize("task", ["causal", "masked"])
def test_training_learns_the_texts_and_leaves_the_model_alone(folders: dict[str, Path], task: str) -> None:
    local = hub.load(folders[task])
    texts, other = ["the seed needs warm soil"] * 8, ["and dries rain field wind"]
    before = hub.score(local, [texts[0], other[0]])
    made, losses = hub.train(local, texts, Run(), epochs=30, batch=4, rate=1e-2)
    after = hub.score(made, [texts[0], other[0]])
    assert len(losses) == 60
    assert losses[-10:].mean() < losses[:10].mean() / 2
    assert after.nats[0] > before.nats[0] / 3
    assert after.nats[0] - before.nats[0] > after.nats[1] - before.nats[1]
    assert (hub.score(local, [texts[0], other[0]]).nats == before.nats).all()
    again = hub.train(local, texts, Run(), epochs=3, batch=4, rate=1e-2)[1]
    assert (again == hub.train(local, texts, Run(), epochs=3, batch=4, rate=1e-2)[1]).all()
    with pytest.raises(BadInput, match="nothing to train on"):
        hub.train(local, [], Run())


def test_training_on_pairs_learns_answers_only(folders: dict[str, Path]) -> None:
    local = hub.load(folders["causal"])
    pairs: list[hub.Example] = [("seed:", " rain"), ("field:", " wind")] * 4
    made, _ = hub.train(local, pairs, Run(), epochs=40, rate=1e-2)
    right = hub.answers(made, ["seed:", "field:"], [" rain", " wind"]).nats
    wrong = hub.answers(made, ["seed:", "field:"], [" wind", " rain"]).nats
    assert (right > wrong + 2).all()
    assert right.min() > -0.5


def test_what_cannot_be_loaded_is_refused_with_a_remedy(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="downloads no models"):
        hub.load("gpt2")
    with pytest.raises(BadInput, match=r"config\.json"):
        hub.load(tmp_path)
    pickled = tmp_path / "pickled"
    shutil.copytree(folders["causal"], pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(BadInput, match="can run code"):
        hub.load(pickled)
    with pytest.raises(BadInput, match="Cannot load"):
        hub.load(folders["causal"], "masked")
    headless = tmp_path / "headless"
    with hub._quiet(transformers):
        transformers.AutoModel.from_pretrained(folders["masked"]).save_pretrained(headless)
        transformers.AutoTokenizer.from_pretrained(folders["masked"]).save_pretrained(headless)
    with pytest.raises(BadInput, match="do not fill a masked model"):
        hub.load(headless, "masked")
    with pytest.raises(BadInput, match="State the task"):
        hub.load(headless)
    with pytest.raises(BadInput, match="predicts no tokens"):
        hub.score(hub.load(headless, "encoder"), ["rain"])


def test_code_in_a_folder_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(folders["causal"], folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(BadInput, match="code of its own"):
        hub.load(folder, "causal")
    assert not (tmp_path / "ran").exists()


# ---- handing over


def pool(kind: Kind) -> TablePool:
    n = 6
    said = [
        [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": f"rain {i}"}] for i in range(n)
    ]
    fields: dict[Kind, dict[str, Any]] = {
        "text": {"text": [f"the soil {i}" for i in range(n)]},
        "labeled": {
            "text": [f"the soil {i}" for i in range(n)],
            "label": ["wet" if i % 2 else "dry" for i in range(n)],
        },
        "instruction": {"messages": said},
        "preference": {
            "prompt": [f"question {i}" for i in range(n)],
            "chosen": ["rain"] * n,
            "rejected": ["wind"] * n,
        },
        "retrieval": {
            "query": [f"q{i}" for i in range(n)],
            "positive": ["soil"] * n,
            "negatives": [["wind", "rain"]] * n,
        },
    }
    return TablePool(pa.table({"id": [f"r{i}" for i in range(n)], **fields[kind]}), kind)


def planned(of: TablePool) -> Plan:
    """Record 0 is out, 1 is read three times, 5 comes last by its phase and 4 before 3 by its rank."""
    start = Plan.everything(of, Budget(6, "records"))
    rank = np.array([np.nan, np.nan, np.nan, 2.0, 1.5, np.nan])
    return start.revised({"use": "test"}, "x", repeats=[0, 3, 1, 1, 1, 1], phase=[0, 0, 0, 0, 0, 1], rank=rank)


def test_repeats_and_order_are_realised() -> None:
    of = pool("text")
    plan, run = planned(of), Run(seed=3)
    texts = hub.dataset(plan, of, run)["text"]
    rows, _ = plan.reading_order(run.at("order"))
    assert list(texts) == [f"the soil {r}" for r in rows]
    assert sorted(texts) == sorted(["the soil 1"] * 3 + [f"the soil {i}" for i in (2, 3, 4, 5)])
    assert texts[-1] == "the soil 5"
    assert list(texts).index("the soil 4") < list(texts).index("the soil 3")


def test_layouts_are_the_trainers_own() -> None:
    def first(kind: Kind, style: str = "") -> dict[str, Any]:
        of = pool(kind)
        row: dict[str, Any] = hub.dataset(planned(of), of, Run(), style)[-1]
        return row

    said = [{"role": "user", "content": "question 5"}, {"role": "assistant", "content": "rain 5"}]
    assert first("instruction") == {"messages": said}
    assert first("instruction", "prompt_completion") == {"prompt": said[:1], "completion": said[1:]}
    assert first("preference") == {"prompt": "question 5", "chosen": "rain", "rejected": "wind"}
    assert first("preference", "conversation")["chosen"] == [{"role": "assistant", "content": "rain"}]
    assert first("retrieval") == {"anchor": "q5", "positive": "soil", "negative_1": "wind", "negative_2": "rain"}
    of = pool("labeled")
    made = hub.dataset(planned(of), of, Run())
    assert made.features["label"].names == ["dry", "wet"]
    assert made[-1] == {"text": "the soil 5", "label": 1}


def test_what_does_not_fit_a_style_is_an_error() -> None:
    of = pool("instruction")
    with pytest.raises(BadField, match="one of messages, prompt_completion"):
        hub.dataset(planned(of), of, Run(), "alpaca")
    alone = TablePool(pa.table({"messages": [[{"role": "user", "content": "?"}]]}), "instruction")
    with pytest.raises(BadField, match="Record r00000000 does not end"):
        hub.dataset(Plan.everything(alone, Budget(1, "records")), alone, Run(), "prompt_completion")
    uneven = TablePool(
        pa.table({"query": ["a", "b"], "positive": ["c", "d"], "negatives": [["e"], ["f", "g"]]}), "retrieval"
    )
    with pytest.raises(BadField, match=r"record r0000000\d has anchor"):
        hub.dataset(Plan.everything(uneven, Budget(2, "records")), uneven, Run())
    unlabeled = TablePool(pa.table({"text": ["a"], "label": pa.array([None], pa.string())}), "labeled")
    with pytest.raises(BadField, match="has no label"):
        hub.dataset(Plan.everything(unlabeled, Budget(1, "records")), unlabeled, Run())


def test_transformers_trainer_reads_the_plan_in_its_order(folders: dict[str, Path], tmp_path: Path) -> None:
    of = pool("text")
    plan = planned(of)
    model, tokenizer = direct(folders["causal"], "AutoModelForCausalLM")
    made = hub.dataset(plan, of, Run())
    seen: list[str] = []

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        seen.extend(row["text"] for row in rows)
        batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        return {
            "input_ids": batch["input_ids"],
            "labels": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
        }

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        per_device_train_batch_size=2,
        num_train_epochs=1,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
    )
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=made, data_collator=collate)
    state = trainer.train()
    assert state.global_step == 4
    assert math.isfinite(state.training_loss)
    assert seen == list(made["text"])


def test_packed_windows_have_the_loss_of_their_documents_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    local = hub.load(folders["causal"])
    own = Tokenizer(local.tokenizer.backend_tokenizer.to_str())
    texts = ["the soil", "rain", "the wind " * 4, "seed", "the " * 30]
    offsets, ids = own.encode_batch(texts)
    assert ids.tolist() == [i for row in hub._ids(local, texts) for i in row]
    end = local.tokenizer.eos_token_id
    windows = windows_of_documents(
        offsets, ids, np.arange(5), CONTEXT - 1, end, packing="best_fit", rng=np.random.default_rng(0)
    )
    made = hub.packed(windows)
    assert made.column_names == ["input_ids", "labels", "position_ids"]
    assert len(made) < 5 + 1, "documents share windows, though two are cut"
    batch = transformers.default_data_collator(list(made))
    with torch.no_grad():
        together = float(local.model(**batch, use_cache=False).loss) * int((batch["labels"] >= 0).sum())
        alone = 0.0
        for inputs, targets, documents in zip(windows.inputs, windows.targets, windows.documents, strict=True):
            for number in np.unique(documents[documents >= 0]):
                x, y = (torch.from_numpy(a[documents == number].astype(np.int64)) for a in (inputs, targets))
                logits = local.model(input_ids=x[None]).logits[0]
                alone += float(torch.nn.functional.cross_entropy(logits, y, reduction="sum"))
        leaking = float(local.model(**batch, use_cache=False, attention_mask=torch.ones_like(batch["input_ids"])).loss)
    count = int((batch["labels"] >= 0).sum())
    assert count == windows.tokens.sum()
    assert together / count == pytest.approx(alone / count, abs=1e-5)
    assert abs(leaking - alone / count) > 1e-4, "a mask lets documents see one another, which the test must notice"
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=2, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True, per_device_train_batch_size=2, learning_rate=1e-2,
    )  # fmt: skip
    collate = transformers.default_data_collator
    trainer = transformers.Trainer(model=local.model, args=arguments, train_dataset=made, data_collator=collate)
    assert math.isfinite(trainer.train().training_loss)


@pytest.mark.parametrize(
    ("kind", "style"),
    [
        ("text", "text"),
        ("instruction", "messages"),
        ("instruction", "prompt_completion"),
        ("preference", "preference"),
        ("preference", "conversation"),
    ],
)
def test_trl_trains_on_it(folders: dict[str, Path], tmp_path: Path, kind: Kind, style: str) -> None:
    trl = pytest.importorskip("trl")
    of = pool(kind)
    model, tokenizer = direct(folders["causal"], "AutoModelForCausalLM")
    before = model.lm_head.weight.detach().clone()
    name = "DPO" if kind == "preference" else "SFT"
    arguments = getattr(trl, f"{name}Config")(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        per_device_train_batch_size=4,
        max_length=64,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_steps=2,
    )
    with warnings.catch_warnings():
        # trl 1.16 asks transformers 5.24 by the old name
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        trainer = getattr(trl, f"{name}Trainer")(
            model=model,
            args=arguments,
            train_dataset=hub.dataset(planned(of), of, Run(), style),
            processing_class=tokenizer,
        )
        state = trainer.train()
    assert state.global_step == 2
    assert math.isfinite(state.training_loss)
    assert not torch.equal(before, model.lm_head.weight)
