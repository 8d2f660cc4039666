"""From a conversation to token ids, and which of them are an answer: what the loss is taken on."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import numpy as np
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from saltjax.data.encode import CALL_BYTES, Batch, begin_of_text, plain_backend
from saltjax.data.examples import Messages, Row, messages, tools
from saltjax.data.toolcalls import Tools, check_written, size
from saltjax.errors import UserError

# Ours, as chat templates of transformers (line ends here are none there); BEGIN and END are the tokenizer's tokens.
OURS = {
    # A dialogue in words: `default` of LLaMA-Factory, with which SLAM was trained (its published code).
    "plain": r"""
{{ BEGIN }}{% for m in messages %}
{% if m.role == 'system' %}{{ m.content | trim + '\n' }}
{% elif m.role == 'user' %}{{ 'Human: ' + m.content | trim + '\n' }}
{% else %}{{ 'Assistant: ' + m.content | trim + END + '\n' }}{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}""",
    # Stanford Alpaca (Taori et al. 2023), which MathOctopus' and QAlign's evaluation uses too.
    "alpaca": r"""
{{ BEGIN }}{% if messages[0].role != 'system' %}{{ 'Below is an instruction that describes a task.
 Write a response that appropriately completes the request.\n\n' }}{% endif %}{% for m in messages %}
{% if m.role == 'system' %}{{ m.content | trim + '\n\n' }}
{% elif m.role == 'user' %}{{ '### Instruction:\n' + m.content | trim + '\n\n' }}
{% else %}{{ '### Response:' + m.content | trim + END + '\n\n' }}{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '### Response:' }}{% endif %}""",
    # The texts as they are, for prompts that hold all the words already.
    "verbatim": r"""
{{ BEGIN }}{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}{{ END }}{% endif %}{% endfor %}""",
}
TEMPLATES = ("auto", "chat", *OURS)
TODAY = re.compile(r"strftime_now\((['\"])(.*?)\1\)")
# For templates that write today's date, so that tokens stay the same; Llama 3's own default.
DAY = datetime(2024, 7, 26)
TOLD = 3  # mistakes of the data that are told in full


class Marked(NamedTuple):
    """A conversation as text, and for each answer in it the texts up to its start and up to its end."""

    text: str
    cuts: list[tuple[str, str]]
    bytes: int  # of the answers (`toolcalls.size`)


class Template:
    """How conversations become tokens: `chat` is the tokenizer's own chat template, `plain`, `alpaca` and `verbatim`
    are ours (`OURS`), and `auto` is chat where the tokenizer has one, else plain.

    An answer is what follows what the model is asked with (the template's generation prompt), to the special token that
    ends it; white space behind that is none of it. `text` is the template itself, in Jinja; where it writes today's
    date, the tokens have `DAY`.

    Raises UserError: an unknown name, chat without a chat template, one that ends answers with no special token or is
    no template; ours without EOS, or no token to begin with.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str = "auto"):
        if name not in TEMPLATES:
            raise UserError(f"template={name} is not one of {', '.join(TEMPLATES)}")
        self._tokenizer, self._backend, self.unknown = tokenizer, plain_backend(tokenizer), tokenizer.unk_token_id
        self._specials = tuple(tokenizer.all_special_tokens) + tuple(
            token.content for token in self._backend.get_added_tokens_decoder().values() if token.special
        )
        own = tokenizer.chat_template
        if name == "chat" and not own:
            raise UserError(f"{tokenizer.name_or_path} has no chat template; use template=plain")
        self.text = _ours(name, tokenizer) if name in OURS or not own else tokenizer.get_chat_template()
        self._dated = TODAY.sub(lambda found: json.dumps(DAY.strftime(found[2])), self.text)
        asked = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        if not self.marked(asked, "template").text.endswith(self._specials):
            raise UserError("the chat template ends answers with no special token: no model learns to stop by it")

    def marked(self, conversation: Messages, where: str, told: Tools | None = None) -> Marked:
        """The text and its answers. UserError, naming `where`: the template refuses the conversation, or writes its
        beginning otherwise where more follows, so that it cannot be told what is an answer; or it leaves out tools."""

        def write(turns: Messages, asks: bool = False) -> str:
            return self._render(turns, where, told, asks)

        whole, cuts = self._ended(write(conversation)), []
        check_written(conversation, told or [], whole, lambda turns: self._ended(write(turns)), where)
        for number, turn in enumerate(conversation):
            if turn["role"] != "assistant":
                continue
            before = write(conversation[:number], asks=True)
            after = self._ended(write(conversation[: number + 1]))
            if not (whole.startswith(after) and after.startswith(before) and len(after) > len(before)):
                raise UserError(
                    f"{where}: the chat template writes the conversation up to message {number + 1} otherwise where "
                    "more follows; give each answer a line of its own, or use template=plain"
                )
            cuts.append((before, after))
        return Marked(whole, cuts, sum(size(turn) for turn in conversation if turn["role"] == "assistant"))

    def _render(self, conversation: Messages, where: str, told: Tools | None, asks: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    conversation,
                    tools=told or None,
                    chat_template=self._dated,
                    tokenize=False,
                    add_generation_prompt=asks,
                )
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise UserError(f"{where}: the chat template refuses it: {' '.join(str(error).split())}") from None

    def _ended(self, text: str) -> str:
        bare = text.rstrip()
        return bare if bare.endswith(self._specials) else text

    def encoded(self, rows: Iterable[Row]) -> Iterator[Batch]:
        """Examples as token ids, specials and all, with what `learns` (the answers' tokens); in order, in batches.

        The ids of an answer are those behind the ids of the text before it, which is what the model is given when it
        answers: an example where a token lies across this place is a mistake.

        UserError at the end for all mistakes together, the first ones in full.
        """
        wrong: list[str] = []
        for some in _batched(rows):
            kept: list[tuple[str, Marked]] = []
            for row in some:
                try:
                    kept.append((row.where, self.marked(messages(row), row.where, tools(row))))
                except UserError as error:
                    wrong.append(str(error))
            yield self._batch(kept, wrong)
        if wrong:
            more = f"; and {len(wrong) - TOLD:,} more such mistakes" if len(wrong) > TOLD else ""
            raise UserError("; ".join(wrong[:TOLD]) + more)

    def _batch(self, kept: list[tuple[str, Marked]], wrong: list[str]) -> Batch:
        texts = [text for _, one in kept for text in (one.text, *(cut for pair in one.cuts for cut in pair))]
        found = iter([encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)])
        ids, marks, sizes = [], [], []
        for where, one in kept:
            whole = next(found)
            mark = np.zeros(len(whole), bool)
            pairs = [(next(found), next(found)) for _ in one.cuts]
            if all(whole[: len(part)] == part for pair in pairs for part in pair):
                for before, after in pairs:
                    mark[len(before) : len(after)] = True
                ids.append(np.array(whole, np.int32))
                marks.append(mark)
                sizes.append(one.bytes)
            else:
                wrong.append(
                    f"{where}: a token lies across the start of an answer; let the answer begin with the white space "
                    "that the prompt ends with"
                )
        nothing = np.zeros(0, np.int32)
        return Batch(
            np.concatenate([nothing, *ids]),
            np.array([len(one) for one in ids], np.int64),
            np.array(sizes, np.int64),
            np.concatenate([np.zeros(0, bool), *marks]),
        )


def _ours(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.eos_token is None:
        raise UserError(f"{tokenizer.name_or_path} has no EOS token to end answers with; name one in its config")
    begin = str(tokenizer.convert_ids_to_tokens(begin_of_text(tokenizer)))
    text = OURS[name if name in OURS else "plain"].replace("\n", "")
    return text.replace("BEGIN", json.dumps(begin)).replace("END", json.dumps(tokenizer.eos_token))


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    size = 0
    for row in rows:
        some.append(row)
        size += len(row.line)
        if size >= CALL_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
