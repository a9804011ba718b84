// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";

/// @dev The fee: who sets it, when it applies, who pays it.
contract CreditExchangeFeeTest is CreditExchangeBase {
    /* REVERTS */

    function testFuzz_RevertWhen_CallerHasNoRole(address caller, uint256 bps) public {
        vm.assume(caller != admin.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, FEE_ROLE)
        );
        vm.prank(caller);
        exchange.proposeFee(bps, treasury);
    }

    function testFuzz_RevertWhen_FeeIsTooHigh(uint256 bps) public {
        bps = bound(bps, MAX_EXCHANGE_FEE + 1, type(uint256).max);
        _expect(ICreditExchange.CreditExchange_FeeTooHigh.selector, bytes32(0), bps, MAX_EXCHANGE_FEE);
        _propose(bps, treasury);
    }

    function testFuzz_RevertWhen_NobodyCouldReceiveTheFee(uint256 bps, bool itself) public {
        bps = bound(bps, 1, MAX_EXCHANGE_FEE);
        address recipient = itself ? address(exchange) : address(0);
        _expect(ICreditExchange.CreditExchange_BadRecipient.selector, bytes32(0), recipient, address(0));
        _propose(bps, recipient);
    }

    function test_RevertWhen_NothingWasProposed() public {
        _expect(ICreditExchange.CreditExchange_FeeNotDue.selector, bytes32(0), START, type(uint256).max);
        exchange.applyFee();
    }

    function testFuzz_RevertWhen_FeeIsNotDue(uint256 bps, uint256 wait) public {
        _propose(bound(bps, 1, MAX_EXCHANGE_FEE), treasury);
        vm.warp(START + bound(wait, 0, FEE_DELAY - 1));
        _expect(ICreditExchange.CreditExchange_FeeNotDue.selector, bytes32(0), _now(), START + FEE_DELAY);
        exchange.applyFee();
        assertEq(exchange.feeBps(), 0, "fee");
    }

    function test_RevertWhen_FeeIsAppliedTwice() public {
        _setExchangeFee(1);
        _expect(ICreditExchange.CreditExchange_FeeNotDue.selector, bytes32(0), _now(), type(uint256).max);
        exchange.applyFee();
    }

    /// @dev A lower fee takes the place of whatever was announced.
    function testFuzz_RevertWhen_ProposalWasWithdrawn(uint256 bps, uint256 lower) public {
        _setExchangeFee(50);
        _propose(bound(bps, 51, MAX_EXCHANGE_FEE), treasury);
        _propose(bound(lower, 0, 50), treasury);
        vm.warp(_now() + FEE_DELAY);
        _expect(ICreditExchange.CreditExchange_FeeNotDue.selector, bytes32(0), _now(), type(uint256).max);
        exchange.applyFee();
    }

    /// @dev A recipient that can't be paid stops fills, and takes nothing.
    function test_RevertWhen_TokenRefusesTheRecipient() public {
        Offer memory offer = _offer(true);
        offer.expiry = type(uint40).max;
        _stock(offer);
        _setExchangeFee(100);
        ICreditExchange.Fill memory order = _order(offer, UNITS);
        vm.mockCallRevert(
            address(usd), abi.encodeCall(usd.transferFrom, (bob.addr, treasury, _feeOf(TOTAL, 100))), "refused"
        );
        vm.expectRevert("refused");
        _fill(order);
        _propose(100, anyone);
        assertEq(_fill(order), TOTAL, "another recipient applies at once");
        assertEq(usd.balanceOf(anyone), _feeOf(TOTAL, 100), "fee");
    }

    /* SUCCESS */

    function testFuzz_ProposeFee_AHigherOneWaits(uint256 bps, address recipient, address applier) public {
        vm.assume(recipient != address(0) && recipient != address(exchange));
        bps = bound(bps, 1, MAX_EXCHANGE_FEE);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.FeeProposed(bps, recipient, START + FEE_DELAY);
        _propose(bps, recipient);
        assertEq(exchange.feeBps(), 0, "fee until then");
        assertEq(exchange.feeRecipient(), address(0), "recipient until then");
        vm.warp(START + FEE_DELAY);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.FeeSet(bps, recipient);
        vm.prank(applier);
        exchange.applyFee();
        assertEq(exchange.feeBps(), bps, "fee");
        assertEq(exchange.feeRecipient(), recipient, "recipient");
    }

    function testFuzz_ProposeFee_ALowerOneAppliesAtOnce(uint256 bps, uint256 lower, address recipient) public {
        vm.assume(recipient != address(0) && recipient != address(exchange));
        bps = bound(bps, 1, MAX_EXCHANGE_FEE);
        _setExchangeFee(bps);
        lower = bound(lower, 0, bps);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.FeeSet(lower, recipient);
        _propose(lower, recipient);
        assertEq(exchange.feeBps(), lower, "fee");
        assertEq(exchange.feeRecipient(), recipient, "recipient");
    }

    /// @dev A second announcement takes the place of the first, and waits as long.
    function testFuzz_ProposeFee_Again(uint256 first, uint256 second, uint256 wait) public {
        (first, second) = (bound(first, 1, MAX_EXCHANGE_FEE), bound(second, 1, MAX_EXCHANGE_FEE));
        _propose(first, treasury);
        vm.warp(START + bound(wait, 1, FEE_DELAY));
        _propose(second, anyone);
        uint256 due = _now() + FEE_DELAY;
        vm.warp(due - 1);
        _expect(ICreditExchange.CreditExchange_FeeNotDue.selector, bytes32(0), due - 1, due);
        exchange.applyFee();
        vm.warp(due);
        exchange.applyFee();
        assertEq(exchange.feeBps(), second, "fee");
        assertEq(exchange.feeRecipient(), anyone, "recipient");
    }

    /// @dev The seller pays it, on whichever side it is; whoever receives it may be a side itself.
    function testFuzz_Fee_IsTheSellers(bool selling, uint8 bps, uint8 who) public {
        (address seller, address buyer) = _sides(_offer(selling));
        address[3] memory recipients = [treasury, seller, buyer];
        bps = uint8(bound(bps, 1, MAX_EXCHANGE_FEE));
        _propose(bps, recipients[who = uint8(bound(who, 0, 2))]);
        vm.warp(_now() + FEE_DELAY);
        exchange.applyFee();
        Offer memory offer = _stocked(selling);
        uint256 before = usd.balanceOf(buyer);
        uint256 fee = _feeOf(TOTAL, bps);
        _expectFilled(offer, UNITS, TOTAL, fee);
        assertEq(_fill(offer, UNITS), TOTAL, "price");
        assertEq(usd.balanceOf(treasury), who == 0 ? fee : 0, "treasury's tokens");
        assertEq(usd.balanceOf(seller), TOTAL - (who == 1 ? 0 : fee), "seller's tokens");
        assertEq(usd.balanceOf(buyer), before - TOTAL + (who == 2 ? fee : 0), "buyer's tokens");
    }

    /* HELPERS */

    function _propose(uint256 bps, address recipient) private {
        vm.prank(admin.addr);
        exchange.proposeFee(bps, recipient);
    }
}
