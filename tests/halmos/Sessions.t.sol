// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {Symbolic} from "./Symbolic.sol";

/// @dev Any session, in any state in which no more is claimed than deposited. The proofs show that every call keeps that,
/// so that it holds always: what is claimed only grows, up to the deposit, and a closed session stays as it is.
contract SessionsCheck is Symbolic {
    IMeteredSessions private sessions;

    function setUp() public {
        _standIn();
        sessions = IMeteredSessions(_deployInAnyState("MeteredSessions", abi.encode(_system(), 1 days)));
        _anyTime();
    }

    /* CLAIMS */

    function check_claim_neverDecreasesNorPassesTheDeposit(bytes32 id, IMeteredSessions.Claim memory row) public {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(row.terms.provider);
        sessions.claim(row);
        _assertClaimed(id, before);
    }

    function check_claimBatch_neverDecreasesNorPassesTheDeposit(
        bytes32 id,
        address provider,
        IMeteredSessions.Claim memory row
    ) public {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(provider);
        sessions.claimBatch(provider, _list(row));
        _assertClaimed(id, before);
    }

    /// @dev What is paid is exactly what is new, within what was authorised, and counts once.
    function check_claim_paysWhatIsNewOnce(IMeteredSessions.Claim memory row) public {
        bytes32 id = sessions.hashTerms(row.terms);
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(row.terms.provider);
        uint256 units = sessions.claim(row);
        assert(units != 0 && !before.closed);
        assert(row.units == uint256(before.claimed) + units && row.units <= row.authorised);
        assert(sessions.sessions(id).claimed == row.units);
        assert(!_call(address(sessions), row.terms.provider, abi.encodeCall(sessions.claim, (row))));
    }

    /* DEPOSITS */

    function check_openSession_onlyOnce(bytes32 id, SessionTerms memory terms, uint256 units) public {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(terms.payer);
        sessions.openSession(terms, units);
        if (id == sessions.hashTerms(terms)) {
            assert(before.deposit == 0);
            before.deposit = uint96(units);
            assert(before.deposit == units && units != 0);
        }
        _assertSame(before, sessions.sessions(id));
    }

    function check_topUp_raisesTheDepositAlone(bytes32 id, address caller, SessionTerms memory terms, uint256 units)
        public
    {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(caller);
        sessions.topUp(terms, units);
        IMeteredSessions.Session memory now_ = sessions.sessions(id);
        if (id == sessions.hashTerms(terms)) {
            assert(!before.closed && before.closeAt == 0);
            assert(now_.deposit == before.deposit + units && units != 0);
            before.deposit = now_.deposit;
        }
        _assertSame(before, now_);
    }

    /* CLOSING */

    /// @dev Asking takes nothing away: until the session is closed, everything can be claimed as before.
    function check_requestClose_setsTheTimeAlone(bytes32 id, address caller, SessionTerms memory terms) public {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(caller);
        sessions.requestClose(terms);
        if (id == sessions.hashTerms(terms)) {
            assert(!before.closed && before.closeAt == 0);
            before.closeAt = uint40(block.timestamp + 1 days);
        }
        _assertSame(before, sessions.sessions(id));
    }

    function check_close_isForGood(bytes32 id, address caller, SessionTerms memory terms) public {
        IMeteredSessions.Session memory before = _sound(id);
        vm.prank(caller);
        sessions.close(terms);
        if (id == sessions.hashTerms(terms)) {
            assert(!before.closed && before.deposit != 0);
            (before.closeAt, before.closed) = (uint40(block.timestamp), true);
        }
        _assertSame(before, sessions.sessions(id));
    }

    /* WHO */

    function check_openSession_onlyByItsPayer(address caller, SessionTerms memory terms, uint256 units) public {
        vm.assume(caller != terms.payer);
        assert(!_call(address(sessions), caller, abi.encodeCall(sessions.openSession, (terms, units))));
    }

    function check_topUp_onlyByItsPayer(address caller, SessionTerms memory terms, uint256 units) public {
        vm.assume(caller != terms.payer && terms.budgetId == 0);
        assert(!_call(address(sessions), caller, abi.encodeCall(sessions.topUp, (terms, units))));
    }

    function check_requestClose_onlyByPayerOrKeyBeforeExpiry(address caller, SessionTerms memory terms) public {
        vm.assume(caller != terms.payer && caller != terms.key && terms.budgetId == 0);
        vm.assume(block.timestamp <= terms.expiresAt);
        assert(!_call(address(sessions), caller, abi.encodeCall(sessions.requestClose, (terms))));
    }

    /// @dev The provider may at any time; everybody else only after the delay that follows a request.
    function check_close_onlyByItsProviderBeforeTheDelayIsOver(address caller, SessionTerms memory terms) public {
        uint256 closeAt = sessions.sessions(sessions.hashTerms(terms)).closeAt;
        vm.assume(caller != terms.provider && (closeAt == 0 || block.timestamp < closeAt));
        assert(!_call(address(sessions), caller, abi.encodeCall(sessions.close, (terms))));
    }

    /* HELPERS */

    function _sound(bytes32 id) private view returns (IMeteredSessions.Session memory session) {
        session = sessions.sessions(id);
        vm.assume(session.claimed <= session.deposit);
    }

    function _assertClaimed(bytes32 id, IMeteredSessions.Session memory before) private view {
        IMeteredSessions.Session memory now_ = sessions.sessions(id);
        assert(now_.claimed >= before.claimed && now_.claimed <= before.deposit);
        if (before.closed) assert(now_.claimed == before.claimed);
        before.claimed = now_.claimed;
        _assertSame(before, now_);
    }

    function _assertSame(IMeteredSessions.Session memory a, IMeteredSessions.Session memory b) private pure {
        assert(a.deposit == b.deposit && a.claimed == b.claimed && a.closeAt == b.closeAt && a.closed == b.closed);
    }

    function _list(IMeteredSessions.Claim memory row) private pure returns (IMeteredSessions.Claim[] memory rows) {
        rows = new IMeteredSessions.Claim[](1);
        rows[0] = row;
    }
}
