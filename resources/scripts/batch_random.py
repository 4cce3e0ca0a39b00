"""A batch on the device, of which something is drawn at random."""

import numpy as np
from script import DEVICE, SEED, collate


# --- script
def batch_of(examples, rows, *seeds):
    """What is drawn at random for a batch, such as masks, depends on the seed and on its place alone."""
    batch = collate([examples[row] for row in rows], np.random.Generator(np.random.PCG64([SEED, *seeds])))
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}
