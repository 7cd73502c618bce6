"""The one adapter to the chain: reads it into an index, writes to it through a journal. A network is data, not code."""
