// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {Fault, JobTerms, Status} from "contracts/interfaces/Types.sol";
import {SettlementActions} from "./SettlementActions.sol";

/// @dev What happens to a receipt that waits: its window passes, or it is challenged and decided, by arbiters or by time.
abstract contract DisputeActions is SettlementActions {
    uint256 private constant DISPUTE_PERIOD = 7 days;

    /* BY TIME */

    function finalize(uint256 seed, uint256 status) external action {
        uint256 index = _find(seed, status % 3 == 0 ? Status.Disputed : Status.Submitted);
        vm.assume(_isDue(live[index]));
        if (_finalizeJob(index)) _done();
    }

    function _finalizeJob(uint256 index) internal returns (bool ok) {
        JobTerms memory terms = live[index].terms;
        uint256 due = _worth(terms, _standing(live[index]));
        ok = _must(anyone, address(market), abi.encodeCall(IJobMarket.finalize, (terms)), 6);
        if (!ok) return false;
        _finalized(index);
        _checkReturned(terms);
        _checkPaid(terms, due);
    }

    function _isDue(Job storage job) private view returns (bool) {
        if (job.status == Status.Submitted) return _now() >= job.dueAt;
        return job.status == Status.Disputed && _now() > job.dueAt;
    }

    /// @dev Of an undecided dispute, the word of the provider alone doesn't stand.
    function _standing(Job storage job) private view returns (uint256) {
        return job.status == Status.Disputed && job.assurance < 2 ? 0 : job.units;
    }

    function _finalized(uint256 index) private {
        Job storage job = live[index];
        uint256 units = _standing(job);
        if (job.status == Status.Disputed) awards[job.challenger] += CHALLENGE_BOND;
        bool refunded = job.status == Status.Disputed && units == 0;
        _end(index, refunded ? Status.Refunded : Status.Settled, units);
    }

    /// @dev Jobs in any status, whether they are due or not; those that are due must end, the others stay.
    function finalizeBatch(uint256 seed) external action {
        uint256 count = live.length < ROWS ? live.length : ROWS;
        vm.assume(count != 0);
        JobTerms[] memory rows = new JobTerms[](count);
        bool[] memory due = new bool[](count);
        uint256 expected;
        for (uint256 i; i < count; ++i) {
            Job storage job = live[(seed % live.length + i) % live.length];
            rows[i] = job.terms;
            due[i] = _isDue(job);
            if (due[i]) ++expected;
        }
        vm.assume(expected != 0);
        bytes memory call = abi.encodeCall(IJobMarket.finalizeBatch, (rows));
        (bool ok, bytes memory answer) = _call(anyone, address(market), call);
        if (!ok) return _fail(10, "a bad row stopped a batch of ends");
        if (abi.decode(answer, (uint256)) != expected) return _fail(10, "not just the jobs that were due ended");
        for (uint256 i; i < count; ++i) {
            if (due[i]) _finalized(_indexOf(market.hashTerms(rows[i])));
        }
        for (uint256 i; i < count; ++i) {
            _checkReturned(rows[i]);
        }
        _done();
    }

    /* BY DISPUTE */

    function challenge(uint256 seed, uint256 who) external action {
        Job storage job = live[_find(seed, Status.Submitted)];
        address challenger = who % 4 == 0 ? anyone : _buyer(who).addr;
        usd.mint(challenger, CHALLENGE_BOND);
        bytes memory call = abi.encodeCall(IJobMarket.challenge, (job.terms));
        (bool ok,) = _attempt(challenger, address(market), call, _now() < job.dueAt ? 0 : 6);
        if (!ok) return;
        (job.status, job.challenger, job.dueAt) = (Status.Disputed, challenger, _now() + DISPUTE_PERIOD);
        _done();
    }

    function resolve(uint256 seed, uint256 units, uint256 fault) external action {
        uint256 index = _find(seed, Status.Disputed);
        Job storage job = live[index];
        JobTerms memory terms = job.terms;
        units = units % 4 == 0 ? 0 : bound(units, 0, job.units);
        bytes memory call = _verdict(job, units, Fault(fault % 3));
        uint256 due = _worth(terms, units);
        (bool ok,) = _attempt(anyone, address(market), call, _now() > job.dueAt ? 6 : 0);
        if (!ok) return;
        _decided(job, Fault(fault % 3));
        _end(index, units == 0 ? Status.Refunded : Status.Settled, units);
        _checkReturned(terms);
        _checkPaid(terms, due);
        _done();
    }

    /// @dev Rule 11: a provider at fault loses what stood behind this job, as far as there is stake, and no more.
    function _decided(Job storage job, Fault fault) private {
        address payer = job.terms.payer;
        Provider storage p = _providerOf(job.terms.provider);
        awards[fault == Fault.Challenger ? p.account : job.challenger] += CHALLENGE_BOND;
        if (fault == Fault.Provider) {
            uint256 there = p.staked + p.unbonding;
            uint256 taken = job.stake < there ? job.stake : there;
            _taken(p, taken);
            awards[payer] += taken / 2;
            awards[job.challenger] += taken - taken / 2;
        }
        _check(registry.stakeOf(p.account) == p.staked, 11, "a verdict took other stake");
        bool awarded = registry.awardOf(payer) == awards[payer] && registry.awardOf(p.account) == awards[p.account];
        _check(awarded && registry.awardOf(job.challenger) == awards[job.challenger], 11, "a verdict awarded otherwise");
    }

    /// @dev More than was claimed, or signed by those who don't decide.
    function resolveWrong(uint256 seed, uint256 how) external action {
        Job storage job = live[_find(seed, Status.Disputed)];
        IJobMarket.Verdict memory verdict = IJobMarket.Verdict(job.id, uint128(job.units), Fault.None);
        if (how % 2 == 0) verdict.units += 1;
        bytes32 digest = market.verdictDigest(verdict);
        bytes[] memory signatures = _judge(digest, THRESHOLD);
        if (how % 2 == 1) signatures = _attest(digest, THRESHOLD).watchers;
        bytes memory call = abi.encodeCall(IJobMarket.resolve, (job.terms, verdict, signatures));
        if (_mustNot(anyone, address(market), call, how % 2 == 0 ? 5 : 18)) return;
        _check(_isAs(job, Status.Disputed), 4, "a refused verdict changed its job");
        _done();
    }
}
