"""An agent as the mesh's predecessor had them: grpcio, no reflection, no gRPC health.

Its one argument is the folder of the agentplatform proto.
"""

import sys
import threading
import time
from concurrent import futures

import grpc

sys.path.insert(0, sys.argv[1])
pb, services = grpc.protos_and_services("agentplatform/agentplatform.proto")


class Foo(services.AgentServiceServicer):
    def ExecuteTask(self, task, context):
        """Works without a word for as many seconds as the task says."""
        done = threading.Event()
        context.add_callback(done.set)
        begun = time.monotonic()
        print(f"working on {task.task_id}", flush=True)
        if done.wait(float(task.parameters.get("seconds", "0"))):
            print(f"cancelled {task.task_id}", flush=True)
        return pb.TaskResponse(
            task_id=task.task_id,
            output=f"foo: {task.input}",
            success=True,
            metadata={"worked_seconds": f"{time.monotonic() - begun:.1f}"},
            session_id=task.session_id,
        )


server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
services.add_AgentServiceServicer_to_server(Foo(), server)
port = server.add_insecure_port("[::]:0")
server.start()
print(f"listening {port}", flush=True)
server.wait_for_termination()
