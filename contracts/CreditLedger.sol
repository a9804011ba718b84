// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ERC1155Utils} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Utils.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IEligibility} from "./interfaces/IEligibility.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {ReviewTerms, System, Usage} from "./interfaces/Types.sol";

/// @title CreditLedger
/// @dev ERC-1155 balances under the policy of their class. OpenZeppelin's ERC1155 keeps the interface, approvals and
/// receiver checks; balances are kept here, because what a holder has and how much of it is locked share one slot, and
/// so do a class's supply and policy: opening a job then writes one slot, settling it two.
/// - The job market locks what a payer agreed to and burns what was used of it. A lock stays its payer's balance.
/// - The sessions hold what was deposited with them as a balance of their own, and can only give it back or burn it.
/// - Eligibility contracts are asked by static calls, and receivers called when everything is written.
abstract contract CreditLedger is ERC1155, IComputeCredits {
    /* CONSTANTS */

    uint8 internal constant TRANSFERABLE = 1;
    uint8 internal constant CLOSED = 2;
    /// @dev An account's holding is capped, or not everyone may hold the class.
    uint8 internal constant RESTRICTED = 4;
    uint8 internal constant LISTED = 8;
    uint8 internal constant WINDOWED = 16;
    /// @dev Stake of the provider is set aside for each job.
    uint8 internal constant STAKED = 32;
    /// @dev Issuance is held against the issuer's stake or capacity.
    uint8 internal constant BOUND = 64;
    uint8 internal constant FEED = 128;

    address public immutable MARKET;
    address public immutable SESSIONS;
    IProviderRegistry public immutable REGISTRY;

    /* STORAGE */

    /// @dev Each paragraph is one slot. `maxRate` is never zero in a class that exists.
    struct Class {
        // Whatever uses credits.
        uint96 supply;
        uint40 expiry;
        uint40 pausedUntil;
        uint64 maxRate;
        uint8 minAssurance;
        uint8 flags;
        // Whatever makes credits.
        address issuer;
        uint96 maxSupply;
        // Whoever receives credits of a class that is RESTRICTED.
        address eligibility;
        uint96 maxPerHolder;
        // Sales and budgets.
        address paymentToken;
        uint96 pricePerMillion;
        // Sales of a class with FEED. The last one is for display only.
        address priceFeed;
        uint32 maxPriceAge;
        uint16 maxDeviationBps;
        bool capacityBound;
        // Watched, disputable and staked jobs.
        ReviewTerms review;
        // Providers.
        bytes32 requirement;
        // For display only.
        bytes32 sku;
        bytes12 region;
        string name;
        mapping(address provider => bool) listed;
        mapping(address account => Holding) holdings;
        mapping(address account => uint256) deposited;
    }

    /// @dev One slot. `locked` is part of `units`.
    struct Holding {
        uint128 units;
        uint128 locked;
    }

    uint256 public classCount;
    mapping(uint256 classId => Class) internal _classes;

    constructor(System memory system) ERC1155("") {
        MARKET = system.market;
        SESSIONS = system.sessions;
        REGISTRY = IProviderRegistry(system.registry);
    }

    /* JOBS */

    /// @inheritdoc IComputeCredits
    function lock(address from, uint256 classId, uint256 units) external {
        _only(MARKET, classId);
        _checkOpen(classId);
        Holding storage holding = _classes[classId].holdings[from];
        (uint256 held, uint256 locked) = (holding.units, holding.locked);
        // Safe: what is locked is at most what is held.
        unchecked {
            if (held - locked < units) revert ERC1155InsufficientBalance(from, held - locked, units, classId);
            holding.locked = uint128(locked + units);
        }
    }

    /// @inheritdoc IComputeCredits
    function settle(uint256 classId, Usage[] calldata usages) external returns (uint256 burned, uint256 supplyBefore) {
        _only(MARKET, classId);
        for (uint256 i; i < usages.length; ++i) {
            burned += _unlock(classId, usages[i]);
        }
        if (burned != 0) supplyBefore = _lowerSupply(classId, burned);
    }

    /* SESSIONS */

    /// @inheritdoc IComputeCredits
    function deposit(address from, uint256 classId, uint256 units) external {
        _only(SESSIONS, classId);
        _checkOpen(classId);
        _debit(from, classId, units);
        _credit(SESSIONS, classId, units);
        if (_isCapped(classId)) _classes[classId].deposited[from] += units;
        emit TransferSingle(msg.sender, from, SESSIONS, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function refund(address to, uint256 classId, uint256 units, uint256 deposited) external {
        _only(SESSIONS, classId);
        _debit(SESSIONS, classId, units);
        _credit(to, classId, units);
        if (_isCapped(classId)) _classes[classId].deposited[to] -= deposited;
        emit TransferSingle(msg.sender, SESSIONS, to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function spend(uint256 classId, uint256 units) external returns (uint256 supplyBefore) {
        _only(SESSIONS, classId);
        return _burnUnits(SESSIONS, classId, units);
    }

    /* ERC-1155 */

    function balanceOf(address account, uint256 classId) public view override(ERC1155, IERC1155) returns (uint256) {
        return _classes[classId].holdings[account].units;
    }

    /// @dev As OpenZeppelin's, without its arrays of one.
    function safeTransferFrom(address from, address to, uint256 id, uint256 value, bytes memory data)
        public
        override(ERC1155, IERC1155)
    {
        _checkAuthorized(msg.sender, from);
        if (from == address(0)) revert ERC1155InvalidSender(address(0));
        _checkReceiver(to);
        _transfer(from, to, id, value);
        emit TransferSingle(msg.sender, from, to, id, value);
        ERC1155Utils.checkOnERC1155Received(msg.sender, from, to, id, value, data);
    }

    /// @dev What OpenZeppelin's batch transfer calls; minting and burning go through the functions below.
    function _update(address from, address to, uint256[] memory ids, uint256[] memory values) internal override {
        if (ids.length != values.length) revert ERC1155InvalidArrayLength(ids.length, values.length);
        _checkReceiver(to);
        for (uint256 i; i < ids.length; ++i) {
            _transfer(from, to, ids[i], values[i]);
        }
        if (ids.length == 1) emit TransferSingle(msg.sender, from, to, ids[0], values[0]);
        else emit TransferBatch(msg.sender, from, to, ids, values);
    }

    /* VIEWS */

    /// @inheritdoc IComputeCredits
    function lockedOf(address account, uint256 classId) external view returns (uint256) {
        return _classes[classId].holdings[account].locked;
    }

    /// @inheritdoc IComputeCredits
    function availableOf(address account, uint256 classId) external view returns (uint256) {
        Holding storage holding = _classes[classId].holdings[account];
        return holding.units - holding.locked;
    }

    /// @inheritdoc IComputeCredits
    function depositedOf(address account, uint256 classId) external view returns (uint256) {
        return _classes[classId].deposited[account];
    }

    /* INTERNAL: CHANGES */

    function _transfer(address from, address to, uint256 classId, uint256 units) private {
        Class storage class_ = _classes[classId];
        if (class_.flags & TRANSFERABLE == 0) revert ComputeCredits_AccountBound(classId, to, from);
        _checkExpiry(classId, class_.expiry);
        _debit(from, classId, units);
        _credit(to, classId, units);
        // Sending to oneself changes no balance, so no cap can be what stops it.
        if (class_.flags & RESTRICTED != 0 && from != to) _checkHolder(to, classId);
    }

    function _mintUnits(address to, uint256 classId, uint256 units) internal {
        _checkOpen(classId);
        _checkReceiver(to);
        Class storage class_ = _classes[classId];
        uint256 flags = class_.flags;
        if (flags & CLOSED != 0) revert ComputeCredits_Closed(classId, 1, 0);
        (address issuer, uint256 max) = (class_.issuer, class_.maxSupply);
        uint256 supply = class_.supply + units;
        if (supply > max) revert ComputeCredits_SupplyCap(classId, supply, max);
        // Safe: the line above.
        class_.supply = uint96(supply);
        _credit(to, classId, units);
        if (flags & RESTRICTED != 0) _checkHolder(to, classId);
        emit TransferSingle(msg.sender, address(0), to, classId, units);
        if (flags & BOUND != 0) REGISTRY.checkIssuance(issuer, classId);
        ERC1155Utils.checkOnERC1155Received(msg.sender, address(0), to, classId, units, "");
    }

    function _burnUnits(address from, uint256 classId, uint256 units) internal returns (uint256 supplyBefore) {
        _debit(from, classId, units);
        emit TransferSingle(msg.sender, from, address(0), classId, units);
        return _lowerSupply(classId, units);
    }

    /// @dev Ends one lock. What was used never exceeds what this very job had locked.
    function _unlock(uint256 classId, Usage calldata usage) private returns (uint256 used) {
        (address payer, uint256 ended) = (usage.payer, usage.locked);
        used = usage.used;
        Holding storage holding = _classes[classId].holdings[payer];
        (uint256 held, uint256 locked) = (holding.units, holding.locked);
        if (ended > locked) revert ERC1155InsufficientBalance(payer, locked, ended, classId);
        if (used > ended) revert ERC1155InsufficientBalance(payer, ended, used, classId);
        // Safe: `used` is at most `ended`, that at most `locked`, and that at most `held`.
        unchecked {
            (holding.units, holding.locked) = (uint128(held - used), uint128(locked - ended));
        }
        if (used != 0) emit TransferSingle(msg.sender, payer, address(0), classId, used);
    }

    /// @dev Only for units just taken off a holding.
    function _lowerSupply(uint256 classId, uint256 units) private returns (uint256 supplyBefore) {
        Class storage class_ = _classes[classId];
        supplyBefore = class_.supply;
        // Safe: the supply is the sum of all holdings.
        unchecked {
            class_.supply = uint96(supplyBefore - units);
        }
    }

    function _debit(address from, uint256 classId, uint256 units) private {
        Holding storage holding = _classes[classId].holdings[from];
        // Safe: what is locked is at most what is held, and both fit a uint128.
        unchecked {
            (uint256 held, uint256 available) = (holding.units, holding.units - holding.locked);
            if (available < units) revert ERC1155InsufficientBalance(from, available, units, classId);
            holding.units = uint128(held - units);
        }
    }

    /// @dev Only for units that are part of the supply and of no holding.
    function _credit(address to, uint256 classId, uint256 units) private {
        Holding storage holding = _classes[classId].holdings[to];
        // Safe: a holding is at most the supply, a uint96.
        unchecked {
            holding.units = uint128(holding.units + units);
        }
    }

    /* INTERNAL: CHECKS */

    /// @dev Whatever brings units of a class into use needs it to exist, and to be neither expired nor paused.
    function _checkOpen(uint256 classId) private view {
        Class storage class_ = _classes[classId];
        _checkExists(classId);
        _checkExpiry(classId, class_.expiry);
        uint256 until = class_.pausedUntil;
        if (block.timestamp < until) revert ComputeCredits_Paused(classId, block.timestamp, until);
    }

    function _checkExpiry(uint256 classId, uint256 expiry) private view {
        if (_isPast(expiry)) revert ComputeCredits_Expired(classId, block.timestamp, expiry);
    }

    function _checkExists(uint256 classId) internal view {
        if (_classes[classId].maxRate == 0) revert ComputeCredits_UnknownClass(classId, classId, classCount);
    }

    /// @dev Units reach the market and the sessions by their own functions only: others would be stuck there.
    function _checkReceiver(address to) private view {
        if (to == address(0) || to == MARKET || to == SESSIONS) revert ERC1155InvalidReceiver(to);
    }

    /// @dev For an account that was just credited.
    function _checkHolder(address to, uint256 classId) private view {
        Class storage class_ = _classes[classId];
        (address eligibility, uint256 max) = (class_.eligibility, class_.maxPerHolder);
        if (max != 0) {
            uint256 held = class_.holdings[to].units + class_.deposited[to];
            if (held > max) revert ComputeCredits_HolderCap(classId, held, max);
        }
        if (eligibility != address(0) && !IEligibility(eligibility).isEligible(to, classId)) {
            revert ComputeCredits_NotEligible(classId, to, eligibility);
        }
    }

    function _isCapped(uint256 classId) private view returns (bool) {
        return _has(classId, RESTRICTED) && _classes[classId].maxPerHolder != 0;
    }

    function _has(uint256 classId, uint256 flag) internal view returns (bool) {
        return _classes[classId].flags & flag != 0;
    }

    function _only(address allowed, uint256 classId) internal view {
        if (msg.sender != allowed) revert ComputeCredits_NotAuthorised(classId, msg.sender, allowed);
    }

    function _isPast(uint256 expiry) internal view returns (bool) {
        return expiry != 0 && block.timestamp > expiry;
    }
}
