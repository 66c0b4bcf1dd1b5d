"""A gRPC tool with the operations that the scenarios of tasks ask for.

usage: suite_tool.py FOLDER-OF-PROTOS
"""

import sys
import time
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

sys.path.insert(0, sys.argv[1])
pb, services = grpc.protos_and_services("agentplatform/agentplatform.proto")
NAME = "agentplatform.ToolService"


def operation(name, *parameters):
    parameters = [pb.ToolParameter(name=it, type=kind, description=it) for it, kind in parameters]
    return pb.ToolOperation(name=name, description=f"The suite's {name}", parameters=parameters, idempotent={"value": True})


OPERATIONS = [
    operation("greet", ("name", "string")),
    operation("slow_compute", ("seconds", "number"), ("label", "string")),
    operation("failing_job"),
    operation("protocol_error_job"),
]


class Suite(services.ToolServiceServicer):
    def ListTools(self, request, context):
        tool = pb.ToolInfo(tool_id="suite-tool", name="Suite", description="What the suite asks for", operations=OPERATIONS)
        return pb.ListToolsResponse(tools=[tool])

    def ExecuteTool(self, request, context):
        given = request.parameters
        if request.operation == "greet":
            return pb.ToolResponse(success=True, result=f"Hello, {given.get('name', 'friend')}!")
        if request.operation == "slow_compute":
            seconds = float(given.get("seconds", 1))
            until = time.monotonic() + seconds
            while time.monotonic() < until and context.is_active():
                time.sleep(0.05)
            return pb.ToolResponse(success=True, result=f"computed for {seconds} s")
        time.sleep(1)
        if request.operation == "failing_job":
            return pb.ToolResponse(success=False, error="this job fails on purpose")
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "this job breaks on purpose")


server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
services.add_ToolServiceServicer_to_server(Suite(), server)
reflection.enable_server_reflection((NAME, reflection.SERVICE_NAME), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening {port}", flush=True)
server.wait_for_termination()
