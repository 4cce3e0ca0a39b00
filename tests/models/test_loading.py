import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.models.loading import LoadRequest, load_model, quiet_transformers
from tests.models.conftest import Recorder
from tests.models.test_card import edit_config
from tests.tiny_seq2seq import build_t5
from tests.training.test_families import build, byte_tokenizer


def load(folder: Path, recorder: Recorder, **options: object):
    return load_model(LoadRequest(str(folder), **options), recorder.ctx)  # type: ignore[arg-type]


def edit_weights(folder: Path, edit) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_classifier_gives_what_transformers_gives(tiny_classifier: Path, recorder: Recorder) -> None:
    from transformers import AutoModelForSequenceClassification

    loaded = load(tiny_classifier, recorder, device="cpu")
    expected = AutoModelForSequenceClassification.from_pretrained(tiny_classifier).eval()
    batch = loaded.tokenizer(["a great film", "bad"], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert torch.equal(loaded.model(**batch).logits, expected(**batch).logits)
    assert not loaded.model.training
    assert loaded.model.config._attn_implementation == "sdpa"
    assert (loaded.head, loaded.labels) == ("sequence-classification", ("negative", "positive"))
    assert (loaded.device.type, loaded.dtype, loaded.folder) == ("cpu", torch.float32, tiny_classifier)
    assert recorder.messages[-1] == "tiny-classifier is loaded"


def test_an_encoder_is_loaded_without_a_head(tiny_encoder: Path, recorder: Recorder) -> None:
    loaded = load(tiny_encoder, recorder)
    assert type(loaded.model).__name__ == "BertModel"
    assert (loaded.head, loaded.labels) == ("base", ())


def test_bf16_casts_the_weights(tiny_encoder: Path, recorder: Recorder) -> None:
    loaded = load(tiny_encoder, recorder, precision="bf16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def test_eager_attention_when_asked(tiny_encoder: Path, recorder: Recorder) -> None:
    assert load(tiny_encoder, recorder, attention="eager").model.config._attn_implementation == "eager"


def test_a_new_head_is_told_and_the_encoder_keeps_its_weights(tiny_encoder: Path, recorder: Recorder) -> None:
    loaded = load(tiny_encoder, recorder, head="sequence-classification", labels=("no", "maybe", "yes"))
    assert loaded.labels == ("no", "maybe", "yes")
    assert loaded.model.config.label2id == {"no": 0, "maybe": 1, "yes": 2}
    weights = load_file(tiny_encoder / "model.safetensors")
    assert torch.equal(loaded.model.bert.pooler.dense.weight, weights["pooler.dense.weight"])
    assert "The head is new and still knows nothing: classifier.bias, classifier.weight" in recorder.messages


def test_a_head_of_another_size_is_made_anew(tiny_classifier: Path, recorder: Recorder) -> None:
    loaded = load(tiny_classifier, recorder, head="sequence-classification", labels=("a", "b", "c"))
    assert loaded.model.classifier.weight.shape == (3, 32)
    assert any(message.startswith("The head is new") for message in recorder.messages)


def test_a_head_of_the_same_size_is_kept_under_new_names(tiny_classifier: Path, recorder: Recorder) -> None:
    loaded = load(tiny_classifier, recorder, head="sequence-classification", labels=("bad", "good"))
    weights = load_file(tiny_classifier / "model.safetensors")
    assert torch.equal(loaded.model.classifier.weight, weights["classifier.weight"])
    assert loaded.labels == ("bad", "good")
    assert not any(message.startswith("The head is new") for message in recorder.messages)


def test_nothing_is_printed(tiny_encoder: Path, recorder: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny_encoder, recorder, head="sequence-classification", labels=("a", "b"))
    assert capfd.readouterr() == ("", "")


def test_the_users_verbosity_is_given_back() -> None:
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging

    logging.set_verbosity_info()
    before = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    try:
        with quiet_transformers():
            assert logging.get_verbosity() == logging.ERROR
        assert logging.get_verbosity() == logging.INFO
        assert (logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before
    finally:
        logging.set_verbosity_warning()


def test_two_threads_that_load_do_not_disturb_each_other() -> None:
    """They come and go in the order first in, second in, first out, second out."""
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    first, second = Recorder(), Recorder()
    first.control.cancel()
    first_is_out = threading.Event()
    seen: list[object] = []

    def come_second() -> None:
        with quiet_transformers(second.ctx):
            both_are_in.wait()
            first_is_out.wait()
            seen.extend(logging.tqdm([1, 2]))
            seen.append(logging.get_verbosity())

    both_are_in = threading.Barrier(2)
    thread = threading.Thread(target=come_second)
    with quiet_transformers(first.ctx):
        thread.start()
        both_are_in.wait()
        with pytest.raises(Cancelled):
            list(logging.tqdm([1, 2]))
    first_is_out.set()
    thread.join()
    assert seen == [1, 2, logging.ERROR]
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert logging.set_tqdm_hook(None) is None


def test_a_cancel_is_seen_between_the_weights(tiny_encoder: Path) -> None:
    recorder = Recorder()
    original = recorder.ctx.check
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if "Loading the weights of tiny-encoder" in recorder.messages:
            recorder.control.cancel()
        original()

    recorder.ctx.check = check  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        load(tiny_encoder, recorder)
    assert calls > 3


@pytest.mark.starter
def test_the_starter_encoder_is_mapped_and_not_copied(starter_encoder: Path, recorder: Recorder) -> None:
    import time

    load(starter_encoder, recorder)
    start = time.monotonic()
    loaded = load(starter_encoder, recorder)
    assert time.monotonic() - start < 2.0
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == loaded.card.parameters


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
FAMILIES: dict[str, tuple[str, dict[str, object], str]] = {
    "DistilBertForMaskedLM": (
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
        "masked-lm",
    ),
    "RobertaForMaskedLM": ("RobertaConfig", {**SIZES, "pad_token_id": 0}, "masked-lm"),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "causal-lm"),
    "T5ForConditionalGeneration": (
        "T5Config",
        {"d_model": 32, "d_kv": 8, "num_layers": 2, "num_heads": 4, "d_ff": 64},
        "seq2seq-lm",
    ),
    "DebertaV2Model": ("DebertaV2Config", SIZES, "base"),
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_many_families_load_with_their_head_and_with_a_new_one(
    architecture: str, tiny_encoder: Path, tmp_path: Path, recorder: Recorder
) -> None:
    import transformers

    config_class, options, head = FAMILIES[architecture]
    vocabulary = json.loads((tiny_encoder / "config.json").read_text())["vocab_size"]
    tokens = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = getattr(transformers, config_class)(**{**tokens, **options, "vocab_size": vocabulary})
    folder = tmp_path / "model"
    with quiet_transformers():
        getattr(transformers, architecture)(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_encoder / name, folder)
    loaded = load(folder, recorder)
    assert (loaded.head, type(loaded.model).__name__) == (head, architecture)
    assert (loaded.card.layers, loaded.card.heads, loaded.card.hidden_size) == (2, 4, 32)
    assert loaded.card.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert "other" not in dict(loaded.card.parts)
    classifier = load(folder, recorder, head="sequence-classification", labels=("a", "b", "c"))
    assert classifier.labels == ("a", "b", "c")
    assert any(message.startswith("The head is new") for message in recorder.messages)
    assert recorder.warnings == []


# --- what may be wrong


def assert_fails(folder: Path, recorder: Recorder, message: str, remedy: str, **options: object) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(folder, recorder, **options)
    assert remedy in caught.value.remedy


def test_an_unknown_architecture(model_copy: Path, recorder: Recorder) -> None:
    edit_config(model_copy, model_type="quantumbert")
    assert_fails(model_copy, recorder, "not known here: quantumbert", "BERT")
    edit_config(model_copy, model_type=None)
    assert_fails(model_copy, recorder, "not known here: none", "BERT")


def test_a_configuration_that_makes_no_sense(model_copy: Path, recorder: Recorder) -> None:
    edit_config(model_copy, num_attention_heads=5)
    assert_fails(model_copy, recorder, "(cannot be loaded|does not describe)", "config.json|another model|again"[:11])


def test_no_tokenizer(model_copy: Path, recorder: Recorder) -> None:
    (model_copy / "tokenizer.json").unlink()
    assert_fails(model_copy, recorder, "There is no tokenizer", "Copy the tokenizer's files")


def test_a_broken_tokenizer(model_copy: Path, recorder: Recorder) -> None:
    (model_copy / "tokenizer.json").write_text("{}")
    assert_fails(model_copy, recorder, "The tokenizer in .* cannot be read", "tokenizer files again")


def test_a_tokenizer_larger_than_the_embedding(model_copy: Path, recorder: Recorder) -> None:
    rows = json.loads((model_copy / "config.json").read_text())["vocab_size"] - 10

    def shrink(weights: dict[str, torch.Tensor]) -> None:
        name = "embeddings.word_embeddings.weight"
        weights[name] = weights[name][:rows].clone()

    edit_weights(model_copy, shrink)
    edit_config(model_copy, vocab_size=rows)
    assert_fails(model_copy, recorder, f"ids up to {rows + 9}, and the embedding has {rows} rows", "same model")


def test_a_tokenizer_with_one_far_id(model_copy: Path, recorder: Recorder) -> None:
    path = model_copy / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["never"] = len(vocabulary) + 50
    path.write_text(json.dumps(data))
    assert_fails(model_copy, recorder, f"ids up to {len(vocabulary) + 50}", "same model")


def test_weights_of_another_size(model_copy: Path, recorder: Recorder) -> None:
    edit_config(model_copy, intermediate_size=48)
    assert_fails(
        model_copy, recorder, r"encoder\.layer\.0\.intermediate\.dense\.bias is 64 in the file, 48 by", "same model"
    )


def test_weights_that_lack_a_layer(model_copy: Path, recorder: Recorder) -> None:
    edit_config(model_copy, num_hidden_layers=3)
    assert_fails(model_copy, recorder, r"16 of the model's tensors .* encoder\.layer\.2", "same model")


def test_a_head_that_does_not_fit_its_own_configuration(
    tiny_classifier: Path, tmp_path: Path, recorder: Recorder
) -> None:
    folder = Path(shutil.copytree(tiny_classifier, tmp_path / "classifier"))
    edit_config(folder, id2label={"0": "a", "1": "b", "2": "c"}, label2id={"a": 0, "b": 1, "c": 2})
    assert_fails(folder, recorder, r"classifier\.\w+ is 2", "same model")


def test_a_classifier_is_not_made_up(tiny_encoder: Path, recorder: Recorder) -> None:
    assert_fails(
        tiny_encoder, recorder, "has no classification head", "Train it for a task", head="sequence-classification"
    )


def test_a_device_that_is_not_there(tiny_encoder: Path, recorder: Recorder) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    assert_fails(tiny_encoder, recorder, f"no {missing} device", "auto, ", device=missing)


@pytest.mark.parametrize(
    ("field", "value"), [("head", "tail"), ("device", "tpu"), ("precision", "int3"), ("attention", "flash")]
)
def test_options_that_do_not_exist(field: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{value} is not possible here") as caught:
        LoadRequest("x", **{field: value})  # type: ignore[arg-type]
    assert "Choose one of" in caught.value.remedy


def test_labels_have_different_names() -> None:
    with pytest.raises(UserError, match="Two labels have the same name"):
        LoadRequest("x", labels=("a", "a"))


@pytest.mark.parametrize("family", ["t5", "llama", "gpt2"])
def test_answers_are_marked_with_the_pretrained_weights_of_any_family(
    family: str, tmp_path: Path, recorder: Recorder
) -> None:
    """T5 keeps its head beside the backbone's parts, and Llama its backbone under another name for this head alone."""
    folder = build_t5(tmp_path / family) if family == "t5" else build(family, tmp_path / family)
    loaded = load(folder, recorder, head="question-answering", device="cpu")
    prefixes = ("model.", "transformer.")

    def plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefixes[0]).removeprefix(prefixes[1]): value for name, value in tensors.items()}

    stored, found = plain(load_file(folder / "model.safetensors")), plain(loaded.model.state_dict())
    stored.pop("lm_head.weight", None)
    for name, tensor in stored.items():
        assert torch.equal(found[name], tensor), name
    assert [name for name in found if "qa_outputs" in name] == ["qa_outputs.weight", "qa_outputs.bias"]


def test_a_family_with_its_head_beside_the_backbone_still_needs_all_of_the_backbone(
    tmp_path: Path, recorder: Recorder
) -> None:
    folder = build_t5(tmp_path / "t5")
    edit_weights(folder, lambda weights: weights.pop("encoder.final_layer_norm.weight"))
    with pytest.raises(UserError, match=r"1 of the model's tensors .* encoder\.final_layer_norm\.weight"):
        load(folder, recorder, head="question-answering", device="cpu")


def test_a_classifier_that_could_not_pad_is_refused(tmp_path: Path, recorder: Recorder) -> None:
    folder = build("gpt2", tmp_path / "gpt2")
    byte_tokenizer().save_pretrained(folder)
    edit_config(folder, bos_token_id=None, eos_token_id=None)
    with pytest.raises(UserError, match="has no token for padding") as caught:
        load(folder, recorder, head="sequence-classification", labels=("bad", "good"), device="cpu")
    assert "pad_token" in caught.value.remedy
