"""`ask_mlserver.py PORT ROWS TYPES`: asks by gRPC, with typed contents, raw ones and a fault; prints what came. MLServer's environment."""

from __future__ import annotations

import json
import struct
import sys

import grpc
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

KINDS = {"INT64": "q", "FP64": "d"}


def main(port: str, rows: list[dict], types: dict[str, str]) -> None:
    """Ask three times."""
    stub = GRPCInferenceServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def request(raw: bool) -> messages.ModelInferRequest:
        asked = messages.ModelInferRequest(model_name="good")
        for name, datatype in types.items():
            values = [row.get(name) for row in rows]
            given = asked.inputs.add(name=name, datatype=datatype, shape=[len(rows)])
            if datatype == "FP64":
                values = [float("nan") if value is None else value for value in values]
            if datatype == "BYTES":
                words = [value.encode() for value in values]
                if raw:
                    asked.raw_input_contents.append(b"".join(struct.pack("<I", len(word)) + word for word in words))
                else:
                    given.contents.bytes_contents.extend(words)
            elif raw:
                asked.raw_input_contents.append(struct.pack(f"<{len(values)}{KINDS[datatype]}", *values))
            else:
                getattr(given.contents, {"INT64": "int64_contents", "FP64": "fp64_contents"}[datatype]).extend(values)
        return asked

    def read(answer: messages.ModelInferResponse) -> list[list]:
        scores, names = answer.outputs
        if answer.raw_output_contents:
            raw = answer.raw_output_contents[0]
            return [list(struct.unpack(f"<{len(raw) // 8}d", raw)), ["on_time", "late"]]
        return [list(scores.contents.fp64_contents), [name.decode() for name in names.contents.bytes_contents]]

    typed, raw = (read(stub.ModelInfer(request(raw))) for raw in (False, True))
    asked = request(raw=False)
    del asked.inputs[0]
    try:
        stub.ModelInfer(asked)
    except grpc.RpcError as error:
        print(json.dumps({"typed": typed, "raw": raw, "refused": [error.code().name, error.details()]}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
