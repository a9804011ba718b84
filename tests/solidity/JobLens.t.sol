// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobLens} from "contracts/interfaces/IJobLens.sol";
import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ClassTerms, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev JobLens: every state of a job, as ERC-8183 names it.
contract JobLensTest is Base {
    IJobLens private lens;

    function setUp() public override {
        super.setUp();
        lens = IJobLens(deployCode("JobLens.sol:JobLens", abi.encode(system)));
    }

    /* FIELDS */

    function testFuzz_GetJob(JobTerms memory terms, uint128 units) public {
        terms.classId = plain;
        terms.maxUnits = uint128(bound(units, 1, type(uint96).max));
        (IJobLens.Job memory job, bool known) = lens.getJob(terms);
        assertEq(job.id, uint256(market.hashTerms(terms)), "id");
        assertEq(job.client, terms.payer, "client");
        assertEq(job.provider, terms.provider, "provider");
        assertEq(job.evaluator, address(market), "evaluator");
        assertEq(job.description, vm.toString(terms.specHash), "description");
        assertEq(job.budget, _price(terms.maxUnits), "budget");
        assertEq(job.expiredAt, terms.acceptBy, "expiredAt");
        assertEq(job.hook, address(0), "hook");
        assertEq(known, _now() <= terms.acceptBy, "known");
    }

    function test_GetJob_OfAClassWithoutAPrice() public {
        uint256 granted = _createClass(_grantTerms());
        (IJobLens.Job memory job,) = lens.getJob(_terms(granted, 1_000));
        assertEq(job.budget, 0, "budget");
    }

    /// @dev The feed may be down: the price its answers are held against is always there.
    function testFuzz_GetJob_OfAClassWithAFeed(uint128 units) public {
        ClassTerms memory terms = _saleTerms();
        (terms.priceFeed, terms.maxPriceAge, terms.maxDeviationBps) = (makeAddr("feed"), 1 hours, 500);
        units = uint128(bound(units, 1, type(uint96).max));
        (IJobLens.Job memory job,) = lens.getJob(_terms(_createClass(terms), units));
        assertEq(job.budget, _price(units), "budget");
    }

    /* STATES */

    function testFuzz_NotOpened(uint256 wait) public {
        JobTerms memory terms = _terms(plain, 1);
        vm.warp(bound(wait, START, terms.acceptBy));
        _assertState(terms, IJobLens.JobStatus.Open, Status.None, false);
        vm.warp(uint256(terms.acceptBy) + 1);
        _assertUnknown(terms);
    }

    function testFuzz_OpenOrRunning(bool quoted, uint256 wait) public {
        (JobTerms memory terms,) = quoted ? _runNew(plain, 1_000) : _openNew(plain, 1_000);
        vm.warp(bound(wait, START, START + 365 days));
        _assertState(terms, IJobLens.JobStatus.Funded, quoted ? Status.Running : Status.Open, false);
        (IJobLens.Job memory job,) = lens.getJob(terms);
        assertEq(job.expiredAt, quoted ? terms.submitBy : terms.acceptBy, "expiredAt");
    }

    function testFuzz_SubmittedOrDisputed(bool disputed) public {
        JobTerms memory terms = _submitted(_createClass(_windowedTerms()));
        if (disputed) _challenge(anyone, terms);
        Status status = disputed ? Status.Disputed : Status.Submitted;
        _assertState(terms, IJobLens.JobStatus.Submitted, status, false);
    }

    function testFuzz_Settled(bool late) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, 1_000);
        if (late) vm.warp(uint256(terms.acceptBy) + 1);
        _submit(terms, _receipt(jobId, 10));
        if (late) _assertUnknown(terms);
        else _assertState(terms, IJobLens.JobStatus.Completed, Status.Settled, true);
    }

    function testFuzz_Refunded(bool late) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, 1_000);
        if (late) vm.warp(uint256(terms.acceptBy) + 1);
        _submit(terms, _failed(jobId));
        if (late) _assertUnknown(terms);
        else _assertState(terms, IJobLens.JobStatus.Rejected, Status.Refunded, true);
    }

    function testFuzz_Cancelled(bool late) public {
        (JobTerms memory terms,) = _openNew(plain, 1_000);
        if (late) vm.warp(uint256(terms.acceptBy) + 1);
        vm.prank(alice.addr);
        market.cancel(terms);
        if (late) _assertUnknown(terms);
        else _assertState(terms, IJobLens.JobStatus.Rejected, Status.Cancelled, true);
    }

    /// @dev Only past `acceptBy` can a job expire, so its slot is always emptied.
    function testFuzz_Expired(bool quoted) public {
        (JobTerms memory terms,) = quoted ? _runNew(plain, 1_000) : _openNew(plain, 1_000);
        vm.warp(uint256(terms.submitBy) + 1);
        market.expire(terms);
        _assertUnknown(terms);
    }

    /// @dev What the market has no way to say today, the lens would pass on.
    function test_Expired_IfTheMarketKeptIt() public {
        JobTerms memory terms = _terms(plain, 1);
        bytes32 jobId = market.hashTerms(terms);
        IJobMarket.Job memory job;
        job.status = Status.Expired;
        vm.mockCall(address(market), abi.encodeCall(market.jobs, (jobId)), abi.encode(job));
        _assertState(terms, IJobLens.JobStatus.Expired, Status.Expired, true);
    }

    /* HELPERS */

    function _submitted(uint256 classId) private returns (JobTerms memory terms) {
        bytes32 jobId;
        (terms, jobId) = _runNew(classId, 1_000);
        JobReceipt memory receipt = _receipt(jobId, 10);
        _submit(terms, receipt);
    }

    function _assertUnknown(JobTerms memory terms) private view {
        (IJobLens.Job memory job, bool known) = lens.getJob(terms);
        assertEq(uint256(job.status), uint256(IJobLens.JobStatus.Unknown), "ERC-8183 status");
        assertFalse(known, "known");
        _assertStateOf(terms, Status.None, true);
    }

    function _assertState(JobTerms memory terms, IJobLens.JobStatus expected, Status status, bool ended) private view {
        (IJobLens.Job memory job, bool known) = lens.getJob(terms);
        assertEq(uint256(job.status), uint256(expected), "ERC-8183 status");
        assertTrue(known, "known");
        _assertStateOf(terms, status, ended);
    }

    function _assertStateOf(JobTerms memory terms, Status expected, bool expectedEnd) private view {
        (Status status, bool ended) = lens.stateOf(terms);
        assertEq(uint256(status), uint256(expected), "status");
        assertEq(ended, expectedEnd, "ended");
    }
}
