import argparse

from openai import OpenAI

DEFAULT_QUESTION = """My card was declined at the till.
System: {question}"""


class DistilLabsLLM(object):
    def __init__(self, model_name: str, api_key: str = "EMPTY", port: int = 11434):
        self.model_name = model_name
        self.client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=api_key)

    TASK = "Sort the note."

    @staticmethod
    def wrap(text, tag="note"):
        return f"<{tag}>{text}</{tag}>"

    def get_prompt(self, question):
        messages = []
        messages.append({"role": "system", "content": self.TASK + "\n"})
        messages += [{"role": "user", "content": self.wrap(question)}]
        return messages

    def invoke(self, question: str) -> str:
        chat_response = self.client.chat.completions.create(
            model=self.model_name,
            messages=self.get_prompt(question),
            temperature=0,
            reasoning_effort="none",
        )
        return chat_response.choices[0].message.content


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--question", type=str, default=DEFAULT_QUESTION, required=False)
    args = parser.parse_args()
    client = DistilLabsLLM(model_name="model")
    print(client.invoke(args.question))
