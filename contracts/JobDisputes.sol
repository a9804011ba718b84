// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {Fault, JobTerms, Receipt, ReviewTerms, Status} from "./interfaces/Types.sol";
import {JobBook} from "./JobBook.sol";
import {JobRules} from "./libraries/JobRules.sol";
import {JobSlot} from "./libraries/JobSlot.sol";

/// @title JobDisputes
/// @dev What happens between a submission and its settlement where a class has a challenge window.
abstract contract JobDisputes is JobBook {
    /* CONSTANTS */

    uint256 public constant DISPUTE_PERIOD = JobRules.DISPUTE_PERIOD;

    /* STORAGE */

    mapping(bytes32 jobId => Submission) private _submissions;
    mapping(bytes32 jobId => Dispute) private _disputes;

    /* DISPUTES */

    /// @inheritdoc IJobMarket
    function challenge(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        JobRules.checkStatus(jobId, JobSlot.status(job), Status.Submitted);
        uint256 finalizeAt = _submissions[jobId].finalizeAt;
        if (block.timestamp >= finalizeAt) revert JobMarket_DeadlinePassed(jobId, block.timestamp, finalizeAt);
        uint256 decideBy = block.timestamp + DISPUTE_PERIOD;
        _jobs[jobId] = JobSlot.withStatus(job, Status.Disputed);
        // Safe cast: block times stay below 2**40.
        _disputes[jobId] = Dispute(msg.sender, uint40(decideBy));
        uint256 bond = REGISTRY.takeBond(jobId, msg.sender);
        emit JobChallenged(jobId, msg.sender, bond, decideBy);
    }

    /// @inheritdoc IJobMarket
    function resolve(JobTerms calldata terms, Verdict calldata verdict, bytes[] calldata signatures) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        JobRules.checkStatus(jobId, JobSlot.status(job), Status.Disputed);
        if (verdict.jobId != jobId) revert JobMarket_WrongJob(jobId, uint256(verdict.jobId), uint256(jobId));
        Dispute memory dispute = _disputes[jobId];
        if (block.timestamp > dispute.decideBy) {
            revert JobMarket_DeadlinePassed(jobId, block.timestamp, dispute.decideBy);
        }
        uint256 submitted = _submissions[jobId].units;
        if (verdict.units > submitted) revert JobMarket_TooManyUnits(jobId, verdict.units, submitted);
        Group memory group = _group(1);
        _load(group, terms.classId);
        ReviewTerms memory class_ = _review(group);
        VERIFIER.verify(class_.arbiterSet, verdictDigest(verdict), signatures);
        emit JobResolved(jobId, verdict.units, verdict.fault);
        _conclude(jobId, job, terms, verdict.units, group);
        REGISTRY.releaseBond(jobId, verdict.fault == Fault.Challenger ? terms.provider : dispute.challenger);
        // After the job's own stake was freed, so that what is taken is no longer set aside.
        if (verdict.fault == Fault.Provider) {
            uint256 stake = JobRules.stakeFor(class_, terms.maxUnits);
            REGISTRY.slash(jobId, terms.provider, stake, terms.payer, dispute.challenger);
        }
        _close(terms.provider, group);
    }

    /// @inheritdoc IJobMarket
    function finalize(JobTerms calldata terms) external {
        bytes32 jobId = hashTerms(terms);
        uint256 job = _jobs[jobId];
        (bytes4 reason, uint256 given, uint256 limit) = _waiting(jobId, JobSlot.status(job));
        if (reason != 0) JobRules.raise(reason, jobId, given, limit);
        Group memory group = _group(1);
        _load(group, terms.classId);
        _finish(jobId, job, terms, group);
        _close(terms.provider, group);
    }

    /// @inheritdoc IJobMarket
    function finalizeBatch(JobTerms[] calldata terms) external returns (uint256 taken) {
        uint256 rows = terms.length;
        if (rows == 0) revert JobMarket_BadBatch(0, 0, 1);
        Group memory group = _group(rows);
        address provider = terms[0].provider;
        for (uint256 i; i < rows; ++i) {
            bytes32 jobId = hashTerms(terms[i]);
            uint256 job = _jobs[jobId];
            (bytes4 reason, uint256 given, uint256 limit) = _waiting(jobId, JobSlot.status(job));
            if (reason != 0) {
                emit RowSkipped(jobId, reason, given, limit);
                continue;
            }
            if (terms[i].classId != group.classId || terms[i].provider != provider) {
                _close(provider, group);
                provider = terms[i].provider;
                _load(group, terms[i].classId);
            }
            _finish(jobId, job, terms[i], group);
            taken++;
        }
        _close(provider, group);
    }

    /* VIEWS */

    /// @inheritdoc IJobMarket
    function submissions(bytes32 jobId) external view returns (Submission memory) {
        return _submissions[jobId];
    }

    /// @inheritdoc IJobMarket
    function disputes(bytes32 jobId) external view returns (Dispute memory) {
        return _disputes[jobId];
    }

    /// @inheritdoc IJobMarket
    function verdictDigest(Verdict calldata verdict) public view returns (bytes32) {
        return
            _hashTypedDataV4(
                keccak256(abi.encode(JobRules.VERDICT_TYPEHASH, verdict.jobId, verdict.units, verdict.fault))
            );
    }

    /* INTERNAL */

    /// @dev Keeps a receipt until its window has passed.
    function _await(bytes32 jobId, uint256 job, Receipt calldata receipt, bytes32 receiptHash, Group memory group)
        internal
    {
        uint256 finalizeAt = block.timestamp + _review(group).challengeWindow;
        _jobs[jobId] = JobSlot.withStatus(job, Status.Submitted);
        // Safe cast: a challenge window is at most 30 days.
        _submissions[jobId] =
            Submission(receipt.units, uint40(finalizeAt), receipt.assurance, receipt.outcome, receiptHash);
        emit JobSubmitted(jobId, receiptHash, finalizeAt);
    }

    /// @dev Why a job can't be finalized now; zero if it can.
    function _waiting(bytes32 jobId, Status status) private view returns (bytes4 reason, uint256 given, uint256 limit) {
        if (status == Status.Submitted) {
            uint256 finalizeAt = _submissions[jobId].finalizeAt;
            if (block.timestamp < finalizeAt) {
                return (JobMarket_DeadlineNotReached.selector, block.timestamp, finalizeAt);
            }
        } else if (status == Status.Disputed) {
            uint256 decideBy = _disputes[jobId].decideBy;
            if (block.timestamp <= decideBy) {
                return (JobMarket_DeadlineNotReached.selector, block.timestamp, decideBy);
            }
        } else {
            return (JobMarket_WrongStatus.selector, uint256(status), uint256(Status.Submitted));
        }
        return (0, 0, 0);
    }

    /// @dev Nobody objected, or nobody decided: what watchers had checked stands, the word of the provider alone doesn't.
    function _finish(bytes32 jobId, uint256 job, JobTerms calldata terms, Group memory group) private {
        uint256 units = _submissions[jobId].units;
        if (JobSlot.status(job) == Status.Disputed) {
            if (_submissions[jobId].assurance < JobRules.WATCHED_ASSURANCE) units = 0;
            address challenger = _disputes[jobId].challenger;
            emit JobResolved(jobId, units, Fault.None);
            _conclude(jobId, job, terms, units, group);
            REGISTRY.releaseBond(jobId, challenger);
        } else {
            bytes32 receiptHash = _submissions[jobId].receiptHash;
            delete _submissions[jobId];
            _settle(jobId, job, terms, units, receiptHash, group);
        }
    }

    function _conclude(bytes32 jobId, uint256 job, JobTerms calldata terms, uint256 units, Group memory group) private {
        bytes32 receiptHash = _submissions[jobId].receiptHash;
        delete _submissions[jobId];
        delete _disputes[jobId];
        if (units == 0) _refund(jobId, job, terms, receiptHash, group);
        else _settle(jobId, job, terms, units, receiptHash, group);
    }
}
