"""Vocabulary transfer: which rows a new vocabulary gets, and the surgery on a checkpoint that gives them."""

from saltjax.transfer.methods.salt import salt_mixture as salt_mixture
from saltjax.transfer.mixture import Mixture as Mixture
