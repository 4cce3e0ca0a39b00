"""BERT pretraining, in the order of random numbers of lmstudio_app.tasks.sentence_pairs."""

import torch
from script import MAX_LENGTH, mask, pad, tokenizer


# --- script
def join(sentences):
    return [token for sentence in sentences for token in sentence]


def draw_pair(piece, pieces, random):
    """Texts A and B, and whether B follows A (Devlin et al. 2019, section 3.1); one pair in ten is a short one."""
    sentences, room = piece["sentences"], MAX_LENGTH - 3
    begin, end = 0, len(sentences)
    if random.random() < 0.1 and end > 2:
        begin = int(random.integers(0, end - 1))
        end = int(random.integers(begin + 2, end + 1))
    middle = int(random.integers(begin + 1, end))
    first, second = join(sentences[begin:middle]), join(sentences[middle:end])
    follows = random.random() < 0.5
    if not follows:
        others = [other for other in pieces if other["document"] != piece["document"]]
        others = others or [other for other in pieces if abs(other["piece"] - piece["piece"]) > 1]
        if others:
            second = draw_end(others, len(second), random)
        else:
            first, second = second, first
    if len(first) + len(second) > room:  # A loses its beginning and B its end
        kept = min(len(first), max(room - len(second), room // 2))
        first, second = first[len(first) - kept :], second[: room - kept]
    return first, second, follows


def draw_end(others, wanted, random):
    """Last sentences of another text with as nearly ``wanted`` tokens as there is, so that no length tells."""
    ends = [(join(s[cut:]), len(s) - 1) for s in (o["sentences"] for o in others) for cut in range(1, len(s))]
    nearest = min(abs(len(end) - wanted) for end, _ in ends)
    ends = [(end, cuts) for end, cuts in ends if abs(len(end) - wanted) == nearest]
    lots = random.random(len(ends)) ** [cuts for _, cuts in ends]  # each as likely as it is to be a true one
    return ends[int(lots.argmax())][0]


def collate(pieces, random):
    """[CLS] A [SEP] B [SEP], masked; the pairs are others each time that a piece is seen."""
    pairs = [draw_pair(piece, pieces, random) for piece in pieces]
    start, stop = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
    sequences = [[*start, *first, *stop, *second, *stop] for first, second, _ in pairs]
    batch = {
        "input_ids": pad(sequences, tokenizer.pad_token_id),
        "attention_mask": pad([[1] * len(ids) for ids in sequences], 0),
        "token_type_ids": pad([[0] * (len(first) + 2) + [1] * (len(second) + 1) for first, second, _ in pairs], 0),
        "next_sentence_label": torch.tensor([0 if follows else 1 for *_, follows in pairs]),
    }
    return mask(batch, random)
