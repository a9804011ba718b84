// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Receipt} from "./Types.sol";

/// @title Verifier: knows the watcher sets, checks their signatures, and fixes how receipts are hashed. Moves nothing.
interface IReceiptVerifier {
    event SetProposed(uint256 indexed setId, address[] watchers, uint256 threshold, uint256 activatableAt);
    event ProposalCancelled(uint256 indexed setId);
    event SetActivated(uint256 indexed setId, address[] watchers, uint256 threshold, uint256 version);

    error ReceiptVerifier_UnknownSet(uint256 setId, uint256 given, uint256 limit);
    error ReceiptVerifier_BadThreshold(uint256 setId, uint256 given, uint256 limit);
    error ReceiptVerifier_TooManyWatchers(uint256 setId, uint256 given, uint256 limit);
    error ReceiptVerifier_NotProposed(uint256 setId, bytes32 given, bytes32 limit);
    error ReceiptVerifier_TooEarly(uint256 setId, uint256 given, uint256 limit);
    /// @notice The proposal is older than `PROPOSAL_LIFETIME` after it became due.
    error ReceiptVerifier_ProposalLapsed(uint256 setId, uint256 given, uint256 limit);
    error ReceiptVerifier_DelayTooLong(uint256 setId, uint256 given, uint256 limit);
    /// @notice Watchers, proposed or signing, must be in strictly ascending order.
    error ReceiptVerifier_Unsorted(uint256 setId, address given, address limit);
    error ReceiptVerifier_NotWatcher(uint256 setId, address given, address limit);
    error ReceiptVerifier_TooFewWatchers(uint256 setId, uint256 given, uint256 limit);

    /// @notice Proposes the members of a set; `setId` 0 makes a new one. WATCHER_ADMIN_ROLE only.
    /// @param watchers Strictly ascending, at most `MAX_WATCHERS`.
    /// @return id The set's id. A set nobody uses yet can be activated at once, a change only after `ACTIVATION_DELAY`.
    function proposeSet(uint256 setId, address[] calldata watchers, uint256 threshold) external returns (uint256 id);

    /// @notice Puts the proposal into force. Anyone, once it is due.
    function activateSet(uint256 setId, address[] calldata watchers, uint256 threshold) external;

    /// @notice Withdraws a proposal. WATCHER_ADMIN_ROLE only.
    function cancelProposal(uint256 setId) external;

    /// @notice Reverts unless a threshold of the set's watchers signed `digest`.
    /// @param signatures Sorted by ascending signer; those beyond the threshold are not looked at.
    function verify(uint256 setId, bytes32 digest, bytes[] calldata signatures) external view;

    /// @notice EIP-712 domain separator of receipts and batches.
    function domainSeparator() external view returns (bytes32);

    /// @notice EIP-712 struct hash of a receipt, as listed in a batch.
    function hashReceipt(Receipt calldata receipt) external view returns (bytes32);

    /// @notice Digest to sign for one receipt.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);

    /// @notice Digest to sign for `ReceiptBatch(bytes32[] receipts)`.
    function batchDigest(bytes32[] calldata receipts) external view returns (bytes32);

    function isWatcher(uint256 setId, address account) external view returns (bool);
    function thresholdOf(uint256 setId) external view returns (uint256);
    function setCount() external view returns (uint256);
}
