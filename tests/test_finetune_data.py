"""From lines of JSON to windows with marked answers: forms, templates, masks, packing, and what is refused."""

import gzip
import json

import numpy as np
import pytest
import zoo
from talks import CHATML, TALK, TOOLED, written

from saltjax.data.encode import Counts
from saltjax.data.examples import ExampleFile, messages
from saltjax.data.examplewindows import ExampleWindows, example_windows
from saltjax.data.template import Template
from saltjax.data.tokens import TokenStore, tokenized
from saltjax.errors import UserError


def chatty(kind="byte_bpe", template=CHATML):
    tokenizer = zoo.tokenizer(kind)
    backend = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token=tokenizer.eos_token)
    backend.chat_template = template
    return backend


def encoded(template, path):
    [batch] = template.encoded(ExampleFile(path).documents())
    return batch


def test_the_forms_are_told_by_the_first_line_and_mean_conversations(tmp_path):
    ask = [{"role": "user", "content": "Add.\n1 1"}, {"role": "assistant", "content": "2"}]
    forms = {
        "messages": {"messages": [*ask, {"role": "user", "content": "Thanks"}], "id": 7},
        "prompt": {"prompt": "Add.\n1 1", "completion": "2"},
        "alpaca": {"instruction": "Add.", "input": "1 1", "output": "2"},
        "alpaca without input": {"instruction": "Add.\n1 1", "input": "", "output": "2"},
        "ShareGPT": {"conversations": [{"from": "human", "value": "Add.\n1 1"}, {"from": "gpt", "value": "2"}]},
        "ShareGPT with roles": {"conversations": ask, "system": ""},
    }
    for row in forms.values():
        assert [messages(one) for one in ExampleFile(written(tmp_path / "a.jsonl", row, row)).documents()] == [ask, ask]
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    assert [messages(one) for one in ExampleFile(packed).documents()] == [ask, ask]
    spoken = [{"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in TALK[1:]]
    told = {"system": TALK[0]["content"]}
    alpaca = {"instruction": TALK[3]["content"], "output": TALK[4]["content"], "history": [["How are you?", "Well."]]}
    system = {"from": "system", "value": "Be kind."}
    for row in ({"conversations": spoken, **told}, {"conversations": [system, *spoken]}, alpaca | told):
        assert [messages(one) for one in ExampleFile(written(tmp_path / "b.jsonl", row)).documents()] == [TALK]


def test_all_mistakes_of_a_file_are_told_together(tmp_path):
    good = {"messages": TALK}
    bad = [
        {"prompt": "a", "completion": "b"},  # another form
        {"messages": [{"role": "bot", "content": "x"}]},
        {"messages": TALK[:2]},
        {"messages": [*TALK[:2], {"role": "assistant", "content": " \n"}]},
        {"messages": [{"role": "user", "content": None}]},
    ]
    path = written(tmp_path / "a.jsonl", good, *bad, good)
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        encoded(Template(zoo.tokenizer("byte_bpe")), path)
    for part in ("line 2: has no messages", 'line 3: message 1 has the role "bot"', "line 4: no message of the"):
        assert f"a.jsonl, {part}" in str(error.value)
    assert "and 2 more such mistakes" in str(error.value)
    for row, says in zip(bad[3:], ("answer (message 3) is empty", "message 1: content is no text"), strict=True):
        with pytest.raises(UserError) as error:
            encoded(Template(zoo.tokenizer("byte_bpe")), written(path, row))
        assert says in str(error.value)
    with pytest.raises(UserError, match=r"line 1: completion is not there"):
        encoded(Template(zoo.tokenizer("byte_bpe")), written(path, {"prompt": "a"}))
    for row, says in [
        ({"conversations": [{"from": "function_call", "value": "x"}]}, 'message 1 is from "function_call", not system'),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "begins with an answer that nobody asked for"),
        ({"conversations": ["x"]}, "conversations is not a list such as"),
        ({"instruction": "a", "output": "b", "history": ["a"]}, "history is not a list of"),
    ]:
        with pytest.raises(UserError, match=f"line 1: {says}"):
            encoded(Template(zoo.tokenizer("byte_bpe")), written(path, row))
    with pytest.raises(UserError, match=r"line 1: has text, id; an example is messages, conversations, prompt"):
        list(ExampleFile(written(path, {"text": "a", "id": 1})).documents())
    path.write_text('[\n{"prompt": "a", "completion": "b"}\n]\n')
    with pytest.raises(UserError, match=r"a\.jsonl is one JSON array; an example a line is expected: jq"):
        list(ExampleFile(path).documents())
    path.write_text("\n \n")
    with pytest.raises(UserError, match="holds no example"):
        list(ExampleFile(path).documents())


@pytest.mark.parametrize("kind", ["byte_bpe", "gpt2", "sp_bpe", "gemma", "xglm"])
@pytest.mark.parametrize("name", ["plain", "alpaca", "verbatim"])
def test_our_templates_mark_the_answers_and_the_token_that_ends_them(tmp_path, kind, name):
    """Against texts written by hand: up to each answer the ids are those of the prompt alone."""
    tokenizer = zoo.tokenizer(kind)
    batch = encoded(Template(tokenizer, name), written(tmp_path / "a.jsonl", {"messages": TALK}))
    begin = tokenizer.bos_token or tokenizer.eos_token
    first, second, gap = {
        "plain": ("Be kind.\nHuman: How are you?\nAssistant:", "\nHuman: And the fox?\nAssistant:", " "),
        "alpaca": (
            "Be kind.\n\n### Instruction:\nHow are you?\n\n### Response:",
            "\n\n### Instruction:\nAnd the fox?\n\n### Response:",
            "",
        ),
        "verbatim": ("Be kind.How are you?", "And the fox?", ""),
    }[name]
    end = tokenizer.eos_token
    texts = [begin + first, gap + "Well." + end, second, gap + "It sleeps." + end]
    ids = [tokenizer.encode("".join(texts[: n + 1]), add_special_tokens=False) for n in range(4)]
    assert batch.tokens.tolist() == ids[-1]
    marked = np.flatnonzero(batch.learns)
    answers = [*range(len(ids[0]), len(ids[1])), *range(len(ids[2]), len(ids[3]))]
    assert marked.tolist() == answers
    assert batch.tokens[answers[-1]] == batch.tokens[len(ids[1]) - 1] == tokenizer.eos_token_id
    assert batch.bytes.tolist() == [len("Well.") + len("It sleeps.")]


def test_the_tokenizers_own_chat_template_comes_first_and_white_space_behind_the_end_is_not_learned(tmp_path):
    tokenizer = chatty()
    path = written(tmp_path / "a.jsonl", {"messages": TALK})
    batch = encoded(Template(tokenizer), path)
    whole = tokenizer.apply_chat_template(TALK, tokenize=True, return_dict=False)
    ask = tokenizer.apply_chat_template(TALK[:4], tokenize=True, add_generation_prompt=True, return_dict=False)
    assert batch.tokens.tolist() == whole[: len(batch.tokens)]
    assert tokenizer.decode(whole[len(batch.tokens) :]) == "\n"
    assert tokenizer.decode(batch.tokens[batch.learns]) == "Well.<|eot_id|>It sleeps.<|eot_id|>"
    assert np.flatnonzero(batch.learns)[-1] == len(batch.tokens) - 1 and not batch.learns[: len(ask)][-8:].any()
    assert encoded(Template(tokenizer, "plain"), path).tokens.tolist() != batch.tokens.tolist()


CALL = {"name": "weather", "arguments": {"city": "Huế"}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ASKED = [
    {"role": "user", "content": "Does it rain?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": CALL}]},
    {"role": "tool", "content": '{"rain": true}', "tool_call_id": "a"},
    {"role": "assistant", "content": "It rains."},
]


