// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Who may have which dataset, until when, how often.
/// @notice Requests and decisions are notes that travel between nodes; here stand their SM3 digests. A grant's id is 32
/// random bytes: whoever takes one first has it, and the other asks again under another id.
interface IGrants {
    /// @notice Where a grant stands. Expiry is a matter of time and not of state.
    enum State {
        None,
        Requested,
        Approved,
        Denied,
        Revoked,
        Closed
    }

    /// @notice A grant. `sequence`: number of the newest delivery that has a receipt and was reported.
    struct Grant {
        bytes32 dataset;
        bytes32 requester;
        bytes32 requestDigest;
        bytes32 termsDigest;
        State state;
        uint64 expiry;
        uint32 quota;
        uint64 sequence;
    }

    /// @notice How far one grant among several has come: the newest sequence number with a receipt, and its digest.
    struct Advance {
        bytes32 grant;
        uint64 sequence;
        bytes32 receiptDigest;
    }

    /// @notice No grant has this id.
    error GrantUnknown(bytes32 grant);
    /// @notice The id is taken, or zero.
    error GrantInvalid(bytes32 grant);
    /// @notice The grant is in another state than the call needs.
    error StateInvalid(bytes32 grant, State state);
    /// @notice The caller's member does not provide the grant's dataset.
    error NotTheProvider(bytes32 grant, bytes32 member);
    /// @notice The caller's member did not ask for this grant.
    error NotTheRequester(bytes32 grant, bytes32 member);
    /// @notice The dataset is withdrawn or not shared.
    error DatasetNotOffered(bytes32 dataset);
    /// @notice The requester is suspended or removed.
    error RequesterNotActive(bytes32 grant, bytes32 requester);
    /// @notice The expiry lies in the past, or the quota is zero.
    error TermsInvalid(uint64 expiry, uint32 quota);
    /// @notice No grant was named.
    error NothingToAdvance();
    /// @notice A sequence number does not grow.
    error SequenceDoesNotGrow(bytes32 grant, uint64 from, uint64 to);

    /// @notice A member asked for a dataset.
    event GrantRequested(
        bytes32 indexed grant,
        bytes32 indexed dataset,
        bytes32 indexed requester,
        bytes32 requestDigest
    );
    /// @notice The provider approved; `expiry` in Unix seconds, `quota` in orders.
    event GrantApproved(bytes32 indexed grant, bytes32 termsDigest, uint64 expiry, uint32 quota);
    /// @notice The provider denied.
    event GrantDenied(bytes32 indexed grant, bytes32 reasonDigest);
    /// @notice The provider revoked what it had approved.
    event GrantRevoked(bytes32 indexed grant, bytes32 reasonDigest);
    /// @notice The requester gave the grant back.
    event GrantClosed(bytes32 indexed grant);
    /// @notice Deliveries up to `sequence` have receipts; the digest is of the newest one.
    event GrantAdvanced(bytes32 indexed grant, uint64 sequence, bytes32 receiptDigest);

    /// @notice Ask for a dataset. The caller's member becomes the requester.
    function request(bytes32 grant, bytes32 dataset, bytes32 requestDigest) external;

    /// @notice Approve a request of an active member. The dataset's provider only. A grant outlives a later suspension
    /// of its requester; nodes deliver to active members only, and the provider can revoke it.
    function approve(bytes32 grant, bytes32 termsDigest, uint64 expiry, uint32 quota) external;

    /// @notice Deny a request. The dataset's provider only.
    function deny(bytes32 grant, bytes32 reasonDigest) external;

    /// @notice Revoke an approved grant. The dataset's provider only.
    function revoke(bytes32 grant, bytes32 reasonDigest) external;

    /// @notice Give a grant back, or a request. The requester only.
    function close(bytes32 grant) external;

    /// @notice Report the newest receipt. The dataset's provider only; the sequence number must grow.
    function advance(bytes32 grant, uint64 sequence, bytes32 receiptDigest) external;

    /// @notice Report the newest receipts of several grants of the caller's datasets, in this order: all of them, or none
    /// if one is refused.
    function advanceMany(Advance[] calldata advances) external;

    /// @notice The grant of this id. Reverts with GrantUnknown.
    function grantOf(bytes32 grant) external view returns (Grant memory found);
}
