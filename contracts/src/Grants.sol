// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {ICatalogue} from "./interfaces/ICatalogue.sol";
import {IGrants} from "./interfaces/IGrants.sol";
import {IMembers} from "./interfaces/IMembers.sol";

/// @title Grants, as IGrants describes it.
contract Grants is IGrants {
    uint8 private constant NOT_SHARED = 2;

    IMembers private immutable _members;
    ICatalogue private immutable _catalogue;
    mapping(bytes32 grant => Grant) private _grants;

    constructor(IMembers members, ICatalogue catalogue) {
        _members = members;
        _catalogue = catalogue;
    }

    /// @inheritdoc IGrants
    function request(bytes32 grant, bytes32 dataset, bytes32 requestDigest) external {
        bytes32 requester = _members.memberOf(msg.sender);
        Grant storage found = _grants[grant];
        if (grant == 0 || found.state != State.None) revert GrantInvalid(grant);
        _checkOffered(dataset);
        found.dataset = dataset;
        found.requester = requester;
        found.requestDigest = requestDigest;
        found.state = State.Requested;
        emit GrantRequested(grant, dataset, requester, requestDigest);
    }

    /// @inheritdoc IGrants
    function approve(bytes32 grant, bytes32 termsDigest, uint64 expiry, uint32 quota) external {
        Grant storage found = _asProvider(grant, State.Requested);
        _checkOffered(found.dataset);
        if (_members.statusOf(found.requester) != IMembers.Status.Active) {
            revert RequesterNotActive(grant, found.requester);
        }
        // A validator may shift the time by seconds; expiries are days.
        if (expiry <= block.timestamp || quota == 0) revert TermsInvalid(expiry, quota);
        found.termsDigest = termsDigest;
        found.expiry = expiry;
        found.quota = quota;
        found.state = State.Approved;
        emit GrantApproved(grant, termsDigest, expiry, quota);
    }

    /// @inheritdoc IGrants
    function deny(bytes32 grant, bytes32 reasonDigest) external {
        _asProvider(grant, State.Requested).state = State.Denied;
        emit GrantDenied(grant, reasonDigest);
    }

    /// @inheritdoc IGrants
    function revoke(bytes32 grant, bytes32 reasonDigest) external {
        _asProvider(grant, State.Approved).state = State.Revoked;
        emit GrantRevoked(grant, reasonDigest);
    }

    /// @inheritdoc IGrants
    function close(bytes32 grant) external {
        Grant storage found = _known(grant);
        bytes32 member = _members.memberOf(msg.sender);
        if (found.requester != member) revert NotTheRequester(grant, member);
        if (found.state != State.Requested && found.state != State.Approved) revert StateInvalid(grant, found.state);
        found.state = State.Closed;
        emit GrantClosed(grant);
    }

    /// @inheritdoc IGrants
    function advance(bytes32 grant, uint64 sequence, bytes32 receiptDigest) external {
        _advance(grant, sequence, receiptDigest);
    }

    /// @inheritdoc IGrants
    function advanceMany(Advance[] calldata advances) external {
        if (advances.length == 0) revert NothingToAdvance();
        for (uint256 i = 0; i < advances.length; i++) {
            _advance(advances[i].grant, advances[i].sequence, advances[i].receiptDigest);
        }
    }

    /// @inheritdoc IGrants
    function grantOf(bytes32 grant) external view returns (Grant memory found) {
        return _known(grant);
    }

    function _advance(bytes32 grant, uint64 sequence, bytes32 receiptDigest) private {
        Grant storage found = _known(grant);
        _checkProvider(grant, found.dataset);
        // Receipts may come in after a revocation; what was delivered under the grant is still reported.
        if (found.expiry == 0) revert StateInvalid(grant, found.state);
        if (sequence <= found.sequence) revert SequenceDoesNotGrow(grant, found.sequence, sequence);
        found.sequence = sequence;
        emit GrantAdvanced(grant, sequence, receiptDigest);
    }

    function _known(bytes32 grant) private view returns (Grant storage found) {
        found = _grants[grant];
        if (found.state == State.None) revert GrantUnknown(grant);
    }

    function _asProvider(bytes32 grant, State needed) private view returns (Grant storage found) {
        found = _known(grant);
        _checkProvider(grant, found.dataset);
        if (found.state != needed) revert StateInvalid(grant, found.state);
    }

    function _checkProvider(bytes32 grant, bytes32 dataset) private view {
        bytes32 member = _members.memberOf(msg.sender);
        if (_catalogue.datasetOf(dataset).provider != member) revert NotTheProvider(grant, member);
    }

    function _checkOffered(bytes32 dataset) private view {
        ICatalogue.Dataset memory offered = _catalogue.datasetOf(dataset);
        if (offered.withdrawn || offered.sharingType == NOT_SHARED) revert DatasetNotOffered(dataset);
    }
}
