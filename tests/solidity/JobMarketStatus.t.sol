// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Attestation, Fault, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev Every step that a job's status forbids, in every status that can be reached.
contract JobMarketStatusTest is Base {
    uint128 private constant UNITS = 1_000;
    uint256 private windowed;
    /// @dev All but Expired, which no slot ever says: a job expires after `acceptBy`, and its slot is emptied.
    Status[8] private reachable = [
        Status.None,
        Status.Open,
        Status.Running,
        Status.Submitted,
        Status.Disputed,
        Status.Settled,
        Status.Refunded,
        Status.Cancelled
    ];

    function setUp() public override {
        super.setUp();
        windowed = _createClass(_windowedTerms());
    }

    function test_RevertWhen_OpenedAgain() public {
        for (uint256 i = 1; i < reachable.length; ++i) {
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            _buy(alice.addr, windowed, UNITS);
            _expectWrong(jobId, reachable[i], Status.None);
            vm.prank(alice.addr);
            market.open(terms, "");
        }
    }

    function test_RevertWhen_AcceptedUnlessOpen() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Open) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            _expectWrong(jobId, reachable[i], Status.Open);
            vm.prank(provider.addr);
            market.accept(terms);
        }
    }

    function test_RevertWhen_CancelledUnlessOpenOrRunning() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Open || reachable[i] == Status.Running) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            _expectWrong(jobId, reachable[i], Status.Open);
            vm.prank(provider.addr);
            market.cancel(terms);
            _expectWrong(jobId, reachable[i], Status.Open);
            vm.prank(alice.addr);
            market.cancel(terms);
        }
    }

    function test_RevertWhen_ExpiredUnlessOpenOrRunning() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Open || reachable[i] == Status.Running) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            vm.warp(terms.submitBy + 1);
            _expectWrong(jobId, reachable[i], Status.Open);
            market.expire(terms);
        }
    }

    function test_RevertWhen_SubmittedUnlessRunning() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Running) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            JobReceipt memory receipt = _receipt(jobId, 1);
            Attestation memory attestation = _attest(receipt);
            _expectWrong(jobId, reachable[i], Status.Running);
            market.submit(terms, receipt, attestation);
        }
    }

    function test_SkipsRow_UnlessRunning() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Running) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            JobTerms[] memory rows = new JobTerms[](1);
            JobReceipt[] memory receipts = new JobReceipt[](1);
            (rows[0], receipts[0]) = (terms, _receipt(jobId, 1));
            Attestation memory attestation = _attestBatch(receipts, 0);
            vm.expectEmit(address(market));
            emit IJobMarket.RowSkipped(
                jobId, IJobMarket.JobMarket_WrongStatus.selector, uint256(reachable[i]), uint256(Status.Running)
            );
            assertEq(market.submitBatch(rows, receipts, 0, attestation), 0, "taken");
            _assertStatus(jobId, reachable[i]);
        }
    }

    function test_RevertWhen_FinalizedUnlessSubmitted() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Submitted || reachable[i] == Status.Disputed) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            vm.warp(terms.submitBy + WINDOW);
            _expectWrong(jobId, reachable[i], Status.Submitted);
            market.finalize(terms);
        }
    }

    function test_RevertWhen_ChallengedUnlessSubmitted() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Submitted) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            _expectWrong(jobId, reachable[i], Status.Submitted);
            market.challenge(terms);
        }
    }

    function test_RevertWhen_ResolvedUnlessDisputed() public {
        for (uint256 i; i < reachable.length; ++i) {
            if (reachable[i] == Status.Disputed) continue;
            (JobTerms memory terms, bytes32 jobId) = _jobIn(reachable[i]);
            _expectWrong(jobId, reachable[i], Status.Disputed);
            market.resolve(terms, IJobMarket.Verdict(jobId, 0, Fault.None), new bytes[](0));
        }
    }

    /// @dev However a job ended after `acceptBy`, its terms are never good for anything again: not even to open.
    function test_RevertWhen_AnythingIsDoneAfterTheSlotIsEmpty() public {
        Status[3] memory ends = [Status.Settled, Status.Refunded, Status.Expired];
        for (uint256 i; i < ends.length; ++i) {
            (JobTerms memory terms, bytes32 jobId) = _endLate(ends[i]);
            _assertStatus(jobId, Status.None);
            assertEq(market.jobs(jobId).openedAt, 0, "nothing is kept");
            _buy(alice.addr, windowed, UNITS);
            bytes memory quote = _quote(terms, oracle);
            bytes memory signature = _sign(alice, jobId);
            _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, _now(), terms.acceptBy);
            vm.prank(alice.addr);
            market.open(terms, quote);
            _expect(IJobMarket.JobMarket_DeadlinePassed.selector, jobId, _now(), terms.acceptBy);
            market.openBySig(terms, signature, quote);
            _expectWrong(jobId, Status.None, Status.Open);
            market.acceptBySig(terms, quote);
            _expectWrong(jobId, Status.None, Status.Open);
            market.expire(terms);
            _expectWrong(jobId, Status.None, Status.Submitted);
            market.finalize(terms);
        }
    }

    /* HELPERS */

    /// @dev A job of alice's brought into `status`. The clock stands at START again afterwards, so that no deadline hides
    /// what the status forbids.
    function _jobIn(Status status) private returns (JobTerms memory terms, bytes32 jobId) {
        vm.warp(START);
        terms = _terms(windowed, UNITS);
        jobId = market.hashTerms(terms);
        if (status == Status.None) return (terms, jobId);
        _buy(alice.addr, windowed, UNITS);
        if (status == Status.Open) _open(terms);
        else _run(terms);
        if (status == Status.Submitted || status == Status.Disputed || status == Status.Settled) {
            _submit(terms, _receipt(jobId, 1));
        }
        if (status == Status.Disputed) _challenge(bob.addr, terms);
        if (status == Status.Refunded) _submit(terms, _failed(jobId));
        if (status == Status.Cancelled) _cancelByProvider(terms);
        if (status == Status.Settled) {
            vm.warp(START + WINDOW);
            market.finalize(terms);
        }
        vm.warp(START);
        _assertStatus(jobId, status);
    }

    /// @dev A job that ended after the time to accept it.
    function _endLate(Status status) private returns (JobTerms memory terms, bytes32 jobId) {
        vm.warp(START);
        terms = _terms(windowed, UNITS);
        _buy(alice.addr, windowed, UNITS);
        if (status == Status.Expired) jobId = _open(terms);
        else jobId = _run(terms);
        vm.warp(terms.acceptBy + 1);
        if (status == Status.Expired) market.expire(terms);
        if (status == Status.Refunded) _submit(terms, _failed(jobId));
        if (status != Status.Settled) return (terms, jobId);
        _submit(terms, _receipt(jobId, 1));
        skip(WINDOW);
        market.finalize(terms);
    }

    function _cancelByProvider(JobTerms memory terms) private {
        vm.prank(provider.addr);
        market.cancel(terms);
    }

    function _expectWrong(bytes32 jobId, Status given, Status needed) private {
        _expect(IJobMarket.JobMarket_WrongStatus.selector, jobId, uint256(given), uint256(needed));
    }
}
