"""The composition root: configuration, the parts put together, start and stop."""
