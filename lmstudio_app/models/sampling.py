"""Drawing the next token: repeatable, the same in any batch, and without torch's global random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def sampling_processor(
    attention_mask: torch.Tensor,
    seeds: Sequence[Sequence[int]],
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A logits processor for a greedy ``generate``: it leaves the chosen token as the best one.

    ``attention_mask`` ``[batch, prompt]`` tells the prompts from their padding; ``seeds`` are one list of numbers a
    row. At temperature 0 the best token is taken. Else softmax(logits / temperature) over the ``top_k`` best tokens (0:
    all), and of these over the fewest that make up ``top_p`` (Holtzman et al. 2020). Tokens that occurred are made less
    probable by ``repetition_penalty`` (Keskar et al. 2019). A training that runs beside it in another thread draws from
    torch's generator, which must not be moved, or it could not be resumed exactly.
    """
    import numpy as np
    import torch

    generators = [np.random.Generator(np.random.PCG64(list(seed))) for seed in seeds]

    def _process(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float()
        if repetition_penalty != 1.0:
            written = input_ids.shape[1] - attention_mask.shape[1]
            counts = torch.nn.functional.pad(attention_mask.bool(), (0, written), value=True)
            rows, places = counts.nonzero(as_tuple=True)
            seen = torch.zeros_like(scores, dtype=torch.bool)
            seen[rows, input_ids[rows, places]] = True
            lowered = torch.where(scores < 0, scores * repetition_penalty, scores / repetition_penalty)
            scores = torch.where(seen, lowered, scores)
        if temperature == 0:
            return scores
        ordered, tokens = (scores / temperature).sort(dim=-1, descending=True)
        if top_k:
            ordered[:, top_k:] = -torch.inf
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # what the better tokens make up
        probabilities = probabilities.masked_fill(before >= top_p, 0.0).double()
        share = torch.tensor([[generator.random()] for generator in generators], device=scores.device)
        reached = probabilities.cumsum(-1)
        chosen = torch.searchsorted(reached, share.double() * reached[:, -1:], right=True)
        chosen = tokens.gather(1, chosen.clamp(max=scores.shape[1] - 1))
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    return _process
