// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {ICatalogue} from "./interfaces/ICatalogue.sol";
import {IMembers} from "./interfaces/IMembers.sol";

/// @title Catalogue, as ICatalogue describes it.
contract Catalogue is ICatalogue {
    uint8 private constant HIGHEST_LEVEL = 4;
    uint8 private constant HIGHEST_SHARING_TYPE = 2;

    IMembers private immutable _members;
    mapping(bytes32 dataset => Dataset) private _datasets;

    constructor(IMembers members) {
        _members = members;
    }

    /// @inheritdoc ICatalogue
    function register(bytes32 dataset, bytes32 metadataDigest, uint8 level, uint8 sharingType) external {
        bytes32 provider = _members.memberOf(msg.sender);
        if (uint144(uint256(dataset)) != uint144(bytes18(provider))) revert NotTheProvider(dataset, provider);
        Dataset storage found = _datasets[dataset];
        if (found.provider != 0) revert DatasetInvalid(dataset);
        found.provider = provider;
        _describe(found, metadataDigest, level, sharingType);
        emit DatasetRegistered(dataset, provider, metadataDigest, level, sharingType);
    }

    /// @inheritdoc ICatalogue
    function update(bytes32 dataset, bytes32 metadataDigest, uint8 level, uint8 sharingType) external {
        _describe(_own(dataset), metadataDigest, level, sharingType);
        emit DatasetUpdated(dataset, metadataDigest, level, sharingType);
    }

    /// @inheritdoc ICatalogue
    function setHead(bytes32 dataset, uint64 size, bytes32 root, bytes32 noteDigest) external {
        Dataset storage found = _own(dataset);
        if (size <= found.size) revert HeadDoesNotGrow(dataset, found.size, size);
        found.size = size;
        found.root = root;
        emit HeadSet(dataset, size, root, noteDigest);
    }

    /// @inheritdoc ICatalogue
    function withdraw(bytes32 dataset) external {
        _own(dataset).withdrawn = true;
        emit DatasetWithdrawn(dataset);
    }

    /// @inheritdoc ICatalogue
    function datasetOf(bytes32 dataset) external view returns (Dataset memory found) {
        found = _datasets[dataset];
        if (found.provider == 0) revert DatasetUnknown(dataset);
    }

    function _own(bytes32 dataset) private view returns (Dataset storage found) {
        found = _datasets[dataset];
        if (found.provider == 0) revert DatasetUnknown(dataset);
        bytes32 member = _members.memberOf(msg.sender);
        if (found.provider != member) revert NotTheProvider(dataset, member);
        if (found.withdrawn) revert DatasetIsWithdrawn(dataset);
    }

    function _describe(Dataset storage found, bytes32 metadataDigest, uint8 level, uint8 sharingType) private {
        if (level == 0 || level > HIGHEST_LEVEL) revert LevelInvalid(level);
        if (sharingType > HIGHEST_SHARING_TYPE) revert SharingTypeInvalid(sharingType);
        found.metadataDigest = metadataDigest;
        found.level = level;
        found.sharingType = sharingType;
    }
}
