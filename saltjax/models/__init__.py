"""Decoders in Flax NNX: computed by pure functions over a nested dict, loaded from and exported to Hugging Face."""

from saltjax.models.config import DecoderConfig as DecoderConfig
from saltjax.models.decoder import abstract_model as abstract_model
from saltjax.models.decoder import hidden_states as hidden_states
from saltjax.models.decoder import logits as logits
from saltjax.models.decoder import output_table as output_table
from saltjax.models.export import export_tensors as export_tensors
from saltjax.models.export import write_model as write_model
from saltjax.models.families import family_of as family_of
from saltjax.models.generation import generate as generate
from saltjax.models.load import load_model as load_model
from saltjax.models.model import Model as Model
from saltjax.models.model import random_model as random_model
