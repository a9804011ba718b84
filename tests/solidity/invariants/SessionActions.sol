// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {DisputeActions} from "./DisputeActions.sol";

/// @dev Sessions with keys of every sort, good and bad vouchers, and their end.
abstract contract SessionActions is DisputeActions {
    uint256 private constant MAX_OPEN = 8;
    bytes32 private constant OPEN_TYPEHASH = keccak256("OpenSession(bytes32 sessionId,uint256 units,uint256 deadline)");
    uint256 private _salt;

    /* OPENING */

    /// @dev From a budget one time in three, by its spender; by signature as often. One key in four is a hostile contract.
    function openSession(uint256 buyer, uint256 class_, uint256 units, uint256 how) external action {
        vm.assume(openSessions.length < MAX_OPEN);
        address payer = _buyer(buyer).addr;
        uint256 id = _class(class_);
        _acquire(payer, id, bound(units, 1, MOST));
        vm.assume(_available(payer, id) != 0);
        units = bound(units, 1, _available(payer, id));
        SessionTerms memory terms = SessionTerms({
            payer: payer,
            provider: providers[how % 2].account,
            classId: id,
            key: sessionKeys[how % 8 < 6 ? how % 2 : how % 4],
            expiresAt: uint40(_now() + bound(units, 1 hours, 30 days)),
            budgetId: how % 3 == 1 ? _budgetOf(payer, units) : 0,
            salt: ++_salt
        });
        (uint256 rule, uint256 charge) = _depositRule(terms, units, true);
        (address by, bytes memory call) = _opening(terms, units, (how >> 8) % 3 == 0);
        (bool ok,) = _attempt(by, address(sessions), call, rule);
        if (!ok) return;
        Session storage session = openSessions.push();
        session.terms = terms;
        session.id = sessions.hashTerms(terms);
        _deposited(session, units, charge);
        _done();
    }

    function _opening(SessionTerms memory terms, uint256 units, bool relayed)
        private
        view
        returns (address by, bytes memory call)
    {
        if (relayed) {
            bytes32 hash = keccak256(abi.encode(OPEN_TYPEHASH, sessions.hashTerms(terms), units, _now()));
            bytes memory signature =
                _sign(_agreeing(terms.payer, terms.budgetId), _typed("Scrip MeteredSessions", address(sessions), hash));
            return (anyone, abi.encodeCall(IMeteredSessions.openSessionBySig, (terms, units, _now(), signature)));
        }
        by = _deciding(terms);
        call = terms.budgetId == 0
            ? abi.encodeCall(IMeteredSessions.openSession, (terms, units))
            : abi.encodeCall(IMeteredSessions.openSessionFor, (terms, units));
    }

    function _depositRule(SessionTerms memory terms, uint256 units, bool opening)
        private
        view
        returns (uint256 rule, uint256 charge)
    {
        rule = _useRule(terms.classId);
        if (opening && _serveRule(terms.classId, terms.provider) != 0) rule = 22;
        if (rule != 0) return (rule, 0);
        return _chargeRule(terms.budgetId, terms.provider, terms.classId, units);
    }

    function _deciding(SessionTerms memory terms) private view returns (address) {
        return terms.budgetId == 0 ? terms.payer : nodes[terms.budgetId].limits.spender;
    }

    function _deposited(Session storage session, uint256 units, uint256 charge) private {
        Ghost storage g = ghosts[session.terms.classId];
        g.held[session.terms.payer] -= units;
        g.inSessions += units;
        if (_countsDeposits(session.terms.classId)) g.deposited[session.terms.payer] += units;
        _charged(session.terms.budgetId, charge);
        session.deposit += units;
        session.charge += charge;
        _i09_claimsFitTheDeposit(session);
    }

    function _countsDeposits(uint256 id) internal view returns (bool) {
        return termsOf[id].maxPerHolder != 0;
    }

    function topUp(uint256 seed, uint256 units) external action {
        Session storage session = openSessions[_session(seed)];
        SessionTerms memory terms = session.terms;
        vm.assume(_available(terms.payer, terms.classId) != 0);
        units = bound(units, 1, _available(terms.payer, terms.classId));
        (uint256 rule, uint256 charge) = _depositRule(terms, units, false);
        if (session.closeAt != 0) rule = 9;
        bytes memory call = abi.encodeCall(IMeteredSessions.topUp, (terms, units));
        (bool ok,) = _attempt(_deciding(terms), address(sessions), call, rule);
        if (!ok) return;
        _deposited(session, units, charge);
        _done();
    }

    /* CLAIMS */

    /// @dev Good whatever became of the class, and while the session is being closed: rule 9.
    function claim(uint256 seed, uint256 units) external action {
        Session storage session = openSessions[_honest(seed)];
        IMeteredSessions.Claim memory row = _voucher(session, units);
        vm.assume(row.units > session.claimed);
        uint256 id = session.terms.classId;
        uint256 due = _earned(session) + (row.units - session.claimed) * reserve.backingOf(id) / ghosts[id].supply;
        _signed(session, row);
        address by = units % 3 == 0 ? _key(row.terms.provider).addr : row.terms.provider;
        if (!_must(by, address(sessions), abi.encodeCall(IMeteredSessions.claim, (row)), 9)) return;
        _claimed(session, row.units);
        _check(_earned(session) == due, 3, "a session paid another share");
        _done();
    }

    /// @dev Of sessions of both providers: only one's can be claimed at once. One row asks for more than the deposit, or
    /// than its voucher.
    function claimBatch(uint256 seed, uint256 units, uint256 bad) external action {
        uint256 count = openSessions.length < ROWS ? openSessions.length : ROWS;
        vm.assume(count != 0);
        address by = _nth(seed, 0).terms.provider;
        IMeteredSessions.Claim[] memory rows = new IMeteredSessions.Claim[](count);
        bool[] memory good = new bool[](count);
        uint256 expected;
        for (uint256 i; i < count; ++i) {
            rows[i] = _voucher(_nth(seed, i), uint256(keccak256(abi.encode(units, i))));
            _signed(_nth(seed, i), rows[i]);
            if (bad % (2 * ROWS) == i) rows[i].units = uint128(_nth(seed, i).deposit + 1);
            if (bad % (3 * ROWS) == ROWS + i) rows[i].units = rows[i].authorised + 1;
            good[i] = _isGood(_nth(seed, i), by, rows[i]);
            if (good[i]) ++expected;
        }
        vm.assume(expected != 0);
        if (!_claimAll(by, rows, expected)) return;
        for (uint256 i; i < count; ++i) {
            if (good[i]) _claimed(_nth(seed, i), rows[i].units);
        }
        _done();
    }

    function _claimAll(address by, IMeteredSessions.Claim[] memory rows, uint256 expected) private returns (bool ok) {
        bytes memory answer;
        (ok, answer) = _call(by, address(sessions), abi.encodeCall(IMeteredSessions.claimBatch, (by, rows)));
        if (!ok) _fail(10, "a bad row stopped a batch of claims");
        if (!ok || abi.decode(answer, (uint256)) == expected) return ok;
        _fail(10, "not just the good claims were taken");
        return false;
    }

    function _nth(uint256 seed, uint256 i) private view returns (Session storage) {
        return openSessions[(seed % openSessions.length + i) % openSessions.length];
    }

    function _isGood(Session storage session, address by, IMeteredSessions.Claim memory row)
        private
        view
        returns (bool)
    {
        bool fits =
            row.units > session.claimed && row.units <= session.deposit && row.units <= row.authorised;
        return fits && session.terms.provider == by && _isHonest(session);
    }

    /// @dev More than the deposit, what was claimed before, what the key didn't sign, more than it signed, or the rest of
    /// what it signed by somebody else.
    function claimWrong(uint256 seed, uint256 how) external action {
        Session storage session = openSessions[_session(seed)];
        IMeteredSessions.Claim memory row = _voucher(session, session.deposit);
        address by = session.terms.provider;
        if (how % 5 == 0) row.units = uint128(session.deposit + 1 + how % 1e15);
        if (how % 5 == 1) row.units = uint128(session.claimed);
        if (how % 5 < 2) row.authorised = row.units;
        if (how % 5 == 2) vm.assume(session.terms.key == sessionKey.addr);
        if (how % 5 == 3) row.authorised = uint128(bound(how, 0, uint256(row.units) - 1));
        if (how % 5 == 4) by = anyone;
        row.signature = _sign(how % 5 == 2 ? oracle : sessionKey, sessions.voucherDigest(session.id, row.authorised));
        uint256[5] memory rules = [uint256(9), 9, 18, 26, 26];
        bytes memory call = abi.encodeCall(IMeteredSessions.claim, (row));
        if (_mustNot(by, address(sessions), call, rules[how % 5])) return;
        _i09_claimsFitTheDeposit(session);
        _done();
    }

    function _claimed(Session storage session, uint256 total) private {
        uint256 id = session.terms.classId;
        uint256 units = total - session.claimed;
        ghosts[id].supply -= units;
        ghosts[id].inSessions -= units;
        ++ghosts[id].roundings;
        session.claimed = total;
        _i09_claimsFitTheDeposit(session);
        _i14_rateFallsBySalesOnly(id);
    }

    /* CLOSING */

    function requestClose(uint256 seed, uint256 by) external action {
        Session storage session = openSessions[_session(seed)];
        SessionTerms memory terms = session.terms;
        address[4] memory callers = [terms.payer, _deciding(terms), terms.key, anyone];
        uint256 rule = by % 4 == 3 && _now() <= terms.expiresAt ? 9 : 0;
        if (session.closeAt != 0) rule = 9;
        bytes memory call = abi.encodeCall(IMeteredSessions.requestClose, (terms));
        (bool ok,) = _attempt(callers[by % 4], address(sessions), call, rule);
        if (!ok) return;
        session.closeAt = _now() + CLOSE_DELAY;
        _done();
    }

    /// @dev By its provider at any time; by anybody else once it was asked for and the delay has passed.
    function closeSession(uint256 seed, uint256 by) external action {
        uint256 index = _session(seed);
        Session storage session = openSessions[index];
        bool mayClose = by % 4 == 0 || (session.closeAt != 0 && _now() >= session.closeAt);
        address caller = by % 4 == 0 ? session.terms.provider : by % 4 == 1 ? anyone : session.terms.payer;
        if (_closeSession(index, caller, mayClose ? 0 : 9)) _done();
    }

    function _closeSession(uint256 index, address by, uint256 rule) internal returns (bool ok) {
        Session storage session = openSessions[index];
        SessionTerms memory terms = session.terms;
        bytes memory call = abi.encodeCall(IMeteredSessions.close, (terms));
        if (rule == 0) ok = _must(by, address(sessions), call, 6);
        else ok = _mustNot(by, address(sessions), call, rule);
        if (!ok) return false;
        (uint256 left, Ghost storage g) = (session.deposit - session.claimed, ghosts[terms.classId]);
        g.inSessions -= left;
        g.held[terms.payer] += left;
        if (_countsDeposits(terms.classId)) g.deposited[terms.payer] -= session.deposit;
        _released(terms.budgetId, session.charge * left / session.deposit);
        bool returned = credits.availableOf(terms.payer, terms.classId) == _available(terms.payer, terms.classId);
        _check(returned, 9, "the rest of a deposit did not return");
        closedSession = session;
        closedSession.closeAt = _now();
        openSessions[index] = openSessions[openSessions.length - 1];
        openSessions.pop();
    }

    /// @dev A closed session stays closed.
    function reviveSession(uint256 what) external action {
        SessionTerms memory terms = closedSession.terms;
        vm.assume(terms.payer != address(0));
        bytes memory call = abi.encodeCall(IMeteredSessions.claim, (_voucher(closedSession, closedSession.deposit)));
        if (what % 4 == 1) call = abi.encodeCall(IMeteredSessions.close, (terms));
        if (what % 4 == 2) call = abi.encodeCall(IMeteredSessions.openSession, (terms, 1));
        if (what % 4 == 3) call = abi.encodeCall(IMeteredSessions.topUp, (terms, 1));
        address by = what % 4 == 1 ? terms.provider : _deciding(terms);
        if (!_mustNot(by, address(sessions), call, 9)) _done();
    }

    /* HELPERS */

    function _session(uint256 seed) internal view returns (uint256) {
        vm.assume(openSessions.length != 0);
        return seed % openSessions.length;
    }

    /// @dev One whose key says yes to what it signed.
    function _honest(uint256 seed) private view returns (uint256 index) {
        for (uint256 i; i < openSessions.length; ++i) {
            index = (seed % openSessions.length + i) % openSessions.length;
            Session storage session = openSessions[index];
            if (_isHonest(session) && session.claimed != session.deposit) return index;
        }
        vm.assume(false);
    }

    function _isHonest(Session storage session) private view returns (bool) {
        return session.terms.key == sessionKeys[0] || session.terms.key == sessionKeys[1];
    }

    /// @dev The next claim, of at most the deposit, by a voucher over as much or more. A key that is a contract needs no
    /// signature.
    function _voucher(Session storage session, uint256 units) private view returns (IMeteredSessions.Claim memory row) {
        row.terms = session.terms;
        row.units = uint128(bound(units, session.claimed, session.deposit));
        row.authorised = uint128(row.units + (units % 2 == 0 ? 0 : units % MOST));
        if (session.terms.key != sessionKey.addr) return row;
        row.signature = _sign(sessionKey, sessions.voucherDigest(session.id, row.authorised));
    }

    function _signed(Session storage session, IMeteredSessions.Claim memory row) private {
        if (row.authorised > session.authorised) session.authorised = row.authorised;
    }

    function _earned(Session storage session) private view returns (uint256) {
        return reserve.earningsOf(session.terms.provider, address(_tokenOf(session.terms.classId)));
    }

    /// @dev Rule 9: what was claimed only grows, and never over the deposit, which nothing but top-ups changes.
    function _i09_claimsFitTheDeposit(Session storage session) internal {
        IMeteredSessions.Session memory given = sessions.sessions(session.id);
        _check(given.deposit == session.deposit && given.claimed == session.claimed, 9, "a session changed by itself");
        _check(given.claimed <= given.deposit, 9, "more was claimed than deposited");
        _check(given.claimed <= session.authorised, 26, "more was claimed than authorised");
        _check(given.closeAt == session.closeAt && !given.closed, 9, "a session's end changed by itself");
    }
}
