"""Makes the calls of gRPC that standard input names, and prints what came of each. Runs in the serving environment.

A line `{"target", "call", "body", "metadata", "cancelled", "compressed"}` gives a line `{"code", "details", "body"}`; bodies are base64.
"""

from __future__ import annotations

import base64
import json
import sys

import grpc

channels: dict[str, grpc.Channel] = {}
for line in sys.stdin:
    given = json.loads(line)
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    channel = channels.setdefault(given["target"], grpc.insecure_channel(given["target"], options))
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{given['call']}")
    metadata = list(given["metadata"].items())
    packed = grpc.Compression.Gzip if given.get("compressed") else None
    running = call.future(base64.b64decode(given["body"]), metadata=metadata, timeout=60, wait_for_ready=True, compression=packed)
    if given.get("cancelled"):
        running.cancel()
    try:
        answer = running.result()
        told = {"code": "OK", "details": "", "body": base64.b64encode(answer).decode()}
    except grpc.FutureCancelledError:
        told = {"code": "CANCELLED", "details": "", "body": ""}
    except grpc.RpcError as error:
        told = {"code": error.code().name, "details": error.details(), "body": ""}
    print(json.dumps(told), flush=True)
