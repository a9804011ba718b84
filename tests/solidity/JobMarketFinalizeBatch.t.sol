// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Fault, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev finalizeBatch: every row as finalize would, and what can't be finalized is reported.
contract JobMarketFinalizeBatchTest is Base {
    uint128 private constant UNITS = 1_000_000;
    uint256 private constant DISPUTE_PERIOD = 7 days;

    uint256 private windowed;
    uint256 private other;
    address private second = makeAddr("second provider");
    address private challenger = makeAddr("challenger");
    JobTerms[] private rows;

    function setUp() public override {
        super.setUp();
        windowed = _createClass(_windowedTerms());
        other = _createClass(_windowedTerms());
        _registerProvider(second, oracle.addr);
    }

    /* REVERTS AND SKIPS */

    function test_RevertWhen_BatchIsEmpty() public {
        _expect(IJobMarket.JobMarket_BadBatch.selector, bytes32(0), 0, 1);
        market.finalizeBatch(rows);
    }

    function testFuzz_Skips_ARowWhoseWindowIsOpen(uint256 gap) public {
        _addSubmitted(windowed, provider.addr, 5);
        gap = bound(gap, 1, WINDOW - 1);
        skip(gap);
        bytes32 late = _addSubmitted(windowed, provider.addr, 7);
        vm.warp(START + WINDOW);
        _expectSkip(late, IJobMarket.JobMarket_DeadlineNotReached.selector, _now(), START + WINDOW + gap);
        assertEq(market.finalizeBatch(rows), 1, "taken");
        _assertEnded(rows[0], Status.Settled);
        _assertStatus(late, Status.Submitted);
        assertEq(credits.totalSupply(windowed), 2 * UNITS - 5, "burned");
    }

    function testFuzz_Skips_ADisputeThatCanStillBeDecided(uint256 early) public {
        bytes32 disputed = _addSubmitted(windowed, provider.addr, 5);
        _challenge(challenger, rows[0]);
        vm.warp(bound(early, START + WINDOW, START + DISPUTE_PERIOD));
        _expectSkip(disputed, IJobMarket.JobMarket_DeadlineNotReached.selector, _now(), START + DISPUTE_PERIOD);
        assertEq(market.finalizeBatch(rows), 0, "taken");
        _assertStatus(disputed, Status.Disputed);
    }

    /// @dev Never opened, still running, or finalized by an earlier row: each is reported with its status.
    function test_Skips_WhateverWasNotSubmitted() public {
        rows.push(_terms(windowed, UNITS));
        (JobTerms memory running, bytes32 runs) = _runNew(windowed, UNITS);
        rows.push(running);
        bytes32 twice = _addSubmitted(windowed, provider.addr, 5);
        rows.push(rows[2]);
        vm.warp(START + WINDOW);
        bytes32 hash = market.submissions(twice).receiptHash;
        bytes32 unknown = market.hashTerms(rows[0]);
        bytes4 reason = IJobMarket.JobMarket_WrongStatus.selector;
        uint256 submitted = uint256(Status.Submitted);
        _expectSkip(unknown, reason, uint256(Status.None), submitted);
        _expectSkip(runs, reason, uint256(Status.Running), submitted);
        vm.expectEmit(address(market));
        emit IJobMarket.JobSettled(twice, provider.addr, 5, hash);
        _expectSkip(twice, reason, uint256(Status.Settled), submitted);
        assertEq(market.finalizeBatch(rows), 1, "taken");
        assertEq(credits.totalSupply(windowed), 2 * UNITS - 5, "burned once");
    }

    /* FINALIZED */

    function testFuzz_FinalizeBatch(uint8 count, uint128 units, address caller) public {
        count = uint8(bound(count, 1, 8));
        units = uint128(bound(units, 1, UNITS));
        for (uint256 i; i < count; ++i) {
            _addSubmitted(windowed, provider.addr, units);
        }
        uint256 backing = reserve.backingOf(windowed);
        uint256 used = count * uint256(units);
        uint256 due = used * backing / (count * uint256(UNITS));
        skip(WINDOW);
        vm.prank(caller);
        assertEq(market.finalizeBatch(rows), count, "taken");
        for (uint256 i; i < count; ++i) {
            _assertEnded(rows[i], Status.Settled);
            assertEq(market.submissions(market.hashTerms(rows[i])).finalizeAt, 0, "submission forgotten");
        }
        _assertCredits(alice.addr, windowed, count * uint256(UNITS) - used, "payer");
        _assertLocked(alice.addr, windowed, 0, "locked");
        assertEq(credits.totalSupply(windowed), count * uint256(UNITS) - used, "supply");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), due, "earnings");
        assertEq(reserve.backingOf(windowed), backing - due, "backing");
    }

    /// @dev Rows in any order: each is paid to its own provider from its own class.
    function testFuzz_FinalizeBatch_OfClassesAndProviders(uint8 order) public {
        uint256[2] memory used;
        uint256[2] memory earned;
        for (uint256 i; i < 8; ++i) {
            bool odd = order >> i & 1 == 1;
            bool swapped = i % 3 == 1;
            _addSubmitted(odd ? other : windowed, swapped ? second : provider.addr, i + 1);
            used[odd ? 1 : 0] += i + 1;
            earned[swapped ? 1 : 0] += i + 1;
        }
        uint256[2] memory supply = [credits.totalSupply(windowed), credits.totalSupply(other)];
        skip(WINDOW);
        assertEq(market.finalizeBatch(rows), 8, "taken");
        assertEq(credits.totalSupply(windowed), supply[0] - used[0], "burned of one class");
        assertEq(credits.totalSupply(other), supply[1] - used[1], "burned of the other");
        _assertLocked(alice.addr, windowed, 0, "locked of one class");
        _assertLocked(alice.addr, other, 0, "locked of the other");
        _assertPaid(provider.addr, earned[0]);
        _assertPaid(second, earned[1]);
    }

    /// @dev Neighbours of one class, but of two providers, are not paid together.
    function test_FinalizeBatch_ChangesProviderWithinAClass() public {
        _addSubmitted(windowed, provider.addr, 300_000);
        _addSubmitted(windowed, second, 100_000);
        uint256 backing = reserve.backingOf(windowed);
        skip(WINDOW);
        assertEq(market.finalizeBatch(rows), 2, "taken");
        uint256 first = 300_000 * backing / (2 * UNITS);
        assertEq(reserve.earningsOf(provider.addr, address(usd)), first, "first");
        uint256 rest = 100_000 * (backing - first) / (2 * UNITS - 300_000);
        assertEq(reserve.earningsOf(second, address(usd)), rest, "second");
    }

    /// @dev Nobody decided: without watchers the word of the provider doesn't stand, and the bond returns.
    function test_FinalizeBatch_OfADisputeNobodyDecided() public {
        bytes32 disputed = _addSubmitted(windowed, provider.addr, 5);
        _addSubmitted(windowed, provider.addr, 7);
        _challenge(challenger, rows[0]);
        vm.warp(START + DISPUTE_PERIOD + 1);
        vm.expectEmit(address(market));
        emit IJobMarket.JobResolved(disputed, 0, Fault.None);
        assertEq(market.finalizeBatch(rows), 2, "taken");
        _assertEnded(rows[0], Status.Refunded);
        _assertEnded(rows[1], Status.Settled);
        assertEq(credits.totalSupply(windowed), 2 * UNITS - 7, "burned");
        assertEq(registry.awardOf(challenger), CHALLENGE_BOND, "bond");
        assertEq(market.disputes(disputed).decideBy, 0, "dispute forgotten");
    }

    /* HELPERS */

    /// @dev A job of `UNITS` for which a receipt of `units` waits.
    function _addSubmitted(uint256 classId, address by, uint256 units) private returns (bytes32 jobId) {
        JobTerms memory terms = _terms(classId, UNITS);
        terms.provider = by;
        _buy(terms.payer, classId, UNITS);
        jobId = _run(terms);
        JobReceipt memory receipt = _receipt(jobId, units);
        _submit(terms, receipt);
        rows.push(terms);
    }

    function _expectSkip(bytes32 jobId, bytes4 reason, uint256 given, uint256 limit) private {
        vm.expectEmit(address(market));
        emit IJobMarket.RowSkipped(jobId, reason, given, limit);
    }

    /// @dev At the price, less at most one base unit for each row.
    function _assertPaid(address account, uint256 units) private view {
        uint256 paid = reserve.earningsOf(account, address(usd));
        uint256 worth = units * PRICE / PRICE_UNITS;
        assertLe(paid, worth + 8, "not more than the price, rounded up when sold");
        assertGe(paid + 8, worth, "not less");
    }
}
