"""Masks: how many, which, and what becomes of them; the head at the masked positions gives the models' own loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.tasks.masked_head import masked_tokens
from lmstudio_app.tasks.masking import MaskingOptions, choose_tokens, mask_batch, pieces_of
from lmstudio_app.tasks.task import IGNORED
from tests.conftest import build_tiny_tokenizer


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def padded(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def test_15_percent_are_chosen_and_80_10_10_of_them_changed() -> None:
    tokenizer = build_tiny_tokenizer()
    words = pieces_of(tokenizer).ordinary.tolist()
    random = np.random.default_rng(1)
    rows = [[2, *random.choice(words, size=length).tolist(), 3] for length in random.integers(20, 120, 400)]
    batch = padded(rows)
    found = mask_batch(batch, tokenizer, MaskingOptions(), generator())
    ids, labels, before = found["input_ids"], found["labels"], batch["input_ids"]
    chosen = labels != IGNORED
    assert torch.equal(labels[chosen], before[chosen])
    assert torch.equal(ids[~chosen], before[~chosen])
    special = torch.isin(before, torch.tensor(tokenizer.all_special_ids))
    assert not chosen[special].any()
    maskable = (~special).sum(1).float()
    assert float(chosen.sum() / maskable.sum()) == pytest.approx(0.15, abs=0.003)
    assert ((chosen.sum(1) - 0.15 * maskable).abs() < 1).all()  # every row has its share
    is_mask = ids[chosen] == tokenizer.mask_token_id
    stays = ids[chosen] == before[chosen]
    assert float(is_mask.float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float(stays.float().mean()) == pytest.approx(0.1 + 0.1 / len(words), abs=0.015)
    drawn = ids[chosen][~is_mask & ~stays]
    assert len(set(drawn.tolist())) > len(words) / 2
    assert not torch.isin(drawn, torch.tensor(tokenizer.all_special_ids)).any()


def test_masks_depend_on_the_generator_alone() -> None:
    tokenizer = build_tiny_tokenizer()
    batch = padded([[2, *range(10, 60), 3]])
    first, same, other = (mask_batch(batch, tokenizer, MaskingOptions(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first["input_ids"], same["input_ids"])
    assert torch.equal(first["labels"], same["labels"])
    assert not torch.equal(first["labels"], other["labels"])


def test_whole_words_are_masked_together_and_the_share_is_kept() -> None:
    tokenizer = build_tiny_tokenizer()
    random = np.random.default_rng(2)
    words = ["good", "film", "xyzzy", "qwerty", "the", "battery"]
    texts = [" ".join(random.choice(words, size=30)) for _ in range(300)]
    batch = padded([tokenizer(text)["input_ids"] for text in texts])
    labels = mask_batch(batch, tokenizer, MaskingOptions(whole_words=True), generator())["labels"]
    chosen = (labels != IGNORED).numpy()
    ids = batch["input_ids"].numpy()
    begins = pieces_of(tokenizer).begins_word[ids]
    continues = ~begins & (batch["attention_mask"].numpy() > 0)
    assert continues.sum() > 1000
    assert (chosen[:, 1:] == chosen[:, :-1])[continues[:, 1:]].all()  # a piece goes with the one before it
    special = np.isin(ids, tokenizer.all_special_ids)
    assert chosen.sum() / (~special).sum() == pytest.approx(0.15, abs=0.01)
    assert not chosen[special].any()


def test_every_row_has_a_mask_and_a_row_of_special_tokens_has_none() -> None:
    maskable = np.array([[False, True, False, False], [False, False, False, False], [False, True, True, True]])
    for seed in range(20):
        chosen = choose_tokens(maskable, None, 0.15, generator(seed))
        assert chosen.sum(1).tolist() == [1, 0, 1]
    assert choose_tokens(maskable, None, 0.9, generator()).sum(1)[2] in (2, 3)


def test_words_begin_where_the_tokenizer_says_so() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    for pieces, begins in (
        (["<mask>", "▁the", "re", "▁", "电", "影"], [False, True, False, True, True, True]),
        (["<mask>", "Ġthe", "re", "Ċ", "a"], [False, True, False, True, False]),
        (["<mask>", "the", "##re", "##", "#"], [True, True, False, True, True]),
    ):
        backend = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, "<mask>"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>")
        assert pieces_of(tokenizer).begins_word.tolist() == begins
        assert pieces_of(tokenizer).ordinary.tolist() == list(range(1, len(pieces)))


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    from transformers import PreTrainedTokenizerFast

    backend = build_tiny_tokenizer().backend_tokenizer
    with pytest.raises(UserError, match="has no mask token"):
        pieces_of(PreTrainedTokenizerFast(tokenizer_object=backend))


SIZES: dict[str, Any] = {
    "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 64,
}  # fmt: skip


def build(family: str) -> Any:
    import transformers as t

    torch.manual_seed(0)
    match family:
        case "bert":
            return t.BertForMaskedLM(t.BertConfig(**SIZES))
        case "bert-pretraining":
            return t.BertForPreTraining(t.BertConfig(**SIZES))
        case "roberta":
            return t.RobertaForMaskedLM(t.RobertaConfig(**SIZES))
        case "xlm-roberta":
            return t.XLMRobertaForMaskedLM(t.XLMRobertaConfig(**SIZES))
        case "camembert":
            return t.CamembertForMaskedLM(t.CamembertConfig(**SIZES))
        case "mpnet":
            return t.MPNetForMaskedLM(t.MPNetConfig(**SIZES))
        case "albert":
            return t.AlbertForMaskedLM(t.AlbertConfig(**SIZES, embedding_size=16))
        case "electra":
            return t.ElectraForMaskedLM(t.ElectraConfig(**SIZES, embedding_size=16))
        case "deberta-v2":  # not among the known heads: all logits, then gathered
            return t.DebertaV2ForMaskedLM(t.DebertaV2Config(**SIZES))
    sizes = {"vocab_size": 90, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}
    return t.DistilBertForMaskedLM(t.DistilBertConfig(**sizes))


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, 90, (3, 20))
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    labels = torch.where((torch.rand(ids.shape) < 0.3) & (mask > 0), ids, IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert", "albert", "electra", "deberta-v2")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_at_masked_positions_gives_the_models_own_loss_and_gradient(family: str) -> None:
    model = build(family).eval()
    inputs = inputs_of(model)
    whole = model(**inputs).loss
    whole.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = masked_tokens(model, inputs)
    assert found.logits.shape == (int((inputs["labels"] != IGNORED).sum()), 90)
    loss = found.loss()
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), abs=1e-5)
    assert set(gradients) == {name for name, p in model.named_parameters() if p.grad is not None}
    for name, parameter in model.named_parameters():
        if name in gradients:
            assert torch.allclose(parameter.grad, gradients[name], atol=1e-5), name
    is_gathered = found.output.logits.ndim == 2
    assert is_gathered == (family != "deberta-v2")
    assert model(**inputs).logits.shape == (3, 20, 90)  # nothing is left behind on the model


def test_the_pretraining_head_and_a_wrapper_work_alike() -> None:
    class Wrapper(torch.nn.Module):  # as DistributedDataParallel: the model is its ``module``
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs: Any) -> Any:
            return self.module(**inputs)

    model = build("bert-pretraining").eval()
    inputs = inputs_of(model)
    next_sentence = torch.tensor([0, 1, 0])
    whole = model(**inputs, next_sentence_label=next_sentence)
    for wrapped in (model, Wrapper(model)):
        found = masked_tokens(wrapped, inputs)
        judged = torch.nn.functional.cross_entropy(found.output.seq_relationship_logits, next_sentence)
        assert (found.loss() + judged).item() == pytest.approx(whole.loss.item(), abs=1e-5)
        assert found.output.prediction_logits.ndim == 2


def test_a_batch_without_masks_has_no_loss() -> None:
    model = build("bert").eval()
    inputs = inputs_of(model)
    inputs["labels"] = torch.full_like(inputs["labels"], IGNORED)
    loss = masked_tokens(model, inputs).loss()
    assert loss.item() == 0.0
    loss.backward()
