"""What an operator or a security team runs besides the node."""
