"""BERT pretraining."""

from script import tokenizer


# --- script
def encode(rows):
    """Tokens of the sentences of each piece of a document. The files hold pieces, as long as one example may be."""
    examples = []
    for row in rows:
        sentences = tokenizer(row["sentences"], add_special_tokens=False, verbose=False)["input_ids"]
        examples.append({"sentences": sentences, "document": row["document"], "piece": row["piece"]})
    return examples
