"""Corpora, tokenisation, packing and the Grain pipeline."""
