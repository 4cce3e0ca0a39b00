"""LoRA."""

import peft
from script import ALPHA, DROPOUT, MODULES_TO_SAVE, RANK, TARGET_MODULES, TASK_TYPE, model

# --- script
# W x becomes W x + (ALPHA / RANK) B A x; only A and B train (Hu et al. 2021, https://arxiv.org/abs/2106.09685)
adapters = peft.LoraConfig(
    r=RANK,
    lora_alpha=ALPHA,
    lora_dropout=DROPOUT,
    target_modules=TARGET_MODULES,
    #: if modules_to_save
    modules_to_save=MODULES_TO_SAVE,  # these train whole
    #: end
    #: if transposed
    fan_in_fan_out=True,
    #: end
    #: if task_type
    task_type=TASK_TYPE,
    #: end
)
adapted = peft.get_peft_model(model, adapters)  # it changes ``model`` in place
