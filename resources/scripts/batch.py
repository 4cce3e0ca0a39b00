"""A batch on the device."""

from script import DEVICE, collate


# --- script
def batch_of(examples, rows):
    batch = collate([examples[row] for row in rows])
    return {name: tensor.to(DEVICE) for name, tensor in batch.items()}
