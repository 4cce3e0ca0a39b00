"""Training: recipe, strategies, the visible loop, checkpoints and runs."""
