// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Attestation, JobTerms, Outcome, Receipt, Status} from "./Types.sol";

/// @title Market: holds the credits locked in jobs and owns every change of a job's status.
interface IJobMarket {
    /// @notice What the chain stores of a job: one slot.
    /// @param openedAt Unix seconds of the opening block.
    /// @param nonce Drawn at opening; seeds the job's evidence, which therefore can't be older than the job.
    struct Job {
        Status status;
        uint40 openedAt;
        uint96 nonce;
    }

    /// @notice A receipt waiting for its challenge window to pass.
    struct Submission {
        uint128 units;
        uint40 finalizeAt;
        uint8 assurance;
        Outcome outcome;
        bytes32 receiptHash;
    }

    event JobOpened(
        bytes32 indexed jobId,
        address indexed payer,
        address indexed provider,
        uint256 classId,
        uint128 maxUnits,
        uint32 resources,
        uint40 acceptBy,
        uint40 submitBy,
        bytes32 specHash,
        uint256 budgetId,
        uint256 salt
    );
    event JobAccepted(bytes32 indexed jobId, address indexed provider);
    event JobCancelled(bytes32 indexed jobId, address by);
    event JobExpired(bytes32 indexed jobId, address by);
    event JobSubmitted(bytes32 indexed jobId, bytes32 receiptHash, uint256 finalizeAt);
    event JobSettled(bytes32 indexed jobId, address indexed provider, uint256 units, bytes32 receiptHash);
    event JobRefunded(bytes32 indexed jobId, address indexed provider, bytes32 receiptHash);
    /// @notice A row of a batch was left out: the job is as it was. `reason` is the selector of the error that
    /// `submit` would have reverted with.
    event RowSkipped(bytes32 indexed jobId, bytes4 reason, uint256 given, uint256 limit);

    // Every error is (jobId, given, limit). Addresses and hashes are given as numbers.
    error JobMarket_NotPayer(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_NotProvider(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_NotParty(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BadSignature(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BudgetUnsupported(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_ZeroUnits(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_ZeroResources(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_DeadlinePassed(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_DeadlineOrder(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_DeadlineTooFar(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_DeadlineNotReached(bytes32 jobId, uint256 given, uint256 limit);
    /// @notice `given` is the job's status, `limit` the one needed.
    error JobMarket_WrongStatus(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_CannotServe(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_WrongJob(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BadOutcome(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_TooManyUnits(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_TooFast(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BadInterval(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_LowAssurance(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BadAssurance(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_WrongWatcherSet(bytes32 jobId, uint256 given, uint256 limit);
    error JobMarket_BadBatch(bytes32 jobId, uint256 given, uint256 limit);

    /// @notice Locks `terms.maxUnits` of the caller's credits for one job.
    /// @param quote Empty, or the provider's signature over `Acceptance(jobId)`: the job then runs at once.
    /// @return jobId `hashTerms(terms)`.
    function open(JobTerms calldata terms, bytes calldata quote) external returns (bytes32 jobId);

    /// @notice `open` for a payer who signed the terms (ECDSA or ERC-1271); anyone may send it.
    /// @dev The signature can't be used twice, because equal terms are the same job.
    function openBySig(JobTerms calldata terms, bytes calldata signature, bytes calldata quote)
        external
        returns (bytes32 jobId);

    /// @notice Takes an open job. Provider or its oracle key.
    function accept(JobTerms calldata terms) external;

    /// @notice Ends a job without pay and returns the lock. The payer while it is open; the provider or its oracle key
    /// while it is open or running.
    function cancel(JobTerms calldata terms) external;

    /// @notice Takes a receipt: settles at once, or after the class's challenge window. Anyone may send it.
    function submit(JobTerms calldata terms, Receipt calldata receipt, Attestation calldata attestation) external;

    /// @notice Takes receipts of one provider, signed once as `ReceiptBatch(hashes)`. A row that can't settle is skipped
    /// and reported by `RowSkipped`; a bad signature fails the whole batch.
    /// @param watcherSet Set whose watchers signed; rows of assurance 2 and 3 must belong to a class that uses it.
    /// @return taken Rows that were settled or submitted.
    function submitBatch(
        JobTerms[] calldata terms,
        Receipt[] calldata receipts,
        uint256 watcherSet,
        Attestation calldata attestation
    ) external returns (uint256 taken);

    /// @notice Settles a submission whose challenge window has passed. Anyone.
    function finalize(JobTerms calldata terms) external;

    /// @notice Ends a job whose deadline has passed and returns the lock. Anyone.
    function expire(JobTerms calldata terms) external;

    function jobs(bytes32 jobId) external view returns (Job memory);
    function submissions(bytes32 jobId) external view returns (Submission memory);

    /// @notice Id of the job with these terms; also what a payer signs for `openBySig`.
    function hashTerms(JobTerms calldata terms) external view returns (bytes32);

    /// @notice Digest of `Acceptance(jobId)` that a provider signs as a quote.
    function quoteDigest(bytes32 jobId) external view returns (bytes32);
}
