#!/usr/bin/env python3
"""The official Python SDK, measured by itself: requests in JSON, one a line. `src/peers/programs.rs` asks them.

The keyring is made by `tests/interop/peer.py`, which has to be on the path.
"""
import base64
import io
import json
import sys
import time

import aws_encryption_sdk as esdk
from aws_encryption_sdk.identifiers import AlgorithmSuite

import peer

PIECE = 64 << 10
CLIENT = esdk.EncryptionSDKClient()


def through(stream):
    """Read all of a stream in pieces, and hand out each."""
    with stream:
        while piece := stream.read(PIECE):
            yield piece


def job(request):
    """Return the work of a request, which takes a function for each piece of the output."""
    key = base64.b64encode(bytes(request["test_key"])).decode()
    keyring = peer.keyring(
        {"type": "raw-aes", "namespace": request["namespace"], "name": request["name"], "key": key}
    )
    with open(request["input"], "rb") as file:
        data = file.read()
    args = {"keyring": keyring}
    if request["encrypt"]:
        args["algorithm"] = AlgorithmSuite.get_by_id(int(request["suite"], 16))
        args["frame_length"] = request["frame_length"]
    if not request["stream"]:
        call = CLIENT.encrypt if request["encrypt"] else CLIENT.decrypt
        return lambda out: out(call(source=data, **args)[0])
    mode = "e" if request["encrypt"] else "d"

    def stream(out):
        for piece in through(CLIENT.stream(mode=mode, source=io.BytesIO(data), **args)):
            out(piece)

    return stream


def main():
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "start":
            work = job(request)
            with open(request["output"], "wb") as file:
                work(file.write)
            answer = {}
        else:
            start = time.perf_counter()
            for _ in range(request["count"]):
                work(len)
            answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
