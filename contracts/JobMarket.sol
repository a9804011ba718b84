// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {Attestation, JobTerms, Outcome, Receipt, Release, SettlementTerms, Status} from "./interfaces/Types.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {ReceiptHash} from "./libraries/ReceiptHash.sol";

/// @title JobMarket
/// @dev Trust model.
/// - Credits come in only from a payer who called or signed, and leave only to that payer or to be burned.
/// - A provider is paid only for a receipt its oracle key signed, at most `maxUnits`, and with the assurance the class
///   asks for. Watchers can't be paid and can't start anything.
/// - There is no role, no owner and no pause. Every state but the final ones has a deadline after which anyone ends it.
/// - The four contracts called are immutable parts of Scrip and call no one else on these paths, so there is no way
///   back in; state is written before they are called all the same.
contract JobMarket is IJobMarket, EIP712 {
    /* CONSTANTS */

    bytes32 public constant QUOTE_TYPEHASH = keccak256("Acceptance(bytes32 jobId)");
    uint256 public constant MAX_DURATION = JobRules.MAX_DURATION;

    IComputeCredits public immutable CREDITS;
    ICreditReserve public immutable RESERVE;
    IProviderRegistry public immutable REGISTRY;
    IReceiptVerifier public immutable VERIFIER;

    /// @dev Domain receipts are signed in. Kept here although a chain that splits would change it: receipts name their
    /// job, whose id is hashed with the chain id of the moment, so none can be used on both sides of a split.
    bytes32 private immutable _RECEIPT_DOMAIN;

    /* STORAGE */

    mapping(bytes32 jobId => Job) private _jobs;
    mapping(bytes32 jobId => Submission) private _submissions;

    /// @dev Rows of one class that follow each other: burned, given back and paid in one go.
    struct Group {
        uint256 classId;
        uint256 units;
        Release[] releases;
        uint256 count;
        SettlementTerms class_;
    }

    /* CONSTRUCTOR */

    constructor(IComputeCredits credits, ICreditReserve reserve, IProviderRegistry registry, IReceiptVerifier verifier)
        EIP712("Scrip JobMarket", "1")
    {
        CREDITS = credits;
        RESERVE = reserve;
        REGISTRY = registry;
        VERIFIER = verifier;
        _RECEIPT_DOMAIN = verifier.domainSeparator();
    }

    /* OPENING */

    /// @inheritdoc IJobMarket
    function open(JobTerms calldata terms, bytes calldata quote) external returns (bytes32 jobId) {
        jobId = hashTerms(terms);
        if (msg.sender != terms.payer) {
            revert JobMarket_NotPayer(jobId, JobRules.number(msg.sender), JobRules.number(terms.payer));
        }
        _open(jobId, terms, quote);
    }

    /// @inheritdoc IJobMarket
    function openBySig(JobTerms calldata terms, bytes calldata signature, bytes calldata quote)
        external
        returns (bytes32 jobId)
    {
        jobId = hashTerms(terms);
        if (!SignatureChecker.isValidSignatureNowCalldata(terms.payer, jobId, signature)) {
            revert JobMarket_BadSignature(jobId, signature.length, JobRules.number(terms.payer));
        }
        _open(jobId, terms, quote);
    }

    /// @inheritdoc IJobMarket
    function accept(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Job storage job = _jobs[jobId];
        JobRules.checkStatus(jobId, job.status, Status.Open);
        if (block.timestamp > terms.acceptBy) {
            revert JobMarket_DeadlinePassed(jobId, block.timestamp, terms.acceptBy);
        }
        address oracle = _servingOracle(jobId, terms);
        if (msg.sender != terms.provider && msg.sender != oracle) {
            revert JobMarket_NotProvider(jobId, JobRules.number(msg.sender), JobRules.number(terms.provider));
        }
        job.status = Status.Running;
        emit JobAccepted(jobId, terms.provider);
    }

    /* ENDING WITHOUT PAY */

    /// @inheritdoc IJobMarket
    function cancel(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Job storage job = _jobs[jobId];
        Status status = job.status;
        if (status == Status.Running) _checkProvider(jobId, terms.provider);
        else JobRules.checkStatus(jobId, status, Status.Open);
        if (msg.sender != terms.payer) _checkProvider(jobId, terms.provider);
        job.status = Status.Cancelled;
        emit JobCancelled(jobId, msg.sender);
        _giveBack(terms);
    }

    /// @inheritdoc IJobMarket
    function expire(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Job storage job = _jobs[jobId];
        Status status = job.status;
        uint256 deadline = terms.acceptBy;
        if (status == Status.Running) deadline = terms.submitBy;
        else JobRules.checkStatus(jobId, status, Status.Open);
        if (block.timestamp <= deadline) revert JobMarket_DeadlineNotReached(jobId, block.timestamp, deadline);
        job.status = Status.Expired;
        emit JobExpired(jobId, msg.sender);
        _giveBack(terms);
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
        _verify(jobId, receiptHash, terms.provider, group.class_.watcherSet, receipt.assurance, attestation);
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

    /// @inheritdoc IJobMarket
    function finalize(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        Job storage job = _jobs[jobId];
        JobRules.checkStatus(jobId, job.status, Status.Submitted);
        Submission memory submission = _submissions[jobId];
        if (block.timestamp < submission.finalizeAt) {
            revert JobMarket_DeadlineNotReached(jobId, block.timestamp, submission.finalizeAt);
        }
        Group memory group = _group(1);
        group.classId = terms.classId;
        _settle(jobId, terms, submission.units, submission.receiptHash, group);
        _close(terms.provider, group);
    }

    /* VIEWS */

    /// @inheritdoc IJobMarket
    function jobs(bytes32 jobId) external view returns (Job memory) {
        return _jobs[jobId];
    }

    /// @inheritdoc IJobMarket
    function submissions(bytes32 jobId) external view returns (Submission memory) {
        return _submissions[jobId];
    }

    /// @inheritdoc IJobMarket
    function hashTerms(JobTerms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(JobRules.hash(terms));
    }

    /// @inheritdoc IJobMarket
    function quoteDigest(bytes32 jobId) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(QUOTE_TYPEHASH, jobId)));
    }

    /* INTERNAL: OPENING */

    /// @dev The payer's consent was checked by the caller.
    function _open(bytes32 jobId, JobTerms calldata terms, bytes calldata quote) private {
        JobRules.checkTerms(jobId, terms);
        JobRules.checkStatus(jobId, _jobs[jobId].status, Status.None);
        bool quoted = quote.length != 0;
        if (quoted) {
            address oracle = _servingOracle(jobId, terms);
            _checkOracle(jobId, quoteDigest(jobId), oracle, quote);
        }
        // Truncated on purpose: 96 unpredictable bits are enough to date evidence, which is bound to the job besides.
        uint96 nonce = uint96(uint256(blockhash(block.number - 1)));
        _jobs[jobId] = Job(quoted ? Status.Running : Status.Open, uint40(block.timestamp), nonce);
        emit JobOpened(
            jobId,
            terms.payer,
            terms.provider,
            terms.classId,
            terms.maxUnits,
            terms.resources,
            terms.acceptBy,
            terms.submitBy,
            terms.specHash,
            terms.budgetId,
            terms.salt
        );
        if (quoted) emit JobAccepted(jobId, terms.provider);
        CREDITS.lock(terms.payer, terms.classId, terms.maxUnits);
    }

    /// @dev The oracle key of a provider that may serve the job's class.
    function _servingOracle(bytes32 jobId, JobTerms calldata terms) private view returns (address oracle) {
        (bytes32 sku, bytes12 region, bool listed) = CREDITS.servingTerms(terms.classId, terms.provider);
        oracle = REGISTRY.oracleFor(terms.provider, sku, region);
        if (oracle == address(0) || !listed) {
            revert JobMarket_CannotServe(jobId, JobRules.number(terms.provider), terms.classId);
        }
    }

    /* INTERNAL: SETTLEMENT */

    /// @dev The oracle key signed, and from assurance 2 on a threshold of watchers did.
    function _verify(
        bytes32 jobId,
        bytes32 structHash,
        address provider,
        uint256 watcherSet,
        uint256 assurance,
        Attestation calldata attestation
    ) private view {
        bytes32 digest = MessageHashUtils.toTypedDataHash(_RECEIPT_DOMAIN, structHash);
        _checkOracle(jobId, digest, REGISTRY.oracleOf(provider), attestation.provider);
        if (assurance >= JobRules.WATCHED_ASSURANCE) VERIFIER.verify(watcherSet, digest, attestation.watchers);
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
        _verify(0, ReceiptHash.hashBatch(hashes), provider, watcherSet, assurance, attestation);
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
        if (reason == 0 && group.class_.watcherSet != watcherSet && receipt.assurance >= JobRules.WATCHED_ASSURANCE) {
            (reason, given, limit) = (JobMarket_WrongWatcherSet.selector, watcherSet, group.class_.watcherSet);
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
        if (receipt.outcome == Outcome.Failed) {
            _jobs[jobId].status = Status.Refunded;
            emit JobRefunded(jobId, terms.provider, receiptHash);
            _release(group, terms.payer, terms.maxUnits);
        } else if (group.class_.challengeWindow == 0) {
            _settle(jobId, terms, receipt.units, receiptHash, group);
        } else {
            uint256 finalizeAt = block.timestamp + group.class_.challengeWindow;
            _jobs[jobId].status = Status.Submitted;
            // Safe cast: a challenge window is at most 30 days.
            _submissions[jobId] =
                Submission(receipt.units, uint40(finalizeAt), receipt.assurance, receipt.outcome, receiptHash);
            emit JobSubmitted(jobId, receiptHash, finalizeAt);
        }
    }

    /// @dev Leaves what was used and what was not in the group; `_close` burns, pays and returns it.
    function _settle(bytes32 jobId, JobTerms calldata terms, uint256 units, bytes32 receiptHash, Group memory group)
        private
    {
        _jobs[jobId].status = Status.Settled;
        emit JobSettled(jobId, terms.provider, units, receiptHash);
        group.units += units;
        uint256 rest = terms.maxUnits - units;
        if (rest != 0) _release(group, terms.payer, rest);
    }

    /// @dev Moves the credits of the group, pays the provider, and empties it.
    function _close(address provider, Group memory group) private {
        (uint256 units, uint256 count) = (group.units, group.count);
        if (units == 0 && count == 0) return;
        (group.units, group.count) = (0, 0);
        Release[] memory releases = group.releases;
        uint256 room = releases.length;
        // Shortened to what is filled for the call, then given back its room for the next group.
        assembly ("memory-safe") {
            mstore(releases, count)
        }
        uint256 supplyBefore = CREDITS.settle(group.classId, units, releases);
        assembly ("memory-safe") {
            mstore(releases, room)
        }
        if (units != 0) RESERVE.payOut(group.classId, provider, units, supplyBefore);
    }

    function _giveBack(JobTerms calldata terms) private {
        Release[] memory releases = new Release[](1);
        releases[0] = Release(terms.payer, terms.maxUnits);
        CREDITS.settle(terms.classId, 0, releases);
    }

    function _release(Group memory group, address payer, uint256 units) private pure {
        uint256 i = group.count++;
        Release memory item = group.releases[i];
        (item.to, item.units) = (payer, units);
    }

    function _group(uint256 rows) private pure returns (Group memory group) {
        group.releases = new Release[](rows);
    }

    function _load(Group memory group, uint256 classId) private view {
        (group.classId, group.class_) = (classId, CREDITS.settlementTerms(classId));
    }

    /* INTERNAL: CHECKS */

    /// @dev `oracle` is zero for an unregistered provider; so is the signer of a malformed signature, hence both checks.
    function _checkOracle(bytes32 jobId, bytes32 digest, address oracle, bytes calldata signature) private pure {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer != oracle || signer == address(0)) {
            revert JobMarket_BadSignature(jobId, JobRules.number(signer), JobRules.number(oracle));
        }
    }

    function _checkProvider(bytes32 jobId, address provider) private view {
        if (msg.sender == provider || msg.sender == REGISTRY.oracleOf(provider)) return;
        revert JobMarket_NotParty(jobId, JobRules.number(msg.sender), JobRules.number(provider));
    }
}
