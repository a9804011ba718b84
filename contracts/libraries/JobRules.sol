// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "../interfaces/IJobMarket.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {JobTerms, Outcome, Receipt, ReviewTerms, Status} from "../interfaces/Types.sol";
import {ClassPolicy} from "./ClassPolicy.sol";
import {JobSlot} from "./JobSlot.sol";
import {JobWords} from "./JobWords.sol";
import {WordsHash} from "./WordsHash.sol";

/// @title What makes terms and receipts acceptable. Reads nothing but what it is given and the time.
library JobRules {
    bytes32 internal constant TERMS_TYPEHASH = keccak256(
        "JobTerms(address payer,address provider,uint256 classId,uint128 maxUnits,uint32 resources,uint40 acceptBy,uint40 submitBy,bytes32 specHash,uint256 budgetId,uint256 salt)"
    );
    bytes32 internal constant QUOTE_TYPEHASH = keccak256("Acceptance(bytes32 jobId)");
    bytes32 internal constant CANCEL_TYPEHASH = keccak256("Cancel(bytes32 jobId,uint256 deadline)");
    bytes32 internal constant VERDICT_TYPEHASH = keccak256("Verdict(bytes32 jobId,uint128 units,uint8 fault)");
    uint256 internal constant MAX_DURATION = 30 days;
    /// @dev How long arbiters have from a challenge on.
    uint256 internal constant DISPUTE_PERIOD = 7 days;
    uint256 internal constant MAX_ASSURANCE = 3;
    /// @dev From this assurance on, watchers must have signed.
    uint256 internal constant WATCHED_ASSURANCE = 2;
    uint256 private constant TERMS_WORDS = 10;
    uint256 private constant PRICED_CREDITS = 1_000_000;

    /// @dev EIP-712 struct hash of terms.
    function hash(JobTerms calldata terms) internal pure returns (bytes32) {
        uint256 offset;
        assembly {
            offset := terms
        }
        return WordsHash.hash(TERMS_TYPEHASH, offset, TERMS_WORDS);
    }

    function checkTerms(bytes32 jobId, JobTerms calldata terms) internal view {
        if (terms.maxUnits == 0) revert IJobMarket.JobMarket_ZeroUnits(jobId, 0, 1);
        if (terms.resources == 0) revert IJobMarket.JobMarket_ZeroResources(jobId, 0, 1);
        (uint256 acceptBy, uint256 submitBy) = (terms.acceptBy, terms.submitBy);
        if (block.timestamp > acceptBy) {
            revert IJobMarket.JobMarket_DeadlinePassed(jobId, block.timestamp, acceptBy);
        }
        if (submitBy < acceptBy) revert IJobMarket.JobMarket_DeadlineOrder(jobId, submitBy, acceptBy);
        uint256 latest = block.timestamp + MAX_DURATION;
        if (submitBy > latest) revert IJobMarket.JobMarket_DeadlineTooFar(jobId, submitBy, latest);
    }

    /// @dev Stake behind a job, rounded up.
    function stakeFor(ReviewTerms memory class_, uint256 units) internal pure returns (uint256) {
        return
            Math.mulDiv(
                units, class_.stakePerMillion, 10 ** uint256(class_.decimals) * PRICED_CREDITS, Math.Rounding.Ceil
            );
    }

    /// @dev What is wrong with a submission, as the error to revert with or to report; zero if nothing is. One list for
    /// single and batched submissions, so that they can't differ.
    function fault(bytes32 jobId, uint256 job, JobTerms calldata terms, Receipt calldata receipt, uint256 maxRate)
        internal
        view
        returns (bytes4 reason, uint256 given, uint256 limit)
    {
        (Status status, uint256 openedAt) = (JobSlot.status(job), JobSlot.openedAt(job));
        if (status != Status.Running) {
            return (IJobMarket.JobMarket_WrongStatus.selector, uint256(status), uint256(Status.Running));
        }
        if (receipt.jobId != jobId) {
            return (IJobMarket.JobMarket_WrongJob.selector, uint256(receipt.jobId), uint256(jobId));
        }
        if (block.timestamp > JobWords.submitBy(terms)) {
            return (IJobMarket.JobMarket_DeadlinePassed.selector, block.timestamp, terms.submitBy);
        }
        (uint256 startedAt, uint256 endedAt) = (JobWords.startedAt(receipt), JobWords.endedAt(receipt));
        if (startedAt < openedAt) return (IJobMarket.JobMarket_BadInterval.selector, startedAt, openedAt);
        if (endedAt < startedAt) return (IJobMarket.JobMarket_BadInterval.selector, endedAt, startedAt);
        if (endedAt > block.timestamp) {
            return (IJobMarket.JobMarket_BadInterval.selector, endedAt, block.timestamp);
        }
        uint256 assurance = JobWords.assurance(receipt);
        if (assurance > MAX_ASSURANCE) return (IJobMarket.JobMarket_BadAssurance.selector, assurance, MAX_ASSURANCE);
        return _usageFault(terms, receipt, JobSlot.policy(job), maxRate, endedAt - startedAt, assurance);
    }

    /// @dev Reverts with the fault as the custom error it names: all of the market's errors have this shape.
    function raise(bytes4 reason, bytes32 jobId, uint256 given, uint256 limit) internal pure {
        bytes memory data = abi.encodeWithSelector(reason, jobId, given, limit);
        assembly ("memory-safe") {
            revert(add(data, 32), mload(data))
        }
    }

    function checkStatus(bytes32 jobId, Status given, Status needed) internal pure {
        if (given != needed) revert IJobMarket.JobMarket_WrongStatus(jobId, uint256(given), uint256(needed));
    }

    /// @dev An account as the market's errors carry it.
    function number(address account) internal pure returns (uint256) {
        return uint160(account);
    }

    function _usageFault(
        JobTerms calldata terms,
        Receipt calldata receipt,
        uint256 policy,
        uint256 maxRate,
        uint256 elapsed,
        uint256 assurance
    ) private pure returns (bytes4 reason, uint256 given, uint256 limit) {
        (uint256 units, uint256 outcome) = (JobWords.units(receipt), JobWords.outcome(receipt));
        // A failure costs the payer nothing, so it needs no watcher.
        if (outcome == uint256(Outcome.Failed)) {
            if (units != 0) return (IJobMarket.JobMarket_TooManyUnits.selector, units, 0);
            return (0, 0, 0);
        }
        if (outcome != uint256(Outcome.Completed)) {
            return (IJobMarket.JobMarket_BadOutcome.selector, outcome, uint256(Outcome.Completed));
        }
        uint256 least = ClassPolicy.minAssurance(policy);
        if (assurance < least) return (IJobMarket.JobMarket_LowAssurance.selector, assurance, least);
        uint256 most = JobWords.maxUnits(terms);
        if (units > most) return (IJobMarket.JobMarket_TooManyUnits.selector, units, most);
        // A second that has begun counts. Can't overflow: 41 + 32 + 64 bits.
        uint256 possible;
        unchecked {
            possible = (elapsed + 1) * JobWords.resources(terms) * maxRate;
        }
        if (units > possible) return (IJobMarket.JobMarket_TooFast.selector, units, possible);
        return (0, 0, 0);
    }
}
