"""Online policies in other people's loops: a tiny Llama, steered towards its target, by hand and by a Trainer."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tilth import catalog
from tilth.core import OnlinePolicy, Run
from tilth.core.errors import BadField
from tilth.models.steer import FILE, Head, Steer, callback

transformers = pytest.importorskip("transformers")

VOCAB, LENGTH = 64, 12
STEPS = {"ones": 1, "twos": 2, "noise": 0}


def llama(tied: bool = False) -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, max_position_embeddings=LENGTH, tie_word_embeddings=tied, **shape
    )
    return transformers.LlamaForCausalLM(config)


def rows(step: int, count: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    if step == 0:
        return torch.from_numpy(rng.integers(0, VOCAB, (count, LENGTH)))
    return torch.from_numpy((rng.integers(0, VOCAB, (count, 1)) + step * np.arange(LENGTH)) % VOCAB)


DATA = {name: rows(step, 200, i) for i, (name, step) in enumerate(STEPS.items())}
TARGET = rows(2, 32, 9)


def batch(name: str, target: bool, step: int) -> dict[str, Tensor]:
    if target:
        return {"input_ids": TARGET, "labels": TARGET}
    some = DATA[name][np.random.default_rng(step).permutation(200)[:16]]
    return {"input_ids": some, "labels": some}


def loss_of(model: nn.Module, given: Any) -> Tensor:
    out: Tensor = model(**given).loss
    return out


def head_of(model: Any) -> Head:
    return Head(model, model.get_output_embeddings(), batch, loss_of)


@pytest.mark.parametrize("tied", [False, True])
def test_the_heads_gradient(tied: bool) -> None:
    """By hand from hidden states; where input and output share the matrix, the output's part alone."""
    model = llama(tied)
    made = head_of(model).gradient("ones", False, 3)
    given = batch("ones", False, 3)["input_ids"]
    with torch.no_grad():
        hidden = model.model(given).last_hidden_state[:, :-1].flatten(0, 1)
    weight = model.lm_head.weight.detach().clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(hidden @ weight.T, given[:, 1:].flatten())
    torch.testing.assert_close(made, torch.autograd.grad(loss, weight)[0].flatten(), rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert not model.lm_head._forward_pre_hooks


def steer_of(model: Any, every: int = 5) -> Steer:
    sizes = {name: len(data) for name, data in DATA.items()}
    return Steer({"use": "dga", "eta": 10}, sizes, {"goal": 1.0}, head=head_of(model), every=every, run=Run(seed=2))


def trained(steps: int, stop: int | None = None, state: Any = None) -> tuple[Any, Steer, Any]:
    """A plain loop; `state` is what an earlier one left."""
    model = llama()
    moved = torch.optim.AdamW(model.parameters(), lr=1e-2)
    steer = steer_of(model)
    first = 0
    if state is not None:
        model.load_state_dict(state["model"])
        moved.load_state_dict(state["moved"])
        steer.load_state_dict(state["steer"])
        first = state["step"]
    for step in range(first, stop or steps):
        some = torch.stack([DATA[name][place] for name, place in (steer.draw() for _ in range(8))])
        loss = model(input_ids=some, labels=some).loss
        loss.backward()
        moved.step()
        moved.zero_grad()
        steer.update(step + 1)
    left = {"model": model.state_dict(), "moved": moved.state_dict(), "steer": steer.state_dict()}
    return model, steer, left | {"step": stop or steps}


def test_a_plain_loop_is_steered_and_resumes_to_the_bit(tmp_path: Path) -> None:
    model, steer, _ = trained(40)
    assert max(steer.shares, key=steer.shares.__getitem__) == "twos"
    assert [step for step, _ in steer.log] == [*range(0, 41, 5)]
    _, _, left = trained(40, stop=17)
    torch.save(left, tmp_path / "left.pt")
    again, resumed, _ = trained(40, state=torch.load(tmp_path / "left.pt", weights_only=False))
    assert resumed.log == steer.log
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_trainer_is_steered(tmp_path: Path) -> None:
    model = llama()
    steer = steer_of(model, every=4)

    class Stream(torch.utils.data.IterableDataset[dict[str, Tensor]]):
        def __iter__(self) -> Any:
            return ({"input_ids": x, "labels": x} for x in steer.stream({n: [*d] for n, d in DATA.items()}))

    args = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=16,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        report_to=[],
        save_steps=8,
        save_strategy="steps",
        disable_tqdm=True,
        use_cpu=True,
        logging_steps=1000,
    )
    transformers.Trainer(model, args, train_dataset=Stream(), callbacks=[callback(steer)]).train()
    assert [step for step, _ in steer.log] == [0, 4, 8, 12, 16]
    assert steer.shares["twos"] > 0.4
    kept = torch.load(tmp_path / "checkpoint-8" / FILE, weights_only=False)
    fresh = steer_of(llama(), every=4)
    fresh.load_state_dict(kept)
    assert fresh.log == steer.log[:3]


@pytest.mark.filterwarnings("ignore:'pin_memory'")  # the page states no device
def test_what_the_page_shows_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "online.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "online.md", "exec"), {})
    shown = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert shown["twos"] > 0.6
    named = {name for name in of_policies() if f"`{name}`" in page}
    assert named == of_policies(), "the page names every online policy"


def of_policies() -> set[str]:
    found = [n for n, module in catalog.names().items() if module.startswith("tilth.policies.")]
    return {name for name in found if issubclass(catalog.find(name), OnlinePolicy)}


def test_what_is_no_online_policy_is_refused() -> None:
    with pytest.raises(BadField, match="decides before training"):
        Steer("stratified", {"a": 1})
