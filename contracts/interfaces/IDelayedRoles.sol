// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

/// @title Roles that take effect only after everyone could see them coming.
interface IDelayedRoles {
    event RolesSealed(uint256 delay);
    event RoleScheduled(bytes32 indexed role, address indexed account, uint256 grantableAt);

    error DelayedRoles_NotScheduled(bytes32 role, uint256 given, uint256 limit);
    error DelayedRoles_TooEarly(bytes32 role, uint256 given, uint256 limit);
    error DelayedRoles_Lapsed(bytes32 role, uint256 given, uint256 limit);
    error DelayedRoles_DelayTooLong(bytes32 role, uint256 given, uint256 limit);
    error DelayedRoles_Sealed(bytes32 role, uint256 given, uint256 limit);

    /// @notice Ends the set-up: from now on a grant must be scheduled `ROLE_DELAY` before. Admin only, once.
    function sealRoles() external;

    /// @notice Announces that `account` will be granted `role`. Admin only; revoking needs no announcement.
    function scheduleRole(bytes32 role, address account) external;

    function rolesSealed() external view returns (bool);
    function grantableAt(bytes32 role, address account) external view returns (uint256);
}
