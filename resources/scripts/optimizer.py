"""AdamW."""

import torch
from script import ADAM_BETA2, LAYER_DECAY, LEARNING_RATE, STAGES, TRAINED, WEIGHT_DECAY, model, train_only

# --- script
#: if frozen
train_only(TRAINED)
#: end
# AdamW (Loshchilov and Hutter 2019); what has one dimension, biases and norms, does not decay
#: if stages
# each stage learns LAYER_DECAY times as fast as the one above it (Howard and Ruder 2018, discriminative fine-tuning)
groups = []
for stage, paths in enumerate(STAGES):
    prefixes = tuple(f"{path}." for path in paths)
    parameters = [parameter for name, parameter in model.named_parameters() if f"{name}.".startswith(prefixes)]
    rate = LAYER_DECAY**stage
    groups += [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY, "rate": rate},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0, "rate": rate},
    ]
#: else
parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
groups = [
    {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
    {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
]
#: end
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, ADAM_BETA2), fused=True)
