"""Rows into batches."""


# --- script
def cut(rows, lengths, size, tokens):
    """Rows in their order as batches of at most ``size`` rows and ``tokens`` tokens with the padding."""
    batches, start, longest = [], 0, 0
    for end, length in enumerate(lengths[rows].tolist()):
        widest = max(longest, length)
        if end > start and (end - start == size or widest * (end - start + 1) > tokens):
            batches.append(rows[start:end])
            start, widest = end, length
        longest = widest
    return [*batches, rows[start:]]
