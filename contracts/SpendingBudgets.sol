// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {BudgetTree} from "./BudgetTree.sol";
import {UnorderedNonces} from "./base/UnorderedNonces.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {ICreditReserve} from "./interfaces/ICreditReserve.sol";
import {ISpendingBudgets} from "./interfaces/ISpendingBudgets.sol";
import {Limits, SaleTerms, System} from "./interfaces/Types.sol";

/// @title SpendingBudgets
/// @dev Trust model.
/// - Holds no value and moves none. It says yes or no to the market, the sessions and the exchange, which are immutable
///   and trusted to charge before they spend, and to give back no more of a charge than went unused, once.
/// - Only an account itself makes budgets it pays for, and ends any of them at once. There is no role.
/// - A spender can spend, within every level's limits, on any provider these admit, itself or a friend included: limit the
///   providers, or trust the spender with the whole amount. It can divide its budget, and controls the parts: a child's
///   limits may add up to more than the parent's, for every charge has to fit the parent too.
/// - A child can use up its parent's period by opening and cancelling, since periods count gross: a period cap of the
///   child's own bounds that.
/// - Replacing a spender leaves the children it made in force; revoking a budget stops everything below it.
/// - What is charged is the price the class's issuer named: what a sale costs, not what the owner paid elsewhere. The
///   owner's holdings bound what is used all the same. A feed that fails stops charges of its class, and nothing else.
/// - Two periods' caps can be spent on either side of the moment that divides them.
/// - Nothing called can change state (the price of a class, a signer's ERC-1271 check), so there is no way back in.
contract SpendingBudgets is BudgetTree, UnorderedNonces, EIP712 {
    /* CONSTANTS */

    bytes private constant LIMITS_TYPE =
        "Limits(address spender,uint96 perAction,uint96 perPeriod,uint96 lifetime,uint32 period,uint40 expiry,bool listed)";
    bytes32 public constant LIMITS_TYPEHASH = keccak256(LIMITS_TYPE);
    bytes32 public constant CREATE_BUDGET_TYPEHASH = keccak256(
        abi.encodePacked(
            "CreateBudget(address owner,address token,Limits limits,address[] providers,uint256 nonce,uint256 deadline)",
            LIMITS_TYPE
        )
    );
    bytes32 public constant CREATE_CHILD_TYPEHASH = keccak256(
        abi.encodePacked(
            "CreateChild(address controller,uint256 parent,Limits limits,address[] providers,uint256 nonce,uint256 deadline)",
            LIMITS_TYPE
        )
    );
    bytes32 public constant SET_BUDGET_TYPEHASH = keccak256(
        abi.encodePacked(
            "SetBudget(address controller,uint256 budgetId,Limits limits,uint256 nonce,uint256 deadline)", LIMITS_TYPE
        )
    );
    bytes32 public constant SET_PROVIDERS_TYPEHASH = keccak256(
        "SetProviders(address controller,uint256 budgetId,address[] providers,bool listed,uint256 nonce,uint256 deadline)"
    );
    bytes32 public constant REVOKE_TYPEHASH =
        keccak256("Revoke(address controller,uint256 budgetId,uint256 nonce,uint256 deadline)");
    uint256 private constant PRICE_CREDITS = 1_000_000;

    IComputeCredits public immutable CREDITS;
    ICreditReserve public immutable RESERVE;
    address public immutable MARKET;
    address public immutable SESSIONS;
    address public immutable EXCHANGE;

    /* CONSTRUCTOR */

    constructor(System memory system) EIP712("Scrip SpendingBudgets", "1") {
        CREDITS = IComputeCredits(system.credits);
        RESERVE = ICreditReserve(system.reserve);
        MARKET = system.market;
        SESSIONS = system.sessions;
        EXCHANGE = system.exchange;
    }

    /* CHARGES */

    /// @inheritdoc ISpendingBudgets
    function charge(uint256 budgetId, address spender, address payer, address provider, uint256 classId, uint256 units)
        external
        returns (uint256 value)
    {
        _checkWorkplace(budgetId);
        SaleTerms memory terms = CREDITS.saleTerms(classId);
        if (terms.pricePerMillion == 0) revert SpendingBudgets_NoPrice(budgetId, 0, 1);
        _checkParties(budgetId, spender, payer, terms.paymentToken);
        value = terms.priceFeed == address(0) ? _cost(terms, units) : RESERVE.costOf(classId, units);
        _chargeUp(budgetId, provider, value);
    }

    /// @inheritdoc ISpendingBudgets
    function chargeValue(uint256 budgetId, address spender, address payer, address payee, address token, uint256 value)
        external
    {
        if (msg.sender != EXCHANGE) revert SpendingBudgets_NotAuthorised(budgetId, msg.sender, EXCHANGE);
        _checkParties(budgetId, spender, payer, token);
        _chargeUp(budgetId, payee, value);
    }

    /// @inheritdoc ISpendingBudgets
    function release(uint256 budgetId, uint256 value) external {
        _checkWorkplace(budgetId);
        _releaseUp(budgetId, value);
    }

    /* CHANGES */

    /// @inheritdoc ISpendingBudgets
    function createBudget(address token, Limits calldata limits, address[] calldata providers)
        external
        returns (uint256 budgetId)
    {
        return _createRoot(msg.sender, token, limits, providers);
    }

    /// @inheritdoc ISpendingBudgets
    function createChild(uint256 parent, Limits calldata limits, address[] calldata providers)
        external
        returns (uint256 budgetId)
    {
        return _createChild(msg.sender, parent, limits, providers);
    }

    /// @inheritdoc ISpendingBudgets
    function setBudget(uint256 budgetId, Limits calldata limits) external {
        _set(msg.sender, budgetId, limits);
    }

    /// @inheritdoc ISpendingBudgets
    function setProviders(uint256 budgetId, address[] calldata providers, bool listed) external {
        _setProviders(msg.sender, budgetId, providers, listed);
    }

    /// @inheritdoc ISpendingBudgets
    function revoke(uint256 budgetId) external {
        _revoke(msg.sender, budgetId);
    }

    /* SIGNED CHANGES */

    /// @inheritdoc ISpendingBudgets
    function createBudgetBySig(
        address owner,
        address token,
        Limits calldata limits,
        address[] calldata providers,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 budgetId) {
        bytes32 structHash = keccak256(
            abi.encode(CREATE_BUDGET_TYPEHASH, owner, token, _hashLimits(limits), _hashList(providers), nonce, deadline)
        );
        _useSignature(owner, nonce, deadline, _hashTypedDataV4(structHash), signature);
        return _createRoot(owner, token, limits, providers);
    }

    /// @inheritdoc ISpendingBudgets
    function createChildBySig(
        address controller,
        uint256 parent,
        Limits calldata limits,
        address[] calldata providers,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external returns (uint256 budgetId) {
        bytes32 structHash = keccak256(
            abi.encode(
                CREATE_CHILD_TYPEHASH, controller, parent, _hashLimits(limits), _hashList(providers), nonce, deadline
            )
        );
        _useSignature(controller, nonce, deadline, _hashTypedDataV4(structHash), signature);
        return _createChild(controller, parent, limits, providers);
    }

    /// @inheritdoc ISpendingBudgets
    function setBudgetBySig(
        address controller,
        uint256 budgetId,
        Limits calldata limits,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(SET_BUDGET_TYPEHASH, controller, budgetId, _hashLimits(limits), nonce, deadline)
        );
        _useSignature(controller, nonce, deadline, _hashTypedDataV4(structHash), signature);
        _set(controller, budgetId, limits);
    }

    /// @inheritdoc ISpendingBudgets
    function setProvidersBySig(
        address controller,
        uint256 budgetId,
        address[] calldata providers,
        bool listed,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(
            abi.encode(SET_PROVIDERS_TYPEHASH, controller, budgetId, _hashList(providers), listed, nonce, deadline)
        );
        _useSignature(controller, nonce, deadline, _hashTypedDataV4(structHash), signature);
        _setProviders(controller, budgetId, providers, listed);
    }

    /// @inheritdoc ISpendingBudgets
    function revokeBySig(
        address controller,
        uint256 budgetId,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        bytes32 structHash = keccak256(abi.encode(REVOKE_TYPEHASH, controller, budgetId, nonce, deadline));
        _useSignature(controller, nonce, deadline, _hashTypedDataV4(structHash), signature);
        _revoke(controller, budgetId);
    }

    /* PRIVATE */

    function _checkWorkplace(uint256 budgetId) private view {
        if (msg.sender == MARKET || msg.sender == SESSIONS) return;
        revert SpendingBudgets_NotAuthorised(budgetId, msg.sender, MARKET);
    }

    /// @dev The reserve's rule for a fixed price, worked out here to spare a call to it.
    function _cost(SaleTerms memory terms, uint256 units) private pure returns (uint256) {
        return Math.ceilDiv(units * terms.pricePerMillion, 10 ** uint256(terms.decimals) * PRICE_CREDITS);
    }

    function _hashLimits(Limits calldata limits) private pure returns (bytes32) {
        return keccak256(abi.encode(LIMITS_TYPEHASH, limits));
    }

    function _hashList(address[] calldata accounts) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(accounts));
    }
}
