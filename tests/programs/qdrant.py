"""Qdrant's engine behind Qdrant's gRPC, for tests: `python qdrant.py PORT FOLDER`.

The engine is the one that Qdrant publishes as a library (`qdrant-edge-py`), the wire is the one that its client publishes
(`qdrant-client`). In between stands only what the memory of incidents asks: whether a collection exists, making one, upserting
points, and the nearest to a vector. Whatever else a request says is refused, so that no test passes because it was ignored.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import qdrant_edge as engine
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import grpc_to_payload, payload_to_grpc

DISTANCES = {
    wire.Distance.Cosine: engine.Distance.Cosine,
    wire.Distance.Euclid: engine.Distance.Euclid,
    wire.Distance.Dot: engine.Distance.Dot,
    wire.Distance.Manhattan: engine.Distance.Manhattan,
}


class Refused(Exception):
    """What the bridge or the engine says no to."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def only(message, *known):
    """Refuses a message that says more than the bridge carries over."""
    beyond = [field.name for field, _ in message.ListFields() if field.name not in known]
    if beyond:
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"{message.DESCRIPTOR.name}: {beyond} is not bridged")


def answered(call):
    """A method whose refusals reach the client as the status that they are."""

    def method(self, request, context):
        try:
            return call(self, request)
        except Refused as refused:
            context.abort(refused.code, str(refused))
        except Exception as error:  # The engine has one kind of error for all.
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return method


def numbers(dense):
    only(dense, "data")
    return list(dense.data)


def vector_of(vector):
    only(vector, "dense", "data")
    return numbers(vector.dense) if vector.HasField("dense") else list(vector.data)


def condition(one):
    only(one, "has_id")
    return engine.HasIdCondition({ident.num for ident in one.has_id.has_id})


class Collections(wire.CollectionsServicer):
    """One shard of the engine for each collection."""

    def __init__(self, folder):
        self.folder = folder
        self.shards = {}

    def shard(self, name):
        if name not in self.shards:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        return self.shards[name]

    @answered
    def CollectionExists(self, request):
        exists = wire.CollectionExists(exists=request.collection_name in self.shards)
        return wire.CollectionExistsResponse(result=exists)

    @answered
    def Create(self, request):
        only(request, "collection_name", "vectors_config")
        only(request.vectors_config, "params")
        params, name = request.vectors_config.params, request.collection_name
        only(params, "size", "distance")
        if name in self.shards:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Collection `{name}` already exists!")
        vectors = engine.EdgeVectorParams(size=params.size, distance=DISTANCES[params.distance])
        self.shards[name] = engine.EdgeShard.create(str(self.folder / name), engine.EdgeConfig(vectors=vectors))
        return wire.CollectionOperationResponse(result=True)


class Points(wire.PointsServicer):
    def __init__(self, collections):
        self.collections = collections

    @answered
    def Upsert(self, request):
        only(request, "collection_name", "wait", "points")
        points = []
        for point in request.points:
            only(point, "id", "vectors", "payload")
            only(point.vectors, "vector")
            vector, payload = vector_of(point.vectors.vector), grpc_to_payload(point.payload)
            points.append(engine.Point(point.id.num, vector, payload))
        self.collections.shard(request.collection_name).update(engine.UpdateOperation.upsert_points(points))
        return wire.PointsOperationResponse(result=wire.UpdateResult(status=wire.UpdateStatus.Completed))

    @answered
    def Query(self, request):
        only(request, "collection_name", "query", "filter", "limit", "with_payload")
        only(request.query, "nearest")
        only(request.query.nearest, "dense")
        only(request.filter, "must_not")
        asked = engine.QueryRequest(
            query=engine.Query.Nearest(numbers(request.query.nearest.dense)),
            filter=engine.Filter(must_not=[condition(one) for one in request.filter.must_not]),
            limit=request.limit,
            with_payload=request.with_payload.enable,
        )
        found = self.collections.shard(request.collection_name).query(asked)
        return wire.QueryResponse(result=[scored(point) for point in found])


def scored(point):
    return wire.ScoredPoint(
        id=wire.PointId(num=point.id),
        score=point.score,
        version=point.version,
        payload=payload_to_grpc(point.payload or {}),
    )


class Health(wire.QdrantServicer):
    @answered
    def HealthCheck(self, request):
        return wire.HealthCheckReply(title="qdrant engine behind a bridge", version="1.20.0")


def main():
    port, folder = sys.argv[1], Path(sys.argv[2])
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    collections = Collections(folder)
    wire.add_CollectionsServicer_to_server(collections, server)
    wire.add_PointsServicer_to_server(Points(collections), server)
    wire.add_QdrantServicer_to_server(Health(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
