#!/usr/bin/env python3
"""Writes the recorded conversations as seeds of the `conversation` target: corpus/conversation/NAME."""
import pathlib, struct

here = pathlib.Path(__file__).parent
out = here / "corpus" / "conversation"
out.mkdir(parents=True, exist_ok=True)
for path in (here.parent / "fixtures" / "l7").glob("*.txt"):
    seed = bytes([1 if path.name.startswith("dns-udp") else 2])
    for line in path.read_text().splitlines()[:60]:
        mark, _, _, data = line.split(" ")
        head = bytes.fromhex(data)[:600]
        seed += struct.pack("<BBH", 3 if mark == ">" else 2, 0, len(head)) + head
    (out / path.stem).write_bytes(seed)
