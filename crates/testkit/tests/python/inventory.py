"""A foreign service with its own proto and with reflection."""

import sys
from concurrent import futures
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection

sys.path.insert(0, str(Path(__file__).parent))
pb, services = grpc.protos_and_services("inventory.proto")


def tenant(context):
    return dict(context.invocation_metadata()).get("x-tenant", "")


class Inventory(services.InventoryServicer):
    def Count(self, item, context):
        if item.sku == "missing":
            detail = pb.Detail(
                type_url="type.googleapis.com/warehouse.v1.Item", value=item.SerializeToString()
            )
            refusal = pb.Refusal(
                code=grpc.StatusCode.NOT_FOUND.value[0], message="no such item", details=[detail]
            )
            context.set_trailing_metadata(
                (("x-shelf", "none"), ("grpc-status-details-bin", refusal.SerializeToString()))
            )
            context.abort(grpc.StatusCode.NOT_FOUND, "no such item")
        context.send_initial_metadata((("x-aisle", "4"),))
        context.set_trailing_metadata((("x-shelf", "7"),))
        return pb.Stock(sku=item.sku, quantity=42, tenant=tenant(context))

    def Watch(self, item, context):
        for quantity in range(3):
            yield pb.Stock(sku=item.sku, quantity=quantity, tenant=tenant(context))

    def Add(self, items, context):
        items = list(items)
        skus = ",".join(item.sku for item in items)
        return pb.Stock(sku=skus, quantity=sum(item.quantity for item in items))

    def Exchange(self, items, context):
        for item in items:
            yield pb.Stock(sku=item.sku, quantity=-item.quantity)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
services.add_InventoryServicer_to_server(Inventory(), server)
reflection.enable_server_reflection(
    ("warehouse.v1.Inventory", reflection.SERVICE_NAME), server
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"listening {port}", flush=True)
server.wait_for_termination()
