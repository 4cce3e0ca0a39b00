"""Makes safetensors of other weights, in a process of its own: ``python -P conversion_worker.py REQUEST.json``.

Reading GGUF holds Python's lock for seconds and cannot be interrupted; a process can be ended, and a window beside it
stays alive. It imports nothing of the application.

The request: ``kind`` (``gguf`` or ``pickle``), ``source`` (the GGUF file; or a list of pickles), ``output`` (a
folder). What happens is said on stdout, one JSON object a line: ``stage``, ``done`` and ``total`` (tensors), ``needed``
(bytes on the disk), ``problem`` (one line; the exit code is then 1).
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SHARD = "4GB"


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Problem(Exception):
    """What is wrong with the file, in one line."""


def convert_gguf(source: Path, output: Path) -> None:
    """Configuration, tokenizer and weights of a GGUF file, as ``save_pretrained`` would write them.

    Quantised weights become float16 (the scales of their blocks are float16), others keep their type.
    """
    import gguf
    import torch
    import transformers
    from transformers import modeling_gguf_pytorch_utils as reading

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # transformers reads the file for the configuration, the tokenizer and the weights; each time it takes seconds
    setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))  # noqa: B010 - a class is hidden by a function
    say(stage="header")
    reader = gguf.GGUFReader(str(source))
    dtype = _stored_type(reader.tensors)
    say(needed=sum(int(tensor.n_elements) for tensor in reader.tensors) * dtype.itemsize)
    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name, "local_files_only": True}
    say(stage="tokenizer")
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    tokenizer.save_pretrained(output)
    say(stage="weights")
    config = transformers.AutoConfig.from_pretrained(**where)
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    reading.tqdm = _told
    model, report = kind.from_pretrained(
        **where, dtype=dtype, quantization_config=transformers.GgufConfig(dequantize=True), output_loading_info=True
    )
    if missing := sorted(report["missing_keys"]):
        raise Problem(f"it lacks {len(missing)} tensors, for example {missing[0]}")
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if hasattr(model.config, "_model_name_or_path"):  # general.name of the file, which is no path
        del model.config._model_name_or_path
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    say(stage="saving")
    state = {name: _finite(tensor, torch) for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    _save({name: tensor for name, tensor in state.items() if name not in tied}, output)
    model.config.save_pretrained(output)
    model.generation_config.save_pretrained(output)


def _stored_type(tensors: Iterable[Any]) -> Any:
    """The type in which most weights of the file are kept whole: float32 and bfloat16 as they are, else float16."""
    import torch

    counts: dict[str, int] = {}
    for tensor in tensors:
        name = tensor.tensor_type.name
        counts[name] = counts.get(name, 0) + int(tensor.n_elements)
    most = max(counts, key=counts.__getitem__, default="F16")
    return {"F32": torch.float32, "BF16": torch.bfloat16}.get(most, torch.float16)


def _finite(tensor: Any, torch: Any) -> Any:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise Problem("some of its weights are beyond the range of float16")
    return tensor


def _told(items: Any, **_: Any) -> Iterator[Any]:
    """In the place of transformers' progress bar."""
    rows = list(items)
    for done, item in enumerate(rows):
        say(done=done, total=len(rows))
        yield item
    say(done=len(rows), total=len(rows))


def convert_pickles(sources: list[Path], output: Path) -> None:
    """The tensors of pickles, read by torch's unpickler that makes nothing but tensors and runs nothing."""
    import torch

    say(stage="weights")
    state: dict[str, Any] = {}
    for done, source in enumerate(sources):
        say(done=done, total=len(sources))
        try:
            found = torch.load(source, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise Problem(
                f"{source.name} holds more than weights, or is damaged: {str(error).splitlines()[0]}"
            ) from None
        if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
            raise Problem(f"{source.name} holds no table of tensors")
        state.update(found)
    say(done=len(sources), total=len(sources))
    needed = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in state.values()}
    say(needed=sum(needed.values()))
    say(stage="saving")
    _save(state, output)


def _save(state: dict[str, Any], output: Path) -> None:
    """One file, or shards with their index; of tensors that share their memory only one is written."""
    from huggingface_hub import save_torch_state_dict

    save_torch_state_dict(
        {name: tensor.contiguous() for name, tensor in state.items()}, output, max_shard_size=SHARD,
        metadata={"format": "pt"},
    )  # fmt: skip
    os.umask(mask := os.umask(0o077))
    for path in output.glob("*.safetensors"):  # made by tempfile, so that only their owner may read them
        path.chmod(0o666 & ~mask)


def main(path: str) -> int:
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    output = Path(request["output"])
    try:
        if request["kind"] == "gguf":
            convert_gguf(Path(request["source"]), output)
        else:
            convert_pickles([Path(source) for source in request["source"]], output)
    except (Problem, RuntimeError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        say(problem=lines[0][:300])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
