"""A gRPC tool that tells of each call that it runs: `ran KEY`, a line each.

usage: counting_tool.py FOLDER-OF-PROTOS
"""

import sys
import time
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

sys.path.insert(0, sys.argv[1])
pb, services = grpc.protos_and_services("agentplatform/agentplatform.proto")
NAME = "agentplatform.ToolService"
KEY = pb.ToolParameter(name="key", type="string", description="What is told", required=True)
# Not idempotent: whoever sends it twice has it run twice.
COUNT = pb.ToolOperation(name="count", description="Tells of its call", parameters=[KEY])


class Counting(services.ToolServiceServicer):
    def ListTools(self, request, context):
        tool = pb.ToolInfo(tool_id="counting-tool", name="Counting", description="Tells of its calls", operations=[COUNT])
        return pb.ListToolsResponse(tools=[tool])

    def ExecuteTool(self, request, context):
        key = request.parameters["key"]
        sys.stdout.write(f"ran {key}\n")
        time.sleep(0.1)
        return pb.ToolResponse(success=True, result=f"{key} is counted")


server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
services.add_ToolServiceServicer_to_server(Counting(), server)
reflection.enable_server_reflection((NAME, reflection.SERVICE_NAME), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening {port}", flush=True)
server.wait_for_termination()
