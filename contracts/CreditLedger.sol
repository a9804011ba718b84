// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ERC1155Utils} from "@openzeppelin/contracts/token/ERC1155/utils/ERC1155Utils.sol";
import {IERC1155} from "@openzeppelin/contracts/token/ERC1155/IERC1155.sol";
import {IComputeCredits} from "./interfaces/IComputeCredits.sol";
import {IEligibility} from "./interfaces/IEligibility.sol";
import {Release} from "./interfaces/Types.sol";

/// @title CreditLedger
/// @dev ERC-1155 balances under the transfer policy of their class. OpenZeppelin's ERC1155 keeps the interface,
/// approvals and receiver checks; balances are kept here, because a class's supply, the part of it locked in jobs and
/// its policy share one slot: opening or settling a job then writes two slots instead of four.
abstract contract CreditLedger is ERC1155, IComputeCredits {
    /* STORAGE */

    /// @dev One slot. `supply` includes `locked`, which is the balance of the job market.
    struct ClassState {
        uint96 supply;
        uint96 locked;
        uint40 expiry;
        bool transferable;
        bool closed;
        bool restricted;
    }

    /// @dev Read only when `restricted`.
    struct Restriction {
        address eligibility;
        uint128 maxPerHolder;
    }

    address public immutable MARKET;

    uint256 public classCount;
    mapping(uint256 classId => ClassState) internal _classes;
    mapping(uint256 classId => Restriction) internal _restrictions;
    mapping(uint256 classId => mapping(address account => uint256)) private _balances;

    constructor(address market) ERC1155("") {
        MARKET = market;
    }

    /* JOBS */

    /// @inheritdoc IComputeCredits
    function lock(address from, uint256 classId, uint256 units) external {
        _only(MARKET, classId);
        ClassState storage class_ = _classes[classId];
        (uint256 expiry, uint256 locked) = (class_.expiry, class_.locked);
        if (_isPast(expiry)) revert ComputeCredits_Expired(classId, block.timestamp, expiry);
        _debit(from, classId, units);
        // Safe: what is locked was in circulation, so it is at most the supply, a uint96.
        unchecked {
            class_.locked = uint96(locked + units);
        }
        emit TransferSingle(msg.sender, from, MARKET, classId, units);
    }

    /// @inheritdoc IComputeCredits
    function settle(uint256 classId, uint256 burned, Release[] calldata releases)
        external
        returns (uint256 supplyBefore)
    {
        _only(MARKET, classId);
        ClassState storage class_ = _classes[classId];
        uint256 locked = class_.locked;
        supplyBefore = class_.supply;
        uint256 left = burned;
        for (uint256 i; i < releases.length; ++i) {
            (address to, uint256 units) = (releases[i].to, releases[i].units);
            left += units;
            _balances[classId][to] += units;
            emit TransferSingle(msg.sender, MARKET, to, classId, units);
        }
        if (burned != 0) emit TransferSingle(msg.sender, MARKET, address(0), classId, burned);
        if (left > locked) revert ERC1155InsufficientBalance(MARKET, locked, left, classId);
        // Safe: `burned` is at most `left`, `left` at most `locked`, `locked` at most `supplyBefore`.
        unchecked {
            class_.supply = uint96(supplyBefore - burned);
            class_.locked = uint96(locked - left);
        }
    }

    /* ERC-1155 */

    function balanceOf(address account, uint256 classId) public view override(ERC1155, IERC1155) returns (uint256) {
        return account == MARKET ? _classes[classId].locked : _balances[classId][account];
    }

    /// @dev As OpenZeppelin's, without its arrays of one.
    function safeTransferFrom(address from, address to, uint256 id, uint256 value, bytes memory data)
        public
        override(ERC1155, IERC1155)
    {
        if (from != msg.sender && !isApprovedForAll(from, msg.sender)) {
            revert ERC1155MissingApprovalForAll(msg.sender, from);
        }
        if (from == address(0)) revert ERC1155InvalidSender(address(0));
        if (to == address(0)) revert ERC1155InvalidReceiver(address(0));
        _transfer(from, to, id, value);
        emit TransferSingle(msg.sender, from, to, id, value);
        ERC1155Utils.checkOnERC1155Received(msg.sender, from, to, id, value, data);
    }

    /// @dev What OpenZeppelin's batch transfer calls; minting and burning go through the functions below.
    function _update(address from, address to, uint256[] memory ids, uint256[] memory values) internal override {
        if (ids.length != values.length) revert ERC1155InvalidArrayLength(ids.length, values.length);
        for (uint256 i; i < ids.length; ++i) {
            _transfer(from, to, ids[i], values[i]);
        }
        if (ids.length == 1) emit TransferSingle(msg.sender, from, to, ids[0], values[0]);
        else emit TransferBatch(msg.sender, from, to, ids, values);
    }

    /* INTERNAL */

    /// @dev Only `lock` gives to the market, so that its balance is always what its jobs hold.
    function _transfer(address from, address to, uint256 classId, uint256 units) private {
        if (to == MARKET) revert ERC1155InvalidReceiver(to);
        ClassState storage class_ = _classes[classId];
        if (!class_.transferable) revert ComputeCredits_AccountBound(classId, to, from);
        uint256 expiry = class_.expiry;
        if (_isPast(expiry)) revert ComputeCredits_Expired(classId, block.timestamp, expiry);
        // Sending to oneself changes no balance, so no cap can be what stops it.
        if (class_.restricted && from != to) _checkHolder(to, classId, units);
        _debit(from, classId, units);
        _balances[classId][to] += units;
    }

    function _mintUnits(address to, uint256 classId, uint256 units) internal {
        ClassState storage class_ = _classes[classId];
        if (class_.closed) revert ComputeCredits_Closed(classId, 1, 0);
        uint256 expiry = class_.expiry;
        if (_isPast(expiry)) revert ComputeCredits_Expired(classId, block.timestamp, expiry);
        uint256 supply = class_.supply + units;
        uint256 max = _maxSupply(classId);
        if (supply > max) revert ComputeCredits_SupplyCap(classId, supply, max);
        if (class_.restricted) _checkHolder(to, classId, units);
        if (to == address(0) || to == MARKET) revert ERC1155InvalidReceiver(to);
        // Safe: the maximum supply of every class fits a uint96.
        class_.supply = uint96(supply);
        _balances[classId][to] += units;
        emit TransferSingle(msg.sender, address(0), to, classId, units);
        ERC1155Utils.checkOnERC1155Received(msg.sender, address(0), to, classId, units, "");
    }

    function _burnUnits(address from, uint256 classId, uint256 units) internal returns (uint256 supplyBefore) {
        ClassState storage class_ = _classes[classId];
        supplyBefore = class_.supply;
        _debit(from, classId, units);
        // Safe: the units just debited were part of the supply.
        unchecked {
            class_.supply = uint96(supplyBefore - units);
        }
        emit TransferSingle(msg.sender, from, address(0), classId, units);
    }

    function _debit(address from, uint256 classId, uint256 units) private {
        uint256 balance = _balances[classId][from];
        if (balance < units) revert ERC1155InsufficientBalance(from, balance, units, classId);
        unchecked {
            _balances[classId][from] = balance - units;
        }
    }

    function _checkHolder(address to, uint256 classId, uint256 units) private view {
        Restriction memory r = _restrictions[classId];
        uint256 held = _balances[classId][to] + units;
        if (r.maxPerHolder != 0 && held > r.maxPerHolder) {
            revert ComputeCredits_HolderCap(classId, held, r.maxPerHolder);
        }
        if (r.eligibility != address(0) && !IEligibility(r.eligibility).isEligible(to, classId)) {
            revert ComputeCredits_NotEligible(classId, to, r.eligibility);
        }
    }

    function _only(address allowed, uint256 classId) internal view {
        if (msg.sender != allowed) revert ComputeCredits_NotAuthorised(classId, msg.sender, allowed);
    }

    function _isPast(uint256 expiry) internal view returns (bool) {
        return expiry != 0 && block.timestamp > expiry;
    }

    function _maxSupply(uint256 classId) internal view virtual returns (uint256);
}
