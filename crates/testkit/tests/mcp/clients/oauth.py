"""A client of MCP's Python SDK that gets its tokens by OAuth: lists, calls, and tells what it went through, a line of
JSON each.

usage: oauth.py URL MODE USER TOOL ARGUMENTS
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlparse

import httpx2
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

url, mode, user, tool, arguments = sys.argv[1:6]


def tell(**what):
    print(json.dumps(what), flush=True)


class Storage:
    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        tell(granted=tokens.scope)

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client
        tell(registered=client.client_name, issuer=client.issuer)


class Browser:
    """Follows the link as a person does who consents at once."""

    async def open(self, link):
        query = parse_qs(urlparse(link).query)
        tell(asked=query["scope"][0], resource=query["resource"][0], pkce=query["code_challenge_method"][0])
        async with httpx2.AsyncClient() as http:
            answer = await http.get(link)
        self.answer = {key: values[0] for key, values in parse_qs(urlparse(answer.headers["location"]).query).items()}

    async def result(self):
        return AuthorizationCodeResult(code=self.answer["code"], state=self.answer["state"], iss=self.answer.get("iss"))


async def told(response):
    """What the gateway and the authorization server answer on the way."""
    if urlparse(str(response.url)).netloc == urlparse(url).netloc and response.status_code in (401, 403):
        tell(refused=response.status_code, challenge=response.headers.get("www-authenticate", ""))
    elif "/.well-known/" in str(response.url):
        tell(metadata=urlparse(str(response.url)).path, status=response.status_code)


async def main():
    browser, storage = Browser(), Storage()
    # The address is where a browser would come back to; nobody listens there.
    about = OAuthClientMetadata(client_name=user, redirect_uris=["http://127.0.0.1:1/callback"])
    auth = OAuthClientProvider(url, about, storage, browser.open, browser.result)
    async with httpx2.AsyncClient(auth=auth, timeout=60, event_hooks={"response": [told]}) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = await client.list_tools()
            tell(version=client.protocol_version, tools=sorted(tool.name for tool in tools.tools))
            result = await client.call_tool(tool, json.loads(arguments))
            tell(called=result.content[0].text, failed=bool(result.is_error))
    # For a test that goes on with it.
    tell(token=storage.tokens.access_token)


asyncio.run(main())
