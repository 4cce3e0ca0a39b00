"""The batches of an epoch."""

import numpy as np
from script import BATCH_SIZE, BATCH_TOKENS, SEED, cut


# --- script
def epoch_batches(lengths, epoch):
    #: if group_by_length
    """Row numbers of every batch: shuffled, but with rows of similar length together, so that little is padded."""
    #: else
    """Row numbers of every batch, shuffled."""
    #: end
    random = np.random.Generator(np.random.PCG64([SEED, epoch]))
    order = random.permutation(len(lengths))
    #: if group_by_length
    batches = []
    for start in range(0, len(order), 50 * BATCH_SIZE):
        rows = order[start : start + 50 * BATCH_SIZE]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        #: if batch_tokens
        batches += cut(rows, lengths, BATCH_SIZE, BATCH_TOKENS)
        #: else
        batches += [rows[at : at + BATCH_SIZE] for at in range(0, len(rows), BATCH_SIZE)]
        #: end
    batches = [batches[index] for index in random.permutation(len(batches))]
    longest = max(range(len(batches)), key=lambda index: lengths[batches[index]].max())
    batches[0], batches[longest] = batches[longest], batches[0]  # so that a lack of memory shows in the first step
    return batches
    #: else
    #: if batch_tokens
    return cut(order, lengths, BATCH_SIZE, BATCH_TOKENS)
    #: else
    return [order[at : at + BATCH_SIZE] for at in range(0, len(order), BATCH_SIZE)]
    #: end
    #: end
