// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Offer} from "./Types.sol";

/// @title Exchange: fills signed offers to buy or sell credits. Holds nothing between calls.
interface ICreditExchange {
    /// @notice One fill of a batch.
    /// @param units Base units wanted of what is left.
    /// @param limit Most tokens a taker who buys will pay; least a taker who sells will take.
    struct Fill {
        Offer offer;
        bytes signature;
        uint128 units;
        uint256 limit;
    }

    /// @param price Tokens the buyer paid in all.
    /// @param fee Part of the price that went to the fee's recipient; the seller received the rest.
    event OfferFilled(
        bytes32 indexed offerHash,
        address indexed maker,
        address indexed taker,
        uint256 units,
        uint256 price,
        uint256 fee
    );
    event OfferCancelled(bytes32 indexed offerHash, address indexed maker);
    event EpochRaised(address indexed maker, uint256 epoch);
    /// @notice A row of a batch was left out. `reason` is what `fill` would have reverted with, cut off after 256 bytes;
    /// empty if the row used up the gas it may use.
    event FillSkipped(bytes32 indexed offerHash, bytes reason);
    event FeeProposed(uint256 feeBps, address recipient, uint256 applicableAt);
    event FeeSet(uint256 feeBps, address recipient);

    // Where no offer is concerned, `offerHash` is 0.
    /// @notice `given` is who signed, if that can be told.
    error CreditExchange_BadSignature(bytes32 offerHash, address given, address limit);
    error CreditExchange_NotMaker(bytes32 offerHash, address given, address limit);
    error CreditExchange_NotTaker(bytes32 offerHash, address given, address limit);
    error CreditExchange_Expired(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_Cancelled(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_WrongEpoch(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_ZeroUnits(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_OverFill(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_OverLimit(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_UnderLimit(bytes32 offerHash, uint256 given, uint256 limit);
    /// @notice The seller received less, or more, than its share of the price.
    error CreditExchange_WrongPayment(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_AccountBound(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_ClassEnded(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_BudgetForSelling(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_FeeTooHigh(bytes32 offerHash, uint256 given, uint256 limit);
    /// @notice A fee needs somebody to receive it.
    error CreditExchange_BadRecipient(bytes32 offerHash, address given, address limit);
    error CreditExchange_FeeNotDue(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_EpochNotHigher(bytes32 offerHash, uint256 given, uint256 limit);
    /// @notice A batch of no rows; or one whose gas, `given`, is less than a row may use.
    error CreditExchange_BadBatch(bytes32 offerHash, uint256 given, uint256 limit);
    error CreditExchange_OnlySelf(bytes32 offerHash, address given, address limit);

    /// @notice Fills a part of an offer, or all of it: credits and tokens change hands directly. Both sides must have
    /// approved this contract for what they give.
    /// @return price Tokens the buyer paid; rounded up when the taker buys, down when the taker sells.
    function fill(Fill calldata order) external returns (uint256 price);

    /// @notice Fills several offers; those that can't be filled are skipped and reported by `FillSkipped`.
    /// @dev Whatever a row's token, maker or receiver does, it can use up no more than `ROW_GAS`. The call reverts rather
    /// than begin a row with less, so that an estimate of its gas is enough to fill every row that can be filled.
    /// @return taken Offers that were filled.
    function fillBatch(Fill[] calldata orders) external returns (uint256 taken);

    /// @notice One row of `fillBatch`, which this contract sends to itself. Nobody else can.
    function fillRow(address taker, Fill calldata order) external;

    /// @notice Buys for the owner of a budget, as its spender: the owner pays and receives the credits.
    function fillFor(uint256 budgetId, Fill calldata order) external returns (uint256 price);

    /// @notice Cancels one offer of the caller.
    function cancel(Offer calldata offer) external;

    /// @notice Cancels all offers of the caller with a lower epoch.
    function raiseEpoch(uint64 epoch) external;

    /// @notice Announces a fee on fills. FEE_ROLE only. A lower fee applies at once, a higher one once it is applied.
    function proposeFee(uint256 feeBps, address recipient) external;

    /// @notice Puts the proposed fee into force. Anyone, once it is due.
    function applyFee() external;

    function hashOffer(Offer calldata offer) external view returns (bytes32);
    function filledOf(bytes32 offerHash) external view returns (uint256);
    function isCancelled(bytes32 offerHash) external view returns (bool);
    function epochOf(address maker) external view returns (uint256);
    function feeBps() external view returns (uint256);
    function feeRecipient() external view returns (address);
}
