// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Attestation, Fault, JobTerms, Outcome, Receipt as JobReceipt, Status} from "contracts/interfaces/Types.sol";
import {JobActions} from "./JobActions.sol";

/// @dev Receipts: right ones, wrong ones, late ones, one by one and in batches.
abstract contract SettlementActions is JobActions {
    uint256 internal constant ROWS = 4;

    /* RIGHT RECEIPTS */

    /// @dev One in eight says that the work failed.
    function submit(uint256 seed, uint256 units, uint256 outcome) external action {
        uint256 index = _find(seed, Status.Running);
        vm.assume(_now() <= live[index].terms.submitBy);
        JobTerms memory terms = live[index].terms;
        JobReceipt memory receipt = _receiptOf(live[index], units, outcome % 8 == 0);
        uint256 due = _worth(terms, receipt.units);
        bytes memory call = abi.encodeCall(IJobMarket.submit, (terms, receipt, _signed(terms.provider, receipt)));
        if (!_must(anyone, address(market), call, 12)) return;
        _taken(index, receipt);
        _checkReturned(terms);
        bool waits = receipt.outcome == Outcome.Completed && _isWindowed(terms.classId);
        if (!waits) _checkPaid(terms, due);
        _done();
    }

    /// @dev What a job's provider has earned, and will have when `units` are burned now.
    function _worth(JobTerms memory terms, uint256 units) internal view returns (uint256) {
        uint256 earned = reserve.earningsOf(terms.provider, address(_tokenOf(terms.classId)));
        if (units == 0) return earned;
        return earned + units * reserve.backingOf(terms.classId) / credits.totalSupply(terms.classId);
    }

    function _checkPaid(JobTerms memory terms, uint256 due) internal {
        uint256 earned = reserve.earningsOf(terms.provider, address(_tokenOf(terms.classId)));
        _check(earned == due, 3, "a provider was not paid its share");
    }

    /// @dev Books a receipt that was taken.
    function _taken(uint256 index, JobReceipt memory receipt) private {
        Job storage job = live[index];
        uint256 id = job.terms.classId;
        if (receipt.outcome == Outcome.Failed) return _end(index, Status.Refunded, 0);
        if (!_isWindowed(id)) return _end(index, Status.Settled, receipt.units);
        (job.status, job.units, job.assurance) = (Status.Submitted, receipt.units, receipt.assurance);
        job.dueAt = _now() + termsOf[id].challengeWindow;
    }

    /* BATCHES */

    /// @dev Up to four jobs of one provider, with one row among them that can't be taken.
    function submitBatch(uint256 seed, uint256 units, uint256 spoil) external action {
        address by = live[_find(seed, Status.Running)].terms.provider;
        uint256[] memory found = _runningOf(by, seed);
        vm.assume(found.length != 0);
        uint256 bad = spoil % found.length;
        (JobTerms[] memory rows, JobReceipt[] memory receipts) = _rows(found, units);
        (JobTerms[] memory sent, JobReceipt[] memory signed) = _rows(found, units);
        _spoil(sent[bad], signed[bad], spoil);
        Attestation memory a = _attest(_key(by), verifier.batchDigest(_hashes(signed)), THRESHOLD);
        bytes memory call = abi.encodeCall(IJobMarket.submitBatch, (sent, signed, watcherSet, a));
        (bool ok, bytes memory answer) = _call(anyone, address(market), call);
        if (!ok) return _fail(10, "a bad row stopped a batch of receipts");
        if (abi.decode(answer, (uint256)) != rows.length - 1) _fail(10, "not just the bad receipt was left out");
        for (uint256 i; i < rows.length; ++i) {
            if (i != bad) _taken(_indexOf(market.hashTerms(rows[i])), receipts[i]);
        }
        for (uint256 i; i < rows.length; ++i) {
            _checkReturned(rows[i]);
        }
        _done();
    }

    /// @dev Indices of running jobs of provider `by` that are not late; at most `ROWS`.
    function _runningOf(address by, uint256 seed) private view returns (uint256[] memory found) {
        found = new uint256[](ROWS);
        uint256 count;
        for (uint256 i; i < live.length && count < ROWS; ++i) {
            uint256 index = (seed % live.length + i) % live.length;
            Job storage job = live[index];
            if (job.status != Status.Running || job.terms.provider != by || _now() > job.terms.submitBy) continue;
            found[count++] = index;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }

    /// @dev Twice with the same arguments gives the same rows, so that one list can be spoilt.
    function _rows(uint256[] memory found, uint256 units)
        private
        view
        returns (JobTerms[] memory rows, JobReceipt[] memory receipts)
    {
        (rows, receipts) = (new JobTerms[](found.length), new JobReceipt[](found.length));
        for (uint256 i; i < found.length; ++i) {
            rows[i] = live[found[i]].terms;
            receipts[i] = _receiptOf(live[found[i]], uint256(keccak256(abi.encode(units, i))), units % 7 == i);
        }
    }

    function _indexOf(bytes32 id) internal view returns (uint256 index) {
        while (live[index].id != id) {
            ++index;
        }
    }

    /* WRONG RECEIPTS */

    /// @dev Must revert, and leave the job ready for the right receipt.
    function submitWrong(uint256 seed, uint256 spoil) external action {
        Job storage job = live[_find(seed, Status.Running)];
        vm.assume(_now() <= job.terms.submitBy);
        JobTerms memory terms = job.terms;
        JobReceipt memory receipt = _receiptOf(job, terms.maxUnits, false);
        _spoil(terms, receipt, spoil);
        bytes memory call = abi.encodeCall(IJobMarket.submit, (terms, receipt, _signed(terms.provider, receipt)));
        if (_mustNot(anyone, address(market), call, spoil % 9 == 7 ? 22 : 5)) return;
        _check(_isAs(job, Status.Running), 12, "a refused receipt changed its job");
        _done();
    }

    /// @dev A right receipt, signed by somebody else, or co-signed by too few watchers or the wrong ones.
    function submitForged(uint256 seed, uint256 how) external action {
        Job storage job = live[_find(seed, Status.Running)];
        vm.assume(_now() <= job.terms.submitBy);
        JobReceipt memory receipt = _receiptOf(job, job.terms.maxUnits, false);
        bytes32 digest = verifier.receiptDigest(receipt);
        Provider storage p = _providerOf(job.terms.provider);
        Attestation memory a = _attest(how % 3 == 0 ? p.keys[1 - p.inUse] : _key(p.account), digest, THRESHOLD);
        if (how % 3 != 0) {
            vm.assume(receipt.assurance >= 2);
            if (how % 3 == 1) a.watchers = _judge(digest, THRESHOLD);
            else a.watchers[1] = a.watchers[0];
        }
        bytes memory call = abi.encodeCall(IJobMarket.submit, (job.terms, receipt, a));
        if (!_mustNot(anyone, address(market), call, 18)) _done();
    }

    function submitLate(uint256 seed) external action {
        Job storage job = live[_find(seed, Status.Running)];
        vm.assume(_now() > job.terms.submitBy);
        JobReceipt memory receipt = _receiptOf(job, job.terms.maxUnits, false);
        bytes memory call =
            abi.encodeCall(IJobMarket.submit, (job.terms, receipt, _signed(job.terms.provider, receipt)));
        if (_mustNot(anyone, address(market), call, 12)) return;
        _check(_isAs(job, Status.Running), 12, "a late receipt changed its job");
        _done();
    }

    /// @dev A job that has ended stays so, whatever is tried with it.
    function replay(uint256 seed, uint256 what) external action {
        vm.assume(endedCount != 0);
        Job storage job = ended[seed % (endedCount < ended.length ? endedCount : ended.length)];
        JobTerms memory terms = job.terms;
        address by = what % 6 == 4 ? terms.payer : anyone;
        JobReceipt memory receipt = _receiptOf(job, terms.maxUnits, false);
        bytes memory call = abi.encodeCall(IJobMarket.submit, (terms, receipt, _signed(terms.provider, receipt)));
        if (what % 6 == 1) call = abi.encodeCall(IJobMarket.finalize, (terms));
        if (what % 6 == 2) call = abi.encodeCall(IJobMarket.expire, (terms));
        if (what % 6 == 3) call = _verdict(job, 0, Fault.None);
        if (what % 6 == 4) call = abi.encodeCall(IJobMarket.open, (terms, ""));
        if (what % 6 == 5) call = abi.encodeCall(IJobMarket.challenge, (terms));
        if (_mustNot(by, address(market), call, 4)) return;
        _check(_isAs(job, job.status), 4, "a job that ended changed");
        _done();
    }

    /* HELPERS */

    function _isWindowed(uint256 id) internal view returns (bool) {
        return termsOf[id].challengeWindow != 0;
    }

    /// @dev A receipt that must be taken: of at most `units`, what was locked, and what fits the time.
    function _receiptOf(Job storage job, uint256 units, bool failed) internal view returns (JobReceipt memory receipt) {
        receipt = _receipt(job.id, 0);
        receipt.startedAt = uint40(job.openedAt);
        if (failed) {
            (receipt.outcome, receipt.assurance) = (Outcome.Failed, 0);
            return receipt;
        }
        uint256 possible = _possible(job, receipt);
        receipt.units = uint128(bound(units, 0, possible < job.terms.maxUnits ? possible : job.terms.maxUnits));
        receipt.assurance = termsOf[job.terms.classId].minAssurance;
    }

    function _possible(Job storage job, JobReceipt memory receipt) internal view returns (uint256) {
        uint256 seconds_ = receipt.endedAt - receipt.startedAt + 1;
        return seconds_ * job.terms.resources * termsOf[job.terms.classId].maxRate;
    }

    function _signed(address by, JobReceipt memory receipt) internal view returns (Attestation memory) {
        return _attest(_key(by), verifier.receiptDigest(receipt), receipt.assurance >= 2 ? THRESHOLD : 0);
    }

    function _verdict(Job storage job, uint256 units, Fault fault) internal view returns (bytes memory) {
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(job.id, uint128(units), fault);
        bytes[] memory signatures = _judge(market.verdictDigest(verdict), THRESHOLD);
        return abi.encodeCall(IJobMarket.resolve, (job.terms, verdict, signatures));
    }

    /// @dev Breaks one thing that every class minds.
    function _spoil(JobTerms memory terms, JobReceipt memory receipt, uint256 how) internal view {
        how %= 9;
        if (how == 0) (receipt.outcome, receipt.units) = (Outcome.Completed, terms.maxUnits + 1);
        if (how == 1) receipt.startedAt -= 1;
        if (how == 2) receipt.endedAt = uint40(_now() + 1);
        if (how == 3) receipt.jobId = keccak256(abi.encode(receipt.jobId));
        if (how == 4) receipt.outcome = Outcome.None;
        if (how == 5) terms.maxUnits += 1;
        if (how == 6) receipt.assurance = 4;
        if (how == 7) (receipt.outcome, receipt.assurance) = (Outcome.Completed, 0);
        if (how == 8) _tooFast(terms, receipt);
    }

    /// @dev One unit more than the rate of the class allows; where that is more than the lock, a wrong interval instead.
    function _tooFast(JobTerms memory terms, JobReceipt memory receipt) private view {
        uint256 rate = termsOf[terms.classId].maxRate;
        uint256 possible = (receipt.endedAt - receipt.startedAt + 1) * rate * terms.resources;
        if (possible < terms.maxUnits) (receipt.outcome, receipt.units) = (Outcome.Completed, uint128(possible + 1));
        else receipt.endedAt = receipt.startedAt - 1;
    }
}
