"""The examples and their lengths."""

import numpy as np
from script import encode, encode_all, read

# --- script
#: if portions
train, evaluation = encode_all(read("train.jsonl")), encode_all(read("eval.jsonl"))
#: else
train, evaluation = encode(read("train.jsonl")), encode(read("eval.jsonl"))
#: end

#: if both_sides
train_lengths, eval_lengths = (
    np.array([len(example["input_ids"]) + len(example["labels"]) for example in part]) for part in (train, evaluation)
)
#: end
#: if pieces
train_lengths, eval_lengths = (
    np.array([sum(map(len, example["sentences"])) for example in part]) for part in (train, evaluation)
)
#: end
#: if one_side
train_lengths, eval_lengths = (
    np.array([len(example["input_ids"]) for example in part]) for part in (train, evaluation)
)
#: end
