// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {
    Attestation,
    ClassTerms,
    JobTerms,
    Outcome,
    Receipt as JobReceipt,
    Status
} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev submit and finalize for classes with a challenge window.
contract JobMarketFinalizeTest is Base {
    uint256 private windowed;

    function setUp() public override {
        super.setUp();
        windowed = _createClass(_windowedTerms());
    }

    /* submit */

    function testFuzz_Submit_Waits(uint128 maxUnits, uint128 units, uint32 window) public {
        ClassTerms memory class_ = _windowedTerms();
        class_.challengeWindow = uint32(bound(window, 1, 30 days));
        uint256 id = _createClass(class_);
        maxUnits = uint128(bound(maxUnits, 1, MAX_UNITS));
        (JobTerms memory terms, bytes32 jobId) = _runNew(id, maxUnits);
        uint256 backing = reserve.backingOf(id);
        JobReceipt memory receipt = _receipt(jobId, bound(units, 0, maxUnits));
        bytes32 hash = verifier.hashReceipt(receipt);
        uint256 finalizeAt = START + class_.challengeWindow;
        vm.expectEmit(address(market));
        emit IJobMarket.JobSubmitted(jobId, hash, finalizeAt);
        _submit(terms, receipt);
        _assertStatus(jobId, Status.Submitted);
        _assertSubmission(jobId, receipt, hash, finalizeAt);
        _assertLocked(alice.addr, id, maxUnits, "all of it stays locked");
        _assertCredits(alice.addr, id, 0, "payer");
        assertEq(credits.totalSupply(id), maxUnits, "supply");
        assertEq(reserve.backingOf(id), backing, "backing");
    }

    /// @dev A failure hurts nobody but the provider, so it doesn't wait.
    function test_Submit_OfAFailureDoesNotWait() public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(windowed, 7);
        _submit(terms, _failed(jobId));
        _assertEnded(terms, Status.Refunded);
        _assertCredits(alice.addr, windowed, 7, "payer");
        assertEq(market.submissions(jobId).finalizeAt, 0, "no submission");
    }

    /// @dev A receipt can't be exchanged once it is in.
    function testFuzz_RevertWhen_SubmittedAgain(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(MAX_UNITS, 5);
        JobReceipt memory receipt = _receipt(jobId, bound(units, 0, MAX_UNITS));
        Attestation memory attestation = _attest(receipt);
        _expect(IJobMarket.JobMarket_WrongStatus.selector, jobId, uint256(Status.Submitted), uint256(Status.Running));
        market.submit(terms, receipt, attestation);
    }

    /* finalize */

    function testFuzz_RevertWhen_WindowIsOpen(uint256 early) public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(MAX_UNITS, 5);
        early = bound(early, START, START + WINDOW - 1);
        vm.warp(early);
        _expect(IJobMarket.JobMarket_DeadlineNotReached.selector, jobId, early, START + WINDOW);
        market.finalize(terms);
    }

    function testFuzz_Finalize(uint128 maxUnits, uint128 units, address caller, uint40 late) public {
        maxUnits = uint128(bound(maxUnits, 1, MAX_UNITS));
        units = uint128(bound(units, 1, maxUnits));
        (JobTerms memory terms, bytes32 jobId) = _submitted(maxUnits, units);
        bytes32 hash = market.submissions(jobId).receiptHash;
        uint256 backing = reserve.backingOf(windowed);
        uint256 due = units * backing / maxUnits;
        vm.warp(bound(late, START + WINDOW, type(uint40).max));
        vm.expectEmit(address(market));
        emit IJobMarket.JobSettled(jobId, provider.addr, units, hash);
        vm.prank(caller);
        market.finalize(terms);
        _assertEnded(terms, Status.Settled);
        _assertCredits(alice.addr, windowed, maxUnits - units, "payer");
        _assertLocked(alice.addr, windowed, 0, "locked");
        assertEq(credits.totalSupply(windowed), maxUnits - units, "supply");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), due, "earnings");
        assertEq(reserve.backingOf(windowed), backing - due, "backing");
    }

    function test_Finalize_OfNoUnits() public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(9, 0);
        skip(WINDOW);
        market.finalize(terms);
        _assertEnded(terms, Status.Settled);
        _assertCredits(alice.addr, windowed, 9, "payer");
    }

    /// @dev A new oracle key, or a class that ended, changes nothing of a receipt that is in.
    function test_Finalize_WhateverHappenedMeanwhile() public {
        (JobTerms memory terms, bytes32 jobId) = _submitted(9, 4);
        vm.startPrank(provider.addr);
        registry.update(anyone, 0, "");
        registry.setSkus(_one(SKU), false);
        vm.stopPrank();
        _close(windowed);
        skip(WINDOW);
        market.finalize(terms);
        _assertEnded(terms, Status.Settled);
    }

    /// @dev Other terms are another job: nobody can finalize for a payer or provider of their choice.
    function testFuzz_RevertWhen_FinalizedWithOtherTerms(address other) public {
        (JobTerms memory terms,) = _submitted(9, 4);
        skip(WINDOW);
        vm.assume(other != terms.provider && other != terms.payer);
        terms.provider = other;
        _expectUnknown(terms);
        terms.provider = provider.addr;
        terms.payer = other;
        _expectUnknown(terms);
    }

    /* HELPERS */

    function _submitted(uint128 maxUnits, uint256 units) private returns (JobTerms memory terms, bytes32 jobId) {
        (terms, jobId) = _runNew(windowed, maxUnits);
        _submit(terms, _receipt(jobId, units));
    }

    function _expectUnknown(JobTerms memory terms) private {
        _expect(
            IJobMarket.JobMarket_WrongStatus.selector,
            market.hashTerms(terms),
            uint256(Status.None),
            uint256(Status.Submitted)
        );
        market.finalize(terms);
    }

    function _assertSubmission(bytes32 jobId, JobReceipt memory receipt, bytes32 hash, uint256 finalizeAt)
        private
        view
    {
        IJobMarket.Submission memory s = market.submissions(jobId);
        assertEq(s.units, receipt.units, "units kept");
        assertEq(s.finalizeAt, finalizeAt, "finalize at");
        assertEq(s.assurance, receipt.assurance, "assurance kept");
        assertEq(uint256(s.outcome), uint256(Outcome.Completed), "outcome kept");
        assertEq(s.receiptHash, hash, "hash kept");
    }
}
