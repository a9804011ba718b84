// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {DelayedRoles} from "./base/DelayedRoles.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditExchange} from "./interfaces/ICreditExchange.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {ClassTerms, Offer, System} from "./interfaces/Types.sol";
import {WordsHash} from "./libraries/WordsHash.sol";

/// @title CreditExchange
/// @dev Trust model.
/// - Holds nothing: credits and tokens go from one side to the other by the approvals both gave. Tokens or credits sent
///   here by mistake stay here.
/// - A maker gives only what an offer it signed says, at the signed price or better, and can withdraw one offer or all of
///   them at any time. A taker gives only what its own call says, within its limit.
/// - The spender of a budget can make the budget's owner buy, within the budget and from anybody the budget lets it pay,
///   itself included; never sell.
/// - FEE_ROLE sets a fee, at most `MAX_FEE_BPS` of the price and taken from the seller; a higher one is known `FEE_DELAY`
///   before, within which makers can withdraw. A recipient that a token refuses stops fills in that token until it is
///   replaced; it can take nothing.
/// - Tokens, ERC-1271 makers and ERC-1155 receivers are foreign code: none of them can enter again, a token that delivers
///   another amount than asked undoes the fill, and in a batch each can spoil its own row and spend `ROW_GAS`, no more.
contract CreditExchange is ICreditExchange, EIP712, DelayedRoles, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    bytes32 public constant FEE_ROLE = keccak256("FEE_ROLE");
    bytes32 public constant OFFER_TYPEHASH = keccak256(
        "Offer(address maker,bool selling,uint256 classId,uint128 units,address token,uint128 price,address taker,uint40 expiry,uint64 epoch,uint256 salt)"
    );
    uint256 public constant MAX_FEE_BPS = 100;
    uint256 public constant FEE_DELAY = 7 days;
    /// @dev Most gas that a row of a batch may use: several times what honest tokens and wallets need.
    uint256 public constant ROW_GAS = 500_000;
    /// @dev What a batch needs around a row, and the 64th that no call can pass on.
    uint256 private constant ROW_MARGIN = 50_000;
    /// @dev Holds every custom error of tokens and credits; more would let a hostile one make the log expensive.
    uint256 private constant MAX_REASON = 256;
    uint256 private constant BPS = 10_000;
    uint256 private constant OFFER_WORDS = 10;

    IComputeCredits public immutable CREDITS;
    ISpendingBudgets public immutable BUDGETS;

    /* STORAGE */

    struct OfferState {
        uint128 filled;
        bool cancelled;
    }

    struct Fee {
        address recipient;
        uint16 bps;
        uint40 applicableAt;
    }

    mapping(bytes32 offerHash => OfferState) private _offers;
    mapping(address maker => uint256) public epochOf;
    Fee private _fee;
    /// @dev Empty unless a higher fee was announced.
    Fee private _proposed;

    /// @dev One fill, decided but not carried out.
    struct Trade {
        bytes32 offerHash;
        address seller;
        address buyer;
        uint256 classId;
        uint256 units;
        IERC20 token;
        uint256 price;
        uint256 fee;
        address feeRecipient;
    }

    /* CONSTRUCTOR */

    constructor(System memory system, address admin, uint48 adminDelay, uint256 roleDelay)
        EIP712("Scrip CreditExchange", "1")
        DelayedRoles(admin, adminDelay, roleDelay)
    {
        CREDITS = IComputeCredits(system.credits);
        BUDGETS = ISpendingBudgets(system.budgets);
    }

    /* FILLING */

    /// @inheritdoc ICreditExchange
    function fill(Fill calldata order) external nonReentrant returns (uint256 price) {
        Trade memory trade = _decide(order, msg.sender);
        _carryOut(trade);
        return trade.price;
    }

    /// @inheritdoc ICreditExchange
    function fillBatch(Fill[] calldata orders) external nonReentrant returns (uint256 taken) {
        uint256 rows = orders.length;
        if (rows == 0) revert CreditExchange_BadBatch(0, 0, 1);
        for (uint256 i; i < rows; ++i) {
            if (_tryRow(orders[i])) ++taken;
        }
    }

    /// @inheritdoc ICreditExchange
    function fillRow(address taker, Fill calldata order) external {
        if (msg.sender != address(this)) {
            revert CreditExchange_OnlySelf(hashOffer(order.offer), msg.sender, address(this));
        }
        _carryOut(_decide(order, taker));
    }

    /// @inheritdoc ICreditExchange
    function fillFor(uint256 budgetId, Fill calldata order) external nonReentrant returns (uint256 price) {
        Offer calldata offer = order.offer;
        if (!offer.selling) revert CreditExchange_BudgetForSelling(hashOffer(offer), 0, 1);
        address owner = BUDGETS.ownerOf(budgetId);
        Trade memory trade = _decide(order, owner);
        BUDGETS.chargeValue(budgetId, msg.sender, owner, offer.maker, offer.token, trade.price);
        _carryOut(trade);
        return trade.price;
    }

    /* WITHDRAWING */

    /// @inheritdoc ICreditExchange
    function cancel(Offer calldata offer) external {
        bytes32 offerHash = hashOffer(offer);
        if (msg.sender != offer.maker) revert CreditExchange_NotMaker(offerHash, msg.sender, offer.maker);
        _offers[offerHash].cancelled = true;
        emit OfferCancelled(offerHash, msg.sender);
    }

    /// @inheritdoc ICreditExchange
    function raiseEpoch(uint64 epoch) external {
        uint256 current = epochOf[msg.sender];
        if (epoch <= current) revert CreditExchange_EpochNotHigher(0, epoch, current);
        epochOf[msg.sender] = epoch;
        emit EpochRaised(msg.sender, epoch);
    }

    /* FEES */

    /// @inheritdoc ICreditExchange
    function proposeFee(uint256 newFeeBps, address recipient) external onlyRole(FEE_ROLE) {
        if (newFeeBps > MAX_FEE_BPS) revert CreditExchange_FeeTooHigh(0, newFeeBps, MAX_FEE_BPS);
        if (newFeeBps != 0 && (recipient == address(0) || recipient == address(this))) {
            revert CreditExchange_BadRecipient(0, recipient, address(0));
        }
        // Safe casts, here and below: at most MAX_FEE_BPS, and a time.
        if (newFeeBps <= _fee.bps) return _setFee(Fee(recipient, uint16(newFeeBps), 0));
        uint256 applicableAt = block.timestamp + FEE_DELAY;
        _proposed = Fee(recipient, uint16(newFeeBps), uint40(applicableAt));
        emit FeeProposed(newFeeBps, recipient, applicableAt);
    }

    /// @inheritdoc ICreditExchange
    function applyFee() external {
        Fee memory proposed = _proposed;
        uint256 dueAt = proposed.applicableAt == 0 ? type(uint256).max : proposed.applicableAt;
        if (block.timestamp < dueAt) revert CreditExchange_FeeNotDue(0, block.timestamp, dueAt);
        _setFee(proposed);
    }

    /* VIEWS */

    /// @inheritdoc ICreditExchange
    function hashOffer(Offer calldata offer) public view returns (bytes32) {
        uint256 offset;
        assembly {
            offset := offer
        }
        return _hashTypedDataV4(WordsHash.hash(OFFER_TYPEHASH, offset, OFFER_WORDS));
    }

    /// @inheritdoc ICreditExchange
    function filledOf(bytes32 offerHash) external view returns (uint256) {
        return _offers[offerHash].filled;
    }

    /// @inheritdoc ICreditExchange
    function isCancelled(bytes32 offerHash) external view returns (bool) {
        return _offers[offerHash].cancelled;
    }

    /// @inheritdoc ICreditExchange
    function feeBps() external view returns (uint256) {
        return _fee.bps;
    }

    /// @inheritdoc ICreditExchange
    function feeRecipient() external view returns (address) {
        return _fee.recipient;
    }

    /* INTERNAL: DECIDING */

    /// @dev Checks everything that doesn't depend on tokens and credits, and records the fill.
    function _decide(Fill calldata order, address taker) private returns (Trade memory trade) {
        Offer calldata offer = order.offer;
        bytes32 offerHash = hashOffer(offer);
        OfferState storage state = _offers[offerHash];
        _checkOffer(offerHash, offer, taker, state.cancelled);
        uint256 filled = state.filled;
        uint256 left = offer.units - filled;
        if (order.units == 0) revert CreditExchange_ZeroUnits(offerHash, 0, 1);
        if (order.units > left) revert CreditExchange_OverFill(offerHash, order.units, left);
        _checkSignature(offerHash, offer.maker, order.signature);
        trade = _price(offerHash, order, taker);
        // Safe cast: at most `offer.units`.
        state.filled = uint128(filled + order.units);
        emit OfferFilled(offerHash, offer.maker, taker, order.units, trade.price, trade.fee);
    }

    function _checkOffer(bytes32 offerHash, Offer calldata offer, address taker, bool cancelled) private view {
        if (offer.taker != address(0) && offer.taker != taker) {
            revert CreditExchange_NotTaker(offerHash, taker, offer.taker);
        }
        if (block.timestamp > offer.expiry) {
            revert CreditExchange_Expired(offerHash, block.timestamp, offer.expiry);
        }
        // An epoch to come is refused, too: its offers couldn't all be cancelled without going past it.
        uint256 epoch = epochOf[offer.maker];
        if (offer.epoch != epoch) revert CreditExchange_WrongEpoch(offerHash, offer.epoch, epoch);
        if (cancelled) revert CreditExchange_Cancelled(offerHash, 1, 0);
    }

    function _checkSignature(bytes32 offerHash, address maker, bytes calldata signature) private view {
        if (SignatureChecker.isValidSignatureNowCalldata(maker, offerHash, signature)) return;
        (address signer,,) = ECDSA.tryRecoverCalldata(offerHash, signature);
        revert CreditExchange_BadSignature(offerHash, signer, maker);
    }

    /// @dev Rounded in the maker's favour, so that parts are never worse for it than the whole. The fee is the seller's to
    /// pay; `limit` is held against what the taker pays, or what is left for it.
    function _price(bytes32 offerHash, Fill calldata order, address taker) private view returns (Trade memory trade) {
        Offer calldata offer = order.offer;
        // Can't overflow: 128 + 128 bits.
        uint256 product = uint256(order.units) * offer.price;
        Fee memory fee = _fee;
        uint256 price = offer.selling ? Math.ceilDiv(product, offer.units) : product / offer.units;
        uint256 feeDue = price * fee.bps / BPS;
        (address seller, address buyer) = offer.selling ? (offer.maker, taker) : (taker, offer.maker);
        if (offer.selling && price > order.limit) revert CreditExchange_OverLimit(offerHash, price, order.limit);
        if (!offer.selling && price - feeDue < order.limit) {
            revert CreditExchange_UnderLimit(offerHash, price - feeDue, order.limit);
        }
        return Trade({
            offerHash: offerHash,
            seller: seller,
            buyer: buyer,
            classId: offer.classId,
            units: order.units,
            token: IERC20(offer.token),
            price: price,
            fee: feeDue,
            feeRecipient: fee.recipient
        });
    }

    /* INTERNAL: CARRYING OUT */

    /// @dev The credits come last, because their receiver is called.
    function _carryOut(Trade memory trade) private {
        uint256 due = trade.price - trade.fee;
        if (due != 0) {
            uint256 before = trade.token.balanceOf(trade.seller);
            trade.token.safeTransferFrom(trade.buyer, trade.seller, due);
            uint256 received = Math.saturatingSub(trade.token.balanceOf(trade.seller), before);
            if (received != due) revert CreditExchange_WrongPayment(trade.offerHash, received, due);
        }
        if (trade.fee != 0) trade.token.safeTransferFrom(trade.buyer, trade.feeRecipient, trade.fee);
        try CREDITS.safeTransferFrom(trade.seller, trade.buyer, trade.classId, trade.units, "") {}
        catch (bytes memory reason) {
            _explain(trade, reason);
        }
    }

    /// @dev The credits refuse what their class forbids by themselves, so its terms, which are expensive to read, are read
    /// only to say why.
    function _explain(Trade memory trade, bytes memory reason) private view {
        ClassTerms memory terms = CREDITS.classTerms(trade.classId);
        if (!terms.transferable) revert CreditExchange_AccountBound(trade.offerHash, 0, 1);
        if (terms.expiry != 0 && block.timestamp > terms.expiry) {
            revert CreditExchange_ClassEnded(trade.offerHash, block.timestamp, terms.expiry);
        }
        LowLevelCall.bubbleRevert(reason);
    }

    /// @dev A call to oneself, so that whatever a failed row had done is undone.
    function _tryRow(Fill calldata order) private returns (bool filled) {
        bytes32 offerHash = hashOffer(order.offer);
        bytes memory row = abi.encodeCall(this.fillRow, (msg.sender, order));
        if (gasleft() < ROW_GAS + ROW_MARGIN) {
            revert CreditExchange_BadBatch(offerHash, gasleft(), ROW_GAS + ROW_MARGIN);
        }
        uint256 rowGas = ROW_GAS;
        assembly ("memory-safe") {
            filled := call(rowGas, address(), 0, add(row, 32), mload(row), 0, 0)
        }
        if (!filled) emit FillSkipped(offerHash, _reason());
    }

    /// @dev What the row's call answered, as far as it is worth reporting: a hostile token could answer at any length.
    function _reason() private pure returns (bytes memory reason) {
        uint256 size = Math.min(LowLevelCall.returnDataSize(), MAX_REASON);
        reason = new bytes(size);
        assembly ("memory-safe") {
            returndatacopy(add(reason, 32), 0, size)
        }
    }

    /* INTERNAL: FEES */

    /// @dev What was announced before no longer stands.
    function _setFee(Fee memory fee) private {
        delete _proposed;
        fee.applicableAt = 0;
        _fee = fee;
        emit FeeSet(fee.bps, fee.recipient);
    }
}
