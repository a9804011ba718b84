// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {Attestation, JobTerms, Outcome, Receipt, Status, System} from "./interfaces/Types.sol";
import {JobBook} from "./JobBook.sol";
import {JobDisputes} from "./JobDisputes.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {ReceiptHash} from "./libraries/ReceiptHash.sol";

/// @title JobMarket
/// @dev Trust model.
/// - Credits are locked only for a payer who called, signed, or owns the budget whose spender did. They stay in the
///   payer's balance: what is used is burned, the rest is free again.
/// - A provider is paid only for a receipt its oracle key signed, at most `maxUnits`, and with the assurance the class
///   asks for. Watchers can't be paid and can't start anything.
/// - A threshold of the class's arbiters can, within a dispute, lower what is paid to nothing and take the stake behind
///   that one job, or the challenger's bond. They can't raise what is paid, and without them a dispute ends by time.
/// - There is no role, no owner and no pause. Every state but the final ones has a deadline after which anyone ends it.
/// - The five contracts called are immutable parts of Scrip and call no one else on these paths, but for the stake token,
///   when a bond is taken; state is written before that.
contract JobMarket is JobDisputes {
    /* CONSTANTS */

    bytes32 public constant QUOTE_TYPEHASH = JobRules.QUOTE_TYPEHASH;
    uint256 public constant MAX_DURATION = JobRules.MAX_DURATION;

    /// @dev Domain receipts are signed in. Kept here although a chain that splits would change it: receipts name their
    /// job, whose id is hashed with the chain id of the moment, so none can be used on both sides of a split.
    bytes32 private immutable _RECEIPT_DOMAIN;

    /* CONSTRUCTOR */

    constructor(System memory system) JobBook(system) {
        _RECEIPT_DOMAIN = VERIFIER.domainSeparator();
    }

    /* OPENING */

    /// @inheritdoc IJobMarket
    function open(JobTerms calldata terms, bytes calldata quote) external returns (bytes32 jobId) {
        jobId = hashTerms(terms);
        if (msg.sender != terms.payer) {
            revert JobMarket_NotPayer(jobId, JobRules.number(msg.sender), JobRules.number(terms.payer));
        }
        if (terms.budgetId != 0) revert JobMarket_BudgetMismatch(jobId, terms.budgetId, 0);
        _open(jobId, terms, msg.sender, quote);
    }

    /// @inheritdoc IJobMarket
    function openFor(JobTerms calldata terms, bytes calldata quote) external returns (bytes32 jobId) {
        jobId = hashTerms(terms);
        if (terms.budgetId == 0) revert JobMarket_BudgetMismatch(jobId, 0, 1);
        _open(jobId, terms, msg.sender, quote);
    }

    /// @inheritdoc IJobMarket
    function openBySig(JobTerms calldata terms, bytes calldata signature, bytes calldata quote)
        external
        returns (bytes32 jobId)
    {
        jobId = hashTerms(terms);
        address agreed = _agreeing(terms);
        _checkSigner(jobId, agreed, jobId, signature);
        _open(jobId, terms, agreed, quote);
    }

    /// @inheritdoc IJobMarket
    function accept(JobTerms calldata terms) external {
        bytes32 jobId = _run(terms);
        (address oracle, bool staked) = _serving(jobId, terms);
        if (msg.sender != terms.provider && msg.sender != oracle) {
            revert JobMarket_NotProvider(jobId, JobRules.number(msg.sender), JobRules.number(terms.provider));
        }
        _accepted(jobId, terms, staked);
    }

    /// @inheritdoc IJobMarket
    function acceptBySig(JobTerms calldata terms, bytes calldata quote) external {
        _acceptQuoted(_run(terms), terms, quote);
    }

    /* ENDING WITHOUT PAY */

    /// @inheritdoc IJobMarket
    function cancel(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Status status = _jobs[jobId].status;
        if (status != Status.Running) JobRules.checkStatus(jobId, status, Status.Open);
        bool paying = msg.sender == terms.payer || msg.sender == _agreeing(terms);
        if ((status == Status.Running || !paying) && !_isProvider(terms.provider)) {
            revert JobMarket_NotParty(jobId, JobRules.number(msg.sender), JobRules.number(terms.provider));
        }
        emit JobCancelled(jobId, msg.sender);
        _giveBack(jobId, terms, status, Status.Cancelled);
    }

    /// @inheritdoc IJobMarket
    function cancelBySig(JobTerms calldata terms, uint256 deadline, bytes calldata signature) external {
        bytes32 jobId = hashTerms(terms);
        JobRules.checkStatus(jobId, _jobs[jobId].status, Status.Open);
        if (block.timestamp > deadline) revert JobMarket_DeadlinePassed(jobId, block.timestamp, deadline);
        address agreed = _agreeing(terms);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(JobRules.CANCEL_TYPEHASH, jobId, deadline)));
        _checkSigner(jobId, agreed, digest, signature);
        emit JobCancelled(jobId, agreed);
        _giveBack(jobId, terms, Status.Open, Status.Cancelled);
    }

    /// @inheritdoc IJobMarket
    function expire(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Status status = _jobs[jobId].status;
        uint256 deadline = terms.acceptBy;
        if (status == Status.Running) deadline = terms.submitBy;
        else JobRules.checkStatus(jobId, status, Status.Open);
        if (block.timestamp <= deadline) revert JobMarket_DeadlineNotReached(jobId, block.timestamp, deadline);
        emit JobExpired(jobId, msg.sender);
        _giveBack(jobId, terms, status, Status.Expired);
    }

    /* SETTLEMENT */

    /// @inheritdoc IJobMarket
    function submit(JobTerms calldata terms, Receipt calldata receipt, Attestation calldata attestation) external {
        bytes32 jobId = hashTerms(terms);
        Group memory group = _group(1);
        _load(group, terms.classId);
        (bytes4 reason, uint256 given, uint256 limit) =
            JobRules.fault(jobId, _jobs[jobId], terms, receipt, group.class_);
        if (reason != 0) JobRules.raise(reason, jobId, given, limit);
        bytes32 receiptHash = ReceiptHash.hash(receipt);
        bool watched = receipt.assurance >= JobRules.WATCHED_ASSURANCE;
        uint256 watcherSet = watched ? _review(group).watcherSet : 0;
        _verify(jobId, receiptHash, terms.provider, watcherSet, watched, attestation);
        _take(jobId, terms, receipt, receiptHash, group);
        _close(terms.provider, group);
    }

    /// @inheritdoc IJobMarket
    function submitBatch(
        JobTerms[] calldata terms,
        Receipt[] calldata receipts,
        uint256 watcherSet,
        Attestation calldata attestation
    ) external returns (uint256 taken) {
        uint256 rows = terms.length;
        if (rows == 0 || rows != receipts.length) revert JobMarket_BadBatch(0, receipts.length, rows);
        address provider = terms[0].provider;
        bytes32[] memory hashes = _verifyBatch(provider, receipts, watcherSet, attestation);
        Group memory group = _group(rows);
        for (uint256 i; i < rows; ++i) {
            if (terms[i].classId != group.classId) {
                _close(provider, group);
                _load(group, terms[i].classId);
            }
            if (_takeRow(terms[i], receipts[i], hashes[i], provider, watcherSet, group)) taken++;
        }
        _close(provider, group);
    }

    /* INTERNAL */

    /// @dev Before anything is asked of other contracts.
    function _run(JobTerms calldata terms) private returns (bytes32 jobId) {
        jobId = hashTerms(terms);
        Job storage job = _jobs[jobId];
        JobRules.checkStatus(jobId, job.status, Status.Open);
        if (block.timestamp > terms.acceptBy) {
            revert JobMarket_DeadlinePassed(jobId, block.timestamp, terms.acceptBy);
        }
        job.status = Status.Running;
    }

    /// @dev The oracle key signed, and if `watched` a threshold of watchers did.
    function _verify(
        bytes32 jobId,
        bytes32 structHash,
        address provider,
        uint256 watcherSet,
        bool watched,
        Attestation calldata attestation
    ) private view {
        bytes32 digest = MessageHashUtils.toTypedDataHash(_RECEIPT_DOMAIN, structHash);
        _checkOracle(jobId, digest, REGISTRY.oracleOf(provider), attestation.provider);
        if (watched) VERIFIER.verify(watcherSet, digest, attestation.watchers);
    }

    function _verifyBatch(
        address provider,
        Receipt[] calldata receipts,
        uint256 watcherSet,
        Attestation calldata attestation
    ) private view returns (bytes32[] memory hashes) {
        hashes = new bytes32[](receipts.length);
        uint256 assurance;
        for (uint256 i; i < receipts.length; ++i) {
            Receipt calldata receipt = receipts[i];
            hashes[i] = ReceiptHash.hash(receipt);
            assurance = Math.max(assurance, receipt.assurance);
        }
        bool watched = assurance >= JobRules.WATCHED_ASSURANCE;
        _verify(0, ReceiptHash.hashBatch(hashes), provider, watcherSet, watched, attestation);
    }

    /// @return True if the row was taken; otherwise it was reported and nothing changed.
    function _takeRow(
        JobTerms calldata terms,
        Receipt calldata receipt,
        bytes32 receiptHash,
        address provider,
        uint256 watcherSet,
        Group memory group
    ) private returns (bool) {
        bytes32 jobId = hashTerms(terms);
        (bytes4 reason, uint256 given, uint256 limit) =
            JobRules.fault(jobId, _jobs[jobId], terms, receipt, group.class_);
        if (reason == 0 && terms.provider != provider) {
            (reason, given, limit) =
            (JobMarket_NotProvider.selector, JobRules.number(terms.provider), JobRules.number(provider));
        }
        if (reason == 0 && receipt.assurance >= JobRules.WATCHED_ASSURANCE) {
            uint256 needed = _review(group).watcherSet;
            if (needed != watcherSet) {
                (reason, given, limit) = (JobMarket_WrongWatcherSet.selector, watcherSet, needed);
            }
        }
        if (reason != 0) {
            emit RowSkipped(jobId, reason, given, limit);
            return false;
        }
        _take(jobId, terms, receipt, receiptHash, group);
        return true;
    }

    function _take(
        bytes32 jobId,
        JobTerms calldata terms,
        Receipt calldata receipt,
        bytes32 receiptHash,
        Group memory group
    ) private {
        if (receipt.outcome == Outcome.Failed) _refund(jobId, terms, receiptHash, group);
        else if (group.class_.windowed) _await(jobId, receipt, receiptHash, group);
        else _settle(jobId, terms, receipt.units, receiptHash, group);
    }
}
