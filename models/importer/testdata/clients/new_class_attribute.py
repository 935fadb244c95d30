from openai import OpenAI


class Settings:
    SYSTEM_PROMPT = "the one of the settings"


class DistilLabsLLM(Settings):
    SYSTEM_PROMPT = (
        "Sort the note.\n"
        "late or broken?"
    )
    SUFFIX: str = "\nDesk:"

    def __init__(self, model_name: str, base_url: str, system_prompt: str = SYSTEM_PROMPT):
        self.model_name, self.other = model_name, 1
        self.system_prompt = system_prompt
        self.client = OpenAI(base_url=base_url, api_key="EMPTY")

    def _messages(self, question: str) -> list:
        return [
            dict(role="system", content=self.system_prompt),
            dict(role="user", content=f"Note: {question}{self.SUFFIX}"),
        ]

    def _send(self, messages, temperature=0):
        try:
            response = self.client.chat.completions.create(model=self.model_name, messages=messages, temperature=temperature)
        except ValueError as error:
            print(f"failed: {error}")
            raise
        return response.choices[0].message.content

    def invoke(self, question: str) -> str:
        if not question:
            raise ValueError("no text")
        return self._send(self._messages(question))
