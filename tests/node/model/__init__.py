"""Values and statements of the domain."""
