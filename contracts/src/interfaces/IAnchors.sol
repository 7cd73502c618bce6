// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title The heads of the members' logs.
/// @notice A log belongs to the member that anchored it first; its size only grows.
interface IAnchors {
    /// @notice The newest head of a log. `member` zero: never anchored.
    struct Head {
        bytes32 member;
        bytes32 root;
        bytes32 noteDigest;
        uint64 size;
    }

    /// @notice The log id is zero.
    error LogInvalid(bytes32 log);
    /// @notice The log belongs to another member.
    error NotTheOwner(bytes32 log, bytes32 member);
    /// @notice A log's size does not grow.
    error HeadDoesNotGrow(bytes32 log, uint64 from, uint64 to);

    /// @notice A head was anchored: size and root of the log, SM3 of the signed checkpoint.
    event Anchored(bytes32 indexed log, bytes32 indexed member, uint64 size, bytes32 root, bytes32 noteDigest);

    /// @notice Anchor a head of a log of the caller's member.
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32 noteDigest) external;

    /// @notice The newest head of a log; all zero if there is none.
    function headOf(bytes32 log) external view returns (Head memory head);
}
