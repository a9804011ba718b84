// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {
    IAccessControlDefaultAdminRules
} from "@openzeppelin/contracts/access/extensions/IAccessControlDefaultAdminRules.sol";
import {IDelayedRoles} from "contracts/interfaces/IDelayedRoles.sol";
import {TestHelpers} from "./support/TestHelpers.sol";

/// @dev Roles of the verifier, which are those of every contract with roles.
contract DelayedRolesTest is TestHelpers {
    uint256 private constant START = 1_800_000_000;
    uint256 private constant MAX_DELAY = 30 days;
    uint256 private constant WINDOW = 14 days;
    uint256 private constant ROLE_DELAY = 2 days;
    uint48 private constant ADMIN_DELAY = 1 days;
    bytes32 private constant ADMIN = 0x00;
    bytes32 private constant ROLE = keccak256("WATCHER_ADMIN_ROLE");

    address private admin = makeAddr("admin");
    address private other = makeAddr("other");
    IDelayedRoles private roles;
    IAccessControlDefaultAdminRules private access;

    function setUp() public {
        vm.warp(START);
        _deploy(ADMIN_DELAY, ROLE_DELAY);
    }

    /* CONSTRUCTION */

    function testFuzz_RevertWhen_RoleDelayTooLong(uint256 delay) public {
        delay = bound(delay, MAX_DELAY + 1, type(uint256).max);
        _expectTooLong(delay);
        _create(ADMIN_DELAY, delay);
    }

    function testFuzz_RevertWhen_AdminDelayTooLong(uint48 delay) public {
        delay = uint48(bound(delay, MAX_DELAY + 1, type(uint48).max));
        _expectTooLong(delay);
        _create(delay, ROLE_DELAY);
    }

    function testFuzz_Construction(uint48 adminDelay, uint256 roleDelay) public {
        adminDelay = uint48(bound(adminDelay, 0, MAX_DELAY));
        roleDelay = bound(roleDelay, 0, MAX_DELAY);
        _deploy(adminDelay, roleDelay);
        assertEq(access.defaultAdmin(), admin, "admin");
        assertEq(access.defaultAdminDelay(), adminDelay, "admin delay");
        assertFalse(roles.rolesSealed(), "set-up isn't over");
        vm.startPrank(admin);
        roles.scheduleRole(ROLE, other);
        assertEq(roles.grantableAt(ROLE, other), START + roleDelay, "role delay");
    }

    /* REVERTS */

    function testFuzz_RevertWhen_CallerIsNotAdmin(address caller, bytes32 role, address account) public {
        vm.assume(caller != admin);
        bytes memory reason =
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, ADMIN);
        vm.startPrank(caller);
        vm.expectRevert(reason);
        roles.sealRoles();
        vm.expectRevert(reason);
        roles.scheduleRole(role, account);
    }

    /// @dev An announcement doesn't let others make the grant.
    function testFuzz_RevertWhen_GrantIsAnothers(address caller) public {
        vm.assume(caller != admin);
        _sealAndSchedule();
        vm.warp(START + ROLE_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, ADMIN));
        vm.prank(caller);
        access.grantRole(ROLE, other);
        assertEq(roles.grantableAt(ROLE, other), START + ROLE_DELAY, "the announcement stands");
    }

    function test_RevertWhen_SealedTwice() public {
        vm.startPrank(admin);
        roles.sealRoles();
        _expect(IDelayedRoles.DelayedRoles_Sealed.selector, ADMIN, 1, 0);
        roles.sealRoles();
    }

    function testFuzz_RevertWhen_NotScheduled(bytes32 role, address account) public {
        vm.assume(role != ROLE || account != other);
        _sealAndSchedule();
        vm.warp(START + ROLE_DELAY);
        _expect(IDelayedRoles.DelayedRoles_NotScheduled.selector, role, 0, 1);
        _grant(role, account);
    }

    function testFuzz_RevertWhen_TooEarly(uint256 early) public {
        _sealAndSchedule();
        early = bound(early, START, START + ROLE_DELAY - 1);
        vm.warp(early);
        _expect(IDelayedRoles.DelayedRoles_TooEarly.selector, ROLE, early, START + ROLE_DELAY);
        _grant(ROLE, other);
    }

    function testFuzz_RevertWhen_AnnouncementLapsed(uint256 late) public {
        _sealAndSchedule();
        uint256 lapsesAt = START + ROLE_DELAY + WINDOW;
        late = bound(late, lapsesAt + 1, type(uint64).max);
        vm.warp(late);
        _expect(IDelayedRoles.DelayedRoles_Lapsed.selector, ROLE, late, lapsesAt);
        _grant(ROLE, other);
    }

    /// @dev One announcement, one grant.
    function test_RevertWhen_GrantedAgainAfterRevoking() public {
        _sealAndSchedule();
        vm.warp(START + ROLE_DELAY);
        _grant(ROLE, other);
        vm.prank(admin);
        access.revokeRole(ROLE, other);
        _expect(IDelayedRoles.DelayedRoles_NotScheduled.selector, ROLE, 0, 1);
        _grant(ROLE, other);
    }

    /// @dev The admin role goes by OpenZeppelin's hand-over alone, announced or not.
    function test_RevertWhen_GrantingTheAdminRole() public {
        vm.startPrank(admin);
        roles.sealRoles();
        roles.scheduleRole(ADMIN, other);
        vm.warp(START + ROLE_DELAY);
        vm.expectRevert(IAccessControlDefaultAdminRules.AccessControlEnforcedDefaultAdminRules.selector);
        access.grantRole(ADMIN, other);
    }

    /// @dev The hand-over's delay can't leave its bound later, either.
    function testFuzz_RevertWhen_AdminDelayIsChangedTooFar(uint48 delay) public {
        delay = uint48(bound(delay, MAX_DELAY + 1, type(uint48).max));
        _expectTooLong(delay);
        vm.prank(admin);
        access.changeDefaultAdminDelay(delay);
    }

    function testFuzz_RevertWhen_AdminDelayIsChangedByOthers(address caller, uint48 delay) public {
        vm.assume(caller != admin);
        delay = uint48(bound(delay, 0, MAX_DELAY));
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, ADMIN));
        vm.prank(caller);
        access.changeDefaultAdminDelay(delay);
    }

    /* SUCCESS */

    function testFuzz_AdminDelay_WithinItsBound(uint48 delay) public {
        delay = uint48(bound(delay, 0, MAX_DELAY));
        vm.prank(admin);
        access.changeDefaultAdminDelay(delay);
        (uint48 pending,) = access.pendingDefaultAdminDelay();
        assertEq(pending, delay, "waits");
    }

    function testFuzz_Grant_WhileSettingUp(address account) public {
        vm.expectEmit(address(roles));
        emit IAccessControl.RoleGranted(ROLE, account, admin);
        _grant(ROLE, account);
        assertTrue(access.hasRole(ROLE, account), "granted");
    }

    function test_SealRoles() public {
        vm.expectEmit(address(roles));
        emit IDelayedRoles.RolesSealed(ROLE_DELAY);
        vm.prank(admin);
        roles.sealRoles();
        assertTrue(roles.rolesSealed(), "sealed");
    }

    function testFuzz_Grant_Announced(uint256 when) public {
        vm.prank(admin);
        roles.sealRoles();
        vm.expectEmit(address(roles));
        emit IDelayedRoles.RoleScheduled(ROLE, other, START + ROLE_DELAY);
        vm.prank(admin);
        roles.scheduleRole(ROLE, other);
        vm.warp(bound(when, START + ROLE_DELAY, START + ROLE_DELAY + WINDOW));
        _grant(ROLE, other);
        assertTrue(access.hasRole(ROLE, other), "granted");
        assertEq(roles.grantableAt(ROLE, other), 0, "used up");
    }

    function testFuzz_Schedule_AgainStartsOver(uint256 later) public {
        _sealAndSchedule();
        later = START + bound(later, 1, 365 days);
        vm.warp(later);
        vm.prank(admin);
        roles.scheduleRole(ROLE, other);
        assertEq(roles.grantableAt(ROLE, other), later + ROLE_DELAY, "from now");
        _expect(IDelayedRoles.DelayedRoles_TooEarly.selector, ROLE, later, later + ROLE_DELAY);
        _grant(ROLE, other);
    }

    /// @dev Taking power away needs no warning.
    function test_Revoke_AtOnce() public {
        _grant(ROLE, other);
        vm.startPrank(admin);
        roles.sealRoles();
        access.revokeRole(ROLE, other);
        assertFalse(access.hasRole(ROLE, other), "revoked");
    }

    /// @dev Sealing doesn't stop the hand-over, nor do announcements of the old admin bind the new one to anything.
    function test_HandOver_AfterSealing() public {
        _sealAndSchedule();
        vm.prank(admin);
        access.beginDefaultAdminTransfer(other);
        vm.warp(START + ADMIN_DELAY + 1);
        vm.prank(other);
        access.acceptDefaultAdminTransfer();
        assertEq(access.defaultAdmin(), other, "new admin");
        vm.warp(START + ROLE_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, admin, ADMIN));
        _grant(ROLE, other);
    }

    /* HELPERS */

    function _deploy(uint48 adminDelay, uint256 roleDelay) private {
        address deployed =
            deployCode("ReceiptVerifier.sol:ReceiptVerifier", abi.encode(admin, adminDelay, roleDelay, uint256(0)));
        (roles, access) = (IDelayedRoles(deployed), IAccessControlDefaultAdminRules(deployed));
    }

    function _create(uint48 adminDelay, uint256 roleDelay) private {
        bytes memory args = abi.encode(admin, adminDelay, roleDelay, uint256(0));
        _create(bytes.concat(vm.getCode("ReceiptVerifier.sol:ReceiptVerifier"), args));
    }

    function _expectTooLong(uint256 delay) private {
        _expect(IDelayedRoles.DelayedRoles_DelayTooLong.selector, bytes32(0), delay, MAX_DELAY);
    }

    function _sealAndSchedule() private {
        vm.startPrank(admin);
        roles.sealRoles();
        roles.scheduleRole(ROLE, other);
        vm.stopPrank();
    }

    function _grant(bytes32 role, address account) private {
        vm.prank(admin);
        access.grantRole(role, account);
    }
}
