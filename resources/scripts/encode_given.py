"""For what a few lines could not encode in the same way: the files hold token ids already."""


# --- script
def encode(rows):
    """The rows as they are: what this model and data need to become token ids is longer than this whole script."""
    return rows
