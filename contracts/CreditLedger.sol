// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ERC1155Utils} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Utils.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IEligibility} from "./interfaces/IEligibility.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {ReviewTerms, System, Usage} from "./interfaces/Types.sol";
import {ClassFlags} from "./libraries/ClassFlags.sol";
import {ClassPolicy} from "./libraries/ClassPolicy.sol";

/// @title CreditLedger
/// @dev ERC-1155 balances under the policy of their class. OpenZeppelin's ERC1155 keeps the interface, approvals and
/// receiver checks; balances are kept here, because what a holder has and how much of it is locked share one slot, and
/// so do a class's supply and policy: opening a job then writes one slot, settling it two.
/// Trust model.
/// - The job market locks what a payer agreed to and burns what was used of it. A lock stays its payer's balance.
/// - The sessions hold what was deposited with them as a balance of their own, and can only give it back or burn it.
/// - Eligibility contracts are asked by static calls, and receivers called when everything is written.
abstract contract CreditLedger is ERC1155, IComputeCredits {
    /* CONSTANTS */

    // Layout of a holding.
    uint256 private constant LOCKED = 96;
    uint256 private constant EXPIRY = 192;
    uint256 private constant FREE = 1 << 232;
    uint256 private constant POLICY = type(uint256).max << EXPIRY;

    address public immutable MARKET;
    address public immutable SESSIONS;
    IProviderRegistry public immutable REGISTRY;

    /* STORAGE */

    /// @dev Each paragraph is one slot. A `requirement` is a hash: it is never zero in a class that exists.
    struct Class {
        // Whatever makes or burns credits, with what settlement asks in the same transaction.
        uint96 supply;
        uint96 maxSupply;
        uint64 maxRate;
        // Whatever brings credits into use.
        uint8 flags;
        uint8 minAssurance;
        uint40 expiry;
        uint40 pausedUntil;
        bytes20 requirement;
        // Whatever only the issuer does.
        address issuer;
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
        // For display only.
        bytes32 sku;
        bytes12 region;
        string name;
        mapping(address provider => bool) listed;
        mapping(address account => Holding) holdings;
        mapping(address account => uint256) deposited;
    }

    /// @dev From the low end: 96 bits of units held, 96 bits of those of them that are locked, and a copy of the class's
    /// policy if it lets everyone send to everyone: 40 bits of expiry and FREE. That never changes, so it can travel with
    /// the units, and sending them needs no look at the class.
    struct Holding {
        uint256 word;
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
    function lockUnits(address from, uint256 classId, uint256 units) external returns (uint256 policy) {
        _only(MARKET, classId);
        Class storage class_ = _classes[classId];
        policy = _checkOpen(classId, class_);
        Holding storage holding = class_.holdings[from];
        uint256 word = holding.word;
        _checkAvailable(from, classId, word, units);
        // Safe: what is locked stays at most what is held, a uint96.
        unchecked {
            holding.word = word + (units << LOCKED);
        }
    }

    /// @inheritdoc IComputeCredits
    function releaseUnits(uint256 classId, Usage[] calldata usages)
        external
        returns (uint256 burned, uint256 supplyBefore)
    {
        _only(MARKET, classId);
        Class storage class_ = _classes[classId];
        for (uint256 i; i < usages.length; ++i) {
            (address payer, uint256 ended, uint256 used) = _usageAt(usages, i);
            Holding storage holding = class_.holdings[payer];
            uint256 word = holding.word;
            uint256 locked = _locked(word);
            if (ended > locked) _raiseInsufficient(payer, locked, ended, classId);
            // What was used never exceeds what this very job had locked.
            if (used > ended) _raiseInsufficient(payer, ended, used, classId);
            // Safe: by the lines above, and because what is locked is at most what is held.
            unchecked {
                holding.word = word - (ended << LOCKED) - used;
                burned += used;
            }
            if (used != 0) emit TransferSingle(msg.sender, payer, address(0), classId, used);
        }
        if (burned != 0) supplyBefore = _lowerSupply(class_, burned);
    }

    /* SESSIONS */

    /// @inheritdoc IComputeCredits
    function deposit(address from, uint256 classId, uint256 units) external {
        _only(SESSIONS, classId);
        Class storage class_ = _classes[classId];
        _checkOpen(classId, class_);
        Holding storage holding = class_.holdings[from];
        _move(holding, holding.word, class_.holdings[SESSIONS], from, classId, units);
        if (_isCapped(class_)) class_.deposited[from] += units;
        emit TransferSingle(msg.sender, from, SESSIONS, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function refund(address to, uint256 classId, uint256 units, uint256 deposited) external {
        _only(SESSIONS, classId);
        Class storage class_ = _classes[classId];
        if (_isCapped(class_)) class_.deposited[to] -= deposited;
        if (units == 0) return;
        Holding storage holding = class_.holdings[SESSIONS];
        _move(holding, holding.word, class_.holdings[to], SESSIONS, classId, units);
        emit TransferSingle(msg.sender, SESSIONS, to, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function spend(uint256 classId, uint256 units) external returns (uint256 supplyBefore) {
        _only(SESSIONS, classId);
        return _burnUnits(SESSIONS, classId, units);
    }

    /* ERC-1155 */

    function balanceOf(address account, uint256 classId) public view override(ERC1155, IERC1155) returns (uint256) {
        return uint96(_classes[classId].holdings[account].word);
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
        return _locked(_classes[classId].holdings[account].word);
    }

    /// @inheritdoc IComputeCredits
    function availableOf(address account, uint256 classId) external view returns (uint256) {
        return _available(_classes[classId].holdings[account].word);
    }

    /// @inheritdoc IComputeCredits
    function depositedOf(address account, uint256 classId) external view returns (uint256) {
        return _classes[classId].deposited[account];
    }

    /* INTERNAL: CHANGES */

    function _transfer(address from, address to, uint256 classId, uint256 units) private {
        Class storage class_ = _classes[classId];
        Holding storage holding = class_.holdings[from];
        uint256 word = holding.word;
        if (word & FREE != 0) {
            _checkExpiry(classId, uint40(word >> EXPIRY));
            _move(holding, word, class_.holdings[to], from, classId, units);
            return;
        }
        uint256 flags = class_.flags;
        if (flags & ClassFlags.TRANSFERABLE == 0) revert ComputeCredits_AccountBound(classId, to, from);
        _checkExpiry(classId, class_.expiry);
        _move(holding, word, class_.holdings[to], from, classId, units);
        // Sending to oneself changes no balance, so no cap can be what stops it.
        if (flags & ClassFlags.RESTRICTED != 0 && from != to) _checkHolder(to, classId, class_);
    }

    function _mintUnits(address to, uint256 classId, uint256 units) internal {
        Class storage class_ = _classes[classId];
        uint256 flags = class_.flags;
        _checkOpen(classId, class_);
        if (flags & ClassFlags.CLOSED != 0) revert ComputeCredits_Closed(classId, 1, 0);
        _checkReceiver(to);
        (uint256 supply, uint256 max) = (class_.supply + units, class_.maxSupply);
        if (supply > max) revert ComputeCredits_SupplyCap(classId, supply, max);
        // Safe: no supply is over the uint96 that limits it, and no holding over the supply.
        unchecked {
            class_.supply = uint96(supply);
            class_.holdings[to].word = (class_.holdings[to].word | _carried(class_)) + units;
        }
        if (flags & ClassFlags.RESTRICTED != 0) _checkHolder(to, classId, class_);
        emit TransferSingle(msg.sender, address(0), to, classId, units);
        if (flags & ClassFlags.BOUND != 0) REGISTRY.checkIssuance(class_.issuer, classId);
        ERC1155Utils.checkOnERC1155Received(msg.sender, address(0), to, classId, units, "");
    }

    function _burnUnits(address from, uint256 classId, uint256 units) internal returns (uint256 supplyBefore) {
        Class storage class_ = _classes[classId];
        Holding storage holding = class_.holdings[from];
        _debit(holding, holding.word, from, classId, units);
        emit TransferSingle(msg.sender, from, address(0), classId, units);
        return _lowerSupply(class_, units);
    }

    /// @dev Only for units just taken off a holding.
    function _lowerSupply(Class storage class_, uint256 units) private returns (uint256 supplyBefore) {
        supplyBefore = class_.supply;
        // Safe: the supply is the sum of all holdings.
        unchecked {
            class_.supply = uint96(supplyBefore - units);
        }
    }

    function _move(
        Holding storage source,
        uint256 word,
        Holding storage target,
        address from,
        uint256 classId,
        uint256 units
    ) private {
        _debit(source, word, from, classId, units);
        // Safe: the units just left another holding, and all of them together are at most a uint96. The policy is that of
        // one class, so one side's copy is the other's or none.
        unchecked {
            target.word = (target.word | (word & POLICY)) + units;
        }
    }

    /// @param word What is in `holding`.
    function _debit(Holding storage holding, uint256 word, address from, uint256 classId, uint256 units) private {
        _checkAvailable(from, classId, word, units);
        // Safe: the line above.
        unchecked {
            holding.word = word - units;
        }
    }

    /* INTERNAL: CHECKS */

    /// @dev Whatever brings units of a class into use needs it to exist, and to be neither expired nor paused.
    /// @return policy What it asks of a job, from the slot that is read anyway.
    function _checkOpen(uint256 classId, Class storage class_) private view returns (uint256 policy) {
        (bytes20 requirement, uint256 expiry, uint256 until) = (class_.requirement, class_.expiry, class_.pausedUntil);
        policy = ClassPolicy.pack(class_.flags, class_.minAssurance, requirement);
        if (requirement == 0) revert ComputeCredits_UnknownClass(classId, classId, classCount);
        _checkExpiry(classId, expiry);
        if (block.timestamp < until) revert ComputeCredits_Paused(classId, block.timestamp, until);
    }

    function _checkExpiry(uint256 classId, uint256 expiry) private view {
        if (_isPast(expiry)) revert ComputeCredits_Expired(classId, block.timestamp, expiry);
    }

    function _checkExists(uint256 classId) internal view {
        if (_classes[classId].requirement == 0) revert ComputeCredits_UnknownClass(classId, classId, classCount);
    }

    function _checkAvailable(address from, uint256 classId, uint256 word, uint256 units) private pure {
        uint256 available = _available(word);
        if (available < units) _raiseInsufficient(from, available, units, classId);
    }

    /// @dev Units reach the market and the sessions by their own functions only: others would be stuck there.
    function _checkReceiver(address to) private view {
        if (to == address(0) || to == MARKET || to == SESSIONS) revert ERC1155InvalidReceiver(to);
    }

    /// @dev For an account that was just credited.
    function _checkHolder(address to, uint256 classId, Class storage class_) private view {
        (address eligibility, uint256 max) = (class_.eligibility, class_.maxPerHolder);
        if (max != 0) {
            uint256 held = uint96(class_.holdings[to].word) + class_.deposited[to];
            if (held > max) revert ComputeCredits_HolderCap(classId, held, max);
        }
        if (eligibility != address(0) && !IEligibility(eligibility).isEligible(to, classId)) {
            revert ComputeCredits_NotEligible(classId, to, eligibility);
        }
    }

    function _isCapped(Class storage class_) private view returns (bool) {
        return class_.flags & ClassFlags.RESTRICTED != 0 && class_.maxPerHolder != 0;
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

    /// @dev What holdings of the class carry of it.
    function _carried(Class storage class_) private view returns (uint256) {
        bool free = class_.flags & (ClassFlags.TRANSFERABLE | ClassFlags.RESTRICTED) == ClassFlags.TRANSFERABLE;
        return free ? uint256(class_.expiry) << EXPIRY | FREE : 0;
    }

    function _locked(uint256 word) private pure returns (uint256) {
        return uint96(word >> LOCKED);
    }

    function _available(uint256 word) private pure returns (uint256) {
        // Safe: what is locked is at most what is held.
        unchecked {
            return uint96(word) - _locked(word);
        }
    }

    /// @dev `usages[i]`, for an `i` below the length, at 340 gas less. Upper bits that don't belong are cut off instead of
    /// refused; only the market calls this, and it sets none.
    function _usageAt(Usage[] calldata usages, uint256 i)
        private
        pure
        returns (address payer, uint256 ended, uint256 used)
    {
        assembly ("memory-safe") {
            let row := add(usages.offset, mul(i, 96))
            payer := shr(96, shl(96, calldataload(row)))
            ended := shr(128, shl(128, calldataload(add(row, 32))))
            used := shr(128, shl(128, calldataload(add(row, 64))))
        }
    }

    function _raiseInsufficient(address account, uint256 balance, uint256 needed, uint256 classId) private pure {
        revert ERC1155InsufficientBalance(account, balance, needed, classId);
    }
}
