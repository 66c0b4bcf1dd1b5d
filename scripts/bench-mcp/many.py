"""A gRPC server with one service of five methods and reflection, which is registered under many names.

usage: many.py CONSUL NAMES
"""

import json
import sys
import tempfile
import urllib.request
from concurrent import futures
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection

PROTO = """
syntax = "proto3";
package many.v1;
message Order { string id = 1; repeated string lines = 2; int64 amount = 3; map<string, string> labels = 4; }
message Receipt { string id = 1; bool accepted = 2; string note = 3; }
service Shop {
  rpc Place(Order) returns (Receipt);
  rpc Change(Order) returns (Receipt);
  rpc Cancel(Order) returns (Receipt);
  rpc Pay(Order) returns (Receipt);
  rpc Ship(Order) returns (Receipt);
}
"""

consul, names = sys.argv[1], int(sys.argv[2])
folder = tempfile.mkdtemp()
(Path(folder) / "many.proto").write_text(PROTO)
sys.path.insert(0, folder)
pb, services = grpc.protos_and_services("many.proto")


class Shop(services.ShopServicer):
    pass


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
services.add_ShopServicer_to_server(Shop(), server)
reflection.enable_server_reflection(("many.v1.Shop", reflection.SERVICE_NAME), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
for number in range(names):
    name = f"shop-{number:03}"
    check = {"TTL": "24h", "Status": "passing"}
    registration = {"ID": name, "Name": name, "Address": "127.0.0.1", "Port": port, "Check": check, "Meta": {"mcp": "*"}}
    request = urllib.request.Request(
        f"http://{consul}/v1/agent/service/register", json.dumps(registration).encode(), method="PUT"
    )
    urllib.request.urlopen(request).read()
print("listening", port, flush=True)
server.wait_for_termination()
