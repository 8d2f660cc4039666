"""What the tokens of two tokenizers have in common: surfaces, roles, overlap, and an auxiliary space of words."""
