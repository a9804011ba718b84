// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Attestation, Fault, JobTerms, Outcome, Receipt, Status} from "./Types.sol";

/// @title Market: holds the credits locked in jobs and owns every change of a job's status.
interface IJobMarket {
    /// @notice What the chain stores of a job: one slot. It is emptied when the job ends after `acceptBy`: nothing can open
    /// the same terms again, and how it ended is in its last event. A job that ends before keeps its final status.
    /// @param openedAt Unix seconds of the opening block.
    /// @param nonce Drawn at opening; seeds the job's evidence, which therefore can't be older than the job.
    /// @param charge What the job's budget was charged, in base units of the budget's token.
    struct Job {
        Status status;
        uint40 openedAt;
        uint96 nonce;
        uint96 charge;
    }

    /// @notice A receipt waiting for its challenge window to pass.
    struct Submission {
        uint128 units;
        uint40 finalizeAt;
        uint8 assurance;
        Outcome outcome;
        bytes32 receiptHash;
    }

    /// @notice A challenge of a submission.
    /// @param decideBy Unix seconds until which arbiters can decide; anyone can finalize after it.
    struct Dispute {
        address challenger;
        uint40 decideBy;
    }

    /// @notice What arbiters decide: the units due, at most those submitted, and who was wrong.
    struct Verdict {
        bytes32 jobId;
        uint128 units;
        Fault fault;
    }

    /// @param quoted The provider took the job by a quote, so it runs at once and no `JobAccepted` follows.
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
        uint256 salt,
        uint96 nonce,
        bool quoted
    );
    /// @notice A provider took an open job. Of a job that runs from its opening on, by a quote, `JobOpened` says so.
    event JobAccepted(bytes32 indexed jobId, address indexed provider);
    event JobCancelled(bytes32 indexed jobId, address by);
    event JobExpired(bytes32 indexed jobId, address by);
    event JobSubmitted(bytes32 indexed jobId, bytes32 receiptHash, uint256 finalizeAt);
    event JobChallenged(bytes32 indexed jobId, address indexed challenger, uint256 bond, uint256 decideBy);
    event JobResolved(bytes32 indexed jobId, uint256 units, Fault fault);
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
    /// @notice `open` was called with a budget, or `openFor` without.
    error JobMarket_BudgetMismatch(bytes32 jobId, uint256 given, uint256 limit);
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

    /// @notice `open` by the spender of the budget that the terms name: the payer, who owns the budget, pays.
    function openFor(JobTerms calldata terms, bytes calldata quote) external returns (bytes32 jobId);

    /// @notice `open` or, with a budget, `openFor`, for a payer or spender who signed the terms (ECDSA or ERC-1271); anyone
    /// may send it.
    /// @dev The signature can't be used twice, because equal terms are the same job.
    function openBySig(JobTerms calldata terms, bytes calldata signature, bytes calldata quote)
        external
        returns (bytes32 jobId);

    /// @notice Takes an open job. Provider or its oracle key.
    function accept(JobTerms calldata terms) external;

    /// @notice Takes an open job by the provider's quote. Anyone may send it.
    function acceptBySig(JobTerms calldata terms, bytes calldata quote) external;

    /// @notice Ends a job without pay and frees the lock. The payer, or the spender of its budget, while it is open; the
    /// provider or its oracle key while it is open or running.
    function cancel(JobTerms calldata terms) external;

    /// @notice `cancel` of an open job for a payer, or spender, who signed `Cancel(jobId,deadline)`.
    function cancelBySig(JobTerms calldata terms, uint256 deadline, bytes calldata signature) external;

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

    /// @notice Settles a submission whose challenge window has passed. Of a dispute nobody decided in time, a receipt of
    /// assurance 2 or 3 stands and a lower one is refunded; the bond goes back. Anyone.
    function finalize(JobTerms calldata terms) external;

    /// @notice `finalize` for many; rows that can't are skipped and reported by `RowSkipped`.
    /// @return taken Rows that ended.
    function finalizeBatch(JobTerms[] calldata terms) external returns (uint256 taken);

    /// @notice Disputes a submission within its window. The caller pays a bond, for which it approved the registry.
    function challenge(JobTerms calldata terms) external;

    /// @notice Ends a dispute as a threshold of the class's arbiters signed. Anyone may send it. A provider at fault loses
    /// the stake that was set aside for the job, a challenger at fault the bond.
    /// @param signatures Over `Verdict(jobId,units,fault)`, sorted by ascending signer.
    function resolve(JobTerms calldata terms, Verdict calldata verdict, bytes[] calldata signatures) external;

    /// @notice Ends a job whose deadline has passed and returns the lock. Anyone.
    function expire(JobTerms calldata terms) external;

    function jobs(bytes32 jobId) external view returns (Job memory);
    function submissions(bytes32 jobId) external view returns (Submission memory);
    function disputes(bytes32 jobId) external view returns (Dispute memory);

    /// @notice Id of the job with these terms; also what a payer signs for `openBySig`.
    function hashTerms(JobTerms calldata terms) external view returns (bytes32);

    /// @notice Digest of `Acceptance(jobId)` that a provider signs as a quote.
    function quoteDigest(bytes32 jobId) external view returns (bytes32);

    /// @notice Digest of a verdict that arbiters sign.
    function verdictDigest(Verdict calldata verdict) external view returns (bytes32);
}
