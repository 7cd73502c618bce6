"""The endpoints of a network: JSON-RPC over HTTP, tried in order, each checked before it is believed.

An endpoint that fails is passed over until all have failed; the one that answered last is asked first. Before its first
answer counts, and again after each failure, an endpoint must show the configured chain id and, once contracts are
known, the deployment's block and the contracts' code.

An answer is of the request that it came for (JSON-RPC 2.0, section 5: the same id), whole, of a bounded size, and read in bounded time; whatever else
comes is no answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from eth_hash.auto import keccak
from urllib3.exceptions import HTTPError
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint

from node.chain.deployment import Deployment
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, Fault, hexadecimal, read_bytes, read_header, read_quantity
from node.chain.network import Network
from node.errors import ChainMismatch, ChainUnavailable

MAX_ANSWER_BYTES = 128 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024


class Endpoints:
    """A network's endpoints. Safe for use by several threads.

    Args:
        network: what to reach.
        deployment: the contracts that every endpoint must have; None only while there are none.
        monotonic: seconds from any beginning, that never step back.
    """

    def __init__(
        self,
        network: Network,
        deployment: Deployment | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if deployment is not None and deployment.chain_id != network.chain_id:
            raise ChainMismatch(
                f"the contracts are on chain {deployment.chain_id}, the network {network.name} is {network.chain_id}"
            )
        self._network = network
        self._deployment = deployment
        self._endpoints = [_Endpoint(url, network.timeout_seconds, monotonic) for url in network.endpoints]
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

    def doubt(self) -> None:
        """Believe no endpoint until it has shown once more which chain it serves."""
        for endpoint in self._endpoints:
            endpoint.verified = False

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

    def __init__(self, url: str, timeout_seconds: float, monotonic: Callable[[], float]) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.verified = False
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._session = requests.Session()
        self._session.headers["Content-Type"] = "application/json"
        self._codec = JSONBaseProvider()

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, parameters: tuple[object, ...]) -> object:
        """The result, or the Fault. Who asks decides when to ask again. Raises ChainUnavailable."""
        request = self._codec.encode_rpc_request(RPCEndpoint(method), list(parameters))
        try:
            answer: object = self._codec.decode_rpc_response(self._post(request))
        # requests' own errors are OSErrors; an answer that is nested too deeply ends in RecursionError.
        except (OSError, ValueError, RecursionError, HTTPError) as cause:
            raise ChainUnavailable(
                f"{self.name} does not answer {method}: {type(cause).__name__}", endpoint=self.name
            ) from cause
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise ChainUnavailable(f"{self.name} does not speak JSON-RPC", endpoint=self.name)
        error = answer.get("error")
        # Whoever could not read a request answers it with an error and no id.
        if answer.get("id") != json.loads(request)["id"] and (error is None or answer.get("id") is not None):
            raise ChainUnavailable(f"{self.name} answers another request than {method}", endpoint=self.name)
        return answer.get("result") if error is None else _fault(error)

    def _post(self, request: bytes) -> bytes:
        """The body of the answer, read to its end.

        The timeout holds for the connection and for each wait for bytes; the reading of the body ends by it as a whole, so that an endpoint
        that sends a byte now and then keeps nobody for long.
        """
        deadline = self._monotonic() + self._timeout_seconds
        # An endpoint is an address that the operator chose; it does not get to name another.
        with self._session.post(
            self._url, data=request, timeout=self._timeout_seconds, stream=True, allow_redirects=False
        ) as response:
            if response.status_code != requests.codes.ok:
                raise requests.HTTPError(f"status {response.status_code}", response=response)
            body = bytearray()
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise ValueError("the answer is longer than any answer is")
                if self._monotonic() > deadline:
                    raise requests.Timeout("the answer did not end in time")
        return bytes(body)


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
