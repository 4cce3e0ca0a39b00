"""Documents are encoded in portions."""

from script import encode


# --- script
def encode_all(rows):
    """In portions of 1000 rows: a document that goes on in the next portion begins another block there."""
    return [example for start in range(0, len(rows), 1000) for example in encode(rows[start : start + 1000])]
