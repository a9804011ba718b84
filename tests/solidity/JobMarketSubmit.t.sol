// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {
    Attestation,
    ClassTerms,
    JobTerms,
    Outcome,
    Receipt as JobReceipt,
    Status
} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev submit, for classes that settle at once.
contract JobMarketSubmitTest is Base {
    uint128 private constant UNITS = 1_000_000;

    /* THE RECEIPT: REVERTS */

    function testFuzz_RevertWhen_ReceiptIsOfAnotherJob(bytes32 other) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        vm.assume(other != jobId);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.jobId = other;
        _expectFault(terms, receipt, IJobMarket.JobMarket_WrongJob.selector, uint256(other), uint256(jobId));
    }

    function testFuzz_RevertWhen_SubmittedTooLate(uint40 late) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        late = uint40(bound(late, uint256(terms.submitBy) + 1, type(uint40).max));
        vm.warp(late);
        JobReceipt memory receipt = _receipt(jobId, 1);
        _expectFault(terms, receipt, IJobMarket.JobMarket_DeadlinePassed.selector, late, terms.submitBy);
    }

    function testFuzz_RevertWhen_StartedBeforeTheJob(uint40 startedAt) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.startedAt = uint40(bound(startedAt, 0, START - 1));
        _expectFault(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.startedAt, START);
    }

    function testFuzz_RevertWhen_EndedBeforeItsStart(uint40 startedAt, uint40 endedAt) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.startedAt = uint40(bound(startedAt, START, type(uint40).max));
        receipt.endedAt = uint40(bound(endedAt, 0, receipt.startedAt - 1));
        _expectFault(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.endedAt, receipt.startedAt);
    }

    function testFuzz_RevertWhen_EndsInTheFuture(uint40 endedAt) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.endedAt = uint40(bound(endedAt, START + 1, type(uint40).max));
        _expectFault(terms, receipt, IJobMarket.JobMarket_BadInterval.selector, receipt.endedAt, START);
    }

    function testFuzz_RevertWhen_AssuranceUnknown(uint8 assurance, bool failed) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = failed ? _failed(jobId) : _receipt(jobId, 1);
        receipt.assurance = uint8(bound(assurance, 4, type(uint8).max));
        _expectFault(terms, receipt, IJobMarket.JobMarket_BadAssurance.selector, receipt.assurance, 3);
    }

    function testFuzz_RevertWhen_FailureAsksForPay(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _failed(jobId);
        receipt.units = uint128(bound(units, 1, type(uint128).max));
        _expectFault(terms, receipt, IJobMarket.JobMarket_TooManyUnits.selector, receipt.units, 0);
    }

    function test_RevertWhen_OutcomeMissing() public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.outcome = Outcome.None;
        _expectFault(
            terms, receipt, IJobMarket.JobMarket_BadOutcome.selector, uint256(Outcome.None), uint256(Outcome.Completed)
        );
    }

    function testFuzz_RevertWhen_AssuranceBelowTheClass(uint8 given) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(watched, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.assurance = uint8(bound(given, 0, 1));
        _expectFault(terms, receipt, IJobMarket.JobMarket_LowAssurance.selector, receipt.assurance, 2);
    }

    function testFuzz_RevertWhen_UnitsAboveMax(uint128 maxUnits, uint128 units) public {
        maxUnits = uint128(bound(maxUnits, 1, MAX_UNITS));
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, maxUnits);
        JobReceipt memory receipt = _receipt(jobId, bound(units, uint256(maxUnits) + 1, type(uint128).max));
        _expectFault(terms, receipt, IJobMarket.JobMarket_TooManyUnits.selector, receipt.units, maxUnits);
    }

    function testFuzz_RevertWhen_FasterThanTheClassAllows(uint32 rate, uint32 resources, uint24 took, uint128 units)
        public
    {
        (JobTerms memory terms, bytes32 jobId, uint256 possible) = _runLimited(rate, resources, took);
        JobReceipt memory receipt = _receipt(jobId, bound(units, possible + 1, terms.maxUnits));
        _expectFault(terms, receipt, IJobMarket.JobMarket_TooFast.selector, receipt.units, possible);
    }

    /* SIGNATURES: REVERTS */

    /// @dev A watched class is not paid on the provider's word, whatever assurance it claims.
    function testFuzz_RevertWhen_WatchersDidNotSign(uint8 assurance, uint256 count) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(watched, UNITS);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.assurance = uint8(bound(assurance, 2, 3));
        count = bound(count, 0, THRESHOLD - 1);
        Attestation memory a = _attest(verifier.receiptDigest(receipt), count);
        _expect(IReceiptVerifier.ReceiptVerifier_TooFewWatchers.selector, watcherSet, count, THRESHOLD);
        market.submit(terms, receipt, a);
    }

    /// @dev A submission that reverts changes nothing: the right receipt is still taken.
    function testFuzz_Submit_AfterARefusal(uint128 units) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        JobReceipt memory receipt = _receipt(jobId, uint256(UNITS) + 1);
        _expectFault(terms, receipt, IJobMarket.JobMarket_TooManyUnits.selector, receipt.units, UNITS);
        _assertStatus(jobId, Status.Running);
        _submit(terms, _receipt(jobId, bound(units, 0, UNITS)));
        _assertEnded(terms, Status.Settled);
    }

    /* SUCCESS */

    function testFuzz_Submit_Settles(uint128 maxUnits, uint128 units, uint256 feeBps, uint128 others) public {
        maxUnits = uint128(bound(maxUnits, 1, MAX_UNITS));
        units = uint128(bound(units, 1, maxUnits));
        others = uint128(bound(others, 1, MAX_UNITS));
        feeBps = bound(feeBps, 0, MAX_FEE_BPS);
        _setFee(feeBps);
        _buy(bob.addr, plain, others);
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, maxUnits);
        uint256 backing = reserve.backingOf(plain);
        uint256 supply = uint256(maxUnits) + others;
        uint256 gross = units * backing / supply;
        JobReceipt memory receipt = _receipt(jobId, units);
        vm.expectEmit(address(market));
        emit IJobMarket.JobSettled(jobId, provider.addr, units, verifier.hashReceipt(receipt));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.PaidOut(plain, provider.addr, units, gross);
        _submit(terms, receipt);
        _assertEnded(terms, Status.Settled);
        _assertCredits(alice.addr, plain, maxUnits - units, "the rest is back with the payer");
        _assertLocked(alice.addr, plain, 0, "locked");
        assertEq(credits.totalSupply(plain), supply - units, "used units are burned");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), gross, "earnings, whatever the fee");
        assertEq(reserve.backingOf(plain), backing - gross, "backing");
    }

    function testFuzz_Submit_Watched(uint128 units, uint8 assurance) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(watched, UNITS);
        JobReceipt memory receipt = _receipt(jobId, bound(units, 1, UNITS));
        receipt.assurance = uint8(bound(assurance, 2, 3));
        _submit(terms, receipt);
        _assertEnded(terms, Status.Settled);
        uint256 due = uint256(receipt.units) * PRICE / PRICE_UNITS;
        assertGe(reserve.earningsOf(provider.addr, address(usd)), due, "paid at the price or better");
    }

    function testFuzz_Submit_UpToTheRate(uint32 rate, uint32 resources, uint24 took) public {
        (JobTerms memory terms, bytes32 jobId, uint256 possible) = _runLimited(rate, resources, took);
        _submit(terms, _receipt(jobId, possible));
        _assertEnded(terms, Status.Settled);
    }

    function testFuzz_Submit_InTheLastSecond(uint40 startedAt) public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        vm.warp(terms.submitBy);
        JobReceipt memory receipt = _receipt(jobId, 1);
        receipt.startedAt = uint40(bound(startedAt, START, terms.submitBy));
        _submit(terms, receipt);
        _assertEnded(terms, Status.Settled);
    }

    /// @dev Work that used nothing ends the job and moves no money.
    function test_Submit_OfNoUnits() public {
        (JobTerms memory terms, bytes32 jobId) = _runNew(plain, UNITS);
        uint256 backing = reserve.backingOf(plain);
        _submit(terms, _receipt(jobId, 0));
        _assertEnded(terms, Status.Settled);
        _assertCredits(alice.addr, plain, UNITS, "payer");
        assertEq(reserve.backingOf(plain), backing, "backing");
    }

    /// @dev A failure gives everything back, and needs neither watchers nor the class's assurance.
    function testFuzz_Submit_Failed(uint8 assurance, uint128 maxUnits) public {
        maxUnits = uint128(bound(maxUnits, 1, MAX_UNITS));
        (JobTerms memory terms, bytes32 jobId) = _runNew(watched, maxUnits);
        JobReceipt memory receipt = _failed(jobId);
        receipt.assurance = uint8(bound(assurance, 0, 1));
        vm.expectEmit(address(market));
        emit IJobMarket.JobRefunded(jobId, provider.addr, verifier.hashReceipt(receipt));
        _submit(terms, receipt);
        _assertEnded(terms, Status.Refunded);
        _assertCredits(alice.addr, watched, maxUnits, "payer");
        _assertLocked(alice.addr, watched, 0, "locked");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), 0, "nobody is paid");
    }

    function testFuzz_Submit_OfAGrantedClass(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 id = _createClass(_grantTerms());
        vm.prank(issuer.addr);
        credits.grant(alice.addr, id, units);
        JobTerms memory terms = _terms(id, units);
        bytes32 jobId = _run(terms);
        _submit(terms, _receipt(jobId, units));
        _assertEnded(terms, Status.Settled);
        assertEq(credits.totalSupply(id), 0, "supply");
        assertEq(reserve.earningsOf(provider.addr, address(usd)), 0, "a grant pays nothing");
    }

    /// @dev Work begun before the class ended is paid after it.
    function testFuzz_Submit_OfADeadClass(uint128 units) public {
        ClassTerms memory class_ = _saleTerms();
        class_.expiry = uint40(START + 1 hours);
        uint256 id = _createClass(class_);
        (JobTerms memory terms, bytes32 jobId) = _runNew(id, UNITS);
        _close(id);
        vm.warp(terms.submitBy);
        _submit(terms, _receipt(jobId, bound(units, 1, UNITS)));
        _assertEnded(terms, Status.Settled);
    }

    /* HELPERS */

    function _expectFault(JobTerms memory terms, JobReceipt memory receipt, bytes4 reason, uint256 given, uint256 limit)
        private
    {
        Attestation memory a = _attest(receipt);
        _expect(reason, market.hashTerms(terms), given, limit);
        market.submit(terms, receipt, a);
    }

    /// @dev A running job of a class of limited rate that has taken `took` seconds, and the most it can have used.
    function _runLimited(uint32 rate, uint32 resources, uint24 took)
        private
        returns (JobTerms memory terms, bytes32 jobId, uint256 possible)
    {
        ClassTerms memory class_ = _saleTerms();
        class_.maxRate = uint64(bound(rate, 1, 1_000_000));
        uint256 id = _createClass(class_);
        terms = _terms(id, type(uint96).max);
        terms.resources = uint32(bound(resources, 1, 10_000));
        _buy(alice.addr, id, terms.maxUnits);
        jobId = _run(terms);
        took = uint24(bound(took, 0, 1 days));
        skip(took);
        possible = (uint256(took) + 1) * terms.resources * class_.maxRate;
    }
}
