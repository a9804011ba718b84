// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IJobMarket} from "contracts/interfaces/IJobMarket.sol";
import {JobTerms, Status} from "contracts/interfaces/Types.sol";
import {BudgetActions} from "./BudgetActions.sol";

/// @dev How jobs begin, and how they end without pay.
abstract contract JobActions is BudgetActions {
    uint256 private constant MAX_LIVE = 10;
    bytes32 private constant CANCEL_TYPEHASH = keccak256("Cancel(bytes32 jobId,uint256 deadline)");

    /* OPENING */

    /// @dev With a quote two times in three; from a budget one time in three, by its spender; sent by a stranger sometimes.
    function open(uint256 buyer, uint256 class_, uint256 units, uint256 how) external action {
        vm.assume(live.length < MAX_LIVE);
        address payer = _buyer(buyer).addr;
        uint256 id = (how >> 24) % 2 == 0 ? _class(class_) : _disputable(class_);
        _acquire(payer, id, bound(units, 1, MOST));
        vm.assume(_available(payer, id) != 0);
        JobTerms memory terms = _terms(id, bound(units, 1, _available(payer, id)));
        (terms.payer, terms.provider) = (payer, providers[how % 2].account);
        (terms.resources, terms.budgetId) = (uint32(1 + how % 3), how % 3 == 1 ? _budgetOf(payer, units) : 0);
        bool quoted = (how >> 8) % 3 != 0;
        (uint256 rule, uint256 charge) = _openRule(terms, quoted);
        (address by, bytes memory call) = _opening(terms, quoted, (how >> 16) % 3 == 0);
        (bool ok,) = _attempt(by, address(market), call, rule);
        if (!ok) return;
        _opened(terms, quoted, charge);
        _done();
    }

    /// @dev A class with a challenge window, starting the search anywhere.
    function _disputable(uint256 seed) private view returns (uint256 id) {
        for (uint256 i; i < classes.length; ++i) {
            id = classes[(seed % classes.length + i) % classes.length];
            if (termsOf[id].challengeWindow != 0 && !_isWoundDown(id)) return id;
        }
    }

    function _openRule(JobTerms memory terms, bool quoted) private view returns (uint256 rule, uint256 charge) {
        rule = _useRule(terms.classId);
        if (rule == 0 && quoted) rule = _acceptRule(terms);
        if (rule != 0) return (rule, 0);
        return _chargeRule(terms.budgetId, terms.provider, terms.classId, terms.maxUnits);
    }

    /// @dev Taking a job: the provider serves the class, and has stake to set aside.
    function _acceptRule(JobTerms memory terms) private view returns (uint256) {
        if (_serveRule(terms.classId, terms.provider) != 0) return 22;
        uint256 stake = _stakeFor(terms.classId, terms.maxUnits);
        bool covered = _required(terms.provider, 0, 0) + stake <= _providerOf(terms.provider).staked;
        return stake == 0 || covered ? 0 : 15;
    }

    function _opening(JobTerms memory terms, bool quoted, bool relayed)
        private
        view
        returns (address by, bytes memory call)
    {
        bytes memory quote = quoted ? _quote(terms, _key(terms.provider)) : bytes("");
        Account memory agreeing = _agreeing(terms.payer, terms.budgetId);
        if (relayed) {
            bytes memory signature = _sign(agreeing, market.hashTerms(terms));
            return (anyone, abi.encodeCall(IJobMarket.openBySig, (terms, signature, quote)));
        }
        by = agreeing.addr;
        call = terms.budgetId == 0
            ? abi.encodeCall(IJobMarket.open, (terms, quote))
            : abi.encodeCall(IJobMarket.openFor, (terms, quote));
    }

    function _opened(JobTerms memory terms, bool quoted, uint256 charge) private {
        Job storage job = live.push();
        job.terms = terms;
        (job.id, job.charge, job.openedAt) = (market.hashTerms(terms), charge, _now());
        ghosts[terms.classId].locked[terms.payer] += terms.maxUnits;
        _charged(terms.budgetId, charge);
        _check(ends[job.id] == 0, 4, "a job that ended was opened again");
        if (quoted) _accepted(job);
        else (job.status, job.dueAt) = (Status.Open, terms.acceptBy);
    }

    function _accepted(Job storage job) private {
        (job.status, job.dueAt) = (Status.Running, job.terms.submitBy);
        job.stake = _stakeFor(job.terms.classId, job.terms.maxUnits);
    }

    function accept(uint256 seed, uint256 by) external action {
        Job storage job = live[_find(seed, Status.Open)];
        vm.assume(_now() <= job.terms.acceptBy || by % 4 == 0);
        uint256 rule = _now() > job.terms.acceptBy ? 6 : _acceptRule(job.terms);
        bytes memory call = abi.encodeCall(IJobMarket.accept, (job.terms));
        address caller = by % 3 == 0 ? job.terms.provider : _key(job.terms.provider).addr;
        if (by % 3 == 2) {
            bytes memory quote = _quote(job.terms, _key(job.terms.provider));
            (caller, call) = (anyone, abi.encodeCall(IJobMarket.acceptBySig, (job.terms, quote)));
        }
        (bool ok,) = _attempt(caller, address(market), call, rule);
        if (!ok) return;
        _accepted(job);
        _done();
    }

    /* ENDING WITHOUT PAY */

    /// @dev By the provider, its key or, while it is open, who agreed to it: by call or by signature.
    function cancel(uint256 seed, uint256 status, uint256 by) external action {
        bool running = status % 2 == 0;
        uint256 index = _find(seed, running ? Status.Running : Status.Open);
        JobTerms memory terms = live[index].terms;
        address[3] memory callers = [terms.provider, _key(terms.provider).addr, terms.payer];
        address caller = callers[by % (running ? 2 : 3)];
        bytes memory call = abi.encodeCall(IJobMarket.cancel, (terms));
        if (!running && by % 5 == 0) {
            (caller, call) = (anyone, abi.encodeCall(IJobMarket.cancelBySig, (terms, _now(), _cancelling(live[index]))));
        }
        if (!_must(caller, address(market), call, 6)) return;
        _end(index, Status.Cancelled, 0);
        _checkReturned(terms);
        _done();
    }

    function _cancelling(Job storage job) private view returns (bytes memory) {
        bytes32 hash = keccak256(abi.encode(CANCEL_TYPEHASH, job.id, _now()));
        Account memory agreeing = _agreeing(job.terms.payer, job.terms.budgetId);
        return _sign(agreeing, _typed("Scrip JobMarket", address(market), hash));
    }

    function expire(uint256 seed, uint256 status) external action {
        uint256 index = _find(seed, status % 2 == 0 ? Status.Running : Status.Open);
        vm.assume(_now() > live[index].dueAt);
        if (_expireJob(index)) _done();
    }

    function _expireJob(uint256 index) internal returns (bool ok) {
        JobTerms memory terms = live[index].terms;
        ok = _must(anyone, address(market), abi.encodeCall(IJobMarket.expire, (terms)), 6);
        if (!ok) return false;
        _end(index, Status.Expired, 0);
        _checkReturned(terms);
    }

    /// @dev Deadlines protect: nothing ends before its time, and a payer can't leave work that runs.
    function endTooEarly(uint256 seed, uint256 what) external action {
        Status[5] memory all = [Status.Open, Status.Running, Status.Submitted, Status.Disputed, Status.Running];
        Job storage job = live[_find(seed, all[what % 5])];
        vm.assume(_now() < job.dueAt);
        bytes memory call = abi.encodeCall(IJobMarket.expire, (job.terms));
        if (what % 5 > 1) call = abi.encodeCall(IJobMarket.finalize, (job.terms));
        if (what % 5 == 4) call = abi.encodeCall(IJobMarket.cancel, (job.terms));
        if (!_mustNot(job.terms.payer, address(market), call, 6)) _done();
    }

    /* THE END OF A JOB */

    /// @dev Books an end, and holds it against what the market says: rules 4 and 5.
    function _end(uint256 index, Status status, uint256 used) internal {
        Job storage job = live[index];
        uint256 id = job.terms.classId;
        (address payer, uint256 maxUnits) = (job.terms.payer, job.terms.maxUnits);
        ghosts[id].locked[payer] -= maxUnits;
        _check(used <= maxUnits, 5, "more was used than was locked");
        if (used != 0) {
            _burned(id, payer, used);
            ++ghosts[id].roundings;
        }
        if (job.charge != 0) _released(job.terms.budgetId, job.charge * (maxUnits - used) / maxUnits);
        _check(++ends[job.id] == 1, 4, "a job ended twice");
        _check(_isAs(job, status), 4, "a job ended as something else");
        _i14_rateFallsBySalesOnly(id);
        (job.status, job.units) = (status, used);
        ended[endedCount++ % ended.length] = job;
        live[index] = live[live.length - 1];
        live.pop();
    }

    /// @dev Once all ends of a call are booked.
    function _checkReturned(JobTerms memory terms) internal {
        bool returned = credits.availableOf(terms.payer, terms.classId) == _available(terms.payer, terms.classId);
        _check(returned, 5, "the rest did not return at once");
    }

    /// @dev A job that ended in time to be opened again keeps its last status; later its slot is empty.
    function _isAs(Job storage job, Status status) internal view returns (bool) {
        Status given = market.jobs(job.id).status;
        bool forgotten = status >= Status.Settled && _now() > job.terms.acceptBy && given == Status.None;
        return given == status || forgotten;
    }
}
