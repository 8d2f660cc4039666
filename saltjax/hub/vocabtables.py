"""Which tensors of a checkpoint have one row (or number) per token: the input table, the head, its bias.

Found by name, then checked by shape; a model whose names are not known is searched by shape alone.
"""

import re
from dataclasses import dataclass

from transformers import PretrainedConfig

from saltjax.errors import UserError
from saltjax.hub.config import tied, vocab_size
from saltjax.hub.container import FLOATS
from saltjax.hub.tensors import Checkpoint

# Last parts of tensor names; whatever prefix stands before them (model., bert., model.language_model., ...).
INPUTS = (
    r"embed_tokens\.weight",  # llama, mistral, qwen, gemma, olmo, phi, opt, xglm, bart, t5's copies
    r"wte\.weight",  # gpt2, gpt-j, gpt-neo, mpt
    r"embed_in\.weight",  # gpt-neox, pythia
    r"word_embeddings?\.weight",  # bert and its kin, bloom, falcon, xlnet
    r"shared\.weight",  # t5, mt5, bart
    r"tok_embeddings\.weight",  # modernbert, internlm
    r"embeddings?\.weight",  # xlm, mamba, rwkv
)
HEADS = (
    r"lm_head\.weight",
    r"lm_head\.decoder\.weight",  # roberta, camembert, xlm-r
    r"embed_out\.weight",  # gpt-neox
    r"predictions\.decoder\.weight",  # bert, albert
    r"generator_lm_head\.weight",  # electra
    r"vocab_projector\.weight",  # distilbert
    r"pred_layer\.proj\.weight",  # xlm
    r"shared_head\.head\.weight",  # deepseek's copies for multi-token prediction
)
TOP_HEADS = r"(?:model\.)?(?:decoder|output|head)\.weight"  # modernbert, internlm, rwkv: too common further inside
BIASES = (
    r"lm_head\.(?:decoder\.)?bias",
    r"embed_out\.bias",
    r"predictions\.(?:decoder\.)?bias",
    r"generator_lm_head\.bias",
    r"vocab_projector\.bias",
    r"pred_layer\.proj\.bias",
    r"final_logits_bias",  # bart
)
# Tables by token that a swap of the vocabulary would leave behind.
UNSUPPORTED = (r"embed_tokens_per_layer\.weight", r"per_layer_token_embd\.weight")
GENERATES = re.compile(r"CausalLM|LMHead|ConditionalGeneration")


@dataclass(frozen=True)
class VocabTables:
    """Names of the tensors that have a row per token.

    All copies of one table are listed (T5 stores `shared` and two copies; a tied head may be stored too). `rows`
    is the number of rows, padding included. `tied`: the head's rows are the input's, stored again or not.
    """

    inputs: tuple[str, ...]
    heads: tuple[str, ...]
    biases: tuple[str, ...]
    rows: int
    tied: bool


def find_vocab_tables(checkpoint: Checkpoint, config: PretrainedConfig) -> VocabTables:
    """The vocabulary's tensors in a checkpoint.

    A tied head that is stored with other values than the input counts as untied, as transformers 5 loads it.
    Raises UserError: none or several candidates (listed); a model that generates is untied but stores no head.
    """
    size, where = vocab_size(config), checkpoint.directory
    unsupported = [name for name in checkpoint.entries if _ends_with(name, UNSUPPORTED)]
    if unsupported:
        raise UserError(f"{where}: {unsupported[0]} is a second table by token; such models are not supported")
    inputs = [name for name in checkpoint.entries if _ends_with(name, INPUTS) and _is_table(checkpoint, name, size)]
    heads = [name for name in checkpoint.entries if _is_head(name) and _is_table(checkpoint, name, size)]
    if not inputs and heads and tied(config):
        inputs = heads  # one tensor for both, stored under the head's name
    if not inputs:
        inputs, heads = _by_shape(checkpoint, size, heads)
    inputs = _one_table(checkpoint, inputs, "input")
    heads = _one_table(checkpoint, heads, "head")
    rows = checkpoint.entries[inputs[0]].shape[0]
    if heads and checkpoint.entries[heads[0]].shape[0] != rows:
        raise UserError(
            f"{where}: {inputs[0]} has {rows} rows but {heads[0]} has {checkpoint.entries[heads[0]].shape[0]}; "
            "tables of different height are not supported"
        )
    biases = [name for name in checkpoint.entries if _ends_with(name, BIASES) or name == "decoder.bias"]  # modernbert
    for name in biases:
        if max(checkpoint.entries[name].shape, default=0) != rows:
            raise UserError(
                f"{where}: {inputs[0]} has {rows} rows but the head's bias is {_listed(checkpoint, [name])}"
            )
    is_tied = tied(config) and (not heads or checkpoint.same(inputs[0], heads[0]))
    if not tied(config) and not heads and any(GENERATES.search(name) for name in config.architectures or []):
        raise UserError(f"{where}: its config unties the output head, but no head is stored (lm_head.weight or alike)")
    return VocabTables(tuple(inputs), tuple(heads), tuple(biases), rows, is_tied)


def _ends_with(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.search(rf"(?:^|\.){pattern}$", name) for pattern in patterns)


def _is_head(name: str) -> bool:
    return _ends_with(name, HEADS) or re.fullmatch(TOP_HEADS, name) is not None


def _is_table(checkpoint: Checkpoint, name: str, size: int) -> bool:
    entry = checkpoint.entries[name]
    return len(entry.shape) == 2 and entry.shape[0] >= size


def _by_shape(checkpoint: Checkpoint, size: int, heads: list[str]) -> tuple[list[str], list[str]]:
    """Tables of a model with unknown names: as many rows as the vocabulary has (or up to 1024 more, padding)."""
    tables = [name for name in checkpoint.entries if _is_table(checkpoint, name, size)]
    exact = [name for name in tables if checkpoint.entries[name].shape[0] == size]
    near = [name for name in tables if checkpoint.entries[name].shape[0] <= size + 1024]
    found = [name for name in exact or near if name not in heads]
    if len(found) == 1:
        return found, heads
    named = [name for name in found if re.search(r"emb", name, re.IGNORECASE)]
    others = [name for name in found if name not in named]
    if len(named) == 1 and len(others) <= 1 and not heads:
        return named, others
    if found:
        raise UserError(f"{checkpoint.directory}: which table is the input's? candidates: {_listed(checkpoint, found)}")
    raise UserError(f"{checkpoint.directory}: no tensor has the {size} rows that its config's vocab_size asks for")


def _one_table(checkpoint: Checkpoint, names: list[str], role: str) -> list[str]:
    """The names if all hold one and the same table of plain floats."""
    for name in names:
        if checkpoint.entries[name].dtype not in FLOATS:
            raise UserError(
                f"{checkpoint.entries[name].file}: {name} is quantised ({checkpoint.entries[name].dtype}); "
                "give the model in float32, float16 or bfloat16"
            )
    if any(not checkpoint.same(names[0], name) for name in names[1:]):
        raise UserError(f"{checkpoint.directory}: several {role} tables that differ: {_listed(checkpoint, names)}")
    return names


def _listed(checkpoint: Checkpoint, names: list[str]) -> str:
    return ", ".join(f"{name} {list(checkpoint.entries[name].shape)}" for name in names)
