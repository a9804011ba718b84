// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {Attestation, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {BatchBase} from "./BatchBase.t.sol";

/// @dev submitBatch as a whole: its signatures, its classes, what it pays.
contract JobMarketBatchTest is BatchBase {
    /* REVERTS */

    function test_RevertWhen_BatchIsEmpty() public {
        Attestation memory a = _attestBatch(new JobReceipt[](0), 0);
        _expect(IJobMarket.JobMarket_BadBatch.selector, uint256(0), 0, 0);
        market.submitBatch(new JobTerms[](0), new JobReceipt[](0), 0, a);
    }

    function testFuzz_RevertWhen_LengthsDiffer(uint256 termCount, uint256 receiptCount) public {
        termCount = bound(termCount, 0, 20);
        receiptCount = bound(receiptCount, 0, 20);
        vm.assume(termCount != receiptCount);
        Attestation memory a;
        _expect(IJobMarket.JobMarket_BadBatch.selector, uint256(0), receiptCount, termCount);
        market.submitBatch(new JobTerms[](termCount), new JobReceipt[](receiptCount), 0, a);
    }

    function testFuzz_RevertWhen_SignedByAnother(uint256 seed) public {
        _addRuns(plain, 3);
        Attestation memory a;
        Account memory other = makeAccount(vm.toString(seed));
        a.provider = _sign(other, _batchDigest());
        _expectBadSignature(other.addr, oracle.addr);
        market.submitBatch(rows, receipts, 0, a);
        _assertAll(Status.Running);
    }

    /// @dev The signature is over the list: leaving out, repeating or changing receipts breaks it.
    function testFuzz_RevertWhen_ReceiptsChangedAfterSigning(uint256 how, uint128 units) public {
        _addRuns(plain, 3);
        Attestation memory a = _attestBatch(receipts, 0);
        how = bound(how, 0, 2);
        if (how == 0) {
            rows[0] = rows[1];
            receipts[0] = receipts[1];
        } else if (how == 1) {
            receipts[1].units = uint128(bound(units, 2, UNITS));
        } else {
            rows.pop();
            receipts.pop();
        }
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        market.submitBatch(rows, receipts, 0, a);
        _assertAll(Status.Running);
    }

    /// @dev A receipt signed alone is not a batch of one.
    function test_RevertWhen_SignedAsASingleReceipt() public {
        _addRuns(plain, 1);
        Attestation memory a = _attest(receipts[0]);
        vm.expectPartialRevert(IJobMarket.JobMarket_BadSignature.selector);
        market.submitBatch(rows, receipts, 0, a);
    }

    /// @dev One watched row makes the whole batch need its watchers.
    function testFuzz_RevertWhen_WatchersDidNotSign(uint256 count) public {
        _addRuns(plain, 2);
        _addRuns(watched, 1);
        count = bound(count, 0, THRESHOLD - 1);
        Attestation memory a = _attestBatch(receipts, count);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, watcherSet, count, THRESHOLD);
        market.submitBatch(rows, receipts, watcherSet, a);
        _assertAll(Status.Running);
    }

    function testFuzz_RevertWhen_WatcherSetUnknown(uint256 setId) public {
        uint256 count = verifier.setCount();
        if (setId <= count) setId = 0;
        _addRuns(watched, 1);
        Attestation memory a = _attestBatch(receipts, THRESHOLD);
        _expect(IReceiptVerifier.ReceiptVerifier_UnknownSet.selector, setId, setId, count);
        market.submitBatch(rows, receipts, setId, a);
    }

    /// @dev Nobody is paid for an unregistered provider, whose oracle is nobody.
    function testFuzz_RevertWhen_FirstRowNamesAnUnknownProvider(address other) public {
        vm.assume(other != provider.addr);
        _addRuns(plain, 1);
        Attestation memory a = _attestBatch(receipts, 0);
        rows[0].provider = other;
        _expectBadSignature(oracle.addr, address(0));
        market.submitBatch(rows, receipts, 0, a);
    }

    /* SUCCESS */

    function testFuzz_SubmitBatch(uint256 count, uint256 seed, uint256 feeBps) public {
        count = bound(count, 1, 20);
        _setFee(bound(feeBps, 0, MAX_FEE_BPS));
        uint256 used;
        for (uint256 i; i < count; ++i) {
            uint256 units = uint256(keccak256(abi.encode(seed, i))) % (uint256(UNITS) + 1);
            _addRun(plain, units);
            used += units;
        }
        uint256 backing = reserve.backingOf(plain);
        uint256 supply = credits.totalSupply(plain);
        for (uint256 i; i < count; ++i) {
            vm.expectEmit(address(market));
            emit IJobMarket.JobSettled(
                receipts[i].jobId, provider.addr, receipts[i].units, verifier.hashReceipt(receipts[i])
            );
        }
        assertEq(_submitBatch(0), count, "taken");
        _assertAll(Status.Settled);
        _assertCredits(alice.addr, plain, supply - used, "payer");
        _assertLocked(alice.addr, plain, 0, "locked");
        assertEq(credits.totalSupply(plain), supply - used, "supply");
        uint256 gross = used * backing / supply;
        assertEq(reserve.backingOf(plain), backing - gross, "backing");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), gross, "paid, whatever the fee");
    }

    /// @dev A batch pays what single submissions pay, up to their rounding.
    function testFuzz_SubmitBatch_PaysLikeSingles(uint128[5] memory units) public {
        for (uint256 i; i < units.length; ++i) {
            _addRun(plain, bound(units[i], 0, UNITS));
        }
        uint256 snapshot = vm.snapshotState();
        for (uint256 i; i < units.length; ++i) {
            _submit(rows[i], receipts[i]);
        }
        uint256 singles = reserve.earningsOf(provider.addr, address(usd));
        vm.revertToState(snapshot);
        _submitBatch(0);
        uint256 batched = reserve.earningsOf(provider.addr, address(usd));
        assertApproxEqAbs(batched, singles, units.length, "one token unit a row at most");
    }

    function testFuzz_SubmitBatch_OfDistinctBuyers(uint256 count) public {
        count = bound(count, 1, 20);
        for (uint256 i; i < count; ++i) {
            address buyer = address(uint160(0xb0b0000 + i));
            JobTerms memory terms = _terms(plain, UNITS);
            terms.payer = buyer;
            _buy(buyer, plain, UNITS);
            _add(terms, _receipt(_run(terms), i + 1));
        }
        _submitBatch(0);
        for (uint256 i; i < count; ++i) {
            _assertCredits(rows[i].payer, plain, UNITS - (i + 1), "each gets the rest of the own job");
        }
    }

    /// @dev Classes, outcomes, windows and backings side by side, each by its own terms.
    function test_SubmitBatch_OfMixedClasses() public {
        uint256 windowed = _createClass(_windowedTerms());
        uint256 granted = _createClass(_grantTerms());
        vm.prank(issuer.addr);
        credits.grant(alice.addr, granted, UNITS);
        _addRun(plain, 10_000);
        _addRun(watched, 20_000);
        _addRun(plain, 30_000);
        _addRun(windowed, 40_000);
        JobTerms memory terms = _terms(granted, UNITS);
        _add(terms, _receipt(_run(terms), 50_000));
        _addRun(watched, 60_000);
        _addFailure(watched);
        _addRun(plain, 0);
        assertEq(_submitBatch(watcherSet), 8, "taken");
        Status[8] memory expected = [
            Status.Settled,
            Status.Settled,
            Status.Settled,
            Status.Submitted,
            Status.Settled,
            Status.Settled,
            Status.Refunded,
            Status.Settled
        ];
        for (uint256 i; i < 8; ++i) {
            if (expected[i] == Status.Submitted) _assertStatus(receipts[i].jobId, expected[i]);
            else _assertEnded(rows[i], expected[i]);
        }
        assertEq(credits.totalSupply(plain), 3 * uint256(UNITS) - 40_000, "plain supply");
        assertEq(credits.totalSupply(watched), 3 * uint256(UNITS) - 80_000, "watched supply");
        assertEq(credits.totalSupply(windowed), UNITS, "windowed supply");
        assertEq(credits.totalSupply(granted), UNITS - 50_000, "granted supply");
        _assertLocked(alice.addr, windowed, UNITS, "what waits is locked");
        _assertLocked(alice.addr, plain, 0, "plain locked");
        _assertLocked(alice.addr, watched, 0, "watched locked");
        uint256 priced = 40_000 * PRICE / PRICE_UNITS + 80_000 * PRICE / PRICE_UNITS;
        assertGe(reserve.earningsOf(provider.addr, address(usd)), priced, "paid");
    }

    /// @dev Whoever sees a batch can send it first, with terms of other jobs in it: those rows are left out, and the
    /// batch still settles them afterwards.
    function test_SubmitBatch_AfterAFrontRunWithOtherTerms() public {
        _addRuns(plain, 3);
        JobTerms memory right = rows[1];
        Attestation memory a = _attestBatch(receipts, 0);
        rows[1].salt = 1_000_000;
        vm.prank(anyone);
        assertEq(market.submitBatch(rows, receipts, 0, a), 2, "taken by the front-runner");
        rows[1] = right;
        assertEq(market.submitBatch(rows, receipts, 0, a), 1, "taken afterwards");
        _assertAll(Status.Settled);
    }

    function test_SubmitBatch_Replayed() public {
        _addRuns(plain, 3);
        Attestation memory a = _attestBatch(receipts, 0);
        assertEq(market.submitBatch(rows, receipts, 0, a), 3, "taken");
        uint256 earned = reserve.earningsOf(provider.addr, address(usd));
        assertEq(market.submitBatch(rows, receipts, 0, a), 0, "taken again");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), earned, "paid once");
    }

    /* HELPERS */

    /// @dev A batch is no single job, so its id is 0.
    function _expectBadSignature(address given, address limit) private {
        _expect(IJobMarket.JobMarket_BadSignature.selector, uint256(0), given, limit);
    }
}
