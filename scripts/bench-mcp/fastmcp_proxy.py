"""FastMCP's proxy, without sessions.

usage: fastmcp_proxy.py URL PORT
"""

import sys

from fastmcp.server import create_proxy

create_proxy(sys.argv[1], name="proxy").run(
    transport="http", host="127.0.0.1", port=int(sys.argv[2]), stateless_http=True, json_response=True,
    log_level="error", show_banner=False,
)
