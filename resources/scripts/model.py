"""The model."""

import peft
import torch
from script import BASE_MODEL, DEVICE, FAMILY, FIXED, LABELS, MODEL, SEED, SHAPE, tokenizer
from transformers import AutoConfig, AutoModel

# --- script
torch.manual_seed(SEED)
#: if scratch
model = AutoModel.from_config(AutoConfig.for_model(FAMILY, vocab_size=len(tokenizer), **SHAPE))
torch.manual_seed(SEED)  # what dropout begins with
#: else
model = AutoModel.from_pretrained(
    #: if adapters
    BASE_MODEL,
    #: else
    MODEL,
    #: end
    #: if adapters
    config=AutoConfig.from_pretrained(MODEL),
    #: end
    dtype=torch.float32,
    #: if labels
    id2label=dict(enumerate(LABELS)),
    label2id={label: index for index, label in enumerate(LABELS)},
    #: end
    #: if other_labels
    problem_type=None,
    ignore_mismatched_sizes=True,  # its own head is for other labels
    #: end
)
#: if adapters
model = peft.PeftModel.from_pretrained(model, MODEL).merge_and_unload().requires_grad_(True)
#: end
#: end
#: if model_padding
model.config.pad_token_id = tokenizer.pad_token_id
#: end
model.to(DEVICE)
#: if fixed
for name in FIXED:  # these hold a formula
    model.get_parameter(name).requires_grad_(False)
#: end
