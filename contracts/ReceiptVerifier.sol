// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {DelayedRoles} from "./base/DelayedRoles.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {Receipt} from "./interfaces/Types.sol";
import {ReceiptHash} from "./libraries/ReceiptHash.sol";

/// @title ReceiptVerifier
/// @dev Trust model.
/// - WATCHER_ADMIN_ROLE proposes who watches; a set in use changes only `ACTIVATION_DELAY` after the proposal, so that
///   holders of a class can leave before it is watched by others. A proposal can be withdrawn, and lapses.
/// - A threshold of a set's watchers, together with a provider's oracle, can have false receipts of assurance 2 or 3
///   settled, up to what each job locked. What else a set is asked to sign is for the contract that asks to say.
/// - This contract holds nothing and changes no job. Roles: see `DelayedRoles`.
contract ReceiptVerifier is IReceiptVerifier, EIP712, DelayedRoles {
    /* CONSTANTS */

    bytes32 public constant WATCHER_ADMIN_ROLE = keccak256("WATCHER_ADMIN_ROLE");
    uint256 public constant MAX_WATCHERS = 32;
    uint256 public constant MAX_ACTIVATION_DELAY = 30 days;
    /// @dev Counted from when it is due: a proposal everyone forgot can't be put into force by surprise.
    uint256 public constant PROPOSAL_LIFETIME = 30 days;
    uint256 public immutable ACTIVATION_DELAY;

    /* STORAGE */

    /// @dev One slot. Members belong to a version, so that a new version forgets the old members without a loop.
    struct WatcherSet {
        uint32 version;
        uint8 threshold;
    }

    struct Proposal {
        bytes32 hash;
        uint256 activatableAt;
    }

    uint256 public setCount;
    mapping(uint256 setId => WatcherSet) private _sets;
    mapping(uint256 setId => Proposal) private _proposals;
    mapping(uint256 setId => mapping(uint256 version => mapping(address watcher => bool))) private _members;

    /* CONSTRUCTOR */

    constructor(address admin, uint48 adminDelay, uint256 roleDelay, uint256 activationDelay)
        EIP712("Scrip ReceiptVerifier", "1")
        DelayedRoles(admin, adminDelay, roleDelay)
    {
        if (activationDelay > MAX_ACTIVATION_DELAY) {
            revert ReceiptVerifier_DelayTooLong(0, activationDelay, MAX_ACTIVATION_DELAY);
        }
        ACTIVATION_DELAY = activationDelay;
    }

    /* WATCHER SETS */

    /// @inheritdoc IReceiptVerifier
    function proposeSet(uint256 setId, address[] calldata watchers, uint256 threshold)
        external
        onlyRole(WATCHER_ADMIN_ROLE)
        returns (uint256 id)
    {
        if (setId > setCount) revert ReceiptVerifier_UnknownSet(setId, setId, setCount);
        id = setId == 0 ? ++setCount : setId;
        _checkMembers(id, watchers, threshold);
        uint256 delay = _sets[id].version == 0 ? 0 : ACTIVATION_DELAY;
        uint256 activatableAt = block.timestamp + delay;
        _proposals[id] = Proposal(_proposalHash(watchers, threshold), activatableAt);
        emit SetProposed(id, watchers, threshold, activatableAt);
    }

    /// @inheritdoc IReceiptVerifier
    function activateSet(uint256 setId, address[] calldata watchers, uint256 threshold) external {
        Proposal memory proposal = _proposals[setId];
        bytes32 given = _proposalHash(watchers, threshold);
        if (proposal.hash != given) revert ReceiptVerifier_NotProposed(setId, given, proposal.hash);
        if (block.timestamp < proposal.activatableAt) {
            revert ReceiptVerifier_TooEarly(setId, block.timestamp, proposal.activatableAt);
        }
        uint256 lapsesAt = proposal.activatableAt + PROPOSAL_LIFETIME;
        if (block.timestamp > lapsesAt) revert ReceiptVerifier_ProposalLapsed(setId, block.timestamp, lapsesAt);
        delete _proposals[setId];
        uint32 version = _sets[setId].version + 1;
        // Safe cast: a proposal's threshold is at most MAX_WATCHERS.
        _sets[setId] = WatcherSet(version, uint8(threshold));
        for (uint256 i; i < watchers.length; ++i) {
            _members[setId][version][watchers[i]] = true;
        }
        emit SetActivated(setId, watchers, threshold, version);
    }

    /// @inheritdoc IReceiptVerifier
    function cancelProposal(uint256 setId) external onlyRole(WATCHER_ADMIN_ROLE) {
        if (_proposals[setId].hash == 0) revert ReceiptVerifier_NotProposed(setId, 0, 0);
        delete _proposals[setId];
        emit ProposalCancelled(setId);
    }

    /* VERIFICATION */

    /// @inheritdoc IReceiptVerifier
    function verify(uint256 setId, bytes32 digest, bytes[] calldata signatures) external view {
        WatcherSet memory set = _sets[setId];
        if (set.version == 0) revert ReceiptVerifier_UnknownSet(setId, setId, setCount);
        if (signatures.length < set.threshold) {
            revert ReceiptVerifier_TooFewWatchers(setId, signatures.length, set.threshold);
        }
        mapping(address => bool) storage members = _members[setId][set.version];
        address last;
        // Bounded: the first threshold of signatures decide, more would only cost gas.
        for (uint256 i; i < set.threshold; ++i) {
            // Zero for a malformed signature, and refused as unsorted: nobody's address is below the first.
            (address signer,,) = ECDSA.tryRecoverCalldata(digest, signatures[i]);
            if (signer <= last) revert ReceiptVerifier_Unsorted(setId, signer, last);
            if (!members[signer]) revert ReceiptVerifier_NotWatcher(setId, signer, address(0));
            last = signer;
        }
    }

    /// @inheritdoc IReceiptVerifier
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc IReceiptVerifier
    function hashReceipt(Receipt calldata receipt) external pure returns (bytes32) {
        return ReceiptHash.hash(receipt);
    }

    /// @inheritdoc IReceiptVerifier
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32) {
        return _hashTypedDataV4(ReceiptHash.hash(receipt));
    }

    /// @inheritdoc IReceiptVerifier
    function batchDigest(bytes32[] calldata receipts) external view returns (bytes32) {
        return _hashTypedDataV4(ReceiptHash.hashBatch(receipts));
    }

    /* VIEWS */

    /// @inheritdoc IReceiptVerifier
    function isWatcher(uint256 setId, address account) external view returns (bool) {
        return _members[setId][_sets[setId].version][account];
    }

    /// @inheritdoc IReceiptVerifier
    function thresholdOf(uint256 setId) external view returns (uint256) {
        return _sets[setId].threshold;
    }

    /* INTERNAL */

    function _checkMembers(uint256 setId, address[] calldata watchers, uint256 threshold) private pure {
        if (watchers.length > MAX_WATCHERS) {
            revert ReceiptVerifier_TooManyWatchers(setId, watchers.length, MAX_WATCHERS);
        }
        if (threshold == 0 || threshold > watchers.length) {
            revert ReceiptVerifier_BadThreshold(setId, threshold, watchers.length);
        }
        address last;
        for (uint256 i; i < watchers.length; ++i) {
            if (watchers[i] <= last) revert ReceiptVerifier_Unsorted(setId, watchers[i], last);
            last = watchers[i];
        }
    }

    function _proposalHash(address[] calldata watchers, uint256 threshold) private pure returns (bytes32) {
        return keccak256(abi.encode(watchers, threshold));
    }
}
