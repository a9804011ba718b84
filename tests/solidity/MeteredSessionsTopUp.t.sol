// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC1155Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IMeteredSessions} from "contracts/interfaces/IMeteredSessions.sol";
import {SessionTerms} from "contracts/interfaces/Types.sol";
import {MeteredSessionsBase} from "./MeteredSessionsBase.t.sol";

/// @dev topUp by the payer itself. With a budget: MeteredSessionsBudget.t.sol.
contract MeteredSessionsTopUpTest is MeteredSessionsBase {
    SessionTerms private terms;
    bytes32 private id;

    function setUp() public override {
        super.setUp();
        (terms, id) = _startNew(plain, DEPOSIT);
        _buy(alice.addr, plain, DEPOSIT);
    }

    function test_RevertWhen_NeverOpened() public {
        terms = _sessionTerms(plain);
        id = _id(terms);
        _expectRefused(1, IMeteredSessions.MeteredSessions_NotOpen.selector, NONE, OPEN);
    }

    function test_RevertWhen_Closed() public {
        _closeByProvider(terms);
        _expectRefused(1, IMeteredSessions.MeteredSessions_NotOpen.selector, CLOSED, OPEN);
    }

    /// @dev A session that is closing takes nothing in, before `closeAt` or after.
    function testFuzz_RevertWhen_Closing(uint256 wait) public {
        uint256 closeAt = _requestClose(terms);
        uint256 when = bound(wait, START, type(uint40).max);
        vm.warp(when);
        _expectRefused(1, IMeteredSessions.MeteredSessions_Closing.selector, when, closeAt);
    }

    function testFuzz_RevertWhen_CallerIsNotThePayer(address caller) public {
        vm.assume(caller != alice.addr);
        _expect(IMeteredSessions.MeteredSessions_NotParty.selector, id, _number(caller), _number(alice.addr));
        vm.prank(caller);
        sessions.topUp(terms, 1);
    }

    function test_RevertWhen_UnitsAreZero() public {
        _expectRefused(0, IMeteredSessions.MeteredSessions_ZeroUnits.selector, 0, 1);
    }

    function testFuzz_RevertWhen_DepositWouldNotFit(uint256 units) public {
        uint256 room = type(uint96).max - DEPOSIT;
        units = bound(units, room + 1, type(uint256).max);
        _expectRefused(units, IMeteredSessions.MeteredSessions_OverDeposit.selector, units, room);
    }

    function testFuzz_RevertWhen_PayerHasTooLittle(uint96 units) public {
        units = uint96(bound(units, DEPOSIT + 1, type(uint96).max - DEPOSIT));
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC1155Errors.ERC1155InsufficientBalance.selector, alice.addr, DEPOSIT, units, plain
            )
        );
        _topUp(units);
    }

    function testFuzz_TopUp(uint256 first, uint256 second) public {
        first = bound(first, 1, DEPOSIT - 1);
        second = bound(second, 1, DEPOSIT - first);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionToppedUp(id, first, DEPOSIT + first);
        _topUp(first);
        vm.expectEmit(address(sessions));
        emit IMeteredSessions.SessionToppedUp(id, second, DEPOSIT + first + second);
        _topUp(second);
        _assertOpen(id, DEPOSIT + first + second, 0);
        _assertHeld(plain, DEPOSIT + first + second);
        _assertCredits(alice.addr, plain, DEPOSIT - first - second, "left to the payer");
        assertEq(sessions.chargeOf(id), 0, "charge without a budget");
    }

    /// @dev What was claimed stays claimed.
    function testFuzz_TopUp_AfterClaims(uint256 claimed, uint256 added) public {
        (claimed, added) = (bound(claimed, 1, DEPOSIT), bound(added, 1, DEPOSIT));
        _claim(terms, claimed);
        _topUp(added);
        _assertOpen(id, DEPOSIT + added, claimed);
        _assertHeld(plain, DEPOSIT + added - claimed);
    }

    /// @dev Over a session's life more may be deposited than ever existed at once, up to what its slot can count.
    function test_RevertWhen_TopUpsOutgrowTheSlot() public {
        uint256 classId = _createClass(_grantTerms());
        uint256 most = type(uint96).max;
        _grant(classId, most);
        terms = _sessionTerms(classId);
        id = _openSession(terms, most);
        _claim(terms, most);
        _grant(classId, 1);
        _expectRefused(1, IMeteredSessions.MeteredSessions_OverDeposit.selector, 1, 0);
        _assertOpen(id, most, most);
    }

    /* HELPERS */

    function _topUp(uint256 units) private {
        vm.prank(alice.addr);
        sessions.topUp(terms, units);
    }

    function _grant(uint256 classId, uint256 units) private {
        vm.prank(issuer.addr);
        credits.grant(alice.addr, classId, units);
    }

    function _expectRefused(uint256 units, bytes4 reason, uint256 given, uint256 limit) private {
        _expect(reason, id, given, limit);
        _topUp(units);
    }
}
