import argparse
import json

from openai import OpenAI

SYSTEM_PROMPT = "Sort the note."
FEW_SHOTS = [
    {"role": "user", "content": "It is late."},
    {"role": "assistant", "content": '{"label": "late"}'},
    {"role": "user", "content": "It is in two pieces."},
    {"role": "assistant", "content": '{"label": "broken"}'},
]


class DistilLabsLLM:
    def __init__(self, model_name, base_url="http://127.0.0.1:8000/v1", api_key="EMPTY"):
        self.model_name = model_name
        self.client = OpenAI(base_url=base_url, api_key=api_key)

    def invoke(self, conversation):
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, *FEW_SHOTS, *conversation]
        response = self.client.chat.completions.create(
            model=self.model_name,
            messages=messages,
            temperature=0,
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )
        return response.choices[0].message.content


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--conversation", required=True)
    args = parser.parse_args()
    print(DistilLabsLLM("model").invoke(json.loads(args.conversation)))
