// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title The heads of the members' logs.
/// @notice A log is known by its member and its id: what another member anchors under the same id is another log, so
/// that nobody can take an id or stand in its owner's way. A log's size only grows.
interface IAnchors {
    /// @notice The newest head of a log. `size` zero: never anchored.
    struct Head {
        bytes32 root;
        bytes32 noteDigest;
        uint64 size;
    }

    /// @notice One head among several that are anchored together.
    struct Anchoring {
        bytes32 log;
        uint64 size;
        bytes32 root;
        bytes32 noteDigest;
    }

    /// @notice The log id is zero.
    error LogInvalid(bytes32 log);
    /// @notice No head was given.
    error NothingToAnchor();
    /// @notice A log's size does not grow.
    error HeadDoesNotGrow(bytes32 log, uint64 from, uint64 to);

    /// @notice A head was anchored: size and root of the log, SM3 of the signed checkpoint.
    event Anchored(bytes32 indexed log, bytes32 indexed member, uint64 size, bytes32 root, bytes32 noteDigest);

    /// @notice Anchor a head of a log of the caller's member.
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32 noteDigest) external;

    /// @notice Anchor heads of several logs of the caller's member, or several heads of one in growing order: all of
    /// them, or none if one is refused.
    function anchorMany(Anchoring[] calldata anchorings) external;

    /// @notice The newest head of a member's log; all zero if there is none.
    function headOf(bytes32 member, bytes32 log) external view returns (Head memory head);
}
