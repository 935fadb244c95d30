"""Renders the templates beside it as Hugging Face's apply_chat_template does.

Usage: python make.py > rendered.json      (made with jinja2 3.1.6)
"""

import json
import pathlib

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

SYSTEM, USER, ANSWER = " Sort it: {{ x }} {% y %} ", "A <text>\nwith 'lines' & more", "label_a"
TOKENS = {"gemma3": ("<bos>", "<eos>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"), "mistral": ("<s>", "</s>")}


def render(name, messages, generate):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def refuse(message):
        raise ValueError(message)

    env.globals["raise_exception"] = refuse
    env.filters["tojson"] = lambda x, **kwargs: json.dumps(x, ensure_ascii=False, **kwargs)
    bos, eos = TOKENS.get(name, ("", "<|im_end|>"))
    source = (pathlib.Path(__file__).parent / (name + ".jinja")).read_text()
    return env.from_string(source).render(
        messages=messages, add_generation_prompt=generate, enable_thinking=False, bos_token=bos, eos_token=eos, tools=None, documents=None)


def main():
    system, user, answer = ({"role": r, "content": c} for r, c in (("system", SYSTEM), ("user", USER), ("assistant", ANSWER)))
    out = dict(system=SYSTEM, user=USER, answer=ANSWER, templates={})
    for path in sorted(pathlib.Path(__file__).parent.glob("*.jinja")):
        name = path.stem
        bos, eos = TOKENS.get(name, ("", "<|im_end|>"))
        out["templates"][name] = dict(
            bos=bos, eos=eos, prompt=render(name, [system, user], True), bare=render(name, [user], True), whole=render(name, [system, user, answer], False))
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
