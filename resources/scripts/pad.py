"""Padding."""

import torch


# --- script
def pad(sequences, fill):
    """A tensor [batch, longest], filled on the right."""
    longest = max(map(len, sequences))
    return torch.tensor([[*sequence, *[fill] * (longest - len(sequence))] for sequence in sequences])
