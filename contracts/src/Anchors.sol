// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IAnchors} from "./interfaces/IAnchors.sol";
import {IMembers} from "./interfaces/IMembers.sol";

/// @title Anchors, as IAnchors describes it.
contract Anchors is IAnchors {
    IMembers private immutable _members;
    mapping(bytes32 member => mapping(bytes32 log => Head)) private _heads;

    constructor(IMembers members) {
        _members = members;
    }

    /// @inheritdoc IAnchors
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32 noteDigest) external {
        _anchor(_members.memberOf(msg.sender), log, size, root, noteDigest);
    }

    /// @inheritdoc IAnchors
    function anchorMany(Anchoring[] calldata anchorings) external {
        bytes32 member = _members.memberOf(msg.sender);
        if (anchorings.length == 0) revert NothingToAnchor();
        for (uint256 i = 0; i < anchorings.length; i++) {
            Anchoring calldata found = anchorings[i];
            _anchor(member, found.log, found.size, found.root, found.noteDigest);
        }
    }

    /// @inheritdoc IAnchors
    function headOf(bytes32 member, bytes32 log) external view returns (Head memory head) {
        return _heads[member][log];
    }

    function _anchor(bytes32 member, bytes32 log, uint64 size, bytes32 root, bytes32 noteDigest) private {
        if (log == 0) revert LogInvalid(log);
        Head storage head = _heads[member][log];
        if (size <= head.size) revert HeadDoesNotGrow(log, head.size, size);
        head.root = root;
        head.noteDigest = noteDigest;
        head.size = size;
        emit Anchored(log, member, size, root, noteDigest);
    }
}
