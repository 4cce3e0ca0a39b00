"""How fast a chat answers: the app's engine against llama.cpp itself and against transformers, on the same model.

    python tests/benchmarks/chat_speed.py [--model starter:chat] [--tokens 128] [--repeats 3]

Each contender writes the same greedy reply in a process of its own, in turns. Tokens a second count from the first
token to the last. ``llama.cpp`` is the binding as it comes, on the same GGUF file with as many threads, and tells
nothing but the text; ``generate`` is transformers in float32. The first token is that of a second turn, whose beginning
the engine has read in the first. Wanted: ours at least 0.95 times llama.cpp and 5 times generate, and a first token
within 100 ms. Other work on the machine slows down whoever's threads wait in a loop (then llama.cpp itself takes many
minutes); the load is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from contest import Outcome, hold, parse_arguments

QUESTION = [{"role": "user", "content": "Write a long story about a fox who learns to read, with many details."}]
NEXT = [{"role": "assistant", "content": "Gladly."}, {"role": "user", "content": "And the next day?"}]
ROUNDS = 3  # replies whose median counts, after one that does not


def _rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


def ours(folder: Path, args: argparse.Namespace) -> Outcome:
    """The engine of the app, with the ten candidates for each token that the window shows."""
    from lmstudio_app.chat.engine import ReplyOptions, engine_for, reply_text
    from lmstudio_app.jobs import JobContext

    rates, firsts = [], []
    with engine_for(args.model, JobContext()) as engine:
        for _ in range(ROUNDS + 1):
            times, pieces = [], []
            for piece in engine.reply(QUESTION, ReplyOptions(max_new_tokens=args.tokens), JobContext()):
                times.append(time.perf_counter())
                pieces.append(piece)
            rates.append(_rate(times))
            answer = {"role": "assistant", "content": reply_text(pieces)}
            begun = time.perf_counter()
            next(engine.reply([*QUESTION, answer, NEXT[1]], ReplyOptions(max_new_tokens=1), JobContext()))
            firsts.append(time.perf_counter() - begun)
    return {"rate": statistics.median(rates[1:]), "first": statistics.median(firsts[1:]), "tokens": len(times)}


def prompt_ids(args: argparse.Namespace) -> tuple[Path, list[int]]:
    from lmstudio_app.jobs import JobContext
    from lmstudio_app.models.references import resolve
    from lmstudio_app.models.tokenizer_files import load_tokenizer
    from lmstudio_app.tasks.chat_templates import encode_prompt

    folder = resolve(args.model, JobContext())
    return folder, encode_prompt(load_tokenizer(folder), QUESTION, 4096)


def direct(folder: Path, args: argparse.Namespace) -> Outcome:
    """llama.cpp as the binding has it."""
    import xllamacpp

    from lmstudio_app.models.conversion import gguf_of
    from lmstudio_app.models.llama_cpp import count_threads

    model, ids = prompt_ids(args)
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_of(model))
    params.n_ctx = 8192
    params.n_parallel = 1
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = count_threads()
    server = xllamacpp.Server(params)
    rates: list[float] = []
    request = {"prompt": ids, "max_tokens": args.tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    for _ in range(ROUNDS + 1):
        times: list[float] = []
        server.handle_completions(request, lambda chunk, times=times: times.append(time.perf_counter()))
        rates.append(_rate(times[: args.tokens]))  # the last chunk holds no token
    return {"rate": statistics.median(rates[1:])}


def generate(folder: Path, args: argparse.Namespace) -> Outcome:
    """transformers in float32, as its documentation shows it."""
    import torch
    from transformers import AutoModelForCausalLM

    model_folder, ids = prompt_ids(args)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    times: list[float] = []

    def _note(input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)

    rates = []
    for _ in range(2):
        times.clear()
        prompt = torch.tensor([ids])
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=args.tokens,
            min_new_tokens=args.tokens, stopping_criteria=[_note],
        )  # fmt: skip
        rates.append(_rate(times))
    return {"rate": rates[-1]}


def describe(outcome: Outcome) -> str:
    first = f", first token {1000 * outcome['first']:.0f} ms" if "first" in outcome else ""
    return f"{outcome['rate']:7.1f} tokens/s{first}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter:chat")
    parser.add_argument("--tokens", type=int, default=128)
    args = parse_arguments(parser)
    contenders = {"ours": ours, "llama.cpp": direct, "generate": generate}
    results = hold(contenders, lambda folder: None, args, describe)
    rates = {name: [outcome["rate"] for outcome in outcomes] for name, outcomes in results.items()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"load {load:.1f} on {os.cpu_count()} cores")
    for name, wanted in (("llama.cpp", 0.95), ("generate", 5.0)):
        ratios = [one / other for one, other in zip(rates["ours"], rates[name], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"ours / {name:9}  {statistics.median(ratios):6.2f}x  (wanted {wanted}x; {spread})")
    first = statistics.median(outcome["first"] for outcome in results["ours"])
    print(f"first token, warm  {1000 * first:6.0f} ms  (wanted 100 ms)")


if __name__ == "__main__":
    main()
