// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {
    AccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IDelayedRoles} from "../interfaces/IDelayedRoles.sol";

/// @title DelayedRoles
/// @dev Trust model.
/// - The admin grants roles freely until it seals the set-up, and from then on only what it announced `ROLE_DELAY` before.
/// - Revoking is immediate: taking power away needs no warning. The admin itself changes by OpenZeppelin's delayed
///   hand-over.
abstract contract DelayedRoles is IDelayedRoles, AccessControlDefaultAdminRules {
    uint256 public constant MAX_ROLE_DELAY = 30 days;
    /// @dev An announcement nobody acted on lapses, so that it can't be used by surprise much later.
    uint256 public constant ROLE_WINDOW = 14 days;
    uint256 public immutable ROLE_DELAY;

    bool public rolesSealed;
    mapping(bytes32 role => mapping(address account => uint256)) public grantableAt;

    constructor(address admin, uint48 adminDelay, uint256 roleDelay) AccessControlDefaultAdminRules(adminDelay, admin) {
        _checkDelay(roleDelay);
        _checkDelay(adminDelay);
        ROLE_DELAY = roleDelay;
    }

    /// @inheritdoc IDelayedRoles
    function sealRoles() external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (rolesSealed) revert DelayedRoles_Sealed(0, 1, 0);
        rolesSealed = true;
        emit RolesSealed(ROLE_DELAY);
    }

    /// @inheritdoc IDelayedRoles
    function scheduleRole(bytes32 role, address account) external onlyRole(getRoleAdmin(role)) {
        uint256 dueAt = block.timestamp + ROLE_DELAY;
        grantableAt[role][account] = dueAt;
        emit RoleScheduled(role, account, dueAt);
    }

    /// @dev Refuses what wasn't announced, or not long enough ago, once the set-up is over.
    function grantRole(bytes32 role, address account) public override {
        if (rolesSealed) _useSchedule(role, account);
        super.grantRole(role, account);
    }

    /// @dev Within the bound of the construction: OpenZeppelin sets none.
    function changeDefaultAdminDelay(uint48 newDelay) public override {
        _checkDelay(newDelay);
        super.changeDefaultAdminDelay(newDelay);
    }

    function _checkDelay(uint256 delay) private pure {
        if (delay > MAX_ROLE_DELAY) revert DelayedRoles_DelayTooLong(0, delay, MAX_ROLE_DELAY);
    }

    /// @dev Undone with the whole call if the caller may not grant the role.
    function _useSchedule(bytes32 role, address account) private {
        uint256 dueAt = grantableAt[role][account];
        if (dueAt == 0) revert DelayedRoles_NotScheduled(role, 0, 1);
        if (block.timestamp < dueAt) revert DelayedRoles_TooEarly(role, block.timestamp, dueAt);
        if (block.timestamp > dueAt + ROLE_WINDOW) {
            revert DelayedRoles_Lapsed(role, block.timestamp, dueAt + ROLE_WINDOW);
        }
        delete grantableAt[role][account];
    }
}
