"""The endpoints of a network: JSON-RPC over HTTP, tried in order, each checked before it is believed.

An endpoint that fails is passed over until all have failed; the one that answered last is asked first. Before its first
answer counts, and again after each failure, an endpoint must show the configured chain id and, once contracts are
known, the deployment's block and the contracts' code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from eth_hash.auto import keccak
from web3 import HTTPProvider
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from node.chain.deployment import Deployment
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, Fault, hexadecimal, read_bytes, read_header, read_quantity
from node.chain.network import Network
from node.errors import ChainMismatch, ChainUnavailable


class Endpoints:
    """A network's endpoints. Safe for use by several threads.

    Args:
        network: what to reach.
        deployment: the contracts that every endpoint must have; None only while there are none.
    """

    def __init__(self, network: Network, deployment: Deployment | None = None) -> None:
        if deployment is not None and deployment.chain_id != network.chain_id:
            raise ChainMismatch(
                f"the contracts are on chain {deployment.chain_id}, the network {network.name} is {network.chain_id}"
            )
        self._network = network
        self._deployment = deployment
        self._endpoints = [_Endpoint(url, network.timeout_seconds) for url in network.endpoints]
        self._preferred = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    def check(self) -> None:
        """Check every endpoint that answers. Raises ChainMismatch if one serves something else, ChainUnavailable if
        none answers.
        """
        reached = 0
        failure: ChainUnavailable | None = None
        for endpoint in self._endpoints:
            try:
                self._verify(endpoint)
                reached += 1
            except ChainUnavailable as cause:
                failure = cause
        if failure is not None and not reached:
            raise failure

    def ask(self, method: str, *parameters: object) -> object:
        """The result of a call that has no business failing. Raises ChainUnavailable, ChainMismatch."""
        answer = self.attempt(method, *parameters)
        if isinstance(answer, Fault):
            raise ChainUnavailable(f"the chain refused {method}: {answer.message}", method=method, code=answer.code)
        return answer

    def attempt(self, method: str, *parameters: object) -> object:
        """The result of a call, or the Fault that the endpoint answered. Raises ChainUnavailable, ChainMismatch."""
        return self._first_of(lambda endpoint: endpoint.call(method, parameters))

    def _first_of(self, use: Callable[[_Endpoint], object]) -> object:
        with self._lock:
            first = self._preferred
        count = len(self._endpoints)
        failures: list[ChainUnavailable | ChainMismatch] = []
        for index in ((first + step) % count for step in range(count)):
            endpoint = self._endpoints[index]
            try:
                if not endpoint.verified:
                    self._verify(endpoint)
                answer = use(endpoint)
            except (ChainUnavailable, ChainMismatch) as cause:
                endpoint.verified = False
                failures.append(cause)
                continue
            with self._lock:
                self._preferred = index
            return answer
        # A wrong chain needs a person, a silent one may come back: the first is the more useful to report.
        raise next((failure for failure in failures if isinstance(failure, ChainMismatch)), failures[0])

    def _verify(self, endpoint: _Endpoint) -> None:
        chain_id = read_quantity(_result(endpoint, "eth_chainId"))
        if chain_id != self._network.chain_id:
            raise ChainMismatch(
                f"{endpoint.name} serves chain {chain_id}, not {self._network.chain_id}",
                endpoint=endpoint.name,
                found=chain_id,
                wanted=self._network.chain_id,
            )
        if self._deployment is not None:
            self._verify_deployment(endpoint, self._deployment)
        endpoint.verified = True

    def _verify_deployment(self, endpoint: _Endpoint, deployment: Deployment) -> None:
        for name, contract in deployment.contracts.items():
            code = read_bytes(_result(endpoint, "eth_getCode", hexadecimal(contract.address), "latest"))
            if keccak(code) != contract.code_hash:
                what = "other code" if code else "no code"
                raise ChainMismatch(
                    f"{endpoint.name} has {what} at the address of {name}, {hexadecimal(contract.address)}",
                    endpoint=endpoint.name,
                    contract=name,
                )
        header = read_header(_result(endpoint, "eth_getBlockByNumber", hex(deployment.block), WITHOUT_TRANSACTIONS))
        if header is None or header.hash != deployment.block_hash:
            raise ChainMismatch(
                f"{endpoint.name} has another block {deployment.block} than the one that the contracts began in",
                endpoint=endpoint.name,
            )


class _Endpoint:
    """One address. `name`: host and port, since an address may carry a password."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.verified = False
        self._session = requests.Session()
        self._provider = HTTPProvider(
            url,
            request_kwargs={"timeout": timeout_seconds},
            session=self._session,
            exception_retry_configuration=None,  # who asks decides when to ask again
        )

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, parameters: tuple[object, ...]) -> object:
        try:
            answer = self._provider.make_request(RPCEndpoint(method), list(parameters))
        except (OSError, ValueError, Web3Exception) as cause:  # requests' own errors are OSErrors
            raise ChainUnavailable(
                f"{self.name} does not answer {method}: {type(cause).__name__}", endpoint=self.name
            ) from cause
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise ChainUnavailable(f"{self.name} does not speak JSON-RPC", endpoint=self.name)
        error = answer.get("error")
        return answer.get("result") if error is None else _fault(error)


def _result(endpoint: _Endpoint, method: str, *parameters: object) -> object:
    answer = endpoint.call(method, parameters)
    if isinstance(answer, Fault):
        raise ChainUnavailable(f"{endpoint.name} refused {method}: {answer.message}", endpoint=endpoint.name)
    return answer


def _fault(error: object) -> Fault:
    """The error object, whatever shape an engine gives its `data`: the bytes themselves, or an object around them."""
    if not isinstance(error, dict):
        return Fault(0, str(error))
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data") or data.get("output")
    try:
        returned = bytes.fromhex(data.removeprefix("0x")) if isinstance(data, str) else b""
    except ValueError:
        returned = b""  # some engines put a sentence there
    code = error.get("code")
    return Fault(code if isinstance(code, int) else 0, str(error.get("message", "")), returned)
