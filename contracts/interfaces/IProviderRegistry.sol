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
    event StakeReserved(address indexed provider, uint256 amount, uint256 total);
    event StakeFreed(address indexed provider, uint256 amount, uint256 total);
    /// @param jobId Of a job, or of a session.
    /// @param amount Stake taken in all: `toPayer` and `toChallenger` together.
    event Slashed(
        bytes32 indexed jobId, address indexed provider, uint256 amount, uint256 toPayer, uint256 toChallenger
    );
    /// @notice A holder of a stake-funded class took its share of the issuer's stake.
    event Compensated(uint256 indexed classId, address indexed provider, address indexed holder, uint256 amount);
    event BondTaken(bytes32 indexed jobId, address indexed challenger, uint256 amount);
    event BondReleased(bytes32 indexed jobId, address indexed to, uint256 amount);
    event AwardWithdrawn(address indexed account, address indexed to, uint256 amount);
    event CapacityAttested(
        address indexed provider, bytes32 indexed sku, uint256 indexed watcherSet, uint256 count, uint256 until
    );
    event ClassBound(address indexed provider, uint256 indexed classId);
    /// @notice Links a provider to its ERC-8004 identity.
    event AgentLinked(address indexed provider, address indexed identityRegistry, uint256 indexed agentId);

    error ProviderRegistry_AlreadyRegistered(address provider, address given, address limit);
    error ProviderRegistry_NotRegistered(address provider, address given, address limit);
    error ProviderRegistry_ZeroOracle(address provider, address given, address limit);
    error ProviderRegistry_UriTooLong(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_TooManySkus(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_ZeroAmount(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_InsufficientStake(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_WrongPayment(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_StillBonded(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_NotAuthorised(address provider, address given, address limit);
    /// @notice The stake that isn't unbonding is too small for what stands behind it; `limit` is that stake.
    error ProviderRegistry_StakeExceeded(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_CapacityExceeded(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_TooManyClasses(address provider, uint256 given, uint256 limit);
    /// @notice The observation isn't newer than the last one, is too old, or is from the future.
    error ProviderRegistry_StaleAttestation(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_HorizonTooFar(address provider, uint256 given, uint256 limit);
    error ProviderRegistry_NotAgentOwner(address provider, address given, address limit);
    error ProviderRegistry_DelayTooLong(address provider, uint256 given, uint256 limit);

    /// @notice Registers the caller.
    /// @param oracle Key that signs quotes and receipts; hot, moves no funds.
    /// @param region ASCII, zero if none is claimed.
    /// @param uri Where the provider's registration file is served.
    /// @param skus SKUs served, each keccak256 of its name.
    function register(address oracle, bytes12 region, string calldata uri, bytes32[] calldata skus) external;

    /// @notice Replaces the caller's oracle key, region and URI. A new key counts at once, for running jobs too. Another
    /// region forgets the caller's SKUs: they were served from the old one.
    function update(address oracle, bytes12 region, string calldata uri) external;

    /// @notice Adds or removes SKUs of the caller.
    function setSkus(bytes32[] calldata skus, bool served) external;

    /// @notice Adds to the caller's stake.
    function stake(uint256 amount) external;

    /// @notice Moves stake into unbonding. Asking again adds the amount and restarts the delay. What stands behind running
    /// jobs and stake-funded credits can't be moved; what unbonds can still be slashed.
    function unstake(uint256 amount) external;

    /// @notice Pays out what has been unbonding for `UNBONDING_DELAY`.
    function withdrawStake(address to) external returns (uint256 amount);

    /// @notice Pays out bonds, rewards and compensations due to the caller.
    function withdrawAward(address to) external returns (uint256 amount);

    /// @notice Links the caller to an ERC-8004 agent it owns; a zero registry ends the link. Only checked here: whoever reads
    /// `agentOf` should ask the identity registry, one it knows, who owns the agent now.
    function linkAgent(address identityRegistry, uint256 agentId) external;

    /// @notice Records what a threshold of watchers says a provider can deliver. Anyone may send it.
    /// @param count GPUs, cores or slots of the SKU that work side by side.
    /// @param until Unix seconds until which they do, at most `MAX_HORIZON` ahead.
    /// @param observedAt Unix seconds of the observation; newer than the last and at most `MAX_OBSERVATION_AGE` old.
    /// @param signatures Over `Capacity(provider,sku,watcherSet,count,until,observedAt)`, sorted by ascending signer.
    function attestCapacity(
        address provider,
        bytes32 sku,
        uint256 watcherSet,
        uint32 count,
        uint40 until,
        uint40 observedAt,
        bytes[] calldata signatures
    ) external;

    /// @notice Counts a new class of `provider` towards its stake or capacity. At most `MAX_BOUND_CLASSES`; a class that
    /// can't count again makes room for another. Credits only, once it knows the terms of the class.
    function bindClass(address provider, uint256 classId) external;

    /// @notice Reverts if the units of a class just minted exceed its issuer's stake or attested capacity.
    function checkIssuance(address provider, uint256 classId) external view;

    /// @notice Sets stake aside for a job. Job market only.
    function reserveStake(address provider, uint256 amount) external;

    /// @notice Ends what `reserveStake` did. Job market only.
    function freeStake(address provider, uint256 amount) external;

    /// @notice Takes the bond of a challenge from `challenger`, who approved this contract. Job market only.
    function takeBond(bytes32 jobId, address challenger) external returns (uint256 amount);

    /// @notice Awards the bond of a challenge to `to`. Job market only.
    function releaseBond(bytes32 jobId, address to) external;

    /// @notice Takes at most `amount` of the provider's stake, unbonding stake last, and awards half to the payer and the
    /// rest to the challenger. Job market and sessions only, for a verdict; the sessions get free stake alone.
    /// @param jobId Of a job, or of a session.
    function slash(bytes32 jobId, address provider, uint256 amount, address payer, address challenger)
        external
        returns (uint256 taken);

    /// @notice Awards a holder the stake behind `units` of a stake-funded class that was wound down: in full, or by the
    /// share that the stake covers. Nothing from `SWEEP_DELAY` after expiry on. Reserve only, after the units were burned.
    function compensate(uint256 classId, address provider, address holder, uint256 units)
        external
        returns (uint256 amount);

    function oracleNowServing(address provider) external view returns (address);
    function regionOf(address provider) external view returns (bytes12);
    function uriOf(address provider) external view returns (string memory);
    function serves(address provider, bytes32 sku) external view returns (bool);
    function stakeOf(address provider) external view returns (uint256);
    function unbondingOf(address provider) external view returns (uint256 amount, uint256 availableAt);

    /// @notice Stake set aside for jobs.
    function reservedOf(address provider) external view returns (uint256);

    /// @notice Stake that must stay: set aside for jobs, or behind stake-funded credits.
    function requiredStakeOf(address provider) external view returns (uint256);

    /// @notice Stake that stands behind nothing, unbonding stake included: what a verdict about a session can take.
    function freeStakeOf(address provider) external view returns (uint256);

    /// @notice Bond that was taken for a job and not released.
    function bondOf(bytes32 jobId) external view returns (uint256);
    function awardOf(address account) external view returns (uint256);
    function capacityOf(address provider, bytes32 sku, uint256 watcherSet)
        external
        view
        returns (uint256 count, uint256 until, uint256 observedAt);
    function boundClassesOf(address provider) external view returns (uint256[] memory);
    function agentOf(address provider) external view returns (address identityRegistry, uint256 agentId);

    /// @notice Digest of `Capacity(provider,sku,watcherSet,count,until,observedAt)` that watchers sign.
    function capacityDigest(
        address provider,
        bytes32 sku,
        uint256 watcherSet,
        uint32 count,
        uint40 until,
        uint40 observedAt
    ) external view returns (bytes32);

    /// @notice What a class asks of a provider, as one word: the hash of SKU and region, zero for any region. Both kinds are
    /// hashed, so that nobody can claim a SKU of another region as if it were a SKU's name. Cut to the length of an address,
    /// so that it shares a slot with all else that opening a job asks of a class.
    function requirementOf(bytes32 sku, bytes12 region) external pure returns (bytes20);

    /// @notice Oracle key of `provider` if it meets the requirement, otherwise zero.
    function trustedOracleIfItQualifies(address provider, bytes20 requirement) external view returns (address);
}
