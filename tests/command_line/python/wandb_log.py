"""Prints what an offline run of Weights & Biases holds: its configuration and its history.

The file is a log as LevelDB writes it: after 7 bytes of header, blocks of 32 KiB that hold pieces of
records, each with checksum, length and kind (1 whole, 2 first, 3 middle, 4 last).
"""

import json
import pathlib
import struct
import sys

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768


def records(data):
    record, at = b"", 7
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        piece, at = data[at + 7 : at + 7 + length], at + 7 + length
        record = piece if kind in (1, 2) else record + piece
        if kind in (1, 4):
            yield Record.FromString(record)


def values(items):
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


config, history = {}, []
(path,) = pathlib.Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")
for record in records(path.read_bytes()):
    kind = record.WhichOneof("record_type")
    if kind == "run":
        config.update(values(record.run.config.update))
    elif kind == "history":
        history.append(values(record.history.item) | {"step": record.history.step.num})
print(json.dumps({"config": config, "history": history}))
