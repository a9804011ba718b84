// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";

/// @title ProviderRegistry
/// @dev Trust model.
/// - Registration is open and claims are the provider's own: a region or SKU here is a statement, not a proof.
/// - Only the provider changes its record or moves its stake. There is no role and no owner.
contract ProviderRegistry is IProviderRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    uint256 public constant MAX_SKUS_PER_CALL = 32;
    uint256 public constant MAX_URI_BYTES = 256;
    IERC20 public immutable STAKE_TOKEN;
    uint256 public immutable UNBONDING_DELAY;

    /* STORAGE */

    /// @dev One slot, read by every settlement.
    struct Provider {
        address oracle;
        bytes12 region;
    }

    /// @dev Two slots.
    struct Bond {
        uint128 staked;
        uint128 unbonding;
        uint40 availableAt;
    }

    mapping(address provider => Provider) private _providers;
    mapping(address provider => Bond) private _bonds;
    mapping(address provider => string) private _uris;
    mapping(address provider => mapping(bytes32 sku => bool)) private _serves;

    /* CONSTRUCTOR */

    constructor(IERC20 stakeToken, uint256 unbondingDelay) {
        STAKE_TOKEN = stakeToken;
        UNBONDING_DELAY = unbondingDelay;
    }

    /* RECORD */

    /// @inheritdoc IProviderRegistry
    function register(address oracle, bytes12 region, string calldata uri, bytes32[] calldata skus) external {
        address current = _providers[msg.sender].oracle;
        if (current != address(0)) revert ProviderRegistry_AlreadyRegistered(msg.sender, oracle, current);
        _setRecord(oracle, region, uri);
        emit ProviderRegistered(msg.sender, oracle, region, uri);
        _setSkus(skus, true);
    }

    /// @inheritdoc IProviderRegistry
    function update(address oracle, bytes12 region, string calldata uri) external {
        _checkRegistered();
        _setRecord(oracle, region, uri);
        emit ProviderUpdated(msg.sender, oracle, region, uri);
    }

    /// @inheritdoc IProviderRegistry
    function setSkus(bytes32[] calldata skus, bool served) external {
        _checkRegistered();
        _setSkus(skus, served);
    }

    /* STAKE */

    /// @inheritdoc IProviderRegistry
    function stake(uint256 amount) external nonReentrant {
        _checkRegistered();
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = STAKE_TOKEN.balanceOf(address(this)) - before;
        if (received != amount) revert ProviderRegistry_WrongPayment(msg.sender, received, amount);
        Bond storage bond = _bonds[msg.sender];
        uint256 total = bond.staked + amount;
        // A token whose supply passes 2**128 can't be staked in full.
        if (total > type(uint128).max) revert ProviderRegistry_WrongPayment(msg.sender, total, type(uint128).max);
        bond.staked = uint128(total);
        emit Staked(msg.sender, amount, total);
    }

    /// @inheritdoc IProviderRegistry
    function unstake(uint256 amount) external {
        Bond storage bond = _bonds[msg.sender];
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        if (amount > bond.staked) revert ProviderRegistry_InsufficientStake(msg.sender, amount, bond.staked);
        // Safe casts: `amount` is at most `bond.staked`; block times stay below 2**40.
        bond.staked -= uint128(amount);
        bond.unbonding += uint128(amount);
        bond.availableAt = uint40(block.timestamp + UNBONDING_DELAY);
        emit Unstaked(msg.sender, amount, bond.availableAt);
    }

    /// @inheritdoc IProviderRegistry
    function withdrawStake(address to) external nonReentrant returns (uint256 amount) {
        Bond storage bond = _bonds[msg.sender];
        amount = bond.unbonding;
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        if (block.timestamp < bond.availableAt) {
            revert ProviderRegistry_StillBonded(msg.sender, block.timestamp, bond.availableAt);
        }
        bond.unbonding = 0;
        emit StakeWithdrawn(msg.sender, to, amount);
        STAKE_TOKEN.safeTransfer(to, amount);
    }

    /* VIEWS */

    /// @inheritdoc IProviderRegistry
    function oracleOf(address provider) external view returns (address) {
        return _providers[provider].oracle;
    }

    /// @inheritdoc IProviderRegistry
    function regionOf(address provider) external view returns (bytes12) {
        return _providers[provider].region;
    }

    /// @inheritdoc IProviderRegistry
    function uriOf(address provider) external view returns (string memory) {
        return _uris[provider];
    }

    /// @inheritdoc IProviderRegistry
    function serves(address provider, bytes32 sku) external view returns (bool) {
        return _serves[provider][sku];
    }

    /// @inheritdoc IProviderRegistry
    function stakeOf(address provider) external view returns (uint256) {
        return _bonds[provider].staked;
    }

    /// @inheritdoc IProviderRegistry
    function unbondingOf(address provider) external view returns (uint256 amount, uint256 availableAt) {
        Bond storage bond = _bonds[provider];
        return (bond.unbonding, bond.availableAt);
    }

    /// @inheritdoc IProviderRegistry
    function oracleFor(address provider, bytes32 sku, bytes12 region) external view returns (address) {
        Provider memory p = _providers[provider];
        if (!_serves[provider][sku] || (region != 0 && region != p.region)) return address(0);
        return p.oracle;
    }

    /* INTERNAL */

    function _setRecord(address oracle, bytes12 region, string calldata uri) private {
        if (oracle == address(0)) revert ProviderRegistry_ZeroOracle(msg.sender, oracle, msg.sender);
        if (bytes(uri).length > MAX_URI_BYTES) {
            revert ProviderRegistry_UriTooLong(msg.sender, bytes(uri).length, MAX_URI_BYTES);
        }
        _providers[msg.sender] = Provider(oracle, region);
        _uris[msg.sender] = uri;
    }

    function _setSkus(bytes32[] calldata skus, bool served) private {
        if (skus.length > MAX_SKUS_PER_CALL) {
            revert ProviderRegistry_TooManySkus(msg.sender, skus.length, MAX_SKUS_PER_CALL);
        }
        for (uint256 i; i < skus.length; ++i) {
            _serves[msg.sender][skus[i]] = served;
            emit SkuSet(msg.sender, skus[i], served);
        }
    }

    function _checkRegistered() private view {
        if (_providers[msg.sender].oracle == address(0)) {
            revert ProviderRegistry_NotRegistered(msg.sender, msg.sender, address(0));
        }
    }
}
