// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IAnchors} from "./interfaces/IAnchors.sol";
import {IMembers} from "./interfaces/IMembers.sol";

/// @title Anchors, as IAnchors describes it.
contract Anchors is IAnchors {
    IMembers private immutable _members;
    mapping(bytes32 log => Head) private _heads;

    constructor(IMembers members) {
        _members = members;
    }

    /// @inheritdoc IAnchors
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32 noteDigest) external {
        bytes32 member = _members.memberOf(msg.sender);
        if (log == 0) revert LogInvalid(log);
        Head storage head = _heads[log];
        if (head.member != 0 && head.member != member) revert NotTheOwner(log, member);
        if (size <= head.size) revert HeadDoesNotGrow(log, head.size, size);
        head.member = member;
        head.root = root;
        head.noteDigest = noteDigest;
        head.size = size;
        emit Anchored(log, member, size, root, noteDigest);
    }

    /// @inheritdoc IAnchors
    function headOf(bytes32 log) external view returns (Head memory head) {
        return _heads[log];
    }
}
