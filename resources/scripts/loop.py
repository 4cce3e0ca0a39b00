"""The training itself."""

import itertools

import numpy as np
import torch
from script import (
    BATCH_SIZE,
    BATCH_TOKENS,
    EVALUATE_EVERY,
    GRADIENT_ACCUMULATION,
    MAX_GRAD_NORM,
    STAGES,
    TRAINED,
    arguments,
    batch_of,
    cut,
    epoch_batches,
    eval_lengths,
    evaluation,
    items_of,
    learning_rate_at,
    loss_of,
    model,
    optimizer,
    steps,
    steps_per_epoch,
    train,
    train_lengths,
    train_only,
    unfreeze_every,
)


# --- script
def training_batches():
    #: if accumulation
    """For ever: the batches of the next optimizer step."""
    for epoch in itertools.count():
        batches = epoch_batches(train_lengths, epoch)
        for first in range(0, len(batches), GRADIENT_ACCUMULATION):
            step = batches[first : first + GRADIENT_ACCUMULATION]
            #: if random
            yield [batch_of(train, rows, epoch, number, 0) for number, rows in enumerate(step, first)]
            #: else
            yield [batch_of(train, rows) for rows in step]
            #: end
    #: else
    """For ever: the next batch."""
    for epoch in itertools.count():
        #: if random
        for number, rows in enumerate(epoch_batches(train_lengths, epoch)):
            yield batch_of(train, rows, epoch, number, 0)
        #: else
        for rows in epoch_batches(train_lengths, epoch):
            yield batch_of(train, rows)
        #: end
    #: end


@torch.inference_mode()
def evaluate():
    """The mean loss over the evaluation set."""
    model.eval()
    total = count = 0
    order = np.argsort(-eval_lengths, kind="stable")
    #: if batch_tokens
    parts = cut(order, eval_lengths, 4 * BATCH_SIZE, 4 * BATCH_TOKENS)
    #: else
    parts = [order[at : at + 4 * BATCH_SIZE] for at in range(0, len(order), 4 * BATCH_SIZE)]
    #: end
    #: if random
    batches = (batch_of(evaluation, rows, 2**32, number) for number, rows in enumerate(parts))  # every time the same
    #: else
    batches = (batch_of(evaluation, rows) for rows in parts)
    #: end
    for batch in batches:
        #: if smoothing
        loss = loss_of(batch, label_smoothing=0.0)
        #: else
        loss = loss_of(batch)
        #: end
        total += loss.item() * items_of(batch)
        count += items_of(batch)
    return total / count


last = min(steps, arguments.steps or steps)
for step, batch in zip(range(last), training_batches(), strict=False):
    #: if stages
    # one stage more every so many steps, from the top (Howard and Ruder 2018, gradual unfreezing)
    train_only([path for paths in STAGES[: step // unfreeze_every + 1] for path in paths])
    #: end
    #: if frozen
    train_only(TRAINED)
    #: end
    #: if whole
    model.train()
    #: end
    for group in optimizer.param_groups:
        #: if stages
        group["lr"] = learning_rate_at(step) * group["rate"]
        #: else
        group["lr"] = learning_rate_at(step)
        #: end
    #: if accumulation
    items, loss = sum(map(items_of, batch)), 0.0
    for part in batch:
        share = loss_of(part) * (items_of(part) / items)  # so that every item of the step counts the same
        share.backward()
        loss = loss + share.detach()
    #: else
    loss = loss_of(batch)
    loss.backward()
    #: end
    #: if clipping
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    #: end
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step + 1}/{steps}  loss {loss.item():.6f}")
    #: if evaluate_every
    if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == last:
        print(f"evaluation loss {evaluate():.6f}")
    #: else
    if (step + 1) % steps_per_epoch == 0 or step + 1 == last:
        print(f"evaluation loss {evaluate():.6f}")
    #: end
