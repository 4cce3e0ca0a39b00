"""Translation and summarisation."""

from script import MAX_LENGTH, MAX_TARGET_LENGTH, SOURCE_PREFIX, tokenizer


# --- script
def encode(rows):
    """Token ids of both sides. The decoder learns to write the target, with the token that ends it."""
    #: if summary
    sources, targets = [row["document"] for row in rows], [row["summary"] for row in rows]
    #: else
    sources, targets = [row["source"] for row in rows], [row["target"] for row in rows]
    #: end
    #: if prefix
    sources = [SOURCE_PREFIX + source for source in sources]
    #: end
    inputs = tokenizer(sources, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    labels = tokenizer(text_target=targets, truncation=True, max_length=MAX_TARGET_LENGTH)["input_ids"]
    return [{"input_ids": ids, "labels": wanted} for ids, wanted in zip(inputs, labels, strict=True)]
