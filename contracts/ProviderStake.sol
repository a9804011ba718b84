// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {ClassTerms, Funding, System} from "./interfaces/Types.sol";

/// @title ProviderStake
/// @dev The money of the registry: what providers staked, what stands behind it, and what is owed to others. The
/// registry's balance is staked + unbonding + bonds + awards, so no call pays out what another account is owed.
/// Trust model.
/// - The market sets stake aside for jobs, slashes it by verdict and moves the bonds of challenges. The sessions slash, by
///   verdict, what stands behind nothing. Neither can take stake to itself: what they take is awarded to accounts, who
///   withdraw it.
/// - The reserve awards stake to holders of stake-funded classes that are wound down.
/// - Nobody else moves a provider's stake but the provider, who can't move what stands behind jobs and credits. By holding
///   its own stake-funded credits it can take free stake out without the delay, and keep it from verdicts about sessions:
///   no claim of others is on it before there is one.
/// - The stake token is foreign code: state is final before it is called, or what it delivered is measured.
abstract contract ProviderStake is IProviderRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    uint256 public constant MAX_UNBONDING_DELAY = 90 days;
    /// @dev Bounds the loops over a provider's classes.
    uint256 public constant MAX_BOUND_CLASSES = 16;
    /// @dev After expiry, as in the reserve: from then on nobody has a claim on what backs a class.
    uint256 public constant SWEEP_DELAY = 180 days;
    uint256 private constant MILLION = 1e6;
    IERC20 public immutable STAKE_TOKEN;
    uint256 public immutable UNBONDING_DELAY;
    uint256 public immutable CHALLENGE_BOND;
    IComputeCredits public immutable CREDITS;
    address public immutable RESERVE;
    address public immutable MARKET;
    address public immutable SESSIONS;

    /* STORAGE */

    /// @dev Two slots; the first is all that a staked job touches.
    struct Account {
        uint128 staked;
        uint128 reserved;
        uint128 unbonding;
        uint40 availableAt;
    }

    /// @dev One slot, copied from the terms of a class, which never change.
    struct BoundTerms {
        uint128 stakePerMillion;
        uint64 maxRate;
        uint40 expiry;
        uint8 decimals;
        bool stakeFunded;
        bool capacityBound;
    }

    mapping(address provider => Account) private _accounts;
    mapping(bytes32 jobId => uint256) private _bonds;
    mapping(address account => uint256) private _awards;
    mapping(address provider => uint64[]) internal _boundClasses;
    mapping(uint256 classId => BoundTerms) internal _boundTerms;
    /// @dev What a capacity-bound class draws on: `_poolOf` its watcher set and SKU.
    mapping(uint256 classId => bytes32) internal _pools;

    /* CONSTRUCTOR */

    constructor(System memory system, IERC20 stakeToken, uint256 unbondingDelay, uint256 challengeBond) {
        if (unbondingDelay > MAX_UNBONDING_DELAY) {
            revert ProviderRegistry_DelayTooLong(address(0), unbondingDelay, MAX_UNBONDING_DELAY);
        }
        STAKE_TOKEN = stakeToken;
        UNBONDING_DELAY = unbondingDelay;
        CHALLENGE_BOND = challengeBond;
        CREDITS = IComputeCredits(system.credits);
        RESERVE = system.reserve;
        MARKET = system.market;
        SESSIONS = system.sessions;
    }

    /* STAKE */

    /// @inheritdoc IProviderRegistry
    function stake(uint256 amount) external nonReentrant {
        _checkRegistered();
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        _receive(msg.sender, amount);
        Account storage account = _accounts[msg.sender];
        uint256 total = account.staked + amount;
        // A token whose supply passes 2**128 can't be staked in full, unbonding included.
        uint256 all = total + account.unbonding;
        if (all > type(uint128).max) revert ProviderRegistry_WrongPayment(msg.sender, all, type(uint128).max);
        account.staked = uint128(total);
        emit Staked(msg.sender, amount, total);
    }

    /// @inheritdoc IProviderRegistry
    function unstake(uint256 amount) external {
        Account storage account = _accounts[msg.sender];
        uint256 staked = account.staked;
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        if (amount > staked) revert ProviderRegistry_InsufficientStake(msg.sender, amount, staked);
        _checkStake(msg.sender, requiredStakeOf(msg.sender) + amount);
        // Safe casts: `amount` is at most `staked`, and both parts of the stake together fit; block times stay below 2**40.
        account.staked = uint128(staked - amount);
        account.unbonding += uint128(amount);
        account.availableAt = uint40(block.timestamp + UNBONDING_DELAY);
        emit Unstaked(msg.sender, amount, account.availableAt);
    }

    /// @inheritdoc IProviderRegistry
    function withdrawStake(address to) external nonReentrant returns (uint256 amount) {
        Account storage account = _accounts[msg.sender];
        amount = account.unbonding;
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        if (block.timestamp < account.availableAt) {
            revert ProviderRegistry_StillBonded(msg.sender, block.timestamp, account.availableAt);
        }
        account.unbonding = 0;
        emit StakeWithdrawn(msg.sender, to, amount);
        STAKE_TOKEN.safeTransfer(to, amount);
    }

    /// @inheritdoc IProviderRegistry
    function withdrawAward(address to) external nonReentrant returns (uint256 amount) {
        amount = _awards[msg.sender];
        if (amount == 0) revert ProviderRegistry_ZeroAmount(msg.sender, 0, 1);
        _awards[msg.sender] = 0;
        emit AwardWithdrawn(msg.sender, to, amount);
        STAKE_TOKEN.safeTransfer(to, amount);
    }

    /* JOBS */

    /// @inheritdoc IProviderRegistry
    function reserveStake(address provider, uint256 amount) external {
        _only(MARKET, provider);
        _checkStake(provider, requiredStakeOf(provider) + amount);
        uint256 total = _accounts[provider].reserved + amount;
        // Safe cast: not more than what is staked.
        _accounts[provider].reserved = uint128(total);
        emit StakeReserved(provider, amount, total);
    }

    /// @inheritdoc IProviderRegistry
    function freeStake(address provider, uint256 amount) external {
        _only(MARKET, provider);
        uint256 total = _accounts[provider].reserved - amount;
        // Safe cast: less than what was reserved.
        _accounts[provider].reserved = uint128(total);
        emit StakeFreed(provider, amount, total);
    }

    /// @inheritdoc IProviderRegistry
    function takeBond(bytes32 jobId, address challenger) external nonReentrant returns (uint256 amount) {
        _only(MARKET, address(0));
        amount = CHALLENGE_BOND;
        _bonds[jobId] += amount;
        emit BondTaken(jobId, challenger, amount);
        // Some tokens refuse to move nothing.
        if (amount != 0) _receive(challenger, amount);
    }

    /// @inheritdoc IProviderRegistry
    function releaseBond(bytes32 jobId, address to) external {
        _only(MARKET, address(0));
        uint256 amount = _bonds[jobId];
        delete _bonds[jobId];
        _awards[to] += amount;
        emit BondReleased(jobId, to, amount);
    }

    /// @inheritdoc IProviderRegistry
    function slash(bytes32 jobId, address provider, uint256 amount, address payer, address challenger)
        external
        returns (uint256 taken)
    {
        // A job's verdict takes what was set aside for the job, a session's what stands behind nothing.
        uint256 kept;
        if (msg.sender == SESSIONS) kept = requiredStakeOf(provider);
        else _only(MARKET, provider);
        taken = _take(provider, amount, kept);
        uint256 toPayer = taken / 2;
        uint256 toChallenger = taken - toPayer;
        _awards[payer] += toPayer;
        _awards[challenger] += toChallenger;
        emit Slashed(jobId, provider, taken, toPayer, toChallenger);
    }

    /* CLASSES */

    /// @inheritdoc IProviderRegistry
    function bindClass(address provider, uint256 classId) external {
        _only(address(CREDITS), provider);
        ClassTerms memory terms = CREDITS.classTerms(classId);
        _boundTerms[classId] = BoundTerms({
            stakePerMillion: terms.stakePerMillion,
            maxRate: terms.maxRate,
            expiry: terms.expiry,
            decimals: terms.decimals,
            stakeFunded: terms.funding == Funding.Stake,
            capacityBound: terms.capacityBound
        });
        if (terms.capacityBound) _pools[classId] = _poolOf(terms.watcherSet, terms.sku);
        // Safe cast: classes are numbered from 1.
        _place(provider, uint64(classId));
        emit ClassBound(provider, classId);
    }

    /// @inheritdoc IProviderRegistry
    function compensate(uint256 classId, address provider, address holder, uint256 units)
        external
        returns (uint256 amount)
    {
        _only(RESERVE, provider);
        BoundTerms memory terms = _boundTerms[classId];
        if (terms.stakeFunded && !_isOver(terms)) {
            uint256 claim = units * terms.stakePerMillion / _scale(terms);
            amount = _take(provider, _covered(provider, claim, _required(provider, classId, units)), 0);
            _awards[holder] += amount;
        }
        emit Compensated(classId, provider, holder, amount);
    }

    /* VIEWS */

    /// @inheritdoc IProviderRegistry
    function stakeOf(address provider) external view returns (uint256) {
        return _accounts[provider].staked;
    }

    /// @inheritdoc IProviderRegistry
    function unbondingOf(address provider) external view returns (uint256 amount, uint256 availableAt) {
        Account storage account = _accounts[provider];
        return (account.unbonding, account.availableAt);
    }

    /// @inheritdoc IProviderRegistry
    function reservedOf(address provider) external view returns (uint256) {
        return _accounts[provider].reserved;
    }

    /// @inheritdoc IProviderRegistry
    function requiredStakeOf(address provider) public view returns (uint256) {
        return _required(provider, 0, 0);
    }

    /// @inheritdoc IProviderRegistry
    function freeStakeOf(address provider) external view returns (uint256) {
        Account storage account = _accounts[provider];
        return Math.saturatingSub(account.staked, requiredStakeOf(provider)) + account.unbonding;
    }

    /// @inheritdoc IProviderRegistry
    function bondOf(bytes32 jobId) external view returns (uint256) {
        return _bonds[jobId];
    }

    /// @inheritdoc IProviderRegistry
    function awardOf(address account) external view returns (uint256) {
        return _awards[account];
    }

    /// @inheritdoc IProviderRegistry
    function boundClassesOf(address provider) external view returns (uint256[] memory classIds) {
        uint64[] storage list = _boundClasses[provider];
        classIds = new uint256[](list.length);
        for (uint256 i; i < classIds.length; ++i) {
            classIds[i] = list[i];
        }
    }

    /* INTERNAL */

    function _checkRegistered() internal view virtual;

    function _only(address allowed, address provider) internal view {
        if (msg.sender != allowed) revert ProviderRegistry_NotAuthorised(provider, msg.sender, allowed);
    }

    function _checkStake(address provider, uint256 required) internal view {
        uint256 staked = _accounts[provider].staked;
        if (required > staked) revert ProviderRegistry_StakeExceeded(provider, required, staked);
    }

    function _poolOf(uint256 watcherSet, bytes32 sku) internal pure returns (bytes32) {
        return keccak256(abi.encode(watcherSet, sku));
    }

    /// @dev Whether nobody has a claim from the class any more.
    function _isOver(BoundTerms memory terms) internal view returns (bool) {
        return terms.expiry != 0 && block.timestamp >= terms.expiry + SWEEP_DELAY;
    }

    /// @dev Lists a class in the place of one that can't count again: nobody has a claim from it, or it has no units left
    /// and gets no new ones. So a full list has room again some day, unless all of its classes never expire: those keep
    /// their places for as long as anybody holds a unit.
    function _place(address provider, uint64 classId) private {
        uint64[] storage list = _boundClasses[provider];
        uint256 count = list.length;
        for (uint256 i; i < count; ++i) {
            uint64 old = list[i];
            if (!_isOver(_boundTerms[old]) && !(CREDITS.isWoundDown(old) && CREDITS.totalSupply(old) == 0)) continue;
            delete _boundTerms[old];
            delete _pools[old];
            list[i] = classId;
            return;
        }
        if (count == MAX_BOUND_CLASSES) {
            revert ProviderRegistry_TooManyClasses(provider, count + 1, MAX_BOUND_CLASSES);
        }
        list.push(classId);
    }

    /// @dev Takes tokens of `from` and makes sure that exactly `amount` came.
    function _receive(address from, uint256 amount) private {
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(from, address(this), amount);
        uint256 received = STAKE_TOKEN.balanceOf(address(this)) - before;
        if (received != amount) revert ProviderRegistry_WrongPayment(from, received, amount);
    }

    /// @dev Takes stake, as much as there is, for the caller to award. May leave less than is reserved: then nothing more
    /// can be reserved or unstaked until enough is freed.
    /// @param kept Of what isn't unbonding, how much stays.
    function _take(address provider, uint256 amount, uint256 kept) private returns (uint256 taken) {
        Account storage account = _accounts[provider];
        (uint256 staked, uint256 unbonding) = (account.staked, account.unbonding);
        uint256 fromStaked = Math.min(amount, Math.saturatingSub(staked, kept));
        taken = Math.min(amount, fromStaked + unbonding);
        // Safe casts: both parts only shrink.
        account.staked = uint128(staked - fromStaked);
        if (taken != fromStaked) account.unbonding = uint128(unbonding - (taken - fromStaked));
    }

    /// @dev Part of a claim that the stake covers if all that is required were claimed.
    function _covered(address provider, uint256 claim, uint256 required) private view returns (uint256) {
        uint256 available = uint256(_accounts[provider].staked) + _accounts[provider].unbonding;
        return available < required ? Math.mulDiv(claim, available, required) : claim;
    }

    /// @dev Stake that must stay, counting `burned` units of `burnedClass` as if they existed still.
    function _required(address provider, uint256 burnedClass, uint256 burned) private view returns (uint256 amount) {
        amount = _accounts[provider].reserved;
        uint64[] storage list = _boundClasses[provider];
        uint256 count = list.length;
        for (uint256 i; i < count; ++i) {
            uint256 classId = list[i];
            BoundTerms memory terms = _boundTerms[classId];
            if (!terms.stakeFunded || _isOver(terms)) continue;
            uint256 units = CREDITS.totalSupply(classId);
            if (classId == burnedClass) units += burned;
            // Can't overflow: a supply is below 2**96.
            amount += Math.ceilDiv(units * terms.stakePerMillion, _scale(terms));
        }
    }

    /// @dev Base units of a million credits.
    function _scale(BoundTerms memory terms) private pure returns (uint256) {
        return MILLION * 10 ** uint256(terms.decimals);
    }
}
