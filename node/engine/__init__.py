"""Starts the engine that a network file describes on this machine: one process, or several validators with keys and peers.

For trying out and for tests: a consortium's validators belong to several organisations and are started by each, as the network's
folder says. Nothing here knows an engine by name; what has to be known is the file's table `engine`.
"""
