// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICreditReserve} from "../interfaces/ICreditReserve.sol";
import {AggregatorV3Interface} from "../interfaces/IPriceFeed.sol";
import {SaleTerms} from "../interfaces/Types.sol";

/// @title What units of a class cost. Every step rounds up.
/// @dev A rate is payment token base units for `PRICE_CREDITS` credits.
library ClassPrice {
    uint256 internal constant PRICE_CREDITS = 1_000_000;
    uint256 internal constant SEQUENCER_GRACE = 1 hours;
    /// @dev Keeps the scaling of an answer within 256 bits: 128 + 120.
    uint256 internal constant MAX_ANSWER = type(uint128).max;
    uint256 internal constant MAX_DECIMALS = 36;
    uint256 private constant BPS = 10_000;

    /// @dev Cost of `units` at `rate`.
    function cost(SaleTerms memory terms, uint256 rate, uint256 units) internal pure returns (uint256) {
        return Math.mulDiv(units, rate, 10 ** uint256(terms.decimals) * PRICE_CREDITS, Math.Rounding.Ceil);
    }

    /// @dev Cost of `units` by the class's feed, and never less than the backing of as many units in existence, so that a
    /// sale lowers nobody's share. Rounding makes the backing of the last few units worth more than anybody paid; above the
    /// highest rate the class allows it doesn't count, or a buyer of a single unit could price everybody out.
    function feedCost(uint256 classId, SaleTerms memory terms, uint256 units, uint256 backing, uint256 supply)
        internal
        view
        returns (uint256)
    {
        uint256 byFeed = cost(terms, feedRate(classId, terms), units);
        if (supply == 0) return byFeed;
        uint256 byBacking = Math.mulDiv(units, backing, supply, Math.Rounding.Ceil);
        uint256 ceiling = cost(terms, terms.pricePerMillion + deviation(terms), units);
        return Math.max(byFeed, Math.min(byBacking, ceiling));
    }

    /// @dev The feed's rate, or a revert if it can't be trusted.
    function feedRate(uint256 classId, SaleTerms memory terms) internal view returns (uint256 rate) {
        AggregatorV3Interface feed = AggregatorV3Interface(terms.priceFeed);
        (, int256 signed,, uint256 updatedAt,) = feed.latestRoundData();
        if (signed < 1) revert ICreditReserve.CreditReserve_BadPrice(classId, 0, 1);
        // Safe cast: positive.
        uint256 answer = uint256(signed);
        if (answer > MAX_ANSWER) revert ICreditReserve.CreditReserve_BadPrice(classId, answer, MAX_ANSWER);
        if (updatedAt > block.timestamp) {
            revert ICreditReserve.CreditReserve_BadPrice(classId, updatedAt, block.timestamp);
        }
        if (block.timestamp - updatedAt > terms.maxPriceAge) {
            revert ICreditReserve.CreditReserve_BadPrice(classId, updatedAt, block.timestamp - terms.maxPriceAge);
        }
        uint256 from = _scale(classId, feed.decimals());
        uint256 to = _scale(classId, IERC20Metadata(terms.paymentToken).decimals());
        rate = Math.mulDiv(answer, to, from, Math.Rounding.Ceil);
        _checkDeviation(classId, terms, rate);
    }

    /// @dev How far a rate may lie from the class's price.
    function deviation(SaleTerms memory terms) internal pure returns (uint256) {
        return uint256(terms.pricePerMillion) * terms.maxDeviationBps / BPS;
    }

    /// @dev Reverts unless the rollup's sequencer has been up for a while: just after an outage, answers are old and only
    /// those who were prepared get in.
    function checkSequencer(uint256 classId, AggregatorV3Interface sequencer) internal view {
        (, int256 answer, uint256 upSince,,) = sequencer.latestRoundData();
        // 0 is up. A feed that was never updated says since 0.
        if (answer != 0 || upSince == 0) {
            revert ICreditReserve.CreditReserve_SequencerDown(classId, 0, SEQUENCER_GRACE);
        }
        uint256 upFor = block.timestamp > upSince ? block.timestamp - upSince : 0;
        if (upFor < SEQUENCER_GRACE) {
            revert ICreditReserve.CreditReserve_SequencerDown(classId, upFor, SEQUENCER_GRACE);
        }
    }

    function _checkDeviation(uint256 classId, SaleTerms memory terms, uint256 rate) private pure {
        (uint256 price, uint256 allowed) = (terms.pricePerMillion, deviation(terms));
        if (rate > price + allowed) {
            revert ICreditReserve.CreditReserve_PriceDeviates(classId, rate, price + allowed);
        }
        if (rate + allowed < price) {
            revert ICreditReserve.CreditReserve_PriceDeviates(classId, rate, price - allowed);
        }
    }

    function _scale(uint256 classId, uint256 decimals) private pure returns (uint256) {
        if (decimals > MAX_DECIMALS) {
            revert ICreditReserve.CreditReserve_BadDecimals(classId, decimals, MAX_DECIMALS);
        }
        return 10 ** decimals;
    }
}
