"""Runs agents of several Python frameworks against an OpenAI-compatible server, and prints what they get.

usage: agents.py BASE_URL
"""

import asyncio
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

URL = sys.argv[1]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 20_000}}


def weather(city: str) -> str:
    """Returns the weather of a city."""
    return f"3.0 degrees in {city}"


async def run_pydantic_ai() -> None:
    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=URL, api_key="key"))
    result = await Agent(model, tools=[weather], system_prompt="Be brief.").run("Zürich?")
    for message in result.all_messages():
        print("pydantic-ai:", [f"{part.part_kind} {getattr(part, 'content', '')}" for part in message.parts])
    async with Agent(model).run_stream("x") as stream:
        print("pydantic-ai:", [text async for text in stream.stream_text(delta=True, debounce_by=None)])


def run_langchain() -> None:
    model = ChatOpenAI(model="m", base_url=URL, api_key="key", max_retries=0)
    agent = model.bind_tools([weather], parallel_tool_calls=True)
    messages = [HumanMessage("Zürich?")]
    call = agent.invoke(messages)
    print("langchain:", call.tool_calls, call.response_metadata, call.usage_metadata)
    messages += [call] + [ToolMessage("3.0 degrees", tool_call_id=each["id"]) for each in call.tool_calls]
    print("langchain:", agent.invoke(messages).content)
    print("langchain:", [(chunk.content, chunk.tool_call_chunks) for chunk in agent.stream(messages[:1])])
    print("langchain:", model.invoke([HumanMessage([{"type": "text", "text": "x"}, IMAGE])]).content)


asyncio.run(run_pydantic_ai())
run_langchain()
