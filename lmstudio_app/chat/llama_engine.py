"""Replies by llama.cpp, for models that came as a GGUF file: several times as fast on a CPU as torch."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmstudio_app.chat.engine import CANDIDATES, Candidate, Piece, ReplyOptions, ReplyReport
from lmstudio_app.chat.prompts import Prompter
from lmstudio_app.chat.token_text import ReplyText, TokenNames
from lmstudio_app.chat.turns import Stopwatch, one_at_a_time
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import is_loaded
from lmstudio_app.models.card import read_card
from lmstudio_app.models.llama_cpp import LlamaProcess
from lmstudio_app.models.preloading import preload_libraries
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.models.tokenizer_files import load_tokenizer

LONGEST_CONTEXT = 8192  # tokens; llama.cpp takes the memory of all of them at once
# in the order of lmstudio_app.models.sampling
_SAMPLERS = ("penalties", "top_k", "temperature", "top_p")


class LlamaEngine:
    """A :class:`lmstudio_app.chat.engine.ChatEngine` for a GGUF file and the folder of its safetensors.

    The prompt is made by the folder's tokenizer and chat template, so that both engines read the same. Draws by the
    same rules as torch; but its random numbers, and with quantised weights also the last digits of its probabilities,
    are its own. Raises :class:`UserError` when llama.cpp cannot load the file.
    """

    name = "llama.cpp"

    def __init__(
        self,
        reference: str,
        folder: Path,
        gguf: Path,
        ctx: JobContext,
        *,
        tokenizer: Any = None,
        context_length: int | None = None,
    ) -> None:
        card = read_card(folder, reference)
        if card.head != "causal-lm":
            raise UserError("{model} does not write text, so it cannot chat.", "Choose a chat model.", model=reference)
        ctx.status("Loading {name} into llama.cpp", name=card.title or folder.name)
        self.reference = reference
        self.context_length = min(context_length or LONGEST_CONTEXT, card.max_length or LONGEST_CONTEXT)
        self.report = ReplyReport()
        self._gguf = gguf
        self._lock = threading.Lock()
        self._is_closed = False
        self._process = LlamaProcess(gguf, self.context_length)  # loads while the tokenizer is loaded
        try:
            self._tokenizer = _load_tokenizer(folder, ctx) if tokenizer is None else tokenizer
            self._prompter = Prompter(self._tokenizer, reference, self.context_length, _generation_config(folder))
            self._names = TokenNames(self._tokenizer)
            self._process.wait_until_ready(ctx)
        except BaseException:
            self.close()
            raise

    def count_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return self._prompter.count(messages)

    def close(self) -> None:
        self._is_closed = True
        self._process.close()

    def reply(
        self,
        messages: Sequence[Mapping[str, str]],
        options: ReplyOptions,
        ctx: JobContext,
        *,
        stop: Sequence[str] = (),
        candidates: int = CANDIDATES,
        prefix: str = "",
    ) -> Iterator[Piece]:
        watch = Stopwatch()
        prompt = self._prompter.prompt(messages, options, prefix)
        text = ReplyText(self._tokenizer, stop, prompt.ids[-1:] if prefix else ())
        with one_at_a_time(self._lock, ctx):
            request = {
                "prompt": prompt.ids,
                "max_tokens": prompt.max_new_tokens,
                "n_probs": max(1, candidates),
                "samplers": _SAMPLERS,
                "temperature": options.temperature,
                "top_k": options.top_k,
                "top_p": options.top_p,
                "repeat_penalty": options.repetition_penalty,
                "repeat_last_n": self.context_length,
                "seed": options.seed,
            }
            begun, ending = ReplyReport(len(prompt.ids), 0, prompt.dropped_messages), "stopped"
            answers = self._alive(ctx).ask(request, ctx)
            with contextlib.closing(answers):
                for answer in answers:
                    if "done" in answer:
                        ending = "length" if answer.get("ending") == "length" else "end"
                    begun = replace(begun, reused_tokens=answer.get("cached", begun.reused_tokens))
                    if "token" not in answer:
                        continue
                    token = answer["token"]
                    if token in self._prompter.end_ids:
                        ending = "end"
                        break
                    watch.count()
                    top = answer["top"][:candidates]
                    told = tuple(Candidate(self._names[index], math.exp(logarithm)) for index, logarithm in top)
                    yield Piece(text.add(token), token, math.exp(answer["logprob"]), told)
                    if text.reached_stop:
                        ending = "stop text"
                        break
            self.report = watch.report(begun, ending)
            if rest := text.finish():
                yield Piece(rest, -1, 1.0)

    def _alive(self, ctx: JobContext) -> LlamaProcess:
        """The process; a new one when the last has ended by itself."""
        if self._is_closed:
            raise UserError("This engine has been closed.", "Open it again.")
        if not self._process.is_alive:
            self._process.close()
            self._process = LlamaProcess(self._gguf, self.context_length)
            self._process.wait_until_ready(ctx)
        return self._process


def _load_tokenizer(folder: Path, ctx: JobContext) -> Any:
    if not is_loaded("models"):
        ctx.status("Loading the libraries")
        preload_libraries(ctx)
    with quiet_transformers(ctx):
        return load_tokenizer(folder)


def _generation_config(folder: Path) -> Any:
    """What the model's folder says of generation; None when it says nothing."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return None
    return GenerationConfig.from_pretrained(folder, local_files_only=True)
