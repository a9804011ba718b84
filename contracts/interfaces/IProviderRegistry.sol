// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Providers: who they are, which key their oracle signs with, what they serve, and their stake.
interface IProviderRegistry {
    event ProviderRegistered(address indexed provider, address indexed oracle, bytes12 region, string uri);
    event ProviderUpdated(address indexed provider, address indexed oracle, bytes12 region, string uri);
    event SkuSet(address indexed provider, bytes32 indexed sku, bool served);
    event Staked(address indexed provider, uint256 amount, uint256 total);
    event Unstaked(address indexed provider, uint256 amount, uint256 availableAt);
    event StakeWithdrawn(address indexed provider, address indexed to, uint256 amount);

    error ProviderRegistry_AlreadyRegistered(address provider, address given, address limit);
    error ProviderRegistry_NotRegistered(address provider, address given, address limit);
    error ProviderRegistry_ZeroOracle(address provider, address given, address limit);
    error ProviderRegistry_UriTooLong(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_TooManySkus(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_ZeroAmount(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_InsufficientStake(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_WrongPayment(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_StillBonded(address provider, uint256 given, uint256 limit);

    /// @notice Registers the caller.
    /// @param oracle Key that signs quotes and receipts; hot, moves no funds.
    /// @param region ASCII, zero if none is claimed.
    /// @param uri Where the provider's registration file is served.
    /// @param skus SKUs served, each keccak256 of its name.
    function register(address oracle, bytes12 region, string calldata uri, bytes32[] calldata skus) external;

    /// @notice Replaces the caller's oracle key, region and URI. A new key counts at once, for running jobs too.
    function update(address oracle, bytes12 region, string calldata uri) external;

    /// @notice Adds or removes SKUs of the caller.
    function setSkus(bytes32[] calldata skus, bool served) external;

    /// @notice Adds to the caller's stake.
    function stake(uint256 amount) external;

    /// @notice Moves stake into unbonding. Asking again adds the amount and restarts the delay.
    function unstake(uint256 amount) external;

    /// @notice Pays out what has been unbonding for `UNBONDING_DELAY`.
    function withdrawStake(address to) external returns (uint256 amount);

    function oracleOf(address provider) external view returns (address);
    function regionOf(address provider) external view returns (bytes12);
    function uriOf(address provider) external view returns (string memory);
    function serves(address provider, bytes32 sku) external view returns (bool);
    function stakeOf(address provider) external view returns (uint256);
    function unbondingOf(address provider) external view returns (uint256 amount, uint256 availableAt);

    /// @notice Oracle key of `provider` if it serves the SKU in the region (zero: any), otherwise zero.
    function oracleFor(address provider, bytes32 sku, bytes12 region) external view returns (address);
}
