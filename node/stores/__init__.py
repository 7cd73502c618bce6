"""Where a node keeps its data: datasets, the ledger, what it received, its keys. Here and in the log alone LMDB is known."""
