// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Attestation, JobTerms, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {Refusal} from "./StandIn.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Any job, in any state. Each call changes the status of the job it names alone, and only as the design says; `None`
/// after an end is a slot that was cleared, which happens only when the same terms can't be opened again.
contract JobsCheck is Symbolic {
    IJobMarket private market;

    function setUp() public {
        _standIn();
        market = IJobMarket(_deployInAnyState("JobMarket", abi.encode(_system())));
        _anyTime();
    }

    /* TRANSITIONS */

    function check_open(bytes32 id, address caller, JobTerms memory terms, bool quoted) public {
        Status before = market.jobs(id).status;
        vm.prank(caller);
        market.open(terms, quoted ? svm.createBytes(65, "quote") : bytes(""));
        _assertOpened(id, before, terms, quoted);
        if (terms.budgetId == 0) assert(caller == terms.payer);
    }

    function check_openFor(bytes32 id, address caller, JobTerms memory terms, bool quoted) public {
        Status before = market.jobs(id).status;
        vm.prank(caller);
        market.openFor(terms, quoted ? svm.createBytes(65, "quote") : bytes(""));
        _assertOpened(id, before, terms, quoted);
        assert(terms.budgetId != 0);
    }

    function check_openBySig(bytes32 id, JobTerms memory terms, bool quoted) public {
        Status before = market.jobs(id).status;
        market.openBySig(terms, svm.createBytes(65, "signature"), quoted ? svm.createBytes(65, "quote") : bytes(""));
        _assertOpened(id, before, terms, quoted);
    }

    function check_accept(bytes32 id, address caller, JobTerms memory terms) public {
        Status before = market.jobs(id).status;
        vm.prank(caller);
        market.accept(terms);
        _assertAccepted(id, before, terms);
    }

    function check_acceptBySig(bytes32 id, JobTerms memory terms) public {
        Status before = market.jobs(id).status;
        market.acceptBySig(terms, svm.createBytes(65, "quote"));
        _assertAccepted(id, before, terms);
    }

    function check_cancel(bytes32 id, address caller, JobTerms memory terms) public {
        Status before = _unbudgeted(id, terms);
        vm.prank(caller);
        market.cancel(terms);
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Open || before == Status.Running);
        _assertEnded(id, terms, Status.Cancelled);
    }

    function check_cancelBySig(bytes32 id, JobTerms memory terms, uint256 deadline) public {
        Status before = market.jobs(id).status;
        market.cancelBySig(terms, deadline, svm.createBytes(65, "signature"));
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Open && block.timestamp <= deadline);
        _assertEnded(id, terms, Status.Cancelled);
    }

    function check_expire(bytes32 id, address caller, JobTerms memory terms) public {
        Status before = market.jobs(id).status;
        vm.prank(caller);
        market.expire(terms);
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Open ? block.timestamp > terms.acceptBy : before == Status.Running);
        if (before == Status.Running) assert(block.timestamp > terms.submitBy);
        _assertEnded(id, terms, Status.Expired);
    }

    function check_submit(bytes32 id, JobTerms memory terms, JobReceipt memory receipt) public {
        Status before = _unbudgeted(id, terms);
        market.submit(terms, receipt, Attestation(svm.createBytes(65, "signature"), new bytes[](0)));
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Running && receipt.jobId == id && block.timestamp <= terms.submitBy);
        assert(receipt.units <= terms.maxUnits);
        if (market.jobs(id).status == Status.Submitted) return;
        _assertEnded(id, terms, receipt.units == 0 && uint8(receipt.outcome) == 2 ? Status.Refunded : Status.Settled);
    }

    function check_challenge(bytes32 id, address caller, JobTerms memory terms) public {
        Status before = market.jobs(id).status;
        uint256 finalizeAt = market.submissions(id).finalizeAt;
        vm.prank(caller);
        market.challenge(terms);
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Submitted && market.jobs(id).status == Status.Disputed);
        assert(block.timestamp < finalizeAt);
        assert(market.disputes(id).challenger == caller);
    }

    function check_resolve(bytes32 id, JobTerms memory terms, IJobMarket.Verdict memory verdict) public {
        Status before = _unbudgeted(id, terms);
        uint256 submitted = market.submissions(id).units;
        market.resolve(terms, verdict, new bytes[](0));
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Disputed && verdict.jobId == id && verdict.units <= submitted);
        _assertEnded(id, terms, verdict.units == 0 ? Status.Refunded : Status.Settled);
    }

    function check_finalize(bytes32 id, JobTerms memory terms) public {
        Status before = _unbudgeted(id, terms);
        IJobMarket.Submission memory submission = market.submissions(id);
        uint256 decideBy = market.disputes(id).decideBy;
        market.finalize(terms);
        if (_isOther(id, before, terms)) return;
        if (before == Status.Submitted) {
            assert(block.timestamp >= submission.finalizeAt);
            _assertEnded(id, terms, Status.Settled);
        } else {
            assert(before == Status.Disputed && block.timestamp > decideBy);
            bool stands = submission.assurance >= 2 && submission.units != 0;
            _assertEnded(id, terms, stands ? Status.Settled : Status.Refunded);
        }
    }

    /* WHO */

    function check_open_onlyByItsPayer(address caller, JobTerms memory terms) public {
        vm.assume(caller != terms.payer);
        assert(!_call(address(market), caller, abi.encodeCall(market.open, (terms, ""))));
    }

    function check_cancel_ofARunningJobOnlyByTheProvider(address caller, JobTerms memory terms) public {
        vm.assume(market.jobs(market.hashTerms(terms)).status == Status.Running);
        _refuse(REGISTRY);
        vm.assume(caller != terms.provider);
        assert(!_call(address(market), caller, abi.encodeCall(market.cancel, (terms))));
    }

    function check_resolve_onlyByTheArbiters(JobTerms memory terms, IJobMarket.Verdict memory verdict) public {
        _refuse(VERIFIER);
        bytes[] memory none = new bytes[](0);
        assert(!_call(address(market), address(this), abi.encodeCall(market.resolve, (terms, verdict, none))));
    }

    /// @dev From assurance 2 on.
    function check_submit_watchedOnlyByTheWatchers(JobTerms memory terms, JobReceipt memory receipt) public {
        _refuse(VERIFIER);
        vm.assume(receipt.assurance >= 2);
        Attestation memory attestation = Attestation(svm.createBytes(65, "signature"), new bytes[](0));
        assert(!_call(address(market), address(this), abi.encodeCall(market.submit, (terms, receipt, attestation))));
    }

    /* HELPERS */

    /// @dev Leaves out the share of a charge that goes back to a budget, a quotient: it decides no status.
    function _unbudgeted(bytes32 id, JobTerms memory terms) private view returns (Status) {
        vm.assume(market.jobs(market.hashTerms(terms)).charge == 0);
        return market.jobs(id).status;
    }

    /// @dev True if the call was about another job; then nothing may have changed of this one.
    function _isOther(bytes32 id, Status before, JobTerms memory terms) private view returns (bool other) {
        other = id != market.hashTerms(terms);
        if (other) assert(market.jobs(id).status == before);
    }

    function _assertOpened(bytes32 id, Status before, JobTerms memory terms, bool quoted) private view {
        if (_isOther(id, before, terms)) return;
        assert(before == Status.None && block.timestamp <= terms.acceptBy);
        assert(market.jobs(id).status == (quoted ? Status.Running : Status.Open));
        assert(market.jobs(id).openedAt == block.timestamp);
    }

    function _assertAccepted(bytes32 id, Status before, JobTerms memory terms) private view {
        if (_isOther(id, before, terms)) return;
        assert(before == Status.Open && market.jobs(id).status == Status.Running);
        assert(block.timestamp <= terms.acceptBy);
    }

    function _assertEnded(bytes32 id, JobTerms memory terms, Status end) private view {
        assert(market.jobs(id).status == (block.timestamp > terms.acceptBy ? Status.None : end));
    }

    function _refuse(address who) private {
        vm.etch(who, type(Refusal).runtimeCode);
    }
}
