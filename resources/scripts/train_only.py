"""Frozen parts."""

from script import AROUND_LAYERS, model


# --- script
def train_only(paths):
    """Only the parameters of these modules train. Dropout is off where nothing does: it would only add noise."""
    model.train()
    prefixes = tuple(f"{path}." for path in paths)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f"{name}.".startswith(prefixes))
    for path, module in list(model.named_modules())[1:]:  # the outer ones first
        learning = [p.requires_grad for p in model.get_submodule(AROUND_LAYERS.get(path, path)).parameters()]
        module.training = any(learning) if learning else model.get_submodule(path.rpartition(".")[0]).training
