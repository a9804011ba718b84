// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IJobLens} from "./interfaces/IJobLens.sol";
import {IJobMarket} from "./interfaces/IJobMarket.sol";
import {JobTerms, SaleTerms, Status, System} from "./interfaces/Types.sol";

/// @title JobLens
/// @dev Trust model: reads and holds nothing. No contract of Scrip calls it, so a mistake here moves nobody's credits.
contract JobLens is IJobLens {
    uint256 private constant PRICE_CREDITS = 1_000_000;

    IComputeCredits public immutable CREDITS;
    IJobMarket public immutable MARKET;

    constructor(System memory system) {
        CREDITS = IComputeCredits(system.credits);
        MARKET = IJobMarket(system.market);
    }

    /// @inheritdoc IJobLens
    function getJob(JobTerms calldata terms) external view returns (Job memory job, bool known) {
        bytes32 jobId = MARKET.hashTerms(terms);
        Status status = MARKET.jobs(jobId).status;
        job.id = uint256(jobId);
        (job.client, job.provider, job.evaluator) = (terms.payer, terms.provider, address(MARKET));
        job.description = Strings.toHexString(uint256(terms.specHash), 32);
        job.budget = _value(terms.classId, terms.maxUnits);
        job.expiredAt = status == Status.None || status == Status.Open ? terms.acceptBy : terms.submitBy;
        job.status = _statusOf(status, terms.acceptBy);
        known = job.status != JobStatus.Unknown;
    }

    /// @inheritdoc IJobLens
    function stateOf(JobTerms calldata terms) external view returns (Status status, bool ended) {
        status = MARKET.jobs(MARKET.hashTerms(terms)).status;
        ended = status == Status.None ? block.timestamp > terms.acceptBy : status >= Status.Settled;
    }

    /// @dev Until `acceptBy` the market remembers every job, so one it doesn't know was not opened.
    function _statusOf(Status status, uint256 acceptBy) private view returns (JobStatus) {
        if (status == Status.None) return block.timestamp > acceptBy ? JobStatus.Unknown : JobStatus.Open;
        if (status == Status.Open || status == Status.Running) return JobStatus.Funded;
        if (status == Status.Submitted || status == Status.Disputed) return JobStatus.Submitted;
        if (status == Status.Settled) return JobStatus.Completed;
        return status == Status.Expired ? JobStatus.Expired : JobStatus.Rejected;
    }

    function _value(uint256 classId, uint256 units) private view returns (uint256) {
        SaleTerms memory terms = CREDITS.saleTerms(classId);
        return
            Math.mulDiv(units, terms.pricePerMillion, 10 ** uint256(terms.decimals) * PRICE_CREDITS, Math.Rounding.Ceil);
    }
}
