"""Runs llama.cpp on one GGUF file, in a process of its own: ``python -P llama_worker.py``.

A file that is damaged, or too large for the memory, ends llama.cpp and not the application; and a process can be ended
at any moment. It imports nothing of the application. Requests come on stdin and answers go to stdout, one JSON object a
line. It ends with its stdin.

First: ``model`` (the file), ``context`` (tokens), ``threads``, ``folder`` (an empty one, which is deleted). Answer:
``ready``, or ``problem`` (one line).
Then: ``ask``, a request of llama.cpp's ``/completions``, and its ``number``. Answers, all with this number: ``token``,
``logprob`` and ``top`` (pairs of a token and its logarithmic probability) for each token; ``read`` (tokens) for each
part of the prompt, of which ``cached`` were known from the question before; last ``done`` with the ``ending``, or
``problem``. ``stop`` ends the questions up to this number, also one that is still to come.

The binding serves HTTP beside its functions, and cannot do without. It is made to listen on a socket in the file system
that is deleted at once (or, where there are none, on the loopback interface), and to take a secret key only.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

PART = 64  # tokens of a prompt that are read at once; between two parts it can be stopped
_ERRORS = 1  # of llama.cpp's levels of telling


class Answers:
    """Lines on stdout, which is kept from whatever else llama.cpp may print."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(self, **values: Any) -> None:
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()


class Requests:
    """Lines on stdin, read in a thread of their own so that a stop is seen at once."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped = 0  # questions up to this one are to end
        self._folder: str | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if "stop" in request:
                self.stopped = max(self.stopped, int(request["stop"]))
            else:
                self._folder = request.get("folder", self._folder)
                self._asked.put(request)
        if self._folder is not None:  # while the model was still being loaded, and the application was killed
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)  # also in the middle of an answer: nobody is there any longer

    def next(self) -> dict[str, Any]:
        return self._asked.get()


def open_server(request: dict[str, Any]) -> Any:
    """The binding's server with the model in memory."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.n_ctx = request["context"]
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = PART
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = request["threads"]
    params.cache_ram_mib = 0  # the turn before is kept in any case; more would be copies of it
    params.ctx_shift = False
    params.n_threads_http = 1
    params.ui = False
    params.api_keys = [secrets.token_hex(32)]
    params.verbosity = _ERRORS
    params.hostnames = [str(Path(request["folder"]) / "llama.sock")]
    try:
        return xllamacpp.Server(params)
    finally:
        shutil.rmtree(request["folder"], ignore_errors=True)


def answer(server: Any, asked: dict[str, Any], number: int, requests: Requests, answers: Answers) -> None:
    """Stream the answer to one question."""
    last: dict[str, Any] = {}

    def _on_chunk(chunk: Any) -> bool:
        if "error" in chunk or "choices" not in chunk:
            last["problem"] = str(chunk.get("error", chunk).get("message", chunk))
            return True
        if "prompt_progress" in chunk:
            progress = chunk["prompt_progress"]
            answers.say(number=number, read=progress["processed"], cached=progress["cache"])
        choice = chunk["choices"][0]
        if choice["finish_reason"] is not None:
            last["ending"] = choice["finish_reason"]
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            top = [[other["id"], other["logprob"]] for other in entry["top_logprobs"]]
            answers.say(number=number, token=entry["id"], logprob=entry["logprob"], top=top)
        return requests.stopped >= number

    if requests.stopped < number:
        server.handle_completions({**asked, "stream": True, "return_progress": True, "cache_prompt": True}, _on_chunk)
    if "problem" in last:
        answers.say(number=number, problem=last["problem"])
    else:
        answers.say(number=number, done=True, **last)


def main() -> int:
    answers, requests = Answers(), Requests()
    try:
        server = open_server(requests.next())
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        answers.say(problem=lines[0][:300])
        return 1
    answers.say(ready=True)
    while True:
        request = requests.next()
        answer(server, request["ask"], request["number"], requests, answers)


if __name__ == "__main__":
    sys.exit(main())
