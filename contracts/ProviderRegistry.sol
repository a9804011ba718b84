// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {System} from "./interfaces/Types.sol";
import {ProviderStake} from "./ProviderStake.sol";

/// @title ProviderRegistry
/// @dev Trust model.
/// - Registration is open and claims are the provider's own: a region or SKU here is a statement, not a proof.
/// - Only the provider changes its record. There is no role and no owner.
/// - A threshold of a set's watchers says what a provider can deliver, and with it how much it may issue of the
///   capacity-bound classes that name the set. It can't touch what is issued already.
/// - Stake: see `ProviderStake`.
contract ProviderRegistry is ProviderStake, EIP712 {
    /* CONSTANTS */

    uint256 public constant MAX_SKUS_PER_CALL = 32;
    uint256 public constant MAX_URI_BYTES = 256;
    uint256 public constant MAX_HORIZON = 366 days;
    uint256 public constant MAX_OBSERVATION_AGE = 1 days;
    bytes32 private constant CAPACITY_TYPEHASH = keccak256(
        "Capacity(address provider,bytes32 sku,uint256 watcherSet,uint32 count,uint40 until,uint40 observedAt)"
    );
    IReceiptVerifier public immutable VERIFIER;

    /* STORAGE */

    /// @dev One slot, read by every quoted opening and every settlement.
    struct Record {
        address oracle;
        uint32 epoch;
    }

    struct Details {
        bytes12 region;
        address identityRegistry;
        uint256 agentId;
    }

    struct Capacity {
        uint32 count;
        uint40 until;
        uint40 observedAt;
    }

    mapping(address provider => Record) private _records;
    mapping(address provider => Details) private _details;
    mapping(address provider => string) private _uris;
    /// @dev By requirement: each SKU alone, and with the region. A new epoch forgets them all without a loop.
    mapping(address provider => mapping(uint256 epoch => mapping(bytes20 requirement => bool))) private _served;
    mapping(address provider => mapping(bytes32 pool => Capacity)) private _capacities;

    /* CONSTRUCTOR */

    constructor(System memory system, IERC20 stakeToken, uint256 unbondingDelay, uint256 challengeBond)
        ProviderStake(system, stakeToken, unbondingDelay, challengeBond)
        EIP712("Scrip ProviderRegistry", "1")
    {
        VERIFIER = IReceiptVerifier(system.verifier);
    }

    /* RECORD */

    /// @inheritdoc IProviderRegistry
    function register(address oracle, bytes12 region, string calldata uri, bytes32[] calldata skus) external {
        address current = _records[msg.sender].oracle;
        if (current != address(0)) revert ProviderRegistry_AlreadyRegistered(msg.sender, oracle, current);
        _setRecord(oracle, region, uri);
        emit ProviderRegistered(msg.sender, oracle, region, uri);
        _setSkus(skus, true);
    }

    /// @inheritdoc IProviderRegistry
    function update(address oracle, bytes12 region, string calldata uri) external {
        _checkRegistered();
        _setRecord(oracle, region, uri);
        emit ProviderUpdated(msg.sender, oracle, region, uri);
    }

    /// @inheritdoc IProviderRegistry
    function setSkus(bytes32[] calldata skus, bool served) external {
        _checkRegistered();
        _setSkus(skus, served);
    }

    /// @inheritdoc IProviderRegistry
    function linkAgent(address identityRegistry, uint256 agentId) external {
        _checkRegistered();
        if (identityRegistry != address(0)) {
            address owner = IERC721(identityRegistry).ownerOf(agentId);
            if (owner != msg.sender) revert ProviderRegistry_NotAgentOwner(msg.sender, msg.sender, owner);
        }
        Details storage details = _details[msg.sender];
        (details.identityRegistry, details.agentId) = (identityRegistry, agentId);
        emit AgentLinked(msg.sender, identityRegistry, agentId);
    }

    /* CAPACITY */

    /// @inheritdoc IProviderRegistry
    function attestCapacity(
        address provider,
        bytes32 sku,
        uint256 watcherSet,
        uint32 count,
        uint40 until,
        uint40 observedAt,
        bytes[] calldata signatures
    ) external {
        Capacity storage capacity = _capacities[provider][_poolOf(watcherSet, sku)];
        _checkTimes(provider, until, observedAt, capacity.observedAt);
        bytes32 digest = capacityDigest(provider, sku, watcherSet, count, until, observedAt);
        VERIFIER.verify(watcherSet, digest, signatures);
        (capacity.count, capacity.until, capacity.observedAt) = (count, until, observedAt);
        emit CapacityAttested(provider, sku, watcherSet, count, until);
    }

    /// @inheritdoc IProviderRegistry
    function checkIssuance(address provider, uint256 classId) external view {
        BoundTerms memory terms = _boundTerms[classId];
        if (terms.stakeFunded) _checkStake(provider, requiredStakeOf(provider));
        if (terms.capacityBound) _checkCapacity(provider, _pools[classId]);
    }

    /* VIEWS */

    /// @inheritdoc IProviderRegistry
    function oracleNowServing(address provider) external view returns (address) {
        return _records[provider].oracle;
    }

    /// @inheritdoc IProviderRegistry
    function trustedOracleIfItQualifies(address provider, bytes20 requirement) external view returns (address) {
        Record storage record = _records[provider];
        (address oracle, uint256 epoch) = (record.oracle, record.epoch);
        return _served[provider][epoch][requirement] ? oracle : address(0);
    }

    /// @inheritdoc IProviderRegistry
    function regionOf(address provider) external view returns (bytes12) {
        return _details[provider].region;
    }

    /// @inheritdoc IProviderRegistry
    function uriOf(address provider) external view returns (string memory) {
        return _uris[provider];
    }

    /// @inheritdoc IProviderRegistry
    function serves(address provider, bytes32 sku) external view returns (bool) {
        return _served[provider][_records[provider].epoch][requirementOf(sku, 0)];
    }

    /// @inheritdoc IProviderRegistry
    function agentOf(address provider) external view returns (address identityRegistry, uint256 agentId) {
        Details storage details = _details[provider];
        return (details.identityRegistry, details.agentId);
    }

    /// @inheritdoc IProviderRegistry
    function capacityOf(address provider, bytes32 sku, uint256 watcherSet)
        external
        view
        returns (uint256 count, uint256 until, uint256 observedAt)
    {
        Capacity storage capacity = _capacities[provider][_poolOf(watcherSet, sku)];
        return (capacity.count, capacity.until, capacity.observedAt);
    }

    /// @inheritdoc IProviderRegistry
    function requirementOf(bytes32 sku, bytes12 region) public pure returns (bytes20) {
        return bytes20(keccak256(abi.encode(sku, region)));
    }

    /// @inheritdoc IProviderRegistry
    function capacityDigest(
        address provider,
        bytes32 sku,
        uint256 watcherSet,
        uint32 count,
        uint40 until,
        uint40 observedAt
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(CAPACITY_TYPEHASH, provider, sku, watcherSet, count, until, observedAt))
        );
    }

    /* INTERNAL */

    function _setRecord(address oracle, bytes12 region, string calldata uri) private {
        if (oracle == address(0)) revert ProviderRegistry_ZeroOracle(msg.sender, oracle, msg.sender);
        if (bytes(uri).length > MAX_URI_BYTES) {
            revert ProviderRegistry_UriTooLong(msg.sender, bytes(uri).length, MAX_URI_BYTES);
        }
        Record storage record = _records[msg.sender];
        record.oracle = oracle;
        if (region != _details[msg.sender].region) {
            ++record.epoch;
            _details[msg.sender].region = region;
        }
        _uris[msg.sender] = uri;
    }

    function _setSkus(bytes32[] calldata skus, bool served) private {
        if (skus.length > MAX_SKUS_PER_CALL) {
            revert ProviderRegistry_TooManySkus(msg.sender, skus.length, MAX_SKUS_PER_CALL);
        }
        bytes12 region = _details[msg.sender].region;
        mapping(bytes20 => bool) storage list = _served[msg.sender][_records[msg.sender].epoch];
        for (uint256 i; i < skus.length; ++i) {
            list[requirementOf(skus[i], 0)] = served;
            if (region != 0) list[requirementOf(skus[i], region)] = served;
            emit SkuSet(msg.sender, skus[i], served);
        }
    }

    function _checkRegistered() internal view override {
        if (_records[msg.sender].oracle == address(0)) {
            revert ProviderRegistry_NotRegistered(msg.sender, msg.sender, address(0));
        }
    }

    /// @dev Only a newer observation replaces one, so that an old attestation can't be brought back.
    function _checkTimes(address provider, uint256 until, uint256 observedAt, uint256 last) private view {
        if (observedAt <= last) revert ProviderRegistry_StaleAttestation(provider, observedAt, last);
        if (observedAt > block.timestamp) {
            revert ProviderRegistry_StaleAttestation(provider, observedAt, block.timestamp);
        }
        if (observedAt + MAX_OBSERVATION_AGE < block.timestamp) {
            revert ProviderRegistry_StaleAttestation(provider, observedAt, block.timestamp - MAX_OBSERVATION_AGE);
        }
        uint256 latest = block.timestamp + MAX_HORIZON;
        if (until > latest) revert ProviderRegistry_HorizonTooFar(provider, until, latest);
    }

    /// @dev Compares the time that all credits of a pool's classes could ask for, in seconds of one resource, with the
    /// time that is left of what was attested.
    function _checkCapacity(address provider, bytes32 pool) private view {
        uint256 needed;
        uint64[] storage list = _boundClasses[provider];
        uint256 count = list.length;
        for (uint256 i; i < count; ++i) {
            uint256 classId = list[i];
            if (_pools[classId] != pool) continue;
            BoundTerms memory terms = _boundTerms[classId];
            if (!_isOver(terms)) needed += Math.ceilDiv(CREDITS.totalSupply(classId), terms.maxRate);
        }
        Capacity memory capacity = _capacities[provider][pool];
        uint256 left = capacity.until > block.timestamp ? capacity.until - block.timestamp : 0;
        uint256 available = capacity.count * left;
        if (needed > available) revert ProviderRegistry_CapacityExceeded(provider, needed, available);
    }
}