def test_calls_of_tools_are_learned_and_what_tools_say_is_not(tmp_path):
    tokenizer = chatty(template=TOOLED)
    as_text = [dict(turn) for turn in ASKED]  # OpenAI's form: arguments are JSON text
    as_text[1]["tool_calls"] = [{"id": "a", "function": CALL | {"arguments": '{"city": "Huế"}'}}]
    rows = {"messages": ASKED, "tools": TOOLS}, {"messages": as_text, "tools": json.dumps(TOOLS)}
    batch = encoded(Template(tokenizer), written(tmp_path / "a.jsonl", *rows))
    first, second = np.split(batch.tokens, [batch.lengths[0]])
    assert first.tolist() == second.tolist()
    call = '{"name": "weather", "arguments": {"city": "Huế"}}'
    learned = tokenizer.decode(first[batch.learns[: len(first)]])
    assert learned == f"CALL {call}<|eot_id|>It rains.<|eot_id|>"
    assert "Tools: [" in tokenizer.decode(first) and "tool\n" + ASKED[2]["content"] in tokenizer.decode(first)
    assert batch.bytes.tolist() == [len(call.encode()) + len("It rains.")] * 2


def test_a_template_that_leaves_out_tools_is_refused_with_the_line(tmp_path):
    told = [ASKED[0], {"role": "assistant", "content": "Look."}, *ASKED[2:]]
    silent = TOOLED.replace(" + m['content'] | trim", "")
    for template, row, says in [
        (CHATML, {"messages": TALK, "tools": TOOLS}, "line 1: the chat template does not write the tools"),
        (CHATML, {"messages": ASKED}, "line 1: message 2: the chat template does not write the tool call"),
        (None, {"messages": told}, "line 1: message 3: the chat template does not write what the tool returned"),
        (silent, {"messages": [ASKED[0], ASKED[1] | {"content": "Let me look."}]}, "not write the content beside"),
        (TOOLED, {"messages": TALK, "tools": "weather"}, "line 1: tools is not a list"),
        (TOOLED, {"messages": [ASKED[0], ASKED[3] | {"tool_calls": [{"name": 1}]}]}, "message 2: a tool call is not"),
    ]:
        with pytest.raises(UserError, match=says):
            encoded(Template(chatty(template=template)), written(tmp_path / "a.jsonl", row))
    encoded(Template(chatty()), written(tmp_path / "a.jsonl", {"messages": told}))  # it writes every role


