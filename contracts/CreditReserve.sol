// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {DelayedRoles} from "./base/DelayedRoles.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {AggregatorV3Interface} from "./interfaces/IPriceFeed.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding, SaleTerms, System} from "./interfaces/Types.sol";
import {ClassPrice} from "./libraries/ClassPrice.sol";

/// @title CreditReserve
/// @dev Trust model.
/// - Tokens leave only as earnings or fees that were credited before, as a holder's own reclaim, or as what an
///   authorised payment left over. No role can take backing or earnings.
/// - The job market and the sessions say how many burned units are paid to which provider. Both are immutable.
/// - FEE_ROLE sets a fee on withdrawals, at most `MAX_FEE_BPS` and never higher without `FEE_DELAY` to withdraw before,
///   and collects it.
/// - A class's price feed decides what buyers pay, within the class's own bounds. It has no say in what is paid out or
///   reclaimed, and a feed or sequencer in trouble stops sales alone.
/// - A payment token is trusted only by the classes that name it: what it delivers is measured, and every figure is
///   kept per class or per token, so a dishonest token can hurt its own classes alone.
contract CreditReserve is ICreditReserve, DelayedRoles, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    bytes32 public constant FEE_ROLE = keccak256("FEE_ROLE");
    uint256 public constant MAX_FEE_BPS = 500;
    uint256 public constant FEE_DELAY = 7 days;
    uint256 public constant PRICE_CREDITS = ClassPrice.PRICE_CREDITS;
    uint256 public constant SEQUENCER_GRACE = ClassPrice.SEQUENCER_GRACE;
    uint256 public constant SWEEP_DELAY = 180 days;
    uint256 private constant BPS = 10_000;

    IComputeCredits public immutable CREDITS;
    IProviderRegistry public immutable REGISTRY;
    address public immutable MARKET;
    address public immutable SESSIONS;
    /// @dev Says whether the rollup's sequencer is up; zero on a chain that has none.
    AggregatorV3Interface public immutable SEQUENCER_FEED;

    /* STORAGE */

    /// @dev One slot, read and written by every settlement.
    struct Pool {
        IERC20 token;
        uint96 backing;
    }

    /// @dev One slot. No fee is proposed while `applicableAt` is 0.
    struct Fee {
        uint16 current;
        uint16 proposed;
        uint40 applicableAt;
    }

    mapping(uint256 classId => Pool) private _pools;
    mapping(address account => mapping(IERC20 token => uint256)) private _earnings;
    mapping(IERC20 token => uint256) private _fees;
    Fee private _fee;

    /* CONSTRUCTOR */

    constructor(
        System memory system,
        address admin,
        uint48 adminDelay,
        uint256 roleDelay,
        AggregatorV3Interface sequencerFeed
    ) DelayedRoles(admin, adminDelay, roleDelay) {
        CREDITS = IComputeCredits(system.credits);
        REGISTRY = IProviderRegistry(system.registry);
        MARKET = system.market;
        SESSIONS = system.sessions;
        SEQUENCER_FEED = sequencerFeed;
    }

    /* SALES */

    /// @inheritdoc ICreditReserve
    function buy(uint256 classId, uint256 units, address recipient, uint256 maxCost)
        external
        nonReentrant
        returns (uint256 cost)
    {
        return _buy(classId, units, recipient, maxCost);
    }

    /// @inheritdoc ICreditReserve
    function buyWithPermit(
        uint256 classId,
        uint256 units,
        address recipient,
        uint256 maxCost,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external nonReentrant returns (uint256 cost) {
        address token = CREDITS.saleTerms(classId).paymentToken;
        // A permit someone else already sent has done its work; if it has not, the transfer below fails.
        try IERC20Permit(token).permit(msg.sender, address(this), maxCost, deadline, v, r, s) {} catch {}
        return _buy(classId, units, recipient, maxCost);
    }

    /// @inheritdoc ICreditReserve
    function buyWithAuthorization(uint256 classId, uint256 units, address recipient, Authorization calldata auth)
        external
        nonReentrant
        returns (uint256 cost)
    {
        IERC20 token;
        (token, cost) = _quote(classId, units, auth.value);
        uint256 before = token.balanceOf(address(this));
        IERC3009(address(token))
            .receiveWithAuthorization(
                auth.from,
                address(this),
                auth.value,
                auth.validAfter,
                auth.validBefore,
                purchaseNonce(classId, units, recipient, auth.salt),
                auth.v,
                auth.r,
                auth.s
            );
        // Before anything is given back: a token that moved nothing must not be sent the backing of others.
        _checkReceived(classId, token, before, auth.value);
        uint256 left = auth.value - cost;
        if (left != 0) {
            token.safeTransfer(auth.from, left);
            _checkReceived(classId, token, before, cost);
        }
        _book(classId, units, recipient, auth.from, token, cost);
    }

    /* SETTLEMENT */

    /// @inheritdoc ICreditReserve
    function payOut(uint256 classId, address provider, uint256 units, uint256 supplyBefore)
        external
        returns (uint256 amount)
    {
        if (msg.sender != MARKET && msg.sender != SESSIONS) {
            revert CreditReserve_NotAuthorised(classId, msg.sender, MARKET);
        }
        Pool storage pool = _pools[classId];
        (IERC20 token, uint256 backing) = (pool.token, pool.backing);
        // Nothing is behind a class that isn't sold.
        if (backing != 0) {
            // Can't overflow: units in existence, and backing, fit 96 bits each.
            amount = units * backing / supplyBefore;
            // Safe cast: `amount` is at most `backing`, because `units` is at most `supplyBefore`.
            pool.backing = uint96(backing - amount);
            _earnings[provider][token] += amount;
        }
        emit PaidOut(classId, provider, units, amount);
    }

    /// @inheritdoc ICreditReserve
    function withdraw(address token, uint256 amount, address to) external nonReentrant {
        if (amount == 0) revert CreditReserve_ZeroAmount(msg.sender, 0, 1);
        _checkReceiver(msg.sender, to);
        uint256 earned = _earnings[msg.sender][IERC20(token)];
        if (amount > earned) revert CreditReserve_InsufficientEarnings(msg.sender, amount, earned);
        uint256 fee = amount * _fee.current / BPS;
        _earnings[msg.sender][IERC20(token)] = earned - amount;
        if (fee != 0) _fees[IERC20(token)] += fee;
        emit Withdrawn(msg.sender, token, to, amount, fee);
        IERC20(token).safeTransfer(to, amount - fee);
    }

    /* WIND-DOWN */

    /// @inheritdoc ICreditReserve
    function reclaim(uint256 classId, uint256 units) external nonReentrant returns (uint256 amount) {
        if (units == 0) revert CreditReserve_ZeroUnits(classId, 0, 1);
        if (!CREDITS.isWoundDown(classId)) revert CreditReserve_NotWoundDown(classId, 0, 1);
        uint256 supplyBefore = CREDITS.burn(msg.sender, classId, units);
        if (CREDITS.saleTerms(classId).funding == Funding.Stake) return _compensate(classId, units);
        Pool storage pool = _pools[classId];
        amount = Math.mulDiv(units, pool.backing, supplyBefore);
        // Safe cast: `amount` is at most the backing.
        pool.backing -= uint96(amount);
        emit Reclaimed(classId, msg.sender, units, amount);
        if (amount != 0) pool.token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc ICreditReserve
    function sweepExpired(uint256 classId) external returns (uint256 amount) {
        ClassTerms memory terms = CREDITS.classTerms(classId);
        uint256 dueAt = uint256(terms.expiry) + SWEEP_DELAY;
        if (terms.expiry == 0 || block.timestamp < dueAt) {
            revert CreditReserve_TooEarly(classId, block.timestamp, terms.expiry == 0 ? type(uint256).max : dueAt);
        }
        Pool storage pool = _pools[classId];
        amount = pool.backing;
        pool.backing = 0;
        _earnings[terms.issuer][pool.token] += amount;
        emit Swept(classId, terms.issuer, amount);
    }

    /* FEES */

    /// @inheritdoc ICreditReserve
    function proposeFee(uint256 newFeeBps) external onlyRole(FEE_ROLE) {
        if (newFeeBps > MAX_FEE_BPS) revert CreditReserve_FeeTooHigh(0, newFeeBps, MAX_FEE_BPS);
        if (newFeeBps <= _fee.current) return _setFee(newFeeBps);
        uint256 applicableAt = block.timestamp + FEE_DELAY;
        // Safe casts: at most MAX_FEE_BPS, and a time.
        (_fee.proposed, _fee.applicableAt) = (uint16(newFeeBps), uint40(applicableAt));
        emit FeeProposed(newFeeBps, applicableAt);
    }

    /// @inheritdoc ICreditReserve
    function applyFee() external {
        Fee memory fee = _fee;
        uint256 dueAt = fee.applicableAt == 0 ? type(uint256).max : fee.applicableAt;
        if (block.timestamp < dueAt) revert CreditReserve_FeeNotDue(0, block.timestamp, dueAt);
        _setFee(fee.proposed);
    }

    /// @inheritdoc ICreditReserve
    function collectFees(address token, uint256 amount, address to) external onlyRole(FEE_ROLE) nonReentrant {
        if (amount == 0) revert CreditReserve_ZeroAmount(address(this), 0, 1);
        _checkReceiver(address(this), to);
        uint256 collected = _fees[IERC20(token)];
        if (amount > collected) revert CreditReserve_InsufficientEarnings(address(this), amount, collected);
        _fees[IERC20(token)] = collected - amount;
        emit FeesCollected(token, to, amount);
        IERC20(token).safeTransfer(to, amount);
    }

    /* VIEWS */

    /// @inheritdoc ICreditReserve
    function costOf(uint256 classId, uint256 units) external view returns (uint256) {
        return _cost(classId, CREDITS.saleTerms(classId), units);
    }

    /// @inheritdoc ICreditReserve
    function feeBps() external view returns (uint256) {
        return _fee.current;
    }

    /// @inheritdoc ICreditReserve
    function pendingFee() external view returns (uint256 bps, uint256 applicableAt) {
        return (_fee.proposed, _fee.applicableAt);
    }

    /// @inheritdoc ICreditReserve
    function backingOf(uint256 classId) external view returns (uint256) {
        return _pools[classId].backing;
    }

    /// @inheritdoc ICreditReserve
    function earningsOf(address account, address token) external view returns (uint256) {
        return _earnings[account][IERC20(token)];
    }

    /// @inheritdoc ICreditReserve
    function feesOf(address token) external view returns (uint256) {
        return _fees[IERC20(token)];
    }

    /// @inheritdoc ICreditReserve
    function purchaseNonce(uint256 classId, uint256 units, address recipient, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(address(this), block.chainid, classId, units, recipient, salt));
    }

    /* INTERNAL */

    function _buy(uint256 classId, uint256 units, address recipient, uint256 maxCost) private returns (uint256 cost) {
        IERC20 token;
        (token, cost) = _quote(classId, units, maxCost);
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), cost);
        _checkReceived(classId, token, before, cost);
        _book(classId, units, recipient, msg.sender, token, cost);
    }

    function _quote(uint256 classId, uint256 units, uint256 maxCost) private view returns (IERC20 token, uint256 cost) {
        if (units == 0) revert CreditReserve_ZeroUnits(classId, 0, 1);
        SaleTerms memory terms = CREDITS.saleTerms(classId);
        if (terms.funding != Funding.Sale || !terms.open) {
            revert CreditReserve_NotForSale(classId, uint256(terms.funding), uint256(Funding.Sale));
        }
        cost = _cost(classId, terms, units);
        if (cost > maxCost) revert CreditReserve_CostAboveMax(classId, cost, maxCost);
        token = IERC20(terms.paymentToken);
    }

    /// @dev The whole price becomes backing. The payment is booked before the credits exist, and the credits' receiver
    /// is called last.
    function _book(uint256 classId, uint256 units, address recipient, address buyer, IERC20 token, uint256 cost)
        private
    {
        Pool storage pool = _pools[classId];
        uint256 backing = pool.backing + cost;
        if (backing > type(uint96).max) revert CreditReserve_BackingCap(classId, backing, type(uint96).max);
        // Safe cast: checked in the line above.
        (pool.token, pool.backing) = (token, uint96(backing));
        emit Bought(classId, buyer, recipient, units, cost);
        CREDITS.mint(recipient, classId, units);
    }

    /// @dev Burned units of a stake-funded class are made good by the issuer's stake.
    function _compensate(uint256 classId, uint256 units) private returns (uint256 amount) {
        address issuer = CREDITS.classTerms(classId).issuer;
        amount = REGISTRY.compensate(classId, issuer, msg.sender, units);
        emit Reclaimed(classId, msg.sender, units, amount);
    }

    /// @dev Forgets what was proposed.
    function _setFee(uint256 newFeeBps) private {
        // Safe cast: at most MAX_FEE_BPS.
        _fee = Fee(uint16(newFeeBps), 0, 0);
        emit FeeSet(newFeeBps);
    }

    function _checkReceived(uint256 classId, IERC20 token, uint256 before, uint256 due) private view {
        uint256 held = token.balanceOf(address(this));
        uint256 received = held > before ? held - before : 0;
        if (received != due) revert CreditReserve_WrongPayment(classId, received, due);
    }

    function _checkReceiver(address account, address to) private view {
        if (to == address(0) || to == address(this)) revert CreditReserve_BadReceiver(account, to, address(0));
    }

    function _cost(uint256 classId, SaleTerms memory terms, uint256 units) private view returns (uint256) {
        if (terms.priceFeed == address(0)) return ClassPrice.cost(terms, terms.pricePerMillion, units);
        if (address(SEQUENCER_FEED) != address(0)) ClassPrice.checkSequencer(classId, SEQUENCER_FEED);
        return ClassPrice.feedCost(classId, terms, units, _pools[classId].backing, CREDITS.totalSupply(classId));
    }
}
