"""The decoder families, one file each: `family_of` a Hugging Face configuration, or by its name."""

from transformers import PreTrainedConfig

from saltjax.errors import UserError
from saltjax.models.families.family import Family as Family
from saltjax.models.families.family import Row as Row
from saltjax.models.families.gemma import GEMMA, GEMMA2, GEMMA3
from saltjax.models.families.gpt2 import GPT2
from saltjax.models.families.llama import LLAMA
from saltjax.models.families.mistral import MISTRAL, MIXTRAL
from saltjax.models.families.olmo import OLMO2
from saltjax.models.families.phi import PHI3
from saltjax.models.families.qwen import QWEN2, QWEN3, QWEN3_MOE
from saltjax.models.families.smollm import SMOLLM3
from saltjax.models.families.xglm import XGLM

ALL = (
    *(LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3, OLMO2, SMOLLM3, PHI3, GPT2, XGLM),
    *(MIXTRAL, QWEN3_MOE),
)
FAMILIES = {family.name: family for family in ALL}


def family_of(hf: PreTrainedConfig) -> Family:
    """The family whose table covers this model type; UserError when there is none."""
    for family in FAMILIES.values():
        if hf.model_type in family.model_types:
            return family
    known = ", ".join(kind for family in FAMILIES.values() for kind in family.model_types)
    named = ", ".join(getattr(hf, "architectures", None) or []) or hf.model_type
    raise UserError(
        f"{getattr(hf, 'name_or_path', '') or 'config.json'}: architecture {named} (model_type {hf.model_type!r}) "
        f"cannot be trained or evaluated here; supported model types: {known}"
    )
