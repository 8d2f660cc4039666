"""The initialisers: one file each."""