def test_a_template_that_writes_todays_date_gives_the_same_tokens_every_day():
    """As Llama 3.1's does; and the template that is kept is the one that asks with the day's date."""
    template = Template(chatty(template="{{ strftime_now('%d %b %Y') }}" + CHATML))
    assert template.marked(TALK, "here").text.startswith("26 Jul 2024<|")
    assert "strftime_now" in template.text


def test_a_template_that_cannot_be_followed_is_refused_with_the_line(tmp_path):
    path = written(tmp_path / "a.jsonl", {"messages": TALK[1:3]}, {"messages": TALK[1:]})
    forgets = "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}" + CHATML.partition("%}")[2]
    forgets = forgets.replace("{% endfor %}", "{% endif %}{% endfor %}", 1)
    with pytest.raises(UserError, match=r"line 2: the chat template writes the conversation up to message 2 otherwise"):
        encoded(Template(chatty(template=forgets)), path)
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    written(path, {"messages": TALK})
    with pytest.raises(UserError, match=r"line 1: the chat template refuses it: no system"):
        encoded(Template(chatty(template=strict)), path)
    with pytest.raises(UserError, match="ends answers with no special token"):
        Template(chatty(template=zoo.CHAT))
    with pytest.raises(UserError, match="no chat template; use template=plain"):
        Template(zoo.tokenizer("byte_bpe"), "chat")
    with pytest.raises(UserError, match="no EOS token"):
        Template(zoo.tokenizer("wordpiece"), "plain")
    with pytest.raises(UserError, match="template=slam is not one of auto, chat"):
        Template(zoo.tokenizer("byte_bpe"), "slam")


