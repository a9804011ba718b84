// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Attestation, JobTerms, Outcome, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {CreditActions} from "./CreditActions.sol";
import {State} from "./State.sol";

/// @dev Everything that can happen to a job.
abstract contract JobActions is CreditActions {
    /* OPENING */

    /// @dev By call or by signature, with a quote (two times in three) or without.
    function open(uint256 buyer, uint256 class_, uint256 units, uint256 how) external action {
        Account memory payer = _buyer(buyer);
        uint256 id = _class(class_);
        if (credits.availableOf(payer.addr, id) == 0) _buyUnits(payer.addr, id, bound(units, 1, MOST), payer.addr);
        uint256 held = credits.availableOf(payer.addr, id);
        JobTerms memory terms = _terms(id, bound(units, 1, held));
        (terms.payer, terms.provider) = (payer.addr, providers[how % 2].account);
        bool quoted = how % 3 != 0;
        bytes32 jobId = market.hashTerms(terms);
        bytes memory quote = quoted ? _quote(terms, _key(terms.provider)) : bytes("");
        bytes memory signature = _sign(payer, jobId);
        vm.prank(how % 5 == 0 ? anyone : payer.addr);
        if (how % 5 == 0) market.openBySig(terms, signature, quote);
        else market.open(terms, quote);
        _check(credits.availableOf(payer.addr, id) == held - terms.maxUnits, "2: a lock was not what the job names");
        tracked.push(Tracked(terms, jobId, quoted ? Status.Running : Status.Open, 0, 0, Status.None));
    }

    function accept(uint256 seed, uint256 by) external action {
        Tracked storage t = _job(seed, Status.Open);
        vm.assume(_now() <= t.terms.acceptBy);
        address caller = by % 2 == 0 ? _key(t.terms.provider).addr : t.terms.provider;
        vm.prank(caller);
        market.accept(t.terms);
    }

    /* ENDING WITHOUT PAY */

    function cancel(uint256 seed, uint256 status, uint256 by) external action {
        bool running = status % 2 == 0;
        Tracked storage t = _job(seed, running ? Status.Running : Status.Open);
        address[3] memory callers = [t.terms.provider, _key(t.terms.provider).addr, t.terms.payer];
        uint256 before = credits.availableOf(t.terms.payer, t.terms.classId);
        t.next = Status.Cancelled;
        vm.prank(callers[by % (running ? 2 : 3)]);
        market.cancel(t.terms);
        _checkRefund(t, before, t.terms.maxUnits);
    }

    function expire(uint256 seed, uint256 status) external action {
        bool running = status % 2 == 0;
        Tracked storage t = _job(seed, running ? Status.Running : Status.Open);
        vm.assume(_now() > (running ? t.terms.submitBy : t.terms.acceptBy));
        _expireJob(t);
    }

    function _expireJob(Tracked storage t) internal {
        uint256 before = credits.availableOf(t.terms.payer, t.terms.classId);
        t.next = Status.Expired;
        vm.prank(anyone);
        try market.expire(t.terms) {
            _checkRefund(t, before, t.terms.maxUnits);
        } catch {
            _check(false, "6: a job past its deadline could not be expired");
        }
    }

    /* SETTLEMENT */

    /// @dev One in eight says that the work failed.
    function submit(uint256 seed, uint256 units, uint256 outcome) external action {
        bool failed = outcome % 8 == 0;
        Tracked storage t = _job(seed, Status.Running);
        vm.assume(_now() <= t.terms.submitBy);
        JobReceipt memory receipt = _receiptOf(t, units, failed);
        (t.units, t.next) = (receipt.units, failed ? Status.Refunded : Status.Settled);
        Attestation memory a = _attest(_key(t.terms.provider), verifier.receiptDigest(receipt), _watchersFor(receipt));
        uint256 before = credits.availableOf(t.terms.payer, t.terms.classId);
        vm.prank(anyone);
        try market.submit(t.terms, receipt, a) {
            bool waits = !failed && credits.settlementTerms(t.terms.classId).windowed;
            _checkRefund(t, before, waits ? 0 : t.terms.maxUnits - receipt.units);
        } catch {
            _check(false, "12: a right receipt was refused");
        }
    }

    /// @dev Up to four jobs of one provider, with one row among them that can't be taken.
    function submitBatch(uint256 seed, uint256 units, uint256 spoil) external action {
        address by = _job(seed, Status.Running).terms.provider;
        (JobTerms[] memory rows, JobReceipt[] memory receipts) = _batch(by, seed, units);
        uint256 bad = spoil % rows.length;
        _spoil(rows[bad], receipts[bad], spoil);
        Attestation memory a = _attest(_key(by), verifier.batchDigest(_hashes(receipts)), THRESHOLD);
        vm.prank(anyone);
        try market.submitBatch(rows, receipts, watcherSet, a) returns (uint256 taken) {
            _check(taken == rows.length - 1, "10: a bad row stopped a good one, or was taken");
        } catch {
            _check(false, "10: a bad row stopped the batch");
        }
    }

    function finalize(uint256 seed) external action {
        Tracked storage t = _job(seed, Status.Submitted);
        vm.assume(_now() >= market.submissions(t.id).finalizeAt);
        _finalizeJob(t);
    }

    function _finalizeJob(Tracked storage t) internal {
        uint256 before = credits.availableOf(t.terms.payer, t.terms.classId);
        t.next = Status.Settled;
        vm.prank(anyone);
        try market.finalize(t.terms) {
            _checkRefund(t, before, t.terms.maxUnits - t.units);
        } catch {
            _check(false, "6: a submission past its window could not be finalized");
        }
    }

    /* WHAT MUST FAIL */

    /// @dev A wrong receipt for a running job must revert, and leave the job ready for the right one.
    function submitWrong(uint256 seed, uint256 spoil) external action {
        Tracked storage t = _job(seed, Status.Running);
        JobReceipt memory receipt = _receiptOf(t, t.terms.maxUnits, false);
        JobTerms memory terms = t.terms;
        _spoil(terms, receipt, spoil);
        Attestation memory a = _attest(_key(t.terms.provider), verifier.receiptDigest(receipt), THRESHOLD);
        try market.submit(terms, receipt, a) {
            _check(false, "5: a wrong receipt was taken");
        } catch {
            _check(market.jobs(t.id).status == Status.Running, "12: a refused receipt changed its job");
        }
    }

    function submitLate(uint256 seed) external action {
        Tracked storage t = _job(seed, Status.Running);
        vm.assume(_now() > t.terms.submitBy);
        JobReceipt memory receipt = _receiptOf(t, t.terms.maxUnits, false);
        Attestation memory a = _attest(_key(t.terms.provider), verifier.receiptDigest(receipt), THRESHOLD);
        try market.submit(t.terms, receipt, a) {
            _check(false, "12: a late receipt was taken");
        } catch {}
    }

    /// @dev A job that has a receipt, or has ended, takes no other.
    function replay(uint256 seed, uint256 status) external action {
        Tracked storage t = _job(seed, Status(bound(status, uint256(Status.Submitted), uint256(Status.Expired))));
        JobReceipt memory receipt = _receiptOf(t, t.terms.maxUnits, false);
        Attestation memory a = _attest(_key(t.terms.provider), verifier.receiptDigest(receipt), THRESHOLD);
        try market.submit(t.terms, receipt, a) {
            _check(false, "4: a job took a second receipt");
        } catch {}
    }

    /* HELPERS */

    function _checkRefund(Tracked storage t, uint256 before, uint256 due) private {
        uint256 back = credits.availableOf(t.terms.payer, t.terms.classId) - before;
        _check(back == due, "5: the rest did not return in the same call");
    }

    function _receiptOf(Tracked storage t, uint256 units, bool failed)
        private
        view
        returns (JobReceipt memory receipt)
    {
        receipt = _receipt(t.id, failed ? 0 : bound(units, 0, t.terms.maxUnits));
        if (failed) (receipt.outcome, receipt.assurance) = (Outcome.Failed, 0);
        else if (credits.settlementTerms(t.terms.classId).minAssurance == 2) receipt.assurance = 2;
    }

    function _watchersFor(JobReceipt memory receipt) private pure returns (uint256) {
        return receipt.assurance >= 2 ? THRESHOLD : 0;
    }

    /// @dev Rows of running jobs of provider `by` that are not late. At least one, at most four.
    function _batch(address by, uint256 seed, uint256 units)
        private
        returns (JobTerms[] memory rows, JobReceipt[] memory receipts)
    {
        uint256[] memory found = new uint256[](4);
        uint256 count;
        for (uint256 i; i < tracked.length && count < 4; ++i) {
            State.Tracked storage t = tracked[(seed % tracked.length + i) % tracked.length];
            if (t.last != Status.Running || t.terms.provider != by || _now() > t.terms.submitBy) continue;
            found[count++] = (seed % tracked.length + i) % tracked.length;
        }
        vm.assume(count != 0);
        (rows, receipts) = (new JobTerms[](count), new JobReceipt[](count));
        for (uint256 i; i < count; ++i) {
            Tracked storage t = tracked[found[i]];
            rows[i] = t.terms;
            receipts[i] = _receiptOf(t, uint256(keccak256(abi.encode(units, i))), units % 7 == i);
            // Ignored if the row is skipped: only a job that settles burns its units.
            t.units = receipts[i].units;
            t.next = receipts[i].outcome == Outcome.Failed ? Status.Refunded : Status.Settled;
        }
    }

    /// @dev Breaks one thing that every class minds.
    function _spoil(JobTerms memory terms, JobReceipt memory receipt, uint256 how) private view {
        how %= 6;
        if (how == 0) (receipt.outcome, receipt.units) = (Outcome.Completed, terms.maxUnits + 1);
        if (how == 1) receipt.startedAt -= 1;
        if (how == 2) receipt.endedAt = uint40(_now() + 1);
        if (how == 3) receipt.jobId = keccak256(abi.encode(receipt.jobId));
        if (how == 4) receipt.outcome = Outcome.None;
        if (how == 5) terms.maxUnits += 1;
    }
}
