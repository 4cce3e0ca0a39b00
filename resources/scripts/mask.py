"""Masking, in the order of random numbers of lmstudio_app.tasks.masking."""

import numpy as np
import torch
from script import MLM_PROBABILITY, tokenizer

# --- script
vocabulary = tokenizer.get_vocab()
special = np.isin(np.arange(max(vocabulary.values()) + 1), tokenizer.all_special_ids)
ordinary = np.array(sorted(set(vocabulary.values()) - set(tokenizer.all_special_ids)))
#: if whole_words
begins_word = np.zeros(len(special), dtype=bool)
for piece, index in vocabulary.items():
    #: if marked_pieces
    begins_word[index] = piece.startswith(("▁", "Ġ", "Ċ")) or "\u3040" <= piece[:1] <= "\u9fff"
    #: else
    begins_word[index] = not (len(piece) > 2 and piece.startswith("##"))
    #: end
#: end


def mask(batch, random):
    """Hide MLM_PROBABILITY of the tokens of each row, one at least (Devlin et al. 2019, section 3.1)."""
    ids = batch["input_ids"].numpy()
    maskable = (batch["attention_mask"].numpy() > 0) & ~special[ids]
    #: if whole_words
    # all pieces of a word together: each has the score of the word's first
    rows, places = np.arange(len(ids))[:, None], np.arange(ids.shape[1])
    first = maskable & ~np.pad(maskable, ((0, 0), (1, 0)))[:, :-1]
    word = np.maximum.accumulate(np.where((begins_word[ids] & maskable) | first, places, 0), axis=1)
    score = np.where(maskable, random.random(ids.shape)[rows, word], np.inf)
    rank = score.argsort(axis=1, kind="stable").argsort(axis=1)[rows, word]  # tokens of the words drawn before
    length = np.zeros(ids.shape, dtype=int)
    np.add.at(length, (rows, word), maskable)
    wanted = np.floor(MLM_PROBABILITY * maskable.sum(axis=1, keepdims=True) + random.random((len(ids), 1)))
    chosen = maskable & ((2 * rank + length[rows, word] <= 2 * wanted) | (rank == 0))
    #: else
    score = np.where(maskable, random.random(ids.shape), np.inf)
    rank = score.argsort(axis=1, kind="stable").argsort(axis=1)
    wanted = np.floor(MLM_PROBABILITY * maskable.sum(axis=1, keepdims=True) + random.random((len(ids), 1)))
    chosen = maskable & ((rank < wanted) | (rank == 0))
    #: end
    fate = random.random(ids.shape)  # 80 % become the mask token, 10 % a random one, 10 % stay
    drawn = ordinary[random.integers(0, len(ordinary), ids.shape)]
    masked = np.where(chosen & (fate < 0.8), tokenizer.mask_token_id, ids)
    masked = np.where(chosen & (fate >= 0.9), drawn, masked)
    labels = np.where(chosen, ids, -100)  # -100 counts in no loss
    return {**batch, "input_ids": torch.from_numpy(masked), "labels": torch.from_numpy(labels)}
