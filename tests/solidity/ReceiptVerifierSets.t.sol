// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {Base} from "./Base.t.sol";

/// @dev proposeSet, activateSet and cancelProposal: who watches, and how that changes.
contract ReceiptVerifierSetsTest is Base {
    uint256 private constant MAX_WATCHERS = 32;
    uint256 private constant MAX_ACTIVATION_DELAY = 30 days;
    uint256 private constant PROPOSAL_LIFETIME = 30 days;

    /* CONSTRUCTION */

    function testFuzz_RevertWhen_ActivationDelayTooLong(uint256 delay) public {
        delay = bound(delay, MAX_ACTIVATION_DELAY + 1, type(uint256).max);
        bytes memory args = abi.encode(admin.addr, ADMIN_DELAY, uint256(0), delay);
        bytes memory code = bytes.concat(vm.getCode("ReceiptVerifier.sol:ReceiptVerifier"), args);
        _expect(IReceiptVerifier.ReceiptVerifier_DelayTooLong.selector, uint256(0), delay, MAX_ACTIVATION_DELAY);
        _create(code);
    }

    function testFuzz_Construction(uint256 delay) public {
        delay = bound(delay, 0, MAX_ACTIVATION_DELAY);
        verifier = IReceiptVerifier(
            deployCode("ReceiptVerifier.sol:ReceiptVerifier", abi.encode(admin.addr, ADMIN_DELAY, uint256(0), delay))
        );
        vm.prank(admin.addr);
        IAccessControl(address(verifier)).grantRole(WATCHER_ADMIN_ROLE, admin.addr);
        uint256 id = _newSet(_members(3), 2);
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.SetProposed(id, _members(4), 3, START + delay);
        _propose(id, _members(4), 3);
    }

    /* proposeSet: REVERTS */

    function testFuzz_RevertWhen_ProposerHasNoRole(address caller) public {
        vm.assume(caller != admin.addr);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, WATCHER_ADMIN_ROLE)
        );
        vm.prank(caller);
        verifier.proposeSet(0, _members(3), 2);
    }

    function testFuzz_RevertWhen_SetUnknown(uint256 id) public {
        uint256 count = verifier.setCount();
        id = bound(id, count + 1, type(uint256).max);
        _expect(IReceiptVerifier.ReceiptVerifier_UnknownSet.selector, id, id, count);
        _propose(id, _members(3), 2);
    }

    function testFuzz_RevertWhen_TooManyWatchers(uint256 count) public {
        count = bound(count, MAX_WATCHERS + 1, 100);
        _expect(IReceiptVerifier.ReceiptVerifier_TooManyWatchers.selector, _next(), count, MAX_WATCHERS);
        _propose(0, _members(count), 1);
    }

    function testFuzz_RevertWhen_ThresholdOutOfRange(uint256 count, uint256 threshold) public {
        count = bound(count, 0, MAX_WATCHERS);
        threshold = bound(threshold, count + 1, type(uint256).max);
        bytes4 reason = IReceiptVerifier.ReceiptVerifier_BadThreshold.selector;
        _expect(reason, _next(), 0, count);
        _propose(0, _members(count), 0);
        _expect(reason, _next(), threshold, count);
        _propose(0, _members(count), threshold);
    }

    function testFuzz_RevertWhen_WatchersUnsorted(uint256 count, uint256 place) public {
        count = bound(count, 2, MAX_WATCHERS);
        place = bound(place, 1, count - 1);
        address[] memory members = _members(count);
        (members[place - 1], members[place]) = (members[place], members[place - 1]);
        _expect(IReceiptVerifier.ReceiptVerifier_Unsorted.selector, _next(), members[place], members[place - 1]);
        _propose(0, members, 1);
    }

    function testFuzz_RevertWhen_WatcherTwice(uint256 count, uint256 place) public {
        count = bound(count, 2, MAX_WATCHERS);
        place = bound(place, 1, count - 1);
        address[] memory members = _members(count);
        members[place] = members[place - 1];
        _expect(IReceiptVerifier.ReceiptVerifier_Unsorted.selector, _next(), members[place], members[place]);
        _propose(0, members, 1);
    }

    function test_RevertWhen_WatcherIsZero() public {
        address[] memory members = _members(2);
        members[0] = address(0);
        _expect(IReceiptVerifier.ReceiptVerifier_Unsorted.selector, _next(), address(0), address(0));
        _propose(0, members, 1);
    }

    /* activateSet: REVERTS */

    function testFuzz_RevertWhen_NeverProposed(uint256 id, uint256 threshold) public {
        bytes32 hash = keccak256(abi.encode(_members(3), threshold));
        vm.expectRevert(
            abi.encodeWithSelector(IReceiptVerifier.ReceiptVerifier_NotProposed.selector, id, hash, bytes32(0))
        );
        verifier.activateSet(id, _members(3), threshold);
    }

    function testFuzz_RevertWhen_ActivatingSomethingElse(uint256 count, uint256 threshold) public {
        count = bound(count, 1, MAX_WATCHERS);
        threshold = bound(threshold, 1, count);
        vm.assume(count != 3 || threshold != 2);
        uint256 id = _propose(0, _members(3), 2);
        vm.expectRevert(
            abi.encodeWithSelector(
                IReceiptVerifier.ReceiptVerifier_NotProposed.selector,
                id,
                keccak256(abi.encode(_members(count), threshold)),
                keccak256(abi.encode(_members(3), uint256(2)))
            )
        );
        verifier.activateSet(id, _members(count), threshold);
    }

    function test_RevertWhen_ActivatedTwice() public {
        uint256 id = _newSet(_members(3), 2);
        vm.expectRevert(
            abi.encodeWithSelector(
                IReceiptVerifier.ReceiptVerifier_NotProposed.selector,
                id,
                keccak256(abi.encode(_members(3), uint256(2))),
                bytes32(0)
            )
        );
        verifier.activateSet(id, _members(3), 2);
    }

    function testFuzz_RevertWhen_ChangeActivatedTooEarly(uint256 early) public {
        uint256 id = _newSet(_members(3), 2);
        _propose(id, _members(4), 3);
        uint256 dueAt = START + ACTIVATION_DELAY;
        early = bound(early, START, dueAt - 1);
        vm.warp(early);
        _expect(IReceiptVerifier.ReceiptVerifier_TooEarly.selector, id, early, dueAt);
        verifier.activateSet(id, _members(4), 3);
    }

    /// @dev Proposing again restarts the delay: nobody can swap the members at the last moment.
    function testFuzz_RevertWhen_ProposalReplaced(uint256 later) public {
        uint256 id = _newSet(_members(3), 2);
        _propose(id, _members(4), 3);
        later = bound(later, 1, ACTIVATION_DELAY);
        vm.warp(START + later);
        _propose(id, _members(5), 1);
        vm.warp(START + ACTIVATION_DELAY);
        uint256 dueAt = START + later + ACTIVATION_DELAY;
        _expect(IReceiptVerifier.ReceiptVerifier_TooEarly.selector, id, START + ACTIVATION_DELAY, dueAt);
        verifier.activateSet(id, _members(5), 1);
    }

    function testFuzz_RevertWhen_ProposalLapsed(uint256 late, bool isNew) public {
        uint256 id = isNew ? 0 : _newSet(_members(3), 2);
        id = _propose(id, _members(4), 3);
        uint256 lapsesAt = START + (isNew ? 0 : ACTIVATION_DELAY) + PROPOSAL_LIFETIME;
        late = bound(late, lapsesAt + 1, type(uint40).max);
        vm.warp(late);
        _expect(IReceiptVerifier.ReceiptVerifier_ProposalLapsed.selector, id, late, lapsesAt);
        verifier.activateSet(id, _members(4), 3);
        // Proposed again, it starts over.
        _propose(id, _members(4), 3);
        if (!isNew) skip(ACTIVATION_DELAY);
        verifier.activateSet(id, _members(4), 3);
        assertEq(verifier.thresholdOf(id), 3, "threshold");
    }

    function test_RevertWhen_ProposalCancelled() public {
        uint256 id = _newSet(_members(3), 2);
        _propose(id, _members(4), 3);
        vm.prank(admin.addr);
        verifier.cancelProposal(id);
        skip(ACTIVATION_DELAY);
        vm.expectRevert(
            abi.encodeWithSelector(
                IReceiptVerifier.ReceiptVerifier_NotProposed.selector,
                id,
                keccak256(abi.encode(_members(4), uint256(3))),
                bytes32(0)
            )
        );
        verifier.activateSet(id, _members(4), 3);
    }

    /* cancelProposal: REVERTS */

    function testFuzz_RevertWhen_CancellerHasNoRole(address caller) public {
        vm.assume(caller != admin.addr);
        uint256 id = _propose(0, _members(3), 2);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, WATCHER_ADMIN_ROLE)
        );
        vm.prank(caller);
        verifier.cancelProposal(id);
    }

    function testFuzz_RevertWhen_CancellingNothing(uint256 id) public {
        _expect(IReceiptVerifier.ReceiptVerifier_NotProposed.selector, id, uint256(0), 0);
        vm.prank(admin.addr);
        verifier.cancelProposal(id);
    }

    /* SUCCESS */

    function testFuzz_NewSet(uint256 count, uint256 threshold, address caller) public {
        count = bound(count, 1, MAX_WATCHERS);
        threshold = bound(threshold, 1, count);
        address[] memory members = _members(count);
        uint256 expected = _next();
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.SetProposed(expected, members, threshold, START);
        uint256 id = _propose(0, members, threshold);
        assertEq(id, expected, "id");
        assertEq(verifier.setCount(), expected, "set count");
        assertEq(verifier.thresholdOf(id), 0, "not in force yet");
        assertFalse(verifier.isWatcher(id, members[0]), "no members yet");
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.SetActivated(id, members, threshold, 1);
        vm.prank(caller);
        verifier.activateSet(id, members, threshold);
        assertEq(verifier.thresholdOf(id), threshold, "threshold");
        for (uint256 i; i < count; ++i) {
            assertTrue(verifier.isWatcher(id, members[i]), "member");
            assertFalse(verifier.isWatcher(watcherSet, members[i]), "of this set only");
        }
    }

    /// @dev A change takes its time, and then the old members count for nothing.
    function testFuzz_Rotate(uint256 late, uint256 threshold) public {
        threshold = bound(threshold, 1, 4);
        uint256 id = _newSet(_members(3), 2);
        address[] memory fresh = new address[](4);
        (fresh[0], fresh[1], fresh[2], fresh[3]) = (_member(2), _member(7), _member(8), _member(9));
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.SetProposed(id, fresh, threshold, START + ACTIVATION_DELAY);
        assertEq(_propose(id, fresh, threshold), id, "same id");
        assertTrue(verifier.isWatcher(id, _member(0)), "the old ones watch until then");
        vm.warp(bound(late, START + ACTIVATION_DELAY, START + ACTIVATION_DELAY + PROPOSAL_LIFETIME));
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.SetActivated(id, fresh, threshold, 2);
        verifier.activateSet(id, fresh, threshold);
        assertEq(verifier.thresholdOf(id), threshold, "threshold");
        assertFalse(verifier.isWatcher(id, _member(0)), "out");
        assertFalse(verifier.isWatcher(id, _member(1)), "out");
        for (uint256 i; i < 4; ++i) {
            assertTrue(verifier.isWatcher(id, fresh[i]), "in, the one who stayed too");
        }
    }

    /// @dev A set that was never in force watches nothing, so its first members need no delay.
    function test_NewSet_CanBeReplacedBeforeItIsUsed() public {
        uint256 id = _propose(0, _members(3), 2);
        assertEq(_propose(id, _members(5), 4), id, "same id");
        verifier.activateSet(id, _members(5), 4);
        assertEq(verifier.thresholdOf(id), 4, "threshold");
    }

    function testFuzz_CancelProposal(bool isNew) public {
        uint256 id = isNew ? 0 : _newSet(_members(3), 2);
        id = _propose(id, _members(4), 3);
        vm.expectEmit(address(verifier));
        emit IReceiptVerifier.ProposalCancelled(id);
        vm.startPrank(admin.addr);
        verifier.cancelProposal(id);
        assertEq(verifier.thresholdOf(id), isNew ? 0 : 2, "what is in force stays");
        _expect(IReceiptVerifier.ReceiptVerifier_NotProposed.selector, id, uint256(0), 0);
        verifier.cancelProposal(id);
    }

    /* HELPERS */

    function _next() private view returns (uint256) {
        return verifier.setCount() + 1;
    }

    function _propose(uint256 id, address[] memory members, uint256 threshold) private returns (uint256) {
        vm.prank(admin.addr);
        return verifier.proposeSet(id, members, threshold);
    }

    function _member(uint256 i) private pure returns (address) {
        return address(uint160(0x1000 + i));
    }

    function _members(uint256 count) private pure returns (address[] memory list) {
        list = new address[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = _member(i);
        }
    }
}
