// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {JobTerms, Status} from "./Types.sol";

/// @title Reads a job in the shape of ERC-8183, for indexers and agents that know it.
interface IJobLens {
    /// @notice The statuses of ERC-8183, and one it doesn't have. Whoever decodes only its six can't take `Unknown` for one
    /// of them.
    enum JobStatus {
        Open,
        Funded,
        Submitted,
        Completed,
        Rejected,
        Expired,
        Unknown
    }

    /// @notice A job as ERC-8183 has it.
    /// @param id The job's id as a number.
    /// @param evaluator The job market: it alone completes or rejects, on receipts and verdicts.
    /// @param description Hash of the job's spec, in hex: the spec itself isn't on the chain.
    /// @param budget Most the job can cost, in the class's payment token at its fixed price, rounded up; with a feed, at the
    /// price its answers are held against. 0 for a class without a price.
    /// @param expiredAt Unix seconds after which anyone can end it: until it is accepted `acceptBy`, then `submitBy`.
    /// @param hook Always zero.
    struct Job {
        uint256 id;
        address client;
        address provider;
        address evaluator;
        string description;
        uint256 budget;
        uint256 expiredAt;
        JobStatus status;
        address hook;
    }

    /// @notice The job with these terms. Open: not opened yet, nothing is locked. Funded: open or running. Submitted:
    /// waiting for its window, or disputed. Completed: settled. Rejected: refunded or cancelled.
    /// @return job Its status is `Unknown` if `known` is false.
    /// @return known False after `acceptBy` if the chain holds nothing of the job: it was never opened, or it ended and its
    /// slot was emptied. How it ended is then in the market's events only.
    function getJob(JobTerms calldata terms) external view returns (Job memory job, bool known);

    /// @notice Status as the market keeps it, and whether nothing can happen under these terms any more.
    function stateOf(JobTerms calldata terms) external view returns (Status status, bool ended);
}