def test_a_token_across_the_start_of_an_answer_is_refused(tmp_path):
    """Asked with `A: `, the model would never see the token ` it` that training would show."""
    tokenizer = zoo.tokenizer("byte_bpe")
    path = written(tmp_path / "a.jsonl", {"prompt": "Where is it? A: ", "completion": "it is"})
    with pytest.raises(UserError, match="line 1: a token lies across the start of an answer"):
        encoded(Template(tokenizer, "verbatim"), path)
    written(path, {"prompt": "Where is it? A:", "completion": " it is"})
    batch = encoded(Template(tokenizer, "verbatim"), path)
    assert tokenizer.decode(batch.tokens[batch.learns]) == " it is" + tokenizer.eos_token


def store_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 99, sum(lengths)).astype(np.int32)
    learns = rng.random(len(tokens)) < 0.5
    counts = Counts(len(lengths), len(tokens), 0, 0, 99)
    return TokenStore(tokens, np.cumsum(lengths), 0, 0, counts, learns=learns)


def test_windows_hold_whole_examples_each_once_and_count_those_that_do_not_fit():
    lengths = [5, 16, 3, 17, 8, 8, 2, 40, 7, 1]
    store = store_of(lengths)
    windows = ExampleWindows(store, 16)
    assert windows.too_long == 2 and windows.longest == 40
    found = []
    for index in range(len(windows)):
        window = windows[index]
        assert set(window) == {"tokens", "segments", "positions", "learns"}
        for segment in range(1, window["segments"].max() + 1):
            here = window["segments"] == segment
            assert window["positions"][here].tolist() == list(range(here.sum()))
            found.append((tuple(window["tokens"][here]), tuple(window["learns"][here])))
        padding = window["segments"] == 0
        assert not window["learns"][padding].any() and not window["tokens"][padding].any()
        assert windows.text_tokens(index) == (~padding).sum()
    starts = np.cumsum([0, *lengths])
    wanted = [
        (tuple(store.tokens[a : a + n]), tuple(store.learns[a : a + n].astype(int)))
        for a, n in zip(starts, lengths, strict=False)
        if n <= 16
    ]
    assert sorted(found) == sorted(wanted)
    assert windows.tokens == sum(len(tokens) for tokens, _ in wanted)
    assert windows.answer_tokens == sum(sum(learns) for _, learns in wanted)
    assert windows.waste == pytest.approx(1 - windows.tokens / (16 * len(windows)))
    with pytest.raises(UserError, match=r"x\.jsonl: all 2 examples are longer than seq_len=8 \(the longest has 40"):
        example_windows(store_of([9, 40]), 8, "x.jsonl")


def test_the_cache_keeps_the_marks_and_knows_the_template(tmp_path):
    tokenizer = chatty()
    path = written(tmp_path / "a.jsonl", {"messages": TALK}, {"messages": TALK[1:3]})
    first = tokenized([ExampleFile(path)], tokenizer, tmp_path / "cache", template=Template(tokenizer))
    again = tokenized([ExampleFile(path)], tokenizer, tmp_path / "cache", template=Template(tokenizer))
    other = tokenized([ExampleFile(path)], tokenizer, tmp_path / "cache", template=Template(tokenizer, "plain"))
    assert again.directory == first.directory != other.directory
    assert isinstance(again.learns, np.memmap) and again.counts.documents == 2
    batch = encoded(Template(tokenizer), path)
    np.testing.assert_array_equal(again.tokens, batch.tokens)
    np.testing.assert_array_equal(again.learns, batch.learns)
    (first.directory / "learns.bool").write_bytes(b"\0")
    with pytest.raises(UserError, match="is damaged; remove it"):
        tokenized([ExampleFile(path)], tokenizer, tmp_path / "cache", template=Template(tokenizer))
