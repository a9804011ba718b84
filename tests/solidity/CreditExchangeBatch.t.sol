// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {CreditExchangeBase} from "./CreditExchangeBase.t.sol";
import {Trick, TrickReceiver, TrickSigner, TrickToken, Trickster} from "./support/ExchangeParties.sol";

/// @dev fillBatch: one bad row spoils nothing but itself.
contract CreditExchangeBatchTest is CreditExchangeBase {
    uint256 private constant ROW_GAS = 500_000;
    uint256 private constant ROW_MARGIN = 50_000;
    uint256 private constant MAX_REASON = 256;

    /* REVERTS */

    function test_RevertWhen_BatchIsEmpty() public {
        _expect(ICreditExchange.CreditExchange_BadBatch.selector, bytes32(0), uint256(0), uint256(1));
        exchange.fillBatch(new ICreditExchange.Fill[](0));
    }

    function testFuzz_RevertWhen_RowIsSentByAnother(address sender) public {
        vm.assume(sender != address(exchange));
        ICreditExchange.Fill memory order = _order(_stocked(true), 1);
        bytes32 id = exchange.hashOffer(order.offer);
        _expect(ICreditExchange.CreditExchange_OnlySelf.selector, id, sender, address(exchange));
        vm.prank(sender);
        exchange.fillRow(bob.addr, order);
    }

    /// @dev Too little gas never skips a row that could be filled, so what an estimate finds fills them all.
    function testFuzz_GasNeverSkipsAGoodRow(uint256 gas) public {
        ICreditExchange.Fill[] memory orders = _goodRows(2);
        gas = bound(gas, 100_000, 1_000_000);
        vm.prank(bob.addr);
        (bool ok, bytes memory answer) =
            address(exchange).call{gas: gas}(abi.encodeCall(ICreditExchange.fillBatch, (orders)));
        for (uint256 i; i < 2; ++i) {
            uint256 filled = exchange.filledOf(exchange.hashOffer(orders[i].offer));
            assertEq(filled, ok ? orders[i].units : 0, "all or nothing");
        }
        if (ok) assertEq(abi.decode(answer, (uint256)), 2, "taken");
    }

    function testFuzz_RevertWhen_RowGetsTooLittleGas(uint256 gas) public {
        ICreditExchange.Fill[] memory orders = _goodRows(1);
        gas = bound(gas, 100_000, ROW_GAS + ROW_MARGIN);
        vm.prank(bob.addr);
        (bool ok, bytes memory answer) =
            address(exchange).call{gas: gas}(abi.encodeCall(ICreditExchange.fillBatch, (orders)));
        assertFalse(ok, "reverts");
        (bytes4 reason, bytes32 id, uint256 given, uint256 limit) = _decode(answer);
        assertEq(reason, ICreditExchange.CreditExchange_BadBatch.selector, "reason");
        assertEq(id, exchange.hashOffer(orders[0].offer), "offer");
        assertEq(limit, ROW_GAS + ROW_MARGIN, "needed");
        assertLt(given, gas, "less than was sent");
        assertGt(given, gas - 50_000, "but for the little it took to get there");
    }

    /* SKIPPED ROWS */

    /// @dev One row of each fault; the good ones between them are filled as if alone.
    function test_FillBatch_SkipsWhatFillWouldRefuse() public {
        ICreditExchange.Fill[] memory orders = _goodRows(7);
        orders[0].units = 0;
        orders[2].offer.taker = alice.addr;
        orders[4].limit = 0;
        orders[6].signature = "";
        bytes[] memory reasons = new bytes[](7);
        reasons[0] = _error(ICreditExchange.CreditExchange_ZeroUnits.selector, orders[0], 0, 1);
        reasons[2] =
            _error(ICreditExchange.CreditExchange_NotTaker.selector, orders[2], _number(bob.addr), _number(alice.addr));
        reasons[4] =
            _error(ICreditExchange.CreditExchange_OverLimit.selector, orders[4], _partOf(orders[4].offer, 1_000), 0);
        reasons[6] = _error(ICreditExchange.CreditExchange_BadSignature.selector, orders[6], 0, _number(alice.addr));
        for (uint256 i; i < 7; ++i) {
            if (reasons[i].length != 0) _expectSkipped(orders[i], reasons[i]);
            else _expectFilled(orders[i].offer, 1_000, _partOf(orders[i].offer, 1_000), 0);
        }
        assertEq(_fillBatch(orders), 3, "taken");
        _assertFilled(orders, 1_000, hex"00010001000100");
    }

    /// @dev The second row finds what the first has left.
    function test_FillBatch_OfOneOfferTwice() public {
        Offer memory offer = _stocked(true);
        ICreditExchange.Fill[] memory orders = new ICreditExchange.Fill[](2);
        (orders[0], orders[1]) = (_order(offer, UNITS - 1), _order(offer, 2));
        _expectSkipped(orders[1], _error(ICreditExchange.CreditExchange_OverFill.selector, orders[1], 2, 1));
        assertEq(_fillBatch(orders), 1, "taken");
        assertEq(exchange.filledOf(exchange.hashOffer(offer)), UNITS - 1, "filled");
    }

    /// @dev A signer, a receiver and a token, each with every trick: the good rows around them are filled, and a trick
    /// costs at most what a row may use.
    function testFuzz_FillBatch_WithHostileParties(uint256 which, uint256 how) public {
        ICreditExchange.Fill[] memory orders = _goodRows(3);
        Trick trick = Trick(bound(how, uint256(Trick.Refuse), uint256(Trick.AnswerAtLength)));
        uint256 party = bound(which, 0, 2);
        orders[1] = party == 0 ? _ofSigner(trick) : party == 1 ? _ofReceiver(trick) : _ofToken(trick);
        bytes memory reason = _reasonOf(party, trick, orders[1]);
        _expectFilled(orders[0].offer, 1_000, _partOf(orders[0].offer, 1_000), 0);
        _expectSkipped(orders[1], reason);
        _expectFilled(orders[2].offer, 1_000, _partOf(orders[2].offer, 1_000), 0);
        uint256 before = gasleft();
        assertEq(_fillBatch(orders), 2, "taken");
        assertLt(before - gasleft(), ROW_GAS + 2 * 250_000, "gas");
        _assertFilled(orders, 1_000, hex"010001");
    }

    /// @dev A batch whose every row burns all it gets still ends, having cost a bounded amount.
    function test_FillBatch_OfNothingButBurners() public {
        uint256 rows = 12;
        ICreditExchange.Fill[] memory orders = new ICreditExchange.Fill[](rows);
        for (uint256 i; i < rows; ++i) {
            orders[i] = _ofToken(Trick.BurnGas);
        }
        vm.prank(bob.addr);
        uint256 before = gasleft();
        assertEq(exchange.fillBatch{gas: rows * (ROW_GAS + ROW_MARGIN)}(orders), 0, "taken");
        assertLt(before - gasleft(), rows * (ROW_GAS + 20_000), "gas");
    }

    /// @dev From inside a row nothing of the exchange can be entered but what changes no fill.
    function test_FillBatch_RowEntersAgain() public {
        ICreditExchange.Fill[] memory orders = _goodRows(1);
        ICreditExchange.Fill memory good = orders[0];
        TrickToken token = new TrickToken();
        orders[0] = _ofToken(token);
        bytes[4] memory calls = [
            abi.encodeCall(ICreditExchange.fill, (good)),
            abi.encodeCall(ICreditExchange.fillBatch, (orders)),
            abi.encodeCall(ICreditExchange.fillFor, (1, good)),
            abi.encodeCall(ICreditExchange.fillRow, (bob.addr, good))
        ];
        bytes memory guarded = abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        bytes memory onlySelf = _error(
            ICreditExchange.CreditExchange_OnlySelf.selector, good, _number(address(token)), _number(address(exchange))
        );
        for (uint256 i; i < calls.length; ++i) {
            token.callBack(address(exchange), calls[i]);
            _expectSkipped(orders[0], i == 3 ? onlySelf : guarded);
            assertEq(_fillBatch(orders), 0, "taken");
        }
    }

    /* SUCCESS */

    function testFuzz_FillBatch(uint8 rows, uint8 bps) public {
        bps = uint8(bound(bps, 0, MAX_EXCHANGE_FEE));
        _setExchangeFee(bps);
        rows = uint8(bound(rows, 1, 8));
        ICreditExchange.Fill[] memory orders = new ICreditExchange.Fill[](rows);
        uint256 fees;
        uint256 spent;
        for (uint256 i; i < rows; ++i) {
            orders[i] = _order(_stocked(i % 2 == 0), UNITS);
            fees += _feeOf(TOTAL, bps);
            if (i % 2 == 0) spent += TOTAL;
        }
        uint256 bought = usd.balanceOf(bob.addr);
        for (uint256 i; i < rows; ++i) {
            _expectFilled(orders[i].offer, UNITS, TOTAL, _feeOf(TOTAL, bps));
        }
        assertEq(_fillBatch(orders), rows, "taken");
        assertEq(usd.balanceOf(treasury), fees, "fees");
        uint256 earned = uint256(rows / 2) * (TOTAL - _feeOf(TOTAL, bps));
        assertEq(usd.balanceOf(bob.addr), bought + earned - spent, "bob's tokens");
        _assertCredits(bob.addr, plain, uint256(rows - rows / 2) * UNITS, "bob's credits");
        _assertCredits(alice.addr, plain, uint256(rows / 2) * UNITS, "alice's credits");
    }

    /* HELPERS: ROWS */

    function _goodRows(uint256 rows) private returns (ICreditExchange.Fill[] memory orders) {
        orders = new ICreditExchange.Fill[](rows);
        for (uint256 i; i < rows; ++i) {
            orders[i] = _order(_stocked(true), 1_000);
        }
    }

    function _ofSigner(Trick trick) private returns (ICreditExchange.Fill memory) {
        TrickSigner maker = new TrickSigner();
        maker.play(trick);
        return _order(_offer(true, address(maker)), 1_000);
    }

    function _ofReceiver(Trick trick) private returns (ICreditExchange.Fill memory) {
        TrickReceiver maker = new TrickReceiver();
        Offer memory offer = _offer(false, address(maker));
        _stock(offer);
        maker.play(trick);
        return _order(offer, 1_000);
    }

    function _ofToken(Trick trick) private returns (ICreditExchange.Fill memory) {
        TrickToken token = new TrickToken();
        token.play(trick);
        return _ofToken(token);
    }

    function _ofToken(TrickToken token) private returns (ICreditExchange.Fill memory) {
        token.mint(bob.addr, TOTAL);
        vm.prank(bob.addr);
        token.approve(address(exchange), type(uint256).max);
        Offer memory offer = _stocked(true);
        offer.token = address(token);
        return _order(offer, 1_000);
    }

    /* HELPERS: REASONS */

    /// @dev A signature that can't be checked counts as a bad one; so much gas is then gone that the row can't say more.
    function _reasonOf(uint256 party, Trick trick, ICreditExchange.Fill memory order)
        private
        view
        returns (bytes memory)
    {
        if (trick == Trick.BurnGas && party != 0) return "";
        if (party == 0) {
            bytes4 selector = ICreditExchange.CreditExchange_BadSignature.selector;
            return _error(selector, order, _number(alice.addr), _number(order.offer.maker));
        }
        if (trick == Trick.Refuse) return abi.encodePacked(Trickster.Trickster_Refused.selector);
        return new bytes(MAX_REASON);
    }

    function _error(bytes4 selector, ICreditExchange.Fill memory order, uint256 given, uint256 limit)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeWithSelector(selector, exchange.hashOffer(order.offer), given, limit);
    }

    function _decode(bytes memory answer)
        private
        pure
        returns (bytes4 reason, bytes32 id, uint256 given, uint256 limit)
    {
        assertEq(answer.length, 100, "an error of three words");
        assembly ("memory-safe") {
            reason := mload(add(answer, 32))
            id := mload(add(answer, 36))
            given := mload(add(answer, 68))
            limit := mload(add(answer, 100))
        }
    }

    function _expectSkipped(ICreditExchange.Fill memory order, bytes memory reason) private {
        bytes32 id = exchange.hashOffer(order.offer);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.FillSkipped(id, reason);
    }

    function _fillBatch(ICreditExchange.Fill[] memory orders) private returns (uint256) {
        vm.prank(bob.addr);
        return exchange.fillBatch(orders);
    }

    /// @dev `mask` has a byte for each row: 1 if it was filled.
    function _assertFilled(ICreditExchange.Fill[] memory orders, uint256 units, bytes memory mask) private view {
        uint256 bought;
        for (uint256 i; i < orders.length; ++i) {
            uint256 expected = uint8(mask[i]) * units;
            bought += expected;
            assertEq(exchange.filledOf(exchange.hashOffer(orders[i].offer)), expected, "filled");
        }
        assertEq(credits.balanceOf(address(exchange), plain), 0, "exchange's credits");
        assertGe(credits.balanceOf(bob.addr, plain), bought, "bob's credits");
    }
}
