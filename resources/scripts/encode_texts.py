"""Classification."""

from script import LABELS, MAX_LENGTH, tokenizer


# --- script
def encode(rows):
    """Token ids of each text, cut to MAX_LENGTH, and the number of its label."""
    encoded = tokenizer(
        [row["text"] for row in rows],
        #: if pair
        [row["pair"] for row in rows],
        #: end
        truncation=True,
        max_length=MAX_LENGTH,
    )
    return [
        {
            "input_ids": encoded["input_ids"][index],
            #: if token_types
            "token_type_ids": encoded["token_type_ids"][index],
            #: end
            "labels": LABELS.index(row["label"]),
        }
        for index, row in enumerate(rows)
    ]
