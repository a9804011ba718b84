// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {SessionActions} from "./SessionActions.sol";

/// @dev Verdicts about what was overcharged in sessions, open and closed, good and bad, again and again: rule 27.
abstract contract AuditActions is SessionActions {
    uint256 private constant PENALTY = 10;
    uint256 private constant AUDIT_PERIOD = 14 days;

    function penalise(uint256 seed, uint256 units, uint256 by) external action {
        Session storage session = _audited(seed);
        units = bound(units, 0, session.claimed + (units % 4 == 0 ? 1 : 0));
        address reporter = by % 4 == 0 ? anyone : _buyer(by).addr;
        uint256 amount = _penaltyFor(session, units);
        bytes memory call = _overcharge(session, units, reporter, _judgeAll(session.id, units, reporter));
        (bool ok, bytes memory answer) = _attempt(anyone, address(sessions), call, amount == 0 ? 27 : 0);
        if (!ok) return;
        _check(abi.decode(answer, (uint256)) == amount, 27, "a verdict about a session took another amount");
        _penalised(session, reporter, amount);
        _done();
    }

    /// @dev Signed by those who don't decide, or for another reporter.
    function penaliseForged(uint256 seed, uint256 how) external action {
        Session storage session = _audited(seed);
        vm.assume(_penaltyFor(session, session.claimed) != 0);
        bytes32 digest = sessions.overchargeDigest(session.id, session.claimed, anyone);
        bytes[] memory signatures = how % 2 == 0 ? _judge(digest, THRESHOLD) : _attest(digest, THRESHOLD).watchers;
        bytes memory call = _overcharge(session, session.claimed, how % 2 == 0 ? _buyer(how).addr : anyone, signatures);
        if (!_mustNot(anyone, address(sessions), call, 18)) _done();
    }

    /* HELPERS */

    /// @dev One of a class with stake and claims, if there is any; the session that was closed last among them.
    function _audited(uint256 seed) private view returns (Session storage session) {
        uint256 count = openSessions.length + 1;
        for (uint256 i; i < count; ++i) {
            session = _openOrClosed((seed % count + i) % count);
            if (session.claimed != 0 && _isAuditable(session.terms.classId)) return session;
        }
        session = _openOrClosed(seed % count);
        vm.assume(session.id != 0);
    }

    function _openOrClosed(uint256 index) private view returns (Session storage) {
        return index == openSessions.length ? closedSession : openSessions[index];
    }

    function _isAuditable(uint256 id) private view returns (bool) {
        return termsOf[id].arbiterSet != 0 && termsOf[id].stakePerMillion != 0;
    }

    /// @dev What a verdict should take; 0 if it should be refused.
    function _penaltyFor(Session storage session, uint256 units) private view returns (uint256) {
        uint256 id = session.terms.classId;
        if (!_isAuditable(id) || units > session.claimed) return 0;
        bool closed = sessions.sessions(session.id).closed;
        if (closed && _now() > session.closeAt + AUDIT_PERIOD) return 0;
        uint256 due = PENALTY * _stakeBehind(id, units);
        if (due <= session.penalty) return 0;
        Provider storage p = _providerOf(session.terms.provider);
        uint256 free = p.staked - _required(p.account, 0, 0) + p.unbonding;
        return due - session.penalty < free ? due - session.penalty : free;
    }

    /// @dev All that was taken is awarded; all that stands behind jobs and credits is left.
    function _penalised(Session storage session, address reporter, uint256 amount) private {
        SessionTerms memory terms = session.terms;
        Provider storage p = _providerOf(terms.provider);
        uint256 free = p.staked - _required(p.account, 0, 0);
        uint256 fromStaked = amount < free ? amount : free;
        p.staked -= fromStaked;
        p.unbonding -= amount - fromStaked;
        session.penalty += amount;
        awards[terms.payer] += amount / 2;
        awards[reporter] += amount - amount / 2;
        _check(registry.stakeOf(p.account) == p.staked, 27, "a verdict about a session took other stake");
        bool awarded = registry.awardOf(terms.payer) == awards[terms.payer];
        _check(
            awarded && registry.awardOf(reporter) == awards[reporter], 27, "a session's penalty was awarded otherwise"
        );
        _i27_penaltiesFitTheClaims(session);
    }

    /// @dev Rule 27.
    function _i27_penaltiesFitTheClaims(Session storage session) internal {
        _check(sessions.penaltyOf(session.id) == session.penalty, 27, "a penalty changed by itself");
        uint256 most = PENALTY * _stakeBehind(session.terms.classId, session.claimed);
        _check(session.penalty <= most, 27, "a penalty is over what stands behind the claims");
    }

    function _judgeAll(bytes32 id, uint256 units, address reporter) private view returns (bytes[] memory) {
        return _judge(sessions.overchargeDigest(id, units, reporter), THRESHOLD);
    }

    function _overcharge(Session storage session, uint256 units, address reporter, bytes[] memory signatures)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IMeteredSessions.penalise, (session.terms, units, reporter, signatures));
    }
}
