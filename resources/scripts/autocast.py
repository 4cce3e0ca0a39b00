"""Mixed precision."""

import torch
from script import DEVICE, loss_of

# --- script
loss_of = torch.autocast(DEVICE, torch.bfloat16)(loss_of)  # matrix products in bfloat16; the weights stay float32
