"""A conversation, a chat template and a file of examples, for the tests of finetune."""

import json

CHATML = (
    "{% for m in messages %}{{ START + m['role'] + '\n' + m['content'] | trim + '<|eot_id|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ START + 'assistant\n' }}{% endif %}"
).replace("START", "'<|reserved_special_token_0|>'")
# A chat template that knows tools.
TOOLED = (
    "{% if tools %}{{ START + 'system\nTools: ' + tools | tojson + '<|eot_id|>\n' }}{% endif %}"
    "{% for m in messages %}{{ START + m['role'] + '\n' + m['content'] | trim }}"
    "{% for call in m['tool_calls'] or [] %}{{ 'CALL ' + call['function'] | tojson }}{% endfor %}"
    "{{ '<|eot_id|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ START + 'assistant\n' }}{% endif %}"
).replace("START", "'<|reserved_special_token_0|>'")
TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "How are you?"},
    {"role": "assistant", "content": "Well."},
    {"role": "user", "content": "And the fox?"},
    {"role": "assistant", "content": "It sleeps."},
]


def written(path, *rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
