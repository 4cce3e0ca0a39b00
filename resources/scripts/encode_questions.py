"""Extractive question answering."""

from script import MAX_LENGTH, STRIDE, tokenizer


# --- script
def encode(rows):
    """Windows of each context, and in each the first and last token of the answer.

    Both are 0, the place of [CLS], where the answer is not all within the window (Devlin et al. 2019, section 4.3).
    """
    encoded = tokenizer(
        [row["question"] for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=MAX_LENGTH,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples = []
    for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
        start, end = rows[row]["start"], rows[row]["end"]  # characters of the context
        offsets = encoded["offset_mapping"][window]
        inside = [token for token, side in enumerate(encoded.sequence_ids(window)) if side == 1]
        first = last = 0
        if start < end and offsets[inside[0]][0] <= start and end <= offsets[inside[-1]][1]:
            first = min(token for token in inside if offsets[token][1] > start)
            last = max(token for token in inside if offsets[token][0] < end)
        examples.append(
            {
                "input_ids": encoded["input_ids"][window],
                #: if token_types
                "token_type_ids": encoded["token_type_ids"][window],
                #: end
                "start_positions": first,
                "end_positions": last,
            }
        )
    return examples
