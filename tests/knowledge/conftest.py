"""Real files and a tiny encoder for knowledge bases."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.events import Event
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from tests.conftest import build_tiny_tokenizer


def write_pdf(path: Path, pages: Sequence[str | bytes], *, compress: bool = False) -> Path:
    """A PDF with a page for each text (a line of it a line), or for each content stream in bytes."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        stream = page if isinstance(page, bytes) else _content(page)
        options = b"/Filter /FlateDecode " if compress else b""
        stream = zlib.compress(stream) if compress else stream
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (options, len(stream), stream))
        resources = b"<< /Font << /F1 3 0 R >> >>"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources %s /Contents %d 0 R >>"
            % (resources, len(objects))
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    path.write_bytes(data)
    return path


def _content(text: str) -> bytes:
    lines = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in text.split("\n")]
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    return f"BT /F1 12 Tf 14 TL 72 770 Td {shown} ET".encode("latin-1")


class Listener(JobContext):
    """A context that keeps what was said."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        super().__init__(self.events.append)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if getattr(event, "warning", False)]


@pytest.fixture
def ctx() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def encoder(tiny_encoder: Path) -> Encoder:
    """A tiny encoder with random weights, which reads 128 tokens."""
    return Encoder(load_model(LoadRequest(str(tiny_encoder), head="base", device="cpu"), JobContext()))


@pytest.fixture(scope="session")
def real_encoder(starter_encoder: Path) -> Encoder:
    return Encoder(load_model(LoadRequest(str(starter_encoder), head="base", device="cpu"), JobContext()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three text files."""
    made = tmp_path / "files"
    made.mkdir()
    texts: dict[str, Any] = {
        "cats.txt": "Cats sleep for most of the day. They hunt at night.",
        "bread.md": "# Bread\n\nBread is baked from flour.\n\n## Yeast\n\nYeast makes the dough rise.",
        "moon.txt": "The moon goes around the earth in 27 days. It has no air.",
    }
    for name, text in texts.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


def save_tiny(model: Any, folder: Path, **tokenizer: Any) -> LoadedModel:
    """A model of the tiny tokenizer's, saved and loaded again."""
    made = build_tiny_tokenizer()
    made.add_special_tokens(tokenizer)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return load_model(LoadRequest(str(folder), device="cpu"), JobContext())


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    import torch
    import transformers as t

    torch.manual_seed(0)
    config = t.BertConfig(
        vocab_size=len(build_tiny_tokenizer()),
        max_position_embeddings=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    return save_tiny(t.BertForQuestionAnswering(config), tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    import torch
    import transformers as t

    torch.manual_seed(5)  # one that does not end its answers at once
    size = len(build_tiny_tokenizer()) + 1
    config = t.GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=None)
    config.eos_token_id = None
    return save_tiny(t.GPT2LMHeadModel(config), tmp_path_factory.mktemp("chat"), eos_token="[EOS]")
