"""What a method may look at beside the posed problem."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from saltjax.errors import UserError
from saltjax.vocab.alignment import Links
from saltjax.vocab.auxiliary import Auxiliary
from saltjax.vocab.dictionary import Pairs
from saltjax.vocab.fasttext_training import Text
from saltjax.vocab.vocabulary import Vocabulary, word

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Material:
    """Whatever is not given is None; a method that needs it says so (`needed`). Nothing here depends on which anchors
    are held out.

    - `source_tokenizer`, `target_tokenizer`: fast Hugging Face tokenizers.
    - `auxiliary`: vectors of the target language's words, those of `Problem.aux_new`. `source_auxiliary`: of the source
      language's, in the same space or to be aligned with it.
    - `dictionary`: pairs (source word, target word). `links`: how often such pairs are aligned in a parallel text.
    - `text`: documents of the target language.
    - `seed`: of everything random. `mesh`: of one axis, where kernels run; None is the default device.
    """

    source_tokenizer: Any = None
    target_tokenizer: Any = None
    auxiliary: Auxiliary | None = None
    source_auxiliary: Auxiliary | None = None
    dictionary: Pairs | None = None
    links: Links | None = None
    text: Sequence[Text] = ()
    seed: int = 0
    mesh: Mesh | None = None
    _vectors: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def source_vectors(self, source: Vocabulary) -> Float[np.ndarray, "vs a"]:
        """The auxiliary vector of every source token (row = id; zeros where there is none), composed once.

        From `source_auxiliary` if there is one, else from the target language's.
        """
        if source.fingerprint not in self._vectors:
            space = self.source_auxiliary or needed(
                self.auxiliary, "vectors of words: --aux FILE or --aux-text FILE..."
            )
            words: list[str | None] = [None] * source.size
            for token in source.tokens:
                words[token.id] = word(token)
            self._vectors[source.fingerprint] = space.vectors(words)
        return self._vectors[source.fingerprint]


def needed(value: T | None, what: str) -> T:
    """The value; raises UserError that names what is missing and the option that gives it."""
    if value is None:
        raise UserError(f"the method needs {what}")
    return value
