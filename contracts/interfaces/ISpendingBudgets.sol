// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {Limits} from "./Types.sol";

/// @title Budgets: what an account lets others spend of its credits and tokens, as trees of allowances.
/// @notice A root belongs to its owner, who pays; each child divides its parent's allowance among further spenders. A
/// charge must fit every level up to the root, or it reverts naming the first level it doesn't fit.
interface ISpendingBudgets {
    /// @notice What is known of one budget.
    /// @param owner Who pays: the owner of the root.
    /// @param token ERC-20 that amounts are counted in.
    /// @param spent Charged over the lifetime, less what was given back.
    /// @param periodSpent Charged in `periodIndex`, given back or not.
    /// @param revoked True for this very level; a level above may be revoked as well.
    struct Budget {
        address owner;
        address token;
        uint256 parent;
        uint256 depth;
        bool revoked;
        Limits limits;
        uint256 spent;
        uint256 periodSpent;
        uint256 periodIndex;
    }

    event BudgetCreated(
        uint256 indexed budgetId, address indexed owner, uint256 indexed parent, address token, Limits limits
    );
    event BudgetSet(uint256 indexed budgetId, Limits limits);
    event ProvidersSet(uint256 indexed budgetId, address[] providers, bool listed);
    event BudgetRevoked(uint256 indexed budgetId, address by);
    event BudgetCharged(uint256 indexed budgetId, address indexed payee, uint256 value);
    event BudgetReleased(uint256 indexed budgetId, uint256 value);

    // `budgetId` names the level that refused; `given` is what was asked and `limit` what is left, or allowed.
    error SpendingBudgets_UnknownBudget(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_TooDeep(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_NotController(uint256 budgetId, address given, address limit);
    error SpendingBudgets_NotSpender(uint256 budgetId, address given, address limit);
    error SpendingBudgets_NotAuthorised(uint256 budgetId, address given, address limit);
    error SpendingBudgets_WrongPayer(uint256 budgetId, address given, address limit);
    error SpendingBudgets_WrongToken(uint256 budgetId, address given, address limit);
    error SpendingBudgets_NoPrice(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_Revoked(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_Expired(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_OverAction(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_OverPeriod(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_OverLifetime(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_ProviderNotListed(uint256 budgetId, address given, address limit);
    error SpendingBudgets_TooManyProviders(uint256 budgetId, uint256 given, uint256 limit);
    /// @notice A lifetime below what is spent and locked already.
    error SpendingBudgets_BelowSpent(uint256 budgetId, uint256 given, uint256 limit);
    error SpendingBudgets_ZeroSpender(uint256 budgetId, address given, address limit);

    /// @notice Creates a root budget owned by the caller.
    /// @dev An amount of `type(uint96).max` is as good as no cap. `perPeriod` means nothing where `period` is 0.
    /// @param token ERC-20 that amounts are counted in: only classes priced in it can be charged.
    /// @param providers Listed at once; only they count if `limits.listed`.
    function createBudget(address token, Limits calldata limits, address[] calldata providers)
        external
        returns (uint256 budgetId);

    /// @notice Creates a child. Spender of the parent, or owner of the tree.
    function createChild(uint256 parent, Limits calldata limits, address[] calldata providers)
        external
        returns (uint256 budgetId);

    /// @notice Replaces the limits of a budget, what is spent stays counted. Its controller: the owner of the tree, or the
    /// spender of the parent unless that is revoked.
    function setBudget(uint256 budgetId, Limits calldata limits) external;

    /// @notice Lists providers or takes them off the list. Its controller.
    function setProviders(uint256 budgetId, address[] calldata providers, bool listed) external;

    /// @notice Ends a budget, and all below it, at once and for good. Its controller, or its spender.
    function revoke(uint256 budgetId) external;

    /// @notice The calls above for an account that signed them; anyone may send them.
    /// @param nonce Any number the signer hasn't used.
    function createBudgetBySig(
        address owner,
        address token,
        Limits calldata limits,
        address[] calldata providers,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 budgetId);

    function createChildBySig(
        address controller,
        uint256 parent,
        Limits calldata limits,
        address[] calldata providers,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 budgetId);

    function setBudgetBySig(
        address controller,
        uint256 budgetId,
        Limits calldata limits,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    function setProvidersBySig(
        address controller,
        uint256 budgetId,
        address[] calldata providers,
        bool listed,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    function revokeBySig(
        address controller,
        uint256 budgetId,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Charges `units` of a class at its price, rounded up, to a budget and every level above it. Job market and
    /// sessions only.
    /// @param spender Who acts; must be the budget's spender.
    /// @param payer Whose credits are used; must own the tree.
    /// @return value What was charged.
    function charge(uint256 budgetId, address spender, address payer, address provider, uint256 classId, uint256 units)
        external
        returns (uint256 value);

    /// @notice Charges an amount of the budget's token. Exchange only.
    function chargeValue(uint256 budgetId, address spender, address payer, address payee, address token, uint256 value)
        external;

    /// @notice Gives back a part of a charge to the lifetime of every level. Job market and sessions only; never reverts for
    /// a budget that is revoked or expired, so that it can't hold up a settlement.
    /// @dev The caller answers for giving back no more of a charge than went unused, and that once: charges aren't kept.
    function release(uint256 budgetId, uint256 value) external;

    function budgetCount() external view returns (uint256);
    function budgetOf(uint256 budgetId) external view returns (Budget memory);
    function spenderOf(uint256 budgetId) external view returns (address);
    function ownerOf(uint256 budgetId) external view returns (address);
    function isListed(uint256 budgetId, address provider) external view returns (bool);

    /// @notice Most that could be charged to the budget now, over all its levels.
    function leftOf(uint256 budgetId) external view returns (uint256);
}
