// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ClassTerms, JobTerms, Outcome, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {BatchBase} from "./BatchBase.t.sol";

/// @dev submitBatch with a bad row between two good ones: the row is reported and skipped, its neighbours settle.
contract JobMarketBatchRowsTest is BatchBase {
    function test_Skips_AJobNobodyOpened() public {
        JobTerms memory terms = _terms(plain, UNITS);
        JobReceipt memory receipt = _receipt(market.hashTerms(terms), 1);
        _expectSkipped(
            terms, receipt, IJobMarket.JobMarket_WrongStatus.selector, uint256(Status.None), uint256(Status.Running)
        );
    }

    /// @dev Class 0 does not exist; a row of it finds no job and nothing else.
    function testFuzz_Skips_AJobOfAnUnknownClass(uint256 classId) public {
        vm.assume(classId != plain && classId != watched);
        JobTerms memory terms = _terms(classId, UNITS);
        JobReceipt memory receipt = _receipt(market.hashTerms(terms), 1);
        _expectSkipped(
            terms, receipt, IJobMarket.JobMarket_WrongStatus.selector, uint256(Status.None), uint256(Status.Running)
        );
    }

    function test_Skips_AJobNotYetAccepted() public {
        (JobTerms memory terms, bytes32 jobId) = _openNew(plain, UNITS);
        _expectSkipped(
            terms,
            _receipt(jobId, 1),
            IJobMarket.JobMarket_WrongStatus.selector,
            uint256(Status.Open),
            uint256(Status.Running)
        );
    }

    function test_Skips_TheSameRowTwice() public {
        _addRun(plain, 7);
        _add(rows[0], receipts[0]);
        _expectRow(
            receipts[0].jobId,
            IJobMarket.JobMarket_WrongStatus.selector,
            uint256(Status.Settled),
            uint256(Status.Running)
        );
        assertEq(_submitBatch(0), 1, "taken");
        assertEq(credits.totalSupply(plain), UNITS - 7, "burned once");
    }

    function testFuzz_Skips_AReceiptOfAnotherJob(bytes32 other) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        vm.assume(other != jobId);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.jobId = other;
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_WrongJob.selector, uint256(other), uint256(jobId));
    }

    function testFuzz_Skips_ALateJob(uint24 late) public {
        JobTerms memory terms = _terms(plain, UNITS);
        terms.submitBy = terms.acceptBy;
        _buy(alice.addr, plain, UNITS);
        bytes32 jobId = _run(terms);
        uint256 when = bound(late, uint256(terms.submitBy) + 1, START + 1 days);
        vm.warp(when);
        _expectSkipped(terms, _receipt(jobId, 1), IJobMarket.JobMarket_DeadlinePassed.selector, when, terms.submitBy);
    }

    function testFuzz_Skips_AStartBeforeTheJob(uint40 startedAt) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.startedAt = uint40(bound(startedAt, 0, START - 1));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.startedAt, START);
    }

    function testFuzz_Skips_AnEndBeforeTheStart(uint40 startedAt) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.startedAt = uint40(bound(startedAt, START + 1, type(uint40).max));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.endedAt, receipt.startedAt);
    }

    function testFuzz_Skips_AnEndInTheFuture(uint40 endedAt) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.endedAt = uint40(bound(endedAt, START + 1, type(uint40).max));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.endedAt, START);
    }

    /// @dev An assurance that does not exist makes the batch need its watchers, and is then left out.
    function testFuzz_Skips_AnUnknownAssurance(uint8 assurance) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.assurance = uint8(bound(assurance, 4, type(uint8).max));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_BadAssurance.selector, receipt.assurance, 3);
    }

    function testFuzz_Skips_AFailureThatAsksForPay(uint128 units) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.outcome = Outcome.Failed;
        receipt.units = uint128(bound(units, 1, type(uint128).max));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_TooManyUnits.selector, receipt.units, 0);
    }

    function test_Skips_AMissingOutcome() public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.outcome = Outcome.None;
        _expectSkipped(
            terms, receipt, IJobMarket.JobMarket_BadOutcome.selector, uint256(Outcome.None), uint256(Outcome.Completed)
        );
    }

    function test_Skips_AnAssuranceBelowTheClass() public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(watched, UNITS);
        _expectSkipped(terms, _receipt(jobId, 1), IJobMarket.JobMarket_LowAssurance.selector, 1, 2);
    }

    function testFuzz_Skips_UnitsAboveMax(uint128 units) public {
        (JobTerms memory terms, JobReceipt memory receipt) = _row();
        receipt.units = uint128(bound(units, uint256(UNITS) + 1, type(uint128).max));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_TooManyUnits.selector, receipt.units, UNITS);
    }

    function testFuzz_Skips_WhatIsFasterThanTheClassAllows(uint64 rate, uint128 units) public {
        ClassTerms memory class_ = _saleTerms();
        class_.maxRate = uint64(bound(rate, 1, UNITS - 1));
        (JobTerms memory terms, bytes32 jobId) = _runNew(_createClass(class_), UNITS);
        JobReceipt memory receipt = _receipt(jobId, bound(units, class_.maxRate + 1, UNITS));
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_TooFast.selector, receipt.units, class_.maxRate);
    }

    function test_Skips_AJobOfAnotherProvider() public {
        Account memory rival = makeAccount("rival");
        _registerProvider(bob.addr, rival.addr);
        JobTerms memory terms = _terms(plain, UNITS);
        terms.provider = bob.addr;
        _buy(alice.addr, plain, UNITS);
        bytes32 jobId = _open(terms);
        vm.prank(bob.addr);
        market.accept(terms);
        _expectSkipped(
            terms,
            _receipt(jobId, 1),
            IJobMarket.JobMarket_NotProvider.selector,
            _number(bob.addr),
            _number(provider.addr)
        );
    }

    /// @dev The same from the thief's side: a provider signs for the jobs of another, behind a row of its own.
    function test_Skips_AJobTakenFromAnotherProvider() public {
        _registerProvider(bob.addr, oracle.addr);
        JobTerms memory own = _terms(plain, UNITS);
        own.provider = bob.addr;
        _buy(alice.addr, plain, UNITS);
        bytes32 ownId = _open(own);
        vm.prank(bob.addr);
        market.accept(own);
        _add(own, _receipt(ownId, 1));
        _addRun(plain, UNITS);
        _expectRow(
            receipts[1].jobId, IJobMarket.JobMarket_NotProvider.selector, _number(provider.addr), _number(bob.addr)
        );
        assertEq(_submitBatch(0), 1, "taken");
        _assertStatus(receipts[1].jobId, Status.Running);
        assertEq(credits.totalSupply(plain), 2 * uint256(UNITS) - 1, "burned");
    }

    /// @dev Watchers speak only for classes that chose them.
    function test_Skips_AClassOfOtherWatchers() public {
        uint256 other = _newSet(_one(anyone), 1);
        ClassTerms memory class_ = _watchedTerms();
        class_.watcherSet = uint32(other);
        (JobTerms memory terms, bytes32 jobId) = _runNew(_createClass(class_), UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.assurance = 2;
        _expectSkipped(terms, receipt, IJobMarket.JobMarket_WrongWatcherSet.selector, watcherSet, other);
    }

    /// @dev Rows of assurance 0 and 1 need no watchers, so any set will do for them.
    function test_Takes_UnwatchedRowsUnderAnySet() public {
        _addRun(plain, 1);
        _addRun(watched, 1);
        assertEq(_submitBatch(watcherSet), 2, "taken");
        _assertAll(Status.Settled);
    }

    function test_Skips_EveryRow() public {
        for (uint256 i; i < 3; ++i) {
            (JobTerms memory terms, bytes32 jobId) = _openNew(plain, UNITS);
            _add(terms, _receipt(jobId, 1));
        }
        assertEq(_submitBatch(0), 0, "taken");
        _assertAll(Status.Open);
        _assertLocked(alice.addr, plain, 3 * uint256(UNITS), "locked");
    }

    /* HELPERS */

    /// @dev A running job of `plain` with a good receipt, to be spoiled.
    function _row() private returns (JobTerms memory terms, JobReceipt memory receipt) {
        bytes32 jobId;
        (terms, jobId) = _runNew(plain, UNITS);
        receipt = _receipt(jobId, 1);
    }

    function _expectRow(bytes32 jobId, bytes4 reason, uint256 given, uint256 limit) private {
        vm.expectEmit(address(market));
        emit IJobMarket.RowSkipped(jobId, reason, given, limit);
    }

    function _expectSkipped(
        JobTerms memory terms,
        JobReceipt memory receipt,
        bytes4 reason,
        uint256 given,
        uint256 limit
    ) private {
        bytes32 jobId = market.hashTerms(terms);
        Status before = market.jobs(jobId).status;
        _addRun(plain, 7);
        _add(terms, receipt);
        _addRun(watched, 9);
        uint256 supply = credits.totalSupply(plain) + credits.totalSupply(watched);
        uint256 locked = credits.lockedOf(alice.addr, terms.classId);
        _expectRow(jobId, reason, given, limit);
        assertEq(_submitBatch(watcherSet), 2, "taken");
        _assertStatus(jobId, before);
        _assertEnded(rows[0], Status.Settled);
        _assertEnded(rows[2], Status.Settled);
        assertEq(credits.totalSupply(plain) + credits.totalSupply(watched), supply - 16, "only the others burned");
        uint256 others = terms.classId == plain || terms.classId == watched ? UNITS : 0;
        _assertLocked(alice.addr, terms.classId, locked - others, "the row's lock is untouched");
    }
}
