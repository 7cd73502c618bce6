"""Real chains and real node processes."""
