"""What is trained on how much: `small` for two CPU cores, `gpu` for one GPU, `tiny` for the test."""

from dataclasses import dataclass, replace

PAPER = "salt gaussian focus ofa wechsel clp+ omp fvt mean".split()  # gaussian: the paper's Multivariate
OURS = ["kernel-ridge", "salt:neighbours=plm"]


@dataclass(frozen=True)
class Model:
    """A model and how it is trained, with AdamW, warmup and a cosine. `kv_heads`: of the LLM alone."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    positions: int
    steps: int
    batch_size: int
    seq_len: int
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    kv_heads: int = 2


@dataclass(frozen=True)
class Setting:
    """`llm` and `bert`: None are the pocket models, which come with the package and were trained on 16 MB of English,
    1.5 MB of each other language, and 16 MB of the PLM's language (their data card), all from the front of the files.
    `megabytes_*`: of the front of the training texts, for the LLM and for the PLMs; auxiliary vectors take a part of
    the PLMs' text. The last `adapt_documents` documents are for adaptation alone. `plm_methods` are run with the other
    PLMs too and, like the LLM's own vocabulary, with the first `plm_seeds` seeds.
    """

    name: str
    llm: Model | None
    bert: Model | None
    gpt: Model
    t5: Model
    megabytes_english: float = 16.0
    megabytes_other: float = 1.5
    megabytes_plm: float = 16.0
    megabytes_aux: float = 8.0
    adapt_documents: int = 300  # 400 of the Vietnamese ones would reach into what the pocket BERT has seen
    valid_documents: int = 30
    valid_characters: int = 500
    steps: int = 50
    batch_size: int = 12
    seq_len: int = 128
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    eval_every: int = 10
    seeds: int = 3
    methods: tuple[str, ...] = (*PAPER, *OURS)
    plm_methods: tuple[str, ...] = ("salt", "kernel-ridge", "gaussian")
    plm_seeds: int = 1


SMALL = Setting(
    name="small",
    llm=None,
    bert=None,
    gpt=Model(4096, 128, 2, 4, 128, steps=300, batch_size=16, seq_len=128),
    t5=Model(4096, 128, 2, 4, 128, steps=400, batch_size=32, seq_len=96),
)
GPU = Setting(
    name="gpu",
    llm=Model(16384, 512, 8, 8, 512, steps=3000, batch_size=64, seq_len=512, learning_rate=1e-3, kv_heads=4),
    bert=Model(16384, 256, 4, 8, 128, steps=6000, batch_size=128, seq_len=64, learning_rate=1e-3),
    gpt=Model(16384, 256, 4, 8, 256, steps=2000, batch_size=64, seq_len=128, learning_rate=1e-3),
    t5=Model(16384, 256, 2, 8, 128, steps=1000, batch_size=64, seq_len=96, learning_rate=1e-3),
    megabytes_english=48.0,
    megabytes_other=3.0,
    megabytes_plm=12.0,
    adapt_documents=500,
    valid_documents=180,
    valid_characters=2000,
    steps=300,
    batch_size=32,
    seq_len=256,
    learning_rate=5e-4,
    warmup_steps=30,
    eval_every=25,
)
_TINY = Model(384, 32, 2, 2, 64, steps=2, batch_size=4, seq_len=32, warmup_steps=1, kv_heads=1)
TINY = Setting(
    name="tiny",
    llm=_TINY,
    bert=_TINY,
    gpt=replace(_TINY, kv_heads=2),
    t5=_TINY,
    megabytes_english=0.03,
    megabytes_other=0.01,
    megabytes_plm=0.06,
    megabytes_aux=0.05,
    adapt_documents=20,
    valid_documents=4,
    valid_characters=100,
    steps=2,
    batch_size=2,
    seq_len=32,
    warmup_steps=1,
    eval_every=1,
    seeds=2,
    methods=("salt", "gaussian"),
    plm_methods=("gaussian",),  # without kernels of their own to compile
)
SETTINGS = {one.name: one for one in (SMALL, GPU, TINY)}
