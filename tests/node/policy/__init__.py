"""The rules that allow and refuse."""
