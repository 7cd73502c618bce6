// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {IMembers} from "./interfaces/IMembers.sol";

/// @title Members, as IMembers describes it.
contract Members is IMembers {
    uint8 private constant AUTHORITY = 2;
    uint8 private constant ALL_ROLES = 7;
    uint256 private constant MEMBER_ID_LENGTH = 18;
    uint256 private constant POINT_LENGTH = 65;
    bytes1 private constant UNCOMPRESSED = 0x04;
    uint8 private constant ACCOUNT_KEY = 3;
    uint8 private constant KEY_KINDS = 4;
    uint256 private constant MAX_CERTIFICATE_LENGTH = 4096;
    uint256 private constant MAX_TEXT_LENGTH = 256;

    /// @dev One slot: status, roles, epoch in force, the account in force, the first epoch that it stood in, and whether
    /// it was declared compromised. An account that was replaced never comes back, so it stands in every epoch from that
    /// first one on.
    struct Record {
        Status status;
        uint8 roles;
        uint32 epoch;
        address account;
        uint32 accountEpoch;
        bool accountCompromised;
    }

    /// @dev `content` is the ABI encoding that the kind needs; empty: unknown proposal. The approvers are kept one by
    /// one, and counted anew at each approval, because an approval lapses with its authority.
    struct Proposal {
        Kind kind;
        bool executed;
        bytes content;
        bytes32[] approvers;
    }

    /// @inheritdoc IMembers
    uint16 public threshold;
    /// @inheritdoc IMembers
    uint16 public authorities;

    uint256 private _proposalCount;
    mapping(bytes32 member => Record) private _records;
    mapping(bytes32 member => mapping(uint32 epoch => bytes32 digest)) private _keyDigests;
    /// @dev One slot an epoch: since when its key of each kind, from 1 on, is declared compromised; 0: it is not.
    mapping(bytes32 member => mapping(uint32 epoch => uint64[KEY_KINDS] since)) private _compromises;
    /// @dev Every account that ever belonged to a member; accounts are never reused.
    mapping(address account => bytes32 member) private _owners;
    mapping(uint256 number => Proposal) private _proposals;

    constructor(Admission[] memory founders, uint16 initialThreshold) {
        for (uint256 i = 0; i < founders.length; i++) {
            _admit(founders[i]);
        }
        _setThreshold(initialThreshold);
    }

    /// @inheritdoc IMembers
    function proposeAdmission(Admission calldata admission) external returns (uint256 proposal) {
        return _propose(Kind.Admission, abi.encode(admission));
    }

    /// @inheritdoc IMembers
    function proposeStatus(bytes32 member, Status status) external returns (uint256 proposal) {
        return _propose(Kind.StatusChange, abi.encode(member, status));
    }

    /// @inheritdoc IMembers
    function proposeRoles(bytes32 member, uint8 roles) external returns (uint256 proposal) {
        return _propose(Kind.RolesChange, abi.encode(member, roles));
    }

    /// @inheritdoc IMembers
    function proposeThreshold(uint16 newThreshold) external returns (uint256 proposal) {
        return _propose(Kind.ThresholdChange, abi.encode(newThreshold));
    }

    /// @inheritdoc IMembers
    function proposeRecovery(bytes32 member, KeySet calldata keys) external returns (uint256 proposal) {
        return _propose(Kind.Recovery, abi.encode(member, keys));
    }

    /// @inheritdoc IMembers
    function approve(uint256 proposal) external {
        _approve(proposal, _authority());
    }

    /// @inheritdoc IMembers
    function rotateKeys(KeySet calldata keys, uint32 epoch) external {
        bytes32 member = memberOf(msg.sender);
        uint32 current = _records[member].epoch;
        if (epoch != current) revert EpochPassed(member, epoch, current);
        _setKeys(member, keys);
    }

    /// @inheritdoc IMembers
    function declareCompromise(uint32 epoch, uint8 kind, uint64 since) external {
        _declareCompromise(memberOf(msg.sender), epoch, kind, since);
    }

    /// @inheritdoc IMembers
    function declareCompromises(uint32[] calldata epochs, uint8 kind, uint64 since) external {
        bytes32 member = memberOf(msg.sender);
        if (epochs.length == 0) revert CompromiseInvalid(0, kind, since);
        for (uint256 i = 0; i < epochs.length; i++) {
            _declareCompromise(member, epochs[i], kind, since);
        }
    }

    /// @inheritdoc IMembers
    function memberOf(address account) public view returns (bytes32 member) {
        member = _owners[account];
        Record storage record = _records[member];
        if (record.status != Status.Active || record.account != account || record.accountCompromised) {
            revert NotAMember(account);
        }
    }

    /// @inheritdoc IMembers
    function statusOf(bytes32 member) external view returns (Status status) {
        return _records[member].status;
    }

    /// @inheritdoc IMembers
    function rolesOf(bytes32 member) external view returns (uint8 roles) {
        return _records[member].roles;
    }

    /// @inheritdoc IMembers
    function epochOf(bytes32 member) external view returns (uint32 epoch) {
        return _records[member].epoch;
    }

    /// @inheritdoc IMembers
    function keyDigestOf(bytes32 member, uint32 epoch) external view returns (bytes32 digest) {
        return _keyDigests[member][epoch];
    }

    function _authority() private view returns (bytes32 member) {
        member = memberOf(msg.sender);
        if (!_isAuthority(member)) revert NotAnAuthority(msg.sender);
    }

    function _isAuthority(bytes32 member) private view returns (bool) {
        Record storage record = _records[member];
        return record.status == Status.Active && record.roles & AUTHORITY != 0 && !record.accountCompromised;
    }

    /// @dev Count the active authorities anew after a change of one member, which was one of them before or was not.
    function _recount(bytes32 member, bool before) private {
        bool after_ = _isAuthority(member);
        if (before && !after_) authorities -= 1;
        if (!before && after_) authorities += 1;
        _checkThreshold(threshold);
    }

    function _declareCompromise(bytes32 member, uint32 epoch, uint8 kind, uint64 since) private {
        Record storage record = _records[member];
        if (
            epoch == 0 || epoch > record.epoch || kind == 0 || kind > KEY_KINDS || since == 0 || since > block.timestamp
        ) revert CompromiseInvalid(epoch, kind, since);
        uint64 declared = _compromises[member][epoch][kind - 1];
        // Only ever backwards: whoever stole the account must not clear the time before the theft came to light.
        if (declared != 0 && since >= declared) revert CompromiseInvalid(epoch, kind, since);
        _compromises[member][epoch][kind - 1] = since;
        if (kind == ACCOUNT_KEY && epoch >= record.accountEpoch && !record.accountCompromised) {
            bool before = _isAuthority(member);
            record.accountCompromised = true;
            // A thief who declares this of an authority's account must not leave too few to recover it.
            _recount(member, before);
        }
        emit CompromiseDeclared(member, epoch, kind, since);
    }

    function _propose(Kind kind, bytes memory content) private returns (uint256 number) {
        bytes32 authority = _authority();
        number = ++_proposalCount;
        Proposal storage proposal = _proposals[number];
        proposal.kind = kind;
        proposal.content = content;
        emit Proposed(number, authority, kind, content);
        _approve(number, authority);
    }

    function _approve(uint256 number, bytes32 authority) private {
        Proposal storage proposal = _proposals[number];
        if (proposal.content.length == 0) revert ProposalUnknown(number);
        if (proposal.executed) revert ProposalExecuted(number);
        uint256 approvals = 1;
        for (uint256 i = 0; i < proposal.approvers.length; i++) {
            bytes32 approver = proposal.approvers[i];
            if (approver == authority) revert AlreadyApproved(number, authority);
            if (_isAuthority(approver)) approvals += 1;
        }
        proposal.approvers.push(authority);
        emit Approved(number, authority);
        if (approvals >= threshold) {
            proposal.executed = true;
            _execute(proposal.kind, proposal.content);
            emit Executed(number);
        }
    }

    function _execute(Kind kind, bytes memory content) private {
        if (kind == Kind.Admission) {
            _admit(abi.decode(content, (Admission)));
        } else if (kind == Kind.StatusChange) {
            (bytes32 member, Status status) = abi.decode(content, (bytes32, Status));
            _setStatus(member, status);
        } else if (kind == Kind.RolesChange) {
            (bytes32 member, uint8 roles) = abi.decode(content, (bytes32, uint8));
            _setRoles(member, roles);
        } else if (kind == Kind.ThresholdChange) {
            _setThreshold(abi.decode(content, (uint16)));
        } else {
            (bytes32 member, KeySet memory keys) = abi.decode(content, (bytes32, KeySet));
            _recover(member, keys);
        }
    }

    function _admit(Admission memory admission) private {
        bytes32 member = admission.member;
        Record storage record = _records[member];
        if (
            !_isCreditCode(member) || record.status != Status.None || bytes(admission.name).length == 0
                || bytes(admission.name).length > MAX_TEXT_LENGTH
        ) revert MemberInvalid(member);
        if (admission.roles == 0 || admission.roles > ALL_ROLES) revert RolesInvalid(admission.roles);
        record.status = Status.Active;
        record.roles = admission.roles;
        if (admission.roles & AUTHORITY != 0) authorities += 1;
        emit MemberAdmitted(member, admission.name, admission.roles);
        _setKeys(member, admission.keys);
    }

    function _recover(bytes32 member, KeySet memory keys) private {
        Record storage record = _records[member];
        if (record.status == Status.None) revert MemberUnknown(member);
        if (record.status == Status.Removed) revert MemberIsRemoved(member);
        // The lost account too: who has an account rotates by itself, and no council changes keys behind its back.
        if (_owners[keys.account] != 0) revert AccountTaken(keys.account);
        _setKeys(member, keys);
    }

    function _setKeys(bytes32 member, KeySet memory keys) private {
        if (
            !_isPoint(keys.signingKey) || !_isPoint(keys.encryptionKey)
                || keys.account == address(0) || keys.certificate.length == 0
                || keys.certificate.length > MAX_CERTIFICATE_LENGTH || bytes(keys.endpoint).length == 0
                || bytes(keys.endpoint).length > MAX_TEXT_LENGTH
        ) revert KeysInvalid();
        Record storage record = _records[member];
        if (keys.account != record.account) {
            if (_owners[keys.account] != 0) revert AccountTaken(keys.account);
            _owners[keys.account] = member;
            bool before = _isAuthority(member);
            record.account = keys.account;
            record.accountEpoch = record.epoch + 1;
            record.accountCompromised = false;
            if (_isAuthority(member) && !before) authorities += 1;
        }
        record.epoch += 1;
        _keyDigests[member][record.epoch] = keccak256(abi.encode(keys));
        emit KeysSet(member, record.epoch, keys);
    }

    /// @dev Whether it has the form of a point. Whether it is on the curve, every node judges for itself.
    function _isPoint(bytes memory key) private pure returns (bool) {
        return key.length == POINT_LENGTH && key[0] == UNCOMPRESSED;
    }

    /// @dev Whether it is 18 digits or capitals and zeros after them. The check character is left to the nodes.
    function _isCreditCode(bytes32 member) private pure returns (bool) {
        for (uint256 i = 0; i < MEMBER_ID_LENGTH; i++) {
            bytes1 character = member[i];
            bool digit = character >= "0" && character <= "9";
            bool capital = character >= "A" && character <= "Z";
            if (!digit && !capital) return false;
        }
        return uint256(member) << (8 * MEMBER_ID_LENGTH) == 0;
    }

    function _setStatus(bytes32 member, Status status) private {
        Record storage record = _records[member];
        Status from = record.status;
        if (from == Status.None) revert MemberUnknown(member);
        if (status == Status.None || status == from || from == Status.Removed) {
            revert StatusInvalid(member, from, status);
        }
        bool before = _isAuthority(member);
        record.status = status;
        _recount(member, before);
        emit StatusChanged(member, status);
    }

    function _setRoles(bytes32 member, uint8 roles) private {
        Record storage record = _records[member];
        if (record.status == Status.None) revert MemberUnknown(member);
        if (roles == 0 || roles > ALL_ROLES) revert RolesInvalid(roles);
        bool before = _isAuthority(member);
        record.roles = roles;
        _recount(member, before);
        emit RolesChanged(member, roles);
    }

    function _setThreshold(uint16 newThreshold) private {
        _checkThreshold(newThreshold);
        threshold = newThreshold;
        emit ThresholdChanged(newThreshold);
    }

    function _checkThreshold(uint16 newThreshold) private view {
        if (newThreshold == 0 || newThreshold > authorities) revert ThresholdInvalid(newThreshold, authorities);
    }
}
