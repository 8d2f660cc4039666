"""fastText trained on the user's text, with settings for its size, the same on every run."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gensim
import numpy as np
import regex
from gensim.models.fasttext import FastText, FastTextKeyedVectors, ft_ngram_hashes
from jaxtyping import Float

from saltjax.errors import UserError

logging.getLogger("gensim").setLevel(logging.ERROR)  # it talks of thread queues on small texts

MOST_WORDS = 8_000_000  # about 50 MB of text: more costs time and changes neighbours little
SENTENCE = 1_000  # words; gensim drops silently what goes beyond 10,000
# Words: letters, digits and the marks on them. Han and kana have no spaces: every character is a word.
_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]|[[\w\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+|[^\w\s\p{M}]", regex.V1
)
_SENTENCE_END = regex.compile(r"(?<=[.!?…؟۔।])\s+|(?<=[。！？])|\n")


@runtime_checkable
class Text(Protocol):
    """Documents in a fixed order, and what identifies them."""

    def documents(self) -> Iterator[str]: ...

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Trained:
    dim: int
    source: dict[str, Any]
    notes: list[str]
    keyed: FastTextKeyedVectors
    seen: frozenset[int]

    def compose(self, words: Sequence[str]) -> Float[np.ndarray, "n a"]:
        """A word of the text: its trained vector. Any other: the mean of those of its n-grams that the text has (the
        library would count n-grams that were never trained too: noise); zeros if it has none of them."""
        keyed, vectors = self.keyed, np.zeros((len(words), self.dim), np.float32)
        for n, word in enumerate(words):
            if word in keyed.key_to_index:
                vectors[n] = keyed.vectors[keyed.key_to_index[word]]
            else:
                hashes = ft_ngram_hashes(word, keyed.min_n, keyed.max_n, keyed.bucket)
                if known := [h for h in hashes if h in self.seen]:
                    vectors[n] = keyed.vectors_ngrams[known].mean(axis=0)
        return vectors

    def frequent(self, count: int) -> list[str]:
        """The `count` most frequent words of the text."""
        return list(self.keyed.index_to_key[:count])


def settings(words: int) -> dict[str, Any]:
    """Training settings for a text of so many words (ours; FOCUS's were 3 epochs and min_count 10 for any size).

    CBOW, 100 dimensions, window 5, 5 negatives, subsampling 1e-3, learning rate 0.05 falling to 0.0001. What collapses
    a small space is too few updates, not too few words: epochs are 8 million / words, between 5 and 30.

    words            min_count  n-grams  buckets
    under 200,000    2          2 to 5   50,000
    under 600,000    3          3 to 6   200,000
    more             5          3 to 6   500,000
    """
    if words < 200_000:
        by_size = {"min_count": 2, "min_n": 2, "max_n": 5, "bucket": 50_000}
    elif words < 600_000:
        by_size = {"min_count": 3, "min_n": 3, "max_n": 6, "bucket": 200_000}
    else:
        by_size = {"min_count": 5, "min_n": 3, "max_n": 6, "bucket": 500_000}
    epochs = min(30, max(5, round(8e6 / max(words, 1))))
    fixed = {"sg": 0, "vector_size": 100, "window": 5, "negative": 5, "sample": 1e-3, "alpha": 0.05, "min_alpha": 1e-4}
    return {**fixed, **by_size, "epochs": epochs}


def train(
    texts: Sequence[Text],
    seed: int = 0,
    normalize: Callable[[str], str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Trained:
    """Train gensim's FastText with one worker on the words of all documents, cut into sentences.

    Bytes are the same for the same text, seed, settings and gensim, also across processes (one worker; no Python hash
    is used). More than 8 million words are thinned out to every n-th sentence, which a note says.
    Raises UserError when there is too little text to train on.
    """
    sentences, total = _sentences(texts, normalize)
    used = sum(map(len, sentences))
    chosen = settings(used)
    notes = []
    if used < total:
        notes.append(f"the auxiliary space was trained on {used:,} of {total:,} words, evenly spread over the text")
    elif used < 50_000:
        notes.append(
            f"only {used:,} words to train the auxiliary space on: its neighbours follow spelling, not meaning"
        )
    model = FastText(workers=1, seed=seed, **chosen)
    model.build_vocab(sentences)
    if len(model.wv) < 100:
        raise UserError(
            f"the auxiliary text has {len(model.wv)} words that occur {chosen['min_count']} times or more: too little "
            "to train on; give more --aux-text, or a fastText model with --aux"
        )
    counted = _Counted(sentences, chosen["epochs"], progress)
    model.train(counted, total_examples=len(sentences), total_words=used, epochs=chosen["epochs"])
    seen = frozenset(int(h) for hashes in model.wv.buckets_word for h in hashes)
    source = {
        "text": [text.fingerprint() for text in texts],
        "words": used,
        "vocabulary": len(model.wv),
        "seed": seed,
        "library": f"gensim {gensim.__version__}",
        **chosen,
    }
    return Trained(chosen["vector_size"], source, notes, model.wv, seen)


def _sentences(texts: Sequence[Text], normalize: Callable[[str], str] | None) -> tuple[list[list[str]], int]:
    """Sentences of words, at most MOST_WORDS words in all, and the number of words there were."""
    kept: list[list[str]] = []
    one: dict[str, str] = {}  # one object a word: a text is then eight bytes a word
    total, size, step, number = 0, 0, 1, 0
    for text in texts:
        for document in text.documents():
            for sentence in _SENTENCE_END.split(normalize(document) if normalize else document):
                words = _WORD.findall(sentence)
                for start in range(0, len(words), SENTENCE):
                    part = [one.setdefault(word, word) for word in words[start : start + SENTENCE]]
                    total += len(part)
                    if number % step == 0:
                        kept.append(part)
                        size += len(part)
                    number += 1
                    if size > MOST_WORDS:  # keep every second of what is kept, and half as many from here on
                        kept, step = kept[::2], 2 * step
                        size = sum(map(len, kept))
    return kept, total


class _Counted:
    """Sentences that report how far a training over them is."""

    def __init__(self, sentences: list[list[str]], epochs: int, progress: Callable[[float], None] | None):
        self.sentences, self.progress = sentences, progress
        self.done, self.all = 0, epochs * len(sentences)

    def __iter__(self) -> Iterator[list[str]]:
        every = max(1, self.all // 200)
        for sentence in self.sentences:
            yield sentence
            self.done += 1
            if self.progress and (self.done % every == 0 or self.done == self.all):
                self.progress(self.done / self.all)
