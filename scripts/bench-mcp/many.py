"""Many gRPC servers with reflection, each with a service of five methods and types of its own.

usage: many.py CONSUL SERVERS
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
package many.sNUMBER.v1;
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



def serve(number):
    """Its port."""
    file = f"many_{number}.proto"
    (Path(folder) / file).write_text(PROTO.replace("NUMBER", str(number)))
    _, services = grpc.protos_and_services(file)
    shop = type("Shop", (services.ShopServicer,), {})
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    services.add_ShopServicer_to_server(shop(), server)
    reflection.enable_server_reflection((f"many.s{number}.v1.Shop", reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    running.append(server)
    return port


consul, count = sys.argv[1], int(sys.argv[2])
folder = tempfile.mkdtemp()
sys.path.insert(0, folder)
running = []
for number in range(count):
    name = f"shop-{number:03}"
    check = {"TTL": "24h", "Status": "passing"}
    registration = {"ID": name, "Name": name, "Tags": ["grpc"], "Meta": {"mcp": "*"}}
    registration |= {"Address": "127.0.0.1", "Port": serve(number), "Check": check}
    request = urllib.request.Request(
        f"http://{consul}/v1/agent/service/register", json.dumps(registration).encode(), method="PUT"
    )
    urllib.request.urlopen(request).read()
print("listening", count, flush=True)
running[0].wait_for_termination()
