"""Pretrained models: catalogue, sources, loading, saving."""
