"""Runs the clients beside it, with a stand-in for the openai package, and prints what each sends for one text.

Usage: python3 make.py > sent.json      (Python 3.9 or newer; nothing is installed and no network used)
"""

import importlib.util
import inspect
import json
import pathlib
import sys
import types

sys.dont_write_bytecode = True

TEXT = 'Why {was} I "charged"\\n twice - %s {{0}} <|im_end|>\n\té\U0001f600?  '


class Recorder:
    """Any attribute and any call of it; the calls that carry messages are kept."""

    def __init__(self, calls):
        self.calls = calls

    def __getattr__(self, name):
        return Recorder(self.calls)

    def __getitem__(self, index):
        return Recorder(self.calls)

    def __call__(self, *args, **kwargs):
        if "messages" in kwargs:
            self.calls.append(kwargs)
        return Recorder(self.calls)


def sent(path):
    calls = []
    openai = types.ModuleType("openai")
    openai.OpenAI = lambda *args, **kwargs: Recorder(calls)
    sys.modules["openai"] = openai
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "DistilLabsLLM"):
        parameters = inspect.signature(module.DistilLabsLLM).parameters
        given = dict(model_name="model", base_url="http://127.0.0.1:8000/v1")
        client = module.DistilLabsLLM(**{k: v for k, v in given.items() if k in parameters})
        invoke = client.invoke
    else:
        invoke = module.invoke
    first = next(iter(inspect.signature(invoke).parameters))
    conversation = [{"role": "user", "content": TEXT}]
    invoke(conversation if "conversation" in first or first == "messages" else TEXT)
    call = calls[-1]
    thinking = call.get("extra_body", {}).get("chat_template_kwargs", {}).get("enable_thinking", False)
    return dict(messages=call["messages"], thinking=thinking)


def main():
    here = pathlib.Path(__file__).resolve().parent
    clients = {path.name: sent(path) for path in sorted(here.glob("*.py")) if path.name != "make.py"}
    print(json.dumps(dict(text=TEXT, clients=clients), indent=1))


main()
