"""Looking inside: attention weights and what is derived from them."""
