"""A client of MCP's Python SDK: lists, calls, and tells of changes, a line of JSON each.

usage: sdk.py URL MODE TOOL ARGUMENTS [listen]
"""

import asyncio
import json
import sys

from mcp.client import Client

url, mode, tool, arguments = sys.argv[1:5]
listens = sys.argv[5:] == ["listen"]
changed = asyncio.Event()


def tell(**what):
    print(json.dumps(what), flush=True)


async def told(message):
    if "ToolListChanged" in type(message).__name__ or getattr(message, "method", "") == "notifications/tools/list_changed":
        changed.set()


async def names(client):
    found, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        found += [tool.name for tool in page.tools]
        cursor = page.next_cursor
        if not cursor:
            return sorted(found)


async def follow(client):
    while True:
        await changed.wait()
        changed.clear()
        tell(changed=await names(client))


async def main():
    async with Client(url, mode=mode, message_handler=told) as client:
        tell(version=client.protocol_version, tools=await names(client))
        result = await client.call_tool(tool, json.loads(arguments))
        tell(called=result.content[0].text, structured=result.structured_content, failed=bool(result.is_error))
        if not listens:
            return
        if client.protocol_version < "2026":
            tell(listening=True)
            await follow(client)
        async with client.listen(tools_list_changed=True) as changes:
            tell(listening=True)
            async for _ in changes:
                tell(changed=await names(client))


asyncio.run(main())
