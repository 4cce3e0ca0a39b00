"""Beam search for encoder-decoders: what ``transformers`` finds, in a fraction of the time.

``model.generate(custom_generate=search)`` prepares everything as ever; the loop is this one. It follows the beams of
``GenerationMixin._beam_search`` (Sutskever et al. 2014, with the length penalty of Wu et al. 2016) and leaves out work
whose outcome is known:

* a row whose texts cannot become better leaves the batch at once, with all that is kept of it;
* all beams of a row read the same source, so what is kept of it for the cross-attention is never copied from beam to
  beam;
* the best tokens are looked for among the best blocks of the vocabulary, not in all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_BLOCK = 128  # tokens of the vocabulary that are looked at as one
_NEVER = -1e9  # a score that stands for none


@dataclass(frozen=True)
class Beam:
    """A text that was found: token ids behind the decoder's beginning, and the sum of their log-probabilities."""

    ids: list[int]
    log_probability: float


class Search:
    """One call of ``generate``. ``found`` has the best texts of each row, the best first, when it is over.

    ``limits`` are the most new tokens of each row, int64 ``[rows]``. ``done`` is called with a row and its beams as
    soon as these are known.
    """

    def __init__(self, limits: torch.Tensor, done: Callable[[int, list[Beam]], object] | None = None) -> None:
        self._limits = limits
        self._done = done
        self.found: dict[int, list[Beam]] = {}

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """The decoding method that ``generate`` calls; ``input_ids`` ``[rows * beams, begun]``."""
        import torch

        beams, length_penalty = generation_config.num_beams, generation_config.length_penalty
        early = generation_config.early_stopping
        ends = generation_config._eos_token_tensor
        kept = max(2, 1 + (len(ends) if ends is not None else 0)) * beams
        device, begun = input_ids.device, input_ids.shape[1]
        count = len(input_ids) // beams
        rows = torch.arange(count, device=device)  # which row of the batch each one is
        limits = self._limits.to(device)
        running = input_ids.view(count, beams, begun)
        running_scores = torch.zeros((count, beams), device=device)
        running_scores[:, 1:] = _NEVER  # all beams begin the same
        finished: list[list[tuple[float, float, list[int]]]] = [[] for _ in range(count)]  # score, sum, ids
        one_beam = {name: _each(value, beams) for name, value in model_kwargs.items()}
        model_kwargs = one_beam
        forced = _forced_end(generation_config, model.config.vocab_size, device)
        is_first = True
        while len(rows):
            sequences = running[:, :1].flatten(0, 1) if is_first else running.flatten(0, 1)
            step = None if is_first or not model_kwargs.get("use_cache") else 1
            inputs = model.prepare_inputs_for_generation(
                sequences, next_sequence_length=step, is_first_iteration=is_first, **model_kwargs
            )
            outputs = model(**inputs, return_dict=True)
            model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs, is_encoder_decoder=True)
            scores = outputs.logits[:, -1].float().log_softmax(-1)
            del outputs, inputs
            if is_first:
                scores = scores.repeat_interleave(beams, 0)
                model_kwargs = _spread(model_kwargs, beams)
                is_first = False
            scores = logits_processor(running.flatten(0, 1), scores)
            if forced is not None and (last := limits == running.shape[-1] - begun + 1).any():
                scores[last.repeat_interleave(beams)] = forced
            scores = scores.view(len(rows), beams, -1) + running_scores[:, :, None]
            size = scores.shape[-1]
            best, places = _top(scores.flatten(1), kept)
            origin, tokens = places // size, places % size
            candidates = torch.cat([_gather(running, origin), tokens[:, :, None]], dim=-1)
            length = candidates.shape[-1] - begun
            ended = stopping_criteria(candidates.flatten(0, 1), None).view(len(rows), kept)
            ended = ended | (limits <= length)[:, None]
            # of texts that end only those count that are among the best ``beams``; the others go on
            for row, place in ended[:, :beams].nonzero().tolist():
                value = float(best[row, place])
                ids = candidates[row, place, begun:].tolist()
                texts = finished[row]
                if not (early is True and len(texts) == beams):
                    texts.append((value / length**length_penalty, value, ids))
                    texts.sort(key=lambda text: -text[0])
                    del texts[beams:]
            going = best + ended * _NEVER
            running_scores, chosen = going.topk(beams)
            running = _gather(candidates, chosen)
            origin = origin.gather(1, chosen)
            over = self._is_over(running_scores, finished, limits, length, length_penalty, early)
            stay = (~over).nonzero().flatten()
            for row in over.nonzero().flatten().tolist():
                self._tell(int(rows[row]), finished[row])
            flat = (origin + torch.arange(len(rows), device=device)[:, None] * beams)[stay].flatten()
            model_kwargs = _reorder(model_kwargs, flat, stay if len(stay) < len(rows) else None, beams)
            rows, limits, running, running_scores = rows[stay], limits[stay], running[stay], running_scores[stay]
            finished = [finished[row] for row in stay.tolist()]
        return input_ids

    @staticmethod
    def _is_over(
        running: torch.Tensor, finished: list[Any], limits: torch.Tensor, length: int, penalty: float, early: Any
    ) -> torch.Tensor:
        """Can nothing that is still being written become better than what is finished? Bool ``[rows]``."""
        import torch

        beams = running.shape[1]
        worst = torch.tensor(
            [texts[-1][0] if len(texts) == beams else _NEVER for texts in finished], device=running.device
        )
        hoped = limits.float() if early == "never" and penalty > 0 else torch.full_like(worst, length)
        over = running[:, 0] / hoped**penalty <= worst
        if early is True:
            over |= torch.tensor([len(texts) == beams for texts in finished], device=running.device)
        return over | (limits <= length) | (running[:, 0] <= _NEVER / 2)

    def _tell(self, row: int, texts: list[tuple[float, float, list[int]]]) -> None:
        self.found[row] = [Beam(ids, value) for _, value, ids in texts]
        if self._done is not None:
            self._done(row, self.found[row])


