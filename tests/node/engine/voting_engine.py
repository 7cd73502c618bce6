"""An engine for tests: a process a validator that speaks JSON-RPC, and votes that count. Its whole network is one file.

    serve PORT HOME ACCOUNT     a validator; a block comes with every question for the height, while more than half of the validators run
    list HOME                   prints the validators
    vote HOME ACCOUNT WHOM yes  a vote of ACCOUNT's; `no` against

The JSON-RPC has `votes_list` and `votes_cast` (account, true or false) for the same. It stands where a real engine does, behind the same command lines and the same JSON-RPC; what it leaves out is the consensus.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

FILE = "chain.json"


@contextmanager
def chain(home: Path) -> Iterator[dict[str, Any]]:
    """The network's file, locked; what is changed in it is written back."""
    with (home.parent.parent / FILE).open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # The first to come makes it of the founders, as a genesis is.
        text = file.read()
        document = (
            json.loads(text)
            if text
            else {
                "validators": _founders(home),
                "votes": {},
                "running": {},
                "height": 0,
            }
        )
        yield document
        file.seek(0)
        file.truncate()
        file.write(json.dumps(document))


def _founders(home: Path) -> list[str]:
    digits = json.loads((home / "genesis.json").read_text(encoding="ascii"))
    return [f"0x{digits[start : start + 40]}" for start in range(0, len(digits), 40)]


def makes_blocks(document: dict[str, Any]) -> bool:
    """Whether more than half of the validators run."""
    running = [one for one in document["validators"] if Path(f"/proc/{document['running'].get(one, 0)}").exists()]
    return 2 * len(running) > len(document["validators"])


def serve(port: int, home: Path, account: str) -> None:
    """Run a validator."""
    with chain(home) as document:
        document["running"][account] = os.getpid()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with chain(home) as document:
                if request["method"] == "eth_blockNumber" and makes_blocks(document):
                    document["height"] += 1
                numbers = {"eth_chainId": 7, "eth_blockNumber": document["height"], "net_peerCount": 1}
                results: dict[str, object] = {name: hex(number) for name, number in numbers.items()}
                results |= {"votes_list": document["validators"], "votes_cast": True}
            if request["method"] == "votes_cast":
                whom, wanted = request["params"]
                vote(home, account, whom, "yes" if wanted is True else "no")
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": results[request["method"]]}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def vote(home: Path, account: str, whom: str, word: str) -> None:
    """Count a vote; more than half of the validators decide."""
    with chain(home) as document:
        if account not in document["validators"]:
            sys.exit(f"{account} has no vote")
        votes = document["votes"].setdefault(whom, {})
        votes[account] = word
        for decided in ("yes", "no"):
            if 2 * list(votes.values()).count(decided) > len(document["validators"]):
                others = [one for one in document["validators"] if one != whom]
                document["validators"] = sorted([*others, whom] if decided == "yes" else others)
                document["votes"].pop(whom, None)


if __name__ == "__main__":
    _, verb, *words = sys.argv
    if verb == "serve":
        serve(int(words[0]), Path(words[1]), words[2].lower())
    elif verb == "list":
        with chain(Path(words[0])) as known:
            sys.stdout.write(f"{known['validators']}\n")
    else:
        vote(Path(words[0]), words[1].lower(), words[2], words[3])
