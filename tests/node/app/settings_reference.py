"""Every setting of `kiteline.toml` as the tests know it, apart from the code: where it stands, its kind, its bounds."""

from __future__ import annotations

from pathlib import Path

from node.app.settings import Settings

# (table, setting): (least, most, what `kiteline init` writes)
NUMBERS = {
    ("node", "grace_seconds"): (0, 600, 5),
    ("chain", "anchor_interval_seconds"): (1, 86_400, 10),
    ("chain", "max_outage_seconds"): (0, 31_536_000, 86_400),
    ("chain", "finish_orders_seconds"): (0, 31_536_000, 0),
    ("exchange", "max_clock_skew_seconds"): (1, 86_400, 300),
    ("exchange", "delivery_segments"): (1, 64, 16),
    ("exchange", "max_outstanding_answers"): (1, 65_536, 1_024),
    ("audit", "retention_days"): (184, 36_500, 184),
    ("keys", "settle_seconds"): (0, 3_600, 10),
    ("keys", "retire_seconds"): (0, 86_400, 300),
    ("storage", "log_map_gigabytes"): (1, 65_536, 64),
    ("storage", "dataset_map_gigabytes"): (1, 65_536, 64),
    ("storage", "max_publish_gigabytes"): (1, 1_024, 4),
}
ADDRESSES = [("node", "listen"), ("node", "advertise"), ("metrics", "listen")]
TEXTS = [("node", "member_id"), ("node", "name"), ("node", "engine")]
PATHS = [
    ("node", "data_directory"),
    ("node", "keys_directory"),
    ("chain", "network_file"),
    ("chain", "contracts_file"),
    ("audit", "head_file"),
    ("keys", "agent"),
]
LISTS = [
    ("node", "client_certificates"),
    ("node", "security_certificates"),
    ("audit", "witnesses"),
    ("audit", "anchor_networks"),
]
OPTIONAL = [("node", "engine"), ("metrics", "listen"), ("keys", "agent")]
# Bounded by how many witnesses there are.
COUNTS = [("audit", "cosignatures_needed")]
ALL = [*NUMBERS, *COUNTS, *ADDRESSES, *TEXTS, *PATHS, *LISTS]


def complete(home: Path) -> Settings:
    """Settings with every optional one set."""
    return Settings(
        member_id="11370700004258746X",
        name="潍坊市民政局",
        listen="127.0.0.1:7001",
        advertise="kiteline.civil.example:7001",
        keys_directory=home / "keys",
        data_directory=home / "data",
        network_file=home / "network.toml",
        contracts_file=home / "contracts.toml",
        head_file=home / "audit.head",
        witnesses=("113707000042591160",),
        anchor_networks=(home / "networks" / "city",),
        client_certificates=(home / "keys" / "client.cert.pem",),
        security_certificates=(home / "keys" / "security.cert.pem",),
        metrics_listen="127.0.0.1:7901",
        engine="openssl",
        key_agent=home / "agent.sock",
    )
