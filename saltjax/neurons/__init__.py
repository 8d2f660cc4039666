"""Language neurons: statistics of activations, neurons that belong to a language, and what they do."""
