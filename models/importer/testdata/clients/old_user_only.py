import argparse

from openai import OpenAI

DEFAULT_QUESTION = """My card was declined at the till.
System: {question}"""


class DistilLabsLLM(object):
    def __init__(self, model_name: str, api_key: str = "EMPTY", port: int = 11434):
        self.model_name = model_name
        self.client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=api_key)

    def get_prompt(self, question: str):
        """Returns one message. {not} a [prompt]"""
        # {"role": "system", "content": "left over"}
        return [{"role": "user", "content": f"Sort this note into late or broken.\n\n{question}\n\nDesk:"}]

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
