// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ICreditReserve} from "contracts/interfaces/ICreditReserve.sol";
import {IERC3009} from "contracts/interfaces/IERC3009.sol";
import {Base} from "./Base.t.sol";
import {IDemoUSD} from "./support/IDemoUSD.sol";

/// @dev buyWithAuthorization: the buyer signs, anyone sends. What a sender may change is nothing.
contract CreditReserveAuthorizationTest is Base {
    bytes32 private constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 private constant SALT = keccak256("salt");

    /* REVERTS */

    function testFuzz_RevertWhen_ValueBelowCost(uint128 units, uint256 value) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        value = bound(value, 0, cost - 1);
        ICreditReserve.Authorization memory auth = _authorize(units, value);
        _expect(ICreditReserve.CreditReserve_CostAboveMax.selector, plain, cost, value);
        _send(plain, units, bob.addr, auth);
    }

    function testFuzz_RevertWhen_SenderPicksAnotherClass(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        _expectRefused(watched, units, bob.addr, _authorize(units, _price(units)));
    }

    function testFuzz_RevertWhen_SenderPicksAnotherAmount(uint128 units, uint128 other) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        other = uint128(bound(other, 1, units));
        vm.assume(other != units);
        _expectRefused(plain, other, bob.addr, _authorize(units, _price(units)));
    }

    function testFuzz_RevertWhen_SenderPicksAnotherRecipient(uint128 units, address other) public {
        vm.assume(other != bob.addr);
        units = uint128(bound(units, 1, MAX_UNITS));
        _expectRefused(plain, units, other, _authorize(units, _price(units)));
    }

    function testFuzz_RevertWhen_SenderPicksAnotherValue(uint128 units, uint128 more) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        auth.value += bound(more, 1, type(uint128).max);
        _expectRefused(plain, units, bob.addr, auth);
    }

    function testFuzz_RevertWhen_SenderPicksAnotherSalt(uint128 units, bytes32 salt) public {
        vm.assume(salt != SALT);
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        auth.salt = salt;
        _expectRefused(plain, units, bob.addr, auth);
    }

    function testFuzz_RevertWhen_SenderPicksAnotherPayer(uint128 units, address payer) public {
        _assumeStranger(payer);
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        auth.from = payer;
        _expectRefused(plain, units, bob.addr, auth);
    }

    /// @dev The payment can't be made without the purchase either.
    function testFuzz_RevertWhen_PaymentIsSentToTheTokenItself(uint128 units, address caller) public {
        vm.assume(caller != address(reserve));
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory a = _authorize(units, _price(units));
        bytes32 nonce = reserve.purchaseNonce(plain, units, bob.addr, SALT);
        _expect(IDemoUSD.DemoUSD_NotPayee.selector, caller, caller, address(reserve));
        vm.prank(caller);
        usd.receiveWithAuthorization(
            a.from, address(reserve), a.value, a.validAfter, a.validBefore, nonce, a.v, a.r, a.s
        );
    }

    function testFuzz_RevertWhen_Replayed(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        _send(plain, units, bob.addr, auth);
        usd.mint(alice.addr, auth.value);
        bytes32 nonce = reserve.purchaseNonce(plain, units, bob.addr, SALT);
        vm.expectRevert(abi.encodeWithSelector(IDemoUSD.DemoUSD_AuthorizationUsed.selector, alice.addr, nonce, nonce));
        _send(plain, units, bob.addr, auth);
    }

    function testFuzz_RevertWhen_NotYetValid(uint128 units, uint40 early) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        vm.warp(bound(early, 1, auth.validAfter));
        _expect(IDemoUSD.DemoUSD_NotYetValid.selector, alice.addr, vm.getBlockTimestamp(), auth.validAfter);
        _send(plain, units, bob.addr, auth);
    }

    function test_RevertWhen_AtItsEnd() public {
        ICreditReserve.Authorization memory auth = _authorize(MAX_UNITS, _price(MAX_UNITS));
        vm.warp(auth.validBefore);
        _expect(IDemoUSD.DemoUSD_Expired.selector, alice.addr, auth.validBefore, auth.validBefore);
        _send(plain, MAX_UNITS, bob.addr, auth);
    }

    function testFuzz_RevertWhen_TooLate(uint128 units, uint40 late) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        vm.warp(bound(late, auth.validBefore, type(uint40).max));
        _expect(IDemoUSD.DemoUSD_Expired.selector, alice.addr, vm.getBlockTimestamp(), auth.validBefore);
        _send(plain, units, bob.addr, auth);
    }

    function testFuzz_RevertWhen_BuyerIsPoor(uint128 units) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        ICreditReserve.Authorization memory auth = _authorize(units, _price(units));
        vm.prank(alice.addr);
        assertTrue(usd.transfer(bob.addr, auth.value), "tokens moved away");
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, alice.addr, 0, auth.value)
        );
        _send(plain, units, bob.addr, auth);
    }

    /* SUCCESS */

    function testFuzz_BuyWithAuthorization(uint128 units, uint256 left) public {
        units = uint128(bound(units, 1, MAX_UNITS));
        uint256 cost = _price(units);
        left = bound(left, 0, type(uint128).max);
        ICreditReserve.Authorization memory auth = _authorize(units, cost + left);
        vm.expectEmit(address(usd));
        emit IERC3009.AuthorizationUsed(alice.addr, reserve.purchaseNonce(plain, units, bob.addr, SALT));
        vm.expectEmit(address(reserve));
        emit ICreditReserve.Bought(plain, alice.addr, bob.addr, units, cost);
        vm.prank(anyone);
        assertEq(reserve.buyWithAuthorization(plain, units, bob.addr, auth), cost, "cost");
        assertEq(usd.balanceOf(alice.addr), left, "what the price leaves goes back to the payer");
        assertEq(usd.balanceOf(anyone), 0, "the sender gets nothing");
        assertEq(usd.balanceOf(address(reserve)), cost, "reserve's tokens");
        assertEq(reserve.backingOf(plain), cost, "backing");
        _assertCredits(bob.addr, plain, units, "recipient");
    }

    function testFuzz_PurchaseNonce_CoversThePurchase(uint256 id, uint256 units, address to, bytes32 salt) public view {
        bytes32 expected = keccak256(abi.encode(address(reserve), block.chainid, id, units, to, salt));
        assertEq(reserve.purchaseNonce(id, units, to, salt), expected, "nonce");
    }

    /* HELPERS */

    function _send(uint256 id, uint256 units, address to, ICreditReserve.Authorization memory auth) private {
        vm.prank(anyone);
        reserve.buyWithAuthorization(id, units, to, auth);
    }

    /// @dev Alice's authorisation to buy `units` of `plain` for bob, who gets `value` to pay with.
    function _authorize(uint256 units, uint256 value) private returns (ICreditReserve.Authorization memory auth) {
        usd.mint(alice.addr, value);
        (auth.from, auth.value, auth.salt) = (alice.addr, value, SALT);
        (auth.validAfter, auth.validBefore) = (START - 1, START + 1 hours);
        (auth.v, auth.r, auth.s) = vm.sign(alice.key, _digest(plain, units, bob.addr, auth));
    }

    function _digest(uint256 id, uint256 units, address to, ICreditReserve.Authorization memory auth)
        private
        view
        returns (bytes32)
    {
        bytes32 nonce = reserve.purchaseNonce(id, units, to, auth.salt);
        bytes32 structHash = keccak256(
            abi.encode(
                RECEIVE_TYPEHASH, auth.from, address(reserve), auth.value, auth.validAfter, auth.validBefore, nonce
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", usd.DOMAIN_SEPARATOR(), structHash));
    }

    /// @dev The token finds that the payer did not sign this purchase.
    function _expectRefused(uint256 id, uint256 units, address to, ICreditReserve.Authorization memory auth) private {
        bytes32 digest = _digest(id, units, to, auth);
        vm.expectRevert(abi.encodeWithSelector(IDemoUSD.DemoUSD_BadSignature.selector, auth.from, digest, bytes32(0)));
        _send(id, units, to, auth);
    }
}
