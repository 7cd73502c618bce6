// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Which datasets there are, who provides them, and the head of each one's log.
/// @notice The chain holds digests; descriptions travel between nodes. A dataset's id ends with the 18 characters of
/// its provider's id, behind 14 bytes that the provider chooses. So it tells whose it is, and nobody can take another's.
interface ICatalogue {
    /// @notice A dataset. `provider` zero: never registered. Packed into four slots.
    struct Dataset {
        bytes32 provider;
        bytes32 metadataDigest;
        bytes32 root;
        uint64 size;
        uint8 level;
        uint8 sharingType;
        bool withdrawn;
    }

    /// @notice No dataset has this id.
    error DatasetUnknown(bytes32 dataset);
    /// @notice The id is taken.
    error DatasetInvalid(bytes32 dataset);
    /// @notice The caller's member does not provide this dataset, or could not: the id ends with another one's.
    error NotTheProvider(bytes32 dataset, bytes32 member);
    /// @notice The dataset was withdrawn.
    error DatasetIsWithdrawn(bytes32 dataset);
    /// @notice The level is not 1 to 4.
    error LevelInvalid(uint8 level);
    /// @notice The sharing type is not 0 to 2.
    error SharingTypeInvalid(uint8 sharingType);
    /// @notice A head's size does not grow.
    error HeadDoesNotGrow(bytes32 dataset, uint64 from, uint64 to);

    /// @notice A dataset was registered.
    event DatasetRegistered(
        bytes32 indexed dataset,
        bytes32 indexed provider,
        bytes32 metadataDigest,
        uint8 level,
        uint8 sharingType
    );
    /// @notice A dataset's description changed.
    event DatasetUpdated(bytes32 indexed dataset, bytes32 metadataDigest, uint8 level, uint8 sharingType);
    /// @notice A new version: size and root of the dataset's log, SM3 of its version note.
    event HeadSet(bytes32 indexed dataset, uint64 size, bytes32 root, bytes32 noteDigest);
    /// @notice A dataset was withdrawn; what was granted before can be revoked by its provider.
    event DatasetWithdrawn(bytes32 indexed dataset);

    /// @notice Register a dataset of the caller's member, under an id that ends with that member.
    function register(bytes32 dataset, bytes32 metadataDigest, uint8 level, uint8 sharingType) external;

    /// @notice Change its description.
    function update(bytes32 dataset, bytes32 metadataDigest, uint8 level, uint8 sharingType) external;

    /// @notice Set its head. The size must grow.
    function setHead(bytes32 dataset, uint64 size, bytes32 root, bytes32 noteDigest) external;

    /// @notice Withdraw it.
    function withdraw(bytes32 dataset) external;

    /// @notice The dataset of this id. Reverts with DatasetUnknown.
    function datasetOf(bytes32 dataset) external view returns (Dataset memory found);
}
