"""What the pages to use a model on stand on: which models suit, and whole files taken through one."""
