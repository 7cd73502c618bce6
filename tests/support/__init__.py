"""Simulators behind the project's own interfaces."""
