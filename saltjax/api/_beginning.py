"""What a run on text or on examples begins with: its model, and the run itself, new or resumed."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerBase

from saltjax.errors import UserError
from saltjax.hub.config import read_config as read_model_config
from saltjax.hub.locate import locate
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.models.config import DecoderConfig
from saltjax.models.decoder import abstract_model
from saltjax.models.families import family_of
from saltjax.models.load import load_model
from saltjax.models.model import Model
from saltjax.train.checkpoint import steps
from saltjax.train.config import AdaptConfig
from saltjax.train.lora import with_adapters
from saltjax.train.origin import model_digests, together
from saltjax.train.phases import Phases
from saltjax.train.processes import agreed, primary
from saltjax.train.run import MODEL_SHA256, Run, create, is_run, read, resume, stored_dtypes
from saltjax.train.sharding import param_shardings

# Rows of the vocabulary's tables on the devices; a constant, so that a run can be resumed on another mesh.
VOCABULARY_MULTIPLE = 128


class Start(NamedTuple):
    """What a run begins with: a model directory; of a run that exists its own copy of it, which has no weights."""

    model: str | Path  # as the command names it
    directory: Path
    resumed: bool
    tokenizer: PreTrainedTokenizerBase
    decoder: DecoderConfig

    @property
    def padded(self) -> DecoderConfig:
        return self.decoder.padded(VOCABULARY_MULTIPLE)


def begin(model: str | Path, run: Path, settings: AdaptConfig) -> Start:
    """UserError, before there is a run, where the settings do not fit the model."""
    resumed = is_run(run)
    directory = run / "model" if resumed else locate(model)
    hf_config, tokenizer = read_model_config(directory), load_tokenizer(directory)
    start = Start(model, directory, resumed, tokenizer, family_of(hf_config).decoder_config(hf_config))
    if settings.seq_len > start.decoder.max_positions:
        raise UserError(
            f"seq_len={settings.seq_len} is more than the {start.decoder.max_positions} positions of {model}"
        )
    Phases(with_adapters(abstract_model(start.padded)[1], settings), settings)
    return start


def opened(path: Path, start: Start, settings: AdaptConfig, inputs: dict[str, Any], mesh: Mesh) -> tuple[Run, Model]:
    """The run, new or resumed, and its model: parameters are shapes alone where a checkpoint has the numbers.

    UserError: see `train.run.resume` and `create`.
    """
    run, resumed = Run(path, settings, inputs), agreed(start.resumed)
    saved = agreed(bool(steps(run.checkpoints)) if primary() else None)
    if primary():
        inputs[MODEL_SHA256] = _model_sha256(run, start, needed=not (resumed and saved))
    if resumed and primary():
        run = resume(path, settings, inputs)
    if resumed and saved:
        dtypes = stored_dtypes(run) if start.resumed else {}
        return run, Model(start.padded, *abstract_model(start.padded), dtypes)
    loaded = load_model(
        locate(start.model), lambda params: param_shardings(params, mesh), pad_vocab_to=VOCABULARY_MULTIPLE
    )
    if not resumed and primary():
        run = create(path, settings, inputs, start.directory, loaded.dtypes)
    if saved and not resumed:  # the run's directory was lost, its checkpoints are elsewhere
        loaded = loaded._replace(params=jax.eval_shape(lambda params: params, loaded.params))
    return run, loaded


def _model_sha256(run: Run, start: Start, needed: bool) -> str:
    """Of the model as it is now. Where it is not `needed`, because a checkpoint has its numbers, it may be gone by now;
    and the hub is not asked."""
    if not needed and not Path(start.model).expanduser().is_dir():
        return str(read(run.path).inputs.get(MODEL_SHA256, ""))
    return together(model_digests(locate(start.model), Path(run.config.cache).expanduser() / "fingerprints"))