def _forced_end(generation_config: Any, vocabulary: int, device: Any) -> torch.Tensor | None:
    """Log-probabilities of a row's last token where the model is made to end there; None where it is not."""
    import torch

    end = generation_config.forced_eos_token_id
    if end is None:
        return None
    scores = torch.full((vocabulary,), -torch.inf, device=device)
    scores[end] = 0.0
    return scores


def _gather(values: torch.Tensor, beams: torch.Tensor) -> torch.Tensor:
    """``values[row, beams[row]]``: ``[rows, beams, …]`` to ``[rows, chosen, …]``."""
    import torch

    return values[torch.arange(len(values), device=values.device)[:, None], beams]


def _top(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``scores.topk(count)`` of ``[rows, many]``: the best lie in the ``count`` blocks with the best maxima."""
    import torch

    rows, size = scores.shape
    blocks = size // _BLOCK
    if blocks <= 2 * count or scores.device.type != "cpu":
        return scores.topk(count)
    head = scores[:, : blocks * _BLOCK].view(rows, blocks, _BLOCK)
    chosen = head.amax(-1).topk(count).indices
    inside = head.gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    places = (chosen[:, :, None] * _BLOCK + torch.arange(_BLOCK)).flatten(1)
    if rest := size - blocks * _BLOCK:
        inside = torch.cat([inside, scores[:, -rest:]], dim=1)
        places = torch.cat([places, torch.arange(size - rest, size).expand(rows, rest)], dim=1)
    best = inside.topk(count)
    return best.values, places.gather(1, best.indices)


def _each(value: Any, beams: int) -> Any:
    """What ``generate`` has made ready for every beam, once a row."""
    import torch

    if isinstance(value, torch.Tensor):
        return value[::beams]
    if hasattr(value, "last_hidden_state"):  # what the encoder made
        return type(value)(**{name: item[::beams] for name, item in value.items() if isinstance(item, torch.Tensor)})
    return value


def _spread(model_kwargs: dict[str, Any], beams: int) -> dict[str, Any]:
    """The other way round, with the cache."""
    import torch

    def _wide(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.repeat_interleave(beams, 0)
        if hasattr(value, "last_hidden_state"):
            return type(value)(last_hidden_state=value.last_hidden_state.repeat_interleave(beams, 0))
        if hasattr(value, "batch_repeat_interleave"):
            value.batch_repeat_interleave(beams)
        return value

    return {name: _wide(value) for name, value in model_kwargs.items()}


def _reorder(
    model_kwargs: dict[str, Any], beams: torch.Tensor, stay: torch.Tensor | None, width: int
) -> dict[str, Any]:
    """The cache of the beams that go on; ``stay`` are the rows that do, None for all of them."""
    import torch

    cache = model_kwargs.get("cache")
    if cache is not None:
        cache.self_attention_cache.batch_select_indices(beams)
    if stay is None:
        return model_kwargs
    flat = (stay[:, None] * width + torch.arange(width, device=stay.device)).flatten()
    if cache is not None:
        cache.cross_attention_cache.batch_select_indices(flat)

    def _fewer(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[flat]
        if hasattr(value, "last_hidden_state"):
            return type(value)(last_hidden_state=value.last_hidden_state[flat])
        return value

    return {name: _fewer(value) for name, value in model_kwargs.items()}
