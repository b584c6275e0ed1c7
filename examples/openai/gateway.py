"""Calls a model of the fleet with OpenAI's Python client, through a gateway.

Run it with: python examples/openai/gateway.py qwen2 http://localhost:8000/v1
"""

import sys

from openai import OpenAI

model = sys.argv[1] if len(sys.argv) > 1 else "qwen2"
base_url = sys.argv[2] if len(sys.argv) > 2 else "http://localhost:8000/v1"

# With "anyserve gateway --key-file", the API key is the key of a line of that file.
client = OpenAI(base_url=base_url, api_key="-")

print("models:", ", ".join(each.id for each in client.models.list()))

stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Why is the sky blue?"}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
