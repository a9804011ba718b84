// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICreditExchange} from "contracts/interfaces/ICreditExchange.sol";
import {Offer} from "contracts/interfaces/Types.sol";
import {Base} from "./Base.t.sol";

/// @dev Offers by alice, taken by bob. Both sides have what they give, and approved the exchange for it.
abstract contract CreditExchangeBase is Base {
    /// @dev Neither divides the other, so that parts have to be rounded.
    uint128 internal constant UNITS = 1_000_003;
    uint128 internal constant TOTAL = 777_777;
    uint256 internal constant MAX_EXCHANGE_FEE = 100;
    uint256 internal constant MAX_TOTAL = type(uint96).max;

    address internal treasury = makeAddr("treasury");
    uint256 private _offerSalt;

    /* OFFERS */

    function _offer(bool selling) internal returns (Offer memory) {
        return _offer(selling, alice.addr);
    }

    function _offer(bool selling, address maker) internal returns (Offer memory) {
        return Offer({
            maker: maker,
            selling: selling,
            classId: plain,
            units: UNITS,
            token: address(usd),
            price: TOTAL,
            taker: address(0),
            expiry: uint40(_now() + 1 days),
            epoch: 0,
            salt: ++_offerSalt
        });
    }

    /// @dev An offer of fuzzed size that both sides can fill.
    function _fuzzed(bool selling, uint256 units, uint256 price) internal returns (Offer memory offer) {
        offer = _offer(selling);
        offer.units = uint128(bound(units, 1, MAX_UNITS));
        offer.price = uint128(bound(price, 0, MAX_TOTAL));
        _stock(offer);
    }

    function _stocked(bool selling) internal returns (Offer memory offer) {
        offer = _offer(selling);
        _stock(offer);
    }

    /// @dev Gives both sides what the whole offer takes, rounding of its parts included.
    function _stock(Offer memory offer) internal {
        (address seller, address buyer) = _sides(offer);
        _giveCredits(seller, offer.classId, offer.units);
        _giveTokens(buyer, uint256(offer.price) + 1_000);
    }

    function _giveCredits(address account, uint256 classId, uint256 units) internal {
        _buy(account, classId, units);
        _approve(account);
    }

    function _giveTokens(address account, uint256 amount) internal {
        usd.mint(account, amount);
        vm.prank(account);
        usd.approve(address(exchange), type(uint256).max);
    }

    function _approve(address account) internal {
        vm.prank(account);
        credits.setApprovalForAll(address(exchange), true);
    }

    function _sides(Offer memory offer) internal view returns (address seller, address buyer) {
        return offer.selling ? (offer.maker, bob.addr) : (bob.addr, offer.maker);
    }

    /* FILLS */

    function _order(Offer memory offer, uint256 units) internal view returns (ICreditExchange.Fill memory) {
        return ICreditExchange.Fill({
            offer: offer,
            signature: _sign(alice, exchange.hashOffer(offer)),
            // forge-lint: disable-next-line(unsafe-typecast)
            units: uint128(units),
            limit: offer.selling ? type(uint256).max : 0
        });
    }

    function _fill(ICreditExchange.Fill memory order) internal returns (uint256) {
        vm.prank(bob.addr);
        return exchange.fill(order);
    }

    function _fill(Offer memory offer, uint256 units) internal returns (uint256) {
        return _fill(_order(offer, units));
    }

    /// @dev What a part costs, by the rule of the interface.
    function _partOf(Offer memory offer, uint256 units) internal pure returns (uint256) {
        uint256 up = offer.selling ? offer.units - 1 : 0;
        return (units * offer.price + up) / offer.units;
    }

    function _feeOf(uint256 price, uint256 bps) internal pure returns (uint256) {
        return price * bps / BPS;
    }

    /// @dev Proposes a fee on fills and waits until it applies.
    function _setExchangeFee(uint256 bps) internal {
        vm.prank(admin.addr);
        exchange.proposeFee(bps, treasury);
        if (bps == 0) return;
        vm.warp(_now() + FEE_DELAY);
        exchange.applyFee();
    }

    /* EXPECTATIONS */

    function _expectFilled(Offer memory offer, uint256 units, uint256 price, uint256 fee) internal {
        bytes32 id = exchange.hashOffer(offer);
        vm.expectEmit(address(exchange));
        emit ICreditExchange.OfferFilled(id, offer.maker, bob.addr, units, price, fee);
    }

    function _expect(bytes4 reason, bytes32 id, address given, address limit) internal {
        _expect(reason, uint256(id), given, limit);
    }

    /// @dev Of the one token and the one class that an offer is about.
    function _assertNoCustody(Offer memory offer) internal view {
        assertEq(IERC20(offer.token).balanceOf(address(exchange)), 0, "exchange's tokens");
        assertEq(credits.balanceOf(address(exchange), offer.classId), 0, "exchange's credits");
    }
}
