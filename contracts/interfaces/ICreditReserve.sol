// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Reserve: holds every payment token of Scrip as backing of a class, earnings of a provider, or fees.
interface ICreditReserve {
    /// @notice An ERC-3009 authorisation by the buyer.
    /// @dev Its nonce must be `purchaseNonce(classId, units, recipient, salt)`: the signature then covers the whole
    /// purchase, and a relayer can't spend the payment on anything else.
    struct Authorization {
        address from;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 salt;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    event Bought(
        uint256 indexed classId, address indexed buyer, address indexed recipient, uint256 units, uint256 cost
    );
    event PaidOut(uint256 indexed classId, address indexed provider, uint256 units, uint256 amount);
    /// @param amount Payment token paid, or, of a stake-funded class, stake token awarded by the registry.
    event Reclaimed(uint256 indexed classId, address indexed holder, uint256 units, uint256 amount);
    event Swept(uint256 indexed classId, address indexed issuer, uint256 amount);
    /// @param amount What left the account's earnings; `to` received it less `fee`.
    event Withdrawn(address indexed account, address indexed token, address indexed to, uint256 amount, uint256 fee);
    event FeeProposed(uint256 feeBps, uint256 applicableAt);
    event FeeSet(uint256 feeBps);
    event FeesCollected(address indexed token, address indexed to, uint256 amount);

    error CreditReserve_ZeroUnits(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_NotForSale(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_CostAboveMax(uint256 classId, uint256 given, uint256 limit);
    /// @notice The token delivered less, or more, than it was asked for.
    error CreditReserve_WrongPayment(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_BackingCap(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_NotAuthorised(uint256 classId, address given, address limit);
    error CreditReserve_NotWoundDown(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_TooEarly(uint256 classId, uint256 given, uint256 limit);
    error CreditReserve_InsufficientEarnings(address account, uint256 given, uint256 limit);
    error CreditReserve_ZeroAmount(address account, uint256 given, uint256 limit);
    /// @notice Tokens sent there would be lost: address zero, or the reserve itself.
    error CreditReserve_BadReceiver(address account, address given, address limit);
    error CreditReserve_FeeTooHigh(uint256 id, uint256 given, uint256 limit);
    error CreditReserve_FeeNotDue(uint256 id, uint256 given, uint256 limit);
    /// @notice The feed's answer isn't positive (then `given` is 0 and `limit` 1) or too large to count with; or its time lies
    /// in the future or is longer ago than the class allows (then both are Unix seconds).
    error CreditReserve_BadPrice(uint256 classId, uint256 given, uint256 limit);
    /// @notice The feed or the payment token has too many decimals to count with.
    error CreditReserve_BadDecimals(uint256 classId, uint256 given, uint256 limit);
    /// @notice The feed's price and the nearest one that the class allows, in payment token base units for 1,000,000 credits.
    error CreditReserve_PriceDeviates(uint256 classId, uint256 given, uint256 limit);
    /// @notice The rollup's sequencer is down, or came up only `given` seconds ago.
    error CreditReserve_SequencerDown(uint256 classId, uint256 given, uint256 limit);

    /// @notice Buys `units` base units for `recipient`, paid by the caller's allowance.
    /// @param maxCost Most the caller will pay, in payment token base units.
    function buy(uint256 classId, uint256 units, address recipient, uint256 maxCost) external returns (uint256 cost);

    /// @notice `buy` with the allowance given by an ERC-2612 permit of `maxCost`.
    function buyWithPermit(
        uint256 classId,
        uint256 units,
        address recipient,
        uint256 maxCost,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (uint256 cost);

    /// @notice `buy` paid by an ERC-3009 authorisation, which anyone may send. What the price leaves goes back.
    function buyWithAuthorization(uint256 classId, uint256 units, address recipient, Authorization calldata auth)
        external
        returns (uint256 cost);

    /// @notice Credits `provider` with the backing of `units` just burned. Job market and sessions only.
    /// @param supplyBefore Base units in existence before the burn.
    function payOut(uint256 classId, address provider, uint256 units, uint256 supplyBefore)
        external
        returns (uint256 amount);

    /// @notice Pays out `amount` of the caller's earnings, less the fee.
    function withdraw(address token, uint256 amount, address to) external;

    /// @notice Burns the caller's `units` of a closed or expired class for their share of the backing, or, of a
    /// stake-funded class, for the stake behind them, which the registry then owes the caller.
    function reclaim(uint256 classId, uint256 units) external returns (uint256 amount);

    /// @notice Turns the backing that nobody reclaimed into earnings of the issuer, `SWEEP_DELAY` after expiry.
    function sweepExpired(uint256 classId) external returns (uint256 amount);

    /// @notice Announces a fee on withdrawals. FEE_ROLE only. A lower fee applies at once, a higher one once it is
    /// applied, `FEE_DELAY` later at the earliest.
    function proposeFee(uint256 feeBps) external;

    /// @notice Puts the proposed fee into force. Anyone, once it is due.
    function applyFee() external;

    /// @notice Pays out fees. FEE_ROLE only.
    function collectFees(address token, uint256 amount, address to) external;

    /// @notice Price of `units`, rounded up, in payment token base units: the fixed price; or the feed's, and never less than
    /// the backing of as many units in existence, as far as that is within the highest price the class allows.
    function costOf(uint256 classId, uint256 units) external view returns (uint256);

    /// @notice Fee on withdrawals, in hundredths of a percent.
    function feeBps() external view returns (uint256);

    /// @notice The fee that was proposed and isn't in force yet, and when it can be; zeros if there is none.
    function pendingFee() external view returns (uint256 bps, uint256 applicableAt);
    function backingOf(uint256 classId) external view returns (uint256);
    function earningsOf(address account, address token) external view returns (uint256);
    function feesOf(address token) external view returns (uint256);
    function purchaseNonce(uint256 classId, uint256 units, address recipient, bytes32 salt)
        external
        view
        returns (bytes32);
}
