// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Who belongs to the consortium, in which role, with which keys.
/// @notice Membership changes by proposals that a threshold of authorities approves. A member rotates its own keys.
/// Of the three roles the authority's alone has an effect in the contracts. The auditor's is for the nodes, which show
/// an auditor every log; the department's states what a member is, and lets it do nothing that others cannot: every
/// active member may register datasets, request grants and anchor logs, whatever its roles.
/// Of the keys of an epoch each may be declared compromised by itself: kind 1 is the signing key, 2 the encryption key,
/// 3 the account, 4 the certificate.
/// Ids are the 18 ASCII characters of the unified social credit code, left-aligned and zero-padded.
interface IMembers {
    /// @notice Where a member stands. None: never admitted.
    enum Status {
        None,
        Active,
        Suspended,
        Removed
    }

    /// @notice What a proposal would do.
    enum Kind {
        Admission,
        StatusChange,
        RolesChange,
        ThresholdChange,
        Recovery
    }

    /// @notice The keys of one epoch. The points are 65 bytes, uncompressed; the certificate is DER.
    struct KeySet {
        bytes signingKey;
        bytes encryptionKey;
        address account;
        bytes certificate;
        string endpoint;
    }

    /// @notice A member to be admitted, with its first keys.
    struct Admission {
        bytes32 member;
        string name;
        uint8 roles;
        KeySet keys;
    }

    /// @notice The account is no active member's account in force, or was declared compromised.
    error NotAMember(address account);
    /// @notice The account is an active member's, but not an authority's.
    error NotAnAuthority(address account);
    /// @notice No member has this id.
    error MemberUnknown(bytes32 member);
    /// @notice The id belongs to a member already or is malformed, or the name is empty or longer than 256 bytes.
    error MemberInvalid(bytes32 member);
    /// @notice The roles are none, or beyond the three known ones.
    error RolesInvalid(uint8 roles);
    /// @notice A key is not 65 bytes that begin with 4; or the account, the certificate (at most 4,096 bytes) or the
    /// endpoint (at most 256) is missing or too long.
    error KeysInvalid();
    /// @notice The account belongs to a member already; accounts are never reused.
    error AccountTaken(address account);
    /// @notice A member cannot go from one status to the other.
    error StatusInvalid(bytes32 member, Status from, Status to);
    /// @notice The threshold is zero, or more than there are active authorities, or would become so.
    error ThresholdInvalid(uint256 threshold, uint256 authorities);
    /// @notice The member was removed, for good.
    error MemberIsRemoved(bytes32 member);
    /// @notice No proposal has this number.
    error ProposalUnknown(uint256 proposal);
    /// @notice The proposal was executed before.
    error ProposalExecuted(uint256 proposal);
    /// @notice This authority approved the proposal before.
    error AlreadyApproved(uint256 proposal, bytes32 authority);
    /// @notice The epoch that a rotation goes out from is not the one in force: another rotation was first.
    error EpochPassed(bytes32 member, uint32 given, uint32 current);
    /// @notice The epoch or the kind of key does not exist, or the time is zero, in the future, or not before what was
    /// declared already. Epoch 0: no epoch was named.
    error CompromiseInvalid(uint32 epoch, uint8 kind, uint64 since);

    /// @notice A member was admitted; its first keys follow in `KeysSet`.
    event MemberAdmitted(bytes32 indexed member, string name, uint8 roles);
    /// @notice A member's keys of a new epoch.
    event KeysSet(bytes32 indexed member, uint32 epoch, KeySet keys);
    /// @notice A member was suspended, reinstated or removed.
    event StatusChanged(bytes32 indexed member, Status status);
    /// @notice A member's roles changed.
    event RolesChanged(bytes32 indexed member, uint8 roles);
    /// @notice The number of approvals that a proposal needs changed.
    event ThresholdChanged(uint16 threshold);
    /// @notice A member declared that its key of one kind of an epoch may be in others' hands since a time (Unix seconds).
    event CompromiseDeclared(bytes32 indexed member, uint32 epoch, uint8 kind, uint64 since);
    /// @notice An authority proposed a change. `content` is the ABI encoding of what the kind needs.
    event Proposed(uint256 indexed proposal, bytes32 indexed authority, Kind kind, bytes content);
    /// @notice An authority approved a proposal.
    event Approved(uint256 indexed proposal, bytes32 indexed authority);
    /// @notice A proposal reached its threshold and was carried out.
    event Executed(uint256 indexed proposal);

    /// @notice Propose to admit a member. Authorities only; counts as the proposer's approval.
    function proposeAdmission(Admission calldata admission) external returns (uint256 proposal);

    /// @notice Propose to suspend, reinstate or remove a member. Authorities only.
    function proposeStatus(bytes32 member, Status status) external returns (uint256 proposal);

    /// @notice Propose to change a member's roles. Authorities only.
    function proposeRoles(bytes32 member, uint8 roles) external returns (uint256 proposal);

    /// @notice Propose another threshold. Authorities only.
    function proposeThreshold(uint16 threshold) external returns (uint256 proposal);

    /// @notice Propose to put new keys in force for a member that has lost its account, or whose account is in others'
    /// hands: a new epoch, with an account that no member ever had. Authorities only. The member, suspended or not, keeps
    /// its status, roles, datasets, grants and logs; the account before acts for nobody any more.
    function proposeRecovery(bytes32 member, KeySet calldata keys) external returns (uint256 proposal);

    /// @notice Approve a proposal; at the threshold it is carried out, and reverts with the error of what it would do.
    /// Authorities only, once each. An approval counts while its authority is active, in that role, and its account not compromised.
    function approve(uint256 proposal) external;

    /// @notice Put new keys in force for the caller's member, as a new epoch. `epoch` is the one in force that the caller
    /// goes out from, so that of two rotations that were begun from it only the first is carried out.
    function rotateKeys(KeySet calldata keys, uint32 epoch) external;

    /// @notice Declare that the caller's key of one kind of an epoch may be in others' hands since a time (Unix seconds). A
    /// later declaration can only name an earlier time. An account in force that is declared compromised acts for nobody
    /// from now on, not even to take that back: the member has no account until authorities propose a recovery for it. So
    /// who still has the account, and can make another, rotates first and declares afterwards. While its account is
    /// compromised an authority counts as one that is not active, and an authority that the threshold needs is refused
    /// with ThresholdInvalid: nobody who stole an account can keep the others from recovering it.
    function declareCompromise(uint32 epoch, uint8 kind, uint64 since) external;

    /// @notice Declare the same of several epochs, as a key needs that stood unchanged in all of them: all or none.
    function declareCompromises(uint32[] calldata epochs, uint8 kind, uint64 since) external;

    /// @notice The active member whose account in force this is, unless that was declared compromised. Reverts with
    /// NotAMember.
    function memberOf(address account) external view returns (bytes32 member);

    /// @notice Where a member stands.
    function statusOf(bytes32 member) external view returns (Status status);

    /// @notice A member's roles, one or several added up: 1 department, 2 authority, 4 auditor.
    function rolesOf(bytes32 member) external view returns (uint8 roles);

    /// @notice The epoch of a member's keys in force; the first is 1.
    function epochOf(bytes32 member) external view returns (uint32 epoch);

    /// @notice keccak256 of the ABI encoding of a member's keys of an epoch.
    function keyDigestOf(bytes32 member, uint32 epoch) external view returns (bytes32 digest);

    /// @notice Approvals that a proposal needs.
    function threshold() external view returns (uint16 count);

    /// @notice Active members with the authority's role whose account is not declared compromised.
    function authorities() external view returns (uint16 count);
}
