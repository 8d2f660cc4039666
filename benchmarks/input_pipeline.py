"""The input pipeline: tokens a second of tokenisation and of batches, waste, and peak memory.

    python benchmarks/input_pipeline.py                     # the German pocket text
    python benchmarks/input_pipeline.py de.jsonl.zst en.txt=0.05 --tokenizer MODEL --need 1e6
    python benchmarks/input_pipeline.py --synthetic 500     # so many MB of made-up text, for the memory

Everything is made anew, in a temporary directory (TMPDIR). `--need` are the tokens a second that the training on this
host takes; their columns say how many times that the pipeline gives. Memory should not grow with the text: "peak" is
the most that the process had while it tokenised, "own" what it has, without the pages of the memory-mapped store, which
the system takes back when it needs them.
`--compare` also tokenises with processes (forkserver, one for each core) in the same run.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from saltjax.data.encode import encoded, plain_backend
from saltjax.data.feed import feed, gather
from saltjax.data.mixture import Corpus, weighted_path
from saltjax.data.pipeline import batches
from saltjax.data.windows import packed
from saltjax.hub.tokenizer import load_tokenizer
from saltjax.pocket.corpus import documents, write_text
from saltjax.pocket.models import pocket_plm

LENGTHS = (128, 512, 2048, 4096)
WATCHED = 20.0  # seconds of batches at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="*", help="PATH or PATH=WEIGHT")
    parser.add_argument("--tokenizer", default=None, help="a model directory; by default the German pocket PLM")
    parser.add_argument("--synthetic", type=float, default=0, help="MB of made-up text")
    parser.add_argument("--batch-tokens", type=int, default=1 << 17, help="places in a batch")
    parser.add_argument("--need", type=float, nargs="*", default=[6e3, 1e6], help="tokens a second of training")
    parser.add_argument("--compare", action="store_true", help="tokenise with processes, too")
    options = parser.parse_args()
    tokenizer = load_tokenizer(Path(options.tokenizer) if options.tokenizer else pocket_plm("de"))
    with tempfile.TemporaryDirectory() as folder:
        entries = [weighted_path(text) for text in options.text]
        if options.synthetic:
            entries = [Corpus(str(synthetic(Path(folder) / "synthetic.txt", options.synthetic)))]
        elif not entries:
            entries = [Corpus(str(write_text(documents("de"), Path(folder) / "pocket.txt")))]
        measure(entries, tokenizer, Path(folder), options)


def synthetic(path: Path, megabytes: float) -> Path:
    """German pocket sentences in random order, a few to a few hundred a document."""
    rng = np.random.default_rng(0)
    sentences = [sentence for text in documents("de") for sentence in text.split(". ")]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1e6:
            for count in rng.lognormal(2.5, 1, 500).astype(int) + 1:
                file.write(". ".join(sentences[i] for i in rng.integers(0, len(sentences), count)) + "\n")
    return path


def measure(entries: list[Corpus], tokenizer: Any, folder: Path, options: argparse.Namespace) -> None:
    gathered = gather([[entry] for entry in entries])
    stored = sum(source.stamp().size for one in gathered for source in one.sources)
    print(f"{os.cpu_count()} cores; {stored / 1e6:,.1f} MB stored; memory before {peak():,.0f} MB")
    began = time.perf_counter()
    fed = feed(gathered, tokenizer, LENGTHS[0], folder / "cache")
    seconds = time.perf_counter() - began
    counts = [one.windows.store.counts for one in fed]
    tokens, size = sum(c.tokens for c in counts), sum(c.bytes for c in counts)
    print(
        f"tokenise: {tokens / seconds:,.0f} tokens/s, {size / seconds / 1e6:.1f} MB/s "
        f"({tokens:,} tokens, {seconds:.1f} s)"
    )
    print(f"  peak memory {peak():,.0f} MB; text {size / 1e6:,.0f} MB, token store {4 * tokens / 1e6:,.0f} MB")
    began = time.perf_counter()
    feed(gathered, tokenizer, LENGTHS[0], folder / "cache")
    print(f"  again, from the cache: {time.perf_counter() - began:.2f} s")
    if options.compare:
        compare(gathered, tokenizer)

    needs = "".join(f"{f'x {need:,.0f}':>14}" for need in options.need)
    print(
        f"\n{'seq_len':>8}{'windows':>10}{'waste':>8}{'segments':>10}{'cut':>7}{'pack s':>8}"
        f"{'tokens/s':>14}{needs}{'own MB':>8}"
    )
    for seq_len in LENGTHS:
        began = time.perf_counter()
        windows = [packed(one.windows.store, seq_len) for one in fed]
        packing = time.perf_counter() - began
        places = sum(len(w) for w in windows) * seq_len
        waste = sum(w.waste * len(w) * seq_len for w in windows) / places
        segments = sum(len(w.layout.starts) for w in windows)
        least = sum(int((-(-np.diff(w.store.ends, prepend=0) // (seq_len - 1))).sum()) for w in windows)
        rate = speed(batches(windows, [one.share for one in fed], max(1, options.batch_tokens // seq_len), seed=0))
        times = "".join(f"{rate / need:>14,.1f}" for need in options.need)
        print(
            f"{seq_len:>8}{sum(map(len, windows)):>10,}{waste:>8.2%}{segments:>10,}{segments / least - 1:>7.1%}"
            f"{packing:>8.2f}{rate:>14,.0f}{times}{own():>8,.0f}"
        )
    print("\nwaste: padding among all places. cut: segments beyond those that documents longer than a window need.")


def speed(feed: Iterable[dict[str, np.ndarray]]) -> float:
    """Places a second, padding left out."""
    tokens, iterator = 0, iter(feed)
    for _ in range(3):
        next(iterator)
    began = time.perf_counter()
    for _ in range(200):
        tokens += int(np.count_nonzero(next(iterator)["segments"]))
        if time.perf_counter() - began > WATCHED:
            break
    return tokens / (time.perf_counter() - began)


def compare(gathered: Any, tokenizer: Any) -> None:
    """Threads (what `encoded` does) and processes on the same text, twice in turn."""
    backend = plain_backend(tokenizer)

    def read() -> Iterable[str]:
        return (text for one in gathered for source in one.sources for text in source.documents())

    def threads() -> int:
        return sum(len(batch.tokens) for batch in encoded(backend, read()))

    forkserver = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), forkserver, _start, (backend.to_str(),)) as pool:
        list(pool.map(_ids, [["warm"]] * 8 * (os.cpu_count() or 1)))  # starting them is not counted

        def processes() -> int:
            return sum(len(ids) for ids in pool.map(_ids, _chunks(read())))

        for _ in range(2):
            rates = {work.__name__: _rate(work) for work in (threads, processes)}
            print("  " + ", ".join(f"{name} {rate:,.0f} tokens/s" for name, rate in rates.items()))


def _rate(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def _chunks(texts: Iterable[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if sum(map(len, chunk)) > 250_000:
            yield chunk
            chunk = []
    yield chunk


def _start(tokenizer: str) -> None:
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = Tokenizer.from_str(tokenizer)


def _ids(texts: list[str]) -> np.ndarray:
    encodings = _tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return np.concatenate([np.array(e.ids, np.int32) for e in encodings] or [np.zeros(0, np.int32)])


def peak() -> float:
    """MB; the most that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own() -> float:
    """MB that belong to this process alone (Linux; elsewhere the peak)."""
    status = Path("/proc/self/status")
    found = [line for line in status.read_text().split("\n") if line.startswith("RssAnon")] if status.exists() else []
    return int(found[0].split()[1]) / 1024 if found else peak()


if __name__ == "__main__":
    main()
