from openai import OpenAI

SYSTEM_PROMPT = "first"
SYSTEM_PROMPT = "Sort the note."
SYSTEM_PROMPT += "\n"
PROMPTS = {"user": "Note: {text}", "other": SYSTEM_PROMPT}
client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="EMPTY")


def build(text): return [{"role": "system", "content": PROMPTS["other"]}, {"role": "user", "content": PROMPTS["user"].format(text=text)}]


def invoke(text: str) -> str:
    for attempt in range(3):
        response = client.chat.completions.create(model="model", messages=build(text=text), temperature=0)
        if response:
            return response.choices[0].message.content
    return ""
