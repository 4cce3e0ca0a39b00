"""Steps and learning rates."""

import math

from script import (
    EPOCHS,
    GRADIENT_ACCUMULATION,
    LEARNING_RATE,
    UNFREEZE_EVERY,
    WARMUP_RATIO,
    epoch_batches,
    train_lengths,
)

# --- script
#: if accumulation
steps_per_epoch = math.ceil(len(epoch_batches(train_lengths, 0)) / GRADIENT_ACCUMULATION)
#: else
steps_per_epoch = len(epoch_batches(train_lengths, 0))
#: end
steps = max(1, math.ceil(EPOCHS * steps_per_epoch))
#: if warmup
warmup = math.ceil(steps * WARMUP_RATIO)
#: end
#: if stages
unfreeze_every = UNFREEZE_EVERY or steps_per_epoch
#: end


def learning_rate_at(step):
    #: if warmup
    if step < warmup:
        return LEARNING_RATE * (step + 1) / warmup
    #: if decaying
    share = (step - warmup) / max(1, steps - warmup)
    #: end
    #: else
    #: if decaying
    share = step / steps
    #: end
    #: end
    #: if linear
    return LEARNING_RATE * (1 - share)
    #: end
    #: if cosine
    return LEARNING_RATE * (0.5 * (1 + math.cos(math.pi * share)))
    #: end
    #: if constant
    return LEARNING_RATE
    #: end
