"""The end."""

from script import HERE, adapted, model, tokenizer

# --- script
#: if merge
adapted.merge_and_unload().save_pretrained(HERE / "model")  # W + (ALPHA / RANK) B A in the place of W
#: end
#: if apart
adapted.save_pretrained(HERE / "model")  # the adapters alone
#: end
#: if plain
model.save_pretrained(HERE / "model")
#: end
tokenizer.save_pretrained(HERE / "model")
