"""The chain adapter: one way to an Ethereum-like chain, whatever its engine.

web3 brings py_ecc, which raises the interpreter's recursion limit to 100,000 when it is imported. With that limit a deeply nested JSON
text, from a peer or a file, overflows the C stack and ends the process instead of raising RecursionError; so the limit is put back here, before anything
else of this package can import web3.
"""

import sys

_limit = sys.getrecursionlimit()
import eth_account  # noqa: E402, F401 - imported for its side effect, between reading and restoring the limit
import web3  # noqa: E402, F401 - likewise

sys.setrecursionlimit(_limit)
