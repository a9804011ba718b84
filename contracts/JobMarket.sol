// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {Attestation, JobTerms, Outcome, Receipt, Status, System} from "./interfaces/Types.sol";
import {JobBook} from "./JobBook.sol";
import {JobDisputes} from "./JobDisputes.sol";
import {ClassPolicy} from "./libraries/ClassPolicy.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {JobSlot} from "./libraries/JobSlot.sol";
import {JobWords} from "./libraries/JobWords.sol";
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
        uint256 policy = CREDITS.policyOf(terms.classId);
        address oracle = _serving(jobId, terms, policy);
        if (msg.sender != terms.provider && msg.sender != oracle) {
            revert JobMarket_NotProvider(jobId, JobRules.number(msg.sender), JobRules.number(terms.provider));
        }
        emit JobAccepted(jobId, terms.provider);
        _reserve(terms, policy);
    }

    /// @inheritdoc IJobMarket
    function acceptBySig(JobTerms calldata terms, bytes calldata quote) external {
        bytes32 jobId = _run(terms);
        emit JobAccepted(jobId, terms.provider);
        _acceptQuoted(jobId, terms, CREDITS.policyOf(terms.classId), quote);
    }

    /* ENDING WITHOUT PAY */

    /// @inheritdoc IJobMarket
    function cancel(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        Status status = JobSlot.status(job);
        if (status != Status.Running) JobRules.checkStatus(jobId, status, Status.Open);
        bool paying = msg.sender == terms.payer || msg.sender == _agreeing(terms);
        if ((status == Status.Running || !paying) && !_isProvider(terms.provider)) {
            revert JobMarket_NotParty(jobId, JobRules.number(msg.sender), JobRules.number(terms.provider));
        }
        emit JobCancelled(jobId, msg.sender);
        _giveBack(jobId, job, terms, Status.Cancelled);
    }

    /// @inheritdoc IJobMarket
    function cancelBySig(JobTerms calldata terms, uint256 deadline, bytes calldata signature) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        JobRules.checkStatus(jobId, JobSlot.status(job), Status.Open);
        if (block.timestamp > deadline) revert JobMarket_DeadlinePassed(jobId, block.timestamp, deadline);
        address agreed = _agreeing(terms);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(JobRules.CANCEL_TYPEHASH, jobId, deadline)));
        _checkSigner(jobId, agreed, digest, signature);
        emit JobCancelled(jobId, agreed);
        _giveBack(jobId, job, terms, Status.Cancelled);
    }

    /// @inheritdoc IJobMarket
    function expire(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        Status status = JobSlot.status(job);
        uint256 deadline = terms.acceptBy;
        if (status == Status.Running) deadline = terms.submitBy;
        else JobRules.checkStatus(jobId, status, Status.Open);
        if (block.timestamp <= deadline) revert JobMarket_DeadlineNotReached(jobId, block.timestamp, deadline);
        emit JobExpired(jobId, msg.sender);
        _giveBack(jobId, job, terms, Status.Expired);
    }

    /* SETTLEMENT */

    /// @inheritdoc IJobMarket
    function submit(JobTerms calldata terms, Receipt calldata receipt, Attestation calldata attestation) external {
        bytes32 jobId = hashTerms(terms);
        Group memory group = _group(1);
        _load(group, terms.classId);
        uint256 job = _jobs[jobId];
        (bytes4 reason, uint256 given, uint256 limit) = JobRules.fault(jobId, job, terms, receipt, group.maxRate);
        if (reason != 0) JobRules.raise(reason, jobId, given, limit);
        bytes32 receiptHash = ReceiptHash.hash(receipt);
        bool watched = JobWords.assurance(receipt) >= JobRules.WATCHED_ASSURANCE;
        uint256 watcherSet = watched ? _review(group).watcherSet : 0;
        _verify(jobId, receiptHash, terms.provider, watcherSet, watched, attestation);
        _take(jobId, job, terms, receipt, receiptHash, group);
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
        bytes32 domain = _domainSeparatorV4();
        for (uint256 i; i < rows; ++i) {
            if (terms[i].classId != group.classId) {
                _close(provider, group);
                _load(group, terms[i].classId);
            }
            if (_takeRow(_idOf(domain, terms[i]), terms[i], receipts[i], hashes[i], provider, watcherSet, group)) {
                taken++;
            }
        }
        _close(provider, group);
    }

    /* INTERNAL */

    /// @dev Before anything is asked of other contracts.
    function _run(JobTerms calldata terms) private returns (bytes32 jobId) {
        jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        JobRules.checkStatus(jobId, JobSlot.status(job), Status.Open);
        if (block.timestamp > terms.acceptBy) {
            revert JobMarket_DeadlinePassed(jobId, block.timestamp, terms.acceptBy);
        }
        _jobs[jobId] = JobSlot.withStatus(job, Status.Running);
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
        _checkOracle(jobId, digest, REGISTRY.oracleNowServing(provider), attestation.provider);
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
            assurance = Math.max(assurance, JobWords.assurance(receipt));
        }
        bool watched = assurance >= JobRules.WATCHED_ASSURANCE;
        _verify(0, ReceiptHash.hashBatch(hashes), provider, watcherSet, watched, attestation);
    }

    /// @return True if the row was taken; otherwise it was reported and nothing changed.
    function _takeRow(
        bytes32 jobId,
        JobTerms calldata terms,
        Receipt calldata receipt,
        bytes32 receiptHash,
        address provider,
        uint256 watcherSet,
        Group memory group
    ) private returns (bool) {
        uint256 job = _jobs[jobId];
        (bytes4 reason, uint256 given, uint256 limit) = JobRules.fault(jobId, job, terms, receipt, group.maxRate);
        if (reason == 0 && JobWords.provider(terms) != provider) {
            (reason, given, limit) =
            (JobMarket_NotProvider.selector, JobRules.number(terms.provider), JobRules.number(provider));
        }
        if (reason == 0 && JobWords.assurance(receipt) >= JobRules.WATCHED_ASSURANCE) {
            uint256 needed = _review(group).watcherSet;
            if (needed != watcherSet) {
                (reason, given, limit) = (JobMarket_WrongWatcherSet.selector, watcherSet, needed);
            }
        }
        if (reason != 0) {
            emit RowSkipped(jobId, reason, given, limit);
            return false;
        }
        _take(jobId, job, terms, receipt, receiptHash, group);
        return true;
    }

    function _take(
        bytes32 jobId,
        uint256 job,
        JobTerms calldata terms,
        Receipt calldata receipt,
        bytes32 receiptHash,
        Group memory group
    ) private {
        if (JobWords.outcome(receipt) == uint256(Outcome.Failed)) {
            _refund(jobId, job, terms, receiptHash, group);
        } else if (ClassPolicy.isWindowed(JobSlot.policy(job))) {
            _await(jobId, job, receipt, receiptHash, group);
        } else {
            _settle(jobId, job, terms, JobWords.units(receipt), receiptHash, group);
        }
    }
}
